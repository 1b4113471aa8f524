//! The control API under `/control`: the library's methods over HTTP, without a
//! token, for people with curl. `README.md` shows each call.

mod exports;

use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::changes::Change;
use crate::faults::{CallbackFaults, Down, Fault, Spoil};
use crate::sender::Outcome;
use crate::simulator::Simulator;
use crate::tenant::Kind;

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/summary", get(summary))
        .route("/truth", get(truth))
        .route("/hooks", get(|State(s): State<Simulator>| async move { Json(s.hooks()) }))
        .route("/hooks/forget", post(forget_hooks))
        .route("/hooks/mute", post(mute_hooks))
        .route("/hooks/refuse", post(refuse_event))
        .route("/sent", get(sent))
        .route("/requests", get(requests))
        .route("/reports", get(reports))
        .route("/changes", post(change))
        .route("/changes/random", post(change_at_random))
        .route("/announce", post(announce))
        .route("/flush", post(|State(s): State<Simulator>| async move { Json(s.flush().await) }))
        .route("/ping", post(|State(s): State<Simulator>| async move { Json(s.ping().await) }))
        .route("/resend", post(resend))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/callback-faults", post(callback_faults))
        .route("/spoiled", post(spoil))
        .merge(exports::router())
        .route("/release", post(release))
        .route("/refused-reports", post(refused_reports))
        .route("/tokens/expire", post(expire_tokens))
        .route("/credentials", post(credentials))
        .route("/down", post(down))
        .route("/clock", post(clock))
        .layer(axum::middleware::map_request(as_json))
}

/// Takes every body for JSON, so that a plain `curl -d` will do.
async fn as_json(mut request: Request) -> Request {
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

fn ok() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn summary(State(simulator): State<Simulator>) -> Json<Value> {
    let count = |kind| {
        let (present, live) = simulator.counts(kind);
        json!({ "present": present, "live": live })
    };
    let sent = simulator.sent();
    let ended = |test: fn(&Outcome) -> bool| sent.iter().filter(|one| test(&one.outcome)).count();
    Json(json!({
        "tenant": simulator.config().name,
        "now": simulator.now(),
        "vacancies": count(Kind::Vacancy),
        "candidates": count(Kind::Candidate),
        "hooks": simulator.hooks().len(),
        "registrations": simulator.registrations(),
        "callbacks": {
            "queued": simulator.queued_callbacks(),
            "accepted": sent.iter().filter(|one| one.accepted()).count(),
            "answered": ended(|outcome| matches!(outcome, Outcome::Answered(_))),
            "failed": ended(|outcome| matches!(outcome, Outcome::Failed(_))),
            "dropped": ended(|outcome| *outcome == Outcome::Dropped),
            "unheard": ended(|outcome| *outcome == Outcome::Unheard),
        },
        "requests": simulator.inner.journal.total(),
        "tokenCalls": simulator.token_calls(),
        "reportItems": simulator.report_count(),
        "faults": simulator.faults().len(),
    }))
}

/// What the lists can be narrowed to; each list uses what it has.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Narrow {
    kind: Option<String>,
    key: Option<String>,
    live: Option<bool>,
    event: Option<String>,
    /// Part of a path.
    path: Option<String>,
    method: Option<String>,
    status: Option<String>,
    /// Only rows whose number is greater.
    after: Option<u64>,
    /// Only the last so many.
    last: Option<usize>,
    /// The request log as lines of text.
    story: Option<bool>,
}

fn is<T: PartialEq + ?Sized, O: AsRef<T>>(wanted: Option<&O>, value: &T) -> bool {
    wanted.is_none_or(|wanted| wanted.as_ref() == value)
}

fn last<T>(mut rows: Vec<T>, last: Option<usize>) -> Vec<T> {
    let surplus = rows.len().saturating_sub(last.unwrap_or(usize::MAX));
    rows.drain(..surplus);
    rows
}

async fn truth(State(simulator): State<Simulator>, Query(narrow): Query<Narrow>) -> Response {
    let mut rows = simulator.truth();
    rows.retain(|row| {
        is::<str, _>(narrow.kind.as_ref(), row.kind)
            && is::<str, _>(narrow.key.as_ref(), &row.key)
            && is::<str, _>(narrow.status.as_ref(), &row.status)
            && narrow.live.is_none_or(|live| live == row.live)
    });
    Json(last(rows, narrow.last)).into_response()
}

async fn sent(State(simulator): State<Simulator>, Query(narrow): Query<Narrow>) -> Response {
    let mut rows = simulator.sent();
    rows.retain(|row| {
        is::<str, _>(narrow.event.as_ref(), &row.event)
            && is::<str, _>(narrow.key.as_ref(), &row.key)
            && narrow.after.is_none_or(|after| row.callback > after)
            && match narrow.status.as_deref() {
                None => true,
                Some("accepted") => row.accepted(),
                Some("refused") => !row.accepted(),
                Some(status) => matches!(row.outcome, Outcome::Answered(code) if code.to_string() == status),
            }
    });
    Json(last(rows, narrow.last)).into_response()
}

async fn requests(State(simulator): State<Simulator>, Query(narrow): Query<Narrow>) -> Response {
    let mut rows = simulator.requests();
    rows.retain(|row| {
        narrow.path.as_ref().is_none_or(|path| row.path.contains(path.as_str()))
            && is::<str, _>(narrow.method.as_ref(), &row.method)
            && narrow.status.as_ref().is_none_or(|status| row.status.to_string() == *status)
            && narrow.after.is_none_or(|after| row.number > after)
    });
    let rows = last(rows, narrow.last);
    if narrow.story == Some(true) {
        let lines: String = rows.iter().map(|row| row.line() + "\n").collect();
        return ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response();
    }
    Json(rows).into_response()
}

