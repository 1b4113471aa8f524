//! The connection of receiving: callbacks do not depend on what became of it while nothing was received.

use std::time::Duration;

use cegid_indexer::{
    database::Database,
    settings::Settings,
    tenants::{self, Work},
};
use fault_proxy::Proxy;
use futures_util::future::join_all;
use private_postgres::{Options, Server};
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};

use crate::{
    database::{
        Apart, Told, assert_stored, body, direct, patient, post, run, send, until_it_says, vacancies, without_sweeps,
    },
    harness::{Plan, tenant},
};

/// So long that nothing but a fault makes a callback wait for it.
const COMMIT_TIMEOUT: &str = "20s";

fn plan() -> Plan {
    without_sweeps(Plan::sized(20, 0).with("RECEIVE__COMMIT_TIMEOUT", COMMIT_TIMEOUT))
}

#[tokio::test]
async fn a_burst_after_its_connection_was_closed_is_answered_200() {
    let apart = Apart::start(plan(), &[]).await;
    let world = &apart.world;
    let mut told = send(world, 1, 1, "first").await;
    for round in 0..3 {
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity
                     where pid <> pg_backend_pid() and backend_type = 'client backend'";
        run(world, ended).await;
        told.add(send(world, 10, 2, &format!("burst {round}")).await);
    }
    assert_eq!(told.with(503), 0, "{told:?}");
    apart.end(&told).await;
}

