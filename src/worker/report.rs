//! Sends what was noted, in batches, until Cegid has taken it.
//!
//! A batch that is refused is split until the item that is refused stands alone; that one is dead in the ledger, unless
//! nothing else was taken either. The rest of what can go wrong pauses the stage, and the items stay to be sent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::Context;
use crate::{
    cegid::{CallError, Class, Stage},
    domain::Kind,
    kill, metrics,
    outbox::{self, Item},
    tenancy::fence,
};

/// Items of one report; no limit is documented, and this many are taken.
const ITEMS: usize = 100;

/// Refusals in a row, nothing taken, after which it is the endpoint that refuses: halving 100 items down to one takes
/// seven.
const REFUSALS: u32 = 8;
/// Refusals of a lone item before it is dead: about three days of the longest delay.
const ATTEMPTS: i32 = 300;

/// What became of items.
enum Outcome {
    Reported,
    /// Refused; to be sent again then, or dead.
    Refused {
        says: String,
        again: Option<DateTime<Utc>>,
    },
}

/// Reports outcomes of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let reporter = Reporter { context, kind };
    let context = &reporter.context;
    let courtesy = &context.shared.courtesy;
    while !context.stop.asked() {
        match outbox::due(context.database(), &context.tenant, kind, context.now(), ITEMS).await {
            Ok(items) if items.is_empty() => reporter.wait().await,
            Ok(items) if items.len() < ITEMS => {
                let _prompt = courtesy.prompt(&context.tenant);
                reporter.send(&items).await;
            }
            Ok(items) => {
                courtesy.give_way(&context.tenant).await;
                reporter.send(&items).await;
            }
            Err(error) => context.after_failure("reading what is to be reported", &error).await,
        }
    }
}

struct Reporter {
    context: Arc<Context>,
    kind: Kind,
}

impl Reporter {
    async fn wait(&self) {
        let context = &self.context;
        let due = match outbox::next_due(context.database(), &context.tenant, self.kind).await {
            Ok(due) => due.unwrap_or(DateTime::<Utc>::MAX_UTC),
            Err(error) => return context.after_failure("reading what is to be reported", &error).await,
        };
        let poll = context.now() + context.shared.settings.worker.poll_interval;
        tokio::select! {
            () = context.noted[self.kind as usize].notified() => {}
            () = context.shared.clock.sleep_until(due.min(poll)) => {}
            () = context.stop.draining() => {}
        }
    }

    /// Sends items; a part that is refused is sent again in halves.
    ///
    /// An item that is refused by itself is dead only if Cegid took another in the same round: otherwise it is the
    /// endpoint that refuses, and the items are sent again later.
    async fn send(&self, items: &[Item]) {
        let context = &self.context;
        let items: Vec<&Item> = items.iter().collect();
        let mut parts = vec![items.as_slice()];
        let (mut taken, mut refusals, mut refused) = (false, 0, Vec::new());
        kill::point("report-read");
        while let Some(part) = parts.pop() {
            let Some(_leave) = context.may_call(Stage::Reports).await else { return };
            match context.client.report(self.kind, part).await {
                Ok(()) => {
                    kill::point("report-posted");
                    taken = true;
                    context.pace.succeeded(Stage::Reports);
                    self.count("reported", part.len());
                    if let Err(error) = self.write(part, &Outcome::Reported).await {
                        // They are sent again, which is harmless.
                        return context.after_failure("noting what was reported", &error).await;
                    }
                }
                Err(error) if error.class == Class::Query => {
                    context.pace.failed(Stage::Reports, &error);
                    refusals += 1;
                    if part.len() > 1 {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    } else {
                        refused.push((part[0], error.clone()));
                    }
                    if !taken && refusals >= REFUSALS {
                        let endpoint = CallError { class: Class::Unexpected, ..error };
                        context.pace.failed(Stage::Reports, &endpoint);
                        return;
                    }
                }
                Err(error) => {
                    context.pace.failed(Stage::Reports, &error);
                    return;
                }
            }
        }
        for (item, error) in refused {
            let again = if taken || item.attempts >= ATTEMPTS { None } else { Some(self.again(item)) };
            if again.is_none() {
                warn!(tenant = %context.tenant, kind = %self.kind, error = %error, "Cegid refuses a report item");
                self.count("refused", 1);
            }
            let outcome = Outcome::Refused { says: error.to_string(), again };
            if let Err(error) = self.write(&[item], &outcome).await {
                return context.after_failure("noting what was refused", &error).await;
            }
        }
    }

    fn again(&self, item: &Item) -> DateTime<Utc> {
        let worker = &self.context.shared.settings.worker;
        let doublings = u32::try_from(item.attempts).unwrap_or(0).min(20);
        self.context.now() + worker.retry_first.saturating_mul(1 << doublings).min(worker.retry_limit)
    }

    async fn write(&self, items: &[&Item], outcome: &Outcome) -> sqlx::Result<()> {
        let context = &self.context;
        let Some(mut tx) = fence(context.database(), &context.lease).await? else {
            // The worker is about to be ended.
            context.stop.draining().await;
            return Ok(());
        };
        let (tenant, now) = (&context.tenant, context.now());
        match outcome {
            Outcome::Reported => outbox::reported(&mut tx, tenant, self.kind, now, items).await?,
            Outcome::Refused { says, again } => {
                for item in items {
                    let refusal = outbox::Refusal { at: now, says, again: *again };
                    outbox::refused(&mut tx, tenant, self.kind, item, refusal).await?;
                }
            }
        }
        tx.commit().await?;
        kill::point("report-noted");
        context.wrote();
        Ok(())
    }

    fn count(&self, outcome: &'static str, items: usize) {
        let labels = metrics::Outcome { tenant: self.context.tenant.to_string(), kind: self.kind.as_str(), outcome };
        self.context.shared.metrics.reports.get_or_create(&labels).inc_by(items as u64);
    }
}
