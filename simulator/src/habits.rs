//! How the exports behave while nothing fails: what no page says, and what a
//! partner must cope with all the same.

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// The habits that are set.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    lag: Mutex<Option<Duration>>,
}

impl Habits {
    pub(crate) fn set_lag(&self, lag: Option<Duration>) {
        *crate::lock(&self.lag) = lag;
    }

    /// The moment whose truth the exports show, when that is not now.
    pub(crate) fn shown(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let lag = (*crate::lock(&self.lag))?;
        let lag = chrono::Duration::from_std(lag).unwrap_or(chrono::Duration::MAX);
        Some(now.checked_sub_signed(lag).unwrap_or(DateTime::<Utc>::MIN_UTC))
    }
}
