//! Resumes of candidates: kept where they are asked for, within limits, and gone with their owner.

use std::{collections::BTreeMap, fs, time::Duration};

use cegid_indexer::domain::Kind;
use cegid_simulator::{Endpoint, Fault, FaultKind};
use serde_json::json;

use crate::harness::{Plan, World};

const CANDIDATES: &str = "/api/exports/v1/candidates";

fn keeping(candidates: usize) -> Plan {
    Plan::sized(2, candidates).with("TENANTS__ACME__ATTACHMENTS", "resumes")
}

/// Ids of what is kept, by owner; every content is looked at.
async fn kept(world: &World) -> BTreeMap<String, Vec<String>> {
    let rows: Vec<(String, String, String, i32, Vec<u8>)> =
        sqlx::query_as("select key, id, mime_type, size, content from attachment order by key, id")
            .fetch_all(world.database.pool())
            .await
            .unwrap();
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, id, mime_type, size, content) in rows {
        assert_eq!(mime_type, "application/pdf");
        assert!(content.starts_with(b"%PDF-1.4") && content.ends_with(b"%%EOF\n") && content.len() == size as usize);
        kept.entry(key).or_default().push(id);
    }
    kept
}

/// What should be kept: the resume of everybody who has one.
fn resumes(world: &World) -> BTreeMap<String, Vec<String>> {
    let truth = world.simulator.truth().into_iter().filter(|row| row.present && !row.anonymised);
    truth.filter_map(|row| Some((row.key, vec![row.resume?]))).collect()
}

fn somebody(world: &World) -> String {
    resumes(world).into_keys().next().expect("somebody with a resume")
}

