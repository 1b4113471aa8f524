//! The form of the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::index::{
    referentials::State,
    search::{Found, Label},
};

/// The member that holds the status, which an answer shows apart.
const STATUS: &str = "status";

/// A page of documents.
#[derive(Serialize)]
pub(super) struct Results {
    pub(super) total: i64,
    pub(super) offset: i64,
    pub(super) limit: i64,
    pub(super) items: Vec<Item>,
}

/// A document without its content.
#[derive(Serialize)]
pub(super) struct Item {
    key: String,
    title: String,
    searchable: bool,
    language: Option<i32>,
    status: Option<Status>,
    /// Only where words were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<f32>,
    indexed_at: DateTime<Utc>,
    created: Option<String>,
    modified: Option<String>,
    coded: Vec<Value>,
}

/// A vacancy's or a candidate's status.
#[derive(Serialize)]
struct Status {
    id: String,
    label: Option<String>,
}

/// A coded value as column `coded` holds it, and with what referentials add.
#[derive(Deserialize, Serialize)]
struct Value {
    field: String,
    id: Option<String>,
    label: Option<String>,
    /// Label by LCID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", skip_deserializing)]
    labels: BTreeMap<String, String>,
}

/// A document with its content.
#[derive(Serialize)]
pub(super) struct Content {
    #[serde(flatten)]
    item: Item,
    /// Resumes that are kept of a candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Box<RawValue>>,
}

impl Content {
    /// `attachments` is how many are kept of a candidate; `raw` is the detail object of a vacancy, and one that is not
    /// JSON any more is left out.
    pub(super) fn new(item: Item, attachments: Option<i64>, raw: Option<String>) -> Content {
        Content { item, attachments, raw: raw.and_then(|raw| RawValue::from_string(raw).ok()) }
    }
}

impl Item {
    pub(super) fn new(found: Found, ranked: bool, labels: &Labels) -> Item {
        let mut coded = coded(&found.coded);
        for value in &mut coded {
            let Some(known) = value.id.as_deref().and_then(|id| labels.get(id, value.label.as_deref())) else {
                continue;
            };
            value.labels = serde_json::from_str(&known.labels).unwrap_or_default();
            if let Some(label) = labels.language.and_then(|lcid| value.labels.get(&lcid.to_string())) {
                value.label = Some(label.clone());
            } else if value.label.is_none() {
                value.label.clone_from(&known.label);
            }
        }
        let status = coded.iter().position(|value| value.field == STATUS).map(|at| coded.remove(at));
        let status = found.status.map(|id| Status { id, label: status.and_then(|status| status.label) });
        Item {
            key: found.key,
            title: found.title,
            searchable: found.searchable,
            language: found.language,
            status,
            rank: ranked.then_some(found.rank),
            indexed_at: found.indexed_at,
            created: found.created,
            modified: found.modified,
            coded,
        }
    }
}

/// The referentials of a tenant.
#[derive(Serialize)]
pub(super) struct Lists {
    pub(super) items: Vec<List>,
}

/// How a referential is.
#[derive(Serialize)]
pub(super) struct List {
    category: String,
    /// Items held of it.
    items: i32,
    /// When it was last read to its end, or refused.
    read_at: DateTime<Utc>,
    /// Why it could not be read then.
    refused: Option<String>,
}

impl From<State> for List {
    fn from(State { category, read_at, items, refused }: State) -> List {
        List { category, items, read_at, refused }
    }
}

/// What this version cannot read of the column is not shown; the next refresh writes it anew.
fn coded(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap_or_default()
}

/// The labels of ids, out of the referentials.
#[derive(Default)]
pub(super) struct Labels {
    ids: BTreeSet<String>,
    /// Windows LCID of the labels that are shown, where there is one; otherwise the record's own is.
    language: Option<i32>,
    pub(super) known: HashMap<String, Vec<Label>>,
}