#[tokio::test]
async fn a_burst_after_its_connection_was_silently_dropped_is_answered_200() {
    let apart = Apart::start(plan().with("RECEIVE__COMMIT_TIMEOUT", "4s"), &[]).await;
    let world = &apart.world;
    let mut told = send(world, 1, 1, "first").await;
    for round in 0..2 {
        assert!(apart.proxy.silence() > 0);
        // So that it is looked at: nothing is received for so long.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        told.add(send(world, 10, 2, &format!("burst {round}")).await);
    }
    assert_eq!(told.with(503), 0, "{told:?}");
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

#[tokio::test]
async fn a_burst_during_which_its_connection_is_silently_dropped_is_answered_200() {
    let plan = plan().with("RECEIVE__COMMIT_TIMEOUT", "8s").with("DATABASE__STATEMENT_TIMEOUT", "2s");
    let apart = Apart::start(plan.with("DATABASE__CONNECT_TIMEOUT", "1s"), &[]).await;
    let world = &apart.world;
    let mut told = Told::default();
    for round in 0..3 {
        told.add(send(world, 1, 1, &format!("used {round}")).await);
        // It answered a moment ago, so that nothing is asked before the next callbacks are trusted to it.
        assert!(apart.proxy.silence() > 0);
        told.add(send(world, 10, 2, &format!("burst {round}")).await);
    }
    assert_eq!(told.with(503), 0, "{told:?}");
    until_it_says(world, "ok").await;
    // Whatever the worker was in the midst of.
    apart.end(&told).await;
}

#[tokio::test]
async fn connections_that_were_silently_dropped_amid_their_use_give_their_places_back() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let proxy = Proxy::start(server.socket()).await.unwrap();
    let url = format!("postgres://postgres@{}/postgres", proxy.address());
    let settings =
        [("URL", url.as_str()), ("CONNECTIONS", "2"), ("STATEMENT_TIMEOUT", "1s"), ("CONNECT_TIMEOUT", "1s")];
    let settings = settings.map(|(name, value)| (format!("CEGID_INDEXER__DATABASE__{name}"), value.to_owned()));
    let settings = Settings::load(None, settings).unwrap();
    let database = Database::new(&settings.database, settings.worker.lease).unwrap();
    for _ in 0..3 {
        let statement = sqlx::query("select pg_sleep(0.5)").execute(database.pool());
        // Given up by whoever waits for it, as when a lease is lost.
        let transaction = timeout(Duration::from_millis(400), async {
            let mut tx = database.begin().await.unwrap();
            sqlx::query("select pg_sleep(0.5)").execute(&mut *tx).await
        });
        let silence = async {
            sleep(Duration::from_millis(200)).await;
            assert!(proxy.silence() >= 2);
        };
        let (statement, transaction, ()) = tokio::join!(statement, transaction, silence);
        assert!(statement.is_err() && transaction.is_err(), "{statement:?} {transaction:?}");
        // A place is given back when its connection has not answered for a second.
        sleep(Duration::from_millis(1500)).await;
        let answers = join_all((0..2).map(|_| sqlx::query("select 1").execute(database.pool()))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_connection_slots_receiving_has_its_own() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let role = "create role indexer login connection limit 4;
                alter database postgres owner to indexer; alter schema public owner to indexer;
                grant pg_monitor to indexer;";
    sqlx::raw_sql(role).execute(direct(&server).pool()).await.unwrap();
    let plan = Plan::sized(60, 30).with("RECEIVE__COMMIT_TIMEOUT", COMMIT_TIMEOUT).with("DATABASE__CONNECTIONS", "30");
    let apart = Apart::start_as("indexer", plan, server).await;
    let world = &apart.world;
    let mut told = Told::default();
    for round in 0..4 {
        told.add(send(world, 10, 2, &format!("few {round}")).await);
        // Everybody connects anew.
        apart.proxy.cut().await;
        until_it_says(world, "ok").await;
    }
    assert_eq!(told.with(503), 0, "{told:?}");
    apart.end(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_200_is_lost_where_the_database_commits_asynchronously() {
    let server = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
    let apart = Apart::start(plan(), &server).await;
    let world = &apart.world;
    // Any other write of WAL can flush earlier commits to disk, so the worker must not write.
    tenants::pause(&world.database, &tenant(), &Work::ALL, None, world.clock.now()).await.unwrap();
    world.pass(Duration::from_secs(30)).await;
    let mut told = Told::default();
    for crash in ["first", "second", "third"] {
        told.add(send(world, 1, 2, crash).await);
        block_in_place(|| apart.server.kill().unwrap());
        block_in_place(|| apart.server.start_again().unwrap());
        until_it_says(world, "ok").await;
    }
    assert_eq!(told.with(200), 6, "{told:?}");
    assert_stored(world, &told).await;
    tenants::resume(&world.database, &tenant(), &Work::ALL).await.unwrap();
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

#[tokio::test]
async fn a_locked_subject_holds_up_nobody_elses_callback() {
    let apart = Apart::start(plan(), &[]).await;
    let world = &apart.world;
    let keys = vacancies(world);
    let mut lock = patient(&world.database).await;
    for key in &keys[..2] {
        sqlx::query("select from subject where key = $1 for update").bind(key).execute(&mut *lock).await.unwrap();
    }
    let mut told = Told::default();
    let bodies: Vec<String> = (0..100).map(|at| body(&keys[at % keys.len()], &format!("locked {at}"))).collect();
    let is_locked = |at: usize| at % keys.len() < 2;
    let mut held = Box::pin(join_all((0..100).filter(|at| is_locked(*at)).map(|at| post(world, &bodies[at]))));
    let others = join_all((0..100).filter(|at| !is_locked(*at)).map(|at| post(world, &bodies[at])));
    let others = tokio::select! {
        biased;
        _ = &mut held => panic!("a callback was stored whose subject is locked"),
        others = others => others,
    };
    assert!(others.iter().all(|status| *status == 200), "{others:?}");
    until_it_says(world, "ok").await;
    lock.rollback().await.unwrap();
    let held = held.await;
    assert!(held.iter().all(|status| *status == 200), "{held:?}");
    told.answers.extend(bodies.into_iter().map(|body| (body, 200)));
    apart.end(&told).await;
}

#[tokio::test]
async fn it_is_not_ready_while_a_lock_refuses_every_callback() {
    for table in ["delivery", "subject"] {
        let apart = Apart::start(plan(), &[]).await;
        let world = &apart.world;
        let mut lock = patient(&world.database).await;
        let statement = format!("lock table {table} in access exclusive mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *lock).await.unwrap();
        // Nothing is sent meanwhile.
        until_it_says(world, "refuses callbacks").await;
        lock.rollback().await.unwrap();
        until_it_says(world, "ok").await;
        apart.end(&Told::default()).await;
    }
}
