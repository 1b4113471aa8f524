//! Sends what was noted, in batches, until Cegid has taken it.
//!
//! Wanted: an item that is refused, or that provokes a failure, delays itself only; nothing is given up because the
//! endpoint refuses everything for a while; what a round has learnt about an item is written however the round ends.
//!
//! A batch that is refused is halved until the item that is refused stands alone. Whether it is the item or the
//! endpoint is told by what follows: another item that is accepted, or a control, an item that was accepted earlier and
//! is sent again. Only a refusal that was followed by an acceptance counts as an attempt, and an item is dead after
//! [`ITEM_REFUSALS`] of them. If nothing is accepted, the lane pauses, and other items are sent next.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Context, halving::Parts};
use crate::{
    cegid::{CallError, Class, Stage},
    domain::Kind,
    kill, metrics,
    outbox::{self, Item},
    tenancy::fence,
};

/// Items of one report; no limit is documented, and this many are taken.
const MAX_ITEMS: usize = 100;
/// Refused parts with nothing accepted, and no control to ask, after which the endpoint is taken to refuse everything:
/// halving 100 items down to one takes seven, and the largest of the other parts are then tried.
const MAX_REFUSED_PARTS: u32 = 16;
/// Refusals of a lone item, each followed by an acceptance of another one, after which it is dead.
const ITEM_REFUSALS: i32 = 3;

const REFUSED_ITEMS: &str = "reporting some items, which Cegid refuses while it takes others,";
const REFUSED_ITEMS_CONSEQUENCE: &str = "they are sent again alone, and given up after three refusals";
const READING: &str = "reading what is to be reported";

/// Reports outcomes of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let reporter = Reporter { context, kind };
    let context = &reporter.context;
    let courtesy = &context.shared.courtesy;
    // Halved while calls fail, so that an item that provokes the failure is found; doubled while they succeed.
    let mut limit = MAX_ITEMS;
    while !context.stop.asked() {
        let due = outbox::due(context.database(), &context.tenant, kind, context.now(), limit).await;
        let Some(items) = context.or_wait(READING, due).await else { continue };
        if items.is_empty() {
            reporter.wait().await;
            continue;
        }
        let prompt = (items.len() < MAX_ITEMS).then(|| courtesy.prompt(&context.tenant));
        if prompt.is_none() {
            courtesy.give_way(&context.tenant).await;
        }
        limit = match reporter.send(&items).await {
            Some(failed) => (failed / 2).max(1),
            None => (limit * 2).min(MAX_ITEMS),
        };
    }
}

struct Reporter {
    context: Arc<Context>,
    kind: Kind,
}

/// A lone item that Cegid did not take.
struct Refused<'a> {
    item: &'a Item,
    error: CallError,
    /// Whether another item was accepted since.
    proven: bool,
}

/// What became of one call.
enum Posted {
    Accepted,
    /// Cegid refuses the part, or cannot take it while it takes a control.
    Refused {
        error: CallError,
        control_accepted: bool,
    },
    /// Cegid is not well.
    Failed(CallError),
    /// There is no use in another call now.
    Not,
}

/// One batch under way.
struct Round<'a> {
    parts: Parts<&'a Item>,
    refused: Vec<Refused<'a>>,
    /// What the endpoint said when it refused everything.
    endpoint: Option<CallError>,
    /// Items of the part for which the call failed.
    failed: Option<usize>,
}

impl<'a> Round<'a> {
    /// Items that were refused before are sent together, after the others.
    fn new(items: &'a [Item]) -> Round<'a> {
        let (suspected, others) = items.iter().partition(|item| item.suspected);
        let parts = Parts::new([others, suspected].into_iter());
        Round { parts, refused: Vec::new(), endpoint: None, failed: None }
    }

    fn accept(&mut self) {
        self.parts.accept();
        self.refused.iter_mut().for_each(|refused| refused.proven = true);
    }

    fn refuse(&mut self, item: &'a Item, error: CallError) {
        self.refused.push(Refused { item, error, proven: false });
    }

    fn has_unproven(&self) -> bool {
        self.refused.iter().any(|refused| !refused.proven)
    }
}

impl Reporter {
    async fn wait(&self) {
        let context = &self.context;
        let due = outbox::next_due(context.database(), &context.tenant, self.kind).await;
        let Some(due) = context.or_wait(READING, due).await else { return };
        let due = due.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let poll = context.now() + context.shared.settings.worker.poll_interval;
        tokio::select! {
            () = context.noted[self.kind as usize].notified() => {}
            () = context.shared.clock.sleep_until(due.min(poll)) => {}
            () = context.stop.draining() => {}
        }
    }

