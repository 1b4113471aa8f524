//! Other transactions that are in the way: everything is done again, and no attempt of a subject is counted.

use std::time::Duration;

use cegid_simulator::{Endpoint, Fault, FaultKind};
use sqlx::Connection;

use crate::{
    database::{Apart, Told, body, patient, post, run, send, send_again, vacancies, without_sweeps},
    harness::{Plan, World},
};

/// Keeps every attempt that was counted: a subject's own count begins anew when it is settled.
async fn keep_attempts(world: &World) {
    run(
        world,
        "create table attempted (key text, attempts integer);
         create function keep_attempt() returns trigger language plpgsql as
           $$ begin insert into attempted values (new.key, new.attempts); return null; end $$;
         create trigger keep_attempt after update on subject for each row when (new.attempts > 0)
           execute function keep_attempt();",
    )
    .await;
}

async fn assert_no_attempt(world: &World) {
    let attempts: i64 =
        sqlx::query_scalar("select count(*) from attempted").fetch_one(world.database.pool()).await.unwrap();
    assert_eq!(attempts, 0);
}

/// Until a statement of the service waits for a lock.
async fn until_it_waits(world: &World) {
    let waiting = "select count(*) from pg_stat_activity
                   where wait_event_type = 'Lock' and application_name = 'cegid-indexer'";
    world
        .until("it waits for a lock", async |world: &World| {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(world.database.pool()).await.unwrap() == 1
        })
        .await;
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_waited_for_again_and_costs_no_attempt() {
    let apart = Apart::start(without_sweeps(Plan::sized(8, 0).with("DATABASE__LOCK_TIMEOUT", "150ms")), &[]).await;
    let world = &apart.world;
    keep_attempts(world).await;
    let key = &vacancies(world)[0];
    let mut lock = patient(&world.database).await;
    sqlx::query("select from document where key = $1 for update").bind(key).execute(&mut *lock).await.unwrap();
    world.simulator.edit_silently(key).unwrap();
    assert_eq!(post(world, &body(key, "locked")).await, 200);
    // More than one settling tries, each several times.
    world.until("it has given up often", async |_| apart.logged("due to lock timeout") >= 8).await;
    lock.rollback().await.unwrap();
    world.until("it is settled", async |world: &World| world.ledger().await.balances()).await;
    assert_no_attempt(world).await;
    apart.end(&Told::default()).await;
}

#[tokio::test]
async fn the_victim_of_a_deadlock_settles_again_and_costs_no_attempt() {
    // Whoever waits so long looks for a deadlock once: the settling, since the other's look is far off.
    let server = [("deadlock_timeout", "5s")];
    let apart = Apart::start(without_sweeps(Plan::sized(8, 0).with("DATABASE__LOCK_TIMEOUT", "5m")), &server).await;
    let world = &apart.world;
    keep_attempts(world).await;
    let key = &vacancies(world)[0];
    let mut other = sqlx::PgConnection::connect(&apart.server.url("postgres")).await.unwrap();
    sqlx::raw_sql("set deadlock_timeout = '10min'").execute(&mut other).await.unwrap();
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold).times(1));
    world.simulator.edit_silently(key).unwrap();
    assert_eq!(post(world, &body(key, "deadlock")).await, 200);
    world.until("its answer is kept back", async |world: &World| world.simulator.held() == 1).await;
    // A settling locks the document, then the subject; this one the other way round.
    let mut tx = other.begin().await.unwrap();
    sqlx::query("select from subject where key = $1 for update").bind(key).execute(&mut *tx).await.unwrap();
    world.simulator.release_held();
    until_it_waits(world).await;
    sqlx::query("select from document where key = $1 for update").bind(key).execute(&mut *tx).await.unwrap();
    assert_eq!(apart.logged("deadlock detected"), 1);
    tx.rollback().await.unwrap();
    world.until("it is settled", async |world: &World| world.ledger().await.balances()).await;
    assert_no_attempt(world).await;
    apart.end(&Told::default()).await;
}

#[tokio::test]
async fn failures_to_serialise_are_tried_again_and_cost_no_attempt() {
    let server = [("default_transaction_isolation", "repeatable read")];
    let apart = Apart::start(Plan::sized(10, 0), &server).await;
    let world = &apart.world;
    keep_attempts(world).await;
    let mut told = Told::default();
    let failures = || apart.logged("could not serialize access");
    for round in 0..40 {
        // What the round before has raised is settled while this one raises it again.
        world.turn(Duration::from_secs(3));
        told.add(send(world, 5, 8, &format!("round {round}")).await);
        if failures() >= 5 {
            break;
        }
    }
    assert!(failures() >= 5, "there were {}", failures());
    send_again(world, &mut told).await;
    world.until("everything is settled", async |world: &World| world.ledger().await.balances()).await;
    assert_no_attempt(world).await;
    apart.end(&told).await;
}
