//! Cegid at its less than best: hooks, tokens, throttling, absences, broken records, refused reports.

use std::time::Duration;

use cegid_indexer::domain::Kind;
use cegid_simulator::{Down, Endpoint, Fault, FaultKind, Spoil};

use crate::harness::{Plan, World};

const VACANCIES: &str = "/api/exports/v1/vacancies";
const CANDIDATES: &str = "/api/exports/v1/candidates";
const WEBHOOKS: &str = "/api/system/v1/webhooks";
const CONFIRM: Duration = Duration::from_secs(600);

fn live_vacancies(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "vacancy" && row.live && row.present).map(|row| row.key).collect()
}

fn live_candidates(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "candidate" && row.present && !row.anonymised).map(|row| row.key).collect()
}

fn some_candidate(world: &World) -> String {
    live_candidates(world).remove(0)
}

async fn holds(world: &World, kind: Kind, key: &str) -> bool {
    world.indexed(kind).await.contains_key(key)
}

#[tokio::test]
async fn every_wanted_event_is_registered_once_and_never_again() {
    let mut world = World::start(Plan::sized(3, 3)).await;
    world.settle().await;
    world.until("hooks are registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    let hooks = world.simulator.hooks();
    let mut events: Vec<&str> = hooks.iter().map(|hook| hook.event.as_str()).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 8);
    assert!(hooks.iter().all(|hook| hook.callback_url == format!("{}/api/talentsoft/v1/acme/events", world.public)));
    world.stop_service().await;
    world.start_service().await;
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.settle().await;
    assert_eq!(world.simulator.count_requests(|request| request.path == WEBHOOKS), 8);
    world.end().await;
}

#[tokio::test]
async fn a_start_while_cegid_is_down_receives_and_registers_when_it_is_back() {
    let mut world = World::start(Plan::sized(5, 5).stopped()).await;
    world.simulator.set_down(Down::Unavailable, None);
    world.start_service().await;
    let body = format!(r#"{{"event_type":"vacancy_update","reference":"{}"}}"#, live_vacancies(&world)[0]);
    let callback = cegid_simulator::RawCallback {
        url: format!("{}/api/talentsoft/v1/acme/events", world.public),
        body: body.into_bytes(),
        ..Default::default()
    };
    assert!(world.simulator.send_raw(&callback).await.accepted());
    world
        .until("registering was tried", async |world: &World| {
            world.simulator.count_requests(|request| request.status == 503) > 3
        })
        .await;
    assert!(world.simulator.hooks().is_empty());
    world.simulator.set_down(Down::No, None);
    world.until("hooks are registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    world.end().await;
}

#[tokio::test]
async fn an_event_that_the_tenant_refuses_does_not_stop_the_others() {
    let world = World::start(Plan::sized(2, 2).stopped()).await;
    world.simulator.add_fault(Fault::new(Endpoint::Hooks, FaultKind::Status { code: 400, retry_after: None }).times(1));
    let mut world = world;
    world.start_service().await;
    world.until("the others are registered", async |world: &World| world.simulator.hooks().len() == 7).await;
    let refused: Vec<(String, String)> = sqlx::query_as("select event, refused from hook where refused is not null")
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    world.end().await;
}

#[tokio::test]
async fn a_deleted_vacancy_leaves_the_index_after_a_second_read_that_shows_another() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.delete_vacancy(&key).unwrap();
    let asked = |world: &World| world.simulator.count_requests(|request| request.query.contains("reference"));
    let before = asked(&world);
    world.simulator.flush().await;
    world.until("it was read once", async |world: &World| asked(world) > before).await;
    let since = world.clock.now();
    assert!(holds(&world, Kind::Vacancy, &key).await);
    world.until("it is removed", async |world: &World| !holds(world, Kind::Vacancy, &key).await).await;
    assert!(world.clock.now() >= since + CONFIRM - Duration::from_secs(60), "after {}", world.clock.now() - since);
    let last = world.simulator.requests().into_iter().rfind(|request| request.query.contains("reference")).unwrap();
    assert!(last.query.contains("%2C"), "no control was asked for: {}", last.query);
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_no_list_of_records_removes_nothing() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let held =
        async |world: &World| (world.indexed(Kind::Vacancy).await.len(), world.indexed(Kind::Candidate).await.len());
    let before = held(&world).await;
    let (vacancies, candidates) = (live_vacancies(&world), live_candidates(&world));
    for (nth, kind) in [
        FaultKind::Html,
        FaultKind::JsonError,
        FaultKind::EmptyArray,
        FaultKind::Status { code: 404, retry_after: None },
    ]
    .into_iter()
    .enumerate()
    {
        for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
            world.simulator.add_fault(Fault::new(endpoint, kind.clone()));
        }
        world.simulator.edit_vacancy(&vacancies[nth]).unwrap();
        world.simulator.edit_candidate(&candidates[nth]).unwrap();
        world.simulator.flush().await;
        world.pass(Duration::from_secs(1310)).await;
        assert_eq!(held(&world).await, before, "{kind:?}");
        world.simulator.clear_faults();
    }
    world.end().await;
}

