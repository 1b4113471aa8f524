//! The one place that builds everything.
//!
//! Binding is apart from running, so that a test gets port 0. Order of a stop: `/readyz` says so, the listeners finish
//! what they accepted, the inbox commits what it holds, the workers finish the call under way.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
    sync::watch,
    task::JoinSet,
};
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    arrivals::Arrivals,
    cegid,
    clock::Clock,
    database::{Database, DatabaseError, told},
    domain::TenantId,
    fleet::Fleet,
    inbox::{Inbox, Writer},
    intake::{Directory, Intake},
    lifecycle::{Stop, TaskDied, Tasks},
    metrics::Metrics,
    notify,
    ops::{self, Health},
    refusals::Refusals,
    retention,
    serve::{Limits, serve},
    settings::{
        Settings,
        reload::{Reloader, Source},
    },
    telemetry::FailureLog,
    tenancy,
    tenants::{self, States},
    worker::Shared,
};

/// Connections that wait to be accepted, as far as the machine allows: with the usual 128, a tenant that opens more at
/// once has some of them reset.
const BACKLOG: u32 = 4096;
/// What the system holds of answers that a public peer does not take: dozens, since they are short.
const SEND_BUFFER: u32 = 8 * 1024;
/// What it holds of requests that are not read yet: a large body. Without a bound it would grow to megabytes.
const RECEIVE_BUFFER: u32 = 128 * 1024;
/// Between two attempts to reach the database at the start.
const RECONNECT: Duration = Duration::from_secs(1);
/// How often the clock is set by the database's.
const FOLLOW: Duration = Duration::from_secs(60);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program has the address, or it is not this machine's.
    #[error("listening on {address} ({key}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        key: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The database's address cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The machine has no CA certificates.
    #[error("preparing to call Cegid: {0}; are CA certificates installed?")]
    Http(#[from] reqwest::Error),
}

/// The service, bound to its listeners.
pub struct App {
    public: TcpListener,
    operators: TcpListener,
    shared: Shared,
    writer: Writer,
    intake: Intake,
    refusals: Arc<Refusals>,
    settings: watch::Sender<Arc<Settings>>,
    states: watch::Sender<Arc<States>>,
    source: Option<Source>,
    work_on: Option<Handle>,
}

fn bind(
    address: SocketAddr,
    key: &'static str,
    prepare: fn(&TcpSocket) -> io::Result<()>,
) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        prepare(&socket)?;
        // A restart does not wait for the connections of the run before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| StartError::Listen { address, key, source })
}

/// Connections of the listener have these buffers too.
fn bound_buffers(socket: &TcpSocket) -> io::Result<()> {
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)
}

