//! The circuit breaker of one tenant: while Cegid is away or refuses the credentials, one probe at a time.
//!
//! Wanted properties: a tenant that is away gets one call per pause, whoever would make it, instead of one per lane; the
//! first success lets everybody go on at once; a lane that nothing was wrong with need not wait for the others' pause,
//! so that one broken endpoint cannot hold up the rest; a call that was under way when it opened says nothing new.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{FIRST, Lane, PROBE, grown, shortened};

/// Transient failures in a row, over all lanes, after which the tenant is away.
const FAILURES: u32 = 5;
/// Refusals of the credentials before only a probe is sent every [`PROBE`].
const REFUSALS: u32 = 3;

/// How Cegid stands to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It answers, as far as is known.
    Well,
    /// Nothing succeeds: it is probed until something does.
    Away {
        /// The first failure.
        since: DateTime<Utc>,
        /// The last failure.
        says: String,
    },
    /// It refuses the credentials: it is probed until it takes them again.
    AuthFailed {
        /// The first refusal.
        since: DateTime<Utc>,
        /// The last refusal.
        says: String,
    },
}

/// Failures without a success in between.
#[derive(Debug, Default)]
struct Streak {
    count: u32,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    says: String,
}

impl Streak {
    fn more(&mut self, now: DateTime<Utc>, says: &str) {
        self.count += 1;
        self.since.get_or_insert(now);
        says.clone_into(&mut self.says);
    }
}

/// The call that is let through.
#[derive(Debug, Clone, Copy)]
struct Probe {
    lane: Lane,
    /// Without an outcome by then it is taken for given up.
    lapses: DateTime<Utc>,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    outage: Streak,
    refused: Streak,
    probe: Option<Probe>,
}

impl Breaker {
    pub(super) fn condition(&self) -> Condition {
        match (self.refused.since, self.outage.since) {
            (Some(since), _) if self.refused.count >= REFUSALS => {
                Condition::AuthFailed { since, says: self.refused.says.clone() }
            }
            (_, Some(since)) if self.is_open() => Condition::Away { since, says: self.outage.says.clone() },
            _ => Condition::Well,
        }
    }

    fn is_open(&self) -> bool {
        self.outage.count >= FAILURES
    }

    fn probes(&self) -> bool {
        self.is_open() || self.refused.count > 0
    }

    /// Until when a lane waits, at most; `fresh` when nothing has failed in it.
    pub(super) fn blocked(&self, fresh: bool, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !self.probes() {
            return None;
        }
        let outage = if self.is_open() && !fresh { self.outage.until } else { None };
        let under_way = self.probe.map(|probe| probe.lapses);
        self.refused.until.max(outage).max(under_way).filter(|until| *until > now)
    }

    /// A lane that is not blocked calls; the others wait for the outcome, or until it lapses.
    pub(super) fn goes(&mut self, lane: Lane, lapses: DateTime<Utc>) {
        if self.probes() {
            self.probe = Some(Probe { lane, lapses });
        }
    }