#[tokio::test]
async fn twenty_minutes_of_empty_answers_remove_nothing() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let held =
        async |world: &World| (world.indexed(Kind::Vacancy).await.len(), world.indexed(Kind::Candidate).await.len());
    let before = held(&world).await;
    for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Empty));
    }
    for key in live_vacancies(&world).iter().take(10) {
        world.simulator.edit_vacancy(key).unwrap();
    }
    for key in live_candidates(&world).iter().take(10) {
        world.simulator.edit_candidate(key).unwrap();
    }
    let (since, last) = (world.clock.now(), world.last_request());
    world.simulator.flush().await;
    world
        .until("confirming reads were answered", async |world: &World| {
            let asked = [VACANCIES, CANDIDATES].iter().all(|path| world.export_calls(path, last) >= 2);
            let answered = world.simulator.requests().iter().all(|request| request.status != 0);
            asked && answered && world.clock.now() >= since + CONFIRM
        })
        .await;
    while world.clock.now() < since + CONFIRM * 2 {
        world.pass(Duration::from_secs(100)).await;
        assert_eq!(held(&world).await, before);
    }
    // The next confirming reads show everything.
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn an_anonymised_candidate_leaves_at_once_with_its_report() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = some_candidate(&world);
    world.simulator.anonymise_candidate(&key).unwrap();
    world.settle().await;
    assert!(!holds(&world, Kind::Candidate, &key).await);
    let left: i64 = sqlx::query_scalar("select count(*) from report_item where key = $1")
        .bind(&key)
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
    // An old callback once more does not bring it back.
    world.simulator.announce("applicant_update", &key);
    world.settle().await;
    assert!(!holds(&world, Kind::Candidate, &key).await);
    world.end().await;
}

#[tokio::test]
async fn a_record_that_was_wrongly_absent_comes_back_by_two_reads() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.spoil(&key, Some(Spoil::Hidden));
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world.until("it is removed", async |world: &World| !holds(world, Kind::Vacancy, &key).await).await;
    world.simulator.spoil(&key, None);
    world.simulator.edit_vacancy(&key).unwrap();
    let since = world.clock.now();
    world.simulator.flush().await;
    world.until("it is back", async |world: &World| holds(world, Kind::Vacancy, &key).await).await;
    assert!(world.clock.now() >= since + CONFIRM);
    world.end().await;
}

#[tokio::test]
async fn removals_beyond_the_guard_are_held_back() {
    let world = World::start(Plan::sized(60, 0).with("WORKER__REMOVALS_FLOOR", "5")).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    let held = world.indexed(Kind::Vacancy).await.len();
    for key in keys.iter().take(15) {
        world.simulator.delete_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    world
        .until("the first are removed", async |world: &World| world.indexed(Kind::Vacancy).await.len() <= held - 5)
        .await;
    world.pass(CONFIRM * 2).await;
    assert_eq!(world.indexed(Kind::Vacancy).await.len(), held - 5);
    world.leave().await;
}

#[tokio::test]
async fn a_throttled_tenant_is_left_alone_as_long_as_it_asks() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let fault = FaultKind::Status { code: 429, retry_after: Some(120) };
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, fault).times(1));
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.simulator.flush().await;
    world
        .until("it was throttled", async |world: &World| {
            world.simulator.count_requests(|request| request.status == 429) == 1
        })
        .await;
    let (since, before) = (world.clock.now(), world.last_request());
    world.simulator.edit_candidate(&some_candidate(&world)).unwrap();
    world.simulator.flush().await;
    while world.clock.now() < since + Duration::from_secs(110) {
        world.turn(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(world.last_request(), before, "a call during the pause");
    }
    world.settle().await;
    let attempts: i64 = sqlx::query_scalar("select count(*) from subject where failing_since is not null")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(attempts, 0);
    world.end().await;
}

