//! Which tenants this replica works, with which settings, and for how long.
//!
//! Wanted: every tenant is worked by one replica, and the replicas share them evenly; a dead one's tenants are worked
//! again within two leases; a tenant that is added, changed, disconnected or taken out of the settings is so without a
//! restart, and the others' workers do not notice; few statements however many tenants there are.
//!
//! The fleet looks several times in a lease: it renews what it holds, announces the replica and learns its share,
//! reads the states, ends the workers that are no longer wanted or one too many, and takes what is free up to its
//! share. A worker that ends gives its lease back, whatever it ended for: one that is begun again takes a new one, so
//! that a lease is never older than the token of Cegid's that is used under it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinSet, time::Instant};
use tracing::{error, info, warn};

use crate::{
    database::told,
    domain::TenantId,
    lifecycle::Stop,
    replicas,
    settings::{Settings, Tenant},
    tenancy::{Holder, Lease},
    tenants::{self, State, States},
    worker::{self, Farewell, Shared},
};

/// What is to be done for a tenant. A worker whose duty has changed is ended and begun again.
#[derive(Clone)]
enum Duty {
    Work(Arc<Settings>, Arc<Tenant>),
    Leave(Option<Arc<Tenant>>, State),
}

impl Duty {
    /// Whether a worker that was begun for `other` does this as well.
    fn is(&self, other: &Duty) -> bool {
        match (self, other) {
            (Duty::Work(settings, tenant), Duty::Work(others, other)) => tenant == other && settings.works_like(others),
            (Duty::Leave(tenant, state), Duty::Leave(other, others)) => {
                tenant == other && state.purge_after == others.purge_after
            }
            _ => false,
        }
    }
}

struct Worker {
    duty: Duty,
    lease: Lease,
    stop: Stop,
    /// Since when it is to end, by the machine's clock.
    ending: Option<Instant>,
    lost: bool,
}

/// The workers of this replica.
pub struct Fleet {
    shared: Shared,
    holder: Holder,
    settings: watch::Receiver<Arc<Settings>>,
    states: watch::Sender<Arc<States>>,
    workers: HashMap<TenantId, Worker>,
    tasks: JoinSet<TenantId>,
    /// Whether others run that may receive callbacks of this one's tenants.
    others: watch::Sender<bool>,
    stop: Stop,
}

impl Fleet {
    /// No worker yet. `shared` has the receiver of `states`.
    pub fn new(
        shared: Shared,
        settings: watch::Receiver<Arc<Settings>>,
        states: watch::Sender<Arc<States>>,
        stop: Stop,
    ) -> Fleet {
        let length = shared.settings.worker.lease;
        let holder = Holder { replica: shared.replica, length, clock: shared.clock.clone() };
        let (workers, tasks, others) = (HashMap::new(), JoinSet::new(), watch::Sender::default());
        Fleet { shared, holder, settings, states, workers, tasks, others, stop }
    }

    /// Whether other replicas run that may receive callbacks of this one's tenants.
    pub fn others(&self) -> watch::Receiver<bool> {
        self.others.subscribe()
    }