impl App {
    /// Binds the listeners and builds everything; nothing runs yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(settings: Settings, clock: Clock) -> Result<App, StartError> {
        let settings = Arc::new(settings);
        let database = Database::new(&settings.database, settings.worker.lease)?;
        let http = cegid::http_client(&settings.export)?;
        let public = bind(settings.receive.bind, "receive.bind", bound_buffers)?;
        let operators = bind(settings.ops.bind, "ops.bind", |_| Ok(()))?;
        let metrics = Arc::new(Metrics::default());
        let arrivals = Arc::new(Arrivals::new(clock.clone()));
        let refusals = Arc::new(Refusals::new(clock.clone()));
        let (inbox, writer) = Inbox::new(database.clone(), arrivals.clone(), metrics.clone(), &settings.receive);
        let intake = Intake::new(&settings, clock.clone(), inbox, refusals.clone(), metrics.clone());
        let (live, states) = (watch::Sender::new(settings.clone()), watch::Sender::default());
        let state = states.subscribe();
        let shared = Shared {
            database,
            clock,
            settings,
            states: state,
            arrivals,
            metrics,
            replica: Uuid::now_v7(),
            courtesy: Arc::default(),
            http,
            failures: Arc::default(),
        };
        let (source, work_on) = (None, None);
        Ok(App { public, operators, shared, writer, intake, refusals, settings: live, states, source, work_on })
    }

    /// Reads the settings again from where they came, when a file changes or SIGHUP comes.
    #[must_use]
    pub fn reload_from(mut self, source: Source) -> App {
        self.source = Some(source);
        self
    }

    /// Runs the workers on another runtime, so that receiving does not wait behind them.
    #[must_use]
    pub fn work_on(mut self, runtime: Handle) -> App {
        self.work_on = Some(runtime);
        self
    }

    /// Where Cegid calls.
    ///
    /// # Errors
    /// When the listener's address cannot be read.
    pub fn public_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where operators look.
    ///
    /// # Errors
    /// When the listener's address cannot be read.
    pub fn operators_addr(&self) -> io::Result<SocketAddr> {
        self.operators.local_addr()
    }

    /// Runs until the stop.
    ///
    /// # Errors
    /// When a task died; the others were drained.
    pub async fn run(self, stop: Stop) -> Result<(), TaskDied> {
        let App { public, operators, shared, writer, intake, refusals, settings: live, states, source, work_on } = self;
        let settings = shared.settings.clone();
        if settings.tenants.is_empty() {
            warn!(
                "no tenant is configured: add a section [tenants.NAME] to the settings; nothing is received until then"
            );
        }
        let (clock, readiness) = (shared.clock.clone(), writer.readiness());
        let health = Health::new(shared.database.clone(), stop.clone(), live.subscribe(), readiness, clock);
        let (public_limits, operators_limits) = Limits::fitted(&settings);
        let admitting = admit(intake.directory(), live.subscribe(), states.subscribe(), stop.clone());
        let on_unread = intake.on_unread();
        let public_router = layered(intake.router().merge(ops::public_router(health.clone())));
        let operators_router = layered(ops::router(
            health.clone(),
            live.subscribe(),
            shared.metrics.clone(),
            shared.database.clone(),
            shared.clock.clone(),
        ));
        let mut tasks = Tasks::default();
        let metrics = &shared.metrics;
        let serving = serve(public, public_router, public_limits, metrics.clone(), on_unread, stop.clone());
        tasks.spawn("public listener", serving);
        let serving =
            serve(operators, operators_router, operators_limits, metrics.clone(), Arc::new(|_, _| {}), stop.clone());
        tasks.spawn("operators' listener", serving);
        tasks.spawn("inbox", writer.run(stop.clone()));
        let (database, retention, stopping) = (shared.database.clone(), settings.retention.clone(), stop.clone());
        tasks.spawn("refusals", async move { refusals.run(database, retention, stopping).await });
        tasks.spawn("admission", admitting);
        let work_on = work_on.unwrap_or_else(Handle::current);
        let fleet = Fleet::new(shared.clone(), live.subscribe(), states, stop.clone());
        if let Some(source) = source {
            let reloader = Reloader::new(source, live, shared.metrics.clone());
            tasks.spawn("settings", reloader.run(stop.clone()));
        } else {
            // Held, so that nobody takes its end for a change.
            let stopping = stop.clone();
            tasks.spawn("settings", async move {
                stopping.draining().await;
                drop(live);
            });
        }
        tasks.spawn_on("workers", work(shared, fleet, health, stop.clone()), &work_on);
        tasks.run(&stop, settings.shutdown.announce + settings.shutdown.drain).await
    }
}

fn layered(router: Router) -> Router {
    use axum::http::{HeaderName, HeaderValue};
    router
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CatchPanicLayer::new())
}

/// Lets in the callbacks of the tenants that the settings name and nobody has disconnected, as both change.
async fn admit(
    directory: Arc<Directory>,
    mut settings: watch::Receiver<Arc<Settings>>,
    mut states: watch::Receiver<Arc<States>>,
    stop: Stop,
) {
    loop {
        let (settings_now, states_now) = (settings.borrow_and_update().clone(), states.borrow_and_update().clone());
        directory.admit(&settings_now.tenants, |tenant| states_now.is_disconnected(tenant));
        // A sender that is gone changes nothing any more: the process is stopping.
        tokio::select! {
            Ok(()) = settings.changed() => {}
            Ok(()) = states.changed() => {}
            () = stop.draining() => return,
        }
    }
}

