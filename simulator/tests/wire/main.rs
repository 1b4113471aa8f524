//! The tenant spoken to over HTTP, as a partner would.

mod callbacks;
mod faults;
mod lists;
mod partner;
mod silence;
mod tenants;

use std::collections::BTreeMap;

use cegid_simulator::{Config, Simulator};
use partner::Partner;
use reqwest::StatusCode;
use serde_json::{Value, json};

fn config() -> Config {
    Config { vacancies: 150, candidates: 60, burst_every: None, ..Config::default() }
}

async fn start(config: Config) -> (Simulator, Partner) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let simulator = Simulator::start(config, listener).await.expect("a tenant");
    let partner = Partner::new(&simulator).await;
    (simulator, partner)
}

#[tokio::test]
async fn tokens_are_given_for_the_right_credentials_alone() {
    let (simulator, partner) = start(config()).await;
    let wrong = partner.ask_token("not the secret").await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert_eq!(wrong.json::<Value>().await.expect("JSON"), json!({ "error": "invalid_client" }));
    let right = partner.ask_token(&simulator.config().client_secret).await;
    let right: Value = right.json().await.expect("JSON");
    assert_eq!((&right["token_type"], &right["expires_in"]), (&json!("bearer"), &json!(1199)));
    assert_eq!(simulator.token_calls(), 3);

    assert_eq!(partner.export("vacancies", &[]).await.len(), 20);
    simulator.expire_tokens();
    let answer = partner.get("/api/exports/v1/vacancies", &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let (simulator, partner) = start(config()).await;
    simulator.set_now(simulator.now() + chrono::Duration::seconds(1300));
    let answer = partner.get("/api/v1/referentials/countries", &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_exports_walk_ends_with_an_empty_body() {
    let (simulator, partner) = start(config()).await;
    let mut seen = Vec::new();
    for (offset, size) in [(0, 100), (100, 50), (150, 0)] {
        let page = partner.export("vacancies", &[("offset", &offset.to_string()), ("limit", "500")]).await;
        assert_eq!(page.len(), size);
        for entries in page {
            let detail: Value = serde_json::from_slice(&entries["offerdetail"]).expect("JSON");
            let detail = &detail["offerDetail"];
            assert!(!detail["creationDate"].as_str().expect("a date").ends_with('Z'));
            let title = detail["jobDescription"]["title"].as_str().expect("a title");
            seen.push((detail["reference"].as_str().expect("a key").to_owned(), title.to_owned()));
        }
    }
    let truth: Vec<_> =
        simulator.truth().into_iter().filter(|row| row.kind == "vacancy").map(|row| (row.key, row.title)).collect();
    assert_eq!(seen, truth);
}

#[tokio::test]
async fn candidates_come_with_their_files() {
    let (simulator, partner) = start(config()).await;
    let letters = |page: &[BTreeMap<String, Vec<u8>>]| {
        page.iter().flat_map(BTreeMap::keys).filter(|name| name.as_str() != "applicantdetail").count()
    };
    let resumes = partner.export("candidates", &[("limit", "100"), ("attachmenttype", "resume")]).await;
    let all = partner.export("candidates", &[("limit", "100")]).await;
    assert!(letters(&all) > letters(&resumes));
    for entries in &resumes {
        let detail: Value = serde_json::from_slice(&entries["applicantdetail"]).expect("JSON");
        let id = detail["candidateDetail"]["id"].as_str().expect("an id");
        let truth = simulator.truth_of("candidate", id).expect("the candidate");
        assert_eq!(detail["attachments"].as_array().expect("a list").len(), entries.len() - 1);
        let title = detail["candidateDetail"]["title"].as_str().unwrap_or_default();
        assert_eq!(title, truth.title);
        if let Some(resume) = truth.resume {
            let file = &entries[&resume];
            assert!(file.starts_with(b"%PDF-"));
            assert!((1_000..8_000).contains(&file.len()), "{} bytes", file.len());
        }
    }
}

#[tokio::test]
async fn filters_choose_and_nonsense_is_refused() {
    let (simulator, partner) = start(config()).await;
    let truth = simulator.truth();
    let published = truth.iter().filter(|row| row.kind == "vacancy" && row.live).count();
    let filter = [("filter", "vacancyStatus::published"), ("limit", "100")];
    let page = partner.export("vacancies", &filter).await;
    let rest = partner.export("vacancies", &[filter[0], filter[1], ("offset", "100")]).await;
    assert_eq!(page.len() + rest.len(), published);

    let odd = truth.iter().find(|row| row.key.contains("H/F")).expect("an odd reference");
    let named = format!("reference::{},{},none", odd.key, truth[0].key);
    assert_eq!(partner.export("vacancies", &[("filter", &named)]).await.len(), 2);
    let after = odd.updated.format("%Y-%m-%dT%H:%M:%S%.3f");
    let both = format!("{named}|updateDate:le:{after}|updateDate:ge:{after}");
    assert_eq!(partner.export("vacancies", &[("filter", &both)]).await.len(), 1);

    let comma = truth.iter().find(|row| row.key.contains(',')).expect("a comma");
    let unaskable = format!("reference::{}", comma.key);
    assert_eq!(partner.export("vacancies", &[("filter", &unaskable)]).await.len(), 0);

    for (kind, name, value) in [
        ("vacancies", "filter", "id::1"),
        ("vacancies", "filter", "reference"),
        ("candidates", "filter", "email:gt:a"),
        ("candidates", "limit", "many"),
        ("candidates", "attachmenttype", "photo"),
    ] {
        let answer = partner.get(&format!("/api/exports/v1/{kind}"), &[(name, value)]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{value}");
    }
}

#[tokio::test]
async fn the_same_seed_tells_the_same_story() {
    let now = Some(chrono::DateTime::UNIX_EPOCH + chrono::Duration::days(20_000));
    let mut pages = Vec::new();
    for seed in [7, 7, 8] {
        let (_, partner) = start(Config { seed, now, ..config() }).await;
        let vacancies = partner.export("vacancies", &[("limit", "5")]).await;
        pages.push((vacancies, partner.export("candidates", &[("limit", "5")]).await));
    }
    assert!(pages[0] == pages[1]);
    assert!(pages[0].0 != pages[2].0 && pages[0].1 != pages[2].1);
}

#[tokio::test]
async fn referentials_have_translations() {
    let (_simulator, partner) = start(config()).await;
    let list = partner.json("/api/v1/referentials/contracttypes?offset=1&limit=2").await;
    assert_eq!(list["data"][0]["id"], "_TS_CO_Contract_CDD");
    assert_eq!(list["contentRange"], "1-2/7");
    let item = "/api/v1/referentials/contracttypes/_TS_CO_Contract_CDI";
    assert_eq!(partner.json(item).await["data"]["label"], "CDI");
    let all = partner.json(&format!("{item}/translations")).await;
    assert_eq!(all["data"].as_array().map(Vec::len), Some(2));
    let english = partner.json(&format!("{item}/translations/1033")).await;
    assert_eq!(english["data"]["label"], "Permanent");
    for path in ["colours", "countries/Atlantis", "countries/_TS_CO_Country_France/translations/9"] {
        let answer = partner.get(&format!("/api/v1/referentials/{path}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_deleted_subject_is_absent_and_an_anonymised_one_is_empty() {
    let (simulator, partner) = start(config()).await;
    simulator.delete_candidate("_TS-00001").expect("a deletion");
    simulator.anonymise_candidate("_TS-00002").expect("an anonymisation");
    assert!(simulator.edit_candidate("_TS-00001").is_err());
    let page = partner.export("candidates", &[("filter", "id::_TS-00001,_TS-00002")]).await;
    assert_eq!(page.len(), 1);
    let detail: Value = serde_json::from_slice(&page[0]["applicantdetail"]).expect("JSON");
    assert_eq!(detail["candidateDetail"]["isAnonymized"], true);
    assert_eq!(detail["candidateDetail"]["lastName"], Value::Null);
    assert_eq!(page[0].len(), 1);
}

#[tokio::test]
async fn given_records_join_and_are_served_as_they_came() {
    let directory = std::env::temp_dir().join(format!("cegid-simulator-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let offer = json!({ "reference": "MY 1/2", "jobDescription": { "title": "Grutier" },
        "status": { "id": "_TS_CO_OfferStatus_Diffuse", "label": "Diffusée" }, "unknown": [1, null] });
    std::fs::write(directory.join("offer.json"), offer.to_string()).expect("a file");
    let person = json!({ "candidateDetail": { "id": "mine", "lastName": "Martin", "title": null },
        "attachments": [{ "id": "cv-1", "isResume": true }, { "id": "gone", "isResume": false }] });
    std::fs::write(directory.join("person.json"), person.to_string()).expect("a file");
    std::fs::write(directory.join("cv-1"), b"%PDF-1.4 mine").expect("a file");
    let started = start(Config { records: Some(directory.clone()), ..config() }).await;
    std::fs::remove_dir_all(&directory).expect("removal");
    let (simulator, partner) = started;
    let page = partner.export("vacancies", &[("filter", "reference::MY 1/2")]).await;
    let detail: Value = serde_json::from_slice(&page[0]["offerdetail"]).expect("JSON");
    assert_eq!(detail, json!({ "offerDetail": offer }));
    let page = partner.export("candidates", &[("filter", "id::mine")]).await;
    assert_eq!(page[0]["cv-1"], b"%PDF-1.4 mine");
    assert!(!page[0].contains_key("gone"));
    simulator.edit_vacancy("MY 1/2").expect("an edit");
    assert_eq!(simulator.truth_of("vacancy", "MY 1/2").expect("it").title, "Grutier (v2)");
}
