//! What a partner is not told: changes, hooks that are gone, exports that lag.

use std::time::Duration;

use cegid_simulator::{Change, Outcome, Sent, Simulator};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::partner::{Partner, receiver, take};
use crate::{config, start};

/// What the export shows of one subject: the title of its record, or nothing.
async fn shown(partner: &Partner, kind: &str, key: &str) -> Option<String> {
    let (id, entry, title) = match kind {
        "vacancies" => ("reference", "offerdetail", "/offerDetail/jobDescription/title"),
        _ => ("id", "applicantdetail", "/candidateDetail/title"),
    };
    let page = partner.export(kind, &[("filter", &format!("{id}::{key}"))]).await;
    page.first().map(|entries| {
        let detail: Value = serde_json::from_slice(&entries[entry]).expect("JSON");
        detail.pointer(title).and_then(Value::as_str).unwrap_or_default().to_owned()
    })
}

fn published(simulator: &Simulator) -> String {
    simulator.truth().into_iter().find(|row| row.live && !row.key.contains(':')).expect("a vacancy").key
}

#[tokio::test]
async fn a_silent_change_is_true_and_nobody_is_told() {
    let (simulator, partner) = start(config()).await;
    let vacancy = simulator.create_silently("vacancy");
    let candidate = simulator.create_silently("candidate");
    assert!(simulator.truth_of("vacancy", &vacancy).is_some_and(|row| row.live));
    assert!(simulator.truth_of("candidate", &candidate).is_some_and(|row| row.live));
    assert_eq!(simulator.set_vacancy_status_silently(&vacancy, "Archived"), Ok(2));
    assert!(simulator.truth_of("vacancy", &vacancy).is_some_and(|row| row.present && !row.live));
    assert_eq!((simulator.edit_silently(&vacancy), simulator.edit_silently(&candidate)), (Ok(3), Ok(2)));
    assert!(shown(&partner, "vacancies", &vacancy).await.expect("the vacancy").ends_with("(v3)"));
    assert_eq!(simulator.anonymise_silently(&candidate), Ok(3));
    assert!(simulator.truth_of("candidate", &candidate).is_some_and(|row| row.anonymised));
    assert!(simulator.anonymise_silently(&vacancy).is_err());
    let resume = Change::ReplaceResume { key: "_TS-00003".into() };
    assert_eq!(simulator.change_silently(&resume).as_deref(), Ok("_TS-00003"));
    for (kind, key) in [("vacancies", &vacancy), ("candidates", &candidate)] {
        assert!(simulator.delete_silently(key).is_ok());
        assert_eq!(shown(&partner, kind, key).await, None);
        assert!(simulator.delete_silently(key).is_err());
    }
    assert_eq!(simulator.queued_callbacks(), 0);
    simulator.edit_candidate("_TS-00003").expect("an edit");
    assert_eq!(simulator.queued_callbacks(), 1);
}

#[tokio::test]
async fn forgotten_hooks_are_not_called_and_can_be_registered_again() {
    let (simulator, partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::OK).await;
    let hook = partner.register("applicant_update", &url).await;
    partner.register("vacancy_update", &url).await;
    assert!(simulator.forget_hook(hook.as_str().expect("an id")));
    assert!(!simulator.forget_hook(hook.as_str().expect("an id")));
    simulator.edit_candidate("_TS-00003").expect("an edit");
    assert_eq!(simulator.flush().await[0].outcome, Outcome::Unheard);
    assert_eq!(partner.unregister(hook.as_str().expect("an id")).await, StatusCode::NOT_FOUND);
    assert_eq!(simulator.forget_hooks(), 1);
    assert!(simulator.hooks().is_empty() && take(&received).is_empty());
    let again = partner.register("applicant_update", &url).await;
    assert_ne!(again, hook);
    assert_eq!(simulator.registrations().get("applicant_update"), Some(&2));
    simulator.edit_candidate("_TS-00003").expect("an edit");
    assert!(simulator.flush().await.iter().all(Sent::accepted));
    assert_eq!(take(&received).len(), 1);
}

#[tokio::test]
async fn mute_hooks_stay_registered_and_hear_nothing() {
    let (simulator, partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::OK).await;
    partner.register("applicant_update", &url).await;
    simulator.mute_hooks(true);
    simulator.edit_candidate("_TS-00003").expect("an edit");
    assert_eq!(simulator.flush().await[0].outcome, Outcome::Dropped);
    assert_eq!(simulator.ping().await[0].outcome, Outcome::Dropped);
    assert_eq!((simulator.hooks().len(), take(&received).len()), (1, 0));
    simulator.mute_hooks(false);
    simulator.edit_candidate("_TS-00003").expect("an edit");
    assert!(simulator.flush().await[0].accepted() && simulator.ping().await[0].accepted());
    assert_eq!(take(&received).len(), 2);
}

