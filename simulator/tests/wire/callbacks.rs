//! What the tenant tells its partner, and what the partner reports back.

use cegid_simulator::{CallbackFaults, Config, Outcome, RawCallback};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::partner::{self, receiver};
use crate::{config, start};

#[tokio::test]
async fn changes_are_told_to_the_hooks_and_can_be_read_back() {
    let (simulator, partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::OK).await;
    for event in ["vacancy_update", "vacancy_status", "applicant_resume_update"] {
        assert!(partner.register(event, &url).await.as_str().is_some());
    }
    let key = simulator.truth()[0].key.clone();
    simulator.edit_vacancy(&key).expect("an edit");
    let version = simulator.set_vacancy_status(&key, "archived").expect("a status");
    simulator.replace_resume("_TS-00003").expect("a CV");
    simulator.edit_candidate("_TS-00003").expect("an edit nobody listens to");
    assert_eq!(simulator.queued_callbacks(), 5);
    let sent = simulator.flush().await;
    assert_eq!(sent.iter().filter(|one| one.accepted()).count(), 4);
    assert_eq!(sent.iter().filter(|one| one.outcome == Outcome::Unheard).count(), 1);

    let received = partner::take(&received);
    assert_eq!(received.len(), 4);
    for callback in &received {
        assert!(callback.verifies(simulator.config()), "{callback:?}");
    }
    let status = received.iter().find(|it| it.body.contains("vacancy_status")).expect("it");
    assert!(status.body.contains("\"statusId\":\"_TS_CO_OfferStatus_Archive\""));
    let resume = received.iter().find(|it| it.body.contains("resume")).expect("it");
    let truth = simulator.truth_of("candidate", "_TS-00003").expect("the candidate");
    assert!(resume.body.contains(&truth.resume.expect("a CV")));

    let page = partner.export("vacancies", &[("filter", &format!("reference::{key}"))]).await;
    let detail: Value = serde_json::from_slice(&page[0]["offerdetail"]).expect("JSON");
    let truth = simulator.truth_of("vacancy", &key).expect("the vacancy");
    assert_eq!(truth.version, version);
    assert!(truth.title.ends_with("(v3)") && !truth.live);
    assert_eq!(detail["offerDetail"]["jobDescription"]["title"], truth.title.as_str());
    assert_eq!(detail["offerDetail"]["status"]["id"], truth.status.as_str());
}

#[tokio::test]
async fn callbacks_can_be_dropped_doubled_and_sent_again() {
    let (simulator, partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::SERVICE_UNAVAILABLE).await;
    partner.register("vacancy_update", &url).await;
    let keys: Vec<String> = simulator.truth().iter().take(100).map(|row| row.key.clone()).collect();
    simulator.set_callback_faults(CallbackFaults {
        drop_percent: 20,
        duplicate_percent: 10,
        shuffle: true,
        ..CallbackFaults::default()
    });
    for key in &keys {
        simulator.announce("vacancy_update", key);
    }
    let sent = simulator.flush().await;
    let dropped = sent.iter().filter(|one| one.outcome == Outcome::Dropped).count();
    assert!((5..40).contains(&dropped), "{dropped}");
    let arrived = partner::take(&received).len();
    assert_eq!(arrived, sent.len() - dropped);
    assert!(arrived > 100 - dropped);

    simulator.set_callback_faults(CallbackFaults::default());
    assert_eq!(simulator.resend_failed(7), 7);
    assert!(simulator.flush().await.iter().all(|one| one.attempt == 2));
    assert_eq!(partner::take(&received).len(), 7);
}

#[tokio::test]
async fn bursts_come_by_themselves_and_repeat_as_often_as_set() {
    let burst_every = Some(std::time::Duration::from_millis(5));
    let (simulator, partner) = start(Config { burst_every, callback_retries: 1, ..config() }).await;
    let (url, received) = receiver(StatusCode::BAD_GATEWAY).await;
    partner.register("applicant_update", &url).await;
    simulator.edit_candidate("_TS-00007").expect("an edit");
    simulator.wait_for(|simulator| simulator.queued_callbacks() == 0).await;
    let sent = simulator.sent();
    assert_eq!([sent[0].attempt, sent[1].attempt], [1, 2]);
    assert_eq!(sent[0].callback, sent[1].callback);
    assert_eq!((partner::take(&received).len(), simulator.queued_callbacks()), (2, 0));
    simulator.stop().await;
}