/// Brings the schema up to date, then works tenants until the stop.
async fn work(shared: Shared, fleet: Fleet, health: Arc<Health>, stop: Stop) {
    let failures =
        FailureLog::new("preparing the database", "callbacks are answered with 503 unless its schema is current");
    loop {
        // The clock is set first: callbacks are judged by it, and stored as soon as the schema permits.
        let prepare = async {
            shared.clock.follow(shared.database.time_at_start().await.map_err(DatabaseError::Connect)?);
            shared.database.prepare().await?;
            shared.database.repair_numbers(false).await.map_err(DatabaseError::Connect)
        };
        let prepared = tokio::select! {
            prepared = prepare => prepared,
            () = stop.draining() => return,
        };
        match prepared {
            Ok(_repair) => {
                failures.succeeded();
                break;
            }
            // Another replica, or a person, may migrate it later.
            Err(error) if error.is_passing() || matches!(error, DatabaseError::Older(_)) => {
                failures.failed(&shared.database.explain(error).await);
            }
            Err(error) => {
                // Ending by itself stops the process: a schema that does not fit is for people to look at.
                tracing::error!(error = %error, "the schema cannot be brought up to date");
                return;
            }
        }
        tokio::select! {
            () = stop.draining() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
    health.migrated().await;
    name_absent(&shared).await;
    info!(tenants = shared.settings.tenants.len(), "the schema is current");
    let mut running = JoinSet::new();
    running.spawn(follow(shared.clone(), stop.clone()));
    running.spawn(ops::run_gauges(shared.database.clone(), shared.metrics.clone(), shared.clock.clone(), stop.clone()));
    let retention = shared.settings.retention.clone();
    running.spawn(retention::run(shared.database.clone(), retention, shared.clock.clone(), stop.clone()));
    let (database, arrivals) = (shared.database.clone(), shared.arrivals.clone());
    if !database.is_pooled() {
        running.spawn(notify::listen(database.clone(), arrivals.clone(), fleet.others(), stop.clone()));
    }
    running.spawn(notify::announce(database, arrivals, shared.replica, shared.clock.clone(), stop.clone()));
    running.spawn(fleet.run());
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(panicked = error.is_panic(), "a task of the workers died");
            return;
        }
        if !stop.asked() {
            return;
        }
    }
}

/// Says of which tenants the database holds something that the settings do not name, until they are disconnected.
async fn name_absent(shared: &Shared) {
    let (known, states) = match (tenancy::known(&shared.database).await, tenants::states(&shared.database).await) {
        (Ok(known), Ok(states)) => (known, states),
        (Err(error), _) | (_, Err(error)) => {
            return warn!(error = %told(&error), "reading which tenants the database holds failed");
        }
    };
    let is_absent =
        |tenant: &&TenantId| !shared.settings.tenants.contains_key(*tenant) && !states.is_disconnected(tenant);
    let absent: Vec<&str> = known.iter().filter(is_absent).map(TenantId::as_str).collect();
    if !absent.is_empty() {
        warn!(
            tenants = absent.join(", "),
            "the database holds tenants that the settings do not name: what is held of them stays until `cegid-indexer \
             tenant disconnect`"
        );
    }
}

/// Keeps the clock in step with the database's, and says when that differs from the machine's.
async fn follow(shared: Shared, stop: Stop) {
    let Shared { database, clock, metrics, settings, .. } = shared;
    let failures = FailureLog::new("reading the database's time", "the last difference from this machine's holds");
    let mut differs = false;
    loop {
        match database.time().await {
            Ok(time) => {
                clock.follow(time);
                failures.succeeded();
            }
            Err(error) => failures.failed(&told(&error)),
        }
        let ahead = clock.ahead_of_machine();
        metrics.clock_difference.set(ahead.as_seconds_f64());
        let disagreement = clock.disagreement(settings.receive.clock_skew);
        match &disagreement {
            Some(disagreement) if !differs => warn!("{disagreement}; callbacks in time by either are accepted"),
            None if differs => info!("the database's time and this machine's agree again"),
            Some(_) | None => {}
        }
        differs = disagreement.is_some();
        tokio::select! {
            () = stop.draining() => return,
            () = tokio::time::sleep(FOLLOW) => {}
            // A turned clock may go faster.
            () = clock.sleep(FOLLOW) => {}
        }
    }
}
