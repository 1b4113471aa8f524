//! A database that takes its time.

use std::time::Duration;

use crate::{
    database::{Apart, send, send_again, stored, until_it_says},
    harness::Plan,
};

/// `receive.commit_timeout`, and what a machine that others use may add.
const DEADLINE: Duration = Duration::from_millis(3000 + 2500);

#[tokio::test]
async fn a_slow_database_delays_no_answer_beyond_the_deadline() {
    let apart = Apart::start(Plan::sized(10, 0), &[]).await;
    let (world, proxy) = (&apart.world, &apart.proxy);
    let mut told = send(world, 1, 1, "quick").await;
    assert_eq!(told.with(200), 1);

    // 2 s for each statement.
    proxy.set_latency(Duration::from_secs(1), Duration::from_secs(1));
    let slow = send(world, 6, 3, "slow").await;
    assert!(slow.slowest < DEADLINE, "{:?}", slow.slowest);
    assert!(slow.with(200) > 0 && slow.slowest > Duration::from_secs(2), "{slow:?}");

    // Longer than the deadline: whoever asks is told to come again, and what is answered so may be stored all the same.
    proxy.set_latency(Duration::from_secs(2), Duration::from_secs(2));
    let slower = send(world, 6, 2, "slower").await;
    assert!(slower.slowest < DEADLINE, "{:?}", slower.slowest);
    assert_eq!(slower.with(503), 12, "{slower:?}");

    proxy.clear().await.unwrap();
    told.add(slow);
    told.add(slower);
    send_again(world, &mut told).await;
    until_it_says(world, "ok").await;
    assert_eq!(told.with(200), 31);
    assert!(stored(world).await.len() >= 31);
    apart.end(&told).await;
}
