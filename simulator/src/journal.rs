//! The request log: what the tenant was asked, in order, as a story; and how logs
//! are kept.

use std::collections::VecDeque;
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

/// Rows in the order of their arrival: all of them, or the last so many.
#[derive(Debug)]
pub(crate) struct Log<T> {
    rows: VecDeque<T>,
    /// Rows that came before those that are kept.
    gone: usize,
    keep: usize,
}

impl<T> Log<T> {
    pub(crate) fn new(keep: Option<usize>) -> Self {
        Self { rows: VecDeque::new(), gone: 0, keep: keep.unwrap_or(usize::MAX).max(1) }
    }

    pub(crate) fn push(&mut self, row: T) {
        if self.rows.len() == self.keep {
            self.rows.pop_front();
            self.gone += 1;
        }
        self.rows.push_back(row);
    }

    /// How many rows there ever were.
    pub(crate) fn count(&self) -> usize {
        self.gone + self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }

    /// The rows that are kept of those after the first `count`.
    pub(crate) fn after(&self, count: usize) -> impl Iterator<Item = &T> {
        self.rows.iter().skip(count.saturating_sub(self.gone))
    }

    /// The row that came as the `number`-th, from 1, while it is kept.
    fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.rows.get_mut(number.checked_sub(self.gone + 1)?)
    }
}

/// The log of requests.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<Log<RequestRow>>);

impl Journal {
    pub(crate) fn new(keep: Option<usize>) -> Self {
        Self(Mutex::new(Log::new(keep)))
    }

    /// Notes an arrival and gives its number.
    pub(crate) fn begin(&self, at: DateTime<Utc>, method: &str, path: &str, query: &str) -> u64 {
        let mut rows = crate::lock(&self.0);
        let number = rows.count() as u64 + 1;
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

    /// Changes the row of a number, unless it is gone.
    pub(crate) fn note(&self, number: u64, change: impl FnOnce(&mut RequestRow)) {
        let number = usize::try_from(number).unwrap_or(0);
        if let Some(row) = crate::lock(&self.0).get_mut(number) {
            change(row);
        }
    }

    pub(crate) fn count(&self, test: impl FnMut(&&RequestRow) -> bool) -> usize {
        crate::lock(&self.0).iter().filter(test).count()
    }

    /// How many requests there ever were.
    pub(crate) fn total(&self) -> usize {
        crate::lock(&self.0).count()
    }

    pub(crate) fn rows(&self) -> Vec<RequestRow> {
        crate::lock(&self.0).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Journal, Log};

    #[test]
    fn a_log_keeps_the_last_rows_and_their_numbers() {
        let mut log = Log::new(Some(3));
        for row in 1..=5 {
            log.push(row);
        }
        assert!(log.iter().eq(&[3, 4, 5]));
        assert_eq!(log.count(), 5);
        for (count, left) in [(0, 3), (2, 3), (3, 2), (4, 1), (5, 0), (9, 0)] {
            assert_eq!(log.after(count).count(), left, "{count}");
        }
        for number in [0, 2, 6] {
            assert_eq!(log.get_mut(number), None, "{number}");
        }
        assert_eq!(log.get_mut(3), Some(&mut 3));
    }

    #[test]
    fn a_request_whose_row_is_gone_is_not_noted_elsewhere() {
        let journal = Journal::new(Some(1));
        let first = journal.begin(chrono::DateTime::UNIX_EPOCH, "GET", "/a", "");
        let second = journal.begin(chrono::DateTime::UNIX_EPOCH, "GET", "/b", "");
        journal.note(first, |row| row.status = 500);
        journal.note(second, |row| row.status = 200);
        let rows = journal.rows();
        assert_eq!((rows.len(), rows[0].number, rows[0].status), (1, 2, 200));
    }
}
