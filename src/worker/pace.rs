//! When a tenant may be called: pauses, how many calls a minute, and how many are under way.
//!
//! Plain state of the replica that works the tenant. One policy per class of failure; `cegid::error` has the table.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tracing::{info, warn};

use super::{orders::Orders, rate::Rate};
use crate::{
    cegid::{CallError, Class, Stage},
    clock::Clock,
    domain::{Kind, TenantId},
};

/// Pause after the first transient failure of a stage; it doubles with each.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause of a stage, and the pace of probes where credentials or rights are refused.
const PROBE: Duration = Duration::from_secs(300);
/// Pause of a throttled tenant whose answer does not say how long.
const THROTTLED: Duration = Duration::from_secs(60);
/// Refusals of the credentials before only probes are sent.
const REFUSALS: u32 = 3;

#[derive(Debug, Default)]
struct State {
    /// Of the whole tenant.
    until: Option<DateTime<Utc>>,
    credentials_refused: u32,
    lanes: [LaneState; 8],
}

#[derive(Debug, Default, Clone, Copy)]
struct LaneState {
    until: Option<DateTime<Utc>>,
    failures: u32,
}

/// What pauses together: one endpoint, but the initial load apart from the refreshes of the same export, so that a page
/// that Cegid cannot serve does not hold up callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Everything that calls an endpoint.
    Stage(Stage),
    /// The initial load of a kind.
    Load(Kind),
}

impl Lane {
    fn index(self) -> usize {
        match self {
            Lane::Stage(stage) => stage as usize,
            Lane::Load(kind) => 6 + kind as usize,
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
    exports: Semaphore,
    rate: Rate,
    /// What operators have paused; none where nobody can.
    orders: Option<Orders>,
    auth: watch::Sender<Auth>,
}

/// Whether Cegid accepts the credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing was asked yet, or what was refused may have been chance.
    #[default]
    Unknown,
    /// The last call got through.
    Accepted,
    /// What it says, and what to do.
    Refused(String),
}

impl Pace {
    /// Nothing is paused; so many exports may be under way at once.
    pub fn new(tenant: TenantId, clock: Clock, exports: usize) -> Pace {
        Pace {
            tenant,
            clock,
            state: Mutex::default(),
            exports: Semaphore::new(exports),
            rate: Rate::default(),
            orders: None,
            auth: watch::Sender::default(),
        }
    }

    /// With so many calls a minute, 0 for no limit, and what operators say.
    #[must_use]
    pub fn limited(self, calls_per_minute: u32, orders: Orders) -> Pace {
        Pace { rate: Rate::per_minute(calls_per_minute), orders: Some(orders), ..self }
    }

    /// Whether Cegid accepts the credentials, as it changes.
    pub fn auth(&self) -> watch::Receiver<Auth> {
        self.auth.subscribe()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the stage must not be called.
    fn paused(&self, lane: Lane) -> Option<DateTime<Utc>> {
        let state = self.state();
        state.until.max(state.lanes[lane.index()].until).filter(|until| *until > self.clock.now())
    }

    /// Whether the stage may be called now, but for the rate.
    fn free(&self, lane: Lane) -> bool {
        self.paused(lane).is_none() && !self.orders.as_ref().is_some_and(|orders| orders.pauses(lane))
    }

    /// Waits while the stage is paused, by an operator or after a failure.
    async fn unpaused(&self, lane: Lane) {
        while !self.free(lane) {
            if let Some(orders) = &self.orders {
                orders.allow(lane).await;
            }
            if let Some(until) = self.paused(lane) {
                self.clock.sleep_until(until).await;
            }
        }
    }

    /// Waits for the next turn that the rate allows.
    async fn turn(&self) {
        self.clock.sleep_until(self.rate.turn(self.clock.now())).await;
    }

    /// Waits until the stage may be called.
    pub async fn ready(&self, lane: impl Into<Lane>) {
        let lane = lane.into();
        loop {
            self.unpaused(lane).await;
            self.turn().await;
            if self.free(lane) {
                return;
            }
        }
    }

    /// Waits until an export may be called, and holds its place while it is under way. No place is held during a pause.
    pub async fn export(&self, lane: impl Into<Lane>) -> SemaphorePermit<'_> {
        let lane = lane.into();
        loop {
            self.unpaused(lane).await;
            // The semaphore is never closed; were it, there would be nothing to wait for.
            let Ok(place) = self.exports.acquire().await else { std::future::pending().await };
            if self.free(lane) {
                self.turn().await;
                if self.free(lane) {
                    return place;
                }
            }
        }
    }

