//! Statements of the service's own about many subjects lock few of them at a time: callbacks that name these wait.

use std::time::Duration;

use cegid_indexer::{domain::Kind, gaps, subjects};

use crate::{
    database::{run, without_sweeps},
    harness::{Plan, World, tenant},
};

const MANY: i64 = 2_500;

/// Rows of each statement that changed subjects since the last time.
async fn changed(world: &World) -> Vec<i64> {
    sqlx::query_scalar("with these as (delete from changed returning rows) select rows from these where rows > 0")
        .fetch_all(world.database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn many_subjects_are_changed_a_few_at_a_time() {
    let world = World::start(without_sweeps(Plan::sized(0, 0)).stopped()).await;
    world.database.migrate().await.unwrap();
    run(
        &world,
        "create table changed (rows bigint);
         create function note_change() returns trigger language plpgsql as
           $$ begin insert into changed select count(*) from new_rows; return null; end $$;
         create trigger note_change after update on subject referencing new table as new_rows
           for each statement execute function note_change();",
    )
    .await;
    let now = world.clock.now();
    sqlx::query(
        "insert into subject (tenant, kind, key, wanted, settled, announced, state, due_at, confirm_at, found, found_at, held_at)
         select 'acme', 'vacancy', 'V' || n, 0, 0, 0, 'live', $1, $1, 1, $1, $1 from generate_series(1, $2) n",
    )
    .bind(now)
    .bind(MANY)
    .execute(world.database.pool())
    .await
    .unwrap();
    let (database, tenant) = (&world.database, tenant());
    let expected = vec![1000, 1000, 500];
    let again = subjects::want_again(database, &tenant, Kind::Vacancy, now).await.unwrap();
    assert_eq!((again, changed(&world).await), (MANY as u64, expected.clone()));
    assert_eq!(gaps::count(database, &tenant, Kind::Vacancy, now, Duration::ZERO).await.unwrap(), MANY);
    assert_eq!(changed(&world).await, expected);
    assert_eq!(subjects::release(database, &tenant, Kind::Vacancy, now).await.unwrap().subjects, MANY);
    assert_eq!(changed(&world).await, expected);
}
