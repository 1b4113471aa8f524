//! Reading referentials with their translations.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use url::Url;

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

/// What an answer holds, with or without the wrapper `{"data": …, "contentRange": "offset-size/total"}`.
struct Answer {
    value: Value,
    /// Items of the whole list, where it says so.
    total: Option<usize>,
}

fn unwrap(body: &[u8]) -> Option<Answer> {
    match serde_json::from_slice(body).ok()? {
        Value::Object(mut wrapped) if wrapped.contains_key("data") => {
            let range = wrapped.get("contentRange").and_then(Value::as_str);
            let total = range.and_then(|range| range.rsplit_once('/')?.1.trim().parse().ok());
            Some(Answer { value: wrapped.remove("data")?, total })
        }
        bare => Some(Answer { value: bare, total: None }),
    }
}

fn text(value: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The language of a translation, where it says so.
fn language(value: &Value) -> Option<i32> {
    text(value, &["lcid", "languageId"])?.trim().parse().ok()
}

/// The label in one language: an answer may be one translation or a list of them, and may name its language.
fn label_in(value: &Value, lcid: i32) -> Option<String> {
    let several = match value {
        Value::Array(several) => several.as_slice(),
        one => std::slice::from_ref(one),
    };
    let said = several.iter().find(|value| language(value) == Some(lcid));
    let unsaid = || several.first().filter(|value| several.len() == 1 && language(value).is_none());
    text(said.or_else(unsaid)?, &["label"])
}

/// Labels by language; none when a translation does not say its own.
fn labels_of(value: &Value) -> Option<BTreeMap<i32, String>> {
    let mut labels = BTreeMap::new();
    for value in value.as_array()? {
        let lcid = language(value)?;
        labels.extend(text(value, &["label"]).map(|label| (lcid, label)));
    }
    Some(labels)
}

impl Client {
    /// Every item of a list, page by page: to its stated end, or until a page shows nothing new. How many items a tenant
    /// answers at most is not known, and some answer everything whatever the interval.
    ///
    /// # Errors
    /// When Cegid is away or the answer is not a list.
    pub async fn referential(&self, category: &str) -> Result<List, CallError> {
        let mut items: Vec<Item> = Vec::new();
        let mut known: HashSet<String> = HashSet::new();
        let mut offset = 0;
        while items.len() < MOST {
            let mut url = self.referentials_url([category]);
            url.query_pairs_mut().append_pair("offset", &offset.to_string()).append_pair("limit", &PAGE.to_string());
            let answer = match self.send(Stage::Referentials, Call::Short, |http| http.get(url.clone())).await {
                Err(error) if error.stage != Stage::Referentials => return Err(error),
                // An interval behind the end is another matter than a name that is not known.
                Err(error) if offset > 0 && error.class == Class::Query => break,
                Err(error) if error.status == Some(404) => return Ok(List::Unknown),
                answer => answer?,
            };
            let body = self.body(Stage::Referentials, answer).await?;
            let Some(Answer { value: Value::Array(page), total }) = unwrap(&body) else {
                return Err(CallError::new(Stage::Referentials, Class::Unexpected, "the answer is not a list"));
            };
            let before = items.len();
            offset += page.len();
            for value in &page {
                if let Some(id) = text(value, &["clientCode", "id"])
                    && known.insert(id.clone())
                {
                    let label = text(value, &["label"]);
                    items.push(Item { id, label, labels: BTreeMap::new(), raw: value.to_string() });
                }
            }
            if items.len() == before || total.is_some_and(|total| offset >= total) {
                break;
            }
        }
        Ok(List::Items(items))
    }

    /// The labels of an item by language, in one call; none when the tenant does not list translations with their
    /// languages.
    ///
    /// # Errors
    /// When Cegid is away or forbids it.
    pub async fn translations(&self, category: &str, id: &str) -> Result<Option<BTreeMap<i32, String>>, CallError> {
        Ok(self.translated(&[category, id, "translations"]).await?.as_ref().and_then(labels_of))
    }

    /// The label of an item in one language; none when there is no such translation.
    ///
    /// # Errors
    /// When Cegid is away or forbids it.
    pub async fn translation(&self, category: &str, id: &str, lcid: i32) -> Result<Option<String>, CallError> {
        let answer = self.translated(&[category, id, "translations", &lcid.to_string()]).await?;
        Ok(answer.and_then(|value| label_in(&value, lcid)))
    }

    /// What a path below a list answers; none when there is no such thing.
    async fn translated(&self, path: &[&str]) -> Result<Option<Value>, CallError> {
        let url = self.referentials_url(path.iter().copied());
        let answer = match self.send(Stage::Referentials, Call::Short, |http| http.get(url.clone())).await {
            Err(error) if error.class == Class::Query => return Ok(None),
            answer => answer?,
        };
        let body = self.body(Stage::Referentials, answer).await?;
        Ok(unwrap(&body).map(|answer| answer.value))
    }

    fn referentials_url<'a>(&self, below: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.url(&self.tenant.paths.referentials);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(below);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_with_and_without_its_wrapper() {
        let read = |json: Value| unwrap(json.to_string().as_bytes()).map(|answer| (answer.value, answer.total));
        assert_eq!(read(json!([1])), Some((json!([1]), None)));
        assert_eq!(read(json!({"data": [1], "contentRange": "0-100/250"})), Some((json!([1]), Some(250))));
        assert_eq!(read(json!({"data": [], "contentRange": null})), Some((json!([]), None)));
        assert!(unwrap(b"<html>").is_none());
    }

    #[test]
    fn a_translation_is_taken_only_for_the_language_that_it_is_in() {
        let (french, english) =
            (json!({"lcid": 1036, "label": "Allemagne"}), json!({"lcid": "1033", "label": "Germany"}));
        let label = |value: &Value| label_in(value, 1033);
        assert_eq!(label(&english).as_deref(), Some("Germany"));
        assert_eq!(label(&json!([french, english])).as_deref(), Some("Germany"));
        assert_eq!(label(&json!({"label": "Germany"})).as_deref(), Some("Germany"));
        assert_eq!(label(&json!([{"label": "Germany"}])).as_deref(), Some("Germany"));
        for other in [french.clone(), json!([french]), json!([{"label": "a"}, {"label": "b"}]), json!([]), Value::Null]
        {
            assert_eq!(label(&other), None, "{other}");
        }
    }

    #[test]
    fn translations_are_a_list_where_each_says_its_language() {
        let list =
            json!([{"lcid": 1036, "label": "Allemagne"}, {"languageId": 1031, "label": "Deutschland"}, {"lcid": 1033}]);
        let labels = BTreeMap::from([(1031, "Deutschland".to_owned()), (1036, "Allemagne".to_owned())]);
        assert_eq!(labels_of(&list), Some(labels));
        assert_eq!(labels_of(&json!([])), Some(BTreeMap::new()));
        assert_eq!(labels_of(&json!([{"lcid": 1036, "label": "a"}, {"label": "b"}])), None);
        assert_eq!(labels_of(&json!({"label": "a"})), None);
    }
}
