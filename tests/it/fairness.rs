//! Subjects that fail beside those that do not: each has its turn, and what is wrong with one is known soon.

use std::time::Duration;

use cegid_indexer::{domain::Kind, tenants::Work};
use cegid_simulator::{Endpoint, Fault, FaultKind, Spoil};

use crate::{
    convergence::live_vacancies,
    harness::{Plan, World},
    reports::{pause, resume},
    worst::VACANCIES,
};

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

#[tokio::test]
async fn subjects_whose_query_is_refused_hold_up_nobody() {
    // More than one batch.
    const REFUSED: usize = 110;
    let world = World::start(Plan::sized(400, 0)).await;
    world.settle().await;
    pause(&world, Work::Fetch).await;
    let keys = live_vacancies(&world);
    let (refused, others) = keys.split_at(REFUSED);
    for key in refused {
        world.simulator.spoil(key, Some(Spoil::Unaskable));
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
    for key in refused {
        world.simulator.spoil(key, None);
    }
    world.end().await;
}