    /// The lane's call has ended: its outcome follows at once, or never.
    pub(super) fn ended(&mut self, lane: Lane, now: DateTime<Utc>) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.lane == lane) {
            probe.lapses = probe.lapses.min(now + FIRST);
        }
    }

    /// The lane has made no call after all, or its outcome is known already.
    pub(super) fn forgone(&mut self, lane: Lane) {
        self.was_probe(lane);
    }

    /// Whether the outcome of this lane is that of the probe, which is then over.
    fn was_probe(&mut self, lane: Lane) -> bool {
        self.probe.take_if(|probe| probe.lane == lane).is_some()
    }

    /// Cegid, or the way to it, is not well. Gives how long the lane waits if that is not its own affair.
    pub(super) fn failed(&mut self, lane: Lane, now: DateTime<Utc>, says: &str, jitter: f64) -> Option<Duration> {
        let probe = self.was_probe(lane);
        if self.is_open() && !probe {
            return Some(FIRST);
        }
        self.outage.more(now, says);
        self.refused_again(probe, now);
        if !self.is_open() {
            return None;
        }
        let pause = grown(self.outage.count - FAILURES);
        self.outage.until = Some(now + shortened(pause, jitter));
        // The lane that has probed waits longer than the others, so that not always the same one does.
        Some(pause)
    }

    /// The credentials are refused. Gives how long the lane waits.
    pub(super) fn refused(&mut self, lane: Lane, now: DateTime<Utc>, says: &str) -> Duration {
        let probe = self.was_probe(lane);
        if probe || self.refused.count == 0 {
            self.refused.more(now, says);
            self.refused.until = Some(now + self.refusal_pause());
        }
        let pause = self.refusal_pause();
        pause + pause / 16
    }

    fn refusal_pause(&self) -> Duration {
        if self.refused.count < REFUSALS { FIRST } else { PROBE }
    }

    /// Something else came of the call: neither a success nor a sign that Cegid is away.
    pub(super) fn neither(&mut self, lane: Lane, now: DateTime<Utc>) {
        let probe = self.was_probe(lane);
        self.refused_again(probe, now);
        if probe && self.is_open() {
            self.outage.until = self.outage.until.max(Some(now + FIRST));
        }
    }

    /// A probe that said nothing about the credentials: the next one is no sooner.
    fn refused_again(&mut self, probe: bool, now: DateTime<Utc>) {
        if probe && self.refused.count > 0 {
            self.refused.until = Some(now + self.refusal_pause());
        }
    }

    /// A call succeeded; gives the condition that this ends.
    pub(super) fn succeeded(&mut self) -> Condition {
        std::mem::take(self).condition()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cegid::Stage, domain::Kind};

    const VACANCIES: Lane = Lane::Stage(Stage::Vacancies);
    const REPORTS: Lane = Lane::Stage(Stage::Reports);
    const LOAD: Lane = Lane::Sweep(Kind::Vacancy);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        for lane in [VACANCIES, LOAD, VACANCIES, LOAD, VACANCIES] {
            assert_eq!(breaker.blocked(false, at(0)), None);
            breaker.failed(lane, at(0), "503", 0.0);
        }
        breaker
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_not_when_something_succeeds_in_between() {
        assert_eq!(open().condition(), Condition::Away { since: at(0), says: "503".into() });
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(breaker.failed(REPORTS, at(0), "503", 0.0), None);
            }
            breaker.succeeded();
        }
        assert_eq!(breaker.condition(), Condition::Well);
        assert_eq!(breaker.blocked(false, at(0)), None);
    }

    #[test]
    fn one_probe_at_a_time_after_a_pause_that_grows_to_five_minutes() {
        let mut breaker = open();
        let (mut now, mut pauses) = (at(0), Vec::new());
        for _ in 0..12 {
            let until = breaker.blocked(false, now).unwrap();
            pauses.push((until - now).num_seconds());
            now = until;
            assert_eq!(breaker.blocked(false, now), None);
            breaker.goes(REPORTS, now + PROBE);
            assert_eq!(breaker.blocked(false, now), Some(now + PROBE), "a second probe");
            assert_eq!(breaker.blocked(true, now), Some(now + PROBE), "a second probe");
            assert!(breaker.failed(REPORTS, now, "503", 0.0).is_some());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn a_call_from_before_it_opened_says_nothing_new() {
        let mut breaker = open();
        for _ in 0..8 {
            breaker.failed(REPORTS, at(0), "503", 0.0);
        }
        assert_eq!(breaker.blocked(false, at(0)), Some(at(1)));
    }

    #[test]
    fn a_lane_that_nothing_was_wrong_with_does_not_wait_for_the_others_pause() {
        let mut breaker = open();
        assert_eq!(breaker.blocked(true, at(0)), None);
        breaker.goes(REPORTS, at(300));
        assert!(matches!(breaker.succeeded(), Condition::Away { .. }));
        assert_eq!(breaker.blocked(false, at(0)), None);
        assert_eq!(breaker.succeeded(), Condition::Well);
    }

    #[test]
    fn a_probe_without_an_outcome_is_given_up() {
        let mut breaker = open();
        breaker.goes(REPORTS, at(300));
        assert_eq!(breaker.blocked(false, at(10)), Some(at(300)));
        breaker.ended(VACANCIES, at(10));
        assert_eq!(breaker.blocked(false, at(10)), Some(at(300)), "ended by another lane");
        breaker.ended(REPORTS, at(10));
        assert_eq!(breaker.blocked(false, at(11)), None);
    }

    #[test]
    fn a_probe_that_was_not_sent_keeps_nobody_waiting() {
        let mut breaker = open();
        breaker.goes(REPORTS, at(300));
        breaker.forgone(VACANCIES);
        assert_eq!(breaker.blocked(true, at(0)), Some(at(300)), "of another lane");
        breaker.forgone(REPORTS);
        assert_eq!(breaker.blocked(true, at(0)), None);
    }

    #[test]
    fn refused_credentials_are_probed_every_five_minutes_after_three() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            breaker.goes(VACANCIES, now + PROBE);
            breaker.refused(VACANCIES, now, "400 invalid_client");
            // Those that waited for the same token.
            breaker.refused(REPORTS, now, "400 invalid_client");
            breaker.refused(LOAD, now, "400 invalid_client");
            let until = breaker.blocked(true, now).unwrap();
            pauses.push((until - now).num_seconds());
            now = until;
        }
        assert_eq!(pauses, [1, 1, 300, 300, 300, 300]);
        assert_eq!(breaker.condition(), Condition::AuthFailed { since: at(0), says: "400 invalid_client".into() });
        breaker.succeeded();
        assert_eq!(breaker.condition(), Condition::Well);
    }

    #[test]
    fn an_outage_while_credentials_are_refused_does_not_hasten_the_probes() {
        let mut breaker = Breaker::default();
        for second in 0..3 {
            breaker.goes(VACANCIES, at(second) + PROBE);
            breaker.refused(VACANCIES, at(second), "400");
        }
        breaker.goes(VACANCIES, at(800));
        breaker.failed(VACANCIES, at(400), "503", 0.0);
        assert_eq!(breaker.blocked(true, at(400)), Some(at(700)));
        breaker.goes(VACANCIES, at(1000));
        breaker.neither(VACANCIES, at(700));
        assert_eq!(breaker.blocked(true, at(700)), Some(at(1000)));
    }
}
