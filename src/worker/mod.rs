//! One worker per tenant joins the stages; it runs on the replica that holds the tenant's lease.
//!
//! Stages: `refresh` (one loop per kind), `report` (one loop per kind), `sweep` (one loop per kind), `hooks`,
//! `referentials`, `attachments`, and `standing`, which shows how Cegid stands to the tenant. Each is a loop that ends
//! when the worker drains; `farewell` takes their place when the tenant was disconnected. A stage that panics takes
//! the tenant's others with it and the worker begins again; other tenants do not notice. When the lease is lost
//! everything under way is dropped: its writes would be refused by the fence. Which tenants are worked, and when, is
//! the business of [`crate::fleet`].

mod attachments;
mod courtesy;
mod doubts;
mod farewell;
mod halving;
pub mod hooks;
mod linger;
mod orders;
mod pace;
mod rate;
mod referentials;
mod refresh;
mod report;
mod retry;
mod settlement;
mod standing;
#[doc(hidden)]
pub mod steps;
mod sweep;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    arrivals::{Arrivals, Queue},
    cegid::{Client, Stage},
    clock::Clock,
    database::{Database, told},
    domain::{Document, Kind, TenantId},
    lifecycle::Stop,
    metrics::Metrics,
    outbox::Noted,
    settings::{CandidateReportId, Settings, Tenant},
    telemetry::WorkerFailures,
    tenancy::Lease,
    tenants::States,
};
pub use courtesy::Courtesy;
pub use farewell::Farewell;
use orders::Orders;
use pace::{Lane, Leave, Pace, Place};

/// Before a worker that failed begins again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the workers of all tenants share.
#[derive(Clone)]
pub struct Shared {
    /// The way to PostgreSQL.
    pub database: Database,
    /// The one clock.
    pub clock: Clock,
    /// Everything that can be set, as it was when the worker was started.
    pub settings: Arc<Settings>,
    /// What was decided about each tenant, as it is now.
    pub states: watch::Receiver<Arc<States>>,
    /// What was committed lately.
    pub arrivals: Arc<Arrivals>,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// This replica.
    pub replica: Uuid,
    /// Lets tenants be served first that have no queue.
    pub courtesy: Arc<Courtesy>,
    /// The HTTP client that all tenants share.
    pub http: reqwest::Client,
    /// What fails again and again, for few log lines.
    pub failures: Arc<WorkerFailures>,
}

impl Shared {
    /// A client that speaks to the tenant and has no token yet.
    fn client(&self, tenant: &TenantId, settings: &Arc<Tenant>) -> Client {
        Client::new(
            tenant.clone(),
            settings.clone(),
            self.http.clone(),
            self.settings.export.clone(),
            self.clock.clone(),
            self.metrics.clone(),
        )
    }
}

/// What the stages of one tenant share while its lease is held.
pub(crate) struct Context {
    shared: Shared,
    tenant: TenantId,
    settings: Arc<Tenant>,
    lease: Lease,
    client: Client,
    pace: Pace,
    queues: [Arc<Queue>; 2],
    /// Something was noted that is to be reported.
    noted: [Notify; 2],
    /// Failures of the database since something was last written.
    stumbles: AtomicU32,
    stop: Stop,
}

/// Works a tenant under its lease until the stop, or until a stage has failed.
pub async fn run(shared: Shared, settings: Arc<Tenant>, lease: Lease, stop: Stop) {
    let tenant = &lease.tenant().clone();
    let context = Arc::new(Context::new(shared, settings, lease, stop.part()));
    let mut stages = JoinSet::new();
    for kind in Kind::ALL {
        stages.spawn(refresh::run(context.clone(), kind));
        stages.spawn(report::run(context.clone(), kind));
        stages.spawn(sweep::run(context.clone(), kind));
    }
    stages.spawn(hooks::run(context.clone()));
    stages.spawn(referentials::run(context.clone()));
    stages.spawn(attachments::run(context.clone()));
    stages.spawn(standing::run(context.clone()));
    tokio::select! {
        () = stop.aborting() => {}
        failed = ended(&mut stages) => if let Some(failed) = failed {
            let failures = &context.shared.failures;
            // The message of a panic may quote what was being read.
            let ended = if failed.is_panic() { "it panicked" } else { "it was cancelled" };
            failures.failed(Some(tenant), "a stage of the tenant's worker", "the worker begins again", &ended);
            tokio::time::sleep(AGAIN).await;
        }
    }
    context.stop.abort();
    stages.shutdown().await;
}

