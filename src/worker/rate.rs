//! How many calls a tenant gets in a minute: the generic cell rate algorithm with room for one call, so that any minute
//! has at most as many as the settings allow.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Spaces calls evenly.
#[derive(Debug, Default)]
pub struct Rate {
    /// Between two calls; none without a limit.
    spacing: Option<TimeDelta>,
    /// Before this no call may go.
    next: Mutex<Option<DateTime<Utc>>>,
}

impl Rate {
    /// So many calls a minute; 0 is no limit.
    pub fn per_minute(calls: u32) -> Rate {
        let spacing = (calls > 0).then(|| {
            // Rounded up: a minute must not get one call more.
            TimeDelta::microseconds(60_000_000_i64.div_euclid(i64::from(calls)) + i64::from(60_000_000 % calls != 0))
        });
        Rate { spacing, next: Mutex::new(None) }
    }

    /// Takes the next turn, and says when it is: now, or later.
    pub fn turn(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let Some(spacing) = self.spacing else { return now };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + spacing);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(rate: &Rate, asked: &[i64]) -> Vec<i64> {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        asked.iter().map(|seconds| rate.turn(at(*seconds)).timestamp()).collect()
    }

    #[test]
    fn calls_are_spaced_and_time_unused_is_not_saved_up() {
        assert_eq!(seconds(&Rate::per_minute(6), &[0, 0, 5, 90, 90, 91]), [0, 10, 20, 90, 100, 110]);
    }

    #[test]
    fn without_a_limit_every_call_goes_at_once() {
        assert_eq!(seconds(&Rate::per_minute(0), &[0, 0, 0]), [0, 0, 0]);
    }

    #[test]
    fn no_minute_has_more_calls_than_are_allowed() {
        for calls in [1, 7, 13, 60, 999] {
            let rate = Rate::per_minute(calls);
            let turns: Vec<_> = (0..=calls).map(|_| rate.turn(DateTime::UNIX_EPOCH)).collect();
            assert!(turns[calls as usize] - turns[0] >= TimeDelta::minutes(1), "{calls}");
        }
    }
}