#[tokio::test]
async fn one_event_can_be_refused_beside_the_others() {
    let (simulator, partner) = start(config()).await;
    simulator.refuse_event("vacancy_deleted", true);
    assert_eq!(partner.register("vacancy_deleted", "http://127.0.0.1:9/").await, Value::Null);
    assert!(simulator.requests().last().is_some_and(|row| row.status == 400 && row.note.contains("vacancy_deleted")));
    assert!(partner.register("vacancy_new", "http://127.0.0.1:9/").await.is_string());
    assert!(!simulator.registrations().contains_key("vacancy_deleted"));
    simulator.refuse_event("vacancy_deleted", false);
    assert!(partner.register("vacancy_deleted", "http://127.0.0.1:9/").await.is_string());
    assert_eq!(simulator.hooks().len(), 2);
}

#[tokio::test]
async fn lagging_exports_show_what_was_true_while_callbacks_go_out() {
    let (simulator, partner) = start(config()).await;
    let pass = |seconds: i64| simulator.set_now(simulator.now() + chrono::Duration::seconds(seconds));
    pass(0);
    let (edited, deleted) = (published(&simulator), "_TS-00003");
    let before = shown(&partner, "vacancies", &edited).await.expect("a title");
    simulator.set_export_lag(Some(Duration::from_secs(60)));
    pass(1);
    simulator.edit_vacancy(&edited).expect("an edit");
    simulator.set_vacancy_status(&edited, "Archived").expect("a status");
    simulator.delete_candidate(deleted).expect("a deletion");
    simulator.anonymise_candidate("_TS-00004").expect("an anonymisation");
    let created = simulator.create_candidate();
    assert_eq!(simulator.queued_callbacks(), 5);
    let list = || async {
        let page = partner.export("candidates", &[("offset", "0"), ("limit", "100")]).await;
        let with_words = |key: &str| {
            page.iter().any(|entries| {
                let detail: Value = serde_json::from_slice(&entries["applicantdetail"]).expect("JSON");
                detail["candidateDetail"]["id"] == key && !detail["candidateDetail"]["lastName"].is_null()
            })
        };
        (page.len(), with_words(deleted), with_words("_TS-00004"), with_words(&created))
    };
    let live = [("filter", &*format!("reference::{edited}|vacancyStatus::Published"))];
    for _ in 0..2 {
        assert_eq!(shown(&partner, "vacancies", &edited).await, Some(before.clone()));
        assert_eq!(partner.export("vacancies", &live).await.len(), 1);
        assert_eq!(list().await, (60, true, true, false));
        pass(29);
    }
    pass(2);
    assert_eq!(shown(&partner, "vacancies", &edited).await, Some(format!("{before} (v3)")));
    assert_eq!(partner.export("vacancies", &live).await.len(), 0);
    assert_eq!(list().await, (60, false, false, true));
    simulator.edit_vacancy(&edited).expect("an edit");
    simulator.set_export_lag(None);
    assert_eq!(shown(&partner, "vacancies", &edited).await, Some(format!("{before} (v4)")));
}

#[tokio::test]
async fn silence_can_be_asked_for_over_http() {
    let (simulator, partner) = start(config()).await;
    let post = async |path: &str, body: Value| {
        let request = partner.client.post(format!("{}/control/{path}", simulator.base_url())).json(&body);
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let change = json!({ "do": "delete_candidate", "key": "_TS-00003", "silently": true });
    assert_eq!(post("changes", change).await["key"], "_TS-00003");
    let change = json!({ "do": "create_vacancy", "silently": true });
    assert!(post("changes", change).await["key"].is_string());
    assert_eq!(simulator.queued_callbacks(), 0);
    post("hooks/refuse", json!({ "event": "vacancy_new", "refuse": true })).await;
    assert_eq!(partner.register("vacancy_new", "http://127.0.0.1:9/").await, Value::Null);
    let hook = partner.register("vacancy_update", "http://127.0.0.1:9/").await;
    partner.register("vacancy_update", "http://127.0.0.1:9/").await;
    post("hooks/mute", json!({ "mute": true })).await;
    simulator.announce("vacancy_update", "x");
    assert!(simulator.flush().await.iter().all(|sent| sent.outcome == Outcome::Dropped));
    assert_eq!(post("hooks/forget", json!({ "hook_id": hook })).await["forgotten"], 1);
    assert_eq!(post("hooks/forget", json!({})).await["forgotten"], 1);
    post("export-lag", json!({ "seconds": 3600 })).await;
    simulator.edit_candidate("_TS-00004").expect("an edit");
    assert!(!shown(&partner, "candidates", "_TS-00004").await.expect("a title").contains("(v2)"));
}
