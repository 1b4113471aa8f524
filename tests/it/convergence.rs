//! The index converges, whatever becomes of the callbacks: lost, disordered, silent changes, lagging exports.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use cegid_indexer::{domain::Kind, sweeps::Use};
use cegid_simulator::{CallbackFaults, Endpoint, Fault, FaultKind, Outcome};

use crate::harness::{Plan, World};

const VACANCIES: &str = "/api/exports/v1/vacancies";

/// Keys of what the index holds, with their kind.
async fn held(world: &World) -> HashSet<(String, String)> {
    let mut held = HashSet::new();
    for kind in Kind::ALL {
        held.extend(world.indexed(kind).await.into_keys().map(|key| (kind.to_string(), key)));
    }
    held
}

pub fn live_vacancies(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "vacancy" && row.live && row.present).map(|row| row.key).collect()
}

pub fn live_candidates(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "candidate" && row.live && row.present).map(|row| row.key).collect()
}

/// Loses so many of the callbacks of a hundred changes; one round of sweeps must repair and count exactly those subjects
/// of which nobody said anything.
async fn converges_after_losing(percent: u8) {
    let world = World::start(Plan::sized(80, 60).with("WORKER__REMOVALS_FLOOR", "1000")).await;
    world.settle().await;
    let before = held(&world).await;
    let untouched: HashSet<(String, u64)> =
        world.simulator.truth().into_iter().map(|row| (row.key, row.version)).collect();
    world.simulator.set_callback_faults(CallbackFaults { drop_percent: percent, ..CallbackFaults::default() });
    for _ in 0..100 {
        world.simulator.change_at_random();
    }
    for key in live_candidates(&world).iter().take(3) {
        world.simulator.delete_candidate(key).unwrap();
    }
    let sent = world.simulator.flush().await;
    let dropped = sent.iter().filter(|sent| sent.outcome == Outcome::Dropped).count();
    assert!(dropped > 0 || percent < 5, "nothing was lost");
    let announced: HashSet<String> = sent.iter().filter(|sent| sent.accepted()).map(|sent| sent.key.clone()).collect();
    let unannounced: BTreeSet<String> = world
        .simulator
        .truth()
        .into_iter()
        .filter(|row| !untouched.contains(&(row.key.clone(), row.version)) && !announced.contains(&row.key))
        .filter(|row| row.live || before.contains(&(row.kind.to_owned(), row.key.clone())))
        .map(|row| row.key)
        .collect();
    world.simulator.set_callback_faults(CallbackFaults::default());
    world.settle().await;
    if percent == 100 {
        assert!(!world.differences().await.is_empty());
    }
    world.sweep_all().await;
    world.assert_equal_to_truth().await;
    assert_eq!(world.gaps().await, unannounced.len() as i64, "{unannounced:?}");
    world.end().await;
}

#[tokio::test]
async fn one_callback_of_a_hundred_is_lost() {
    converges_after_losing(1).await;
}

#[tokio::test]
async fn one_callback_of_five_is_lost() {
    converges_after_losing(20).await;
}

#[tokio::test]
async fn half_of_the_callbacks_are_lost() {
    converges_after_losing(50).await;
}

#[tokio::test]
async fn all_callbacks_are_lost() {
    converges_after_losing(100).await;
}

/// Every order of up to six different things.
fn orders() -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(order) = open.pop() {
        if !order.is_empty() {
            all.push(order.clone());
        }
        for next in (0..6).filter(|next| !order.contains(next)) {
            open.push(order.iter().copied().chain([next]).collect());
        }
    }
    all
}

#[tokio::test]
async fn every_order_of_up_to_six_events_on_one_subject_ends_at_the_truth() {
    const EVENTS: [&str; 6] =
        ["vacancy_new", "vacancy_update", "vacancy_status", "vacancy_status", "vacancy_update", "vacancy_deleted"];
    let orders = orders();
    assert_eq!(orders.len(), 1956);
    let world = World::start(Plan::sized(0, 0).with("WORKER__REMOVALS_FLOOR", "5000")).await;
    world.settle().await;
    // What really happens, in its order; what is told about it comes in another one.
    let keys: Vec<String> = orders.iter().map(|_| world.simulator.create_silently("vacancy")).collect();
    for wave in 0..6 {
        for (key, order) in keys.iter().zip(&orders) {
            match wave {
                1 | 4 => _ = world.simulator.edit_silently(key).unwrap(),
                2 => _ = world.simulator.set_vacancy_status_silently(key, "Suspended").unwrap(),
                3 => _ = world.simulator.set_vacancy_status_silently(key, "Published").unwrap(),
                // Half of them are deleted in the end.
                5 if order.len() % 2 == 0 => _ = world.simulator.delete_silently(key).unwrap(),
                _ => {}
            }
            if let Some(event) = order.get(wave) {
                world.simulator.announce(EVENTS[*event], key);
            }
        }
        world.simulator.flush().await;
    }
    world.assert_all_accepted();
    // The server takes the tables for nearly empty otherwise.
    sqlx::query("analyze").execute(world.database.pool()).await.unwrap();
    // A thousand absences are confirmed.
    world.pass(Duration::from_secs(1300)).await;
    world.settle().await;
    world.sweep_all().await;
    world.assert_equal_to_truth().await;
    world.end().await;
}

