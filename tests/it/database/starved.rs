//! Work that stands still takes nothing from receiving.

use tokio::task::JoinSet;

use crate::{
    database::{Apart, patient, send, until_it_says, vacancies, without_sweeps},
    harness::{Plan, World},
};

/// Fewer than the places of the operators' listener.
const STUCK: i64 = 100;

/// So many operators who ask for what is locked.
fn ask_again_and_again(world: &World, askers: i64) -> JoinSet<()> {
    let mut asking = JoinSet::new();
    for _ in 0..askers {
        let (http, url) = (world.http.clone(), format!("{}/api/v1/tenants/acme/referentials", world.operators));
        asking.spawn(async move {
            loop {
                http.get(&url).send().await.ok();
            }
        });
    }
    asking
}

#[tokio::test]
async fn requests_of_operators_that_stand_at_a_lock_leave_the_worker_its_connections() {
    let plan = Plan::sized(20, 5)
        .with("DATABASE__CONNECTIONS", "3")
        .with("DATABASE__LOCK_TIMEOUT", "10m")
        .with("DATABASE__STATEMENT_TIMEOUT", "10m");
    let apart = Apart::start(without_sweeps(plan), &[]).await;
    let world = &apart.world;
    let mut lock = patient(&world.database).await;
    sqlx::raw_sql("lock table referential_category in access exclusive mode").execute(&mut *lock).await.unwrap();
    let mut asking = ask_again_and_again(world, 10);
    world
        .until_by_itself("one stands at the lock and the others are refused", async |world: &World| {
            let (status, text) = world.get(&world.operators, "/api/v1/tenants/acme/referentials").await;
            status == 503 && text.contains("other requests are still being answered")
        })
        .await;
    let told = send(world, 5, 4, "asked").await;
    assert_eq!(told.with(200), 20, "{told:?}");
    world.settle().await;
    asking.shutdown().await;
    lock.rollback().await.unwrap();
    apart.end(&told).await;
}

#[tokio::test]
async fn callbacks_are_answered_while_100_statements_stand_at_a_lock() {
    let plan = Plan::sized(20, 5)
        // Operators are given a third of them.
        .with("DATABASE__CONNECTIONS", (3 * STUCK).to_string())
        .with("DATABASE__LOCK_TIMEOUT", "10m")
        .with("DATABASE__STATEMENT_TIMEOUT", "10m");
    // Room for them, whatever other tests take.
    let apart = Apart::start(plan, &[("max_connections", "500")]).await;
    let world = &apart.world;
    let mut lock = patient(&world.database).await;
    let tables = "lock table document, referential_category in access exclusive mode";
    sqlx::raw_sql(tables).execute(&mut *lock).await.unwrap();
    // More who ask than there are connections.
    let mut asking = ask_again_and_again(world, STUCK + 15);
    let stand = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    world
        .until_by_itself("so many statements stand at the lock", async |world: &World| {
            sqlx::query_scalar::<_, i64>(stand).fetch_one(world.database.pool()).await.unwrap() >= STUCK
        })
        .await;

    let told = send(world, 5, 10, "starved").await;
    assert_eq!(told.with(200), 50, "{told:?}");
    until_it_says(world, "ok").await;
    assert!(world.get(&world.operators, "/metrics").await.1.contains("leases_held 1"));
    // Nothing was settled meanwhile.
    let waiting = "select count(*) from subject where waiting";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(world.database.pool()).await.unwrap();
    assert_eq!(waiting, vacancies(world).len() as i64);

    asking.shutdown().await;
    lock.rollback().await.unwrap();
    apart.end(&told).await;
}
