//! A world for one test: a database of its own on the binary's private server, a simulated tenant, the service, and one
//! clock for both that is turned by hand.
//!
//! A world cannot be left dirty unnoticed: [`World::end`] fails on an unbalanced ledger, on an index that differs from
//! the simulator's truth, on an outcome that was not reported and on a task that died; on a callback that was answered
//! 2xx and is not stored as it was sent, on a number that went back, and on a person's word or a secret in a log line,
//! a metric, a refusal or a list.

pub mod between;
pub mod canary;
pub mod database;
mod ending;
pub mod fetches;
pub mod history;
pub mod log;
pub mod process;
pub mod raw;
pub mod stored;
mod sweeping;
mod truth;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use cegid_indexer::{
    app::App,
    clock::Clock,
    database::Database,
    domain::TenantId,
    ledger::{self, Ledger},
    lifecycle::{Stop, TaskDied},
    settings::Settings,
    sweeps,
};
use cegid_simulator::{Config, Simulator};
use chrono::{DateTime, Utc};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::Instant,
};

/// By the machine's clock: what has not come by then is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How far the clock is turned between two looks while a world settles.
const STEP: Duration = Duration::from_secs(2);
/// Events that are wanted unless a test says otherwise.
const EVENTS: i64 = 8;
/// A callback's signature is keyed with this.
pub const SECRET: &str = "test-secret-0001";
pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";

/// When every test begins.
pub fn start_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_789_000_000, 0).unwrap()
}

pub fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

/// What a test wants otherwise.
pub struct Plan {
    pub simulator: Config,
    /// Settings by their environment name without the prefix.
    pub settings: BTreeMap<&'static str, String>,
    /// Whether the service starts at once.
    pub start: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        let simulator = Config {
            vacancies: 30,
            candidates: 20,
            client_id: CLIENT_ID.into(),
            client_secret: SECRET.into(),
            burst_every: None,
            unaskable_references: false,
            now: Some(start_time()),
            ..Config::default()
        };
        let settings = BTreeMap::from([
            ("LOG__LEVEL", "warn".to_owned()),
            ("TENANTS__ACME__LOAD_PAUSE", "1ms".to_owned()),
            ("TENANTS__ACME__LOAD_WINDOWS", "2".to_owned()),
            // Read by the one test that is about them.
            ("TENANTS__ACME__REFERENTIALS", String::new()),
        ]);
        Plan { simulator, settings, start: true }
    }
}

impl Plan {
    pub fn sized(vacancies: usize, candidates: usize) -> Plan {
        let mut plan = Plan::default();
        plan.simulator.vacancies = vacancies;
        plan.simulator.candidates = candidates;
        plan
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Plan {
        self.settings.insert(key, value.into());
        self
    }

    pub fn stopped(mut self) -> Plan {
        self.start = false;
        self
    }
}

struct Running {
    stop: Stop,
    task: JoinHandle<Result<(), TaskDied>>,
}

pub struct World {
    pub simulator: Simulator,
    pub clock: Clock,
    pub database: Database,
    /// `http://127.0.0.1:PORT` of the public listener.
    pub public: String,
    /// The same of the operators' listener.
    pub operators: String,
    pub http: reqwest::Client,
    pairs: Vec<(String, String)>,
    running: Option<Running>,
    /// Where the log stood when it began.
    log_from: usize,
    _name: database::Named,
}

/// A port for a service of this process or of one that it starts: the public address must be known before it is bound.
pub fn free_port() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    // Bound and never listening, so that nobody else is given the port; Linux lets a listener bind beside it.
    if cfg!(target_os = "linux") {
        std::mem::forget(socket);
    }
    port
}

impl World {
    pub async fn start(plan: Plan) -> World {
        World::start_on(plan, database::Named::create().await).await
    }

