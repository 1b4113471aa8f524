//! What operators and on-call people rely on: health, stops, settings, and what logs do not say.

use std::{collections::HashMap, process::Stdio};

use cegid_simulator::{Endpoint, Fault, FaultKind, RawCallback};
use private_postgres::{Options, Server};

use crate::harness::{Plan, SECRET, World, process, raw};

const EVENTS: &str = "/api/talentsoft/v1/acme/events";

fn callback(world: &World) -> RawCallback {
    RawCallback {
        url: format!("{}{EVENTS}", world.public),
        body: br#"{"event_type":"vacancy_update","reference":"x"}"#.to_vec(),
        ..RawCallback::default()
    }
}

#[tokio::test]
async fn without_its_database_the_service_lives_refuses_with_retry_after_and_recovers() {
    let server = tokio::task::spawn_blocking(|| Server::start_blocking(Options::from_env()).unwrap()).await.unwrap();
    let world = World::start(Plan::sized(3, 3).with("DATABASE__URL", server.url("postgres"))).await;
    world.settle().await;
    server.stop_postgres().unwrap();
    let refused = world.simulator.send_raw(&callback(&world)).await;
    assert!(matches!(refused.outcome, cegid_simulator::Outcome::Answered(503)), "{:?}", refused.outcome);
    world.until("it is not ready", async |world: &World| world.get(&world.public, "/readyz").await.0 == 503).await;
    assert_eq!(world.get(&world.public, "/livez").await.0, 200);
    world
        .until("it says why", async |world: &World| {
            world.get(&world.operators, "/readyz?verbose").await.1.contains("away")
        })
        .await;
    server.start_again().unwrap();
    world.until("it is ready again", async |world: &World| world.get(&world.public, "/readyz").await.0 == 200).await;
    world
        .until("callbacks are taken again", async |world: &World| {
            world.simulator.send_raw(&callback(world)).await.accepted()
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_refusal_for_want_of_the_database_says_when_to_come_again() {
    let plan = Plan::sized(0, 0).with("DATABASE__URL", "postgres://postgres@127.0.0.1:9/nothing").stopped();
    let mut world = World::start(plan).await;
    world.start_without_waiting().await;
    let id = "client_id=11111111-2222-3333-4444-555555555555";
    let target = format!("{EVENTS}?{id}&signature={}", raw::signature("POST", EVENTS, SECRET, id));
    let answer = raw::send(&world.public, "POST", &target, &[("X-TS-REC-Expires", "1789000300")], b"").await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.iter().any(|header| header.starts_with("retry-after:")), "{answer:?}");
    assert_eq!(world.get(&world.public, "/livez").await.0, 200);
    assert_eq!(world.get(&world.public, "/readyz").await.0, 503);
    world.leave().await;
}

#[tokio::test]
async fn from_the_moment_of_a_stop_it_is_not_ready_and_still_lives_and_receives() {
    let mut world = World::start(Plan::sized(3, 3).with("SHUTDOWN__ANNOUNCE", "700ms")).await;
    world.settle().await;
    world.stop().drain();
    assert_eq!(world.get(&world.public, "/readyz").await.0, 503);
    assert_eq!(world.get(&world.public, "/livez").await.0, 200);
    assert!(world.simulator.send_raw(&callback(&world)).await.accepted());
    world.stop_service().await;
    assert_eq!(world.get(&world.public, "/livez").await.0, 0);
    assert_eq!(world.ledger().await.received, 1);
    world.simulator.stop().await;
}

#[test]
fn check_lists_every_problem_and_ends_with_78() {
    let environment = HashMap::from([
        ("CEGID_INDEXER__DATABASE__URL".to_owned(), "postgres://localhost/x".to_owned()),
        ("CEGID_INDEXER__EXPORT__PAGE_SIZE".to_owned(), "500".to_owned()),
        ("CEGID_INDEXER__TENANTS__ACME__CLIENT_SECRET".to_owned(), "do-not-show".to_owned()),
        ("CEGID_INDEXER__TENANTS__ACME__COLOUR".to_owned(), "blue".to_owned()),
    ]);
    let output = process::run(&["check"], &environment);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    for key in
        ["export.page_size", "public_url", "tenants.acme.base_url", "tenants.acme.client_id", "tenants.acme.colour"]
    {
        assert!(text.contains(key), "{key} is not named:\n{text}");
    }
    assert!(!text.contains("do-not-show"));
    let output = process::run(&["serve"], &environment);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn check_accepts_right_settings_without_a_database() {
    let environment = HashMap::from(
        [
            ("DATABASE__URL", "postgres://nobody@127.0.0.1:1/nothing"),
            ("PUBLIC_URL", "https://indexer.example.com"),
            ("TENANTS__ACME__BASE_URL", "https://acme.example.com"),
            ("TENANTS__ACME__CLIENT_ID", "11111111-2222-3333-4444-555555555555"),
            ("TENANTS__ACME__CLIENT_SECRET", "do-not-show"),
        ]
        .map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value.to_owned())),
    );
    let output = process::run(&["check"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"the settings are right: 1 tenants\n");
}

#[tokio::test]
async fn the_health_check_asks_the_service_on_this_machine() {
    let mut world = World::start(Plan::sized(0, 0)).await;
    let environment = world.environment();
    let ask = async || {
        let environment = environment.clone();
        tokio::task::spawn_blocking(move || process::run(&["healthcheck"], &environment)).await.unwrap()
    };
    assert!(ask().await.status.success());
    world.stop_service().await;
    assert_eq!(ask().await.status.code(), Some(1));
    world.simulator.stop().await;
}

#[tokio::test]
async fn no_log_line_metric_or_refusal_holds_a_secret_a_signature_or_a_person() {
    let plan =
        Plan::sized(10, 30).with("LOG__LEVEL", "debug").with("LOG__FORMAT", "json").with("WORKER__CONFIRM_AFTER", "1s");
    let world = World::start(plan.stopped()).await;
    world.simulator.follow_system_time();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut service = std::process::Command::new(env!("CARGO_BIN_EXE_cegid-indexer"))
        .arg("serve")
        .envs(world.environment())
        .stdin(Stdio::null())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    world
        .until_by_itself("the load is done", async |world: &World| {
            world.registered().await && world.loaded().await && world.ledger().await.balances()
        })
        .await;
    for endpoint in [Endpoint::Candidates, Endpoint::Reports, Endpoint::Token] {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::JsonError).times(1));
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Status { code: 500, retry_after: None }).times(1));
    }
    for code in [200, 400] {
        world.simulator.add_fault(Fault::new(Endpoint::Token, FaultKind::Echo { code }).times(1));
    }
    world.simulator.expire_tokens();
    for _ in 0..80 {
        world.simulator.change_at_random();
    }
    world.simulator.flush().await;
    raw::send(&world.public, "POST", &format!("{EVENTS}?client_id=x&signature=CANARYSIGNATURE"), &[], b"CANARYBODY")
        .await;
    world
        .until_by_itself("everything is settled and told", async |world: &World| world.ledger().await.balances())
        .await;
    let echoed = |request: &cegid_simulator::RequestRow| request.note.contains("echo");
    assert_eq!(world.simulator.count_requests(echoed), 2);
    let metrics = world.get(&world.operators, "/metrics").await.1;
    let _ended = service.kill();
    service.wait().unwrap();
    let lines = std::fs::read_to_string(log.path()).unwrap();
    assert!(lines.lines().count() > 20 && metrics.len() > 1000, "{lines}\n{metrics}");
    let raws: Vec<String> = sqlx::query_scalar("select raw from document where kind = 'candidate'")
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    let mut canaries = vec![SECRET.to_owned(), "CANARYSIGNATURE".into(), "CANARYBODY".into(), "signature=".into()];
    for raw in &raws {
        let detail: serde_json::Value = serde_json::from_str(raw).unwrap();
        for member in ["id", "email", "lastName"] {
            canaries.extend(detail["candidateDetail"][member].as_str().map(str::to_owned));
        }
    }
    canaries
        .extend(world.simulator.sent().iter().filter_map(|sent| Some(sent.url.split("signature=").nth(1)?.to_owned())));
    assert!(canaries.len() > 60, "{}", canaries.len());
    for canary in canaries.iter().filter(|canary| canary.len() > 3) {
        assert!(
            !lines.contains(canary.as_str()),
            "the log holds a canary:\n{}",
            lines.lines().find(|line| line.contains(canary.as_str())).unwrap_or_default()
        );
        assert!(!metrics.contains(canary.as_str()), "the metrics hold a canary");
    }
    world.leave().await;
}

