//! When a tenant may be called: pauses, probes, how many calls a minute, and how many are under way.
//!
//! Plain state of the replica that works the tenant. One policy per class of failure; `cegid::error` has the table.
//! What concerns the whole tenant, an outage or refused credentials, is the [`breaker`]'s.

mod breaker;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tracing::{info, warn};

use super::{orders::Orders, rate::Rate};
use crate::{
    cegid::{CallError, Class, Stage},
    clock::Clock,
    domain::{Kind, TenantId},
    telemetry::{FailureCount, FailureSeries},
};
use breaker::Breaker;
pub use breaker::Condition;

/// Pause after the first transient failure; it doubles with each.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause, and the pace of probes where credentials or rights are refused.
const PROBE: Duration = Duration::from_secs(300);
/// Pause of a throttled tenant whose answer does not say how long.
const THROTTLED: Duration = Duration::from_secs(60);
/// Longer than any export call: a probe of that kind is told to have ended.
const EXPORT: Duration = Duration::from_secs(24 * 3600);

/// The pause after so many doublings.
fn grown(doublings: u32) -> Duration {
    FIRST.saturating_mul(1 << doublings.min(16)).min(PROBE)
}

/// By up to a quarter, so that what failed together does not come back together.
fn shortened(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - 0.25 * jitter)
}

#[derive(Debug, Default)]
struct State {
    /// Until when Cegid has asked to be left alone.
    throttled: Option<DateTime<Utc>>,
    breaker: Breaker,
    lanes: [LaneState; 8],
    /// By lane and class, for the log.
    series: HashMap<(usize, &'static str), FailureSeries>,
}

impl State {
    fn count_failure(&mut self, lane: Lane, class: &'static str) -> Option<FailureCount> {
        self.series.entry((lane.index(), class)).or_default().failed()
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct LaneState {
    until: Option<DateTime<Utc>>,
    failures: u32,
    /// A right is missing, which nothing else that succeeds can change.
    forbidden: bool,
}

/// What pauses together: one endpoint, but the sweeps apart from the refreshes of the same export, so that a page
/// that Cegid cannot serve does not hold up callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Everything that calls an endpoint.
    Stage(Stage),
    /// The sweeps of a kind.
    Sweep(Kind),
}

impl Lane {
    fn index(self) -> usize {
        match self {
            Lane::Stage(stage) => stage as usize,
            Lane::Sweep(kind) => 6 + kind as usize,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Lane::Stage(stage) => stage.as_str(),
            Lane::Sweep(Kind::Vacancy) => "vacancy sweep",
            Lane::Sweep(Kind::Candidate) => "candidate sweep",
        }
    }
}

impl From<Stage> for Lane {
    fn from(stage: Stage) -> Lane {
        Lane::Stage(stage)
    }
}

/// The pace of one tenant.
#[derive(Debug)]
pub struct Pace {
    tenant: TenantId,
    clock: Clock,
    state: Mutex<State>,
    /// A call has ended: who waits for that looks again.
    ended: Notify,
    condition: watch::Sender<Condition>,
    exports: Semaphore,
    rate: Rate,
    /// What operators have paused; none where nobody can.
    orders: Option<Orders>,
}

/// A place among the exports under way.
#[derive(Debug)]
pub struct Place<'a> {
    pace: &'a Pace,
    lane: Lane,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let now = self.pace.clock.now();
        self.pace.state().breaker.ended(self.lane, now);
        self.pace.ended.notify_waiters();
    }
}

/// Leave for one call. Nobody waits for the outcome of one that was not made.
#[derive(Debug)]
pub struct Leave<'a> {
    pace: &'a Pace,
    lane: Lane,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.pace.state().breaker.forgone(self.lane);
        self.pace.ended.notify_waiters();
    }
}

impl Pace {
    /// Nothing is paused; so many exports may be under way at once.
    pub fn new(tenant: TenantId, clock: Clock, exports: usize) -> Pace {
        Pace {
            tenant,
            clock,
            state: Mutex::default(),
            ended: Notify::new(),
            condition: watch::Sender::new(Condition::Well),
            exports: Semaphore::new(exports),
            rate: Rate::default(),
            orders: None,
        }
    }

