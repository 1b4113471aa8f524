//! What the database may do to the service, and what must hold all the same.

mod batches;
mod commits;
mod connections;
mod contention;
mod horizon;
mod lock_order;
mod migrating;
mod numbers;
mod outages;
mod pooled;
pub mod pooler;
mod slow;
mod starved;
mod triggers;
mod unusable;

use std::{collections::HashMap, time::Duration};

use cegid_indexer::{database::Database, settings::Settings};
use fault_proxy::Proxy;
use futures_util::future::join_all;
use private_postgres::{Options, Server};
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use crate::harness::{CLIENT_ID, Plan, SECRET, World, raw};

const EVENTS: &str = "/api/talentsoft/v1/acme/events";

/// A server of its own, and a proxy on the way from the service to it. The test itself looks at the server directly.
struct Apart {
    world: World,
    proxy: Proxy,
    server: Server,
}

impl Apart {
    /// The service runs, and its load is done.
    async fn start(plan: Plan, server_settings: &[(&str, &str)]) -> Apart {
        let settings = server_settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Apart::start_as("postgres", plan, Server::start(Options { settings, ..Options::from_env() }).await.unwrap())
            .await
    }

    /// The same, as a role that there is.
    async fn start_as(role: &str, plan: Plan, server: Server) -> Apart {
        let proxy = Proxy::start(server.socket()).await.unwrap();
        let url = format!("postgres://{role}@{}/postgres", proxy.address());
        let mut world = World::start(plan.with("DATABASE__URL", url).stopped()).await;
        world.database = direct(&server);
        world.start_service().await;
        world.settle().await;
        Apart { world, proxy, server }
    }

    /// Lines of the server's log that hold this.
    fn logged(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(self.server.dir().join("log")).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Everything adds up, and whatever was answered 200 is stored.
    async fn end(self, told: &Told) {
        assert_stored(&self.world, told).await;
        self.world.end_having_sent().await;
    }
}

/// The way to the server itself.
pub fn direct(server: &Server) -> Database {
    let url = [("CEGID_INDEXER__DATABASE__URL".to_owned(), server.url("postgres"))];
    let settings = Settings::load(None, url).unwrap();
    Database::new(&settings.database, settings.worker.lease).unwrap()
}

/// Callbacks that were sent, by their bodies, with the status of the last answer to each; and the longest wait for one.
#[derive(Debug, Default)]
struct Told {
    answers: HashMap<String, u16>,
    slowest: Duration,
}

impl Told {
    fn with(&self, status: u16) -> usize {
        self.answers.values().filter(|answered| **answered == status).count()
    }

    fn add(&mut self, told: Told) {
        self.answers.extend(told.answers);
    }
}

/// References of vacancies that are indexed.
fn vacancies(world: &World) -> Vec<String> {
    let live = world.simulator.truth().into_iter().filter(|row| row.kind == "vacancy" && row.live);
    live.map(|row| row.key).collect()
}

/// No sweep reads and reports something besides.
fn without_sweeps(plan: Plan) -> Plan {
    plan.with("TENANTS__ACME__INCREMENTAL_INTERVAL", "30d")
        .with("TENANTS__ACME__FULL_INTERVAL", "30d")
        .with("TENANTS__ACME__ROLLING_PERIOD", "30d")
}

/// A transaction that may stand idle, unlike the service's own.
async fn patient(database: &Database) -> Transaction<'static, Postgres> {
    let mut tx = database.begin().await.unwrap();
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut *tx).await.unwrap();
    tx
}

/// About a vacancy; what tells it from others means nothing to the service.
fn body(reference: &str, mark: &str) -> String {
    format!(r#"{{"event_type":"vacancy_update","reference":"{reference}","mark":"{mark}"}}"#)
}

/// A callback as the tenant signs it; the answer is 200, or 503 with a time to come again.
async fn post(world: &World, body: &str) -> u16 {
    let id = format!("client_id={CLIENT_ID}");
    let expires = (world.clock.now().timestamp() + 300).to_string();
    let signature = raw::signature_until("POST", EVENTS, SECRET, &id, &expires);
    let target = format!("{EVENTS}?{id}&signature={signature}");
    let answer = raw::send(&world.public, "POST", &target, &[("X-TS-REC-Expires", &expires)], body.as_bytes()).await;
    if answer.status == 503 {
        assert!(answer.headers.iter().any(|header| header.starts_with("retry-after:")), "{answer:?}");
    } else {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    answer.status
}

/// So many senders, each of which sends one callback after the other, about what has changed at Cegid before.
async fn send(world: &World, senders: usize, each: usize, mark: &str) -> Told {
    let keys = vacancies(world);
    for key in keys.iter().take(senders * each) {
        world.simulator.edit_silently(key).unwrap();
    }
    let keys = &keys;
    let sender = async |sender: usize| {
        let mut told = Told::default();
        for at in 0..each {
            let body = body(&keys[(sender * each + at) % keys.len()], &format!("{mark} {sender} {at}"));
            let since = Instant::now();
            let status = post(world, &body).await;
            told.slowest = told.slowest.max(since.elapsed());
            told.answers.insert(body, status);
        }
        told
    };
    let mut all = Told::default();
    for told in join_all((0..senders).map(sender)).await {
        all.slowest = all.slowest.max(told.slowest);
        all.add(told);
    }
    all
}

/// What was not answered 200 is sent again until it is.
async fn send_again(world: &World, told: &mut Told) {
    let refused: Vec<String> =
        told.answers.iter().filter(|(_, status)| **status != 200).map(|(body, _)| body.clone()).collect();
    for body in refused {
        world.until_by_itself("it is stored", async |world: &World| post(world, &body).await == 200).await;
        told.answers.insert(body, 200);
    }
}

async fn stored(world: &World) -> Vec<String> {
    let bodies = "select convert_from(body, 'UTF8') from delivery where ignored is null";
    sqlx::query_scalar(bodies).fetch_all(world.database.pool()).await.unwrap()
}

async fn assert_stored(world: &World, told: &Told) {
    let stored = stored(world).await;
    let missing: Vec<_> =
        told.answers.iter().filter(|(body, status)| **status == 200 && !stored.contains(body)).collect();
    assert!(missing.is_empty(), "answered 200 and not stored: {missing:#?}");
}

/// Until `/readyz?verbose` says this of the database.
async fn until_it_says(world: &World, database: &str) {
    let wanted = if database == "ok" { 200 } else { 503 };
    world
        .until_by_itself(&format!("readyz says {database}"), async |world: &World| {
            let (status, text) = world.get(&world.operators, "/readyz?verbose").await;
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            status == wanted && answer["database"] == database
        })
        .await;
}

async fn run(world: &World, statements: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(world.database.pool()).await.unwrap();
}
