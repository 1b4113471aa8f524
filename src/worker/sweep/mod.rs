//! Sweeps: the index converges even if Cegid never calls.
//!
//! One loop per kind does whatever is most urgent of four uses of one mechanism, a row of table `sweep` that keeps where
//! it stopped:
//!
//! | sweep | what it reads | when |
//! |---|---|---|
//! | incremental | what was updated since the run before, whatever its status | hourly |
//! | initial | everything, by windows of update dates, the newest first | once |
//! | full | every live vacancy; then, one by one, those that are live here and were not shown | daily |
//! | rolling | every indexed candidate and every hidden vacancy, by key, spread over its period | all the time |
//!
//! Walks over a list (`walk`) carry whole records and settle subjects directly. What is asked for by key (`reread`) is
//! raised in the queue and takes the way of every other refresh, where an absence is confirmed. Neither removes anything
//! because a list did not show it.

mod page_size;
mod reread;
mod walk;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tracing::info;

use super::Context;
use crate::{
    domain::Kind,
    gaps, subjects,
    sweeps::{self, Sweep, Use},
};
use page_size::PageSize;
pub(super) use walk::Read;

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(30);

/// Sweeps one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let sweeper = Sweeper::new(context, kind);
    let mut planned = false;
    while !sweeper.context.stop.asked() {
        match sweeper.step(&mut planned).await {
            Ok(true) => {}
            Ok(false) => sweeper.context.pause(LOOK).await,
            Err(error) => sweeper.context.after_failure("sweeping", &error).await,
        }
    }
}

pub(super) struct Sweeper {
    context: Arc<Context>,
    kind: Kind,
    /// Of the walks under way: when one is put off, another goes on.
    page_sizes: Mutex<HashMap<(Use, i32), PageSize>>,
    /// Settled since the worker began.
    pages: AtomicU32,
}

impl Sweeper {
    pub(super) fn new(context: Arc<Context>, kind: Kind) -> Sweeper {
        Sweeper { page_sizes: Mutex::default(), pages: AtomicU32::new(0), context, kind }
    }

    /// Does a part of what is most urgent; false when nothing is due.
    async fn step(&self, planned: &mut bool) -> sqlx::Result<bool> {
        let (context, kind) = (self.context.clone(), self.kind);
        let (database, tenant) = (context.database(), &context.tenant);
        gaps::count(database, tenant, kind, context.now(), context.settings.gap_grace).await?;
        if !*planned {
            self.plan().await?;
            *planned = true;
        }
        let bulk = context.settings.bulk_permitted(context.now());
        let Some(mut sweep) = sweeps::next(database, tenant, kind, context.now(), bulk).await? else {
            return Ok(false);
        };
        if sweep.read.is_none() {
            self.begin(&mut sweep).await?;
            if sweep.purpose == Use::Rolling && !sweep.asked {
                // Everything was read when it was loaded, or in the round before.
                self.rest(&sweep).await?;
                return Ok(true);
            }
        }
        let finished = match (sweep.purpose, sweep.listed) {
            (Use::Initial | Use::Incremental, _) | (Use::Full, false) => self.walk(&sweep).await?,
            (Use::Full, true) => self.ask_for_unseen(&sweep).await?,
            (Use::Rolling, _) => self.ask_for_next(&sweep).await?,
        };
        if finished {
            info!(%tenant, %kind, sweep = sweep.purpose.as_str(), run = sweep.position, "a sweep is done");
            self.forget_page_size(&sweep);
            *planned = false;
        }
        Ok(true)
    }

    /// Plans the windows of the initial load, once, and the next run of what recurs.
    async fn plan(&self) -> sqlx::Result<()> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let windows = sweeps::windows(now, context.settings.load_window, context.settings.load_windows);
        sweeps::plan_initial(database, tenant, kind, &windows).await?;
        for purpose in Use::recurring(kind) {
            sweeps::plan(database, tenant, kind, *purpose, self.interval(*purpose), now).await?;
        }
        Ok(())
    }

    fn interval(&self, purpose: Use) -> Duration {
        let settings = &self.context.settings;
        match purpose {
            // A round is spread over its period, and the next one follows.
            Use::Initial | Use::Rolling => Duration::ZERO,
            Use::Incremental => settings.incremental_interval,
            Use::Full => settings.full_interval,
        }
    }

    /// Draws the number that tells what was read since, and lays an incremental window's start before the run before.
    async fn begin(&self, sweep: &mut Sweep) -> sqlx::Result<()> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let read = subjects::draw(database).await?;
        if sweep.purpose == Use::Incremental {
            let before = sweeps::began_before(database, tenant, kind, sweep).await?.unwrap_or(now);
            sweep.since = Some(before - context.settings.overlap(kind));
        }
        sweep.read = Some(read);
        sweeps::begin(database, tenant, kind, sweep, read, now).await
    }

    fn now(&self) -> DateTime<Utc> {
        self.context.now()
    }

    /// Looks at, or changes, how many records a walk asks for at once.
    fn page_size<T>(&self, sweep: &Sweep, look: impl FnOnce(&mut PageSize) -> T) -> T {
        let mut sizes = self.page_sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.context.shared.settings.export.page_size;
        look(sizes.entry((sweep.purpose, sweep.position)).or_insert_with(|| PageSize::new(most)))
    }

    /// A walk is over.
    fn forget_page_size(&self, sweep: &Sweep) {
        self.page_sizes.lock().unwrap_or_else(PoisonError::into_inner).remove(&(sweep.purpose, sweep.position));
    }
}
