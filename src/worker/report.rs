//! Sends what was noted, in batches, until Cegid has taken it.
//!
//! A batch that is refused is split until the item that is refused stands alone; that one is dead in the ledger. The
//! rest of what can go wrong pauses the stage, and the items stay to be sent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::Context;
use crate::{
    cegid::{CallError, Class, Stage},
    domain::Kind,
    metrics::Outcome,
    outbox::{self, Item},
    tenancy::fence,
};

/// Items of one report; no limit is documented, and this many are taken.
const ITEMS: usize = 100;

/// Reports outcomes of one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let reporter = Reporter { context, kind };
    let context = &reporter.context;
    while !context.stop.asked() {
        match outbox::due(context.database(), &context.tenant, kind, context.now(), ITEMS).await {
            Ok(items) if items.is_empty() => reporter.wait().await,
            Ok(items) => reporter.send(&items).await,
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
    async fn send(&self, items: &[Item]) {
        let context = &self.context;
        let items: Vec<&Item> = items.iter().collect();
        let mut parts = vec![items.as_slice()];
        while let Some(part) = parts.pop() {
            if !context.may_call(Stage::Reports).await {
                return;
            }
            let answer = context.client.report(self.kind, part).await;
            let written = match answer {
                Ok(()) => {
                    context.pace.succeeded(Stage::Reports);
                    self.count("reported", part.len());
                    self.write(part, None).await
                }
                Err(error) if error.class == Class::Query && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    Ok(())
                }
                Err(error) if error.class == Class::Query => {
                    warn!(tenant = %context.tenant, kind = %self.kind, error = %error, "Cegid refuses a report item");
                    self.count("refused", 1);
                    self.write(part, Some(&error)).await
                }
                Err(error) => {
                    context.pace.failed(Stage::Reports, &error);
                    return;
                }
            };
            if let Err(error) = written {
                // They are sent again, which is harmless.
                return context.after_failure("noting what was reported", &error).await;
            }
        }
    }

    async fn write(&self, items: &[&Item], refused: Option<&CallError>) -> sqlx::Result<()> {
        let context = &self.context;
        let Some(mut tx) = fence(context.database(), &context.lease).await? else {
            // The worker is about to be ended.
            context.stop.draining().await;
            return Ok(());
        };
        let now = context.now();
        match refused {
            None => outbox::reported(&mut tx, &context.tenant, self.kind, now, items).await?,
            Some(error) => {
                for item in items {
                    outbox::refused(&mut tx, &context.tenant, self.kind, now, item, &error.to_string()).await?;
                }
            }
        }
        tx.commit().await
    }

    fn count(&self, outcome: &'static str, items: usize) {
        let labels = Outcome { tenant: self.context.tenant.to_string(), kind: self.kind.as_str(), outcome };
        self.context.shared.metrics.reports.get_or_create(&labels).inc_by(items as u64);
    }
}
