//! Subjects that fail beside those that do not: each has its turn, and what is wrong with one is known soon.

use std::time::Duration;

use cegid_indexer::{domain::Kind, tenants::Work};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::{
    convergence::live_vacancies,
    harness::{
        Plan, World,
        between::{Between, Instead},
    },
    reports::{pause, resume, status},
    worst::{VACANCIES, count},
};

const FAILING: &str = "select count(*) from subject where attempts > 0";

#[tokio::test]
async fn a_subject_that_failed_is_read_among_fresh_ones_when_it_is_due() {
    let world = World::start(Plan::sized(300, 0).with("WORKER__BATCH_SUBJECTS", "10")).await;
    world.settle().await;
    let mut keys = live_vacancies(&world);
    let failing = keys.remove(0);
    world.simulator.spoil(&failing, Some(Spoil::NoEntry));
    world.simulator.edit_vacancy(&failing).unwrap();
    world.simulator.flush().await;
    world.until("it has failed", async |world: &World| count(world, FAILING).await == 1).await;
    // It must not be the one that is claimed when the pause begins.
    let due = "update subject set due_at = $2 where key = $1";
    let set_due = async |at| sqlx::query(due).bind(&failing).bind(at).execute(world.database.pool()).await.unwrap();
    set_due(world.clock.now() + Duration::from_secs(3600)).await;
    pause(&world, Work::Fetch).await;
    for key in &keys {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    let before = world.last_request();
    world.simulator.spoil(&failing, None);
    set_due(world.clock.now()).await;
    resume(&world, Work::Fetch).await;
    world.settle().await;
    let asked = world.simulator.requests().into_iter().filter(|row| row.number > before && row.path == VACANCIES);
    let asked: Vec<String> = asked.map(|row| row.query).filter(|query| query.contains("reference%3A%3A")).collect();
    let alone = format!("reference%3A%3A{failing}");
    let nth = asked.iter().position(|query| query.split('&').any(|parameter| parameter.ends_with(&alone)));
    assert!(asked.len() > 20, "{asked:#?}");
    assert!(nth.is_some_and(|nth| nth < 5), "call {nth:?} of {}: {asked:#?}", asked.len());
    world.end().await;
}

#[tokio::test]
async fn time_alone_buries_nobody() {
    let world = World::start(Plan::sized(10, 0).with("WORKER__RETRY_HORIZON", "1m")).await;
    world.settle().await;
    let key = live_vacancies(&world).remove(0);
    world.simulator.spoil(&key, Some(Spoil::BrokenArchive));
    world.simulator.edit_vacancy(&key).unwrap();
    world.simulator.flush().await;
    world.until("it has failed", async |world: &World| count(world, FAILING).await == 1).await;
    let long = "update subject set failing_since = failing_since - interval '1 day' where attempts > 0";
    sqlx::query(long).execute(world.database.pool()).await.unwrap();
    let again = "select count(*) from subject where attempts >= 3 or dead_at is not null";
    world.until("it has failed again", async |world: &World| count(world, again).await == 1).await;
    assert_eq!(world.ledger().await.dead, 0);
    world.until("it is given up", async |world: &World| world.ledger().await.dead == 1).await;
    assert_eq!(count(&world, "select attempts::bigint from subject where dead_at is not null").await, 10);
    world.simulator.spoil(&key, None);
    world.simulator.edit_vacancy(&key).unwrap();
    world.end().await;
}

#[tokio::test]
async fn what_three_reads_find_broken_alike_is_reported_within_minutes_and_tried_again() {
    for in_memory in ["4194304", "64"] {
        let world = World::start(Plan::sized(10, 0).with("EXPORT__FRAME_IN_MEMORY", in_memory)).await;
        world.settle().await;
        let broken = [Spoil::NoEntry, Spoil::BrokenJson, Spoil::BrokenArchive];
        let keys = live_vacancies(&world)[..3].to_vec();
        for (key, spoil) in keys.iter().zip(broken) {
            world.simulator.spoil(key, Some(spoil));
            world.simulator.edit_vacancy(key).unwrap();
        }
        let since = world.clock.now();
        world.simulator.flush().await;
        world
            .until("Cegid has heard of them", async |world: &World| {
                keys.iter().all(|key| status(world, key) == "error") && world.ledger().await.reports_waiting == 0
            })
            .await;
        assert!((world.clock.now() - since).num_minutes() < 5, "after {}", world.clock.now() - since);
        let ledger = world.ledger().await;
        assert_eq!((ledger.dead, ledger.subjects_waiting), (0, 3), "{ledger}");
        // It is said once.
        let held = world.simulator.report_count();
        world.pass(Duration::from_secs(1800)).await;
        assert_eq!(world.simulator.report_count(), held);
        for key in &keys {
            world.simulator.spoil(key, None);
        }
        world.settle().await;
        assert!(keys.iter().all(|key| status(&world, key) == "success"));
        world.end().await;
    }
}

#[tokio::test]
async fn an_export_that_refuses_or_cannot_answer_for_a_while_makes_nobody_an_error() {
    for code in [400, 404, 500] {
        let world = World::start(Plan::sized(30, 0)).await;
        world.settle().await;
        world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Status { code, retry_after: None }));
        for key in live_vacancies(&world) {
            world.simulator.edit_vacancy(&key).unwrap();
        }
        let since = world.simulator.report_count();
        world.simulator.flush().await;
        world.pass(Duration::from_secs(1800)).await;
        assert_eq!(world.ledger().await.dead, 0);
        assert_eq!(world.simulator.report_count(), since, "{code}");
        world.simulator.clear_faults();
        let cleared = world.clock.now();
        world.settle().await;
        assert!((world.clock.now() - cleared).num_minutes() < 20, "{}", world.clock.now() - cleared);
        world.end().await;
    }
}