    /// With so many calls a minute, 0 for no limit, and what operators say.
    #[must_use]
    pub fn limited(self, calls_per_minute: u32, orders: Orders) -> Pace {
        Pace { rate: Rate::per_minute(calls_per_minute), orders: Some(orders), ..self }
    }

    /// How Cegid stands to the tenant, now and whenever that changes.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the lane must not call. If it may, and calls within `going`, the others wait as far as they must.
    fn paused(&self, lane: Lane, going: Option<Duration>) -> Option<DateTime<Utc>> {
        let now = self.clock.now();
        let mut state = self.state();
        let LaneState { until, failures, .. } = state.lanes[lane.index()];
        let paused = state.throttled.max(until).filter(|until| *until > now);
        let paused = paused.or_else(|| state.breaker.blocked(failures == 0, now));
        if let (None, Some(time)) = (paused, going) {
            state.breaker.goes(lane, now + time);
        }
        paused
    }

    /// Whether an operator has paused the lane.
    fn ordered(&self, lane: Lane) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.pauses(lane))
    }

    /// Waits while the lane is paused, by an operator or after a failure.
    async fn unpaused(&self, lane: Lane) {
        loop {
            if let Some(orders) = &self.orders {
                orders.allow(lane).await;
            }
            // Interest is registered before the look.
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let Some(until) = self.paused(lane, None) else { return };
            tokio::select! {
                () = self.clock.sleep_until(until) => {}
                () = ended => {}
            }
        }
    }

    /// Waits for the next turn that the rate allows.
    async fn turn(&self) {
        self.clock.sleep_until(self.rate.turn(self.clock.now())).await;
    }

    /// Waits until the lane may call. The leave is held until the outcome was told.
    pub async fn ready(&self, lane: impl Into<Lane>) -> Leave<'_> {
        let lane = lane.into();
        loop {
            self.unpaused(lane).await;
            self.turn().await;
            if !self.ordered(lane) && self.paused(lane, Some(PROBE)).is_none() {
                return Leave { pace: self, lane };
            }
        }
    }

    /// Waits until an export may be called, and holds its place while it is under way. No place is held during a pause.
    pub async fn export(&self, lane: impl Into<Lane>) -> Place<'_> {
        let lane = lane.into();
        loop {
            self.unpaused(lane).await;
            // The semaphore is never closed; were it, there would be nothing to wait for.
            let Ok(permit) = self.exports.acquire().await else { std::future::pending().await };
            if self.ordered(lane) || self.paused(lane, None).is_some() {
                continue;
            }
            self.turn().await;
            if !self.ordered(lane) && self.paused(lane, Some(EXPORT)).is_none() {
                return Place { pace: self, lane, _permit: permit };
            }
        }
    }

    /// The call succeeded.
    pub fn succeeded(&self, lane: impl Into<Lane>) {
        let lane = lane.into();
        let mut state = self.state();
        state.lanes[lane.index()] = LaneState::default();
        let over = state.breaker.succeeded();
        match over {
            Condition::Well => {}
            Condition::Away { .. } => info!(tenant = %self.tenant, "Cegid answers again"),
            Condition::AuthFailed { .. } => info!(tenant = %self.tenant, "Cegid accepts the credentials again"),
        }
        for ((_, class), series) in state.series.iter_mut().filter(|((index, _), _)| *index == lane.index()) {
            if let Some(FailureCount { failures, time }) = series.succeeded() {
                let (stage, seconds) = (lane.name(), time.as_secs());
                info!(tenant = %self.tenant, stage, class, failures, seconds, "these calls succeed again");
            }
        }
        if over != Condition::Well {
            state.lanes.iter_mut().filter(|lane| !lane.forbidden).for_each(|lane| lane.until = None);
        }
        self.publish(&state);
        drop(state);
        self.ended.notify_waiters();
    }

    /// The call failed: pauses what its class says.
    pub fn failed(&self, lane: impl Into<Lane>, error: &CallError) {
        let lane = lane.into();
        // The answer was good, and as much of it was read as can be held.
        if error.class == Class::Full {
            return self.succeeded(lane);
        }
        let mut state = self.state();
        self.pause(&mut state, lane, error);
        self.publish(&state);
        drop(state);
        self.ended.notify_waiters();
    }

    fn pause(&self, state: &mut State, lane: Lane, error: &CallError) {
        let now = self.clock.now();
        let failures = state.lanes[lane.index()].failures;
        let pause = match error.class {
            Class::Throttled => {
                let pause = error.retry_after.unwrap_or(THROTTLED);
                state.throttled = state.throttled.max(Some(now + pause));
                state.breaker.neither(lane, now);
                if let Some(FailureCount { failures, .. }) = state.count_failure(lane, error.class.as_str()) {
                    info!(tenant = %self.tenant, seconds = pause.as_secs(), failures, "Cegid asks for a pause");
                }
                return;
            }
            // What was asked is wrong, not Cegid.
            Class::Query | Class::Full => return state.breaker.neither(lane, now),
            Class::Credentials => {
                let pause = state.breaker.refused(lane, now, &error.to_string());
                // An endpoint that refuses what the token endpoint gives may be alone with that.
                let alone = if error.stage != Stage::Token && failures >= 2 { PROBE } else { FIRST };
                pause.max(alone)
            }
            Class::Forbidden => {
                state.breaker.neither(lane, now);
                state.lanes[lane.index()].forbidden = true;
                if let Some(FailureCount { failures, .. }) = state.count_failure(lane, error.class.as_str()) {
                    warn!(
                        tenant = %self.tenant, stage = error.stage.as_str(), failures, error = %error,
                        "Cegid forbids this: {}; it is tried again every 5 minutes, and everything else goes on",
                        error.stage.right()
                    );
                }
                PROBE
            }
            Class::Transient | Class::Unexpected => {
                let jitter = self.jitter(lane, failures);
                let shared = state.breaker.failed(lane, now, &error.to_string(), jitter);
                shared.unwrap_or_else(|| shortened(grown(failures), jitter))
            }
        };
        if error.class != Class::Forbidden
            && let Some(FailureCount { failures, .. }) = state.count_failure(lane, error.class.as_str())
        {
            let (stage, millis) = (error.stage.as_str(), pause.as_millis());
            warn!(tenant = %self.tenant, stage, failures, error = %error, pause_ms = millis, "Cegid is not well");
        }
        let paused = &mut state.lanes[lane.index()];
        paused.until = Some(now + pause);
        paused.failures += 1;
    }

    /// Whether the last call in this lane failed.
    pub fn is_failing(&self, lane: impl Into<Lane>) -> bool {
        self.state().lanes[lane.into().index()].failures > 0
    }

    /// The endpoint refuses everything that it is asked, these items at last: its lane alone pauses, longer each time.
    /// Cegid answers, so that this says nothing about the tenant.
    pub fn refused(&self, lane: impl Into<Lane>, error: &CallError, items: usize) {
        let lane = lane.into();
        let now = self.clock.now();
        let mut state = self.state();
        state.breaker.neither(lane, now);
        let failures = state.lanes[lane.index()].failures;
        let pause = shortened(grown(failures), self.jitter(lane, failures));
        state.lanes[lane.index()].until = Some(now + pause);
        state.lanes[lane.index()].failures += 1;
        let (stage, class, status) = (error.stage.as_str(), error.class.as_str(), error.status);
        if let Some(FailureCount { failures, .. }) = state.count_failure(lane, class) {
            warn!(
                tenant = %self.tenant, stage, items, failures, class, status, pause_ms = pause.as_millis(),
                "Cegid refuses everything that it is asked here: it is asked again after a pause, beginning with others"
            );
        }
        self.publish(&state);
        drop(state);
        self.ended.notify_waiters();
    }

    /// A call for a control failed: the endpoint is not well, whatever the class.
    pub fn control_failed(&self, lane: impl Into<Lane>, error: &CallError) {
        match error.class {
            Class::Query => self.refused(lane, error, 1),
            _ => self.failed(lane, error),
        }
    }

    /// From 0 to 1; other tenants and other lanes get others.
    fn jitter(&self, lane: Lane, failures: u32) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.tenant.as_str(), lane.index(), failures).hash(&mut hasher);
        f64::from((hasher.finish() & 0xffff) as u16) / f64::from(u16::MAX)
    }

    fn publish(&self, state: &State) {
        let now = state.breaker.condition();
        self.condition.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