    /// Works tenants until the stop, then until every worker has finished what was under way.
    pub async fn run(mut self) {
        while !self.stop.asked() {
            self.look().await;
            let every = (self.holder.length / 3).min(self.shared.settings.worker.poll_interval);
            tokio::select! {
                () = self.shared.clock.sleep(every) => {}
                // A turned clock stands still; a database that comes back does not wait for it.
                () = tokio::time::sleep(every) => {}
                changed = self.settings.changed() => if changed.is_err() { self.stop.draining().await },
                Some(ended) = self.tasks.join_next() => if !self.ended(ended).await { return },
                () = self.stop.draining() => {}
            }
        }
        // Their stops are parts of this one. Leases are kept until they have ended.
        while !self.tasks.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(self.holder.length / 3) => self.renew().await,
                Some(ended) = self.tasks.join_next() => if !self.ended(ended).await { return },
            }
        }
        if let Err(error) = replicas::leave(&self.shared.database, self.holder.replica).await {
            warn!(error = %told(&error), "saying that this replica ends failed: the others wait until it runs out");
        }
    }

    fn log_outcome<T>(&self, doing: &'static str, consequence: &str, outcome: &sqlx::Result<T>) {
        match outcome {
            Ok(_) => self.shared.failures.succeeded(None, doing),
            Err(error) => self.shared.failures.failed(None, doing, consequence, &told(error)),
        }
    }

    async fn look(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if !self.ended(ended).await {
                return;
            }
        }
        self.shared.settings = self.settings.borrow_and_update().clone();
        let verified = self.shared.database.verify_numbers().await;
        self.log_outcome("verifying the database's sequence of numbers", "trying again", &verified);
        self.renew().await;
        let shared = self.share().await;
        self.log_outcome("sharing the tenants among the replicas", "trying again", &shared);
        self.shared.failures.end_quiet();
        self.shared.metrics.leases.set(i64::try_from(self.workers.len()).unwrap_or(i64::MAX));
    }

    /// Holds what is held for another while; a worker whose lease is another's is dropped.
    async fn renew(&mut self) {
        let leases: Vec<&Lease> =
            self.workers.values().filter(|worker| !worker.lost).map(|worker| &worker.lease).collect();
        let renewed = self.holder.renew(&self.shared.database, &leases).await;
        self.log_outcome("renewing the tenants' leases", "trying again until they end", &renewed);
        let Ok(lost) = renewed else { return };
        let lost: Vec<TenantId> = lost.into_iter().map(|lease| lease.tenant().clone()).collect();
        for tenant in lost {
            if let Some(worker) = self.workers.get_mut(&tenant) {
                warn!(%tenant, "the tenant's lease was lost to another replica: what was under way is dropped");
                worker.lost = true;
                worker.end();
                worker.stop.abort();
            }
        }
    }

    /// Ends what is not to be done here any more, and begins what is.
    async fn share(&mut self) -> sqlx::Result<()> {
        let (database, now) = (self.shared.database.clone(), self.shared.clock.now());
        let place = replicas::announce(
            &database,
            self.holder.replica,
            now,
            now + self.holder.length,
            self.holder.too_late(now),
        )
        .await?;
        let states = Arc::new(tenants::states(&database).await?);
        self.states.send_if_modified(|known| {
            let changed = **known != *states;
            if changed {
                *known = states.clone();
            }
            changed
        });
        let wanted = self.wanted(&states);
        let share = place.share(wanted.len());
        self.others.send_if_modified(|known| {
            let others = place.live > 1 && share > 0;
            std::mem::replace(known, others) != others
        });
        self.end_unwanted(&wanted, share);
        let patience = self.shared.settings.shutdown.drain;
        for worker in self.workers.values() {
            if worker.ending.is_some_and(|since| since.elapsed() > patience) {
                worker.stop.abort();
            }
        }
        let free: Vec<TenantId> = wanted.keys().filter(|tenant| !self.workers.contains_key(*tenant)).cloned().collect();
        let room = share.saturating_sub(self.workers.len());
        if room == 0 || free.is_empty() {
            return Ok(());
        }
        for lease in self.holder.acquire(&database, &free, room).await? {
            if let Some(duty) = wanted.get(lease.tenant()) {
                self.begin(lease, duty.clone());
            }
        }
        Ok(())
    }

    /// The tenants that some replica is to have, and what for.
    fn wanted(&self, states: &States) -> BTreeMap<TenantId, Duty> {
        let (settings, now) = (&self.shared.settings, self.shared.clock.now());
        let connected = settings.tenants.iter().filter(|(tenant, _)| !states.is_disconnected(tenant));
        let work = connected.map(|(tenant, own)| (tenant.clone(), Duty::Work(settings.clone(), own.clone())));
        let gone = states.iter().filter(|(_, state)| state.disconnected_at.is_some() && state.is_to_be_left(now));
        let leave = gone
            .map(|(tenant, state)| (tenant.clone(), Duty::Leave(settings.tenants.get(tenant).cloned(), state.clone())));
        work.chain(leave).collect()
    }

    /// Ends workers that are not wanted as they are, and of the others those beyond the share, the youngest first.
    fn end_unwanted(&mut self, wanted: &BTreeMap<TenantId, Duty>, share: usize) {
        let mut staying = Vec::new();
        for (tenant, worker) in &mut self.workers {
            if worker.ending.is_none() && !wanted.get(tenant).is_some_and(|duty| duty.is(&worker.duty)) {
                info!(%tenant, "ending the tenant's worker: its settings or its state have changed");
                worker.end();
            }
            if worker.ending.is_none() {
                staying.push(worker);
            }
        }
        staying.sort_by_key(|worker| worker.lease.token());
        for worker in staying.into_iter().skip(share) {
            info!(tenant = %worker.lease.tenant(), "giving the tenant to another replica");
            worker.end();
        }
    }

    fn begin(&mut self, lease: Lease, duty: Duty) {
        let (tenant, stop, shared) = (lease.tenant().clone(), self.stop.part(), self.shared.clone());
        let (held, stopping, named) = (lease.clone(), stop.clone(), tenant.clone());
        let doing = duty.clone();
        info!(%tenant, "working the tenant");
        self.tasks.spawn(async move {
            match doing {
                Duty::Work(_, settings) => worker::run(shared, settings, held, stopping).await,
                Duty::Leave(settings, state) => Farewell { shared, settings, state }.run(&held, &stopping).await,
            }
            named
        });
        self.workers.insert(tenant, Worker { duty, lease, stop, ending: None, lost: false });
    }

    /// A worker has ended: its lease is given up. False when it died, which ends the process.
    async fn ended(&mut self, ended: Result<TenantId, tokio::task::JoinError>) -> bool {
        let tenant = match ended {
            Ok(tenant) => tenant,
            Err(error) => {
                // Nobody would work that tenant any more: the process is begun again.
                error!(panicked = error.is_panic(), "a worker died");
                return false;
            }
        };
        self.shared.arrivals.forget(&tenant);
        if let Some(worker) = self.workers.remove(&tenant)
            && !worker.lost
        {
            let released = worker.lease.release(&self.shared.database).await;
            self.log_outcome("giving up a tenant's lease", "it runs out", &released);
        }
        true
    }
}

impl Worker {
    fn end(&mut self) {
        self.ending = Some(Instant::now());
        self.stop.drain();
    }
}
