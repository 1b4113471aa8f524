//! Walking a list that moves, is cut, or holds what cannot be read or served.

use std::{collections::BTreeSet, time::Duration};

use cegid_indexer::{
    domain::Kind,
    sweeps::{self, Progress, Turn, Use},
};
use cegid_simulator::{Change, Endpoint, Fault, FaultKind, Spoil};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    convergence::{live_candidates, live_vacancies},
    harness::{Plan, World, tenant},
};

#[tokio::test]
async fn a_list_that_moves_while_it_is_walked_loses_nobody() {
    let world = World::start(Plan::sized(0, 300).with("EXPORT__PAGE_SIZE", "20").stopped()).await;
    let mut world = world;
    let candidates = live_candidates(&world);
    // Four leave the list, behind the reader's back, while it is walked; a fifth comes.
    for (page, key) in (2..).zip(&candidates[..4]) {
        world.simulator.after_page(page, Change::DeleteCandidate { key: key.clone() });
    }
    world.simulator.after_page(4, Change::CreateCandidate);
    world.start_service().await;
    world.settle().await;
    world.sweep_all().await;
    world.assert_equal_to_truth().await;
    world.end().await;
}

#[tokio::test]
async fn a_walk_halves_its_pages_while_answers_are_cut_and_passes_a_record_that_cannot_be_served() {
    let world = World::start(Plan::sized(60, 0)).await;
    world.settle().await;
    for key in live_vacancies(&world) {
        world.simulator.edit_silently(&key).unwrap();
    }
    // Less than two records fit into what arrives.
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Truncate { bytes: 3000 }).times(30));
    let before = world.last_request();
    world.sweep(&[Use::Incremental]).await;
    let limits: BTreeSet<String> = world
        .simulator
        .requests()
        .into_iter()
        .filter(|request| request.number > before && request.query.contains("updateDate"))
        .filter_map(|request| Some(request.query.split("limit=").nth(1)?.split('&').next()?.to_owned()))
        .collect();
    assert!(limits.contains("100") && limits.contains("12") && limits.contains("1"), "{limits:?}");
    world.settle().await;
    world.assert_equal_to_truth().await;
    world.end().await;
}

#[tokio::test]
async fn what_a_sweep_cannot_read_is_counted_and_its_page_goes_on() {
    let world = World::start(Plan::sized(30, 0)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    for key in &keys {
        world.simulator.edit_silently(key).unwrap();
    }
    world.simulator.spoil(&keys[3], Some(Spoil::BrokenJson));
    world.sweep(&[Use::Incremental]).await;
    assert_eq!(world.differences().await.len(), 1);
    let broken = "select max(broken) from sweep where use = 'incremental' and kind = 'vacancy'";
    let broken: i64 = sqlx::query_scalar(broken).fetch_one(world.database.pool()).await.unwrap();
    assert_eq!(broken, 1);
    world.simulator.spoil(&keys[3], None);
    world.sweep(&[Use::Incremental]).await;
    world.settle().await;
    world.end().await;
}

#[tokio::test]
async fn records_that_cannot_be_served_are_passed_over_one_by_one_and_only_these() {
    let world = World::start(Plan::sized(0, 60)).await;
    world.settle().await;
    let candidates = live_candidates(&world);
    for key in &candidates {
        world.simulator.edit_silently(key).unwrap();
    }
    // Two beside each other, one whose page is refused as a query, and the last of the list.
    let bad = [&candidates[20], &candidates[21], &candidates[40], candidates.last().unwrap()];
    for key in bad {
        let spoil = if *key == candidates[40] { Spoil::Unlistable } else { Spoil::Unservable };
        world.simulator.spoil(key, Some(spoil));
    }
    world.sweep(&[Use::Incremental]).await;
    assert_eq!(world.differences().await.len(), 4);
    let broken = "select broken from sweep where use = 'incremental' and kind = 'candidate' and asked";
    let broken: i64 = sqlx::query_scalar(broken).fetch_one(world.database.pool()).await.unwrap();
    assert_eq!(broken, 4);
    for key in bad {
        world.simulator.spoil(key, None);
    }
    world.sweep(&[Use::Incremental]).await;
    world.end().await;
}

#[tokio::test]
async fn an_outage_of_hours_makes_a_walk_pass_over_nobody() {
    let world = World::start(Plan::sized(0, 30).with("TENANTS__ACME__LOAD_WINDOWS", "1").stopped()).await;
    let mut world = world;
    let down = FaultKind::Status { code: 503, retry_after: None };
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, down));
    world.start_service().await;
    let before = world.last_request();
    let alone = |request: &cegid_simulator::RequestRow| {
        request.number > before && request.query.contains("limit=1&") && request.status == 503
    };
    while world.simulator.count_requests(alone) < 8 {
        world.pass(Duration::from_secs(600)).await;
    }
    world.simulator.clear_faults();
    world.settle().await;
    world.assert_equal_to_truth().await;
    let broken: i64 = sqlx::query_scalar("select sum(broken)::bigint from sweep where kind = 'candidate'")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(broken, 0);
    world.end().await;
}

