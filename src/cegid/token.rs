//! Access tokens: cached until they expire, and asked for once however many callers wait.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;
use tracing::info;

use super::{Call, CallError, Class, Client, Stage, withheld};
use crate::{kill, settings::Secret};

/// A token is not used this close to its end: the call takes time too.
const LEEWAY: Duration = Duration::from_secs(30);
/// A refusal is answered again so long without asking: calls that were under way when it came are no further attempt.
const REFUSAL: Duration = Duration::from_secs(1);
/// Assumed when the answer names no usable lifetime.
const LIFETIME: u64 = 600;
/// No token is used longer, whatever its answer says.
const LIFETIME_LIMIT: u64 = 86_400;

/// A token, and which of them it is.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: Secret,
    /// Tells a caller's token from the one that has replaced it.
    pub(super) number: u64,
    expires_at: DateTime<Utc>,
}

/// The token of one scope.
#[derive(Default)]
pub(super) struct TokenCache {
    /// Held while a token is asked for, so that other callers wait for that one.
    current: Mutex<Current>,
    /// How often a token was asked for.
    asked: AtomicU64,
    /// When the last one was given, in microseconds since 1970; 0 before the first.
    given: AtomicI64,
}

#[derive(Default)]
struct Current {
    token: Option<Token>,
    number: u64,
    /// Why none was given when one was last asked for, and when.
    failed: Option<(CallError, DateTime<Utc>)>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

impl Answer {
    /// Reads a body that came with a status of success.
    fn read(body: &[u8]) -> Result<Answer, CallError> {
        let mut answer: Answer = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(_) => return Err(CallError::refused_token(body)),
        };
        // Some servers end it with a line.
        answer.access_token.truncate(answer.access_token.trim_ascii_end().len());
        if answer.access_token.is_empty() || !answer.access_token.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let says = "the answer's access_token is empty, or holds what no header can carry";
            return Err(CallError::new(Stage::Token, Class::Unexpected, says));
        }
        Ok(answer)
    }
}

/// A number, or a number in quotes, as the marketplace's sample has it.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|seconds| *seconds > 0))
}

impl TokenCache {
    /// The token in use, or a new one when there is none, it is about to expire, or it is the one that was `refused`.
    ///
    /// Who waited while one was asked for in vain has the same answer: eight stages that start together are one call.
    pub(super) async fn token(&self, client: &Client, scope: &str, refused: Option<u64>) -> Result<Token, CallError> {
        let asked = self.asked.load(Ordering::Acquire);
        let mut current = self.current.lock().await;
        let now = client.clock.now();
        if let Some(token) = &current.token
            && refused != Some(token.number)
            && token.expires_at > now
        {
            return Ok(token.clone());
        }
        if let Some((failed, at)) = &current.failed
            && (asked != self.asked.load(Ordering::Acquire)
                || failed.class == Class::Credentials && now < *at + REFUSAL)
        {
            return Err(failed.clone());
        }
        current.token = None;
        let answer = ask(client, scope).await;
        kill::point("token-given");
        self.asked.fetch_add(1, Ordering::Release);
        current.failed = answer.as_ref().err().map(|failed| (failed.clone(), client.clock.now()));
        let (value, lifetime) = answer?;
        let lifetime = Duration::from_secs(lifetime.min(LIFETIME_LIMIT));
        current.number += 1;
        let token = Token {
            value,
            number: current.number,
            expires_at: now + lifetime.saturating_sub(LEEWAY.min(lifetime / 2)),
        };
        current.token = Some(token.clone());
        self.given.store(now.timestamp_micros(), Ordering::Relaxed);
        Ok(token)
    }

    /// When a token was last given.
    pub(super) fn given_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.given.load(Ordering::Relaxed)).filter(|at| *at > DateTime::UNIX_EPOCH)
    }
}

/// Asks with the current secret, then with the previous one: a rotation changes both sides at different times.
async fn ask(client: &Client, scope: &str) -> Result<(Secret, u64), CallError> {
    let mut refused = None;
    for (nth, secret) in client.tenant.secrets().enumerate() {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client.tenant.client_id.as_str()),
            ("client_secret", secret.expose()),
        ];
        if !scope.is_empty() {
            form.push(("scope", scope));
        }
        let request = client.http.post(client.url(&client.tenant.paths.token)).form(&form);
        let read = |body: Bytes| Answer::read(&body).map_err(|error| withheld(error, client.tenant.secrets()));
        match client.call(Stage::Token, request, Call::Short).await.and_then(read) {
            Ok(answer) => {
                if nth > 0 {
                    info!(tenant = %client.id, "the previous client secret still gives tokens, the current one does not");
                }
                return Ok((Secret::from(answer.access_token.as_str()), answer.expires_in.unwrap_or(LIFETIME)));
            }
            Err(error) if error.class == Class::Credentials => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| CallError::new(Stage::Token, Class::Credentials, "there is no client secret")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        for (body, token) in [
            (r#"{"access_token":"abc","token_type":"bearer"}"#, Some("abc")),
            (r#"{"access_token":"abc\r\n","expires_in":"1199"}"#, Some("abc")),
            (r#"{"access_token":""}"#, None),
            (r#"{"access_token":"\n"}"#, None),
            (r#"{"access_token":"a b"}"#, Some("a b")),
            (r#"{"access_token":"a\nb"}"#, None),
            (r#"{"access_token":"caf\u00e9"}"#, None),
        ] {
            let read = Answer::read(body.as_bytes());
            assert_eq!(read.as_ref().ok().map(|answer| answer.access_token.as_str()), token, "{body}");
            assert!(read.err().is_none_or(|error| error.class == Class::Unexpected), "{body}");
        }
    }

    #[test]
    fn an_error_with_a_status_of_success_is_what_oauth_calls_it() {
        for (body, class, says) in [
            (
                r#"{"error":"invalid_client","error_description":"unknown"}"#,
                Class::Credentials,
                "invalid_client: unknown",
            ),
            (r#"{"error":"invalid_scope"}"#, Class::Credentials, "invalid_scope"),
            (r#"{"error":"temporarily_unavailable"}"#, Class::Transient, "temporarily_unavailable"),
            (r#"{"token":"abc"}"#, Class::Unexpected, "the answer is not a token"),
            (r#"{"access_token":7}"#, Class::Unexpected, "the answer is not a token"),
            ("[]", Class::Unexpected, "the answer is not a token"),
        ] {
            let refused = Answer::read(body.as_bytes()).err().unwrap();
            assert_eq!((refused.class, refused.says.as_str()), (class, says), "{body}");
        }
    }
}
