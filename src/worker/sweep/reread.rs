//! What is asked for by key: live vacancies that a full list did not show; candidates and hidden vacancies in their turn.
//!
//! Asking raises subjects in the queue. Reading, judging an absence and confirming it is the refresh's, as for a
//! callback: a record that two reads lack leaves the index, one that is anonymised leaves at once.

use std::time::Duration;

use tracing::{info, warn};

use super::Sweeper;
use crate::{
    index::documents,
    subjects::{self, Next, Settled, Since, State},
    sweeps::{self, Progress, Sweep},
    tenancy::fence,
};

/// Vacancies asked for in one step of a full sweep: a list that was short by error must not cause a flood.
const UNSEEN: usize = 300;
/// Between two such steps; what the last one asked for has been read by then.
const UNSEEN_PAUSE: Duration = Duration::from_secs(60);
/// Subjects of a round asked for in one step, as many as one call can name.
const NEXT: usize = 99;

impl Sweeper {
    /// Asks for live vacancies that the list did not show; true when none is left.
    pub(super) async fn ask_for_unseen(&self, sweep: &Sweep) -> sqlx::Result<bool> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, self.now());
        let mut progress = Progress { next_offset: sweep.next_offset, ..Progress::default() };
        if sweep.records == 0 {
            warn!(%tenant, %kind, "Cegid's list of live vacancies is empty: nothing is concluded from it");
            progress.finished = true;
        } else {
            let since = Since { read: sweep.read.unwrap_or(0), now, most: UNSEEN };
            let raised = subjects::want_unseen(database, tenant, kind, since).await?;
            progress.unseen = raised as i64;
            progress.due_at = Some(now + UNSEEN_PAUSE);
            progress.finished = raised == 0;
            if progress.finished {
                self.hide_unlisted(sweep).await?;
            }
            if raised > 0 {
                info!(%tenant, %kind, subjects = raised, "asking for live vacancies that Cegid's list did not show");
                context.queues[kind as usize].wake();
            }
        }
        sweeps::advance(database, tenant, kind, sweep, now, &progress).await?;
        Ok(progress.finished)
    }

    /// Hides vacancies whose reference no filter can name and that two lists in a row did not show: they are not live,
    /// and whether they are archived or deleted cannot be asked. A list that shows one again makes it searchable.
    async fn hide_unlisted(&self, sweep: &Sweep) -> sqlx::Result<()> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, self.now());
        let before = sweeps::read_before(database, tenant, kind, sweep).await?;
        let (Some(before), Some(read)) = (before, sweep.read) else { return Ok(()) };
        // Without the lease the worker is about to be ended.
        let Some(mut tx) = fence(database, &context.lease).await? else { return Ok(()) };
        let keys = subjects::unlisted(&mut tx, tenant, kind, before).await?;
        if keys.is_empty() {
            return tx.rollback().await;
        }
        let hidden: Vec<Settled<'_>> = keys
            .iter()
            .map(|key| Settled { key, state: State::Hidden, removed: None, same: false, gap: true, returns: false })
            .collect();
        documents::hide(&mut tx, tenant, kind, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        if subjects::settle(&mut tx, tenant, kind, read, now, &hidden).await?.len() < keys.len() {
            // One was read meanwhile: the next run looks again.
            return tx.rollback().await;
        }
        tx.commit().await?;
        info!(%tenant, %kind, subjects = keys.len(), "vacancies that cannot be asked for by name are live no more");
        Ok(())
    }

    /// Asks for the next subjects of a round; true when none is left.
    pub(super) async fn ask_for_next(&self, sweep: &Sweep) -> sqlx::Result<bool> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, self.now());
        let next = Next { after: &sweep.next_key, most: NEXT, returning: context.settings.rolling_period };
        let next = subjects::want_next(database, tenant, kind, now, next).await?;
        let mut progress = Progress { next_offset: sweep.next_offset, ..Progress::default() };
        progress.unseen = next.raised;
        match next.last {
            Some(last) => {
                progress.next_key = last;
                // An operator does not wait for the pace.
                progress.due_at = if sweep.asked { None } else { Some(now + self.pace().await?) };
            }
            None => progress.finished = true,
        }
        if next.raised > 0 {
            context.queues[kind as usize].wake();
        }
        sweeps::advance(database, tenant, kind, sweep, now, &progress).await?;
        if sweep.asked {
            context.pause(context.settings.load_pause).await;
        }
        Ok(progress.finished)
    }

    /// Waits for the first step of a round.
    pub(super) async fn rest(&self, sweep: &Sweep) -> sqlx::Result<()> {
        let (context, now) = (&self.context, self.now());
        let progress = Progress { due_at: Some(now + self.pace().await?), ..Progress::default() };
        sweeps::advance(context.database(), &context.tenant, self.kind, sweep, now, &progress).await
    }

    /// Until the next step of a round: what is permitted of its period, divided by the steps that it takes.
    async fn pace(&self) -> sqlx::Result<Duration> {
        let context = &self.context;
        let subjects = subjects::in_round(context.database(), &context.tenant, self.kind).await?;
        let steps = u32::try_from(subjects.unsigned_abs().div_ceil(NEXT as u64)).unwrap_or(u32::MAX).max(1);
        Ok(context.settings.rolling_period.mul_f64(context.settings.bulk_hours.share()) / steps)
    }
}
