//! A first mapping of records, to be replaced by the typed one.
#![allow(missing_docs)]
use serde_json::Value;

use super::{Coded, Kind, Subject};

#[derive(Clone)]
pub struct Document {
    subject: Subject,
    pub title: String,
    pub language: Option<i32>,
    pub status: Option<Coded>,
    pub live: bool,
    pub anonymised: bool,
    pub created: Option<String>,
    pub modified: Option<String>,
    pub raw: String,
    folded: [String; 3],
}

pub struct Stemming;

impl Stemming {
    pub fn regconfig(&self) -> &'static str {
        "simple"
    }
}

impl Document {
    pub fn key(&self) -> &str {
        self.subject.key()
    }
    pub fn kind(&self) -> Kind {
        self.subject.kind()
    }
    pub fn member(&self, _: &str) -> Option<String> {
        None
    }
    pub fn coded_json(&self) -> String {
        "[]".into()
    }
    pub fn stemming(&self) -> Stemming {
        Stemming
    }
    pub fn folded(&self) -> &[String; 3] {
        &self.folded
    }
}

pub struct Record {
    pub subject: Subject,
    pub document: Document,
}

pub fn read_record(kind: Kind, json: &[u8], live: &[String]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(json).map_err(|_| "not JSON".to_owned())?;
    let (name, key) = match kind {
        Kind::Vacancy => ("offerDetail", "reference"),
        Kind::Candidate => ("candidateDetail", "id"),
    };
    let detail = value.get(name).unwrap_or(&value);
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let subject = Subject::new(kind, text(detail, key).ok_or("no key")?);
    let title = match kind {
        Kind::Vacancy => detail.get("jobDescription").and_then(|job| text(job, "title")),
        Kind::Candidate => text(detail, "title"),
    };
    let status: Option<Coded> = detail.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let is_live = kind == Kind::Candidate
        || status.as_ref().and_then(|status| status.id.as_ref()).is_some_and(|id| live.contains(id));
    let title = title.unwrap_or_default();
    Ok(Record {
        subject: subject.clone(),
        document: Document {
            subject,
            folded: [title.clone(), String::new(), detail.to_string()],
            title,
            language: None,
            status,
            live: is_live,
            anonymised: detail.get("isAnonymized").and_then(Value::as_bool).unwrap_or(false),
            created: text(detail, "creationDate"),
            modified: text(detail, "modificationDate"),
            raw: detail.to_string(),
        },
    })
}
