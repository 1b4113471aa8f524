//! Lists that do not advance, repeat themselves, are empty, or hold what cannot be read; and what vanishes because of
//! them.

use std::{collections::HashSet, time::Duration};

use cegid_indexer::{
    domain::Kind,
    ledger::Verdict,
    subjects,
    sweeps::{self, Use},
    unreadable,
};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World, process, tenant},
};

/// Asks for a sweep of candidates, as an operator would, and does not wait for it.
async fn ask(world: &World, purpose: Use) {
    let acme = tenant();
    assert!(sweeps::ask(&world.database, &acme, Kind::Candidate, purpose, world.clock.now()).await.unwrap());
}

async fn open_sweeps(world: &World) -> i64 {
    let open = "select count(*) from sweep where asked and finished_at is null";
    sqlx::query_scalar(open).fetch_one(world.database.pool()).await.unwrap()
}

/// Requests for lists of candidates since the simulator's request of this number.
fn lists(world: &World, since: u64) -> usize {
    world.simulator.count_requests(|request| {
        request.number > since && request.path.ends_with("/candidates") && !request.query.contains("id%3A%3A")
    })
}

async fn held(world: &World) -> i64 {
    subjects::held(&world.database).await.unwrap().iter().map(|held| held.count).sum()
}

#[tokio::test]
async fn a_list_that_ignores_the_offset_backs_off_and_other_sweeps_go_on() {
    let world = World::start(Plan::sized(0, 250)).await;
    world.settle().await;
    let repeat = |times| Fault::new(Endpoint::Candidates, FaultKind::Repeat).times(times);
    world.simulator.add_fault(repeat(1_000));
    let before = world.last_request();
    ask(&world, Use::Full).await;
    world.pass(Duration::from_secs(7200)).await;
    assert_eq!(open_sweeps(&world).await, 1, "the list cannot have ended");
    let ledger = world.ledger().await;
    assert_eq!((ledger.lists_stalled, ledger.verdict()), (1, Verdict::Waits), "{ledger}");
    assert!((3..25).contains(&lists(&world, before)), "{} lists in two hours", lists(&world, before));
    // The incremental sweep has its turn.
    let edited = live_candidates(&world).remove(0);
    world.simulator.edit_silently(&edited).unwrap();
    ask(&world, Use::Incremental).await;
    let found = async |world: &World| world.differences().await.is_empty();
    world.until("the incremental sweep goes on", found).await;
    world.simulator.clear_faults();
    world.until("the full sweep is done", async |world: &World| open_sweeps(world).await == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_list_that_repeats_its_last_page_ends_there() {
    let world = World::start(Plan::sized(0, 250)).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::RepeatLast));
    let before = world.last_request();
    world.sweep(&[Use::Full]).await;
    assert!(lists(&world, before) <= 6, "{} lists", lists(&world, before));
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn when_every_record_of_a_kind_is_gone_an_operator_confirms_it() {
    let world = World::start(Plan::sized(3, 8)).await;
    world.settle().await;
    for key in live_candidates(&world).iter().chain(&live_vacancies(&world)) {
        world.simulator.delete_silently(key).unwrap();
    }
    let count = world.indexed(Kind::Candidate).await.len() + world.indexed(Kind::Vacancy).await.len();
    world.sweep(&[Use::Full]).await;
    // One of each kind at least can be proved by nothing; the others may have gone before it.
    let all_held = async |world: &World| {
        let left = world.indexed(Kind::Candidate).await.len() + world.indexed(Kind::Vacancy).await.len();
        left > 0 && held(world).await == left as i64
    };
    world.until("what is left is held", all_held).await;
    assert!(held(&world).await <= count as i64);
    let ledger = world.ledger().await;
    assert_eq!(ledger.verdict(), Verdict::Waits);
    assert!(ledger.to_string().contains(&format!("{} wait for `sweeps confirm`", held(&world).await)), "{ledger}");
    let environment = world.environment();
    let run = |arguments: &'static [&'static str]| {
        let environment = environment.clone();
        tokio::task::spawn_blocking(move || process::run(arguments, &environment))
    };
    let listed = run(&["sweeps", "list"]).await.unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("candidate: "), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("removals are held back since"), "{listed:?}");
    for kind in Kind::ALL {
        subjects::release(&world.database, &tenant(), kind, world.clock.now()).await.unwrap();
    }
    let empty = async |world: &World| {
        world.indexed(Kind::Candidate).await.is_empty() && world.indexed(Kind::Vacancy).await.is_empty()
    };
    world.until("they are removed", empty).await;
    world.end().await;
}

#[tokio::test]
async fn what_was_held_because_nothing_could_prove_it_goes_once_something_can() {
    let world = World::start(Plan::sized(3, 3)).await;
    world.settle().await;
    let gone: Vec<String> = live_vacancies(&world).into_iter().chain(live_candidates(&world)).collect();
    for key in &gone {
        world.simulator.delete_silently(key).unwrap();
    }
    world.sweep(&[Use::Full]).await;
    let left = async |world: &World| {
        [world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await]
            .map(|indexed| indexed.into_keys().filter(|key| gone.contains(key)).count())
    };
    let all_held = async |world: &World| {
        let left = left(world).await;
        left.iter().all(|count| *count > 0) && held(world).await == left.iter().sum::<usize>() as i64
    };
    world.until("what is left of each kind is held", all_held).await;
    let _new = world.simulator.create_vacancy();
    let _new = world.simulator.create_candidate();
    let removed = async |world: &World| left(world).await == [0, 0] && held(world).await == 0;
    world.until("they are removed, beside a new one of their kind", removed).await;
    world.end().await;
}

