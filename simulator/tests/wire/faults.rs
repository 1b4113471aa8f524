//! What goes wrong when it is told to, and the control API that tells it.

use std::collections::BTreeMap;

use cegid_simulator::{Down, Endpoint, Fault, FaultKind, Spoil};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{config, start};

#[tokio::test]
async fn faults_hit_and_leave_a_story() {
    let (simulator, partner) = start(config()).await;
    let exports = "/api/exports/v1/vacancies";
    let kind = FaultKind::Status { code: 429, retry_after: Some(2) };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
    let answer = partner.get(exports, &[]).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "2");
    for (kind, size) in [
        (FaultKind::Truncate { bytes: 100 }, Some(100)),
        (FaultKind::Empty, Some(0)),
        (FaultKind::Garbage, Some(68)),
        (FaultKind::Break { bytes: 100 }, None),
    ] {
        simulator.add_fault(Fault::new(Endpoint::Vacancies, kind).times(1));
        let body = partner.get(exports, &[]).await.bytes().await;
        assert_eq!(body.ok().map(|body| body.len()), size);
    }
    simulator.add_fault(Fault::new(Endpoint::Any, FaultKind::Html).times(1));
    assert!(partner.get(exports, &[]).await.text().await.expect("text").starts_with("<!DOCTYPE"));
    let drip = FaultKind::Drip { bytes: 20_000, millis: 1 };
    simulator.add_fault(Fault::new(Endpoint::Vacancies, drip).times(1));
    assert_eq!(partner.export("vacancies", &[]).await.len(), 20);

    simulator.set_down(Down::Unreachable, None);
    let fresh = Client::builder().no_proxy().build().expect("a client");
    assert!(fresh.get(simulator.base_url() + exports).send().await.is_err());
    simulator.set_down(Down::No, None);
    assert_eq!(partner.export("vacancies", &[]).await.len(), 20);

    let story: Vec<String> = simulator.requests().iter().map(|row| row.line()).collect();
    assert!(story[0].contains("POST /api/token -> 200"), "{}", story[0]);
    assert!(story[1].contains("-> 429") && story[1].contains("fault"), "{}", story[1]);
    assert!(story.last().is_some_and(|line| line.contains("20 vacancies")));
}

#[tokio::test]
async fn a_held_answer_is_overtaken_and_a_spoiled_record_spoils_itself_alone() {
    let (simulator, partner) = start(config()).await;
    let key = "_TS-00004";
    let filter = [("filter", "id::_TS-00004,_TS-00005,_TS-00006")];
    simulator.add_fault(Fault::new(Endpoint::Candidates, FaultKind::Hold).times(1));
    let overtaking = async {
        simulator.wait_for(|simulator| simulator.held() == 1).await;
        simulator.edit_candidate(key).expect("an edit");
        let newer = partner.export("candidates", &filter).await;
        simulator.release_held();
        newer
    };
    let (older, newer) = tokio::join!(partner.export("candidates", &filter), overtaking);
    let text =
        |page: &[BTreeMap<String, Vec<u8>>]| String::from_utf8(page[0]["applicantdetail"].clone()).expect("text");
    assert!(!text(&older).contains("(v2)") && text(&newer).contains("(v2)"));

    simulator.spoil(key, Some(Spoil::BrokenJson));
    let page = partner.export("candidates", &filter).await;
    assert!(serde_json::from_slice::<Value>(&page[0]["applicantdetail"]).is_err());
    simulator.spoil(key, Some(Spoil::NoEntry));
    assert!(!partner.export("candidates", &filter).await[0].contains_key("applicantdetail"));
    simulator.spoil(key, Some(Spoil::Hidden));
    assert_eq!(partner.export("candidates", &filter).await.len(), 2);
    simulator.spoil(key, None);
    assert_eq!(partner.export("candidates", &filter).await.len(), 3);
    let long = format!("id::{}", "_TS-00004,".repeat(300));
    let answer = partner.get("/api/exports/v1/candidates", &[("filter", &long)]).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_control_api_changes_and_tells() {
    let (simulator, partner) = start(config()).await;
    let client = &partner.client;
    let control = simulator.base_url() + "/control";
    let change = json!({ "do": "create_vacancy" });
    let made = client.post(format!("{control}/changes")).json(&change).send().await;
    let made: Value = made.expect("an answer").json().await.expect("JSON");
    let key = made["key"].as_str().expect("a key");
    let change = json!({ "do": "set_vacancy_status", "key": key, "status": "Suspended" });
    client.post(format!("{control}/changes")).json(&change).send().await.expect("an answer");
    let truth = client.get(format!("{control}/truth")).query(&[("key", key)]).send().await;
    let truth: Value = truth.expect("an answer").json().await.expect("JSON");
    assert_eq!(truth[0]["status"], "_TS_CO_OfferStatus_Suspendue");
    let lost = json!({ "do": "edit_candidate", "key": "nobody" });
    let lost = client.post(format!("{control}/changes")).json(&lost).send().await;
    assert_eq!(lost.expect("an answer").status(), StatusCode::NOT_FOUND);
    let fault = json!({ "endpoint": "candidates", "kind": "slow", "millis": 5, "times": 1 });
    client.post(format!("{control}/faults")).json(&fault).send().await.expect("an answer");
    assert_eq!(simulator.faults().len(), 1);
    let summary = client.get(format!("{control}/summary")).send().await.expect("an answer");
    assert_eq!(summary.json::<Value>().await.expect("JSON")["callbacks"]["queued"], 3);
    let plain = client.post(format!("{control}/changes/random")).send().await.expect("an answer");
    assert!(plain.json::<Value>().await.expect("JSON")["done"].is_string());
    simulator.stop().await;
}
