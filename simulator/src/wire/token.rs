//! `POST /api/token`, and what every other endpoint makes of a token.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use chrono::{DateTime, Duration, Utc};
use serde_json::json;

use super::{Note, json_answer, refusal};
use crate::data::random::Random;
use crate::simulator::{Inner, Simulator};

/// How long a token is good, in seconds, as the guide's answer shows.
const EXPIRES_IN: i64 = 1199;

/// Tokens given out, with what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    valid: Mutex<HashMap<String, Token>>,
    calls: AtomicU64,
    refusing: AtomicBool,
}

#[derive(Debug, Clone)]
struct Token {
    scope: String,
    until: DateTime<Utc>,
}

impl Tokens {
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn expire_all(&self) {
        crate::lock(&self.valid).clear();
    }

    pub(crate) fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }
}

/// Client credentials for a token. Wrong ones are answered 400, which is what a
/// client of the sibling API, with the same endpoint, takes for it; the body
/// follows OAuth.
pub(crate) async fn token(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let inner = &simulator.inner;
    let call = inner.tokens.calls.fetch_add(1, Ordering::SeqCst);
    let refused = |error: &str| {
        let mut answer = json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error }));
        answer.extensions_mut().insert(Note(error.to_owned()));
        answer
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
        return refused("invalid_request");
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "client_credentials" {
        return refused("unsupported_grant_type");
    }
    if field("client_id") != inner.config.client_id
        || field("client_secret") != inner.config.client_secret
        || inner.tokens.refusing.load(Ordering::SeqCst)
    {
        return refused("invalid_client");
    }
    let token = Random::of(inner.config.seed, "token", call).guid();
    let scope = field("scope").to_owned();
    let note = Note(format!("scope {scope}"));
    let until = inner.clock.now() + Duration::seconds(EXPIRES_IN);
    crate::lock(&inner.tokens.valid).insert(token.clone(), Token { scope, until });
    let body = json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
    });
    let mut answer = json_answer(StatusCode::OK, &body);
    answer.extensions_mut().insert(note);
    answer
}

/// The scope of the request's token, if the token is good. The scheme's case is
/// free, since the guide and running clients differ in it.
///
/// # Errors
///
/// The 401 to answer.
pub(crate) fn authorised(inner: &Inner, headers: &HeaderMap) -> Result<String, Box<Response>> {
    let refused = |why| Box::new(refusal(StatusCode::UNAUTHORIZED, why));
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refused("no bearer token"))?;
    let (scheme, token) = value.split_once(' ').ok_or_else(|| refused("no bearer token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused("no bearer token"));
    }
    match crate::lock(&inner.tokens.valid).get(token) {
        Some(token) if inner.clock.now() < token.until => Ok(token.scope.clone()),
        Some(_) => Err(refused("the token has expired")),
        None => Err(refused("the token is not known")),
    }
}
