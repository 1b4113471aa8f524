//! Lists that move while they are walked or repeat themselves, and records with a member under another name.

use std::time::{Duration, Instant};

use cegid_simulator::{Distortion, Fault, FaultKind, ListOrder, RequestRow};

use super::{Event, cegid::EXPORTS};
use crate::storm::Storm;

const ORDERS: [ListOrder; 4] =
    [ListOrder::Creation, ListOrder::NewestFirst, ListOrder::Update, ListOrder::LastUpdateFirst];

/// Members that an upgrade of Cegid renames: the state, the content, the key, and the date of the last change.
const RENAMED: [(&str, &str, &str); 8] = [
    ("vacancy", "vacancies", "status"),
    ("vacancy", "vacancies", "jobDescription"),
    ("vacancy", "vacancies", "reference"),
    ("vacancy", "vacancies", "modificationDate"),
    ("candidate", "candidates", "isAnonymized"),
    ("candidate", "candidates", "title"),
    ("candidate", "candidates", "id"),
    ("candidate", "candidates", "modificationDate"),
];

/// A tenant whose exports are not as usual.
pub struct OddExports {
    /// Place of the tenant in the world.
    tenant: usize,
    until: Instant,
}

impl Storm {
    /// Asks for a sweep while no replica runs, so that lists are walked as soon as one has the tenant: a worker looks
    /// after sweeps at its start, and then once a minute.
    fn walk_lists(&mut self, nth: usize) -> anyhow::Result<()> {
        for replica in 0..self.world.replicas.len() {
            self.end(replica)?;
        }
        let tenant = self.world.tenants[nth].id.to_string();
        for purpose in ["incremental", "full"] {
            self.command(&["sweeps", "run", "--tenant", &tenant, "--use", purpose])?;
        }
        self.world.start_all()
    }

    /// Random changes, silent ones, after every page of a list.
    pub(super) async fn move_lists(&mut self) -> anyhow::Result<()> {
        let moved = |storm: &Storm| storm.count_answers(|row| row.note.contains(", then "));
        let (nth, before) = (self.random.below(self.world.loaded()), moved(self));
        let (order, time) = (self.random.pick(&ORDERS), self.random.between(8000, 14_000));
        let simulator = &self.world.tenants[nth].simulator;
        simulator.set_list_order(order);
        simulator.churn_between_pages(true);
        self.odd_exports.push(OddExports { tenant: nth, until: Instant::now() + Duration::from_millis(time) });
        self.walk_lists(nth)?;
        let more = self.more(before, moved).await?;
        self.tally.felt(Event::MovingList, more);
        Ok(())
    }

    /// Lets exports be as usual again whose time is up; all of them without a time.
    pub(crate) fn restore_exports(&mut self, now: Option<Instant>) {
        let is_over = |odd: &OddExports| now.is_none_or(|now| odd.until <= now);
        for odd in self.odd_exports.iter().filter(|odd| is_over(odd)) {
            let simulator = &self.world.tenants[odd.tenant].simulator;
            simulator.churn_between_pages(false);
            simulator.set_list_order(ListOrder::Creation);
            simulator.straighten();
        }
        self.odd_exports.retain(|odd| !is_over(odd));
    }

    /// Every page is the first one, or the last records follow the end.
    pub(super) async fn repeat_lists(&mut self) -> anyhow::Result<()> {
        let repeated = |storm: &Storm| storm.count_answers(|row| row.note.contains("page again"));
        let (nth, before) = (self.random.below(self.world.loaded()), repeated(self));
        let kind = if self.random.percent(50) { FaultKind::Repeat } else { FaultKind::RepeatLast };
        let (endpoint, seconds) = (self.random.pick(&EXPORTS), self.random.between(8, 14));
        self.world.tenants[nth].simulator.add_fault(Fault::new(endpoint, kind).seconds(seconds));
        self.walk_lists(nth)?;
        let more = self.more(before, repeated).await?;
        self.tally.felt(Event::RepeatingList, more);
        Ok(())
    }
    /// All records of a kind have a member under another name, for a time that stands for the hour after an upgrade.
    pub(super) async fn rename_member(&mut self) -> anyhow::Result<()> {
        let (nth, (kind, plural, member)) = (self.random.below(self.world.loaded()), self.random.pick(&RENAMED));
        // Shorter than the horizon: nothing is buried for it.
        let time = Duration::from_millis(self.random.between(7000, 12_000));
        let answered = |storm: &Storm| {
            let simulator = &storm.world.tenants[nth].simulator;
            let shown =
                |row: &RequestRow| row.path.ends_with(plural) && row.status == 200 && !row.note.starts_with("0 ");
            simulator.count_requests(shown) as u64
        };
        let before = answered(self);
        let how = Distortion::Rename { member: member.to_owned(), to: format!("{member}Value") };
        self.world.tenants[nth].simulator.distort(kind, None, how);
        self.odd_exports.push(OddExports { tenant: nth, until: Instant::now() + time });
        self.walk_lists(nth)?;
        let more = self.more(before, answered).await?;
        self.tally.felt(Event::RenamedMember, more);
        Ok(())
    }
}