async fn reports(State(simulator): State<Simulator>, Query(narrow): Query<Narrow>) -> Response {
    let mut rows = simulator.reports();
    rows.retain(|row| {
        is::<str, _>(narrow.kind.as_ref(), &row.report_type)
            && is::<str, _>(narrow.key.as_ref(), &row.id)
            && is::<str, _>(narrow.status.as_ref(), &row.status)
            && narrow.after.is_none_or(|after| row.number > after)
    });
    Json(last(rows, narrow.last)).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(flatten)]
    change: Change,
    /// Whether nobody is told.
    #[serde(default)]
    silently: bool,
}

async fn change(State(simulator): State<Simulator>, Json(it): Json<Wanted>) -> Response {
    let made = if it.silently { simulator.change_silently(&it.change) } else { simulator.change(&it.change) };
    match made {
        Ok(key) => Json(json!({ "key": key })).into_response(),
        Err(error) => (StatusCode::NOT_FOUND, Json(json!({ "message": error.to_string() }))).into_response(),
    }
}

async fn change_at_random(State(simulator): State<Simulator>) -> Json<Value> {
    Json(json!({ "done": simulator.change_at_random() }))
}

#[derive(Deserialize)]
struct Announcement {
    event: String,
    key: String,
}

async fn announce(State(simulator): State<Simulator>, Json(it): Json<Announcement>) -> Json<Value> {
    simulator.announce(&it.event, &it.key);
    ok()
}

#[derive(Deserialize)]
struct Resend {
    max: Option<usize>,
}

async fn resend(State(simulator): State<Simulator>, Json(it): Json<Resend>) -> Json<Value> {
    Json(json!({ "queued": simulator.resend_failed(it.max.unwrap_or(usize::MAX)) }))
}

async fn faults(State(simulator): State<Simulator>) -> Json<Vec<Fault>> {
    Json(simulator.faults())
}

async fn add_fault(State(simulator): State<Simulator>, Json(fault): Json<Fault>) -> Json<Value> {
    simulator.add_fault(fault);
    ok()
}

async fn clear_faults(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.clear_faults();
    ok()
}

async fn callback_faults(State(simulator): State<Simulator>, Json(faults): Json<CallbackFaults>) -> Json<Value> {
    simulator.set_callback_faults(faults);
    ok()
}

#[derive(Deserialize)]
struct Spoiling {
    key: String,
    spoil: Option<Spoil>,
}

async fn spoil(State(simulator): State<Simulator>, Json(it): Json<Spoiling>) -> Json<Value> {
    simulator.spoil(&it.key, it.spoil);
    ok()
}

#[derive(Deserialize)]
struct Forgetting {
    /// One hook; all of them without it.
    hook_id: Option<String>,
}

async fn forget_hooks(State(simulator): State<Simulator>, Json(it): Json<Forgetting>) -> Json<Value> {
    let forgotten = match it.hook_id {
        Some(hook_id) => usize::from(simulator.forget_hook(&hook_id)),
        None => simulator.forget_hooks(),
    };
    Json(json!({ "forgotten": forgotten }))
}

#[derive(Deserialize)]
struct Muting {
    mute: bool,
}

async fn mute_hooks(State(simulator): State<Simulator>, Json(it): Json<Muting>) -> Json<Value> {
    simulator.mute_hooks(it.mute);
    ok()
}

#[derive(Deserialize)]
struct RefusedEvent {
    event: String,
    refuse: bool,
}

async fn refuse_event(State(simulator): State<Simulator>, Json(it): Json<RefusedEvent>) -> Json<Value> {
    simulator.refuse_event(&it.event, it.refuse);
    ok()
}

async fn release(State(simulator): State<Simulator>) -> Json<Value> {
    let held = simulator.held();
    simulator.release_held();
    Json(json!({ "released": held }))
}

#[derive(Deserialize)]
struct RefusedReport {
    id: String,
    refuse: bool,
}

async fn refused_reports(State(simulator): State<Simulator>, Json(it): Json<RefusedReport>) -> Json<Value> {
    simulator.refuse_reports_of(&it.id, it.refuse);
    ok()
}

async fn expire_tokens(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.expire_tokens();
    ok()
}

#[derive(Deserialize)]
struct Credentials {
    refuse: bool,
}

async fn credentials(State(simulator): State<Simulator>, Json(it): Json<Credentials>) -> Json<Value> {
    simulator.refuse_credentials(it.refuse);
    ok()
}

#[derive(Deserialize)]
struct Away {
    down: Down,
    seconds: Option<u64>,
}

async fn down(State(simulator): State<Simulator>, Json(it): Json<Away>) -> Json<Value> {
    simulator.set_down(it.down, it.seconds.map(Duration::from_secs));
    ok()
}

#[derive(Deserialize)]
struct Turn {
    now: Option<DateTime<Utc>>,
}

async fn clock(State(simulator): State<Simulator>, Json(it): Json<Turn>) -> Json<Value> {
    match it.now {
        Some(now) => simulator.set_now(now),
        None => simulator.follow_system_time(),
    }
    ok()
}