#[tokio::test]
async fn vacancies_that_no_filter_can_name_are_not_hidden_in_bulk_nor_when_lists_show_them_unreadable() {
    let mut plan = Plan::sized(240, 0).with("WORKER__REMOVALS_FLOOR", "1").with("WORKER__REMOVALS_PERCENT", "0");
    plan.simulator.unaskable_references = true;
    let world = World::start(plan).await;
    world.settle().await;
    let keys: Vec<String> = live_vacancies(&world).into_iter().filter(|key| key.contains([',', '|', ':'])).collect();
    let searchable = async |world: &World| {
        let indexed = world.indexed(Kind::Vacancy).await;
        keys.iter().filter(|key| indexed.get(*key).is_some_and(|it| it.1)).count()
    };
    assert!(keys.len() >= 3, "{keys:?}");
    for spoil in [Spoil::Hidden, Spoil::BrokenArchive, Spoil::BrokenArchive] {
        for key in &keys {
            world.simulator.spoil(key, Some(spoil));
        }
        world.sweep(&[Use::Full]).await;
    }
    assert_eq!(searchable(&world).await, keys.len(), "the lists may have shown them");
    for key in &keys {
        world.simulator.spoil(key, None);
    }
    // The one that is hidden first counts when the others would be, a sweep later.
    for keys in [&keys[..1], &keys[1..]] {
        for key in keys {
            world.simulator.delete_silently(key).unwrap();
        }
        world.sweep(&[Use::Full]).await;
        world.sweep(&[Use::Full]).await;
    }
    assert_eq!((searchable(&world).await, held(&world).await), (keys.len() - 1, keys.len() as i64 - 1));
    // A day later the guard's window is over, and time alone lets none through.
    world.turn(Duration::from_secs(26 * 3600));
    world.sweep(&[Use::Full]).await;
    assert_eq!(searchable(&world).await, keys.len() - 1);
    let released = subjects::release(&world.database, &tenant(), Kind::Vacancy, world.clock.now()).await.unwrap();
    assert_eq!((released.subjects, released.unfilterable), (keys.len() as i64 - 1, keys.len() as i64 - 1));
    world.sweep(&[Use::Full]).await;
    assert_eq!((searchable(&world).await, held(&world).await), (0, 0));
    // They stay as hidden documents: whether they are archived or deleted cannot be asked.
    world.leave().await;
}

#[tokio::test]
async fn what_a_list_cannot_show_is_counted_once_shown_and_read_again_soon() {
    let mut world = World::start(Plan::sized(0, 60).stopped()).await;
    let candidates = live_candidates(&world);
    // Without a readable key, with one, and not served.
    let unnamed: HashSet<&String> = candidates[3..6].iter().collect();
    for key in &unnamed {
        world.simulator.spoil(key, Some(Spoil::BrokenArchive));
    }
    world.simulator.spoil(&candidates[10], Some(Spoil::UnclosedJson));
    world.simulator.spoil(&candidates[20], Some(Spoil::Unservable));
    world.start_service().await;
    world.until("the load is done", async |world: &World| world.loaded().await).await;
    let known = async |world: &World| {
        let counts = unreadable::counts(&world.database).await.unwrap();
        (counts.iter().map(|it| it.count).sum::<i64>(), counts.iter().map(|it| it.unnamed).sum::<i64>())
    };
    assert_eq!(known(&world).await, (5, 4));
    world.sweep(&[Use::Full]).await;
    // What is not served is known by its place alone, in each list.
    assert_eq!(known(&world).await, (6, 5), "counted once");
    let ledger = world.ledger().await;
    assert_eq!((ledger.unreadable, ledger.unreadable_unnamed, ledger.verdict()), (6, 5, Verdict::Waits));
    assert!(ledger.to_string().contains("lists:      6 records could not be read, 5 of them"), "{ledger}");
    let tried = "select count(*) from subject where key = $1 and attempts > 0";
    let tried = async |world: &World| -> i64 {
        sqlx::query_scalar(tried).bind(&candidates[10]).fetch_one(world.database.pool()).await.unwrap()
    };
    world.until("the one with a key is read by it", async |world: &World| tried(world).await == 1).await;
    // An empty answer by error forgets none of them.
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Short { records: 0 }).times(1));
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(known(&world).await, (6, 5));
    // The page of each place fails with the one that is not served: it is read alone.
    let unserved = &candidates[20];
    let others: Vec<&String> = candidates.iter().filter(|key| *key != unserved).collect();
    for (keys, left) in [(others, 1), (vec![unserved], 0)] {
        for key in keys {
            world.simulator.spoil(key, None);
        }
        let since = world.clock.now();
        while world.differences().await.len() > left {
            assert!(world.clock.now() - since < chrono::TimeDelta::minutes(130), "{}", world.clock.now() - since);
            world.pass(Duration::from_secs(60)).await;
            world.quiet().await;
        }
    }
    world.until("none is left", async |world: &World| known(world).await == (0, 0)).await;
    world.end().await;
}

#[tokio::test]
async fn an_item_that_cegid_cannot_serve_holds_up_its_list_without_a_pause() {
    let world = World::start(Plan::sized(0, 120).with("TENANTS__ACME__LOAD_PAUSE", "0s")).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    world.simulator.spoil(&candidates[20], Some(Spoil::Unservable));
    for key in &candidates[21..] {
        world.simulator.edit_silently(key).unwrap();
    }
    ask(&world, Use::Full).await;
    // Looked at within half a minute; from then on nothing waits for the clock.
    world.turn(Duration::from_secs(60));
    let edited = async |world: &World| {
        let indexed = world.indexed(Kind::Candidate).await;
        candidates[21..].iter().all(|key| indexed[key].0.ends_with("(v2)"))
    };
    world.until_by_itself("what is behind it is found", edited).await;
    world.simulator.spoil(&candidates[20], None);
    world.end().await;
}
