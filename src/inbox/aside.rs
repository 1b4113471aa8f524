//! Callbacks that wait for a lock of somebody else's, beside those that do not.

use std::collections::HashSet;

use super::Waiting;
use crate::domain::{Subject, TenantId};

/// Set aside until the lock is gone, or the sender's time is up.
#[derive(Default)]
pub(super) struct Aside {
    waiting: Vec<Waiting>,
    /// Subjects that were locked when they were last looked at.
    locked: HashSet<(TenantId, Subject)>,
}

impl Aside {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes callbacks that meet a lock.
    pub(super) fn put(&mut self, part: Vec<Waiting>) {
        self.waiting.extend(part);
    }

    /// Subjects that are locked too.
    pub(super) fn add_locked(&mut self, locked: Vec<(TenantId, Subject)>) {
        self.locked.extend(locked);
    }

    /// Takes those of these that name a locked subject; gives the others.
    pub(super) fn sort(&mut self, part: Vec<Waiting>) -> Vec<Waiting> {
        if self.locked.is_empty() {
            return part;
        }
        let meets = |waiting: &Waiting| {
            let tenant = waiting.callback.tenant();
            let mut raised = waiting.callback.events().iter().filter_map(|event| event.raised());
            raised.any(|subject| self.locked.contains(&(tenant.clone(), subject.clone())))
        };
        let (aside, free) = part.into_iter().partition(meets);
        self.put(aside);
        free
    }

    /// Gives all of them, for another attempt, but for those whose senders have gone: how many these were.
    pub(super) fn take(&mut self) -> (Vec<Waiting>, usize) {
        self.locked.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let all = waiting.len();
        let waiting: Vec<Waiting> = waiting.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let gone = all - waiting.len();
        (waiting, gone)
    }
}