/// A world of vacancies that are hidden, all of them.
async fn hidden_vacancies(count: usize) -> World {
    let world = World::start(Plan::sized(count, 0).with("TENANTS__ACME__ROLLING_PERIOD", "7d")).await;
    world.settle().await;
    for key in live_vacancies(&world) {
        world.simulator.set_vacancy_status_silently(&key, "Archived").unwrap();
    }
    world.sweep(&[Use::Incremental]).await;
    world.settle().await;
    world
}

#[tokio::test]
async fn a_round_of_few_takes_its_period_and_the_next_one_follows() {
    const PERIOD: TimeDelta = TimeDelta::days(7);
    let world = hidden_vacancies(12).await;
    let round = async |world: &World, it: &'static str| -> Option<(i32, DateTime<Utc>)> {
        let query = format!("select position, due_at from sweep where kind = 'vacancy' and use = 'rolling' and {it}");
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_optional(world.database.pool()).await.unwrap()
    };
    let resting = "started_at is not null and finished_at is null";
    for (nth, key) in world.indexed(Kind::Vacancy).await.into_keys().take(2).enumerate() {
        let rests = async |world: &World| round(world, resting).await.is_some_and(|it| it.1 > world.clock.now());
        world.until("a round rests", rests).await;
        let (position, due_at) = round(&world, resting).await.unwrap();
        let now = world.clock.now();
        assert_eq!(position, nth as i32);
        assert!(due_at - now <= PERIOD && due_at - now > PERIOD - TimeDelta::hours(1), "{due_at} at {now}");
        world.simulator.delete_silently(&key).unwrap();
        world.turn((due_at - now).to_std().unwrap());
        let over = async |world: &World| round(world, resting).await.is_none_or(|it| it.0 > position);
        world.until("the round is over", over).await;
        let gone = async |world: &World| !world.indexed(Kind::Vacancy).await.contains_key(&key);
        world.until("the deleted one is gone", gone).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_round_that_is_asked_for_while_it_takes_a_step_begins_anew_at_once() {
    let mut world = World::start(Plan::sized(5, 0)).await;
    world.settle().await;
    world.stop_service().await;
    let (database, acme, kind) = (&world.database, tenant(), Kind::Vacancy);
    sqlx::query("delete from sweep where use <> 'rolling'").execute(database.pool()).await.unwrap();
    let now = world.clock.now();
    let turn = |now| Turn { now, bulk: true, needed: Duration::ZERO };
    let next = async |at| sweeps::next(database, &acme, kind, turn(at)).await.unwrap();
    let after_its_pace = now + Duration::from_secs(86_400 * 60);
    let step = next(after_its_pace).await.expect("a round");
    assert!(sweeps::ask(database, &acme, kind, Use::Rolling, now).await.unwrap());
    // What the step comes to, that knows nothing of it: wait for the pace, go on behind a key; or the end.
    let waits = Progress { due_at: Some(after_its_pace), next_key: "2026-00003".to_owned(), ..Progress::default() };
    for progress in [waits, Progress { finished: true, ..Progress::default() }] {
        sweeps::advance(database, &acme, kind, &step, now, &progress).await.unwrap();
        let asked = next(now).await.expect("it is due");
        assert_eq!((asked.position, asked.asked, asked.next_key.as_str()), (step.position, true, ""));
    }
    let asked = next(now).await.unwrap();
    let end = Progress { finished: true, ..Progress::default() };
    sweeps::advance(database, &acme, kind, &asked, now, &end).await.unwrap();
    assert!(next(after_its_pace).await.is_none());
    world.leave().await;
}

/// An operator's own rule, or what a later PostgreSQL makes of some text.
#[tokio::test]
async fn a_record_that_the_database_refuses_costs_nobody_else_anything_and_is_asked_for_until_it_is_taken() {
    let world = World::start(Plan::sized(40, 0)).await;
    world.settle().await;
    let keys = live_vacancies(&world);
    // Of a sweep's page and of a refresh's batch.
    let refused = [&keys[0], &keys[3], &keys[4], keys.last().unwrap()];
    let names = refused.map(|key| format!("'{key}'")).join(", ");
    let rule = format!("alter table document add constraint refused check (key not in ({names})) not valid");
    sqlx::query(sqlx::AssertSqlSafe(rule)).execute(world.database.pool()).await.unwrap();
    let tried = async |world: &World| -> Vec<String> {
        let tried = "select key from subject where attempts > 0";
        sqlx::query_scalar(tried).fetch_all(world.database.pool()).await.unwrap()
    };

    for key in &keys {
        world.simulator.edit_silently(key).unwrap();
    }
    world.sweep(&[Use::Incremental]).await;
    let all = async |world: &World| tried(world).await.len() == refused.len();
    world.until("those are asked for by themselves", all).await;
    assert_eq!(BTreeSet::from_iter(&tried(&world).await), BTreeSet::from(refused));
    assert_eq!(world.differences().await.len(), refused.len());

    for key in &keys {
        world.simulator.edit_vacancy(key).unwrap();
    }
    world.simulator.flush().await;
    let others = async |world: &World| world.differences().await.len() == refused.len();
    world.until("the others are settled", others).await;
    sqlx::query("alter table document drop constraint refused").execute(world.database.pool()).await.unwrap();
    world.settle().await;
    world.assert_equal_to_truth().await;
    world.end().await;
}