#[tokio::test]
async fn what_changed_silently_is_found_by_the_sweep_that_is_for_it() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let (vacancies, candidates) = (live_vacancies(&world), live_candidates(&world));
    world.simulator.edit_silently(&vacancies[0]).unwrap();
    world.simulator.set_vacancy_status_silently(&vacancies[1], "Archived").unwrap();
    world.simulator.edit_silently(&candidates[0]).unwrap();
    let created = world.simulator.create_silently("candidate");
    assert_eq!(world.differences().await.len(), 4);
    world.sweep(&[Use::Incremental]).await;
    world.assert_equal_to_truth().await;
    assert!(world.indexed(Kind::Candidate).await.contains_key(&created));
    assert!(!world.indexed(Kind::Vacancy).await[&vacancies[1]].1, "an archived vacancy is searchable");

    world.simulator.delete_silently(&vacancies[2]).unwrap();
    world.simulator.anonymise_silently(&candidates[1]).unwrap();
    world.simulator.delete_silently(&candidates[2]).unwrap();
    world.sweep(&[Use::Full]).await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    assert_eq!(world.gaps().await, 7);
    world.end().await;
}

#[tokio::test]
async fn sweeps_go_by_themselves_and_repeat_nothing_that_is_the_same() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let (reports, key) = (world.simulator.report_count(), live_vacancies(&world).remove(0));
    world.simulator.edit_silently(&key).unwrap();
    // Two hours and a half: two incremental sweeps.
    world.pass(Duration::from_secs(9000)).await;
    world.until("the change was found", async |world: &World| world.differences().await.is_empty()).await;
    world.until("it was reported", async |world: &World| world.ledger().await.reports_waiting == 0).await;
    assert_eq!(world.simulator.report_count(), reports + 1, "what is the same is not reported again");
    assert_eq!(world.gaps().await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_callback_that_comes_within_the_grace_makes_no_gap() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let vacancies = live_vacancies(&world);
    world.simulator.edit_vacancy(&vacancies[0]).unwrap();
    world.simulator.edit_silently(&vacancies[1]).unwrap();
    world.sweep(&[Use::Incremental]).await;
    world.assert_equal_to_truth().await;
    // The callback was only slow.
    world.simulator.flush().await;
    assert_eq!(world.gaps().await, 1);
    world.end().await;
}

#[tokio::test]
async fn an_export_that_lags_behind_its_callback_is_read_again() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.set_export_lag(Some(Duration::from_secs(90)));
    world.simulator.edit_vacancy(&key).unwrap();
    let before = world.last_request();
    world.simulator.flush().await;
    // The clock stands still while it is read: a busy machine must not wait until the export shows it.
    world.turn(Duration::from_secs(10));
    let is_read =
        async |world: &World| world.export_calls(VACANCIES, before) >= 1 && world.ledger().await.subjects_waiting == 0;
    world.until_by_itself("it is read", is_read).await;
    let since = world.clock.now();
    assert_eq!(world.differences().await.len(), 1, "the export shows it already");
    world.until("it was read again", async |world: &World| world.differences().await.is_empty()).await;
    assert!(world.clock.now() - since < chrono::TimeDelta::minutes(15));
    // What shows the same again and again is read twice more and then left.
    world.simulator.set_export_lag(None);
    let before = world.last_request();
    world.simulator.announce("vacancy_update", &key);
    world.settle().await;
    world.pass(Duration::from_secs(3000)).await;
    let again = world.simulator.count_requests(|request| {
        request.number > before && request.path == VACANCIES && request.query.contains("reference")
    });
    assert_eq!(again, 3);
    assert_eq!(world.gaps().await, 0);
    world.end().await;
}

#[tokio::test]
async fn an_empty_or_strange_list_removes_nothing() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    let before = (world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await);
    for kind in [
        FaultKind::Empty,
        FaultKind::Html,
        FaultKind::JsonError,
        FaultKind::Status { code: 404, retry_after: None },
        FaultKind::Garbage,
    ] {
        for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
            world.simulator.add_fault(Fault::new(endpoint, kind.clone()).times(3));
        }
        for purpose in [Use::Incremental, Use::Full, Use::Rolling] {
            world.sweep(&[purpose]).await;
        }
        world.settle().await;
        world.simulator.clear_faults();
        assert_eq!((world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await), before, "{kind:?}");
    }
    // Twenty minutes of empty answers while sweeps ask.
    for endpoint in [Endpoint::Vacancies, Endpoint::Candidates] {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Empty));
    }
    world.sweep(&[Use::Full, Use::Rolling]).await;
    world.pass(Duration::from_secs(1200)).await;
    world.simulator.clear_faults();
    world.settle().await;
    assert_eq!((world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await), before);
    assert_eq!(world.gaps().await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_vacancy_that_no_filter_can_name_is_hidden_when_two_full_lists_do_not_show_it() {
    let mut plan = Plan::sized(240, 0);
    plan.simulator.unaskable_references = true;
    let world = World::start(plan).await;
    world.settle().await;
    let key = live_vacancies(&world).into_iter().find(|key| key.contains([',', '|'])).unwrap();
    let searchable = async |world: &World| world.indexed(Kind::Vacancy).await[&key].1;
    world.simulator.set_vacancy_status_silently(&key, "Archived").unwrap();
    world.sweep(&[Use::Full]).await;
    assert!(searchable(&world).await, "one list is no proof");
    world.sweep(&[Use::Full]).await;
    assert!(!searchable(&world).await);
    world.simulator.set_vacancy_status_silently(&key, "Published").unwrap();
    world.sweep(&[Use::Full]).await;
    assert!(searchable(&world).await);
    world.end().await;
}
