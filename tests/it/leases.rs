//! One replica works a tenant, and a replica that was taken over writes nothing.

use std::time::Duration;

use cegid_indexer::tenancy::{Lease, fence};
use uuid::Uuid;

use crate::harness::{Plan, World, tenant};

const LENGTH: Duration = Duration::from_secs(15);

async fn acquire(world: &World) -> Option<Lease> {
    Lease::acquire(&world.database, &world.clock, &tenant(), Uuid::now_v7(), LENGTH).await.unwrap()
}

#[tokio::test]
async fn a_take_over_waits_for_a_settling_transaction_and_ends_the_next_one() {
    let world = World::start(Plan::sized(0, 0).stopped()).await;
    let first = acquire(&world).await.unwrap();
    assert!(acquire(&world).await.is_none(), "the lease is held");
    assert!(first.holds());
    let settling = fence(&world.database, &first).await.unwrap().unwrap();
    // Renewing does not wait for it.
    assert!(first.renew(&world.database, LENGTH).await.unwrap());
    world.turn(LENGTH);
    assert!(!first.holds());
    let mut taking = Box::pin(acquire(&world));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut taking).await;
    assert!(early.is_err(), "taken over beside a settling transaction");
    settling.commit().await.unwrap();
    let second = taking.await.unwrap();
    assert!(fence(&world.database, &first).await.unwrap().is_none(), "a zombie may settle");
    assert!(!first.renew(&world.database, LENGTH).await.unwrap());
    assert!(fence(&world.database, &second).await.unwrap().is_some());
    second.release(&world.database).await.unwrap();
    assert!(acquire(&world).await.is_some(), "a lease that was given up can be had at once");
    world.leave().await;
}
