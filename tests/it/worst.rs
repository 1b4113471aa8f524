//! Cegid at its worst: outages, throttling, refused credentials and missing rights.

use std::time::Duration;

use cegid_indexer::domain::Kind;
use cegid_simulator::{Down, Endpoint, Fault, FaultKind};

use crate::harness::{
    Plan, SECRET, World,
    between::{Between, Instead},
};

pub const VACANCIES: &str = "/api/exports/v1/vacancies";
pub const REPORTS: &str = "/api/exports/v1/reports";
pub const WEBHOOKS: &str = "/api/system/v1/webhooks";
const MINUTE: Duration = Duration::from_secs(60);

pub fn live_vacancies(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "vacancy" && row.live && row.present).map(|row| row.key).collect()
}

fn candidates(world: &World) -> Vec<String> {
    let truth = world.simulator.truth().into_iter();
    truth.filter(|row| row.kind == "candidate" && row.present && !row.anonymised).map(|row| row.key).collect()
}

/// Lets so much time go by in steps of a minute.
async fn pass(world: &World, time: Duration) {
    let until = world.clock.now() + time;
    while world.clock.now() < until {
        world.turn(MINUTE);
        tokio::time::sleep(Duration::from_millis(12)).await;
    }
}

/// Waits until no request is under way and none follows.
async fn quiet(world: &World) -> u64 {
    let mut last = (world.last_request(), 0);
    while last.1 < 15 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = world.last_request();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
    }
    last.0
}

pub async fn metric(world: &World, line: &str) -> bool {
    world.get(&world.operators, "/metrics").await.1.lines().any(|shown| shown == line)
}

async fn until_standing(world: &World, class: &str, reason: &str) {
    let line = format!(r#"cegid_indexer_tenant_state{{tenant="acme",class="{class}",reason="{reason}"}} 1"#);
    world.until(&line, async |world: &World| metric(world, &line).await).await;
}

pub async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(world.database.pool()).await.unwrap()
}

/// Seconds between the requests to a path since the request of this number.
fn spacing(world: &World, path: &str, since: u64) -> Vec<i64> {
    let requests = world.simulator.requests();
    let at: Vec<_> =
        requests.iter().filter(|request| request.number > since && request.path == path).map(|row| row.at).collect();
    at.windows(2).map(|pair| (pair[1] - pair[0]).num_seconds()).collect()
}

async fn unsettled(world: &World) -> i64 {
    count(world, "select count(*) from subject where wanted > settled").await
}

#[tokio::test]
async fn six_hours_of_503_kill_nothing_cost_few_calls_and_are_caught_up_with() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    until_standing(&world, "ok", "none").await;
    world.simulator.set_down(Down::Unavailable, None);
    let before = world.last_request();
    for key in live_vacancies(&world).iter().chain(&candidates(&world)) {
        let edited = world.simulator.edit_vacancy(key).or_else(|_| world.simulator.edit_candidate(key));
        edited.unwrap();
    }
    world.simulator.flush().await;
    pass(&world, MINUTE * 300).await;
    let hour = world.last_request();
    // What comes meanwhile is received.
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.simulator.flush().await;
    world.assert_all_accepted();
    pass(&world, MINUTE * 60).await;
    until_standing(&world, "transient", "none").await;
    let (all, last_hour) = (world.last_request() - before, world.last_request() - hour);
    // Five minutes less a quarter: sixteen an hour.
    assert!((15..=130).contains(&all), "{all} calls in six hours");
    assert!((2..=17).contains(&last_hour), "{last_hour} calls in the last hour");
    let ledger = world.ledger().await;
    assert_eq!((ledger.dead, ledger.reports_dead), (0, 0));
    world.simulator.set_down(Down::No, None);
    let since = world.clock.now();
    world.settle().await;
    let took = world.clock.now() - since;
    assert!(took.num_seconds() < 420, "{took} until it had caught up");
    until_standing(&world, "ok", "none").await;
    world.end().await;
}

