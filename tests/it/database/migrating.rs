//! A newer version migrates beside the service: whatever is in the way of a migration, callbacks are stored.

use std::{path::Path, sync::Arc, time::Duration};

use cegid_indexer::{
    database::{Database, DatabaseError},
    settings::Settings,
};
use futures_util::future::join_all;
use sqlx::{
    Connection, PgConnection, SqlSafeStr,
    migrate::{Migrate, Migration, MigrationType, Migrator},
    postgres::PgPoolOptions,
};
use tokio::task::JoinHandle;

use crate::{
    database::{Apart, Told, patient, run, send, without_sweeps},
    harness::{Plan, World, canary, database::Named},
};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
const GIVEN_UP: &str = "canceling statement due to lock timeout";

/// The migrations of today and one more.
async fn of_next_year(sql: &'static str) -> Migrator {
    let today = Migrator::new(Path::new(MIGRATIONS)).await.unwrap();
    let next = Migration::new(9001, "of next year".into(), MigrationType::Simple, sql.into_sql_str(), false);
    Migrator::with_migrations(today.iter().cloned().chain([next]).collect())
}

/// Begins as the newer version does, with the shortest lease: its sessions must not be idle in a transaction between
/// two attempts. Gives how many attempts did not get their locks.
async fn upgrade(world: &World, sql: &'static str) -> JoinHandle<Result<u32, DatabaseError>> {
    let settings = Settings::load(None, world.environment()).unwrap();
    let database = Database::new(&settings.database, Duration::from_secs(3)).unwrap();
    let migrations = Arc::new(of_next_year(sql).await);
    tokio::spawn(async move { database.apply(&migrations).await })
}

async fn exists(world: &World, name: &str) -> bool {
    let found = sqlx::query_scalar("select to_regclass($1) is not null").bind(name);
    found.fetch_one(world.database.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_delays_a_migration_and_no_callback() {
    let log_from = canary::listen();
    // A slow machine must not look like a lock.
    let plan = without_sweeps(Plan::sized(8, 0)).with("RECEIVE__COMMIT_TIMEOUT", "20s");
    let apart = Apart::start(plan, &[]).await;
    let world = &apart.world;
    let mut reader = patient(&world.database).await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *reader).await.unwrap();
    let reads = "select from delivery, subject, report_item where delivery.key = 'Zoé Exemple'";
    sqlx::raw_sql(reads).execute(&mut *reader).await.unwrap();

    let upgrading = upgrade(
        world,
        "create table of_next_year (id bigint);
         alter table report_item add column of_next_year bigint not null default 0;
         alter table delivery add column of_next_year bigint not null default 0;
         alter table subject add column of_next_year bigint not null default 0;",
    )
    .await;
    let mut told = Told::default();
    let mut round = 0;
    while apart.logged(GIVEN_UP) < 2 {
        assert!(!upgrading.is_finished(), "it is in nobody's way");
        round += 1;
        told.add(send(world, 4, 4, &format!("before {round}")).await);
    }
    assert!(!exists(world, "of_next_year").await, "half of a migration is there");
    reader.rollback().await.unwrap();
    while !upgrading.is_finished() {
        round += 1;
        told.add(send(world, 4, 4, &format!("after {round}")).await);
    }
    assert!(upgrading.await.unwrap().unwrap() >= 2);
    assert!(exists(world, "of_next_year").await);
    told.add(send(world, 4, 4, "migrated").await);
    assert_eq!(told.with(200), told.answers.len(), "{told:?}");

    let log = canary::logged(log_from);
    let reader = format!("pid {pid} (client backend, idle in transaction, SELECT, for ");
    assert!(log.lines().any(|line| line.contains(&reader) && line.contains("report_item")), "{reader}");
    assert!(!log.contains("Exemple"));
    apart.end(&told).await;
}

#[tokio::test]
async fn an_autovacuum_in_the_way_of_a_migration_is_ended() {
    // It sleeps after each page, for hours; that it is ended is left to the server, which waits for a second.
    let server = [("autovacuum_naptime", "1s"), ("log_autovacuum_min_duration", "0")];
    let apart = Apart::start(without_sweeps(Plan::sized(8, 0)), &server).await;
    let world = &apart.world;
    run(
        world,
        "create table large (id bigint, text text) with (fillfactor = 10, autovacuum_vacuum_cost_delay = 100,
           autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
         insert into large select id, repeat('x', 500) from generate_series(1, 5000) as id;
         delete from large where id % 2 = 0;",
    )
    .await;
    world
        .until_by_itself("it is vacuumed", async |world: &World| {
            let vacuums = "select count(*) from pg_locks join pg_stat_activity using (pid)
                           where relation = 'large'::regclass and backend_type = 'autovacuum worker'";
            sqlx::query_scalar::<_, i64>(vacuums).fetch_one(world.database.pool()).await.unwrap() > 0
        })
        .await;
    let given_up = upgrade(world, "alter table large add column more bigint").await.await.unwrap().unwrap();
    assert!(given_up > 0, "nothing was in the way");
    assert!(apart.logged("canceling autovacuum task") > 0);
    apart.end(&Told::default()).await;
}

#[tokio::test]
async fn who_has_the_current_schema_starts_while_another_session_migrates_and_who_has_not_waits_for_it() {
    let log_from = canary::listen();
    let name = Named::create().await;
    let mut other = PgConnection::connect(&name.url()).await.unwrap();
    other.lock().await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut other).await.unwrap();
    let world = World::start_on(Plan::sized(2, 0), name).await;
    let upgrading = upgrade(&world, "create table of_next_year (id bigint)").await;
    world
        .until_by_itself("it says who migrates", async |_: &World| {
            let log = canary::logged(log_from);
            log.lines().any(|line| line.contains("another session migrates") && line.contains(&format!("pid {pid} (")))
        })
        .await;
    assert!(!upgrading.is_finished() && !exists(&world, "of_next_year").await);
    other.close().await.unwrap();
    assert!(upgrading.await.unwrap().unwrap() > 0);
    assert!(exists(&world, "of_next_year").await);
    world.end().await;
}

#[tokio::test]
async fn of_replicas_that_start_together_one_migrates() {
    let name = Named::empty().await;
    let given = [("CEGID_INDEXER__DATABASE__URL".to_owned(), name.url())];
    let settings = Settings::load(None, given).unwrap();
    let replicas = (0..8).map(|_| {
        let database = Database::new(&settings.database, settings.worker.lease).unwrap();
        async move { database.migrate().await }
    });
    for migrated in join_all(replicas).await {
        migrated.unwrap();
    }
    let pool = PgPoolOptions::new().max_connections(1).connect(&name.url()).await.unwrap();
    let applied: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations").fetch_one(&pool).await.unwrap();
    let all = Migrator::new(Path::new(MIGRATIONS)).await.unwrap();
    assert_eq!(applied, all.iter().count() as i64);
    pool.close().await;
}