    /// Sends items, and writes what became of them; the size of the part for which the call failed, if one did.
    async fn send(&self, items: &[Item]) -> Option<usize> {
        kill::point("report-read");
        let mut round = Round::new(items);
        let sent = self.send_parts(&mut round).await;
        let size = round.failed;
        let kept = self.keep(round).await;
        // What was sent and not noted is sent again, which is harmless.
        let _done = self.context.or_wait("noting what became of reports", sent.and(kept)).await;
        size
    }

    /// Sends one part after the other, until nothing is left or there is no use in going on.
    async fn send_parts(&self, round: &mut Round<'_>) -> sqlx::Result<()> {
        if !self.probe().await? {
            return Ok(());
        }
        while let Some(part) = round.parts.next() {
            match self.post(&part).await? {
                Posted::Accepted => {
                    kill::point("report-posted");
                    self.count("reported", part.len());
                    self.write(async |tx, now| outbox::reported(tx, &self.context.tenant, self.kind, now, &part).await)
                        .await?;
                    round.accept();
                }
                Posted::Refused { error, control_accepted } => {
                    let alone = round.parts.refuse(part);
                    let is_lone = alone.is_some();
                    if let Some(item) = alone {
                        round.refuse(item, error.clone());
                    }
                    if control_accepted {
                        round.accept();
                    }
                    let doubtful = is_lone || round.parts.refused() >= MAX_REFUSED_PARTS;
                    if !round.parts.accepted() && doubtful && !self.control(round, error).await? {
                        return Ok(());
                    }
                }
                Posted::Failed(error) => {
                    round.failed = Some(part.len());
                    if let [item] = part[..] {
                        round.refuse(item, error);
                    }
                    break;
                }
                Posted::Not => return Ok(()),
            }
        }
        let last = round.refused.last().map(|refused| refused.error.clone());
        if let Some(error) = last.filter(|error| error.class == Class::Query && round.has_unproven()) {
            self.control(round, error).await?;
        }
        Ok(())
    }

