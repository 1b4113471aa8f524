//! The database's clock and the machine's, when one of them is wrong.

use std::time::Duration;

use cegid_indexer::refusals;
use chrono::{DateTime, TimeDelta};

use crate::harness::{
    CLIENT_ID, Plan, SECRET, World,
    log::{keep_log, warnings},
    raw,
};

const EVENTS: &str = "/api/talentsoft/v1/acme/events";
const DIFFERENCE: TimeDelta = TimeDelta::minutes(10);
/// For how long Cegid signs.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// A callback that is signed at this time of the sender's.
async fn send(world: &World, sender: DateTime<chrono::Utc>) -> u16 {
    let query = format!("client_id={CLIENT_ID}");
    let expires = (sender + LIFETIME).timestamp().to_string();
    let signature = raw::signature_until("POST", EVENTS, SECRET, &query, &expires);
    let target = format!("{EVENTS}?{query}&signature={signature}");
    raw::send(&world.public, "POST", &target, &[("X-TS-REC-Expires", &expires)], b"{}").await.status
}

#[tokio::test]
async fn a_callback_is_accepted_while_one_of_two_clocks_is_right() {
    // A signature that lives for too long by a clock that is behind is not refused for that either.
    let world = World::start(Plan::sized(0, 0).with("RECEIVE__SIGNATURE_LIFETIME_LIMIT", "400s")).await;
    let now = world.clock.now();
    for (machine_ahead, sender_ahead) in [
        (TimeDelta::zero(), TimeDelta::zero()),
        // The database's time is ten minutes ahead of the machine's and the sender's, or behind.
        (-DIFFERENCE, -DIFFERENCE),
        (DIFFERENCE, DIFFERENCE),
        // The machine's is.
        (DIFFERENCE, TimeDelta::zero()),
        (-DIFFERENCE, TimeDelta::zero()),
    ] {
        world.clock.set_machine_ahead(machine_ahead);
        assert_eq!(send(&world, now + sender_ahead).await, 200, "machine {machine_ahead}, sender {sender_ahead}");
    }
    for (machine_ahead, sender_ahead, reason) in [
        (TimeDelta::zero(), -DIFFERENCE, "expired"),
        (DIFFERENCE, -DIFFERENCE, "expired"),
        (TimeDelta::zero(), DIFFERENCE, "long_lived"),
        (-DIFFERENCE, DIFFERENCE, "long_lived"),
    ] {
        world.clock.set_machine_ahead(machine_ahead);
        assert_eq!(
            send(&world, now + sender_ahead).await,
            403,
            "machine {machine_ahead}, sender {sender_ahead}: {reason}"
        );
    }
    world
        .until_by_itself("the refusals are counted", async |world: &World| {
            let counted = refusals::by_reason(&world.database, DateTime::UNIX_EPOCH).await.unwrap();
            counted == [("expired".to_owned(), 2), ("long_lived".to_owned(), 2)]
        })
        .await;
    // What is stored bears the database's time.
    let stored: Vec<DateTime<chrono::Utc>> =
        sqlx::query_scalar("select received_at from delivery").fetch_all(world.database.pool()).await.unwrap();
    assert_eq!(stored, [now; 5]);
    world.leave().await;
}

#[tokio::test]
async fn a_difference_of_the_clocks_is_shown_and_warned_of_once() {
    let (log, _lines, _guard) = keep_log();
    let mut world = World::start(Plan::sized(0, 0).stopped()).await;
    world.clock.set_machine_ahead(-DIFFERENCE);
    world.start_service().await;
    let shows = async |seconds: &str| {
        world
            .until_by_itself("the difference is shown", async |world: &World| {
                let (_, metrics) = world.get(&world.operators, "/metrics").await;
                metrics.contains(&format!("cegid_indexer_clock_difference_seconds {seconds}\n"))
            })
            .await;
        world.get(&world.operators, "/readyz?verbose").await
    };
    let (status, says) = shows("600.0").await;
    assert!(status == 200 && says.contains(r#""clock":"the database's time is 600 s ahead"#), "{says}");
    assert_eq!(warnings(&log, "the database's time is").len(), 1, "{}", log.text());
    // A stranger is told nothing of it.
    assert_eq!(world.get(&world.public, "/readyz?verbose").await, (200, "ready".to_owned()));

    // It stays.
    world.clock.set_machine_ahead(-DIFFERENCE * 2);
    world.turn(Duration::from_secs(60));
    shows("1200.0").await;
    assert_eq!(warnings(&log, "the database's time is").len(), 1, "{}", log.text());

    // Within the allowance.
    world.clock.set_machine_ahead(TimeDelta::seconds(60));
    world.turn(Duration::from_secs(60));
    let (_, says) = shows("-60.0").await;
    assert!(!says.contains("clock"), "{says}");
    assert!(log.text().contains("agree again"), "{}", log.text());
    world.leave().await;
}
