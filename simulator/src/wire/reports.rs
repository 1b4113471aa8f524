//! `POST /api/exports/v1/reports`: what a partner says became of each item.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::token::authorised;
use super::{Note, json_answer, refusal, success};
use crate::clock::read_date;
use crate::simulator::{Simulator, TruthRow};

/// One item of a report that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportRow {
    /// From 1, in the order of arrival, over all reports.
    pub number: u64,
    /// When it arrived, on the tenant's clock.
    pub at: DateTime<Utc>,
    /// `vacancies` or `candidates`, whatever case it was sent in.
    pub report_type: String,
    /// The item's id, as sent.
    pub id: String,
    /// Creation date, as sent.
    pub date: String,
    /// Date of the last update, as sent.
    pub last_update_date: String,
    /// `success` or `error`.
    pub status: String,
    /// Messages of an error.
    pub messages: Vec<String>,
}

impl ReportRow {
    /// Whether it is about the record as it is now; a candidate's record has no
    /// date of its last change.
    #[must_use]
    pub fn is_of(&self, truth: &TruthRow) -> bool {
        match truth.kind {
            "vacancy" if truth.version > 1 => {
                self.last_update_date == truth.updated.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
            }
            "vacancy" => true,
            _ => self.at >= truth.updated,
        }
    }
}

/// Items accepted, and ids whose reports are refused.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    rows: Mutex<Vec<ReportRow>>,
    refused: Mutex<HashSet<String>>,
}

impl Reports {
    pub(crate) fn rows(&self) -> Vec<ReportRow> {
        crate::lock(&self.rows).clone()
    }

    pub(crate) fn rows_after(&self, count: usize) -> Vec<ReportRow> {
        crate::lock(&self.rows).get(count..).unwrap_or_default().to_vec()
    }

    pub(crate) fn count(&self) -> usize {
        crate::lock(&self.rows).len()
    }

    pub(crate) fn last(&self) -> BTreeMap<(String, String), ReportRow> {
        let rows = crate::lock(&self.rows);
        rows.iter().map(|row| ((row.report_type.clone(), row.id.clone()), row.clone())).collect()
    }

    pub(crate) fn refuse(&self, id: &str, refuse: bool) {
        let mut refused = crate::lock(&self.refused);
        if refuse {
            refused.insert(id.to_owned());
        } else {
            refused.remove(id);
        }
    }
}

/// A report is kept whole or refused whole.
pub(crate) async fn reports(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    let inner = &simulator.inner;
    if let Err(refused) = authorised(inner, &headers) {
        return *refused;
    }
    let mut rows = match read(&body, inner.clock.now()) {
        Ok(rows) => rows,
        Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
    };
    if rows.len() > inner.config.report_items {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "a report has too many items");
    }
    if let Some(row) = {
        let refused = crate::lock(&inner.reports.refused);
        rows.iter().find(|row| refused.contains(&row.id))
    } {
        return refusal(StatusCode::BAD_REQUEST, &format!("the item '{}' is refused", row.id));
    }
    let note = Note(format!("{} items", rows.len()));
    let mut kept = crate::lock(&inner.reports.rows);
    for (number, row) in (kept.len() as u64 + 1..).zip(&mut rows) {
        row.number = number;
    }
    kept.append(&mut rows);
    drop(kept);
    let mut answer = json_answer(StatusCode::OK, &success(&json!(null)));
    answer.extensions_mut().insert(note);
    answer
}

/// Reads a report in the guide's shape, with messages as the array of strings
/// that a running client sends, since the guide's own writing of them is not
/// JSON. The case of `reportType` is free: the guide and running clients differ.
///
/// # Errors
///
/// A sentence that says what is wrong.
fn read(body: &[u8], at: DateTime<Utc>) -> Result<Vec<ReportRow>, String> {
    let report: Value = serde_json::from_slice(body).map_err(|error| format!("the report is not JSON: {error}"))?;
    let report_type = text(&report, "reportType")?.to_lowercase();
    if !matches!(report_type.as_str(), "vacancies" | "candidates") {
        return Err(format!("the reportType is not vacancies or candidates: '{report_type}'"));
    }
    let items = report["items"].as_array().ok_or("items is not an array")?;
    if items.is_empty() {
        return Err("items is empty".to_owned());
    }
    items.iter().map(|item| read_item(&report_type, item, at)).collect()
}

fn read_item(report_type: &str, item: &Value, at: DateTime<Utc>) -> Result<ReportRow, String> {
    let date = |name: &str| {
        let date = text(item, name)?;
        if read_date(date).is_none() {
            return Err(format!("{name} is not an ISO 8601 date: '{date}'"));
        }
        Ok(date.to_owned())
    };
    let status = text(item, "status")?;
    let messages = match (status, item.get("messages")) {
        ("success" | "error", None) => Vec::new(),
        ("success", Some(_)) => return Err("a success has no messages".to_owned()),
        ("error", Some(messages)) => messages
            .as_array()
            .ok_or("messages is not an array")?
            .iter()
            .map(|message| message.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or("a message is not a string")?,
        _ => return Err(format!("the status is not success or error: '{status}'")),
    };
    let id = text(item, "id")?;
    if id.is_empty() {
        return Err("an id is empty".to_owned());
    }
    Ok(ReportRow {
        number: 0,
        at,
        report_type: report_type.to_owned(),
        id: id.to_owned(),
        date: date("date")?,
        last_update_date: date("lastUpdateDate")?,
        status: status.to_owned(),
        messages,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("{name} is not a string"))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::read;

    fn with(name: &str, value: Value) -> Value {
        let mut item = json!({
            "id": "2019-01",
            "date": "2019-05-16T11:38:37Z",
            "lastUpdateDate": "2019-05-16T11:38:37.123456",
            "status": "error",
            "messages": ["The url does not respond."],
        });
        item[name] = value;
        item
    }

    #[test]
    fn the_guides_shape_is_read_in_either_case() {
        for report_type in ["vacancies", "Vacancies", "CANDIDATES"] {
            let report = json!({ "reportType": report_type, "items": [with("id", json!("a b"))] });
            let rows = read(report.to_string().as_bytes(), DateTime::UNIX_EPOCH).expect("a report");
            assert_eq!(rows[0].messages, ["The url does not respond."]);
        }
    }

    #[test]
    fn every_other_shape_is_refused() {
        let wrong = [
            json!([]),
            json!({ "reportType": "vacancies", "items": [] }),
            json!({ "reportType": "vacancies" }),
            json!({ "reportType": "offers", "items": [with("id", json!("a"))] }),
            json!({ "reportType": "vacancies", "items": [with("id", json!(1))] }),
            json!({ "reportType": "vacancies", "items": [with("id", json!(""))] }),
            json!({ "reportType": "vacancies", "items": [with("date", json!(null))] }),
            json!({ "reportType": "vacancies", "items": [with("lastUpdateDate", json!("today"))] }),
            json!({ "reportType": "vacancies", "items": [with("status", json!("ok"))] }),
            json!({ "reportType": "vacancies", "items": [with("status", json!("success"))] }),
            json!({ "reportType": "vacancies", "items": [with("messages", json!([{ "text": "x" }]))] }),
            json!({ "reportType": "vacancies", "items": [with("messages", json!("x"))] }),
        ];
        for report in wrong {
            let read = read(report.to_string().as_bytes(), DateTime::UNIX_EPOCH);
            assert!(read.is_err(), "{report}");
        }
        assert!(read(b"reportType=vacancies", DateTime::UNIX_EPOCH).is_err());
    }
}