/// Counter `resumes_listed` of an outcome.
async fn counted(world: &World, outcome: &str) -> u64 {
    let page = world.get(&world.operators, "/metrics").await.1;
    let line = format!("cegid_indexer_resumes_listed_total{{tenant=\"acme\",outcome=\"{outcome}\"}} ");
    page.lines().find_map(|at| at.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn nothing_is_kept_unless_the_settings_ask_for_it() {
    let world = World::start(Plan::sized(2, 20)).await;
    world.settle().await;
    world.simulator.replace_resume(&somebody(&world)).unwrap();
    world.settle().await;
    assert!(kept(&world).await.is_empty());
    let asked = |request: &cegid_simulator::RequestRow| request.path == CANDIDATES;
    let resumes_alone = |request: &cegid_simulator::RequestRow| request.query.contains("attachmenttype=resume");
    assert!(world.simulator.count_requests(asked) > 0);
    assert_eq!(world.simulator.count_requests(|request| asked(request) && !resumes_alone(request)), 0);
    world.end().await;
}

#[tokio::test]
async fn resumes_are_kept_replaced_and_gone_with_their_owner() {
    let world = World::start(keeping(25)).await;
    world.settle().await;
    let at_first = kept(&world).await;
    assert_eq!(at_first, resumes(&world));
    let mut owners = at_first.keys().cloned();
    let (replaced, anonymised, removed) = (owners.next().unwrap(), owners.next().unwrap(), owners.next().unwrap());

    world.simulator.replace_resume(&replaced).unwrap();
    world.settle().await;
    let after = kept(&world).await;
    assert_eq!(after, resumes(&world));
    assert!(after[&replaced].len() == 1 && after[&replaced] != at_first[&replaced]);

    world.simulator.anonymise_candidate(&anonymised).unwrap();
    world.settle().await;
    assert!(!kept(&world).await.contains_key(&anonymised));

    world.simulator.delete_candidate(&removed).unwrap();
    world.simulator.announce("applicant_update", &removed);
    world.simulator.flush().await;
    world
        .until("the removal is confirmed", async |world: &World| {
            !world.indexed(Kind::Candidate).await.contains_key(&removed)
        })
        .await;
    let left = kept(&world).await;
    assert!(!left.contains_key(&removed));
    assert_eq!(left, resumes(&world));

    let (_, item) = world.get(&world.operators, &format!("/api/v1/tenants/acme/candidates/{replaced}")).await;
    assert!(item.contains("\"attachments\":1"), "{item}");
    let (_, list) = world.get(&world.operators, "/api/v1/tenants/acme/candidates?limit=100").await;
    let shown = [item, list, world.get(&world.operators, "/metrics").await.1].concat();
    assert!(!shown.contains(".pdf") && !shown.contains("PDF") && !shown.contains(&after[&replaced][0]));
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_kept_already_is_not_written_again() {
    let world = World::start(keeping(5)).await;
    world.settle().await;
    let key = somebody(&world);
    let row = async || {
        sqlx::query_as::<_, (i64, chrono::DateTime<chrono::Utc>)>(
            "select read_number, kept_at from attachment where key = $1",
        )
        .bind(&key)
        .fetch_one(world.database.pool())
        .await
        .unwrap()
    };
    let before = row().await;
    world.turn(Duration::from_secs(60));
    // The simulator's CV says nothing about the candidate's title.
    world.simulator.edit_candidate(&key).unwrap();
    world.settle().await;
    let after = row().await;
    assert!(after.0 > before.0 && after.1 == before.1, "{before:?} {after:?}");
    world.end().await;
}

#[tokio::test]
async fn a_file_over_the_size_or_of_another_type_is_left_out_and_its_record_kept() {
    let limit = "1000";
    for (key, value, outcome) in [
        ("TENANTS__ACME__ATTACHMENT_LIMIT", limit, "too_large"),
        ("TENANTS__ACME__ATTACHMENT_TYPES", "text/plain", "type"),
    ] {
        let world = World::start(keeping(10).with(key, value)).await;
        world.settle().await;
        assert!(kept(&world).await.is_empty(), "{outcome}");
        assert!(counted(&world, outcome).await >= resumes(&world).len() as u64 && !resumes(&world).is_empty());
        assert_eq!(counted(&world, "kept").await, 0);
        world.end().await;
    }
}

#[tokio::test]
async fn a_file_that_is_listed_and_not_there_costs_nobody_else_anything() {
    let records = tempfile::tempdir().unwrap();
    let file = |id: &str, resume: bool| json!({"id": id, "isResume": resume, "mimeType": "application/pdf", "filename": format!("{id}.pdf")});
    let person = json!({
        "candidateDetail": {"id": "given-1", "lastName": "Exemple", "isAnonymized": false, "title": "Soudeuse",
                            "creationDate": "2026-09-01T00:00:00.000Z"},
        "attachments": [file("absent", true), file("there", true), file("letter", false)]
    });
    fs::write(records.path().join("person.json"), person.to_string()).unwrap();
    for name in ["there", "letter"] {
        fs::write(records.path().join(name), "%PDF-1.4 ... %%EOF\n").unwrap();
    }
    let mut plan = keeping(3);
    plan.simulator.records = Some(records.path().to_owned());
    let world = World::start(plan).await;
    world.settle().await;
    assert_eq!(kept(&world).await["given-1"], ["there"]);
    assert!(counted(&world, "missing").await >= 1);
    assert!(world.indexed(Kind::Candidate).await.contains_key("given-1"));
    world.end().await;
}

#[tokio::test]
async fn an_answer_is_read_as_far_as_it_can_be_held_and_the_rest_is_asked_for_without_a_pause() {
    // A handful of resumes; one file fits.
    let plan = keeping(60).with("EXPORT__KEPT_LIMIT", "12000").with("TENANTS__ACME__ATTACHMENT_LIMIT", "12000");
    let world = World::start(plan).await;
    world.settle().await;
    assert_eq!(kept(&world).await, resumes(&world));
    let loading = world.export_calls(CANDIDATES, 0);
    assert!(loading > 8, "{loading} calls: no answer was left before its end");

    let before = world.last_request();
    for key in resumes(&world).keys() {
        world.simulator.replace_resume(key).unwrap();
    }
    world.settle().await;
    assert_eq!(kept(&world).await, resumes(&world));
    assert!(world.export_calls(CANDIDATES, before) > 8);
    let failed: i64 = sqlx::query_scalar("select count(*) from subject where last_error is not null")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(failed, 0);
    let metrics = world.get(&world.operators, "/metrics").await.1;
    let calls = metrics.lines().filter(|line| line.contains("cegid_calls") && line.contains("candidates"));
    for line in calls {
        assert!(line.contains("class=\"ok\""), "a failure of Cegid was counted: {line}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_slow_older_read_does_not_bring_an_older_resume_back() {
    let mut world = World::start(keeping(20).stopped()).await;
    world.simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold).times(1));
    world.start_service().await;
    world.until("the page is kept back", async |world: &World| world.simulator.held() == 1).await;
    world.until("hooks are registered", async |world: &World| world.registered().await).await;
    let in_page = world.simulator.requests().into_iter().find(|row| row.path == CANDIDATES).unwrap();
    let since = in_page.query.split("ge%3A").nth(1).map(|date| date[..10].to_owned()).unwrap_or_default();
    let truth = world.simulator.truth().into_iter();
    let mut shown = truth.filter(|row| row.resume.is_some() && row.updated.to_rfc3339() >= since);
    let key = shown.next().expect("somebody of the newest window with a resume").key;
    world.simulator.replace_resume(&key).unwrap();
    let newer = resumes(&world)[&key].clone();
    world.simulator.flush().await;
    world.until("the newer read is settled", async |world: &World| kept(world).await.get(&key) == Some(&newer)).await;
    world.simulator.release_held();
    world.settle().await;
    assert_eq!(kept(&world).await, resumes(&world));
    world.end().await;
}

#[tokio::test]
async fn what_the_settings_no_longer_ask_for_is_deleted_at_the_next_start() {
    let mut world = World::start(keeping(20)).await;
    world.settle().await;
    let largest: i32 =
        sqlx::query_scalar("select max(size) from attachment").fetch_one(world.database.pool()).await.unwrap();
    let (all, limit) = (kept(&world).await.len(), largest - 1);
    for (key, value, empty) in [
        ("TENANTS__ACME__ATTACHMENT_LIMIT", limit.to_string(), false),
        ("TENANTS__ACME__ATTACHMENTS", "none".into(), true),
    ] {
        world.stop_service().await;
        world.set(key, &value);
        world.start_service().await;
        world
            .until("it is deleted", async |world: &World| {
                let left = kept(world).await.len();
                left < all && (left == 0) == empty
            })
            .await;
    }
    world.end().await;
}
