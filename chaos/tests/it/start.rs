//! A start that the database fails is a start that is tried again, by the database's time.

use cegid_indexer_chaos::{
    patience::{until, until_holds},
    replica::Armed,
    world::{Plan, World},
};
use cegid_simulator::{Outcome, RawCallback};
use fault_proxy::{Pattern, Trap};

/// Starts a replica whose first two connections that send this are cut, and waits until it works.
async fn cut_at(world: &mut World, statement: &str, armed: Armed) {
    let trap = Trap::before(Pattern::Bytes(statement.as_bytes().to_vec())).times(2);
    world.links[0].database.set_trap(trap);
    world.replicas[0].start(armed).unwrap();
    works(world).await;
    assert_eq!(world.links[0].database.counts().sprung, 2, "at {statement}");
}

/// Waits until the replica holds a lease; fails when it has ended.
async fn works(world: &mut World) {
    let replica = &mut world.replicas[0];
    let (front, pool) = (&world.front, &world.pool);
    until_holds("the replica works", async || {
        let ended = replica.ended()?;
        anyhow::ensure!(ended.is_none(), "it ended with {ended:?}:\n{}", replica.log());
        let held = "select count(*) from tenant_lease where held_until > clock_timestamp()";
        let held: i64 = sqlx::query_scalar(held).fetch_one(pool).await?;
        Ok(front.is_ready(0) && held > 0)
    })
    .await
    .unwrap();
}

async fn stop(world: &mut World) {
    world.replicas[0].ask_to_stop().unwrap();
    assert!(world.replicas[0].end().await.unwrap().success());
}

async fn world() -> World {
    world_with(0).await
}

async fn world_with(database_ahead: i64) -> World {
    World::start(Plan { seed: 1, replicas: 1, tenants: 1, small: false, database_ahead }).await.unwrap()
}

/// The answer to a genuine callback.
async fn answered(world: &World) -> u16 {
    let raw = RawCallback {
        url: format!("http://{}/api/talentsoft/v1/acme/events", world.replicas[0].public.at),
        body: br#"{"reference":"2026-00001","event_type":"vacancy_update"}"#.to_vec(),
        content_md5: true,
        ..RawCallback::default()
    };
    let answer = async || {
        let outcome = world.tenants[0].simulator.send_raw(&raw).await.outcome;
        Ok(if let Outcome::Answered(status) = outcome { Some(status) } else { None })
    };
    until("it answers", answer).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_the_schema_is_looked_at_ends_no_process() {
    let mut world = world().await;
    cut_at(&mut world, "_sqlx_migrations", Armed::default()).await;
    stop(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_is_taken_by_the_machines_clock_when_the_databases_is_not_known_yet() {
    let mut world = world().await;
    cut_at(&mut world, "clock_timestamp", Armed { shift: 7200, ..Armed::default() }).await;
    assert_eq!(world.number("select count(*) from chaos.wrong_time").await.unwrap(), 0);
    stop(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_callback_is_not_refused_by_a_wrong_clock() {
    let mut world = world().await;
    world.links[0].database.refuse().await.unwrap();
    // By this clock every signature has expired.
    world.replicas[0].start(Armed { shift: 7200, ..Armed::default() }).unwrap();
    assert_eq!(answered(&world).await, 503);
    world.links[0].database.accept_again().await.unwrap();
    works(&mut world).await;
    assert_eq!(answered(&world).await, 200);
    assert_eq!(world.number("select count(*) from chaos.wrong_time").await.unwrap(), 0);
    stop(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_callback_is_not_refused_by_a_database_whose_clock_is_wrong() {
    for database_ahead in [900, -900] {
        let mut world = world_with(database_ahead).await;
        world.replicas[0].start(Armed::default()).unwrap();
        works(&mut world).await;
        assert_eq!(answered(&world).await, 200, "{database_ahead} s ahead");
        // Once, however often it is looked.
        let says = "the database's time is ";
        until_holds("it warns", async || Ok(world.replicas[0].log().matches(says).count() == 1)).await.unwrap();
        // What is stored bears the database's time.
        assert_eq!(world.number("select count(*) from chaos.wrong_time").await.unwrap(), 0);
        stop(&mut world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_at_the_start_is_waited_for() {
    let mut world = world().await;
    let set = async |world: &World, setting: &'static str| {
        sqlx::query(setting).execute(&world.pool).await.unwrap();
        sqlx::query("select pg_reload_conf()").execute(&world.pool).await.unwrap();
    };
    set(&world, "alter system set default_transaction_read_only = on").await;
    world.replicas[0].start(Armed::default()).unwrap();
    until_holds("it waits", async || {
        anyhow::ensure!(world.replicas[0].ended()?.is_none(), "it ended:\n{}", world.replicas[0].log());
        Ok(world.replicas[0].log().contains("read-only transaction"))
    })
    .await
    .unwrap();
    set(&world, "alter system reset default_transaction_read_only").await;
    works(&mut world).await;
    stop(&mut world).await;
}
