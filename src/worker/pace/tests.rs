use std::sync::Arc;

use futures_util::FutureExt;

use super::*;

fn pace() -> (Arc<Pace>, Clock) {
    let clock = Clock::turned(DateTime::UNIX_EPOCH);
    (Arc::new(Pace::new("acme".parse().unwrap(), clock.clone(), 2)), clock)
}

fn error(stage: Stage, class: Class, retry_after: Option<u64>) -> CallError {
    CallError { retry_after: retry_after.map(Duration::from_secs), ..CallError::new(stage, class, "x") }
}

fn transient() -> CallError {
    error(Stage::Vacancies, Class::Transient, None)
}

/// Milliseconds that a stage has to wait from now.
fn pause(pace: &Pace, stage: Stage) -> i64 {
    let now = pace.clock.now();
    pace.paused(stage.into(), None).map_or(0, |until| (until - now).num_milliseconds())
}

fn is_about(pause: i64, seconds: i64) -> bool {
    (seconds * 750..=seconds * 1000).contains(&pause)
}

#[test]
fn transient_failures_pause_their_stage_longer_each_time_with_jitter() {
    let (pace, clock) = pace();
    let mut exact = 0;
    for seconds in [1, 2, 4, 8] {
        pace.failed(Stage::Vacancies, &transient());
        let pause = pause(&pace, Stage::Vacancies);
        assert!(is_about(pause, seconds), "{pause} ms instead of {seconds} s");
        exact += u32::from(pause == seconds * 1000);
        clock.turn(Duration::from_secs(300));
    }
    assert!(exact < 4, "no jitter");
    pace.failed(Stage::Vacancies, &transient());
    assert_eq!(pause(&pace, Stage::Reports), 0);
}

#[test]
fn two_tenants_that_failed_together_do_not_come_back_together() {
    let pauses = ["acme", "beta", "gamma"].map(|tenant| {
        let pace = Pace::new(tenant.parse().unwrap(), Clock::turned(DateTime::UNIX_EPOCH), 1);
        pace.failed(Stage::Vacancies, &transient());
        pause(&pace, Stage::Vacancies)
    });
    assert!(pauses[0] != pauses[1] && pauses[1] != pauses[2], "{pauses:?}");
}

#[test]
fn one_stage_that_fails_while_others_succeed_backs_off_alone() {
    let (pace, clock) = pace();
    for _ in 0..20 {
        pace.failed(Stage::Reports, &error(Stage::Reports, Class::Transient, None));
        pace.succeeded(Stage::Vacancies);
        assert_eq!(*pace.condition().borrow(), Condition::Well);
        assert_eq!(pause(&pace, Stage::Candidates), 0);
        clock.turn(Duration::from_secs(1));
    }
    assert!(pause(&pace, Stage::Reports) > 200_000);
}

#[test]
fn throttling_pauses_the_tenant_as_long_as_asked_and_counts_no_failure() {
    let (pace, clock) = pace();
    pace.failed(Stage::Vacancies, &error(Stage::Token, Class::Throttled, Some(7)));
    assert_eq!(pause(&pace, Stage::Reports), 7000);
    // A shorter one does not end it.
    pace.failed(Stage::Reports, &error(Stage::Reports, Class::Throttled, Some(2)));
    assert_eq!(pause(&pace, Stage::Vacancies), 7000);
    pace.failed(Stage::Vacancies, &error(Stage::Vacancies, Class::Throttled, None));
    assert_eq!(pause(&pace, Stage::Reports), 60_000);
    clock.turn(Duration::from_secs(60));
    for _ in 0..20 {
        pace.failed(Stage::Vacancies, &error(Stage::Vacancies, Class::Throttled, Some(1)));
    }
    assert_eq!(*pace.condition().borrow(), Condition::Well);
    assert_eq!(pause(&pace, Stage::Vacancies), 1000);
}

#[test]
fn a_missing_right_pauses_its_stage_only() {
    let (pace, _) = pace();
    for _ in 0..9 {
        pace.failed(Stage::Reports, &error(Stage::Reports, Class::Forbidden, None));
    }
    pace.succeeded(Stage::Vacancies);
    assert_eq!(pause(&pace, Stage::Reports), 300_000);
    assert_eq!(pause(&pace, Stage::Vacancies), 0);
    assert_eq!(*pace.condition().borrow(), Condition::Well);
}

#[test]
fn an_endpoint_that_refuses_every_token_is_alone_with_that() {
    let (pace, clock) = pace();
    for _ in 0..3 {
        pace.failed(Stage::Reports, &error(Stage::Reports, Class::Credentials, None));
        pace.succeeded(Stage::Vacancies);
        clock.turn(Duration::from_secs(2));
    }
    assert_eq!(*pace.condition().borrow(), Condition::Well);
    assert!(pause(&pace, Stage::Reports) > 280_000);
    assert_eq!(pause(&pace, Stage::Vacancies), 0);
}

