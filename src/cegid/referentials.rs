//! Reading referentials with their translations.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Call, CallError, Class, Client, Stage};

/// Items asked for in one call.
const PAGE: usize = 100;
/// Items of one list; more are left out rather than read for ever.
const MOST: usize = 20_000;

/// One item of a list, loosely read: its members are not documented.
#[derive(Debug, Clone)]
pub struct Item {
    /// Client code, verbatim.
    pub id: String,
    /// Its own label.
    pub label: Option<String>,
    /// Label by LCID.
    pub labels: BTreeMap<i32, String>,
    /// As received.
    pub raw: String,
}

/// One list, or that the tenant has none of this name.
#[derive(Debug)]
pub enum List {
    /// Its items, without translations.
    Items(Vec<Item>),
    /// 404: the name is not known there.
    Unknown,
}

/// The array in an answer, with or without the wrapper `{"data": […]}`.
fn unwrap(body: &[u8]) -> Option<Value> {
    match serde_json::from_slice(body).ok()? {
        Value::Object(mut wrapped) if wrapped.contains_key("data") => wrapped.remove("data"),
        bare => Some(bare),
    }
}

fn text(value: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

impl Client {
    /// Every item of a list, page by page.
    ///
    /// # Errors
    /// When Cegid is away or the answer is not a list.
    pub async fn referential(&self, category: &str) -> Result<List, CallError> {
        let mut items: Vec<Item> = Vec::new();
        let mut offset = 0;
        while items.len() < MOST {
            let mut url = self.url(&self.tenant.paths.referentials);
            if let Ok(mut path) = url.path_segments_mut() {
                path.push(category);
            }
            url.query_pairs_mut().append_pair("offset", &offset.to_string()).append_pair("limit", &PAGE.to_string());
            let answer = match self.send(Stage::Referentials, Call::Short, |http| http.get(url.clone())).await {
                Err(error) if error.status == Some(404) => return Ok(List::Unknown),
                answer => answer?,
            };
            let body = self.body(Stage::Referentials, answer).await?;
            let Some(Value::Array(page)) = unwrap(&body) else {
                return Err(CallError::new(Stage::Referentials, Class::Unexpected, "the answer is not a list"));
            };
            let before = items.len();
            offset += page.len();
            for value in &page {
                if let Some(id) = text(value, &["clientCode", "id"])
                    && !items.iter().any(|item| item.id == id)
                {
                    let label = text(value, &["label"]);
                    items.push(Item { id, label, labels: BTreeMap::new(), raw: value.to_string() });
                }
            }
            // A list that ignores the interval answers the same items again.
            if page.len() < PAGE || items.len() == before {
                break;
            }
        }
        Ok(List::Items(items))
    }

    /// The label of an item in one language; none when there is no such translation.
    ///
    /// # Errors
    /// When Cegid is away.
    pub async fn translation(&self, category: &str, id: &str, lcid: i32) -> Result<Option<String>, CallError> {
        let mut url = self.url(&self.tenant.paths.referentials);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend([category, id, "translations", &lcid.to_string()]);
        }
        let answer = match self.send(Stage::Referentials, Call::Short, |http| http.get(url.clone())).await {
            Err(error) if error.class == Class::Query => return Ok(None),
            answer => answer?,
        };
        let body = self.body(Stage::Referentials, answer).await?;
        let value = unwrap(&body);
        let value = match &value {
            Some(Value::Array(of)) => of.first(),
            value => value.as_ref(),
        };
        Ok(value.and_then(|value| text(value, &["label"])))
    }
}
