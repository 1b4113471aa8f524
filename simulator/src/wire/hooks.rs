//! Registering and unregistering hooks: one event per call, one id each. No
//! list of hooks is offered, because no source shows that the platform has one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::token::authorised;
use super::{Note, json_answer, refusal, success};
use crate::data::random::Random;
use crate::simulator::{Inner, Simulator};

/// One registered hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRow {
    /// What the registration was answered with.
    pub hook_id: String,
    /// The event it listens to.
    pub event: String,
    /// Where callbacks go.
    pub callback_url: String,
    /// Where pings go, if anywhere.
    pub ping_url: Option<String>,
}

/// Hooks in the order of registration. The same event can be registered again,
/// and is then delivered twice: whether real tenants refuse that is not known.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    rows: Mutex<Vec<HookRow>>,
    /// How often each event was registered.
    registered: Mutex<BTreeMap<String, u64>>,
    /// Events whose registration is refused.
    refused: Mutex<HashSet<String>>,
    muted: AtomicBool,
}

impl Hooks {
    pub(crate) fn rows(&self) -> Vec<HookRow> {
        crate::lock(&self.rows).clone()
    }

    pub(crate) fn registrations(&self) -> BTreeMap<String, u64> {
        crate::lock(&self.registered).clone()
    }

    /// Removes the hooks that a test names, and says how many there were.
    pub(crate) fn remove(&self, mut named: impl FnMut(&HookRow) -> bool) -> usize {
        let mut rows = crate::lock(&self.rows);
        let before = rows.len();
        rows.retain(|row| !named(row));
        before - rows.len()
    }

    pub(crate) fn refuse(&self, event: &str, refuse: bool) {
        let mut refused = crate::lock(&self.refused);
        if refuse {
            refused.insert(event.to_owned());
        } else {
            refused.remove(event);
        }
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.muted.store(mute, Ordering::SeqCst);
    }

    pub(crate) fn muted(&self) -> bool {
        self.muted.load(Ordering::SeqCst)
    }

    pub(crate) fn callback_urls(&self, event: &str) -> Vec<String> {
        let rows = crate::lock(&self.rows);
        rows.iter().filter(|row| row.event == event).map(|row| row.callback_url.clone()).collect()
    }

    /// Each ping URL once.
    pub(crate) fn ping_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = crate::lock(&self.rows).iter().filter_map(|row| row.ping_url.clone()).collect();
        urls.sort();
        urls.dedup();
        urls
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    event: String,
    callback_url: String,
    ping_url: Option<String>,
}

/// A token that may deal with hooks, or the refusal.
fn allowed(inner: &Inner, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let scope = authorised(inner, headers)?;
    match &inner.config.hook_scope {
        Some(wanted) if *wanted != scope => {
            Err(Box::new(refusal(StatusCode::FORBIDDEN, "the token's scope has no hooks")))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn register(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let inner = &simulator.inner;
    if let Err(refused) = allowed(inner, &headers) {
        return *refused;
    }
    let registration: Registration = match serde_json::from_slice(&body) {
        Ok(registration) => registration,
        Err(error) => {
            return refusal(StatusCode::BAD_REQUEST, &format!("not a registration: {error}"));
        }
    };
    let urls = [Some(&registration.callback_url), registration.ping_url.as_ref()];
    for url in urls.into_iter().flatten() {
        if !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return refusal(StatusCode::BAD_REQUEST, &format!("'{url}' is not an http address"));
        }
    }
    if registration.event.is_empty() {
        return refusal(StatusCode::BAD_REQUEST, "the event is empty");
    }
    if crate::lock(&inner.hooks.refused).contains(&registration.event) {
        return refusal(StatusCode::BAD_REQUEST, &format!("the event '{}' is not known", registration.event));
    }
    let number = {
        let mut registered = crate::lock(&inner.hooks.registered);
        *registered.entry(registration.event.clone()).or_default() += 1;
        registered.values().sum()
    };
    let hook_id = Random::of(inner.config.seed, "hook", number).guid().to_lowercase();
    let note = Note(format!("hook {} on {}", hook_id, registration.event));
    crate::lock(&inner.hooks.rows).push(HookRow {
        hook_id: hook_id.clone(),
        event: registration.event,
        callback_url: registration.callback_url,
        ping_url: registration.ping_url,
    });
    let mut answer = json_answer(StatusCode::OK, &success(&json!({ "hookId": hook_id })));
    answer.extensions_mut().insert(note);
    answer
}

pub(crate) async fn unregister(
    State(simulator): State<Simulator>,
    Path(hook): Path<String>,
    headers: HeaderMap,
) -> Response {
    let inner = &simulator.inner;
    if let Err(refused) = allowed(inner, &headers) {
        return *refused;
    }
    if inner.hooks.remove(|row| row.hook_id == hook) == 0 {
        return refusal(StatusCode::NOT_FOUND, "no hook has this id");
    }
    json_answer(StatusCode::OK, &success(&json!(null)))
}