#[test]
fn refused_credentials_are_told_and_told_again_when_they_are_accepted() {
    let (pace, clock) = pace();
    let mut condition = pace.condition();
    let refused = error(Stage::Token, Class::Credentials, None);
    for stage in [Stage::Vacancies, Stage::Reports, Stage::Webhooks] {
        assert!(!condition.has_changed().unwrap());
        let _leave = pace.ready(stage).now_or_never().unwrap();
        pace.failed(stage, &refused);
        clock.turn(Duration::from_secs(2));
    }
    assert!(
        matches!(&*condition.borrow_and_update(), Condition::AuthFailed { says, .. } if says == "calling token: x")
    );
    assert_eq!(pause(&pace, Stage::Candidates), 298_000);
    clock.turn(Duration::from_secs(298));
    assert!(pace.ready(Stage::Candidates).now_or_never().is_some());
    pace.succeeded(Stage::Candidates);
    assert_eq!(*condition.borrow_and_update(), Condition::Well);
    assert_eq!(pause(&pace, Stage::Vacancies), 0);
}

#[tokio::test]
async fn while_a_tenant_is_away_one_waits_for_the_outcome_of_the_other() {
    let (pace, clock) = pace();
    for stage in [Stage::Vacancies, Stage::Candidates, Stage::Reports, Stage::Vacancies, Stage::Candidates] {
        pace.failed(stage, &transient());
    }
    assert!(matches!(*pace.condition().borrow(), Condition::Away { .. }));
    clock.turn(Duration::from_secs(10));
    let place = pace.export(Stage::Vacancies).now_or_never().unwrap();
    // A stage that nothing was wrong with waits too.
    for stage in [Stage::Candidates, Stage::Reports, Stage::Webhooks] {
        assert!(pace.ready(stage).now_or_never().is_none(), "{stage:?}");
    }
    let waiting = tokio::spawn({
        let pace = pace.clone();
        async move { drop(pace.ready(Stage::Reports).await) }
    });
    tokio::task::yield_now().await;
    drop(place);
    pace.succeeded(Stage::Vacancies);
    waiting.await.unwrap();
    assert!(pace.export(Stage::Candidates).now_or_never().is_some());
    assert_eq!(*pace.condition().borrow(), Condition::Well);
}

#[tokio::test]
async fn a_stage_that_finds_nothing_to_call_for_keeps_nobody_waiting() {
    let (pace, clock) = pace();
    for stage in [Stage::Vacancies, Stage::Candidates, Stage::Reports, Stage::Vacancies, Stage::Candidates] {
        pace.failed(stage, &transient());
    }
    clock.turn(Duration::from_secs(10));
    let leave = pace.ready(Stage::Webhooks).await;
    let waiting = tokio::spawn({
        let pace = pace.clone();
        async move { drop(pace.ready(Stage::Reports).await) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(leave);
    waiting.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_probe_learns_that_it_failed() {
    let (pace, clock) = pace();
    for stage in [Stage::Vacancies, Stage::Candidates, Stage::Reports, Stage::Vacancies, Stage::Candidates] {
        pace.failed(stage, &transient());
    }
    clock.turn(Duration::from_secs(10));
    let place = pace.export(Stage::Vacancies).await;
    let waiting = tokio::spawn({
        let pace = pace.clone();
        async move { drop(pace.ready(Stage::Reports).await) }
    });
    tokio::task::yield_now().await;
    drop(place);
    pace.failed(Stage::Vacancies, &transient());
    // It goes after the pause, not when the probe would have lapsed.
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.turn(Duration::from_secs(2));
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_success_ends_the_pauses_of_an_outage_but_not_that_of_a_missing_right() {
    let (pace, _) = pace();
    pace.failed(Stage::Webhooks, &error(Stage::Webhooks, Class::Forbidden, None));
    for _ in 0..12 {
        pace.failed(Stage::Vacancies, &transient());
    }
    pace.failed(Stage::Candidates, &transient());
    assert!(pause(&pace, Stage::Vacancies) > 0);
    pace.succeeded(Stage::Reports);
    assert_eq!([Stage::Vacancies, Stage::Candidates].map(|stage| pause(&pace, stage)), [0, 0]);
    assert_eq!(pause(&pace, Stage::Webhooks), 300_000);
}

#[tokio::test]
async fn no_more_exports_than_allowed_are_under_way_and_none_waits_with_a_place() {
    let (pace, clock) = pace();
    let places = [pace.export(Stage::Vacancies).await, pace.export(Stage::Candidates).await];
    assert!(pace.export(Stage::Vacancies).now_or_never().is_none());
    pace.failed(Stage::Vacancies, &transient());
    drop(places);
    assert!(pace.export(Stage::Vacancies).now_or_never().is_none());
    let held = [pace.export(Stage::Candidates).await, pace.export(Stage::Candidates).await];
    clock.turn(Duration::from_secs(1));
    drop(held);
    assert!(pace.export(Stage::Vacancies).now_or_never().is_some());
}

#[test]
fn an_answer_that_was_read_as_far_as_it_can_be_held_is_no_failure() {
    let (pace, _clock) = pace();
    pace.failed(Stage::Vacancies, &transient());
    pace.failed(Stage::Vacancies, &error(Stage::Vacancies, Class::Full, None));
    assert_eq!(pause(&pace, Stage::Vacancies), 0);
}