impl Labels {
    /// Those that these documents need, to be shown in this language; none is known yet.
    pub(super) fn of<'a>(documents: impl IntoIterator<Item = &'a Found>, language: Option<i32>) -> Labels {
        let mut ids = BTreeSet::new();
        for document in documents {
            ids.extend(coded(&document.coded).into_iter().filter_map(|value| value.id));
        }
        Labels { ids, language, known: HashMap::new() }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.ids.iter().cloned().collect()
    }

    /// What is known of `id`. Records do not say which list a value is out of, and two lists may hold the same id: then
    /// the record's own label decides, and without one nothing is said.
    fn get(&self, id: &str, own: Option<&str>) -> Option<&Label> {
        match self.known.get(id)?.as_slice() {
            [one] => Some(one),
            several => {
                let own = own?;
                let mut same = several.iter().filter(|label| label.label.as_deref() == Some(own));
                same.next().filter(|_| same.next().is_none())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: Option<&str>, coded: &str) -> Found {
        Found {
            key: "2026-1".into(),
            searchable: true,
            title: "Soudeur".into(),
            language: Some(1036),
            status: status.map(Into::into),
            created: None,
            modified: None,
            coded: coded.into(),
            indexed_at: DateTime::UNIX_EPOCH,
            rank: 0.5,
        }
    }

    fn label(label: &str, labels: &str) -> Label {
        Label { label: Some(label.into()), labels: labels.into() }
    }

    #[test]
    fn labels_are_filled_in_and_never_guessed() {
        let found = found(
            Some("live"),
            r#"[{"field":"a","id":"cdi","label":"CDI"},{"field":"b","id":"fr","label":null},
                {"field":"c","id":"41","label":"Rennes"},{"field":"d","id":"41","label":null},
                {"field":"e","label":"free"},{"field":"f","id":"unread"},{"field":"status","id":"live"}]"#,
        );
        let mut labels = Labels::of([&found], None);
        assert_eq!(labels.ids(), ["41", "cdi", "fr", "live", "unread"]);
        labels.known = HashMap::from([
            ("cdi".to_owned(), vec![label("other", r#"{"1033":"Permanent","1036":"CDI"}"#)]),
            ("fr".to_owned(), vec![label("France", "{}")]),
            ("41".to_owned(), vec![label("Rennes", r#"{"1033":"Rennes"}"#), label("Banque", "{}")]),
            ("live".to_owned(), vec![label("Diffusée", "not json")]),
        ]);
        let item = serde_json::to_value(Item::new(found, true, &labels)).unwrap();
        let coded = serde_json::json!([
            {"field":"a","id":"cdi","label":"CDI","labels":{"1033":"Permanent","1036":"CDI"}},
            {"field":"b","id":"fr","label":"France"},
            {"field":"c","id":"41","label":"Rennes","labels":{"1033":"Rennes"}},
            {"field":"d","id":"41","label":null},
            {"field":"e","id":null,"label":"free"},
            {"field":"f","id":"unread","label":null},
        ]);
        assert_eq!(item["coded"], coded);
        assert_eq!(item["status"], serde_json::json!({"id":"live","label":"Diffusée"}));
        assert_eq!(item["rank"], 0.5);
    }

    #[test]
    fn labels_are_shown_in_the_language_that_is_asked_for_where_there_are_any() {
        let coded = r#"[{"field":"a","id":"cdi","label":"CDI"},{"field":"b","id":"fr","label":"France"},
                        {"field":"status","id":"live","label":"Diffusée"}]"#;
        let found = || found(Some("live"), coded);
        let mut labels = Labels::of([&found()], Some(1031));
        labels.known = HashMap::from([
            ("cdi".to_owned(), vec![label("CDI", r#"{"1031":"Unbefristet","1033":"Permanent"}"#)]),
            ("fr".to_owned(), vec![label("La France", "{}")]),
            ("live".to_owned(), vec![label("Diffusée", r#"{"1031":"Veröffentlicht"}"#)]),
        ]);
        let item = serde_json::to_value(Item::new(found(), false, &labels)).unwrap();
        assert_eq!((&item["coded"][0]["label"], &item["coded"][1]["label"]), (&"Unbefristet".into(), &"France".into()));
        assert_eq!(item["status"]["label"], "Veröffentlicht");
    }

    #[test]
    fn content_is_shown_as_it_came() {
        let content = |raw: &str| {
            let item = Item::new(found(None, "[]"), false, &Labels::default());
            serde_json::to_string(&Content::new(item, None, Some(raw.into()))).unwrap()
        };
        assert!(content(r#"{"b":1.50, "a":"é"}"#).ends_with(r#""raw":{"b":1.50, "a":"é"}}"#));
        assert!(!content("{").contains("raw") && !content("{").contains("rank"));
    }
}
