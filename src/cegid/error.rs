//! What a call to Cegid can come to: one type, one class each, one policy per class.
//!
//! | class | what it means | what is done |
//! |---|---|---|
//! | transient | 5xx, network, DNS, TLS, time-out, too slow | the stage pauses, longer each time; batches are halved to find one that provokes it; after five in a row over all stages, one probe at a time for the tenant |
//! | throttled | 429, or 503 with Retry-After | the tenant pauses as long as asked; no attempt is counted |
//! | credentials | the token endpoint refuses them, or two tokens in a row are refused | after three, one probe every five minutes; if one endpoint alone does it, for that stage alone |
//! | forbidden | 403, or no token for `hook_scope` alone | that stage alone pauses for five minutes |
//! | query | 400, 404 of an export, 413, 414 | the batch is halved; one subject alone fails by itself |
//! | full | what is kept of one answer has reached export.kept_limit | nothing is wrong: what is left is asked for next |
//! | unexpected | not what the endpoint answers, such as an HTML page with 200, or a redirect | as transient: never an empty list, never done |

use std::{fmt, io, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;

/// Which endpoint was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named like the endpoints")]
pub enum Stage {
    Token,
    Vacancies,
    Candidates,
    Reports,
    Webhooks,
    Referentials,
}

impl Stage {
    /// As in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Token => "token",
            Stage::Vacancies => "vacancies",
            Stage::Candidates => "candidates",
            Stage::Reports => "reports",
            Stage::Webhooks => "webhooks",
            Stage::Referentials => "referentials",
        }
    }

    /// What to ask the tenant's administrator for when this is forbidden.
    pub fn right(self) -> &'static str {
        match self {
            Stage::Token => "ask the tenant's administrator whether the application is enabled",
            Stage::Vacancies | Stage::Candidates | Stage::Reports => {
                "ask the tenant's administrator for the right MatchingIndexation, and check tenants.*.scope"
            }
            Stage::Webhooks => {
                "ask the tenant's administrator which scope may register webhooks, and set it as tenants.*.hook_scope"
            }
            Stage::Referentials => {
                "ask the tenant's administrator for the permission Use of the resource ReferencesAdministration"
            }
        }
    }
}

/// What kind of failure it is; the module says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the module documents the classes")]
pub enum Class {
    Transient,
    Throttled,
    Credentials,
    Forbidden,
    Query,
    Full,
    Unexpected,
}

impl Class {
    /// As in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::Throttled => "throttled",
            Class::Credentials => "credentials",
            Class::Forbidden => "forbidden",
            Class::Query => "query",
            Class::Full => "full",
            Class::Unexpected => "unexpected",
        }
    }
}

/// A call that did not succeed. Its text holds neither query nor personal data.
#[derive(Debug, Clone, thiserror::Error)]
pub struct CallError {
    /// Which endpoint.
    pub stage: Stage,
    /// What kind of failure.
    pub class: Class,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// What went wrong, in our words and, where they are short and structured, Cegid's.
    pub says: String,
    /// How long Cegid asked us to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calling {}: ", self.stage.as_str())?;
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.says)
    }
}

/// Shortest: "now", or a date that has passed, must not become a busy loop.
const RETRY_AFTER_LEAST: Duration = Duration::from_secs(1);
/// Longest wait that is granted to a Retry-After.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(3600);
/// Characters kept of what an error body says.
const SAYS: usize = 200;

/// The members under which error bodies carry a sentence: the Customer API's and OAuth's.
#[derive(Deserialize)]
struct ErrorBody {
    message: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl CallError {
    /// A failure without an answer.
    pub fn new(stage: Stage, class: Class, says: impl Into<String>) -> CallError {
        CallError { stage, class, status: None, says: says.into(), retry_after: None }
    }

    /// An answer of the token endpoint with a status of success that holds no token: an error as OAuth has it, or
    /// something else.
    pub fn refused_token(body: &[u8]) -> CallError {
        let error = serde_json::from_slice::<ErrorBody>(body).ok().and_then(|body| body.error);
        match error.as_deref() {
            Some("server_error" | "temporarily_unavailable") => {
                CallError::new(Stage::Token, Class::Transient, sentence(Stage::Token, body, StatusCode::OK))
            }
            Some(_) => CallError::new(Stage::Token, Class::Credentials, sentence(Stage::Token, body, StatusCode::OK)),
            None => CallError::new(Stage::Token, Class::Unexpected, "the answer is not a token"),
        }
    }

    /// The transport failed. A connection cut before the headers of an answer also ends here.
    pub fn transport(stage: Stage, error: &reqwest::Error) -> CallError {
        let host = error.url().and_then(url::Url::host_str).unwrap_or("the host");
        let says = if error.is_dns() {
            format!("DNS does not know {host}, or does not answer: check tenants.*.base_url and the resolver")
        } else if error.is_timeout() {
            if error.is_connect() { "no connection in time".to_owned() } else { "no answer in time".to_owned() }
        } else if error.is_connect() {
            not_connected(host, error)
        } else {
            "the connection was cut".to_owned()
        };
        CallError::new(stage, Class::Transient, says)
    }

    /// An answer that is not a success.
    pub fn answered(
        stage: Stage,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> CallError {
        let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()).and_then(|v| wait(v, now));
        let class = match status.as_u16() {
            429 => Class::Throttled,
            503 if retry_after.is_some() => Class::Throttled,
            400 | 401 | 403 if stage == Stage::Token => Class::Credentials,
            401 => Class::Credentials,
            403 => Class::Forbidden,
            // A wrong path or a deployment, not what was asked.
            404 if matches!(stage, Stage::Token | Stage::Reports | Stage::Webhooks) => Class::Unexpected,
            400 | 404 | 413 | 414 | 422 => Class::Query,
            300..=399 => Class::Unexpected,
            _ => Class::Transient,
        };
        let says = match status {
            StatusCode::NOT_FOUND if stage == Stage::Token => {
                sentence(stage, body, status) + "; check tenants.*.base_url and tenants.*.paths"
            }
            _ if status.is_redirection() => redirect(headers),
            _ => sentence(stage, body, status),
        };
        CallError { stage, class, status: Some(status.as_u16()), says, retry_after }
    }
}

/// Why there is no connection, by what lies at the bottom of the error: rustls reports as invalid data, and the other
/// side may hang up.
fn not_connected(host: &str, error: &reqwest::Error) -> String {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, InvalidData, UnexpectedEof};
    let tls = error.url().is_some_and(|url| url.scheme() == "https");
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        let io = below.downcast_ref::<io::Error>();
        if let Some(io) = io {
            match io.kind() {
                ConnectionRefused => return format!("{host} refuses the connection"),
                InvalidData | UnexpectedEof | ConnectionReset | BrokenPipe if tls => {
                    return format!("TLS with {host} failed: {}", shown(&io.to_string()));
                }
                _ => {}
            }
        }
        // The source of such an error is that of the one it wraps, which would be passed over.
        source = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => below.source(),
        };
    }
    format!("the connection to {host} could not be made")
}

