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
    tenants::States,
    worker::{Courtesy, Shared},
};

/// Connections that wait to be accepted, as far as the machine allows: with the usual 128, a tenant that opens more at
/// once has some of them reset.
const BACKLOG: u32 = 4096;
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

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart does not wait for the connections of the run before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| StartError::Listen { address, key, source })
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
        let public = bind(settings.receive.bind, "receive.bind")?;
        let operators = bind(settings.ops.bind, "ops.bind")?;
        let metrics = Arc::new(Metrics::default());
        let arrivals = Arc::new(Arrivals::new(clock.clone()));
        let refusals = Arc::new(Refusals::new(clock.clone()));
        let (inbox, writer) = Inbox::new(database.clone(), arrivals.clone(), metrics.clone(), &settings.receive);
        let intake = Intake::new(&settings, clock.clone(), inbox, refusals.clone(), metrics.clone());
        let (live, states) = (watch::Sender::new(settings.clone()), watch::Sender::default());
        let (replica, state) = (Uuid::now_v7(), states.subscribe());
        let courtesy = Arc::new(Courtesy::default());
        let shared = Shared { database, clock, settings, states: state, arrivals, metrics, replica, courtesy, http };
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
        let health = Health::new(shared.database.clone(), stop.clone(), live.subscribe(), writer.storing());
        let limits = Limits {
            header_timeout: settings.receive.header_timeout,
            connections: settings.receive.connections,
            announce: settings.shutdown.announce,
        };
        let admitting = admit(intake.directory(), live.subscribe(), states.subscribe(), stop.clone());
        let public_router = layered(intake.router().merge(ops::public_router(health.clone())));
        let operators_router = layered(ops::router(
            health.clone(),
            live.subscribe(),
            shared.metrics.clone(),
            shared.database.clone(),
            shared.clock.clone(),
        ));
        let mut tasks = Tasks::default();
        tasks.spawn("public listener", serve(public, public_router, limits, stop.clone()));
        tasks.spawn("operators' listener", serve(operators, operators_router, limits, stop.clone()));
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
        directory.admit(settings_now.tenants.iter().filter(|(tenant, _)| !states_now.is_disconnected(tenant)));
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
    loop {
        // Leases are judged by the clock, so it is set before the first is taken.
        let prepared = async {
            shared.database.prepare().await?;
            shared.database.repair_numbers(false).await.map_err(DatabaseError::Connect)?;
            shared.database.time().await.map_err(DatabaseError::Connect)
        };
        let prepared = tokio::select! {
            prepared = prepared => prepared,
            () = stop.draining() => return,
        };
        match prepared {
            Ok(time) => {
                shared.clock.follow(time);
                break;
            }
            Err(error) if error.is_passing() => {
                warn!(error = %error, "the database cannot be reached yet: callbacks are answered with 503 until it can");
            }
            // Whoever migrates need not be done before this is started.
            Err(error @ DatabaseError::Older(_)) => warn!(error = %error, "waiting for the schema"),
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
    health.migrated();
    info!(tenants = shared.settings.tenants.len(), "the schema is current");
    let mut running = JoinSet::new();
    running.spawn(follow(shared.database.clone(), shared.clock.clone(), stop.clone()));
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

/// Keeps the clock in step with the database's.
async fn follow(database: Database, clock: Clock, stop: Stop) {
    loop {
        match database.time().await {
            Ok(time) => clock.follow(time),
            Err(error) => warn!(error = %told(&error), "reading the database's time failed"),
        }
        tokio::select! {
            () = stop.draining() => return,
            () = tokio::time::sleep(FOLLOW) => {}
        }
    }
}