#[tokio::test]
async fn while_one_stage_alone_fails_the_others_do_not_wait() {
    let plan = Plan::default().with("WORKER__LINGER", "0s").with("WORKER__LINGER_LIMIT", "0s");
    let world = World::start(plan.with("WORKER__LINGER_REPEATS_LIMIT", "0s")).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Reports, FaultKind::Status { code: 500, retry_after: None }));
    let (since, before) = (world.clock.now(), world.last_request());
    for key in live_vacancies(&world).iter().take(6) {
        pass(&world, MINUTE * 10).await;
        world.simulator.edit_vacancy(key).unwrap();
        let truth = world.simulator.truth_of("vacancy", key).unwrap();
        world.simulator.flush().await;
        // The clock stands still meanwhile.
        world
            .until_by_itself("it is indexed", async |world: &World| {
                world.indexed(Kind::Vacancy).await.get(key).is_some_and(|(title, _)| *title == truth.title)
                    && unsettled(world).await == 0
            })
            .await;
    }
    assert!((world.clock.now() - since).num_minutes() >= 60);
    let reports = world.export_calls(REPORTS, before);
    assert!((3..=40).contains(&reports), "{reports} reports in an hour");
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn a_throttle_answered_to_any_stage_pauses_the_whole_tenant() {
    for (endpoint, code) in [
        (Endpoint::Token, 429),
        (Endpoint::Reports, 503),
        (Endpoint::Candidates, 503),
        (Endpoint::Hooks, 429),
        (Endpoint::Referentials, 503),
    ] {
        let plan = Plan::sized(5, 5).with("TENANTS__ACME__REFERENTIALS", "countries").stopped();
        let mut world = World::start(plan).await;
        let fault = Fault::new(endpoint, FaultKind::Status { code, retry_after: Some(120) }).times(1);
        if matches!(endpoint, Endpoint::Hooks | Endpoint::Referentials) {
            world.simulator.add_fault(fault);
            world.start_service().await;
        } else {
            world.start_service().await;
            world.settle().await;
            world.simulator.expire_tokens();
            world.simulator.add_fault(fault);
            world.simulator.edit_candidate(&candidates(&world)[0]).unwrap();
            world.simulator.flush().await;
        }
        world
            .until("it was throttled", async |world: &World| {
                world.simulator.count_requests(|request| request.status == code) == 1
            })
            .await;
        let before = quiet(&world).await;
        let since = world.clock.now();
        for key in live_vacancies(&world) {
            world.simulator.edit_vacancy(&key).unwrap();
        }
        world.simulator.flush().await;
        while world.clock.now() < since + Duration::from_secs(100) {
            world.turn(Duration::from_secs(4));
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(world.last_request(), before, "a call during the pause that {endpoint:?} asked for");
        }
        world.settle().await;
        assert_eq!(count(&world, "select count(*) from subject where attempts > 0").await, 0);
        assert_eq!(count(&world, "select coalesce(sum(attempts), 0)::bigint from report_item").await, 0);
        // Where the hooks came late, nobody heard of the changes.
        world.sweep(&[cegid_indexer::sweeps::Use::Incremental]).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_throttle_until_a_date_is_waited_for() {
    let (mut world, between) = Between::world(Plan::sized(5, 5)).await;
    world.start_service().await;
    world.settle().await;
    let date = (world.clock.now() + Duration::from_secs(300)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    between.tell(VACANCIES, 1, Instead::Answer(503, vec![("retry-after", date)], Vec::new()));
    let (since, before) = (world.clock.now(), world.last_request());
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.simulator.flush().await;
    world.until("it was read", async |world: &World| world.export_calls(VACANCIES, before) > 0).await;
    assert!(world.clock.now() >= since + Duration::from_secs(300));
    world.end().await;
}

#[tokio::test]
async fn a_rotated_secret_is_told_from_a_disabled_application() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    world.simulator.refuse_credentials(true);
    world.simulator.expire_tokens();
    let (since, before) = (world.clock.now(), world.simulator.token_calls());
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    for key in candidates(&world) {
        world.simulator.edit_candidate(&key).unwrap();
    }
    world.simulator.flush().await;
    until_standing(&world, "credentials", "refused").await;
    while world.clock.now() < since + Duration::from_secs(280) {
        world.turn(Duration::from_secs(4));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.simulator.token_calls() - before, 3, "calls before the first probe");
    assert_eq!(world.ledger().await.dead, 0);
    world.assert_all_accepted();
    // Callbacks are signed with the same secret.
    world.simulator.set_signing_secret("another-secret-0002");
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.simulator.flush().await;
    until_standing(&world, "credentials", "secret_changed").await;
    world.simulator.set_signing_secret(SECRET);
    world.simulator.refuse_credentials(false);
    until_standing(&world, "ok", "none").await;
    world.simulator.edit_vacancy(&live_vacancies(&world)[0]).unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_right_that_is_missing_for_reports_stops_reports_alone() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Reports, FaultKind::Status { code: 403, retry_after: None }));
    let before = world.last_request();
    for key in live_vacancies(&world).iter().take(4) {
        world.simulator.edit_vacancy(key).unwrap();
        world.simulator.flush().await;
        let reports = world.export_calls(REPORTS, before);
        world
            .until("it is settled and the reports were tried", async |world: &World| {
                unsettled(world).await == 0 && world.export_calls(REPORTS, before) > reports
            })
            .await;
    }
    let spacing = spacing(&world, REPORTS, before);
    // The first refusal has a control sent at once.
    assert!(spacing.iter().skip(1).all(|seconds| *seconds >= 300), "{spacing:?}");
    until_standing(&world, "ok", "none").await;
    world.simulator.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn a_scope_that_may_not_register_hooks_stops_hooks_alone() {
    let mut plan = Plan::sized(5, 5).stopped();
    plan.simulator.hook_scope = Some("Customer".into());
    let mut world = World::start(plan).await;
    world.start_service().await;
    world.until("everything is loaded", async |world: &World| world.loaded().await).await;
    world.until("it was tried four times", async |world: &World| world.export_calls(WEBHOOKS, 0) == 4).await;
    let spacing = spacing(&world, WEBHOOKS, 0);
    assert!(spacing.iter().all(|seconds| *seconds >= 300), "{spacing:?}");
    assert!(world.simulator.hooks().is_empty());
    until_standing(&world, "ok", "none").await;
    world.assert_equal_to_truth().await;
    world.leave().await;
}

#[tokio::test]
async fn no_token_for_the_hooks_scope_alone_stops_hooks_alone() {
    let (mut world, between) = Between::world(Plan::sized(5, 5).with("TENANTS__ACME__HOOK_SCOPE", "Nothing")).await;
    let refused = Instead::Answer(400, Vec::new(), br#"{"error":"invalid_scope"}"#.to_vec());
    between.tell_about("/api/token", "scope=Nothing", u64::MAX, refused);
    world.start_service().await;
    world.until("everything is loaded", async |world: &World| world.loaded().await).await;
    let since = world.clock.now();
    let before = between.answered();
    world.until("it was tried three times more", async |_: &World| between.answered() == before + 3).await;
    let took = (world.clock.now() - since).num_seconds();
    assert!(took > 600, "{took} s");
    until_standing(&world, "ok", "none").await;
    between.forget();
    world.end().await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_good_tokens_does_not_stop_the_others() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Reports, FaultKind::Status { code: 401, retry_after: None }));
    let before = world.last_request();
    for key in live_vacancies(&world).iter().take(12) {
        world.simulator.edit_vacancy(key).unwrap();
        world.simulator.flush().await;
        world.pass(MINUTE * 5).await;
        world.until("it is settled", async |world: &World| unsettled(world).await == 0).await;
    }
    // Each attempt is made twice, the second time with a new token.
    let reports = world.export_calls(REPORTS, before);
    assert!((6..=40).contains(&reports), "{reports} reports in an hour");
    world.simulator.clear_faults();
    world.end().await;
}