/// Where a redirect leads, by host alone: the rest may name anybody.
fn redirect(headers: &HeaderMap) -> String {
    let location = headers.get("location").and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| url::Url::parse(location).ok());
    let host = url.as_ref().and_then(url::Url::host_str).map(|host| format!(" to {}", shown(host)));
    let host = host.unwrap_or_default();
    format!("a redirect{host}, which is not followed: tenants.*.base_url must be the back office's own address")
}

/// Short, and on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAYS).collect()
}

/// Reads Retry-After, seconds or an HTTP date.
fn wait(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let time = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now).to_std().unwrap_or_default(),
    };
    Some(time.clamp(RETRY_AFTER_LEAST, RETRY_AFTER_LIMIT))
}

/// What the body says where it is structured and the call named nobody; anything else may hold anybody's data and is
/// not kept.
fn sentence(stage: Stage, body: &[u8], status: StatusCode) -> String {
    if !matches!(stage, Stage::Token | Stage::Webhooks | Stage::Referentials) {
        return status.canonical_reason().unwrap_or("unknown status").to_owned();
    }
    let said = serde_json::from_slice::<ErrorBody>(body).ok().and_then(|body| {
        let parts: Vec<String> = [body.error, body.error_description, body.message].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    });
    let said = said.unwrap_or_else(|| status.canonical_reason().unwrap_or("unknown status").to_owned());
    shown(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_789_000_000, 0).unwrap()
    }

    fn answered(stage: Stage, status: u16, retry_after: Option<&str>) -> CallError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", value.parse().unwrap());
        }
        CallError::answered(stage, StatusCode::from_u16(status).unwrap(), &headers, b"<html>", now())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let seconds = |value| answered(Stage::Vacancies, 429, Some(value)).retry_after.map(|time| time.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Thu, 10 Sep 2026 00:27:40 GMT"), Some(60));
        assert_eq!(seconds("Wed, 09 Sep 2026 00:27:40 GMT"), Some(1));
        assert_eq!(seconds("0"), Some(1));
        assert_eq!(seconds("999999"), Some(3600));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_status_has_one_class() {
        let class = |stage, status| answered(stage, status, None).class;
        assert_eq!(class(Stage::Token, 400), Class::Credentials);
        assert_eq!(class(Stage::Vacancies, 400), Class::Query);
        assert_eq!(class(Stage::Reports, 403), Class::Forbidden);
        assert_eq!(class(Stage::Vacancies, 503), Class::Transient);
        assert_eq!(answered(Stage::Vacancies, 503, Some("3")).class, Class::Throttled);
        assert_eq!(class(Stage::Vacancies, 302), Class::Unexpected);
    }

    #[test]
    fn a_redirect_is_named_by_its_host_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("location", "https://login.example.com/sso?user=jane.doe".parse().unwrap());
        let says = |headers: &HeaderMap| {
            CallError::answered(Stage::Candidates, StatusCode::FOUND, headers, b"", now()).to_string()
        };
        let told = says(&headers);
        assert!(told.starts_with("calling candidates: 302 a redirect to login.example.com, which"), "{told}");
        assert!(!told.contains("jane"), "{told}");
        headers.insert("location", "/login".parse().unwrap());
        assert!(says(&headers).contains("a redirect, which"));
    }

    #[test]
    fn every_stage_names_what_it_needs() {
        for (stage, names) in [
            (Stage::Vacancies, "MatchingIndexation"),
            (Stage::Candidates, "MatchingIndexation"),
            (Stage::Reports, "MatchingIndexation"),
            (Stage::Webhooks, "tenants.*.hook_scope"),
            (Stage::Referentials, "ReferencesAdministration"),
        ] {
            assert!(stage.right().contains(names), "{stage:?}");
        }
    }

    #[test]
    fn only_structured_errors_are_quoted() {
        let says = |body: &[u8]| sentence(Stage::Token, body, StatusCode::BAD_REQUEST);
        assert_eq!(says(br#"{"error":"invalid_client"}"#), "invalid_client");
        assert_eq!(says(br#"{"code":400,"message":"Query not correct"}"#), "Query not correct");
        assert_eq!(says(b"<p>Jane Doe</p>"), "Bad Request");
        let quoted = br#"{"message":"no candidate Jane Doe"}"#;
        assert_eq!(sentence(Stage::Candidates, quoted, StatusCode::BAD_REQUEST), "Bad Request");
    }
}
