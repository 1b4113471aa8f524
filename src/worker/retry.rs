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
    /// Buried after so long.
    pub horizon: Duration,
}

impl Curve {
    /// When to read again after so many failures, or `None` to bury it. With the defaults (2 s, 15 min, 3 days):
    ///
    /// | failures | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 and more |
    /// |---|---|---|---|---|---|---|---|---|---|---|
    /// | delay | 2 s | 4 s | 8 s | 16 s | 32 s | 64 s | 128 s | 256 s | 512 s | 900 s |
    ///
    /// each shortened by up to a quarter, as `jitter` (from 0 to 1) says, so that what failed together does not come
    /// back together.
    pub fn again(&self, failures: u32, since: DateTime<Utc>, now: DateTime<Utc>, jitter: f64) -> Option<DateTime<Utc>> {
        if (now - since).to_std().is_ok_and(|failing| failing >= self.horizon) {
            return None;
        }
        let delay = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.limit);
        Some(now + delay.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: Curve = Curve {
        first: Duration::from_secs(2),
        limit: Duration::from_secs(900),
        horizon: Duration::from_secs(3 * 24 * 3600),
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
    fn the_horizon_buries() {
        let start = DateTime::UNIX_EPOCH;
        let almost = start + CURVE.horizon - Duration::from_secs(1);
        assert!(CURVE.again(400, start, almost, 0.0).is_some());
        assert!(CURVE.again(400, start, start + CURVE.horizon, 0.0).is_none());
    }
}
