//! The HTTP side: which request goes where, and what every request passes first.

pub(crate) mod compressed;
pub(crate) mod exports;
pub(crate) mod filter;
pub(crate) mod frames;
pub(crate) mod hooks;
pub(crate) mod mishaps;
pub(crate) mod record;
pub(crate) mod referentials;
pub(crate) mod reports;
pub(crate) mod token;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use crate::simulator::Simulator;

/// The whole site: the API as partners know it, and the control API beside it.
pub(crate) fn router(simulator: Simulator) -> Router {
    let api = Router::new()
        .route("/api/token", post(token::token))
        .route("/api/system/v1/webhooks", post(hooks::register))
        .route("/api/system/v1/webhooks/{hook}", delete(hooks::unregister))
        .route("/api/exports/v1/vacancies", get(exports::vacancies))
        .route("/api/exports/v1/candidates", get(exports::candidates))
        .route("/api/exports/v1/reports", post(reports::reports))
        .route("/api/v1/referentials/{category}", get(referentials::list))
        .route("/api/v1/referentials/{category}/{id}", get(referentials::item))
        .route("/api/v1/referentials/{category}/{id}/translations", get(referentials::translations))
        .route("/api/v1/referentials/{category}/{id}/translations/{lcid}", get(referentials::translation))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "no such resource") })
        .layer(axum::middleware::from_fn_with_state(simulator.clone(), mishaps::pass));
    Router::new().nest("/control", crate::control::router()).merge(api).with_state(simulator)
}

/// What a request was about, for the log; carried as an extension of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Note(pub(crate) String);

/// The envelope of JSON answers. That the system API uses the same one as the
/// vacancies list is seen for `data.hookId` and assumed for the rest.
pub(crate) fn success(data: &Value) -> Value {
    json!({ "code": 200, "status": "success", "data": data })
}

/// A refusal with a sentence; what real error bodies look like is not known.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let body = json!({ "code": status.as_u16(), "status": "error", "message": message });
    let mut answer = json_answer(status, &body);
    answer.extensions_mut().insert(Note(message.to_owned()));
    answer
}

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, headers, body.to_string()).into_response()
}

/// The decoded parameters of a query, in order.
pub(crate) fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A whole number from a query.
///
/// # Errors
///
/// A sentence, when the parameter is there and not a number.
pub(crate) fn number(parameters: &[(String, String)], name: &str) -> Result<Option<usize>, String> {
    parameters
        .iter()
        .find(|(parameter, _)| parameter == name)
        .map(|(_, value)| value.parse().map_err(|_| format!("{name} is not a whole number: '{value}'")))
        .transpose()
}
