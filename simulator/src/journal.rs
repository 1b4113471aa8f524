//! The request log: what the tenant was asked, in order, as a story.

use std::sync::Mutex;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// One request to the API. The control API is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRow {
    /// From 1, in the order of arrival.
    pub number: u64,
    /// When it arrived, on the tenant's clock.
    pub at: DateTime<Utc>,
    /// HTTP method.
    pub method: String,
    /// Path, still encoded.
    pub path: String,
    /// Query, still encoded; empty without one.
    pub query: String,
    /// Status that was answered; 0 while the answer is being made.
    pub status: u16,
    /// Bytes of the answer's body that were handed to the connection so far.
    pub bytes: u64,
    /// Milliseconds until the answer's headers.
    pub millis: u64,
    /// What it was about: `12 vacancies`, `5 items`, the name of a fault.
    pub note: String,
}

impl RequestRow {
    /// The row as a line of the story.
    #[must_use]
    pub fn line(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        format!(
            "{:>5} {} {} {}{mark}{} -> {} {} B {} ms{note}",
            self.number,
            self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            self.method,
            self.path,
            self.query,
            self.status,
            self.bytes,
            self.millis,
        )
    }
}

/// The log; rows are kept for the life of the tenant.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Vec<RequestRow>>);

impl Journal {
    /// Notes an arrival and gives its number.
    pub(crate) fn begin(&self, at: DateTime<Utc>, method: &str, path: &str, query: &str) -> u64 {
        let mut rows = crate::lock(&self.0);
        let number = rows.len() as u64 + 1;
        rows.push(RequestRow {
            number,
            at,
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            status: 0,
            bytes: 0,
            millis: 0,
            note: String::new(),
        });
        number
    }

    /// Changes the row of a number.
    pub(crate) fn note(&self, number: u64, change: impl FnOnce(&mut RequestRow)) {
        let place = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
        if let Some(row) = crate::lock(&self.0).get_mut(place) {
            change(row);
        }
    }

    pub(crate) fn count(&self, test: impl FnMut(&&RequestRow) -> bool) -> usize {
        crate::lock(&self.0).iter().filter(test).count()
    }

    pub(crate) fn rows(&self) -> Vec<RequestRow> {
        crate::lock(&self.0).clone()
    }
}