    /// The call succeeded.
    pub fn succeeded(&self, lane: impl Into<Lane>) {
        let lane = lane.into();
        let mut state = self.state();
        if state.credentials_refused >= REFUSALS {
            info!(tenant = %self.tenant, "Cegid accepts the credentials again");
        }
        state.credentials_refused = 0;
        self.auth.send_if_modified(|auth| std::mem::replace(auth, Auth::Accepted) != Auth::Accepted);
        state.lanes[lane.index()] = LaneState::default();
    }

    /// The call failed: pauses what its class says.
    pub fn failed(&self, lane: impl Into<Lane>, error: &CallError) {
        let lane = lane.into();
        let now = self.clock.now();
        let mut state = self.state();
        match error.class {
            Class::Throttled => {
                let pause = error.retry_after.unwrap_or(THROTTLED);
                state.until = state.until.max(Some(now + pause));
                info!(tenant = %self.tenant, seconds = pause.as_secs(), "Cegid asks for a pause");
                return;
            }
            Class::Credentials => {
                state.credentials_refused += 1;
                let refused = state.credentials_refused;
                let pause = if refused < REFUSALS { FIRST } else { PROBE };
                state.until = state.until.max(Some(now + pause));
                if refused == REFUSALS {
                    self.auth.send_replace(Auth::Refused(format!(
                        "{error}: ask the tenant's administrator whether the client secret was changed or the \
                         application disabled"
                    )));
                    warn!(
                        tenant = %self.tenant, error = %error,
                        "Cegid refuses the credentials: ask the tenant's administrator whether the client secret was \
                         changed or the application disabled; callbacks are stored, and a probe goes out every 5 minutes"
                    );
                }
            }
            Class::Forbidden => {
                state.lanes[lane.index()].until = Some(now + PROBE);
                warn!(
                    tenant = %self.tenant, stage = error.stage.as_str(),
                    "Cegid forbids this: ask the tenant's administrator for the right; it is tried again every 5 minutes"
                );
            }
            Class::Transient | Class::Unexpected => {
                let failures = state.lanes[lane.index()].failures;
                let pause = FIRST.saturating_mul(1 << failures.min(16)).min(PROBE);
                state.lanes[lane.index()].until = Some(now + pause);
                warn!(tenant = %self.tenant, stage = error.stage.as_str(), error = %error, pause = pause.as_secs(), "Cegid is not well");
            }
            // What was asked is wrong, not Cegid.
            Class::Query => {}
        }
        state.lanes[lane.index()].failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: Class, retry_after: Option<u64>) -> CallError {
        CallError { retry_after: retry_after.map(Duration::from_secs), ..CallError::new(Stage::Vacancies, class, "x") }
    }

    fn pause(errors: &[CallError], stage: Stage) -> i64 {
        let clock = Clock::turned(DateTime::UNIX_EPOCH);
        let pace = Pace::new("acme".parse().unwrap(), clock, 1);
        for error in errors {
            pace.failed(Stage::Vacancies, error);
        }
        let state = pace.state();
        state.until.max(state.lanes[Lane::from(stage).index()].until).map_or(0, |until| until.timestamp())
    }

    #[test]
    fn transient_failures_pause_their_stage_longer_each_time() {
        let transient = || error(Class::Transient, None);
        assert_eq!(pause(&[transient()], Stage::Vacancies), 1);
        assert_eq!(pause(&[transient(), transient(), transient()], Stage::Vacancies), 4);
        assert_eq!(pause(&std::array::from_fn::<_, 40, _>(|_| transient()), Stage::Vacancies), 300);
        assert_eq!(pause(&[transient()], Stage::Reports), 0);
    }

    #[test]
    fn throttling_pauses_the_tenant_as_long_as_asked() {
        assert_eq!(pause(&[error(Class::Throttled, Some(7))], Stage::Reports), 7);
        assert_eq!(pause(&[error(Class::Throttled, None)], Stage::Reports), 60);
    }

    #[test]
    fn refused_credentials_are_probed_slowly_after_three() {
        let refused = || error(Class::Credentials, None);
        assert_eq!(pause(&[refused(), refused()], Stage::Reports), 1);
        assert_eq!(pause(&[refused(), refused(), refused()], Stage::Reports), 300);
    }

    #[test]
    fn a_missing_right_pauses_its_stage_only() {
        assert_eq!(pause(&[error(Class::Forbidden, None)], Stage::Vacancies), 300);
        assert_eq!(pause(&[error(Class::Forbidden, None)], Stage::Reports), 0);
    }
}
