//! Every kill point is reached, and what it leaves behind balances.

use std::collections::BTreeSet;

use cegid_indexer::kill::POINTS;
use cegid_indexer_chaos::{
    points::every_point,
    world::{Plan, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_at_any_point_leaves_nothing_behind_that_the_next_does_not_finish() {
    let mut world =
        World::start(Plan { seed: 1, replicas: 1, tenants: 2, small: false, database_ahead: 0 }).await.unwrap();
    let died = every_point(&mut world).await.unwrap();
    for died in &died {
        let wrong: Vec<String> =
            died.lines.iter().filter(|line| !line.wrong.is_empty()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "after {}:\n{}", died.point, wrong.join("\n"));
    }
    let reached: BTreeSet<&str> = died.iter().map(|died| died.point).collect();
    assert_eq!(reached, BTreeSet::from(POINTS));
}
