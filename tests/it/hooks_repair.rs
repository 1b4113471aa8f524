//! Hooks that Cegid has lost, or holds and is silent about.

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::{
    harness::{Plan, World},
    hooks::{assert_registered_once, deletes, posts},
};

const HOUR: Duration = Duration::from_secs(3600);

/// As a sweep counts them.
async fn count_gaps(world: &World, hour: DateTime<Utc>, count: i64) {
    let hour = hour.duration_trunc(TimeDelta::hours(1)).unwrap();
    let insert = "insert into gap_count (tenant, kind, hour, count) values ('acme', 'vacancy', $1, $2)
                  on conflict on constraint gap_count_pkey do update set count = gap_count.count + excluded.count";
    sqlx::query(insert).bind(hour).bind(count).execute(world.database.pool()).await.unwrap();
}

/// Everything is registered, after so many calls since the start.
async fn registered_again(world: &World, calls: usize) -> bool {
    posts(world) == calls && world.registered().await
}

/// Lets so much time go by that the register was looked at several times.
async fn looked_at(world: &World) {
    world.pass(Duration::from_secs(900)).await;
}

#[tokio::test]
async fn hooks_that_are_lost_silently_are_registered_again_once_a_day_when_sweeps_find_gaps() {
    let world = World::start(Plan::sized(5, 2)).await;
    world.settle().await;
    assert_eq!(world.simulator.forget_hooks(), 8);
    // Silence alone says nothing; nor do two gaps, nor those of before.
    world.turn(HOUR * 2);
    count_gaps(&world, world.clock.now() - HOUR * 3, 10).await;
    count_gaps(&world, world.clock.now(), 2).await;
    looked_at(&world).await;
    assert_eq!((posts(&world), deletes(&world)), (8, 0));
    // A ping is not heard of as an event is.
    let ping = cegid_simulator::RawCallback {
        url: format!("{}/api/talentsoft/v1/acme/pingevents", world.public),
        ..Default::default()
    };
    assert!(world.simulator.send_raw(&ping).await.accepted());
    count_gaps(&world, world.clock.now(), 1).await;
    world.until("hooks are registered again", async |world: &World| registered_again(world, 16).await).await;
    // Those that Cegid lost are deleted too, in case it has not.
    assert_eq!(deletes(&world), 8);
    assert_registered_once(&world).await;
    let repaired = world.clock.now();

    // This time Cegid holds them and sends nothing. Within a day nothing is done.
    world.simulator.mute_hooks(true);
    world.turn(HOUR * 3);
    count_gaps(&world, world.clock.now(), 10).await;
    looked_at(&world).await;
    assert_eq!((posts(&world), deletes(&world)), (16, 8));
    world.turn(HOUR * 20);
    world.until("hooks are registered again", async |world: &World| registered_again(world, 24).await).await;
    assert!(world.clock.now() - repaired >= TimeDelta::hours(24), "after {}", world.clock.now() - repaired);
    assert_eq!(deletes(&world), 16);
    assert_registered_once(&world).await;
    world.simulator.mute_hooks(false);
    world.end().await;
}

#[tokio::test]
async fn hooks_are_not_suspected_while_something_is_heard() {
    let world = World::start(Plan::sized(5, 2)).await;
    world.settle().await;
    let key = world.simulator.truth()[0].key.clone();
    for _ in 0..3 {
        world.turn(Duration::from_secs(3000));
        world.simulator.edit_vacancy(&key).unwrap();
        assert!(world.simulator.flush().await.iter().all(|sent| sent.accepted()));
        count_gaps(&world, world.clock.now() + HOUR, 10).await;
    }
    looked_at(&world).await;
    assert_eq!((posts(&world), deletes(&world)), (8, 0));
    world.end().await;
}
