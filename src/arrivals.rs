//! Hand-over inside the process: what was committed, for the worker that waits, or for [`crate::notify`] where another
//! replica may work the tenant.
//!
//! A hint. The table is the truth and the worker polls it, so whatever is forgotten here is found there.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError, RwLock},
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

/// Tenants with new callbacks that no worker of this replica takes.
#[derive(Debug, Default)]
struct Unclaimed {
    tenants: Mutex<BTreeSet<TenantId>>,
    wake: Notify,
}

impl Unclaimed {
    fn note(&self, tenant: &TenantId) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if !tenants.contains(tenant) {
            tenants.insert(tenant.clone());
            self.wake.notify_one();
        }
    }
}

/// The queues of the tenants that this replica has worked.
#[derive(Debug)]
pub struct Arrivals {
    queues: RwLock<HashMap<TenantId, [Arc<Queue>; 2]>>,
    unclaimed: Unclaimed,
    clock: Clock,
}

impl Arrivals {
    /// No queues yet.
    pub fn new(clock: Clock) -> Arrivals {
        Arrivals { queues: RwLock::default(), unclaimed: Unclaimed::default(), clock }
    }

    /// A callback about the subject was committed.
    pub fn note(&self, tenant: &TenantId, subject: &Subject) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        match queues.get(tenant) {
            Some(queues) => queues[subject.kind() as usize].note(subject, self.clock.now()),
            None => self.unclaimed.note(tenant),
        }
    }

    /// Another replica has committed callbacks of this tenant.
    pub fn wake(&self, tenant: &TenantId) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(tenant).into_iter().flatten().for_each(|queue| queue.wake());
    }

    /// Makes all workers look at the table.
    pub fn wake_all(&self) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.values().flatten().for_each(|queue| queue.wake());
    }

    /// Waits for callbacks of tenants that this replica does not work, and takes these tenants.
    pub async fn take_unclaimed(&self) -> Vec<TenantId> {
        loop {
            let tenants = std::mem::take(&mut *self.unclaimed.tenants.lock().unwrap_or_else(PoisonError::into_inner));
            if !tenants.is_empty() {
                return tenants.into_iter().collect();
            }
            self.unclaimed.wake.notified().await;
        }
    }

    /// Where the worker of a tenant and kind waits; what arrives is gathered there from now on.
    pub fn queue(&self, tenant: &TenantId, kind: Kind) -> Arc<Queue> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.entry(tenant.clone()).or_default()[kind as usize].clone()
    }

    /// Gathers nothing more for a tenant that this replica no longer works.
    pub fn forget(&self, tenant: &TenantId) {
        self.queues.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }
}
