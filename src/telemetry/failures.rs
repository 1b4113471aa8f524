//! Log lines for failures that repeat.
//!
//! Wanted: the first failure is logged at once; a summary follows at growing intervals while it repeats, and one line
//! when it is over; every failure is counted in one of these lines. A failure that comes and goes, such as a full disk
//! that still takes small rows, costs two lines a minute at most. A failure that is not worth a line is logged at level
//! debug.
//!
//! Time is the monotonic clock's, so nothing here depends on the clock that callbacks are judged by.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::domain::TenantId;

/// Time from the first line to the first summary; each interval is twice the one before.
const FIRST_SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
const MAX_SUMMARY_INTERVAL: Duration = Duration::from_secs(3600);
/// A failure after this much time without one begins a new series, if nothing said that the old one was over.
const MAX_SERIES_GAP: Duration = Duration::from_secs(2 * 3600);
/// A worker's failures are over after this: more than twice its longest pause before a retry.
const WORKER_QUIET_TIME: Duration = Duration::from_secs(11 * 60);

/// The failures that one line stands for: all of the series so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureCount {
    /// Number of failures.
    pub failures: u64,
    /// Time since the first of them.
    pub time: Duration,
}

#[derive(Debug, Clone, Copy)]
struct OpenSeries {
    since: Instant,
    last: Instant,
    failures: u64,
    is_logged: bool,
}

/// Decides which failures of one kind are worth a line.
#[derive(Debug)]
pub struct FailureSeries {
    open: Option<OpenSeries>,
    /// Time of the last line.
    logged_at: Option<Instant>,
    interval: Duration,
}

impl Default for FailureSeries {
    fn default() -> FailureSeries {
        FailureSeries::new()
    }
}

impl FailureSeries {
    /// Nothing has failed.
    pub const fn new() -> FailureSeries {
        FailureSeries { open: None, logged_at: None, interval: FIRST_SUMMARY_INTERVAL }
    }

    /// Counts a failure. Returns what to log, if a line is due.
    pub fn failed(&mut self) -> Option<FailureCount> {
        let now = Instant::now();
        self.open = self.open.filter(|open| now - open.last < MAX_SERIES_GAP);
        let open = self.open.get_or_insert(OpenSeries { since: now, last: now, failures: 0, is_logged: false });
        (open.failures, open.last) = (open.failures + 1, now);
        if self.logged_at.is_some_and(|at| now - at < self.interval) {
            return None;
        }
        self.logged_at = Some(now);
        if std::mem::replace(&mut open.is_logged, true) {
            self.interval = MAX_SUMMARY_INTERVAL.min(self.interval * 2);
        } else {
            self.interval = FIRST_SUMMARY_INTERVAL;
        }
        Some(open.count())
    }

    /// The same has succeeded. Returns what to log, if failures were logged before, or were left out long enough ago.
    pub fn succeeded(&mut self) -> Option<FailureCount> {
        let is_due = self.open?.is_logged || self.logged_at.is_none_or(|at| at.elapsed() >= FIRST_SUMMARY_INTERVAL);
        if is_due { self.end(Instant::now()) } else { None }
    }

    /// Ends the series if nothing has failed for this long. Returns what to log.
    pub fn end_if_quiet(&mut self, time: Duration) -> Option<FailureCount> {
        let last = self.open?.last;
        if last.elapsed() < time { None } else { self.end(last) }
    }

    fn end(&mut self, at: Instant) -> Option<FailureCount> {
        (self.logged_at, self.interval) = (Some(Instant::now()), FIRST_SUMMARY_INTERVAL);
        self.open.take().map(|open| FailureCount { time: at - open.since, ..open.count() })
    }
}

impl OpenSeries {
    fn count(&self) -> FailureCount {
        FailureCount { failures: self.failures, time: self.last - self.since }
    }
}

/// Logs the failures of one thing that is done again and again.
#[derive(Debug)]
pub struct FailureLog {
    tenant: Option<TenantId>,
    doing: &'static str,
    consequence: &'static str,
    series: Mutex<FailureSeries>,
}

impl FailureLog {
    /// `doing` is the subject of the lines, such as "storing callbacks"; `consequence` is what follows from a failure.
    pub const fn new(doing: &'static str, consequence: &'static str) -> FailureLog {
        FailureLog { tenant: None, doing, consequence, series: Mutex::new(FailureSeries::new()) }
    }

    /// The same about one tenant.
    #[must_use]
    pub fn of_tenant(self, tenant: &TenantId) -> FailureLog {
        FailureLog { tenant: Some(tenant.clone()), ..self }
    }

    /// It failed; the error must say nothing personal.
    pub fn failed(&self, error: &dyn fmt::Display) {
        let count = self.series.lock().unwrap_or_else(PoisonError::into_inner).failed();
        log_failure(self.tenant.as_ref(), self.doing, self.consequence, error, count);
    }

