//! Lists that shift, end early, repeat themselves or flicker, and pages that are
//! none.

use std::collections::{BTreeSet, HashSet};

use cegid_simulator::{Change, Config, Endpoint, Fault, FaultKind, ListOrder, Simulator};
use futures_util::StreamExt as _;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::partner::Partner;
use crate::{config, start};

const VACANCIES: &str = "/api/exports/v1/vacancies";

/// The references on a page, in its order.
async fn page(partner: &Partner, offset: usize, limit: usize) -> Vec<String> {
    let query = [("offset", &*offset.to_string()), ("limit", &*limit.to_string())];
    let page = partner.export("vacancies", &query).await;
    let reference = |entries: &std::collections::BTreeMap<String, Vec<u8>>| {
        let detail: Value = serde_json::from_slice(&entries["offerdetail"]).expect("JSON");
        detail["offerDetail"]["reference"].as_str().expect("a reference").to_owned()
    };
    page.iter().map(reference).collect()
}

/// All references that a walk finds, page by page until an empty one.
async fn walk(partner: &Partner, limit: usize) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let found = page(partner, seen.len(), limit).await;
        if found.is_empty() {
            return seen;
        }
        seen.extend(found);
    }
}

fn present(simulator: &Simulator) -> Vec<String> {
    simulator.truth().into_iter().filter(|row| row.kind == "vacancy" && row.present).map(|row| row.key).collect()
}

#[tokio::test]
async fn a_change_after_the_second_page_shifts_the_third() {
    let (simulator, partner) = start(config()).await;
    let all = present(&simulator);
    simulator.after_page(2, Change::DeleteVacancy { key: all[0].clone() });
    simulator.after_page(1, Change::DeleteCandidate { key: "_TS-00003".into() });
    // A page asked for by key is no list, an empty page is none either.
    partner.export("vacancies", &[("filter", &format!("reference::{}", all[1]))]).await;
    assert!(page(&partner, 1000, 100).await.is_empty());
    let seen = walk(&partner, 50).await;
    assert_eq!(seen.len(), 149);
    assert_eq!(seen[..100], all[..100]);
    assert_eq!(seen[100..], all[101..], "the 101st moved to the page before");
    assert_eq!(simulator.queued_callbacks(), 0);
    assert!(simulator.requests().iter().any(|row| row.note.contains("then DeleteVacancy")));
    assert!(simulator.truth_of("candidate", "_TS-00003").is_some_and(|row| row.present), "no page of candidates yet");
    partner.export("candidates", &[]).await;
    assert!(simulator.truth_of("candidate", "_TS-00003").is_some_and(|row| !row.present));
}

#[tokio::test]
async fn churn_changes_one_subject_after_every_page_and_is_the_same_for_a_seed() {
    let mut ends = Vec::new();
    for seed in [3, 3, 4] {
        let (simulator, partner) = start(Config { seed, ..config() }).await;
        let before = simulator.truth();
        simulator.churn_between_pages(true);
        walk(&partner, 10).await;
        simulator.churn_between_pages(false);
        let pages = simulator.count_requests(|row| row.path == VACANCIES && !row.note.starts_with("0 "));
        let after = simulator.truth();
        let made = after.len() - before.len();
        let old: HashSet<_> = before.iter().map(|row| (&row.key, row.version)).collect();
        let edited = after.iter().filter(|row| row.present && row.version > 1).count();
        let deleted = after.iter().filter(|row| !row.present).count();
        assert!(made > 0 && edited > 0 && deleted > 0, "{made} {edited} {deleted}");
        let versions: u64 = after.iter().map(|row| row.version - 1).sum();
        assert_eq!(u64::try_from(pages).expect("few"), versions + made as u64);
        assert_eq!(simulator.queued_callbacks(), 0);
        assert!(after.iter().any(|row| !old.contains(&(&row.key, row.version))));
        walk(&partner, 100).await;
        assert_eq!(simulator.truth().len(), after.len());
        ends.push(after.into_iter().map(|row| (row.key, row.version, row.present)).collect::<Vec<_>>());
    }
    assert_eq!(ends[0], ends[1]);
    assert_ne!(ends[0], ends[2]);
}

