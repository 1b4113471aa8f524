//! The retry curve of one subject.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// When a subject that failed is read again.
#[derive(Debug, Clone, Copy)]
pub struct Curve {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub limit: Duration,
    /// Time after which it is buried …
    pub horizon: Duration,
    /// … if it has also failed this often.
    pub min_attempts: u32,
}

impl Curve {
    /// When to read again after so many failures, or `None` to bury it. With the defaults (2 s, 15 min, 3 days):
    ///
    /// | failures | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 and more |
    /// |---|---|---|---|---|---|---|---|---|---|---|
    /// | delay | 2 s | 4 s | 8 s | 16 s | 32 s | 64 s | 128 s | 256 s | 512 s | 900 s |
    ///
    /// | failing for | fewer failures than `min_attempts` | as many or more |
    /// |---|---|---|
    /// | less than `horizon` | read again | read again |
    /// | as long or longer | read again | buried |
    ///
    /// Delays are shortened by up to a quarter, as `jitter` (from 0 to 1) says, so that what failed together does not
    /// come back together.
    pub fn again(&self, failures: u32, since: DateTime<Utc>, now: DateTime<Utc>, jitter: f64) -> Option<DateTime<Utc>> {
        let is_over = (now - since).to_std().is_ok_and(|failing| failing >= self.horizon);
        if is_over && failures >= self.min_attempts {
            return None;
        }
        let delay = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.limit);
        Some(now + delay.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR: u64 = 366 * 24 * 3600 * 1000;

    const CURVE: Curve = Curve {
        first: Duration::from_secs(2),
        limit: Duration::from_secs(900),
        horizon: Duration::from_secs(3 * 24 * 3600),
        min_attempts: 10,
    };

    #[test]
    fn the_table_holds() {
        let start = DateTime::UNIX_EPOCH;
        let delays: Vec<i64> =
            (1..=11).map(|failures| CURVE.again(failures, start, start, 0.0).unwrap().timestamp()).collect();
        assert_eq!(delays, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(CURVE.again(u32::MAX, start, start, 0.0).unwrap().timestamp(), 900);
    }

    #[test]
    fn jitter_shortens_by_a_quarter_at_most() {
        let start = DateTime::UNIX_EPOCH;
        assert_eq!(CURVE.again(3, start, start, 1.0).unwrap().timestamp(), 6);
        assert_eq!(CURVE.again(3, start, start, 9.0).unwrap().timestamp(), 6);
    }

    #[test]
    fn the_horizon_and_the_number_of_attempts_bury_together() {
        let start = DateTime::UNIX_EPOCH;
        let over = start + CURVE.horizon;
        let almost = over - Duration::from_secs(1);
        let buried = |failures, now| CURVE.again(failures, start, now, 0.0).is_none();
        let table = [(9, almost, false), (10, almost, false), (400, almost, false), (2, over, false), (9, over, false)];
        for (failures, now, expected) in table.into_iter().chain([(10, over, true), (400, over, true)]) {
            assert_eq!(buried(failures, now), expected, "{failures} failures until {now}");
        }
    }

    proptest! {
        #[test]
        fn delays_grow_to_the_limit_and_are_shortened_by_a_quarter_at_most(
            first in 0..YEAR,
            limit in 0..10 * YEAR,
            horizon in 0..10 * YEAR,
            min_attempts in 0..1000_u32,
            failures in any::<u32>(),
            since in 0..10 * YEAR,
            until in 0..10 * YEAR,
            jitter in any::<f64>(),
        ) {
            let [first, limit, horizon] = [first, limit, horizon].map(Duration::from_millis);
            let curve = Curve { first, limit, horizon, min_attempts };
            // The clock may have been put back since the first failure.
            let [since, now] = [since, until].map(|millis| DateTime::UNIX_EPOCH + Duration::from_millis(millis));
            let again = |failures, jitter| Some((curve.again(failures, since, now, jitter)? - now).to_std().unwrap());
            let failing = (now - since).to_std().unwrap_or_default();
            let over = now >= since && failing >= horizon && failures >= min_attempts;
            prop_assert_eq!(again(failures, jitter).is_none(), over);
            if over {
                return Ok(());
            }
            let whole = again(failures, 0.0).unwrap();
            // Fractions of long delays are rounded.
            let rounding = Duration::from_micros(1);
            prop_assert!(whole <= limit + rounding && whole + rounding >= first.min(limit));
            prop_assert!(again(failures.saturating_add(1), 0.0).is_none_or(|more| more >= whole));
            prop_assert!(again(failures.saturating_sub(1), 0.0).unwrap() <= whole);
            let shortened = again(failures, jitter).unwrap();
            prop_assert!(whole.mul_f64(0.75) <= shortened + rounding && shortened <= whole, "{shortened:?} of {whole:?}");
            if jitter > 0.0 {
                prop_assert!(again(failures, jitter / 2.0).unwrap() >= shortened);
            }
        }
    }
}
