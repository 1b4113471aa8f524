//! A short storm over three replicas.

use std::time::Duration;

use cegid_indexer_chaos::{
    events::Event,
    run::{Course, run},
    world::Plan,
};

const SEED: u64 = 7;
const TIME: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_the_ledger_balances() {
    let outcome = run(Plan::storm(SEED, 3, 3), Course { time: TIME, events: &Event::ALL, logs: None }).await.unwrap();
    println!("{outcome}");
    assert!(outcome.balances(), "{outcome}");
}