/// An incremental sweep would index the others in their place.
fn without_incremental_sweeps(plan: Plan) -> Plan {
    plan.with("TENANTS__ACME__INCREMENTAL_INTERVAL", "30d")
}

/// So many subjects are refused or cannot be answered for, and are due before the others.
async fn hold_up_nobody(all: usize, failing: usize, how: Spoil) {
    let world = World::start(without_incremental_sweeps(Plan::sized(all, 0))).await;
    world.settle().await;
    pause(&world, Work::Fetch).await;
    let keys = live_vacancies(&world);
    let (failing, others) = keys.split_at(failing);
    for key in failing {
        world.simulator.spoil(key, Some(how));
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    world.turn(Duration::from_secs(1));
    for key in others {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    let before = world.last_request();
    resume(&world, Work::Fetch).await;
    world
        .until("the others are indexed", async |world: &World| {
            let indexed = world.indexed(Kind::Vacancy).await;
            others.iter().all(|key| indexed[key].0.ends_with("(v2)"))
        })
        .await;
    let calls = world.export_calls(VACANCIES, before);
    assert!(calls < 80, "{calls} calls for {} vacancies", keys.len());
    let line = r#"cegid_indexer_tenant_state{tenant="acme",class="ok",reason="none"} 1"#;
    assert!(crate::worst::metric(&world, line).await, "it is not Cegid that is away");
    for key in failing {
        world.simulator.spoil(key, None);
    }
    world.end().await;
}

#[tokio::test]
async fn subjects_whose_query_is_refused_hold_up_nobody() {
    // More than one batch.
    hold_up_nobody(400, 110, Spoil::Unaskable).await;
}

#[tokio::test]
async fn subjects_that_make_cegid_fail_hold_up_nobody() {
    hold_up_nobody(200, 30, Spoil::Unservable).await;
}

#[tokio::test]
async fn a_key_that_a_firewall_refuses_holds_up_nobody() {
    for status in [401, 403] {
        let (mut world, between) = Between::world(without_incremental_sweeps(Plan::sized(40, 0))).await;
        world.start_service().await;
        world.settle().await;
        let keys = live_vacancies(&world);
        let about: &'static str = keys[0].clone().leak();
        between.tell_about(VACANCIES, about, u64::MAX, Instead::Answer(status, Vec::new(), Vec::new()));
        let before = world.last_request();
        for key in &keys {
            world.simulator.edit_vacancy(key).unwrap();
        }
        world.simulator.flush().await;
        world
            .until("the others are indexed", async |world: &World| {
                let indexed = world.indexed(Kind::Vacancy).await;
                keys[1..].iter().all(|key| indexed[key].0.ends_with("(v2)"))
            })
            .await;
        let calls = world.export_calls(VACANCIES, before);
        assert!(calls < 40, "{status}: {calls} calls");
        between.forget();
        world.end().await;
    }
}
