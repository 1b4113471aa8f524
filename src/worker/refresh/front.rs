//! From when on subjects may be due, as far as is known.
//!
//! The entry of a settled subject stays in the index of the queue until the server may clear it away, and a long
//! transaction anywhere in the database, a dump for example, prevents that for as long as it lasts. Who claims from the
//! beginning each time then reads past everything that was settled since. So a claim begins where the one before has
//! shown that nothing earlier waits.

use chrono::{DateTime, TimeDelta, Utc};

use crate::subjects::Claimed;

/// A callback may be committed so long after it was received, by another replica's clock.
const LATE: TimeDelta = TimeDelta::seconds(60);
/// So often everything is looked at, whatever was shown.
const WHOLE: TimeDelta = TimeDelta::seconds(60);

/// The front of the queue.
#[derive(Debug)]
pub(in crate::worker) struct Front {
    from: DateTime<Utc>,
    whole: Option<DateTime<Utc>>,
}

impl Front {
    /// Nothing is known.
    pub(in crate::worker) fn new() -> Front {
        Front { from: DateTime::UNIX_EPOCH, whole: None }
    }

    /// From when on to claim now.
    pub(super) fn claim(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.whole.is_none_or(|whole| now - whole >= WHOLE) {
            *self = Front { whole: Some(now), ..Front::new() };
        }
        self.from
    }

    /// From when on something may be due.
    pub(super) fn from(&self) -> DateTime<Utc> {
        self.from
    }

    /// A claim at this time has shown these, and there were no more.
    pub(super) fn shown(&mut self, at: DateTime<Utc>, claimed: &[Claimed]) {
        let earliest = claimed.iter().map(|subject| subject.due_at).min();
        self.from = earliest.unwrap_or(DateTime::<Utc>::MAX_UTC).min(at - LATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subjects::State;

    fn due(due_at: DateTime<Utc>) -> Claimed {
        Claimed {
            key: "a".into(),
            wanted: 1,
            state: State::Live,
            attempts: 0,
            failing_since: None,
            absent_since: None,
            unclear_since: None,
            returned_at: None,
            waiting_since: None,
            due_at,
            announced: true,
            released: false,
            unfilterable: false,
        }
    }

    #[test]
    fn a_claim_begins_behind_what_is_known_to_be_settled_and_a_minute_later_from_the_beginning() {
        let start = DateTime::from_timestamp(1_789_000_000, 0).unwrap();
        let at = |seconds| start + TimeDelta::seconds(seconds);
        let mut front = Front::new();
        assert_eq!(front.claim(at(0)), DateTime::UNIX_EPOCH);
        front.shown(at(0), &[]);
        assert_eq!(front.claim(at(30)), at(-60));
        // What was claimed may not be settled: it is shown again.
        front.shown(at(30), &[due(at(20)), due(at(-500))]);
        assert_eq!(front.claim(at(31)), at(-500));
        front.shown(at(31), &[due(at(25))]);
        assert_eq!(front.from(), at(-29));
        assert_eq!(front.claim(at(59)), at(-29));
        assert_eq!(front.claim(at(60)), DateTime::UNIX_EPOCH);
        assert_eq!(front.claim(at(61)), DateTime::UNIX_EPOCH, "until that one has shown something");
    }
}