    /// It succeeded.
    pub fn succeeded(&self) {
        let count = self.series.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
        log_success(self.tenant.as_ref(), self.doing, count);
    }
}

/// The failures of all workers, by what was done and for which tenant. They outlive a worker that begins again.
#[derive(Debug, Default)]
pub struct WorkerFailures(Mutex<HashMap<(&'static str, Option<TenantId>), FailureSeries>>);

impl WorkerFailures {
    /// It failed; the error must say nothing personal. `doing` and `consequence` as in [`FailureLog::new`].
    pub fn failed(&self, tenant: Option<&TenantId>, doing: &'static str, consequence: &str, error: &dyn fmt::Display) {
        let count = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry((doing, tenant.cloned())).or_default().failed()
        };
        log_failure(tenant, doing, consequence, error, count);
    }

    /// It succeeded.
    pub fn succeeded(&self, tenant: Option<&TenantId>, doing: &'static str) {
        let count = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.get_mut(&(doing, tenant.cloned())).and_then(FailureSeries::succeeded)
        };
        log_success(tenant, doing, count);
    }

    /// Logs what has not failed for eleven minutes: a stage that has nothing to do cannot say that it succeeded.
    pub fn end_quiet(&self) {
        let mut over = Vec::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, series| {
            let count = series.end_if_quiet(WORKER_QUIET_TIME);
            over.extend(count.map(|count| (key.clone(), count)));
            // Kept while it spaces the lines of what comes and goes.
            series.open.is_some() || series.logged_at.is_some_and(|at| at.elapsed() < FIRST_SUMMARY_INTERVAL)
        });
        for ((doing, tenant), FailureCount { failures, time }) in over {
            let tenant = tenant.as_ref().map(tracing::field::display);
            info!(tenant, failures, seconds = time.as_secs(), "{doing} no longer fails");
        }
    }
}

fn log_failure(
    tenant: Option<&TenantId>,
    doing: &str,
    consequence: &str,
    error: &dyn fmt::Display,
    count: Option<FailureCount>,
) {
    let tenant = tenant.map(tracing::field::display);
    match count {
        Some(FailureCount { failures: 1, .. }) => warn!(tenant, error = %error, "{doing} failed: {consequence}"),
        Some(FailureCount { failures, time }) => {
            warn!(tenant, error = %error, failures, seconds = time.as_secs(), "{doing} keeps failing: {consequence}");
        }
        None => debug!(tenant, error = %error, "{doing} failed again"),
    }
}

fn log_success(tenant: Option<&TenantId>, doing: &str, count: Option<FailureCount>) {
    if let Some(FailureCount { failures, time }) = count {
        let tenant = tenant.map(tracing::field::display);
        info!(tenant, failures, seconds = time.as_secs(), "{doing} works again");
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn pass(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    fn count(failures: u64, seconds: u64) -> Option<FailureCount> {
        Some(FailureCount { failures, time: Duration::from_secs(seconds) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_stays_is_logged_at_once_then_at_growing_intervals_and_when_it_is_over() {
        let mut series = FailureSeries::default();
        let (mut lines, mut last) = (Vec::new(), 0);
        for second in 0..7200 {
            if let Some(count) = series.failed() {
                lines.push(second);
                last = count.failures;
            }
            pass(1).await;
        }
        assert_eq!(lines, [0, 60, 180, 420, 900, 1860, 3780]);
        assert_eq!(last, 3781);
        assert_eq!(series.succeeded(), count(7200, 7200));
        assert_eq!(series.succeeded(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_comes_and_goes_costs_few_lines_and_is_counted_whole() {
        let mut series = FailureSeries::default();
        let (mut failures, mut lines) = (0, 0);
        for _ in 0..3600 {
            lines += u64::from(series.failed().is_some());
            if let Some(over) = series.succeeded() {
                lines += 1;
                failures += over.failures;
            }
            pass(1).await;
        }
        pass(60).await;
        failures += series.succeeded().map_or(0, |over| over.failures);
        assert_eq!(failures, 3600);
        assert!(lines <= 2 * 60, "{lines} lines in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_that_nobody_ends_ends_when_it_is_quiet() {
        let mut series = FailureSeries::default();
        assert_eq!(series.failed(), count(1, 0));
        assert_eq!(series.failed(), None);
        pass(9).await;
        assert_eq!(series.end_if_quiet(Duration::from_secs(10)), None);
        pass(1).await;
        assert_eq!(series.end_if_quiet(Duration::from_secs(10)), count(2, 0));
        assert_eq!(series.end_if_quiet(Duration::from_secs(10)), None);
        pass(3600).await;
        assert_eq!(series.failed(), count(1, 0));
        pass(3 * 3600).await;
        assert_eq!(series.failed(), count(1, 0));
    }
}
