//! The tenant's clock: the system's, or one that a test turns by hand.

use std::sync::Mutex;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound as _, Utc};

/// Signature expiry, token expiry, event dates and modification dates all come
/// from here, so that a test with a turned clock sees one time everywhere.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Option<DateTime<Utc>>>);

impl Clock {
    pub(crate) fn new(now: Option<DateTime<Utc>>) -> Self {
        Self(Mutex::new(now))
    }

    /// Whole milliseconds, the most that any date on the wire shows: a filter with
    /// a record's own date must not find that record to be newer.
    #[allow(clippy::disallowed_methods, reason = "this is the clock that others take time from")]
    pub(crate) fn now(&self) -> DateTime<Utc> {
        crate::lock(&self.0).unwrap_or_else(Utc::now).trunc_subsecs(3)
    }

    pub(crate) fn set(&self, now: Option<DateTime<Utc>>) {
        *crate::lock(&self.0) = now;
    }
}

/// `2026-05-26T13:45:30Z`: event dates have whole seconds in captured callbacks.
pub(crate) fn event_date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: dates in HTTP headers.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `2012-02-13T13:56:59.353Z`: dates inside a candidate.
pub(crate) fn candidate_date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2018-08-17T16:09:33.263`: dates inside a vacancy name no zone.
pub(crate) fn vacancy_date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
}

/// Reads an ISO 8601 date as the platform does: with or without a time, a
/// fraction and a zone; without a zone it is taken as UTC.
pub(crate) fn read_date(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(date.with_timezone(&Utc));
    }
    if let Ok(date) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
        return Some(date.and_utc());
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_time(chrono::NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use super::{candidate_date, http_date, read_date, vacancy_date};

    #[test]
    fn every_form_seen_in_clients_is_read() {
        for text in [
            "2019-06-10",
            "2018-08-17T16:09:33.263",
            "2018-08-17T16:09:33",
            "2012-02-13T13:56:59.353Z",
            "2024-01-01T00:00:00.123456",
            "2024-01-01T00:00:00+02:00",
        ] {
            assert!(read_date(text).is_some(), "{text}");
        }
        assert_eq!(read_date("yesterday"), None);
        assert_eq!(read_date(""), None);
    }

    #[test]
    fn written_dates_are_read_back() {
        let at = read_date("2018-08-17T16:09:33.263").expect("a date");
        assert_eq!(vacancy_date(at), "2018-08-17T16:09:33.263");
        assert_eq!(candidate_date(at), "2018-08-17T16:09:33.263Z");
        assert_eq!(http_date(at), "Fri, 17 Aug 2018 16:09:33 GMT");
    }
}