    /// While the endpoint fails, a control is sent first: what is to be sent may be what it fails at. False when it
    /// still fails.
    async fn probe(&self) -> sqlx::Result<bool> {
        let context = &self.context;
        if !context.pace.is_failing(Stage::Reports) {
            return Ok(true);
        }
        let Some(control) = outbox::last_reported(context.database(), &context.tenant, self.kind, &[]).await? else {
            return Ok(true);
        };
        match self.call(&[&control]).await {
            Some(Ok(())) => context.pace.succeeded(Stage::Reports),
            Some(Err(error)) => {
                context.pace.control_failed(Stage::Reports, &error);
                return Ok(false);
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// One call. What fails while a control is accepted is wrong with an item of the part.
    async fn post(&self, part: &[&Item]) -> sqlx::Result<Posted> {
        let context = &self.context;
        let error = match self.call(part).await {
            None => return Ok(Posted::Not),
            Some(Ok(())) => {
                context.pace.succeeded(Stage::Reports);
                return Ok(Posted::Accepted);
            }
            Some(Err(error)) => error,
        };
        if error.class == Class::Query {
            context.pace.failed(Stage::Reports, &error);
            return Ok(Posted::Refused { error, control_accepted: false });
        }
        if error.class != Class::Throttled
            && error.stage == Stage::Reports
            && let Some(control) = outbox::last_reported(context.database(), &context.tenant, self.kind, part).await?
        {
            match self.call(&[&control]).await {
                None => return Ok(Posted::Not),
                Some(Ok(())) => {
                    context.pace.succeeded(Stage::Reports);
                    return Ok(Posted::Refused { error, control_accepted: true });
                }
                Some(Err(_)) => {}
            }
        }
        context.pace.failed(Stage::Reports, &error);
        Ok(if error.class == Class::Throttled { Posted::Not } else { Posted::Failed(error) })
    }

    /// Sends items; none when the worker drains.
    async fn call(&self, part: &[&Item]) -> Option<Result<(), CallError>> {
        let _leave = self.context.may_call(Stage::Reports).await?;
        Some(self.context.client.report(self.kind, part).await)
    }

    /// Sends an item again that was accepted earlier, to learn whether the endpoint refuses everything, as it did with
    /// this error last. False when there is no use in going on.
    async fn control(&self, round: &mut Round<'_>, error: CallError) -> sqlx::Result<bool> {
        let context = &self.context;
        let refused: Vec<&Item> = round.refused.iter().map(|refused| refused.item).collect();
        let control = outbox::last_reported(context.database(), &context.tenant, self.kind, &refused).await?;
        let Some(control) = control else {
            let gives_up = round.parts.refused() >= MAX_REFUSED_PARTS || round.parts.is_empty();
            round.endpoint = Some(error).filter(|_| gives_up);
            return Ok(!gives_up);
        };
        match self.call(&[&control]).await {
            Some(Ok(())) => {
                context.pace.succeeded(Stage::Reports);
                round.accept();
            }
            Some(Err(error)) => {
                context.pace.failed(Stage::Reports, &error);
                let refused = error.class == Class::Query;
                round.endpoint = Some(error).filter(|_| refused);
                return Ok(false);
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Writes what a round has learnt about lone items. If the endpoint refuses everything, it pauses, and what was not
    /// sent goes behind the other items.
    async fn keep(&self, round: Round<'_>) -> sqlx::Result<()> {
        let context = &self.context;
        let rest = round.parts.rest();
        if let Some(error) = &round.endpoint {
            context.pace.refused(Stage::Reports, error, rest.len() + round.refused.len());
            self.write(async |tx, now| outbox::defer(tx, &context.tenant, self.kind, now, &rest).await).await?;
        }
        let mut dead = 0;
        for Refused { item, error, proven } in &round.refused {
            let attempts = item.attempts + i32::from(*proven);
            let is_refusal = matches!(error.class, Class::Query | Class::Forbidden | Class::Credentials);
            let is_dead = *proven && is_refusal && attempts >= ITEM_REFUSALS;
            let refusal = outbox::Refusal {
                says: &error.to_string(),
                attempts,
                again: (!is_dead).then(|| self.again(item.attempts)),
            };
            self.write(async |tx, now| outbox::refused(tx, &context.tenant, self.kind, now, item, refusal).await)
                .await?;
            dead += usize::from(is_dead);
        }
        let proven = || round.refused.iter().filter(|refused| refused.proven);
        if let Some(last) = proven().next_back() {
            let (class, status, items) = (last.error.class.as_str(), last.error.status, proven().count());
            let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let says = format!("items={items} dead={dead} class={class} status={status}");
            context.shared.failures.failed(Some(&context.tenant), REFUSED_ITEMS, REFUSED_ITEMS_CONSEQUENCE, &says);
        }
        if dead > 0 {
            self.count("refused", dead);
        }
        Ok(())
    }

    fn again(&self, attempts: i32) -> DateTime<Utc> {
        let worker = &self.context.shared.settings.worker;
        let doublings = u32::try_from(attempts).unwrap_or(0).min(20);
        self.context.now() + worker.retry_first.saturating_mul(1 << doublings).min(worker.retry_limit)
    }

    /// Writes under the lease; nothing when it was lost.
    async fn write(
        &self,
        what: impl AsyncFnOnce(&mut sqlx::PgConnection, DateTime<Utc>) -> sqlx::Result<()>,
    ) -> sqlx::Result<()> {
        let context = &self.context;
        let writing = async || -> sqlx::Result<bool> {
            let Some(mut tx) = fence(context.database(), &context.lease).await? else { return Ok(false) };
            what(&mut tx, context.now()).await?;
            tx.commit().await?;
            Ok(true)
        };
        if !context.database().in_time(writing()).await? {
            // The worker is about to be ended.
            context.stop.draining().await;
            return Ok(());
        }
        kill::point("report-noted");
        context.wrote();
        Ok(())
    }

    fn count(&self, outcome: &'static str, items: usize) {
        let labels = metrics::Outcome { tenant: self.context.tenant.to_string(), kind: self.kind.as_str(), outcome };
        self.context.shared.metrics.reports.get_or_create(&labels).inc_by(items as u64);
    }
}
