//! The main job: load, callbacks, refresh, index, report.

use std::time::Duration;

use cegid_indexer::domain::Kind;

use crate::harness::{Plan, World};

const VACANCIES: &str = "/api/exports/v1/vacancies";
const CANDIDATES: &str = "/api/exports/v1/candidates";

#[tokio::test]
async fn what_is_loaded_and_changed_is_indexed_and_reported_and_a_restart_loads_nothing_again() {
    let mut world = World::start(Plan::default()).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    for _ in 0..60 {
        world.simulator.change_at_random();
    }
    // Deletions are confirmed by a second read.
    world.simulator.flush().await;
    world.until("the index is the truth", async |world: &World| world.differences().await.is_empty()).await;
    world.settle().await;
    let before = world.last_request();
    world.stop_service().await;
    world.start_service().await;
    world.simulator.edit_candidate("_TS-00003").unwrap();
    world.settle().await;
    assert_eq!(world.export_calls(VACANCIES, before), 0);
    assert_eq!(world.export_calls(CANDIDATES, before), 1);
    world.assert_all_accepted();
    world.end().await;
}

#[tokio::test]
async fn a_thousand_callbacks_on_fifty_vacancies_cost_at_most_four_export_calls() {
    let world = World::start(Plan::sized(50, 0)).await;
    world.settle().await;
    let before = world.last_request();
    let keys: Vec<String> = world.simulator.truth().into_iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), 50);
    for nth in 0..1000 {
        world.simulator.edit_vacancy(&keys[nth * 7 % 50]).unwrap();
    }
    world.simulator.flush().await;
    world.settle().await;
    assert_eq!(world.ledger().await.received, 1000);
    let calls = world.export_calls(VACANCIES, before);
    assert!((1..=4).contains(&calls), "{calls} export calls");
    world.assert_sparing(before).await;
    assert!(world.indexed(Kind::Vacancy).await.values().all(|(title, _)| title.ends_with("(v21)")));
    world.assert_all_accepted();
    world.end().await;
}

#[tokio::test]
async fn doubled_and_disordered_callbacks_and_a_failing_export_leave_a_balanced_ledger() {
    use cegid_simulator::{CallbackFaults, Endpoint, Fault, FaultKind};
    let world = World::start(Plan::sized(60, 40)).await;
    world.settle().await;
    world.simulator.set_callback_faults(CallbackFaults { duplicate_percent: 10, shuffle: true, ..Default::default() });
    for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Status { code: 502, retry_after: None }));
    }
    for _ in 0..300 {
        world.simulator.change_at_random();
    }
    let since = world.clock.now();
    let sent = world.simulator.flush().await;
    let callbacks: std::collections::HashSet<u64> = sent.iter().map(|sent| sent.callback).collect();
    assert!(sent.len() > callbacks.len() + 10, "{} sent of {}", sent.len(), callbacks.len());
    assert!(sent.windows(2).any(|pair| pair[0].callback > pair[1].callback), "they came in order");
    let sent = sent.len();
    let failed = |world: &World, path: &str| {
        world.simulator.count_requests(|request| request.path == path && request.status == 502)
    };
    world
        .until("both exports have failed for 5 s", async |world: &World| {
            let failing = failed(world, VACANCIES) > 0 && failed(world, CANDIDATES) > 0;
            failing && world.clock.now() >= since + Duration::from_secs(5)
        })
        .await;
    world.simulator.clear_faults();
    world.until("the index is the truth", async |world: &World| world.differences().await.is_empty()).await;
    world.settle().await;
    assert_eq!(world.ledger().await.received, sent as i64);
    world.assert_all_accepted();
    world.end().await;
}

#[tokio::test]
async fn no_subject_is_fetched_more_often_than_it_was_announced_and_asked_for_in_vain() {
    use cegid_simulator::{CallbackFaults, Endpoint, Fault, FaultKind};
    let world = World::start(Plan::sized(30, 30)).await;
    world.settle().await;
    let before = world.last_request();
    let keys: Vec<(&str, String)> = world.simulator.truth().into_iter().map(|row| (row.kind, row.key)).collect();
    world.simulator.set_callback_faults(CallbackFaults { duplicate_percent: 20, shuffle: true, ..Default::default() });
    for nth in 0..5 {
        for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
            let failing = FaultKind::Status { code: 502, retry_after: None };
            world.simulator.add_fault(Fault::new(endpoint, failing).times(1));
        }
        for (kind, key) in keys.iter().skip(nth).step_by(2) {
            match *kind {
                "vacancy" => _ = world.simulator.edit_vacancy(key).unwrap(),
                _ => _ = world.simulator.edit_candidate(key).unwrap(),
            }
        }
        world.settle().await;
    }
    let failed = world.simulator.count_requests(|request| request.number > before && request.status == 502);
    assert!(failed >= 5, "{failed} calls failed");
    world.assert_sparing(before).await;
    world.end().await;
}

#[tokio::test]
async fn the_two_real_records_go_through_the_whole_loop() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/samples");
    if !std::path::Path::new(samples).is_dir() {
        eprintln!("skipped: the real records are not part of the project, and are not beside it");
        return;
    }
    let mut plan = Plan::sized(3, 3);
    plan.simulator.records = Some(samples.into());
    let world = World::start(plan).await;
    world.settle().await;
    let found = async |kind: &str, words: &str| {
        let path = format!("/api/v1/tenants/acme/{kind}?q={words}");
        world.get(&world.operators, &path).await.1
    };
    assert!(found("vacancies", "evangeliser+collectivites").await.contains("2016-48"));
    assert!(found("candidates", "potter").await.contains("candidate_reference"));
    world.simulator.edit_vacancy("2016-48").unwrap();
    world.simulator.edit_candidate("candidate_reference").unwrap();
    world.settle().await;
    assert!(found("vacancies", "evangeliser+collectivites").await.contains("(v2)"));
    assert!(world.simulator.last_reports().contains_key(&("vacancies".into(), "2016-48".into())));
    world.end().await;
}

#[tokio::test]
async fn a_vacancy_that_is_no_longer_published_is_kept_and_not_searchable() {
    let world = World::start(Plan::sized(5, 0)).await;
    let key = world.simulator.create_vacancy();
    for (status, searchable) in [("Published", true), ("Suspended", false), ("Published", true), ("Archived", false)] {
        world.simulator.set_vacancy_status(&key, status).unwrap();
        world.settle().await;
        assert_eq!(world.indexed(Kind::Vacancy).await[&key].1, searchable, "{status}");
    }
    world.end().await;
}
