//! Requests that somebody recorded, or signed with what he has: they cost a fetch, and tell nothing.

use std::time::Duration;

use cegid_indexer::domain::Kind;

use super::{EVENTS, LATER, signed_target};
use crate::harness::{CLIENT_ID, Plan, SECRET, World, raw};

const VACANCIES: &str = "/api/exports/v1/vacancies";
const EXPIRES: (&str, &str) = ("X-TS-REC-Expires", LATER);

/// What anybody can do with a request that he has seen: send it again, with this body.
async fn replay(world: &World, body: &str) -> u16 {
    raw::send(&world.public, "POST", &signed_target(), &[EXPIRES], body.as_bytes()).await.status
}

#[tokio::test]
async fn a_capture_sent_again_and_again_is_stored_and_changes_nothing() {
    let world = World::start(Plan::sized(12, 6)).await;
    world.settle().await;
    let keys: Vec<String> = world.indexed(Kind::Vacancy).await.into_keys().collect();
    let body = |key: &str| format!(r#"{{"event_type":"vacancy_update","reference":"{key}"}}"#);
    let held = (world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await);
    let before = world.last_request();
    for _ in 0..40 {
        assert_eq!(replay(&world, &body(&keys[0])).await, 200);
    }
    // The same capture about what it was never about: others' records, records that are not there, other words.
    let forged = [
        body(&keys[1]),
        body("2026-nobody"),
        r#"{"event_type":"vacancy_deleted","reference":"KEY"}"#.replace("KEY", &keys[2]),
        r#"{"event_type":"applicant_new","applicantId":"nobody"}"#.to_owned(),
        r#"{"event_type":"delete_everything","reference":"KEY","offerDetail":{"title":"forged"}}"#
            .replace("KEY", &keys[3]),
    ];
    for body in &forged {
        assert_eq!(replay(&world, body).await, 200);
    }
    let ledger = world.ledger().await;
    assert_eq!(ledger.received, 45);
    world.settle().await;
    assert_eq!((world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await), held);
    let calls = world.export_calls(VACANCIES, before);
    assert!(calls < 15, "{calls} calls for 43 deliveries about five vacancies");

    // What has gone does not come back by a request from before.
    world.simulator.delete_vacancy(&keys[0]).unwrap();
    world.settle().await;
    for _ in 0..3 {
        assert_eq!(replay(&world, &body(&keys[0])).await, 200);
        world.settle().await;
    }
    assert!(!world.indexed(Kind::Vacancy).await.contains_key(&keys[0]));
    world.end_having_sent().await;
}

#[tokio::test]
async fn a_capture_is_refused_when_its_time_is_over_even_with_a_later_one() {
    let world = World::start(Plan::sized(0, 0)).await;
    let query = format!("client_id={CLIENT_ID}");
    let target = format!("{EVENTS}?{query}&signature={}", raw::signature("POST", EVENTS, SECRET, &query));
    let send = async |expires| raw::send(&world.public, "POST", &target, &[("X-TS-REC-Expires", expires)], b"").await;
    assert_eq!(send("1789000300").await.status, 200);
    world.turn(Duration::from_secs(360));
    assert_eq!(send("1789000300").await.status, 200, "within the allowance for clocks");
    world.turn(Duration::from_secs(1));
    assert_eq!(send("1789000300").await.status, 403);
    // The expiry is signed.
    assert_eq!(send(LATER).await.status, 403);
    assert_eq!(world.ledger().await.received, 2);
    world.leave().await;
}

#[tokio::test]
async fn no_tenants_secret_lets_anything_in_for_another() {
    let tenants = [
        ("acme", CLIENT_ID, SECRET),
        ("beta", "22222222-2222-3333-4444-555555555555", "test-secret-0002"),
        ("gamma", "33333333-2222-3333-4444-555555555555", "test-secret-0003"),
    ];
    let plan = Plan::sized(0, 0)
        .with("TENANTS__BETA__BASE_URL", "http://127.0.0.1:9")
        .with("TENANTS__BETA__CLIENT_ID", tenants[1].1)
        .with("TENANTS__BETA__CLIENT_SECRET", tenants[1].2)
        .with("TENANTS__GAMMA__BASE_URL", "http://127.0.0.1:9")
        .with("TENANTS__GAMMA__CLIENT_ID", tenants[2].1)
        .with("TENANTS__GAMMA__CLIENT_SECRET", tenants[2].2);
    let world = World::start(plan).await;
    let mut let_in = Vec::new();
    let mut refusals = Vec::new();
    for named in [None, Some("acme"), Some("beta"), Some("gamma")] {
        for (whose, client, _) in tenants {
            for (signer, _, secret) in tenants {
                let step = named.map(|name| format!("/{name}")).unwrap_or_default();
                let path = format!("/api/talentsoft/v1{step}/events");
                let query = format!("client_id={client}");
                let signature = raw::signature_until("POST", &path, secret, &query, LATER);
                let key = format!("{}-{whose}-{signer}", named.unwrap_or("any"));
                let body = format!(r#"{{"event_type":"vacancy_update","reference":"{key}"}}"#);
                let target = format!("{path}?{query}&signature={signature}");
                let answer = raw::send(&world.public, "POST", &target, &[EXPIRES], body.as_bytes()).await;
                if whose == signer && named.is_none_or(|name| name == whose) {
                    assert_eq!(answer.status, 200, "{key}");
                    let_in.push((whose.to_owned(), key));
                } else {
                    assert_eq!(answer.status, 403, "{key}");
                    refusals.push(answer);
                }
            }
        }
    }
    let_in.sort();
    let stored: Vec<(String, String)> = sqlx::query_as("select tenant, key from delivery order by tenant, key")
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    assert_eq!(stored, let_in);
    assert_eq!((let_in.len(), refusals.len()), (6, 30));
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "refusals differ: {refusals:#?}");
    world.leave().await;
}

/// That both do the same work besides is for the verifier's own tests: an unknown client takes the same path.
#[tokio::test]
async fn a_stranger_is_answered_the_same_and_without_a_word_to_the_database() {
    let world = World::start(Plan::sized(0, 0)).await;
    let mut held = world.database.begin().await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select quote_ident(table_name) from information_schema.tables where table_schema = 'public'",
    )
    .fetch_all(&mut *held)
    .await
    .unwrap();
    let lock = format!("lock table {} in access exclusive mode", tables.join(", "));
    sqlx::query(sqlx::AssertSqlSafe(lock)).execute(&mut *held).await.unwrap();
    let target = |client: &str, secret: &str| {
        let query = format!("client_id={client}");
        format!("{EVENTS}?{query}&signature={}", raw::signature_until("POST", EVENTS, secret, &query, LATER))
    };
    let nobody = "99999999-2222-3333-4444-555555555555";
    let mut answers = Vec::new();
    for target in [
        target(CLIENT_ID, "another secret"),
        target(nobody, "another secret"),
        target(nobody, SECRET),
        target(CLIENT_ID, SECRET).replace("/acme/", "/nobody/"),
        target(nobody, SECRET).replace("/acme/", "/nobody/"),
    ] {
        let sending = raw::send(&world.public, "POST", &target, &[EXPIRES], b"{}");
        let answer = tokio::time::timeout(Duration::from_secs(60), sending).await;
        answers.push(answer.expect("it waits for the database"));
    }
    assert_eq!(answers[0].status, 403);
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    // What is to be stored does wait, so that the above is seen to be locked.
    let genuine = raw::send(&world.public, "POST", &target(CLIENT_ID, SECRET), &[EXPIRES], b"{}").await;
    assert_eq!(genuine.status, 503);
    drop(held);
    world.leave().await;
}
