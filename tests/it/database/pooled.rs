//! Through a pooler in transaction mode.

use std::collections::HashMap;

use private_postgres::{Options, Server};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use crate::{
    convergence::live_vacancies,
    database::{assert_stored, direct, numbers::number, pooler::Pooler, run, send},
    harness::{Plan, World, process},
};

async fn server() -> Server {
    Server::start(Options::from_env()).await.unwrap()
}

fn url(pooler: &Pooler) -> String {
    format!("postgres://postgres@{}/postgres", pooler.address)
}

async fn migrate(url: &str, pooled: bool) -> (Option<i32>, String) {
    let environment = HashMap::from([
        ("CEGID_INDEXER__DATABASE__URL".to_owned(), url.to_owned()),
        ("CEGID_INDEXER__DATABASE__POOLED".to_owned(), pooled.to_string()),
    ]);
    let output = tokio::task::spawn_blocking(move || process::run(&["migrate"], &environment)).await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_works_where_each_transaction_meets_another_session() {
    let server = server().await;
    let pooler = Pooler::start(&server.socket(), 3, false).await;
    let plan = Plan::sized(20, 10).with("DATABASE__URL", url(&pooler)).with("DATABASE__POOLED", "true");
    // More round trips than the turned clock would leave a usual lease.
    let plan = plan.with("WORKER__LEASE", "5m").stopped();
    let mut world = World::start(plan).await;
    world.database = direct(&server);
    // It waits for whoever migrates.
    world.start_without_waiting().await;
    world
        .until_by_itself("it waits for the schema", async |world: &World| {
            world.get(&world.operators, "/readyz?verbose").await.1.contains("being migrated")
        })
        .await;
    world.database.migrate().await.unwrap();
    world
        .until_by_itself("it is ready", async |world: &World| world.get(&world.public, "/readyz").await.0 == 200)
        .await;
    world.settle().await;
    let told = send(&world, 4, 10, "pooled").await;
    assert_eq!(told.with(200), 40);
    world.settle().await;
    // Its connections stay while the server behind them goes back.
    let settled = number(&world, "select max(settled) from subject").await;
    run(&world, "select setval('request_number', (select min(id) from delivery))").await;
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.settle().await;
    assert!(number(&world, "select max(id) from delivery").await > settled);
    assert_eq!(world.get(&world.operators, "/api/v1/tenants/acme/vacancies?q=a").await.0, 200);
    assert!(pooler.turns() > 100 && pooler.refused() == 0, "{} turns", pooler.turns());
    assert_stored(&world, &told).await;
    world.end_having_sent().await;
}

#[tokio::test]
async fn such_a_pooler_is_no_place_for_a_session_that_keeps_something() {
    let server = server().await;
    let pooler = Pooler::start(&server.socket(), 3, false).await;
    let plain: PgConnectOptions = url(&pooler).parse().unwrap();
    // What makes the tests above mean something: a statement that was prepared is not there when it is executed.
    let mut connection = plain.extra_float_digits(None).connect().await.unwrap();
    let failed = sqlx::query("select $1::text").bind("x").execute(&mut connection).await.unwrap_err();
    assert_eq!(failed.as_database_error().unwrap().code().as_deref(), Some("26000"), "{failed}");
}

#[tokio::test]
async fn migrate_through_a_pooler_says_that_it_needs_the_server_itself() {
    let server = server().await;
    let refusing = Pooler::start(&server.socket(), 3, false).await;
    let ignoring = Pooler::start(&server.socket(), 3, true).await;
    for (pooler, pooled) in [(&refusing, true), (&refusing, false), (&ignoring, false)] {
        let (code, says) = migrate(&url(pooler), pooled).await;
        assert_eq!(code, Some(69), "{says}");
        assert!(says.contains("the server itself"), "{says}");
    }
    assert_eq!(refusing.refused(), 1);
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    let made: i64 = sqlx::query_scalar(tables).fetch_one(direct(&server).pool()).await.unwrap();
    assert_eq!(made, 0);
    assert_eq!(migrate(&server.url("postgres"), false).await.0, Some(0));
}
