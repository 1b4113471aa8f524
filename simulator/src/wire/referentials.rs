//! The referentials: lists behind coded values, and their translations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::token::authorised;
use super::{Note, json_answer, number, parameters, refusal, success};
use crate::data::codes::{Code, ENGLISH, FRENCH, category};
use crate::simulator::Simulator;

/// One item of a referential, with its labels by Windows language id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferentialItem {
    /// The client code.
    pub id: String,
    /// The list shows the French one, or else the first.
    pub labels: BTreeMap<u32, String>,
}

/// How the referentials are served, where tenants may differ. By default as the
/// documentation says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReferentialManners {
    /// The list is answered whole, whatever interval is asked for.
    pub ignores_interval: bool,
    /// The most items of one answer.
    pub page_limit: Option<usize>,
    /// The answer says nothing of the size of the list, and an interval behind
    /// its end is refused.
    pub hides_total: bool,
    /// There is no list of translations.
    pub no_translation_list: bool,
    /// One translation is answered as the list of all of them.
    pub translation_as_list: bool,
}

/// What was changed about the referentials.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    manners: Mutex<ReferentialManners>,
    /// Lists in place of the generated ones; nothing for one that is taken away.
    given: Mutex<HashMap<String, Option<Vec<ReferentialItem>>>>,
}

impl Simulator {
    /// Serves the referentials in another way from now on.
    pub fn set_referential_manners(&self, manners: ReferentialManners) {
        *crate::lock(&self.inner.lists.manners) = manners;
    }

    /// Puts a list in place of a referential, or takes the referential away.
    pub fn set_referential(&self, category: &str, items: Option<Vec<ReferentialItem>>) {
        crate::lock(&self.inner.lists.given).insert(category.to_owned(), items);
    }

    fn referential(&self, name: &str) -> Option<Vec<ReferentialItem>> {
        if let Some(given) = crate::lock(&self.inner.lists.given).get(name) {
            return given.clone();
        }
        let labels = |code: &Code| [FRENCH, ENGLISH].map(|lcid| (lcid, code.label(lcid).to_owned())).into();
        let codes = category(name)?.iter();
        Some(codes.map(|code| ReferentialItem { id: code.id.to_owned(), labels: labels(code) }).collect())
    }

    fn manners(&self) -> ReferentialManners {
        *crate::lock(&self.inner.lists.manners)
    }
}

impl ReferentialItem {
    /// The item in one language. Only `id` and `label` are certain; `active` is
    /// what the front office's coded objects carry too, `lcid` is assumed.
    fn json(&self, lcid: u32) -> Option<Value> {
        let label = self.labels.get(&lcid)?;
        Some(json!({ "id": self.id, "label": label, "active": true, "lcid": lcid }))
    }

    /// The item as the list shows it.
    fn listed(&self) -> Value {
        let lcid = if self.labels.contains_key(&FRENCH) { Some(&FRENCH) } else { self.labels.keys().next() };
        let item = lcid.and_then(|lcid| self.json(*lcid));
        item.unwrap_or_else(|| json!({ "id": self.id, "label": null, "active": true }))
    }

    fn translations(&self) -> Value {
        self.labels.keys().filter_map(|lcid| self.json(*lcid)).collect()
    }
}

type Refused<T> = Result<T, Box<Response>>;

fn found(simulator: &Simulator, headers: &HeaderMap, name: &str) -> Refused<Vec<ReferentialItem>> {
    authorised(&simulator.inner, headers)?;
    simulator
        .referential(name)
        .ok_or_else(|| Box::new(refusal(StatusCode::NOT_FOUND, &format!("no referential is called '{name}'"))))
}

fn found_item(simulator: &Simulator, headers: &HeaderMap, name: &str, id: &str) -> Refused<ReferentialItem> {
    found(simulator, headers, name)?
        .into_iter()
        .find(|item| item.id == id)
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
    let all = match found(&simulator, &headers, &name) {
        Ok(all) => all,
        Err(refused) => return *refused,
    };
    let parameters = parameters(query.as_deref());
    let interval =
        number(&parameters, "offset").and_then(|offset| number(&parameters, "limit").map(|limit| (offset, limit)));
    let (mut offset, mut limit) = match interval {
        Ok((offset, limit)) => (offset.unwrap_or(0), limit.unwrap_or(all.len())),
        Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
    };
    let manners = simulator.manners();
    if manners.ignores_interval {
        (offset, limit) = (0, all.len());
    }
    if manners.hides_total && offset > 0 && offset >= all.len() {
        return refusal(StatusCode::NOT_FOUND, "the interval is behind the end");
    }
    let limit = limit.min(manners.page_limit.unwrap_or(usize::MAX));
    let items: Vec<Value> = all.iter().skip(offset).take(limit).map(ReferentialItem::listed).collect();
    let note = Note(format!("{} items", items.len()));
    let mut body = success(&Value::Array(items.clone()));
    if !manners.hides_total {
        // A running client reads this range as offset-size/total.
        body["contentRange"] = format!("{offset}-{}/{}", items.len(), all.len()).into();
    }
    let mut answer = json_answer(StatusCode::OK, &body);
    answer.extensions_mut().insert(note);
    answer
}

pub(crate) async fn item(
    State(simulator): State<Simulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(found_item(&simulator, &headers, &name, &id).map(|item| item.listed()))
}

pub(crate) async fn translations(
    State(simulator): State<Simulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if simulator.manners().no_translation_list {
        return refusal(StatusCode::NOT_FOUND, "no such resource");
    }
    answer(found_item(&simulator, &headers, &name, &id).map(|item| item.translations()))
}

pub(crate) async fn translation(
    State(simulator): State<Simulator>,
    Path((name, id, lcid)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let item = found_item(&simulator, &headers, &name, &id);
    answer(item.and_then(|item| match lcid.parse::<u32>() {
        Ok(lcid) if item.labels.contains_key(&lcid) && simulator.manners().translation_as_list => {
            Ok(item.translations())
        }
        Ok(lcid) => {
            item.json(lcid).ok_or_else(|| Box::new(refusal(StatusCode::NOT_FOUND, "not a language of this tenant")))
        }
        Err(_) => Err(Box::new(refusal(StatusCode::BAD_REQUEST, "the language is not a number"))),
    }))
}
