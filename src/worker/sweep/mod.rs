//! Sweeps: the index converges even if Cegid never calls.
//!
//! One loop per kind does whatever is most urgent of four uses of one mechanism, a row of table `sweep` that keeps where
//! it stopped:
//!
//! | sweep | what it reads | when |
//! |---|---|---|
//! | incremental | what was updated since the run before, whatever its status | hourly |
//! | initial | everything, by windows of update dates, the newest first | once |
//! | full, vacancies | every live one; then by key those that are live here and were not shown | daily |
//! | full, candidates | everyone; then by key those that are held and were not shown | once a period |
//! | rolling | every hidden vacancy, by key, spread over its period | all the time |
//!
//! Walks over a list (`walk`) carry whole records and settle subjects directly. What is asked for by key (`reread`) is
//! raised in the queue and takes the way of every other refresh, where an absence is confirmed. Neither removes anything
//! because a list did not show it. What a list shows unreadable is remembered, and its place read again (`look_again`).
//!
//! Wanted of the full sweep of candidates: a person who is deleted or anonymised right after a walk has shown them is
//! asked for by key within `rolling_period`. So the next walk begins a period after this one began, less the time that
//! it takes, in permitted hours as long as they suffice.

mod look_again;
mod page_size;
mod reread;
mod settle_page;
mod walk;
mod walk_state;

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
    sweeps::{self, Sweep, Turn, Use},
};
pub(super) use walk::Read;
use walk_state::WalkState;

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(30);
/// From one step of a walk that is spread over a time to the next.
const STEP_INTERVAL: Duration = Duration::from_secs(60);
/// The part of the period over which a walk over all candidates is spread; a few calls a minute at most tenants.
const SPREAD_PART: u32 = 200;
/// A walk over all candidates takes at most this part of its period: it then goes on at any hour.
const LONGEST_PART: u32 = 2;
/// What a walk takes beside the time that it is spread over: asking for what was not shown.
const ASKING_TIME: Duration = Duration::from_secs(600);

/// Sweeps one kind until the worker drains.
pub(super) async fn run(context: Arc<Context>, kind: Kind) {
    let sweeper = Sweeper::new(context, kind);
    let mut planned = false;
    while !sweeper.context.stop.asked() {
        let stepped = sweeper.step(&mut planned).await;
        if sweeper.context.or_wait("sweeping", stepped).await == Some(false) {
            sweeper.context.pause(LOOK).await;
        }
    }
}

pub(super) struct Sweeper {
    context: Arc<Context>,
    kind: Kind,
    /// The walks under way, by purpose and number: when one is put off, another goes on.
    walks: Mutex<HashMap<(Use, i32), WalkState>>,
    /// Settled since the worker began.
    pages: AtomicU32,
}

impl Sweeper {
    pub(super) fn new(context: Arc<Context>, kind: Kind) -> Sweeper {
        Sweeper { walks: Mutex::default(), pages: AtomicU32::new(0), context, kind }
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
        if self.look_again().await? {
            return Ok(true);
        }
        let now = context.now();
        let turn = Turn { now, bulk: context.settings.bulk_permitted(now), needed: self.time_needed() };
        let Some(mut sweep) = sweeps::next(database, tenant, kind, turn).await? else {
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
            self.forget_walk(&sweep);
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
            if self.is_spread(*purpose) {
                self.plan_full_of_candidates().await?;
            } else {
                sweeps::plan(database, tenant, kind, *purpose, self.interval(*purpose), now).await?;
            }
        }
        Ok(())
    }

    /// The next walk over all candidates ends a period after the last one began, and begins as late as permitted hours
    /// let it.
    async fn plan_full_of_candidates(&self) -> sqlx::Result<()> {
        let (context, kind) = (&self.context, self.kind);
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let began = sweeps::last_began(database, tenant, kind, Use::Full).await?.unwrap_or(now);
        let finish_by = began + context.settings.rolling_period;
        let due_at = context.settings.latest_start(finish_by, self.time_needed(), began);
        sweeps::plan_by(database, tenant, kind, Use::Full, due_at, finish_by).await
    }

    /// Whether a walk is spread over a time.
    fn is_spread(&self, purpose: Use) -> bool {
        purpose == Use::Full && self.kind == Kind::Candidate
    }

    /// Over how long a walk over all candidates is spread.
    fn time_of_list(&self) -> Duration {
        self.context.settings.rolling_period / SPREAD_PART
    }

    /// How long such a walk takes at most, with what is asked for by key after it: calls may be slow, and steps late.
    fn time_needed(&self) -> Duration {
        let period = self.context.settings.rolling_period;
        (self.time_of_list() * 2 + ASKING_TIME).min(period / LONGEST_PART)
    }

    /// About how many pages a full list has.
    async fn pages_of_list(&self) -> sqlx::Result<u64> {
        let context = &self.context;
        let listed = subjects::count_listed(context.database(), &context.tenant, self.kind).await?;
        Ok(listed.unsigned_abs() / context.shared.settings.export.page_size as u64 + 1)
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

    /// Looks at, or changes, what is known of a walk.
    fn with_walk<T>(&self, sweep: &Sweep, look: impl FnOnce(&mut WalkState) -> T) -> T {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.context.shared.settings.export.page_size;
        look(walks.entry((sweep.purpose, sweep.position)).or_insert_with(|| WalkState::new(most)))
    }

    /// A walk is over.
    fn forget_walk(&self, sweep: &Sweep) {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.remove(&(sweep.purpose, sweep.position));
    }
}
