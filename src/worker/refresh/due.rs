//! What is due: waited for, claimed, and taken together as far as one call can ask for it.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use super::{super::linger::linger, Front, Refresher};
use crate::{
    cegid::{Query, encoded_length},
    erasure,
    subjects::{self, Claimed, Due},
};

/// Every fourth claim takes subjects that failed first: a quarter of the calls is theirs while any are due, however
/// many others are.
const FAILED_FIRST_INTERVAL: u32 = 4;
/// Bytes of the query that are not keys.
const QUERY_REST: usize = 80;

impl Refresher {
    /// Due subjects. Those that were erased are not read: a later callback's trace of them is taken away instead.
    pub(in crate::worker) async fn claim(&self, most: usize, front: &mut Front) -> sqlx::Result<Vec<Claimed>> {
        let context = &self.context;
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let nth = self.claims.fetch_add(1, Ordering::Relaxed);
        let failed_first = nth % FAILED_FIRST_INTERVAL == FAILED_FIRST_INTERVAL - 1;
        let due = Due { from: front.claim(now), until: now, most, failed_first };
        let mut claimed = subjects::claim(database, tenant, self.kind, due).await?;
        if claimed.len() < most {
            front.shown(now, &claimed);
        }
        if claimed.is_empty() {
            return Ok(claimed);
        }
        let keys: Vec<&str> = claimed.iter().map(|subject| subject.key.as_str()).collect();
        let erased = erasure::erased(database.pool(), tenant, self.kind, &keys).await?;
        if !erased.is_empty() {
            erasure::scrub(database, tenant, self.kind, &erased, now).await?;
            claimed.retain(|subject| !erased.contains(&subject.key));
        }
        Ok(claimed)
    }

    /// Waits while a burst goes on, and takes it.
    pub(super) async fn gather(&self) {
        let queue = &self.context.queues[self.kind as usize];
        while let Some(burst) = queue.burst(self.context.now()) {
            let wait = linger(&burst, &self.context.shared.settings.worker);
            if wait.is_zero() || self.context.stop.asked() {
                break;
            }
            self.context.pause(wait).await;
        }
        queue.take();
    }

    /// Waits until something may be due.
    pub(super) async fn wait(&self, front: &Front) {
        let context = &self.context;
        let poll = context.shared.settings.worker.poll_interval;
        let due = self.next_due(front).await;
        let Some(due) = context.or_wait("reading the queue", due).await else { return };
        tokio::select! {
            () = context.queues[self.kind as usize].arrived() => {}
            () = context.shared.clock.sleep_until(due.min(context.now() + poll)) => {}
            () = context.stop.draining() => {}
        }
    }

    /// When something is due; what is to be read once more is asked for as its time comes.
    async fn next_due(&self, front: &Front) -> sqlx::Result<DateTime<Utc>> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        if subjects::want_again(database, tenant, kind, now).await? > 0 {
            return Ok(now);
        }
        let due = subjects::next_due(database, tenant, kind, front.from()).await?.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let confirm = subjects::next_confirm(database, tenant, kind).await?.unwrap_or(DateTime::<Utc>::MAX_UTC);
        Ok(due.min(confirm))
    }

    /// What is asked for in one call: one that failed before alone, and those that no filter can name together.
    pub(super) fn batch(&self, claimed: Vec<Claimed>) -> Vec<Claimed> {
        // An answer holds 100 records at most, and a control may have to be among them.
        let limit = Query::MOST - 1;
        if claimed.first().is_some_and(|subject| subject.unfilterable) {
            return claimed.into_iter().filter(|subject| subject.unfilterable).take(limit).collect();
        }
        if claimed.first().is_some_and(|subject| subject.attempts > 0) {
            return claimed.into_iter().take(1).collect();
        }
        let fresh = |subject: &Claimed| subject.attempts == 0 && !subject.unfilterable;
        let mut left = self.context.shared.settings.worker.batch_query_bytes.saturating_sub(QUERY_REST);
        let mut batch = Vec::new();
        for subject in claimed.into_iter().filter(fresh).take(limit) {
            let length = encoded_length(&subject.key);
            if length > left && !batch.is_empty() {
                break;
            }
            left = left.saturating_sub(length);
            batch.push(subject);
        }
        batch
    }
}
