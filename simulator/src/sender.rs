//! Callbacks: what waits to be told, how it is told, and what was answered.
//!
//! A callback waits until the next burst. A burst takes everything that waits,
//! signs it with the time of that moment, and delivers it with a bounded number
//! of requests at once, so that order is kept only roughly, as on a real
//! platform. Nothing is promised about delivery: a callback is sent as often as
//! [`Config::callback_retries`](crate::Config) says and then forgotten.

pub(crate) mod delivery;
pub(crate) mod signature;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::event_date;
use crate::data::keys::reference_in_path;
use crate::faults::CallbackFaults;
use crate::journal::Log;

/// How one callback, or one attempt at it, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// This HTTP status was answered.
    Answered(u16),
    /// No answer came; the reason is given.
    Failed(String),
    /// A fault swallowed it before it was sent.
    Dropped,
    /// No hook is registered for its event.
    Unheard,
}

/// One callback as it was sent. Serves as the sender's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The callback; a duplicate and a repetition have the same number.
    pub callback: u64,
    /// From 1; 2 and more are repetitions.
    pub attempt: u32,
    /// The event's name; empty for a ping and where a raw callback named none.
    pub event: String,
    /// Reference of the vacancy or id of the candidate.
    pub key: String,
    /// Where it was sent, without the query that was added.
    pub url: String,
    /// The body.
    pub body: String,
    /// When, on the tenant's clock.
    pub at: DateTime<Utc>,
    /// Milliseconds until the answer.
    pub millis: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sent {
    /// Whether the receiver answered 2xx.
    #[must_use]
    pub fn accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(status) if (200..300).contains(&status))
    }
}

/// A callback made up by a test, for what no real tenant would send.
#[derive(Debug, Clone, Default)]
pub struct RawCallback {
    /// HTTP method; `POST` when empty.
    pub method: String,
    /// The whole callback URL, without `client_id` and `signature`.
    pub url: String,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// `Content-Type`, signed as it stands; none when not given.
    pub content_type: Option<String>,
    /// Whether `Content-MD5` is sent and signed.
    pub content_md5: bool,
    /// Secret to sign with, when not the tenant's.
    pub secret: Option<String>,
    /// Credential to name, when not the tenant's.
    pub client_id: Option<String>,
    /// Unix seconds of the expiry, when not the usual.
    pub expires: Option<i64>,
    /// The signature itself, when not the right one.
    pub signature: Option<String>,
}

/// A callback that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) callback: u64,
    pub(crate) attempt: u32,
    pub(crate) event: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) body: Arc<str>,
    /// The one URL it goes to, for a repetition; otherwise wherever the hooks say.
    pub(crate) url: Option<String>,
    pub(crate) not_before: Option<Instant>,
}

/// What waits, what was sent, and the faults on the way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) waiting: Mutex<Vec<Waiting>>,
    pub(crate) sent: Mutex<Log<Sent>>,
    /// What tests made up.
    pub(crate) raw: Mutex<Log<Sent>>,
    pub(crate) faults: Mutex<CallbackFaults>,
    count: Mutex<u64>,
    /// Callbacks that a burst has taken and not done with.
    pub(crate) under_way: AtomicUsize,
    /// One burst at a time.
    pub(crate) burst: tokio::sync::Mutex<()>,
}

impl Outgoing {
    pub(crate) fn new(keep: Option<usize>) -> Self {
        Self {
            waiting: Mutex::default(),
            sent: Mutex::new(Log::new(keep)),
            raw: Mutex::new(Log::new(keep)),
            faults: Mutex::default(),
            count: Mutex::default(),
            under_way: AtomicUsize::default(),
            burst: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        let mut count = crate::lock(&self.count);
        *count += 1;
        *count
    }

    pub(crate) fn enqueue(&self, event: &str, key: &str, extra: &Extra<'_>, at: DateTime<Utc>) {
        let waiting = Waiting {
            callback: self.number(),
            attempt: 1,
            event: event.into(),
            key: key.into(),
            body: payload(event, key, extra, at).into(),
            url: None,
            not_before: None,
        };
        crate::lock(&self.waiting).push(waiting);
    }
}

/// What an event carries beside its subject's key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) status_id: Option<&'a str>,
    pub(crate) file_id: Option<&'a str>,
    pub(crate) vacancy_reference: Option<&'a str>,
}

/// The members in the order of a captured callback: camel case, but for the two
/// that every event has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applicant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vacancy_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(rename = "event_type")]
    event_type: &'a str,
    #[serde(rename = "event_date")]
    event_date: String,
}

/// Compact JSON without spaces, the event date in whole seconds. Vacancy events
/// name a `reference` and the `uri` of the vacancy, whose path writes every `%`
/// of the encoded reference as `!`; the others name an `applicantId`.
fn payload(event: &str, key: &str, extra: &Extra<'_>, at: DateTime<Utc>) -> String {
    let vacancy = event.starts_with("vacancy");
    let payload = Payload {
        reference: vacancy.then_some(key),
        applicant_id: (!vacancy).then_some(key),
        vacancy_reference: extra.vacancy_reference,
        file_id: extra.file_id,
        status_id: extra.status_id,
        uri: vacancy.then(|| format!("/api/v1/vacancies/{}", reference_in_path(key))),
        event_type: event,
        event_date: event_date(at),
    };
    // Strings alone cannot fail to be written.
    serde_json::to_string(&payload).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Extra, payload};
    use crate::clock::read_date;

    #[test]
    fn a_status_callback_reads_like_the_captured_one() {
        let at = read_date("2026-05-26T13:45:30.900Z").expect("a date");
        let extra = Extra { status_id: Some("_TS_CO_OfferStatus_Archive"), ..Extra::default() };
        assert_eq!(
            payload("vacancy_status", "2026-1000001", &extra, at),
            r#"{"reference":"2026-1000001","statusId":"_TS_CO_OfferStatus_Archive","uri":"/api/v1/vacancies/2026-1000001","event_type":"vacancy_status","event_date":"2026-05-26T13:45:30Z"}"#
        );
    }

    #[test]
    fn a_candidates_callback_names_the_applicant() {
        let at = read_date("2026-05-26T13:45:30Z").expect("a date");
        let extra = Extra { file_id: Some("f1"), ..Extra::default() };
        assert_eq!(
            payload("applicant_resume_update", "_TS-00001", &extra, at),
            r#"{"applicantId":"_TS-00001","fileId":"f1","event_type":"applicant_resume_update","event_date":"2026-05-26T13:45:30Z"}"#
        );
    }
}
