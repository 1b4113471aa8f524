//! How fast keys are read that Cegid has never shown.
//!
//! Wanted: somebody who invents keys, with one signature that covers no body for example, costs Cegid a bounded number
//! of reads and delays no change of a known subject; nothing of a delivery is lost; a genuine burst of new keys is read
//! in the order of its arrival.
//!
//! Each tenant has a token bucket of a minute's budget, as the time at which it would be full again. Within the budget
//! a subject without a read is due at once, beyond it in its turn at the budget's rate. The bucket is this process's
//! own, so that appending stays one statement: replicas have a budget each, and a restart fills it.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{domain::TenantId, intake::VerifiedCallback};

/// The time that a bucket's budget is for.
const BUDGET_WINDOW: TimeDelta = TimeDelta::minutes(1);

/// The buckets of all tenants.
#[derive(Debug)]
pub(super) struct Budget {
    per_minute: u32,
    full_at: HashMap<TenantId, DateTime<Utc>>,
}

/// When subjects without a read are due that a batch raises: the n-th of a tenant n intervals after its time here.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) tenants: Vec<String>,
    pub(super) after: Vec<DateTime<Utc>>,
    pub(super) interval: Duration,
}

impl Budget {
    /// So many in a minute; no limit when 0.
    pub(super) fn new(per_minute: u32) -> Budget {
        Budget { per_minute, full_at: HashMap::new() }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60).checked_div(self.per_minute).unwrap_or_default()
    }

    /// When the newest callback of each tenant was received.
    fn latest<'a>(callbacks: &[&'a VerifiedCallback]) -> HashMap<&'a TenantId, DateTime<Utc>> {
        let mut latest = HashMap::new();
        for callback in callbacks {
            let at = latest.entry(callback.tenant()).or_insert(callback.received_at());
            *at = (*at).max(callback.received_at());
        }
        latest
    }

    /// The turns of these, if all of them name keys without a read.
    pub(super) fn turns(&self, callbacks: &[&VerifiedCallback]) -> Turns {
        let mut turns = Turns { interval: self.interval(), ..Turns::default() };
        for (tenant, now) in Budget::latest(callbacks) {
            turns.tenants.push(tenant.to_string());
            turns.after.push(self.full_at.get(tenant).copied().unwrap_or(now).max(now) - BUDGET_WINDOW);
        }
        turns
    }

    /// So many of a tenant's subjects without a read were raised.
    pub(super) fn spend(&mut self, callbacks: &[&VerifiedCallback], unread: &[(String, i64)]) {
        let interval = self.interval();
        for (tenant, now) in Budget::latest(callbacks) {
            let count = unread.iter().find(|(name, _)| name == tenant.as_str()).map_or(0, |(_, count)| *count);
            let full_at = self.full_at.entry(tenant.clone()).or_insert(now);
            *full_at = (*full_at).max(now) + interval * u32::try_from(count).unwrap_or(u32::MAX);
        }
    }
}
