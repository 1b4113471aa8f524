//! The main job: load, callbacks, refresh, index, report.

use std::time::Duration;

use cegid_indexer::domain::Kind;

use crate::harness::{Plan, World, process::Service};

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
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Status { code: 502, retry_after: None }).seconds(5));
    }
    for _ in 0..300 {
        world.simulator.change_at_random();
    }
    let sent = world.simulator.flush().await.len();
    assert!(sent > 300, "{sent} sent");
    world.until("the index is the truth", async |world: &World| world.differences().await.is_empty()).await;
    let failed = world.simulator.count_requests(|request| request.status == 502);
    assert!(failed > 0, "the export never failed");
    world.settle().await;
    assert_eq!(world.ledger().await.received, sent as i64);
    world.assert_all_accepted();
    world.end().await;
}

#[tokio::test]
async fn a_service_that_is_killed_amid_callbacks_goes_on_where_it_stopped() {
    let world = World::start(Plan::sized(50, 20).stopped()).await;
    // The process follows the machine's clock; so does the simulator then.
    world.simulator.follow_system_time();
    let service = Service::start(&world.environment());
    world
        .until_by_itself("the load is done", async |world: &World| {
            world.loaded().await && world.ledger().await.balances()
        })
        .await;
    let keys: Vec<String> =
        world.simulator.truth().into_iter().filter(|row| row.kind == "vacancy").map(|row| row.key).collect();
    for nth in 0..1000 {
        world.simulator.edit_vacancy(&keys[nth * 7 % 50]).unwrap();
    }
    let flush = tokio::spawn({
        let simulator = world.simulator.clone();
        async move { simulator.flush().await }
    });
    world.until_by_itself("some callbacks are stored", async |world: &World| world.ledger().await.received > 100).await;
    service.kill();
    let accepted = flush.await.unwrap().iter().filter(|sent| sent.accepted()).count() as i64;
    let stored = world.ledger().await.received;
    assert!(accepted < 1000, "the kill came too late to prove anything");
    assert!(stored >= accepted, "{accepted} were answered 200 and {stored} are stored");
    let again = Service::start(&world.environment());
    world
        .until_by_itself("the service is ready", async |world: &World| {
            world.get(&world.public, "/readyz").await.0 == 200
        })
        .await;
    world.simulator.resend_failed(1000);
    world.simulator.flush().await;
    world
        .until_by_itself("everything is settled", async |world: &World| {
            world.ledger().await.balances() && world.differences().await.is_empty()
        })
        .await;
    world.assert_reported().await;
    drop(again);
    world.leave().await;
}

#[tokio::test]
async fn an_initial_load_that_is_killed_is_resumed() {
    let plan = Plan::sized(400, 300).with("TENANTS__ACME__LOAD_PAUSE", "30ms").with("EXPORT__PAGE_SIZE", "10");
    let world = World::start(plan.stopped()).await;
    world.simulator.follow_system_time();
    let service = Service::start(&world.environment());
    world.until_by_itself("a good part is loaded", async |world: &World| world.ledger().await.documents > 150).await;
    service.kill();
    assert!(!world.loaded().await, "the kill came too late to prove anything");
    let before = world.last_request();
    let again = Service::start(&world.environment());
    world
        .until_by_itself("the load is done", async |world: &World| {
            world.loaded().await && world.ledger().await.balances()
        })
        .await;
    let first: Vec<String> = world
        .simulator
        .requests()
        .into_iter()
        .filter(|request| {
            request.number > before && request.path.starts_with("/api/exports/v1/") && request.method == "GET"
        })
        .take(2)
        .map(|request| request.query)
        .collect();
    assert!(first.iter().any(|query| !query.starts_with("offset=0&")), "it began again: {first:?}");
    world.assert_equal_to_truth().await;
    world.assert_reported().await;
    drop(again);
    world.leave().await;
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
async fn referentials_are_read_with_their_translations() {
    let plan = Plan::sized(5, 5).with("TENANTS__ACME__REFERENTIALS", "countries,nothing");
    let world = World::start(plan).await;
    world.settle().await;
    world
        .until("the list is read", async |world: &World| {
            let read =
                cegid_indexer::index::referentials::read_at(&world.database, &crate::harness::tenant()).await.unwrap();
            read.contains_key("countries") && read.contains_key("nothing")
        })
        .await;
    let calls = world.simulator.count_requests(|request| request.path.ends_with("/translations/1036"));
    assert!(calls > 0);
    world.turn(Duration::from_secs(1));
    world.end().await;
}