    /// The same on a database of the test's own.
    pub async fn start_on(plan: Plan, name: database::Named) -> World {
        let log_from = canary::listen();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let start = plan.simulator.now.unwrap_or_else(start_time);
        let simulator = Simulator::start(plan.simulator, listener).await.unwrap();
        let clock = Clock::turned(start);
        let (public, operators) = (free_port(), free_port());
        let mut values: BTreeMap<&str, String> = BTreeMap::from([
            ("DATABASE__URL", name.url()),
            ("RECEIVE__BIND", format!("127.0.0.1:{public}")),
            ("OPS__BIND", format!("127.0.0.1:{operators}")),
            ("PUBLIC_URL", format!("http://127.0.0.1:{public}")),
            ("TENANTS__ACME__BASE_URL", simulator.base_url()),
            ("TENANTS__ACME__CLIENT_ID", CLIENT_ID.into()),
            ("TENANTS__ACME__CLIENT_SECRET", SECRET.into()),
        ]);
        values.extend(plan.settings);
        let pairs: Vec<(String, String)> =
            values.into_iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value)).collect();
        let settings = Settings::load(None, pairs.clone()).unwrap();
        let database = Database::new(&settings.database, settings.worker.lease).unwrap();
        let mut world = World {
            simulator,
            clock,
            database,
            public: format!("http://127.0.0.1:{public}"),
            operators: format!("http://127.0.0.1:{operators}"),
            http: reqwest::Client::builder().build().unwrap(),
            pairs,
            running: None,
            log_from,
            _name: name,
        };
        if plan.start {
            world.start_service().await;
        }
        world
    }

    /// The service's settings as environment variables, for a process of its own.
    pub fn environment(&self) -> HashMap<String, String> {
        self.pairs.iter().cloned().collect()
    }

    /// Changes a setting from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        let key = format!("CEGID_INDEXER__{key}");
        self.pairs.retain(|(other, _)| *other != key);
        self.pairs.push((key, value.to_owned()));
    }

    pub async fn start_service(&mut self) {
        self.start_without_waiting().await;
        self.until_by_itself("the service is ready", async |world: &World| {
            world.get(&world.public, "/readyz").await.0 == 200
        })
        .await;
    }

    pub async fn start_without_waiting(&mut self) {
        assert!(self.running.is_none(), "the service runs already");
        let settings = Settings::load(None, self.pairs.clone()).unwrap();
        let app = App::bind(settings, self.clock.clone()).await.unwrap();
        let stop = Stop::default();
        let task = tokio::spawn(app.run(stop.clone()));
        self.running = Some(Running { stop, task });
    }

    /// Asks for a stop, and waits until the service has ended.
    pub async fn stop_service(&mut self) {
        if let Some(Running { stop, task }) = self.running.take() {
            stop.drain();
            task.await.unwrap().unwrap();
        }
    }

    /// Ends the service where it stands, as a crash would; only its connections are closed.
    pub async fn kill_service(&mut self) {
        let Running { task, .. } = self.running.take().expect("the service does not run");
        task.abort();
        assert!(task.await.is_err_and(|ended| ended.is_cancelled()));
    }

    pub fn stop(&self) -> &Stop {
        &self.running.as_ref().expect("the service does not run").stop
    }

    /// Turns the clock of the service and of the simulator.
    pub fn turn(&self, by: Duration) {
        self.clock.turn(by);
        self.simulator.set_now(self.clock.now());
    }

    /// Lets time go by in steps, so that what is due in between is done in between.
    pub async fn pass(&self, time: Duration) {
        let until = self.clock.now() + time;
        while self.clock.now() < until {
            self.turn(Duration::from_secs(20));
            tokio::time::sleep(LOOK * 2).await;
        }
    }

    /// Lets the clock stand still while Cegid is being called, so that a busy machine makes nothing late.
    pub async fn quiet(&self) {
        let mut last = None;
        while last.replace(self.last_request()) != Some(self.last_request()) {
            tokio::time::sleep(LOOK * 2).await;
        }
    }

    /// Turns the clock step by step until something holds.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&World) -> bool) {
        self.wait(what, Some(STEP), holds).await;
    }

    /// Waits until something holds that a process with the machine's clock brings about.
    pub async fn until_by_itself(&self, what: &str, holds: impl AsyncFn(&World) -> bool) {
        self.wait(what, None, holds).await;
    }

    async fn wait(&self, what: &str, step: Option<Duration>, holds: impl AsyncFn(&World) -> bool) {
        let since = Instant::now();
        while !holds(self).await {
            if since.elapsed() > PATIENCE {
                let ledger = ledger::read(&self.database, &tenant(), DateTime::UNIX_EPOCH).await;
                let story: Vec<String> =
                    self.simulator.requests().iter().rev().take(15).map(|request| request.line()).collect();
                panic!(
                    "not within {PATIENCE:?}: {what}\n{ledger:#?}\nlast requests, newest first:\n{}",
                    story.join("\n")
                );
            }
            if let Some(step) = step {
                self.turn(step);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn ledger(&self) -> Ledger {
        ledger::read(&self.database, &tenant(), DateTime::UNIX_EPOCH).await.unwrap()
    }

    pub async fn loaded(&self) -> bool {
        let loads = sweeps::loads(&self.database).await.unwrap_or_default();
        loads.len() == 2 && loads.iter().all(|load| load.remaining == 0)
    }

    /// Whether every wanted event is registered, or refused: a callback without a hook is heard by nobody.
    pub async fn registered(&self) -> bool {
        let hooks = sqlx::query_scalar("select count(*) from hook where state in ('registered', 'refused')")
            .fetch_one(self.database.pool())
            .await;
        hooks.unwrap_or(0_i64) == EVENTS
    }

    /// Sends what the simulator holds back and turns the clock until nothing waits any more.
    pub async fn settle(&self) {
        self.until("hooks are registered", async |world: &World| world.registered().await).await;
        self.simulator.flush().await;
        self.until("the load is done and nothing waits", async |world: &World| {
            // A removal that was undone is shown for a day, and there is nothing to be done about it.
            let ledger = Ledger { removals_undone: 0, ..world.ledger().await };
            world.simulator.queued_callbacks() == 0 && world.loaded().await && ledger.balances()
        })
        .await;
    }

    pub async fn get(&self, base: &str, path: &str) -> (u16, String) {
        match self.http.get(format!("{base}{path}")).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// Every callback was answered 200.
    pub fn assert_all_accepted(&self) {
        let refused: Vec<_> = self.simulator.sent().into_iter().filter(|sent| !sent.accepted()).collect();
        assert!(refused.is_empty(), "not accepted: {refused:#?}");
    }

    /// Export calls that the simulator answered or refused since its request of this number.
    pub fn export_calls(&self, path: &str, since: u64) -> usize {
        self.simulator.count_requests(|request| request.number > since && request.path == path)
    }

    /// The number of the simulator's last request.
    pub fn last_request(&self) -> u64 {
        self.simulator.requests().last().map_or(0, |request| request.number)
    }
}
