//! What is asked for by key: what is held and a full list did not show; hidden vacancies in their turn.
//!
//! Asking raises subjects in the queue. Reading, judging an absence and confirming it is the refresh's, as for a
//! callback: a record that two reads lack leaves the index, one that is anonymised leaves at once.

use std::time::Duration;

use tracing::{info, warn};

use super::{super::settlement::ABSENCE, Sweeper};
use crate::{
    domain::Kind,
    index::attachments,
    index::documents,
    outbox,
    subjects::{self, Evidence, Next, Settled, State, Unseen, Vanished},
    sweeps::{self, Progress, Sweep},
    tenancy::fence,
};

/// Subjects asked for in one step of a full sweep: a list that was short by error must not cause a flood.
const UNSEEN: usize = 300;
/// Between two such steps; what the last one asked for has been read by then.
const UNSEEN_PAUSE: Duration = Duration::from_secs(60);
/// Subjects of a round asked for in one step, as many as one call can name.
const NEXT: usize = 99;

impl Sweeper {
    /// Asks for what is held and the list did not show; true when nothing is left of it.
    pub(super) async fn ask_for_unseen(&self, sweep: &Sweep) -> sqlx::Result<bool> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, self.now());
        let began = sweep.began.unwrap_or(now);
        let unseen = Unseen { read: sweep.read.unwrap_or(0), began, now, limit: UNSEEN };
        let unseen = subjects::request_unseen(database, tenant, kind, unseen).await?;
        // All documents are looked through: once, when nothing else is left.
        let orphans = if unseen == 0 { subjects::request_orphans(database, tenant, kind, now).await? } else { 0 };
        if orphans > 0 {
            warn!(%tenant, %kind, documents = orphans, "the index holds documents of no subject: they are asked for by key");
        }
        let raised = unseen + orphans;
        let finished = raised == 0;
        if finished {
            database.in_time(self.settle_unlisted(sweep)).await?;
        } else {
            if sweep.records == 0 && sweep.unseen == 0 {
                warn!(%tenant, %kind, "Cegid's full list is empty: what is held is asked for by key");
            }
            info!(%tenant, %kind, subjects = raised, "asking for what is held and Cegid's full list did not show");
            context.queues[kind as usize].wake();
        }
        let progress = Progress {
            next_offset: sweep.next_offset,
            unseen: raised as i64,
            due_at: Some(now + UNSEEN_PAUSE),
            finished,
            ..Progress::default()
        };
        sweeps::advance(database, tenant, kind, sweep, now, &progress).await?;
        Ok(finished)
    }

    /// Settles subjects whose key no filter can name and that two lists in a row did not show, unless either list held
    /// frames that nobody can name. A vacancy is hidden: it is not live, and whether it is archived or deleted cannot
    /// be asked. A candidate is removed: the list is of everyone. Both count for the bulk guard.
    async fn settle_unlisted(&self, sweep: &Sweep) -> sqlx::Result<()> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, self.now());
        let before = sweeps::read_before(database, tenant, kind, sweep).await?;
        let (Some(before), Some(read)) = (before, sweep.read.filter(|_| sweep.unnamed == 0)) else { return Ok(()) };
        // Without the lease the worker is about to be ended.
        let Some(mut tx) = fence(database, &context.lease).await? else { return Ok(()) };
        subjects::forget_listed(&mut tx, tenant, kind, read).await?;
        let unlisted = subjects::unlisted(&mut tx, tenant, kind, before).await?;
        let unlisted: Vec<&str> = unlisted.iter().map(String::as_str).collect();
        let guarded = subjects::hold_back(&mut tx, tenant, kind, now, context.guard(), &unlisted).await?;
        let (held, keys): (Vec<&str>, Vec<&str>) = unlisted.into_iter().partition(|key| guarded.back.contains(*key));
        let (state, removed) = match kind {
            Kind::Vacancy => (State::Hidden, None),
            Kind::Candidate => (State::Removed, Some(ABSENCE)),
        };
        if state == State::Hidden {
            documents::hide(&mut tx, tenant, kind, &keys).await?;
        } else {
            documents::delete(&mut tx, tenant, kind, read, &keys).await?;
            attachments::delete(&mut tx, tenant, kind, read, &keys).await?;
            outbox::forget(&mut tx, tenant, kind, &keys).await?;
        }
        let settled: Vec<Settled<'_>> = keys
            .iter()
            .map(|key| Settled {
                key,
                state,
                removed,
                same: false,
                gap: true,
                returns: false,
                listed: false,
                vanished: Some(Vanished { by: Evidence::Lists, limit: guarded.limit }),
            })
            .collect();
        if subjects::settle(&mut tx, tenant, kind, read, now, &settled).await?.len() < keys.len() {
            // One was read meanwhile: the next run looks again.
            return tx.rollback().await;
        }
        subjects::hold(&mut tx, tenant, kind, now, &held).await?;
        tx.commit().await?;
        if !keys.is_empty() {
            info!(%tenant, %kind, subjects = keys.len(), "subjects that no filter can name are in Cegid's list no more");
        }
        if !held.is_empty() {
            warn!(
                %tenant, %kind, held = held.len(),
                "subjects that no filter can name are in Cegid's list no more, and are held back: check the count in \
                 Cegid, then run `cegid-indexer sweeps confirm`"
            );
        }
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
