//! Records that do not say whether they may be found: a status that cannot be read, a sign of anonymisation in a form
//! that is not known.

use std::time::Duration;

use cegid_indexer::{domain::Kind, subjects, sweeps::Use};
use cegid_simulator::Distortion;
use serde_json::{Value, json};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World, tenant},
    worst::{count, metric},
};

fn rename(member: &str, to: &str) -> Distortion {
    Distortion::Rename { member: member.into(), to: to.into() }
}

fn anonymised(value: Value) -> Distortion {
    Distortion::Write { member: "isAnonymized".into(), value }
}

/// The counter of what was doubtful.
async fn doubts(world: &World, kind: Kind, outcome: &str) -> u64 {
    let start = format!(r#"cegid_indexer_doubts_total{{tenant="acme",kind="{kind}",outcome="{outcome}"}} "#);
    let (_, metrics) = world.get(&world.operators, "/metrics").await;
    metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(0)
}

/// How many people the operators' list shows, and whether it shows this one.
async fn people(world: &World, key: &str) -> (i64, bool) {
    let (_, list) = world.get(&world.operators, "/api/v1/tenants/acme/candidates?limit=1").await;
    let (status, _) = world.get(&world.operators, &format!("/api/v1/tenants/acme/candidates/{key}")).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    (list["total"].as_i64().unwrap(), status == 200)
}

#[tokio::test]
async fn a_status_that_is_written_under_another_name_hides_nothing_and_new_words_are_indexed() {
    let world = World::start(Plan::sized(60, 0)).await;
    world.settle().await;
    let live = live_vacancies(&world);
    world.simulator.distort("vacancy", None, rename("status", "state"));
    let listed = world.simulator.create_silently("vacancy");
    for key in &live[..5] {
        world.simulator.edit_vacancy(key).unwrap();
    }
    for key in &live[5..10] {
        world.simulator.edit_silently(key).unwrap();
    }
    world.settle().await;
    world.sweep(&[Use::Incremental, Use::Full]).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    let ledger = world.ledger().await;
    assert!(doubts(&world, Kind::Vacancy, "status_unknown").await >= live.len() as u64);
    assert_eq!(doubts(&world, Kind::Vacancy, "hidden_by_status").await, 0);
    assert!(ledger.balances() && ledger.status_unknown == 1, "{ledger}");
    assert!(ledger.to_string().contains("1 vacancies never had a readable status"), "{ledger}");
    // One that no list of published ones has shown is kept, and not found; nor is one that was hidden for its status.
    let ended = &live[11];
    world.simulator.straighten();
    world.simulator.set_vacancy_status(ended, "_TS_CO_OfferStatus_Suspendue").unwrap();
    world.settle().await;
    world.simulator.distort("vacancy", None, rename("status", "state"));
    world.simulator.edit_vacancy(ended).unwrap();
    let announced = world.simulator.create_vacancy();
    world.settle().await;
    let indexed = world.indexed(Kind::Vacancy).await;
    assert_eq!((indexed[&listed].1, indexed[&announced].1, indexed[ended].1), (true, false, false));
    world.simulator.straighten();
    world.simulator.announce("vacancy_update", &announced);
    world.settle().await;
    world.sweep(&[Use::Full]).await;
    world.settle().await;
    assert_eq!(world.ledger().await.status_unknown, 0);
    world.end().await;
}

#[tokio::test]
async fn a_status_that_the_settings_do_not_name_hides_at_once_however_many_there_are() {
    let mut world = World::start(Plan::sized(90, 0)).await;
    world.settle().await;
    let live = live_vacancies(&world);
    assert!(live.len() > 40, "more than the guard lets through");
    let status = json!({"id": "_TS_CO_OfferStatus_Published", "label": "Published"});
    world.simulator.distort("vacancy", None, Distortion::Write { member: "status".into(), value: status });
    for key in &live {
        world.simulator.announce("vacancy_status", key);
    }
    world.settle().await;
    let found = "select count(*) from document where searchable";
    assert_eq!(count(&world, found).await, 0);
    assert_eq!(doubts(&world, Kind::Vacancy, "hidden_by_status").await, live.len() as u64);
    assert!(subjects::held(&world.database).await.unwrap().is_empty());
    // The gauges are read from the tables when the service starts.
    world.stop_service().await;
    world.start_service().await;
    let hidden = count(&world, "select count(*) from document").await;
    for (state, of_state) in [("live", 0), ("hidden", hidden)] {
        let line = format!(r#"cegid_indexer_documents{{tenant="acme",kind="vacancy",state="{state}"}} {of_state}"#);
        world.until(&line, async |world: &World| metric(world, &line).await).await;
    }
    world.simulator.straighten();
    for key in &live {
        world.simulator.announce("vacancy_status", key);
    }
    world.settle().await;
    world.end().await;
}

#[tokio::test]
async fn a_person_whose_anonymisation_is_unclear_is_hidden_at_once_and_found_again_when_it_is_clear() {
    let world = World::start(Plan::sized(0, 12)).await;
    world.settle().await;
    let keys = live_candidates(&world);
    let key = &keys[0];
    assert_eq!(people(&world, key).await, (keys.len() as i64, true));
    world.simulator.distort("candidate", Some(key), anonymised(json!("maybe")));
    world.simulator.edit_candidate(key).unwrap();
    world.simulator.flush().await;
    let unclear = "select count(*) from subject where unclear_since is not null and state = 'hidden'";
    world.until("the person is hidden", async |world: &World| count(world, unclear).await == 1).await;
    assert_eq!(people(&world, key).await, (keys.len() as i64 - 1, false));
    assert_eq!(doubts(&world, Kind::Candidate, "anonymisation_unclear").await, 1);
    let ledger = world.ledger().await;
    assert_eq!(ledger.anonymisation_unclear, 1);
    assert!(ledger.to_string().contains("1 people hidden because isAnonymized is neither yes nor no"), "{ledger}");
    world.simulator.straighten();
    world.settle().await;
    assert_eq!(people(&world, key).await, (keys.len() as i64, true));
    world.end().await;
}

#[tokio::test]
async fn a_person_who_stays_unclear_is_removed_not_as_anonymised_and_comes_back_when_shown_clearly() {
    let world = World::start(Plan::sized(0, 12)).await;
    world.settle().await;
    let key = live_candidates(&world).remove(0);
    world.simulator.distort("candidate", Some(&key), anonymised(json!({"since": "2026-01-01"})));
    // One that was never held stays out of the index.
    let newcomer = world.simulator.create_silently("candidate");
    world.simulator.distort("candidate", Some(&newcomer), anonymised(json!(2)));
    world.simulator.edit_silently(&key).unwrap();
    let began = world.clock.now();
    world.sweep(&[Use::Incremental]).await;
    world.settle().await;
    assert!(world.clock.now() >= began + Duration::from_secs(600), "removed on one read");
    let cause = "select count(*) from subject where removed_cause = 'unclear' and state = 'removed'";
    assert_eq!(count(&world, cause).await, 1);
    assert!(!world.indexed(Kind::Candidate).await.contains_key(&newcomer));
    assert_eq!(world.ledger().await.anonymisation_unclear, 0);
    world.simulator.straighten();
    for key in [&key, &newcomer] {
        world.simulator.edit_candidate(key).unwrap();
    }
    world.settle().await;
    world.end().await;
}

#[tokio::test]
async fn people_who_are_unclear_in_bulk_are_hidden_at_once_and_removed_only_when_confirmed() {
    let world = World::start(Plan::sized(0, 60).with("WORKER__REMOVALS_FLOOR", "5")).await;
    world.settle().await;
    let keys = live_candidates(&world);
    world.simulator.distort("candidate", None, anonymised(json!("x")));
    for key in &keys {
        world.simulator.announce("applicant_update", key);
    }
    world.simulator.flush().await;
    world
        .until("all are hidden", async |world: &World| {
            count(world, "select count(*) from document where searchable").await == 0
        })
        .await;
    let held = || async { subjects::held(&world.database).await.unwrap().iter().map(|held| held.count).sum::<i64>() };
    world
        .until("the rest is held back", async |world: &World| {
            let removed = count(world, "select count(*) from subject where removed_cause = 'unclear'").await;
            removed == 5 && held().await == keys.len() as i64 - 5
        })
        .await;
    world.pass(Duration::from_secs(7200)).await;
    assert_eq!(count(&world, "select count(*) from subject where removed_cause = 'unclear'").await, 5);
    subjects::release(&world.database, &tenant(), Kind::Candidate, world.clock.now()).await.unwrap();
    world.settle().await;
    assert_eq!(count(&world, "select count(*) from document").await, 0);
    world.simulator.straighten();
    for key in &keys {
        world.simulator.announce("applicant_update", key);
    }
    world.settle().await;
    world.end().await;
}

#[tokio::test]
async fn a_sign_of_anonymisation_under_another_name_looks_like_no() {
    let world = World::start(Plan::sized(0, 12)).await;
    world.settle().await;
    world.simulator.distort("candidate", None, rename("isAnonymized", "anonymized"));
    for key in live_candidates(&world) {
        world.simulator.announce("applicant_update", &key);
    }
    world.settle().await;
    assert_eq!(doubts(&world, Kind::Candidate, "anonymisation_unclear").await, 0);
    world.end().await;
}