#[tokio::test]
async fn a_list_can_have_other_orders() {
    let (simulator, partner) = start(config()).await;
    let created = present(&simulator);
    simulator.set_list_order(ListOrder::NewestFirst);
    let newest: Vec<String> = created.iter().rev().cloned().collect();
    assert_eq!(walk(&partner, 60).await, newest);
    simulator.set_list_order(ListOrder::Update);
    let updated = || {
        let rows = simulator.truth().into_iter().filter(|row| row.kind == "vacancy" && row.present);
        let mut rows: Vec<_> = rows.map(|row| (row.updated, row.key)).collect();
        rows.sort_by_key(|(updated, _)| *updated);
        rows.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
    };
    assert_eq!(walk(&partner, 60).await, updated());
    assert_ne!(updated(), created);
    simulator.edit_silently(&updated()[0]).expect("an edit");
    let moved = updated();
    assert_eq!(walk(&partner, 60).await, moved);
    // Behind a lag the order is the old one too.
    simulator.set_export_lag(Some(std::time::Duration::from_secs(600)));
    let behind = walk(&partner, 60).await;
    assert_eq!((&behind[0], &behind[1..]), (&moved[149], &moved[..149]));
    simulator.set_export_lag(None);
    simulator.set_list_order(ListOrder::LastUpdateFirst);
    assert!(walk(&partner, 60).await.iter().eq(moved.iter().rev()));
    let _created = simulator.create_silently("vacancy");
    assert_eq!(walk(&partner, 60).await.len(), 151);
}

#[tokio::test]
async fn a_short_list_ends_cleanly_and_keys_are_still_found() {
    let (simulator, partner) = start(config()).await;
    let all = present(&simulator);
    simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Short { records: 45 }));
    assert_eq!(walk(&partner, 20).await, all[..45]);
    let last = format!("reference::{}", all[148]);
    assert_eq!(partner.export("vacancies", &[("filter", &last)]).await.len(), 1);
    simulator.clear_faults();
    simulator.add_fault(Fault::new(Endpoint::Any, FaultKind::Repeat).times(3));
    for offset in [0, 20, 40] {
        assert_eq!(page(&partner, offset, 20).await, all[..20]);
        assert_eq!(partner.export("vacancies", &[("filter", &last)]).await.len(), 1);
    }
    assert_eq!(page(&partner, 60, 20).await, all[60..80]);
}

#[tokio::test]
async fn records_flicker_and_a_whole_kind_can_be_hidden() {
    let (simulator, partner) = start(config()).await;
    let all: BTreeSet<String> = present(&simulator).into_iter().collect();
    simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Flicker { percent: 30 }).times(20));
    let mut seen = BTreeSet::new();
    let mut sizes = BTreeSet::new();
    for _ in 0..10 {
        let pages = [page(&partner, 0, 100).await, page(&partner, 100, 100).await].concat();
        assert!(pages.len() < 150 && pages.iter().all(|key| all.contains(key)));
        sizes.insert(pages.len());
        seen.extend(pages);
    }
    assert!(sizes.len() > 1 && seen == all, "each is there now and then");
    assert_eq!(walk(&partner, 100).await.len(), 150);
    simulator.hide_all("vacancy", true);
    assert!(walk(&partner, 100).await.is_empty());
    let named = format!("reference::{}", all.first().expect("a key"));
    assert!(partner.export("vacancies", &[("filter", &named)]).await.is_empty());
    assert_eq!(partner.export("candidates", &[]).await.len(), 20);
    simulator.hide_all("vacancy", false);
    assert_eq!(walk(&partner, 100).await.len(), 150);
}