/// Ends when every stage has ended after a stop, or when one has failed.
async fn ended(stages: &mut JoinSet<()>) -> Option<tokio::task::JoinError> {
    while let Some(ended) = stages.join_next().await {
        if let Err(error) = ended {
            return Some(error);
        }
    }
    None
}

impl Context {
    fn new(shared: Shared, settings: Arc<Tenant>, lease: Lease, stop: Stop) -> Context {
        let tenant = lease.tenant().clone();
        let orders = Orders::new(tenant.clone(), shared.states.clone());
        let pace = Pace::new(tenant.clone(), shared.clock.clone(), settings.calls_at_once);
        Context {
            client: shared.client(&tenant, &settings),
            pace: pace.limited(settings.calls_per_minute, orders),
            queues: Kind::ALL.map(|kind| shared.arrivals.queue(&tenant, kind)),
            tenant,
            settings,
            lease,
            noted: Default::default(),
            stumbles: AtomicU32::new(0),
            stop,
            shared,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// What the bulk guard lets through: so many removals by absence in 24 hours, or this percentage.
    fn guard(&self) -> (u32, u32) {
        let worker = &self.shared.settings.worker;
        (worker.removals_floor, worker.removals_percent)
    }

    fn database(&self) -> &Database {
        &self.shared.database
    }

    /// Waits until the stage may be called under a certain lease; none when the worker drains.
    async fn may_call(&self, stage: Stage) -> Option<Leave<'_>> {
        let leave = tokio::select! {
            leave = self.pace.ready(stage) => leave,
            () = self.stop.draining() => return None,
        };
        self.certain().await.then_some(leave)
    }

    /// Waits for a place among the exports under way; none when the worker drains.
    async fn may_export(&self, lane: impl Into<Lane>) -> Option<Place<'_>> {
        let place = tokio::select! {
            place = self.pace.export(lane) => place,
            () = self.stop.draining() => return None,
        };
        self.certain().await.then_some(place)
    }

    /// Waits until the lease is certain, after a pause of ours or of the database. If it is lost, the worker ends.
    async fn certain(&self) -> bool {
        while !self.lease.holds() && !self.stop.asked() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        !self.stop.asked()
    }

    /// Waits so long, or until the worker drains.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.shared.clock.sleep(time) => {}
            () = self.stop.draining() => {}
        }
    }

    /// Something was written: the database is well.
    fn wrote(&self) {
        self.stumbles.store(0, Ordering::Relaxed);
    }

    /// What was done; none after the database failed, and a wait.
    async fn or_wait<T, E>(&self, doing: &'static str, done: Result<T, E>) -> Option<T>
    where
        E: std::error::Error + Sync + 'static,
    {
        match done {
            Ok(done) => {
                self.shared.failures.succeeded(Some(&self.tenant), doing);
                Some(done)
            }
            Err(error) => {
                self.after_failure(doing, &error).await;
                None
            }
        }
    }

    /// Waits after the database failed, longer each time until something is written: by the machine's clock, since a turned one may stand still.
    async fn after_failure(&self, doing: &'static str, error: &(dyn std::error::Error + Sync + 'static)) {
        let doublings = self.stumbles.fetch_add(1, Ordering::Relaxed).min(5);
        self.shared.failures.failed(Some(&self.tenant), doing, "trying again", &told(error));
        tokio::select! {
            () = tokio::time::sleep(AGAIN * (1 << doublings)) => {}
            () = self.stop.draining() => {}
        }
    }

    /// What is reported about a record that is indexed.
    fn noted(&self, document: &Document) -> Noted {
        let now = || self.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let key = document.key().to_owned();
        let report_id = match (document.kind(), self.settings.candidate_report_id) {
            (Kind::Candidate, CandidateReportId::Email) => document.email().unwrap_or(&key).to_owned(),
            _ => key.clone(),
        };
        Noted {
            key,
            report_id,
            error: None,
            date: document.created.clone().unwrap_or_else(now),
            last_update: document.modified.clone().unwrap_or_else(now),
        }
    }

    /// What is reported about a record that was given up.
    fn given_up(&self, key: &str, cause: &str) -> Noted {
        let now = self.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        Noted {
            key: key.to_owned(),
            report_id: key.to_owned(),
            error: Some(cause.to_owned()),
            date: now.clone(),
            last_update: now,
        }
    }
}
