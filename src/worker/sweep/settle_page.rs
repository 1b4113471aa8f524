//! A page of a list is written: its records are settled, and what it could not show is remembered.

use std::{collections::HashSet, sync::atomic::Ordering};

use chrono::{DateTime, Utc};
use tracing::warn;

use super::{
    super::settlement::{Indexed, NotWritten, Removal, Settlement, Written},
    Sweeper,
    walk::Read,
};
use crate::{
    domain::Anonymisation,
    metrics::Outcome,
    subjects::{self, Postponed, Unclear, Why},
    sweeps,
    tenancy::fence,
    unreadable::{self, List, Seen},
};

/// Counts of settled pages after which the planner's statistics are out of date.
const ANALYZED: [u32; 3] = [3, 30, 300];

impl Sweeper {
    pub(in super::super) async fn settle(&self, read: Read) -> Result<Written, NotWritten> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant) = (context.database(), &context.tenant);
        self.request_by_key(read.page.broken.iter().filter_map(|broken| broken.key.as_deref())).await?;
        let keys: Vec<String> = read.page.records.iter().map(|record| record.subject.key().to_owned()).collect();
        if keys.is_empty() {
            // A failover ends the lease, and may have lost the pages before this one: their end is not noted then.
            let lease_held = async {
                let fenced = fence(database, &context.lease).await?.ok_or(NotWritten::LeaseLost)?;
                Ok::<_, NotWritten>(fenced.rollback().await?)
            };
            return database.in_time(lease_held).await.map(|()| Written::default());
        }
        let removed = subjects::removed(database, tenant, kind, &keys).await?;
        // Since the first list that showed it again, a read by key had time to bring it back, and did not.
        let confirm = context.shared.settings.worker.confirm_after;
        let is_listed = |since: &Option<DateTime<Utc>>| since.is_some_and(|since| context.now() >= since + confirm);
        let mut settlement = Settlement::new(kind, read.read, context.guard());
        // Nothing was to be announced of what was there before.
        settlement.gaps = !sweeps::loading(database, tenant, kind).await?;
        let mut seen = HashSet::new();
        for record in read.page.records {
            let key = record.subject.key();
            // A list over moving data can show a record twice.
            if !seen.insert(key.to_owned()) {
                continue;
            }
            if record.document.anonymisation == Anonymisation::Yes {
                settlement.removed.push(Removal::anonymised(key));
            } else if record.document.anonymisation == Anonymisation::Unclear {
                if !removed.contains_key(key) {
                    let due_at = context.now() + confirm;
                    settlement.unclear.push(Unclear { key: key.to_owned(), due_at });
                }
            } else if removed.get(key).is_some_and(|since| !is_listed(since)) {
                let due_at = context.now();
                settlement.postponed.push(Postponed { key: key.to_owned(), due_at, why: Why::Asked });
            } else {
                let (noted, returns) = (context.noted(&record.document), removed.contains_key(key));
                settlement.indexed.push(Indexed {
                    document: record.document,
                    noted,
                    announced: false,
                    returns,
                    returns_by_list: returns,
                    listed_as_live: read.published,
                });
            }
        }
        let asked = !settlement.postponed.is_empty() || !settlement.unclear.is_empty();
        let written = settlement.write(database, &context.lease, context.now()).await?;
        self.request_by_key(written.unstorable.iter().map(|(key, _)| key.as_str())).await?;
        for (_, cause) in &written.unstorable {
            let failures = &context.shared.failures;
            failures.failed(Some(tenant), "storing a record of a sweep", "it is asked for by key", cause);
        }
        if asked {
            context.queues[kind as usize].wake();
        }
        context.wrote();
        let pages = self.pages.fetch_add(1, Ordering::Relaxed) + 1;
        if ANALYZED.contains(&pages) {
            database.analyze().await?;
        }
        self.count(&written);
        Ok(written)
    }

    /// Has records read by key that the page could not give, so that they take the way of every record that cannot be
    /// indexed, and Cegid is told.
    async fn request_by_key(&self, keys: impl Iterator<Item = &str>) -> sqlx::Result<()> {
        let context = &self.context;
        for key in keys {
            subjects::want_once(context.database(), &context.tenant, self.kind, key, context.now()).await?;
            context.queues[self.kind as usize].wake();
        }
        Ok(())
    }

    fn count(&self, written: &Written) {
        let context = &self.context;
        context.count_doubts(self.kind, written);
        for (outcome, count) in [("loaded", written.indexed), ("same", written.same), ("removed", written.removed)] {
            if count > 0 {
                let labels = Outcome { tenant: context.tenant.to_string(), kind: self.kind.as_str(), outcome };
                context.shared.metrics.settled.get_or_create(&labels).inc_by(count as u64);
            }
        }
        if written.noted > 0 {
            context.noted[self.kind as usize].notify_one();
        }
    }

    /// Remembers what a page of a list could not show, and says so once.
    pub(super) async fn remember(&self, list: &List, seen: &[Seen]) -> Result<(), NotWritten> {
        if seen.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        let (tenant, kind) = (&context.tenant, self.kind);
        let remembering = async {
            let mut tx = fence(context.database(), &context.lease).await?.ok_or(NotWritten::LeaseLost)?;
            let new = unreadable::remember(&mut tx, tenant, kind, context.now(), list, seen).await?;
            tx.commit().await?;
            Ok::<_, NotWritten>(new)
        };
        let new = context.database().in_time(remembering).await?;
        if new > 0 {
            warn!(
                %tenant, %kind, records = new, cause = seen.first().map(|seen| seen.cause.as_str()),
                "records of a list cannot be read: their places are read again; `cegid-indexer sweeps list` counts them"
            );
        }
        Ok(())
    }
}