#[tokio::test]
async fn operators_are_answered_under_known_names_alone_and_health_under_any() {
    let world = World::start(Plan::sized(1, 1).with("OPS__HOSTS", "indexer.internal")).await;
    world.settle().await;
    let ask = async |world: &World, host: &'static str, path: &str| {
        let request = world.http.get(format!("{}{path}", world.operators)).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/metrics", "/api/v1/tenants", "/api/v1/tenants/acme/candidates?q=x"] {
        for (host, status) in [
            ("localhost:9090", 200),
            ("10.0.3.7", 200),
            ("indexer.internal:9090", 200),
            ("evil.example.com", 421),
            ("127.0.0.1.evil.example.com:9090", 421),
        ] {
            assert_eq!(ask(&world, host, path).await, status, "{path} under {host}");
        }
    }
    assert_eq!(ask(&world, "any.example.com", "/readyz").await, 200);
    assert_eq!(ask(&world, "any.example.com", "/livez").await, 200);
    world.end().await;
}

#[tokio::test]
async fn tenants_that_left_the_settings_are_named_at_the_start_until_they_are_disconnected() {
    let mut world = World::start(Plan::sized(1, 1)).await;
    world.settle().await;
    world.stop_service().await;
    world.simulator.follow_system_time();
    let mut environment = world.environment();
    environment.retain(|key, _| !key.contains("__TENANTS__"));
    environment.insert("CEGID_INDEXER__LOG__LEVEL".to_owned(), "info".to_owned());
    let starts = async |environment: &HashMap<String, String>| {
        let log = tempfile::NamedTempFile::new().unwrap();
        let service = process::Service::start_logging(environment, log.reopen().unwrap());
        let says = || std::fs::read_to_string(log.path()).unwrap();
        let ready = async |_: &World| says().contains("the schema is current");
        world.until_by_itself("it has started", ready).await;
        service.kill();
        says()
    };
    let says = starts(&environment).await;
    assert!(
        says.contains("the database holds tenants that the settings do not name") && says.contains("acme"),
        "{says}"
    );
    let disconnected = process::run(&["tenant", "disconnect", "acme", "--yes"], &environment);
    assert!(disconnected.status.success());
    let says = starts(&environment).await;
    assert!(!says.contains("tenants that the settings do not name"), "{says}");
    world.leave().await;
}
