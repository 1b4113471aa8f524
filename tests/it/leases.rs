//! One replica works a tenant, a replica that was taken over writes nothing, and no tenant settles on every connection.

use std::time::Duration;

use cegid_indexer::{
    domain::TenantId,
    tenancy::{Holder, Lease, fence},
};
use futures_util::FutureExt;
use uuid::Uuid;

use crate::harness::{Plan, World, tenant};

const LENGTH: Duration = Duration::from_secs(15);

fn holder(world: &World) -> Holder {
    Holder { replica: Uuid::now_v7(), length: LENGTH, clock: world.clock.clone() }
}

async fn acquire(world: &World) -> Option<Lease> {
    holder(world).acquire(&world.database, &[tenant()], 1).await.unwrap().pop()
}

/// Whether the lease is still held.
async fn renew(world: &World, lease: &Lease) -> bool {
    holder(world).renew(&world.database, &[lease]).await.unwrap().is_empty()
}

#[tokio::test]
async fn a_take_over_waits_for_a_settling_transaction_and_ends_the_next_one() {
    let world = World::start(Plan::sized(0, 0).stopped()).await;
    let first = acquire(&world).await.unwrap();
    assert!(acquire(&world).await.is_none(), "the lease is held");
    assert!(first.holds());
    let settling = fence(&world.database, &first).await.unwrap().unwrap();
    // Renewing does not wait for it.
    assert!(renew(&world, &first).await);
    world.turn(LENGTH);
    assert!(!first.holds());
    assert!(acquire(&world).await.is_none(), "taken over beside a settling transaction");
    settling.commit().await.unwrap();
    let second = acquire(&world).await.unwrap();
    assert!(fence(&world.database, &first).await.unwrap().is_none(), "a zombie may settle");
    assert!(!renew(&world, &first).await);
    fence(&world.database, &second).await.unwrap().unwrap().commit().await.unwrap();
    second.release(&world.database).await.unwrap();
    assert!(acquire(&world).await.is_some(), "a lease that was given up can be had at once");
    world.leave().await;
}

/// What a clock that was ahead has written would hold until it has caught up.
#[tokio::test]
async fn leases_from_before_the_clock_was_set_back_hold_nobody_up() {
    let mut world = World::start(Plan::sized(4, 4)).await;
    world.settle().await;
    world.stop_service().await;
    let ahead = world.clock.now() + Duration::from_secs(7200);
    let written = [
        "update tenant_lease set held_until = $1, holder = gen_random_uuid()",
        "insert into replica (id, seen_until) values ('00000000-0000-0000-0000-000000000000', $1)",
    ];
    for statement in written {
        sqlx::query(statement).bind(ahead).execute(world.database.pool()).await.unwrap();
    }
    world.start_without_waiting().await;
    let query = "select (select count(*) from tenant_lease where held_until < $1) +
                        (select count(*) from replica where seen_until > $1)";
    let soon = world.clock.now() + Duration::from_secs(600);
    let is_worked = async |world: &World| {
        let counted: i64 = sqlx::query_scalar(query).bind(soon).fetch_one(world.database.pool()).await.unwrap();
        counted == 1
    };
    world.until_by_itself("the tenant is worked, and the replica that is gone forgotten", is_worked).await;
    world.settle().await;
    world.end().await;
}

#[tokio::test]
async fn a_replica_takes_no_more_than_it_asks_for_and_two_never_the_same() {
    let world = World::start(Plan::sized(0, 0).stopped()).await;
    let tenants: Vec<TenantId> = (0..20).map(|nth| format!("t{nth}").parse().unwrap()).collect();
    let takers = (0..10).map(|_| {
        let (holder, database, tenants) = (holder(&world), world.database.clone(), tenants.clone());
        tokio::spawn(async move { holder.acquire(&database, &tenants, 2).await.unwrap() })
    });
    let mut taken = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        let leases = taker.await.unwrap();
        assert!(leases.len() <= 2);
        taken.extend(leases.into_iter().map(|lease| lease.tenant().clone()));
    }
    let count = taken.len();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), count, "a tenant was taken twice");
    world.leave().await;
}

#[tokio::test]
async fn a_tenant_that_settles_on_its_part_of_the_connections_leaves_the_others_theirs() {
    let world = World::start(Plan::sized(0, 0).with("DATABASE__CONNECTIONS", "4").stopped()).await;
    let tenants: Vec<TenantId> = ["large", "small"].map(|name| name.parse().unwrap()).into();
    let leases = holder(&world).acquire(&world.database, &tenants, 2).await.unwrap();
    let (large, small) = (&leases[0], &leases[1]);
    let first = fence(&world.database, large).await.unwrap().unwrap();
    let second = fence(&world.database, large).await.unwrap().unwrap();
    let mut third = Box::pin(fence(&world.database, large));
    assert!(third.as_mut().now_or_never().is_none(), "more than half of the connections");
    // As many as the large one has are there for the small one while the large one waits.
    let others = [fence(&world.database, small).await.unwrap(), fence(&world.database, small).await.unwrap()];
    assert!(others.iter().all(Option::is_some));
    assert!(third.as_mut().now_or_never().is_none());
    drop(others);
    first.commit().await.unwrap();
    third.await.unwrap().unwrap().commit().await.unwrap();
    second.commit().await.unwrap();
    world.leave().await;
}
