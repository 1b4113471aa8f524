//! Hand-over inside the process: what was committed, for the worker that waits.
//!
//! A hint. The table is the truth and the worker polls it, so whatever is forgotten here is found there.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    domain::{Kind, Subject, TenantId},
};

/// Subjects told apart in one burst; beyond, the burst counts as not repeating itself.
const DISTINCT: usize = 4096;

/// One burst: what arrived since the worker last took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Callbacks.
    pub callbacks: usize,
    /// Subjects that they named.
    pub subjects: usize,
    /// How long ago the first one came.
    pub age: TimeDelta,
    /// How long ago the last one came.
    pub quiet: TimeDelta,
    /// How long before the first one the one before it came.
    pub lull: TimeDelta,
}

#[derive(Debug, Default)]
struct Gathered {
    callbacks: usize,
    subjects: HashSet<u64>,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

/// What arrives for one tenant and kind.
#[derive(Debug, Default)]
pub struct Queue {
    gathered: Mutex<Gathered>,
    wake: Notify,
}

impl Queue {
    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, subject: &Subject, now: DateTime<Utc>) {
        let mut gathered = self.gathered();
        if gathered.first.is_none() {
            gathered.before = gathered.last;
            gathered.first = Some(now);
        }
        gathered.last = Some(now);
        gathered.callbacks += 1;
        if gathered.subjects.len() < DISTINCT {
            let mut hasher = DefaultHasher::new();
            subject.key().hash(&mut hasher);
            gathered.subjects.insert(hasher.finish());
        }
        drop(gathered);
        self.wake.notify_one();
    }

    /// The burst that waits to be taken.
    pub fn burst(&self, now: DateTime<Utc>) -> Option<Burst> {
        let gathered = self.gathered();
        let (first, last) = (gathered.first?, gathered.last?);
        Some(Burst {
            callbacks: gathered.callbacks,
            subjects: gathered.subjects.len(),
            age: now - first,
            quiet: now - last,
            lull: gathered.before.map_or(TimeDelta::MAX, |before| first - before),
        })
    }

    /// Takes what has gathered: the worker is about to look at the table.
    pub fn take(&self) {
        let mut gathered = self.gathered();
        gathered.callbacks = 0;
        gathered.subjects.clear();
        gathered.first = None;
    }

    /// Ends when something has arrived since it last ended.
    pub async fn arrived(&self) {
        self.wake.notified().await;
    }

    /// Makes the worker look at the table.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The queues of every tenant of the settings.
#[derive(Debug)]
pub struct Arrivals {
    queues: HashMap<TenantId, [Arc<Queue>; 2]>,
    clock: Clock,
}

impl Arrivals {
    /// Queues for these tenants.
    pub fn new<'a>(tenants: impl IntoIterator<Item = &'a TenantId>, clock: Clock) -> Arrivals {
        Arrivals { queues: tenants.into_iter().map(|tenant| (tenant.clone(), Default::default())).collect(), clock }
    }

    /// A callback about the subject was committed.
    pub fn note(&self, tenant: &TenantId, subject: &Subject) {
        if let Some(queues) = self.queues.get(tenant) {
            queues[subject.kind() as usize].note(subject, self.clock.now());
        }
    }

    /// Where the worker of a tenant and kind waits.
    pub fn queue(&self, tenant: &TenantId, kind: Kind) -> Option<Arc<Queue>> {
        self.queues.get(tenant).map(|queues| queues[kind as usize].clone())
    }
}
