//! The referentials: lists behind coded values, and their translations.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::token::authorised;
use super::{Note, json_answer, number, parameters, refusal, success};
use crate::data::codes::{Code, ENGLISH, FRENCH, category};
use crate::simulator::Simulator;

/// An item in one language. Only `id` and `label` are certain; `active` is what
/// the front office's coded objects carry too, `lcid` is assumed.
fn item_json(code: &Code, lcid: u32) -> Value {
    json!({ "id": code.id, "label": code.label(lcid), "active": true, "lcid": lcid })
}

type Found = Result<&'static [Code], Box<Response>>;

fn found(simulator: &Simulator, headers: &HeaderMap, name: &str) -> Found {
    authorised(&simulator.inner, headers)?;
    category(name)
        .ok_or_else(|| Box::new(refusal(StatusCode::NOT_FOUND, &format!("no referential is called '{name}'"))))
}

fn found_item(
    simulator: &Simulator,
    headers: &HeaderMap,
    name: &str,
    id: &str,
) -> Result<&'static Code, Box<Response>> {
    found(simulator, headers, name)?
        .iter()
        .find(|code| code.id == id)
        .ok_or_else(|| Box::new(refusal(StatusCode::NOT_FOUND, &format!("no client code is '{id}'"))))
}

fn answer(result: Result<Value, Box<Response>>) -> Response {
    match result {
        Ok(data) => json_answer(StatusCode::OK, &success(&data)),
        Err(refused) => *refused,
    }
}

/// Everything, or the interval that `offset` and `limit` name.
pub(crate) async fn list(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let codes = match found(&simulator, &headers, &name) {
        Ok(codes) => codes,
        Err(refused) => return *refused,
    };
    let parameters = parameters(query.as_deref());
    let interval =
        number(&parameters, "offset").and_then(|offset| number(&parameters, "limit").map(|limit| (offset, limit)));
    let (offset, limit) = match interval {
        Ok((offset, limit)) => (offset.unwrap_or(0), limit.unwrap_or(codes.len())),
        Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
    };
    let items: Vec<Value> = codes.iter().skip(offset).take(limit).map(|code| item_json(code, FRENCH)).collect();
    let note = Note(format!("{} items", items.len()));
    let mut body = success(&Value::Array(items.clone()));
    // A running client reads this range as offset-size/total.
    body["contentRange"] = format!("{offset}-{}/{}", items.len(), codes.len()).into();
    let mut answer = json_answer(StatusCode::OK, &body);
    answer.extensions_mut().insert(note);
    answer
}

pub(crate) async fn item(
    State(simulator): State<Simulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(found_item(&simulator, &headers, &name, &id).map(|code| item_json(code, FRENCH)))
}

pub(crate) async fn translations(
    State(simulator): State<Simulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let code = found_item(&simulator, &headers, &name, &id);
    answer(code.map(|code| json!([item_json(code, FRENCH), item_json(code, ENGLISH)])))
}

pub(crate) async fn translation(
    State(simulator): State<Simulator>,
    Path((name, id, lcid)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let code = found_item(&simulator, &headers, &name, &id);
    answer(code.and_then(|code| match lcid.parse::<u32>() {
        Ok(lcid @ (FRENCH | ENGLISH)) => Ok(item_json(code, lcid)),
        Ok(_) => Err(Box::new(refusal(StatusCode::NOT_FOUND, "not a language of this tenant"))),
        Err(_) => Err(Box::new(refusal(StatusCode::BAD_REQUEST, "the language is not a number"))),
    }))
}