#[tokio::test]
async fn hooks_may_need_a_scope_and_an_unreachable_receiver_is_noted() {
    let hook_scope = Some("Customer".to_owned());
    let (simulator, partner) = start(Config { hook_scope, ..config() }).await;
    assert_eq!(partner.register("vacancy_new", "http://127.0.0.1:9/").await, Value::Null);
    assert!(simulator.requests().iter().any(|row| row.status == 403));
    let (simulator, partner) = start(config()).await;
    partner.register("vacancy_new", "http://127.0.0.1:9/").await;
    let _reference = simulator.create_vacancy();
    assert!(matches!(simulator.flush().await[0].outcome, Outcome::Failed(_)));
}

#[tokio::test]
async fn a_hook_is_gone_once_deleted_and_pings_are_signed_and_empty() {
    let (simulator, partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::OK).await;
    let hook = partner.register("vacancy_new", &url).await;
    assert!(simulator.ping().await.iter().all(cegid_simulator::Sent::accepted));
    let ping = partner::take(&received);
    assert_eq!((ping.len(), ping[0].body.as_str()), (1, ""));
    assert!(ping[0].verifies(simulator.config()));
    let hook = hook.as_str().expect("an id");
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        assert_eq!(partner.unregister(hook).await, status);
    }
    assert!(simulator.hooks().is_empty());
}

#[tokio::test]
async fn a_raw_callback_carries_what_it_is_told() {
    let (simulator, _partner) = start(config()).await;
    let (url, received) = receiver(StatusCode::OK).await;
    let raw = RawCallback {
        url,
        body: b"\x00not json".to_vec(),
        secret: Some("another".to_owned()),
        expires: Some(1),
        ..RawCallback::default()
    };
    assert!(simulator.send_raw(&raw).await.accepted());
    let received = partner::take(&received);
    assert_eq!(received[0].expires, "1");
    assert!(!received[0].verifies(simulator.config()));
}

#[tokio::test]
async fn reports_are_checked_and_kept() {
    let (simulator, partner) = start(config()).await;
    let item = |id: &str| {
        json!({ "id": id, "date": "2019-05-16T11:38:37Z",
                "lastUpdateDate": "2019-05-16T11:38:37Z", "status": "success" })
    };
    let report = |items: Vec<Value>| json!({ "reportType": "Vacancies", "items": items });
    assert_eq!(partner.report(&report(vec![item("a"), item("b")])).await, StatusCode::OK);
    assert_eq!(partner.report(&report(vec![])).await, StatusCode::BAD_REQUEST);
    let many = (0..101).map(|n| item(&n.to_string())).collect();
    assert_eq!(partner.report(&report(many)).await, StatusCode::PAYLOAD_TOO_LARGE);
    simulator.refuse_reports_of("c", true);
    assert_eq!(partner.report(&report(vec![item("a"), item("c")])).await, StatusCode::BAD_REQUEST);
    let kept = simulator.reports();
    let kept: Vec<_> = kept.iter().map(|row| (row.number, row.id.as_str())).collect();
    assert_eq!(kept, [(1, "a"), (2, "b")]);
}

#[tokio::test]
async fn logs_can_be_bounded_and_keep_counting() {
    let (simulator, partner) = start(Config { keep_log: Some(3), ..config() }).await;
    let (url, received) = receiver(StatusCode::OK).await;
    partner.register("applicant_update", &url).await;
    for _ in 0..5 {
        simulator.edit_candidate("_TS-00003").expect("an edit");
        partner.export("candidates", &[("limit", "1")]).await;
    }
    simulator.flush().await;
    assert_eq!(partner::take(&received).len(), 5);
    assert_eq!(simulator.sent().len(), 3);
    assert_eq!((simulator.sent_after(4).len(), simulator.sent_after(5).len()), (1, 0));
    let numbers: Vec<u64> = simulator.requests().iter().map(|row| row.number).collect();
    assert_eq!(numbers, [5, 6, 7], "a token, a hook and five pages");
    assert!(simulator.requests().iter().all(|row| row.status == 200 && row.bytes > 0));
}
