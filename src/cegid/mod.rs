//! The third party: everything that is sent to Cegid and how its answers are read.
//!
//! A [`Client`] speaks to one tenant. It adds the token, renews it once when it is refused, never follows a redirect
//! (the token would go along), bounds every wait and every answer, and sorts failures into classes ([`error`]). It
//! decides nothing: when to call again is the worker's business.

mod attachments;
mod body;
mod brisk;
mod broken;
pub mod error;
mod export;
pub mod frames;
mod hooks;
mod query;
mod referentials;
mod reports;
mod token;
pub mod unpack;
mod withheld;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use reqwest::{
    RequestBuilder, Response,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect,
};
use url::Url;

pub use broken::Broken;
pub use error::{CallError, Class, Stage};
pub use export::Page;
pub use query::{Query, encoded_length};
pub use referentials::{Item as ReferentialItem, List as ReferentialList};
pub use unpack::{Digest, digest_text};

use crate::{
    clock::Clock,
    domain::TenantId,
    metrics::{self, Metrics},
    settings::{self, Secret, Tenant},
};

/// Of everything but exports.
const SHORT_CALL: Duration = Duration::from_secs(60);
/// Bytes of an answer that is not an export.
const SHORT_ANSWER: usize = 8 * 1024 * 1024;
/// Bytes read of an error's body.
const ERROR_BODY: usize = 2048;

/// What the wrapper of Cegid's JSON answers says, if there is one.
#[derive(serde::Deserialize)]
struct Wrapper {
    status: Option<serde_json::Value>,
}

/// Why an answer with a status of success is none: a proxy's or a maintenance site's page, or an error in JSON.
fn disguised(body: &[u8]) -> Option<&'static str> {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    match text.first() {
        Some(b'<') => Some("a page in HTML instead of an answer"),
        Some(b'{') => {
            let wrapper = serde_json::from_slice::<Wrapper>(text).ok()?;
            (wrapper.status? == "error").then_some("an error with a status of success")
        }
        _ => None,
    }
}

