//! Lists that move while they are walked, or repeat themselves.

use std::time::{Duration, Instant};

use cegid_simulator::{Fault, FaultKind, ListOrder};

use super::{Event, cegid::EXPORTS};
use crate::storm::Storm;

const ORDERS: [ListOrder; 4] =
    [ListOrder::Creation, ListOrder::NewestFirst, ListOrder::Update, ListOrder::LastUpdateFirst];

/// A tenant whose lists move.
pub struct MovingLists {
    /// Place of the tenant in the world.
    tenant: usize,
    until: Instant,
}

impl Storm {
    /// Asks for a sweep, so that lists are walked now.
    fn walk_lists(&mut self, nth: usize) -> anyhow::Result<()> {
        let (tenant, purpose) = (self.world.tenants[nth].id.to_string(), self.random.pick(&["incremental", "full"]));
        self.command(&["sweeps", "run", "--tenant", &tenant, "--use", purpose])
    }

    /// Random changes, silent ones, after every page of a list.
    pub(super) async fn move_lists(&mut self) -> anyhow::Result<()> {
        let moved = |storm: &Storm| storm.count_answers(|row| row.note.contains(", then "));
        let (nth, before) = (self.random.below(self.world.loaded()), moved(self));
        let (order, time) = (self.random.pick(&ORDERS), self.random.between(3000, 10_000));
        let simulator = &self.world.tenants[nth].simulator;
        simulator.set_list_order(order);
        simulator.churn_between_pages(true);
        self.moving.push(MovingLists { tenant: nth, until: Instant::now() + Duration::from_millis(time) });
        self.walk_lists(nth)?;
        let more = self.more(before, moved).await?;
        self.tally.felt(Event::MovingList, more);
        Ok(())
    }

    /// Lets lists stand still again whose time is up.
    pub(crate) fn still_lists(&mut self, now: Option<Instant>) {
        let is_over = |moving: &MovingLists| now.is_none_or(|now| moving.until <= now);
        for moving in self.moving.iter().filter(|moving| is_over(moving)) {
            let simulator = &self.world.tenants[moving.tenant].simulator;
            simulator.churn_between_pages(false);
            simulator.set_list_order(ListOrder::Creation);
        }
        self.moving.retain(|moving| !is_over(moving));
    }

    /// Every page is the first one, or the last records follow the end.
    pub(super) async fn repeat_lists(&mut self) -> anyhow::Result<()> {
        let repeated = |storm: &Storm| storm.count_answers(|row| row.note.contains("page again"));
        let (nth, before) = (self.random.below(self.world.loaded()), repeated(self));
        let kind = if self.random.percent(50) { FaultKind::Repeat } else { FaultKind::RepeatLast };
        let (endpoint, seconds) = (self.random.pick(&EXPORTS), self.random.between(3, 8));
        self.world.tenants[nth].simulator.add_fault(Fault::new(endpoint, kind).seconds(seconds));
        self.walk_lists(nth)?;
        let more = self.more(before, repeated).await?;
        self.tally.felt(Event::RepeatingList, more);
        Ok(())
    }
}
