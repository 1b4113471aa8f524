//! Replicas share the tenants, take over, and give up.

use std::collections::BTreeMap;

use cegid_indexer::{domain::Kind, index::documents};
use cegid_simulator::{Endpoint, Fault, FaultKind, Simulator};
use chrono::TimeDelta;

use super::{Town, id};

const FIVE: [(&str, usize); 5] = [("a", 4), ("b", 4), ("c", 4), ("d", 4), ("e", 4)];

/// The title that is indexed.
pub async fn title(town: &Town, tenant: &str, key: &str) -> String {
    let titles = documents::titles(&town.database, &id(tenant), Kind::Vacancy).await.unwrap();
    titles.into_iter().find(|row| row.0 == key).map(|row| row.1).unwrap_or_default()
}

/// An edit is told to the first replica, and indexed by whoever works the tenant.
pub async fn assert_followed(town: &Town, tenant: &str) {
    let key = town.a_vacancy(tenant);
    let simulator = &town.simulators[tenant];
    simulator.edit_vacancy(&key).unwrap();
    assert!(simulator.flush().await.iter().all(|sent| sent.accepted()));
    let wanted = simulator.truth_of("vacancy", &key).unwrap().title;
    town.until("the edit is indexed", async |town: &Town| title(town, tenant, &key).await == wanted).await;
}

#[tokio::test]
async fn ten_replicas_that_start_together_work_each_tenant_once_and_a_dead_ones_within_30_s() {
    let mut town = Town::new(&FIVE).await;
    for _ in 0..10 {
        town.start_replica().await;
    }
    town.until_quiet().await;
    town.until("five replicas have one tenant each", async |town: &Town| town.shares().await == [1; 5]).await;
    town.assert_sparing().await;

    // The first one has the public address: another that works a tenant is killed.
    let mut victim = None;
    for (nth, replica) in town.replicas.iter().enumerate().skip(1) {
        let page = town.get(format!("{}/metrics", replica.operators)).await;
        if page.contains("leases_held 1") {
            victim = Some(nth);
        }
    }
    let before = town.held().await;
    town.kill(victim.expect("a replica that works a tenant")).await;
    let killed = town.clock.now();
    town.until("its tenant is worked by another", async |town: &Town| {
        let held = town.held().await;
        held.values().flatten().count() == 5 && held.keys().any(|holder| !before.contains_key(holder))
    })
    .await;
    let after = town.clock.now() - killed;
    assert!(after <= TimeDelta::seconds(30), "after {after}");
    let moved = orphans(&before, &town.held().await);
    assert_eq!(moved.len(), 1, "one replica's tenant has moved, and no other: {moved:?}");
    for tenant in moved.iter().map(String::as_str).chain(["a", "e"]) {
        assert_followed(&town, tenant).await;
    }
    town.until_quiet().await;
    town.assert_sparing().await;
    town.end().await;
}

/// Tenants whose holder has changed.
fn orphans(before: &BTreeMap<String, Vec<String>>, after: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let gone = before.iter().filter(|(holder, _)| !after.contains_key(*holder));
    gone.flat_map(|(_, tenants)| tenants.clone()).collect()
}

#[tokio::test]
async fn a_replica_that_joins_is_given_tenants_and_one_that_ends_leaves_its_own() {
    let mut town = Town::new(&FIVE).await;
    for shares in [vec![5], vec![3, 2], vec![2, 2, 1]] {
        town.start_replica().await;
        town.until("the tenants are shared", async |town: &Town| town.shares().await == shares).await;
    }
    town.until_quiet().await;
    for tenant in ["a", "b", "c", "d", "e"] {
        assert_followed(&town, tenant).await;
    }
    let taken: i64 = sqlx::query_scalar("select sum(taken)::bigint from tenant_lease")
        .fetch_one(town.database.pool())
        .await
        .unwrap();
    // Five at first, two for the second replica and one for the third: nobody else's has moved.
    assert_eq!(taken, 8);
    town.drain(2).await;
    town.until("the tenants are shared again", async |town: &Town| town.shares().await == [3, 2]).await;
    let replicas: i64 =
        sqlx::query_scalar("select count(*) from replica").fetch_one(town.database.pool()).await.unwrap();
    assert_eq!(replicas, 2, "the one that ended has said so");
    town.until_quiet().await;
    town.assert_sparing().await;
    town.end().await;
}

#[tokio::test]
async fn a_tenant_whose_call_does_not_end_is_given_up_all_the_same() {
    let mut town = Town::new(&[("a", 4), ("b", 4)]).await;
    town.start_replica().await;
    town.until_quiet().await;
    for (tenant, simulator) in &town.simulators {
        simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Hold).times(1));
        simulator.edit_vacancy(&town.a_vacancy(tenant)).unwrap();
        assert!(simulator.flush().await.iter().all(|sent| sent.accepted()));
    }
    town.until("both are waiting for an answer", async |town: &Town| {
        town.simulators.values().all(|simulator| simulator.held() == 1)
    })
    .await;
    town.start_replica().await;
    town.until("one is given up", async |town: &Town| town.shares().await == [1, 1]).await;
    town.simulators.values().for_each(Simulator::release_held);
    town.until_quiet().await;
    for (tenant, simulator) in &town.simulators {
        let key = town.a_vacancy(tenant);
        assert_eq!(title(&town, tenant, &key).await, simulator.truth_of("vacancy", &key).unwrap().title);
    }
    town.assert_sparing().await;
    town.end().await;
}

/// The tenant's subjects that a read with a number in between has settled.
async fn settled(town: &Town, tenant: &str, from: i64, to: i64) -> i64 {
    sqlx::query_scalar("select count(*) from subject where tenant = $1 and settled > $2 and settled < $3")
        .bind(tenant)
        .bind(from)
        .bind(to)
        .fetch_one(town.database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_tenant_with_ten_unsettled_subjects_does_not_wait_for_one_with_many() {
    let mut town = Town::new(&[("large", 3000), ("small", 10)]).await;
    town.start_replica().await;
    town.until_quiet().await;
    // Everything of the large tenant is wanted again; once that is under way, so is everything of the small one.
    let since: i64 =
        sqlx::query_scalar("select nextval('request_number')").fetch_one(town.database.pool()).await.unwrap();
    sqlx::query(
        "update subject set wanted = $1, due_at = $2, waiting_since = $2 where tenant = 'large' and kind = 'vacancy'",
    )
    .bind(since)
    .bind(town.clock.now())
    .execute(town.database.pool())
    .await
    .unwrap();
    town.until("the large one's are being read", async |town: &Town| {
        settled(town, "large", since, i64::MAX).await > 100
    })
    .await;
    let simulator = &town.simulators["small"];
    for row in simulator.truth().into_iter().filter(|row| row.kind == "vacancy" && row.live) {
        simulator.edit_vacancy(&row.key).unwrap();
    }
    assert!(simulator.flush().await.iter().all(|sent| sent.accepted()));
    town.until_quiet().await;
    let raised = town.count("select max(id) from delivery where tenant = $1", "small").await;
    let done = town.count("select max(settled) from subject where tenant = $1", "small").await;
    let meanwhile = settled(&town, "large", raised, done).await;
    let left = settled(&town, "large", done, i64::MAX).await;
    // Twenty in a call: it was ten calls of the other's at most, and there were many more to come.
    assert!(
        meanwhile <= 200,
        "{meanwhile} of the large tenant's were read while the small one waited, {left} after it"
    );
    assert!(left > 500, "only {left} of the large tenant's were left: the small one had nothing to wait for");
    town.end().await;
}
