//! Room for the callbacks that wait for their commit.
//!
//! Wanted: memory is bounded; a tenant whose callbacks come faster than they are stored has its own refused, not those
//! of others.
//!
//! A tenant may hold at most as many waiting callbacks as there are free slots: one tenant alone fills half of the room
//! and leaves the other half to the rest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::TenantId;

/// How many callbacks may wait, and how many do.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    waiting: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    tenants: HashMap<TenantId, usize>,
}

/// Room that a callback takes up until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: Arc<Room>,
    tenant: TenantId,
}

impl Room {
    pub(super) fn new(limit: usize) -> Arc<Room> {
        Arc::new(Room { limit, waiting: Mutex::default() })
    }

    /// None when the tenant has as many waiting as there is room left.
    pub(super) fn take(self: &Arc<Room>, tenant: &TenantId) -> Option<Taken> {
        let mut counts = self.counts();
        let left = self.limit.saturating_sub(counts.all);
        let of_tenant = counts.tenants.get(tenant).copied().unwrap_or_default();
        if of_tenant >= left {
            return None;
        }
        counts.all += 1;
        counts.tenants.insert(tenant.clone(), of_tenant + 1);
        drop(counts);
        Some(Taken { room: self.clone(), tenant: tenant.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = self.room.counts();
        counts.all -= 1;
        if let Some(of_tenant) = counts.tenants.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                counts.tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn fill(room: &Arc<Room>, name: &str) -> Vec<Taken> {
        std::iter::from_fn(|| room.take(&tenant(name))).collect()
    }

    #[test]
    fn one_tenant_leaves_half_of_the_room_to_others() {
        let room = Room::new(100);
        let flood = fill(&room, "evil");
        assert_eq!(flood.len(), 50);
        assert_eq!(fill(&room, "acme").len(), 25);
        drop(flood);
        assert_eq!(fill(&room, "acme").len(), 50);
    }

    #[test]
    fn room_for_one_is_room() {
        let room = Room::new(1);
        let taken = room.take(&tenant("acme"));
        assert!(taken.is_some() && room.take(&tenant("acme")).is_none() && room.take(&tenant("other")).is_none());
        drop(taken);
        assert!(room.take(&tenant("other")).is_some());
        assert!(room.counts().tenants.is_empty(), "nothing is kept of tenants without a callback");
    }
}