#[tokio::test]
async fn sizes_that_are_none_come_after_whole_frames() {
    let (simulator, partner) = start(config()).await;
    // A frame holds the time it was made at, and two answers are compared here.
    simulator.set_now(simulator.now());
    let good = partner.get(VACANCIES, &[]).await.bytes().await.expect("a body");
    for (announced, frames) in [(0, 0), (-1, 2), (i32::MIN, 1), (1_000, 20)] {
        let kind = FaultKind::BadSize { announced, frames };
        simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
        let body = partner.get(VACANCIES, &[]).await.bytes().await.expect("a body");
        let whole = body.len() - 68;
        assert_eq!(body[..whole], good[..whole]);
        assert_eq!(body[whole..whole + 4], announced.to_le_bytes());
        assert_eq!(crate::partner::unpack(&body[..whole]).len(), frames);
    }
    let kind = FaultKind::Oversize { bytes: 300_000_000 };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
    let answer = partner.get(VACANCIES, &[]).await;
    let mut pieces = answer.bytes_stream();
    let mut head = Vec::new();
    while head.len() < 1_000_000 {
        head.extend_from_slice(&pieces.next().await.expect("more").expect("bytes"));
    }
    assert_eq!(head[..4], 300_000_000_u32.to_le_bytes());
    assert!(head[4..].iter().all(|byte| *byte == 0));
    drop(pieces);
    let small = FaultKind::Oversize { bytes: 100_001 };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, small).times(1));
    assert_eq!(partner.get(VACANCIES, &[]).await.bytes().await.expect("a body").len(), 100_005);
}

#[tokio::test]
async fn an_answer_can_point_elsewhere_or_name_a_date() {
    let (simulator, partner) = start(config()).await;
    simulator.set_now(chrono::DateTime::from_timestamp(784_111_777, 0).expect("a date"));
    let kind = FaultKind::StatusUntil { code: 503, seconds: 30 };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
    let answer = partner.get(VACANCIES, &[]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "Sun, 06 Nov 1994 08:50:07 GMT");
    simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::EmptyArray).times(1));
    let answer = partner.get(VACANCIES, &[]).await;
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(answer.text().await.expect("text"), "[]");

    let fault = json!({ "endpoint": "vacancies", "kind": "redirect", "location": "http://127.0.0.1:9/login" });
    let control = format!("{}/control/faults", simulator.base_url());
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    client.post(control).json(&fault).send().await.expect("an answer");
    let answer = client.get(simulator.base_url() + VACANCIES).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "http://127.0.0.1:9/login");

    simulator.clear_faults();
    // A token that is good is refused by one endpoint alone.
    let kind = FaultKind::Status { code: 401, retry_after: None };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, kind));
    simulator.follow_system_time();
    assert_eq!(partner.get(VACANCIES, &[]).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(partner.export("candidates", &[]).await.len(), 20);
}

#[tokio::test]
async fn lists_can_be_shifted_over_http() {
    let (simulator, partner) = start(config()).await;
    let post = async |path: &str, body: Value| {
        let request = partner.client.post(format!("{}/control/{path}", simulator.base_url())).json(&body);
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::OK, "{path}");
    };
    let all = present(&simulator);
    post("list-order", json!({ "order": "newest_first" })).await;
    assert_eq!(page(&partner, 0, 1).await, all[149..]);
    post("after-page", json!({ "page": 1, "do": "delete_vacancy", "key": all[149] })).await;
    assert_eq!(page(&partner, 0, 1).await, all[149..]);
    assert_eq!(page(&partner, 0, 1).await, all[148..149]);
    post("page-churn", json!({ "churn": true })).await;
    page(&partner, 0, 1).await;
    assert!(simulator.requests().last().is_some_and(|row| row.note.contains(", then ")));
    post("hidden", json!({ "kind": "vacancy", "hide": true })).await;
    assert!(page(&partner, 0, 1).await.is_empty());
}