#[tokio::test]
async fn an_expired_token_costs_one_token_call() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    assert_eq!(world.simulator.token_calls(), 1);
    world.simulator.expire_tokens();
    for row in world.simulator.truth() {
        if row.present && !row.anonymised && row.kind == "candidate" {
            world.simulator.edit_candidate(&row.key).unwrap();
        }
    }
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.settle().await;
    assert_eq!(world.simulator.token_calls(), 2);
    world.end().await;
}

#[tokio::test]
async fn refused_credentials_are_probed_slowly_and_work_resumes_by_itself() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    world.simulator.refuse_credentials(true);
    world.simulator.expire_tokens();
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    let (since, before) = (world.clock.now(), world.simulator.token_calls());
    world.simulator.flush().await;
    world
        .until("half an hour has gone", async |world: &World| world.clock.now() >= since + Duration::from_secs(1800))
        .await;
    let calls = world.simulator.token_calls() - before;
    assert!((4..=12).contains(&calls), "{calls} token calls in half an hour");
    assert_eq!(world.ledger().await.dead, 0);
    world.simulator.refuse_credentials(false);
    world.end().await;
}

#[tokio::test]
async fn a_broken_record_alone_is_buried_and_reported_while_its_neighbours_are_indexed() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    for (key, spoil) in keys.iter().zip([Spoil::BrokenArchive, Spoil::BrokenJson, Spoil::NoEntry]) {
        world.simulator.spoil(key, Some(spoil));
    }
    for key in keys.iter().take(10) {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    world.until("the neighbours are indexed", async |world: &World| world.differences().await.len() == 3).await;
    assert_eq!(world.ledger().await.dead, 0);
    // Longer than the horizon.
    for _ in 0..100 {
        world.turn(Duration::from_secs(3600));
        world.quiet().await;
    }
    world
        .until("they are buried", async |world: &World| {
            let dead: i64 = sqlx::query_scalar("select count(*) from subject where dead_at is not null")
                .fetch_one(world.database.pool())
                .await
                .unwrap();
            dead == 3
        })
        .await;
    world.until("they are reported", async |world: &World| world.ledger().await.reports_waiting == 0).await;
    let reports = world.simulator.last_reports();
    for (nth, key) in keys.iter().take(10).enumerate() {
        let report = &reports[&("vacancies".to_owned(), key.clone())];
        assert_eq!(report.status, if nth < 3 { "error" } else { "success" }, "{report:?}");
        assert_eq!(report.messages.is_empty(), nth >= 3, "{report:?}");
    }
    // A new callback brings a buried one back.
    for key in keys.iter().take(3) {
        world.simulator.spoil(key, None);
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn a_refused_report_item_does_not_hold_up_the_others() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    world.simulator.refuse_reports_of(&keys[3], true);
    for key in &keys {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    world
        .until("the refused one is known", async |world: &World| {
            let ledger = world.ledger().await;
            ledger.reports_dead == 1 && ledger.reports_waiting == 0
        })
        .await;
    // A newer outcome brings it back.
    world.simulator.refuse_reports_of(&keys[3], false);
    world.simulator.edit_vacancy(&keys[3]).unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_cut_export_keeps_its_whole_records_and_asks_for_the_rest() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    for kind in [
        FaultKind::Truncate { bytes: 5000 },
        FaultKind::Break { bytes: 9000 },
        FaultKind::Drip { bytes: 900, millis: 1 },
        FaultKind::AnswerLost { code: 502 },
        FaultKind::Garbage,
    ] {
        world.simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
        for key in live_vacancies(&world) {
            world.simulator.edit_vacancy(&key).unwrap();
        }
        world.settle().await;
        world.assert_equal_to_truth().await;
    }
    world.end().await;
}

#[tokio::test]
async fn references_that_no_filter_can_name_are_found_among_what_changed() {
    let mut plan = Plan::sized(240, 0);
    plan.simulator.unaskable_references = true;
    let world = World::start(plan).await;
    world.settle().await;
    let awkward: Vec<String> = live_vacancies(&world).into_iter().filter(|key| key.contains([',', '|', ':'])).collect();
    assert!(awkward.len() >= 2, "{awkward:?}");
    for key in &awkward {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.end().await;
}
