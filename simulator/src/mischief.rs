//! The tenant's face towards those who make things go wrong.

use std::time::Duration;

use crate::faults::{CallbackFaults, Distorted, Distortion, Down, Fault, Spoil};
use crate::simulator::Simulator;
use crate::tenant::Kind;

impl Simulator {
    /// Sets what happens to callbacks from the next burst on.
    pub fn set_callback_faults(&self, faults: CallbackFaults) {
        *crate::lock(&self.inner.outgoing.faults) = faults;
    }

    /// Adds a fault on an endpoint; the oldest that applies hits first.
    pub fn add_fault(&self, fault: Fault) {
        self.inner.faults.add(fault);
    }

    /// Takes all faults on endpoints away, not those on callbacks.
    pub fn clear_faults(&self) {
        self.inner.faults.clear();
    }

    /// The faults on endpoints that were not used up when last looked at.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.inner.faults.all()
    }

    /// Lets the export treat one subject badly, or well again.
    pub fn spoil(&self, key: &str, spoil: Option<Spoil>) {
        let mut spoiled = crate::lock(&self.inner.faults.spoiled);
        match spoil {
            Some(spoil) => spoiled.insert(key.to_owned(), spoil),
            None => spoiled.remove(key),
        };
    }

    /// Lets no random change pick this subject, or lets them again: it stays as it
    /// is unless a change names it.
    pub fn spare(&self, key: &str, spare: bool) {
        let mut spared = crate::lock(&self.inner.faults.spared);
        if spare {
            spared.insert(key.to_owned());
        } else {
            spared.remove(key);
        }
    }

    /// Whether no random change picks this subject.
    #[must_use]
    pub fn is_spared(&self, key: &str) -> bool {
        crate::lock(&self.inner.faults.spared).contains(key)
    }

    /// Lets the export write a member of all records of a kind, or of one, in
    /// another way until [`straighten`](Self::straighten). The truth stands, and
    /// nobody is told.
    pub fn distort(&self, kind: &str, key: Option<&str>, how: Distortion) {
        let distorted = Distorted { kind: Kind::named(kind), key: key.map(str::to_owned), how };
        crate::lock(&self.inner.faults.distorted).push(distorted);
    }

    /// Lets the export write every member as it should again.
    pub fn straighten(&self) {
        crate::lock(&self.inner.faults.distorted).clear();
    }

    /// Answers that [`FaultKind::Hold`](crate::FaultKind::Hold) keeps back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.inner.faults.held.count()
    }

    /// Lets every answer go that is kept back now.
    pub fn release_held(&self) {
        self.inner.faults.held.release();
    }

    /// Takes the tenant away, or brings it back; `lasting` brings it back by
    /// itself. Callbacks are still sent.
    pub fn set_down(&self, down: Down, lasting: Option<Duration>) {
        self.inner.faults.set_down(down, lasting);
    }

    /// Drops a registration without telling anybody; its callbacks and its ping
    /// end. Says whether there was one.
    pub fn forget_hook(&self, hook_id: &str) -> bool {
        self.inner.hooks.remove(|row| row.hook_id == hook_id) > 0
    }

    /// Drops all registrations without telling anybody, and says how many.
    pub fn forget_hooks(&self) -> usize {
        self.inner.hooks.remove(|_| true)
    }

    /// Keeps the hooks registered and calls none of them, or calls them again:
    /// callbacks and pings end as [`Dropped`](crate::Outcome::Dropped).
    pub fn mute_hooks(&self, mute: bool) {
        self.inner.hooks.mute(mute);
    }

    /// Registering this event is answered 400 from now on, or no longer. Hooks
    /// that are there stay.
    pub fn refuse_event(&self, event: &str, refuse: bool) {
        self.inner.hooks.refuse(event, refuse);
    }

    /// Lets both exports lag behind the truth by the tenant's clock, or no longer.
    ///
    /// Callbacks go out as ever, but a subject is shown, and filtered, as it was
    /// `lag` ago: its words, status, presence and anonymisation. A new one is not
    /// shown yet, a deleted one still is. [`truth`](Self::truth) does not lag.
    /// Only the last 16 changes of a subject are remembered.
    pub fn set_export_lag(&self, lag: Option<Duration>) {
        self.inner.habits.set_lag(lag);
    }
}