/// The same, without its words where these hold one of the secrets.
fn withheld<'a>(error: CallError, secrets: impl IntoIterator<Item = &'a Secret>) -> CallError {
    if secrets.into_iter().any(|secret| withheld::holds(&error.says, secret.expose())) {
        CallError { says: "what Cegid says holds a secret, and is withheld".to_owned(), ..error }
    } else {
        error
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
enum Call {
    Short,
    Export,
}

/// The HTTP client that all tenants share: connections are pooled by host.
///
/// # Errors
/// When the machine has no CA certificates.
pub fn http_client(export: &settings::Export) -> reqwest::Result<reqwest::Client> {
    let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    // Bodies are decompressed by `body`: what reqwest does ends at the first gzip member, whatever follows it.
    let builder = reqwest::Client::builder().no_gzip().no_brotli().no_deflate().no_zstd();
    // At two calls at once HTTP/2 gains nothing, and a host that asks for HTTP/1.1 would refuse every call.
    builder
        .http1_only()
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .connect_timeout(export.connect_timeout)
        .read_timeout(export.read_timeout)
        .user_agent(concat!("cegid-indexer/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Speaks to one tenant.
#[derive(Clone)]
pub struct Client {
    id: TenantId,
    tenant: Arc<Tenant>,
    http: reqwest::Client,
    limits: settings::Export,
    clock: Clock,
    metrics: Arc<Metrics>,
    token: Arc<token::TokenCache>,
    hook_token: Arc<token::TokenCache>,
}

impl Client {
    /// A client without a token yet.
    pub fn new(
        id: TenantId,
        tenant: Arc<Tenant>,
        http: reqwest::Client,
        limits: settings::Export,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Client {
        Client { id, tenant, http, limits, clock, metrics, token: Arc::default(), hook_token: Arc::default() }
    }

    /// The settings it speaks by.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Base URLs are given with and without a slash at the end.
    fn url(&self, path: &str) -> Url {
        let mut url = self.tenant.base_url.clone();
        let joined = format!("{}/{}", url.path().trim_end_matches('/'), path.trim_start_matches('/'));
        url.set_path(&joined);
        url
    }

    /// Sends with a token and gives the answer's head; a refused token is renewed once.
    async fn send(
        &self,
        stage: Stage,
        call: Call,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, CallError> {
        let token = self.token(stage, None).await?;
        let with = |token: &token::Token| {
            request(&self.http).header("authorization", format!("bearer {}", token.value.expose()))
        };
        match self.head(stage, with(&token), call).await {
            Err(refused) if refused.status == Some(401) => {
                let renewed = self.token(stage, Some(token.number)).await?;
                self.head(stage, with(&renewed), call).await.map_err(|error| withheld(error, [&renewed.value]))
            }
            answer => answer.map_err(|error| withheld(error, [&token.value])),
        }
    }

    /// The token for a stage. No token for the webhooks' own scope, while there is one for the other, is a missing right.
    async fn token(&self, stage: Stage, refused: Option<u64>) -> Result<token::Token, CallError> {
        if stage != Stage::Webhooks || self.tenant.hook_scope.is_empty() {
            return self.token.token(self, &self.tenant.scope, refused).await;
        }
        match self.hook_token.token(self, &self.tenant.hook_scope, refused).await {
            Err(refused) if refused.class == Class::Credentials => {
                self.token.token(self, &self.tenant.scope, None).await?;
                Err(CallError { stage, class: Class::Forbidden, ..refused })
            }
            token => token,
        }
    }

    /// Sends as it is and reads the whole answer.
    async fn call(&self, stage: Stage, request: RequestBuilder, call: Call) -> Result<Bytes, CallError> {
        let answer = self.head(stage, request, call).await?;
        self.body(stage, answer).await
    }

    /// The body of a short answer, capped; not one that only looks like a success.
    async fn body(&self, stage: Stage, answer: Response) -> Result<Bytes, CallError> {
        let body = self.whole_body(stage, answer).await.and_then(|body| match disguised(&body) {
            None => Ok(body),
            Some(says) => Err(CallError::new(stage, Class::Unexpected, says)),
        });
        body.inspect_err(|error| self.count(stage, Some(error.class)))
    }

    async fn whole_body(&self, stage: Stage, answer: Response) -> Result<Bytes, CallError> {
        let mut stream = body::body_stream(stage, answer);
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() > SHORT_ANSWER {
                return Err(CallError::new(stage, Class::Unexpected, "the answer is larger than 8 MiB"));
            }
        }
        Ok(body.into())
    }

    async fn head(&self, stage: Stage, request: RequestBuilder, call: Call) -> Result<Response, CallError> {
        let limit = match call {
            Call::Short => SHORT_CALL,
            Call::Export => self.limits.call_timeout,
        };
        let result = match request.timeout(limit).send().await {
            Ok(answer) if answer.status().is_success() => Ok(answer),
            Ok(answer) => {
                let (status, headers) = (answer.status(), answer.headers().clone());
                let mut body = Vec::new();
                let mut stream = body::body_stream(stage, answer);
                while let Some(Ok(chunk)) = stream.next().await {
                    body.extend_from_slice(&chunk);
                    if body.len() >= ERROR_BODY {
                        break;
                    }
                }
                Err(CallError::answered(stage, status, &headers, &body, self.clock.now()))
            }
            Err(error) => Err(CallError::transport(stage, &error)),
        };
        let result = result.map_err(|error| withheld(error, self.tenant.secrets()));
        self.count(stage, result.as_ref().err().map(|error| error.class));
        result
    }

    /// When a token was last given; none yet is none.
    pub fn token_given_at(&self) -> Option<DateTime<Utc>> {
        self.token.given_at().max(self.hook_token.given_at())
    }

    fn count(&self, stage: Stage, failed: Option<Class>) {
        let class = failed.map_or("ok", Class::as_str);
        let labels = metrics::Call { tenant: self.id.to_string(), stage: stage.as_str(), class };
        self.metrics.calls.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_an_error_are_no_answer_whatever_the_status() {
        for body in ["<!DOCTYPE html>", " \r\n<html>", "\u{feff}<p>", r#"{"code":500,"status":"error","message":"x"}"#]
        {
            assert!(disguised(body.as_bytes()).is_some(), "{body}");
        }
        for body in
            ["", "null", "OK", r#"{"code":200,"status":"success","data":{"hookId":1}}"#, r#"{"hookId":"a"}"#, "[]"]
        {
            assert_eq!(disguised(body.as_bytes()), None, "{body}");
        }
    }
}
