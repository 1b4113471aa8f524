//! Dates of records: kept and reported as they were received, where they are dates.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

/// The text, if it is an ISO 8601 date, with or without a time and a zone. The years 1 and 9999 are what back offices
/// write for no date.
pub(super) fn date(text: String) -> Option<String> {
    let parsed = DateTime::parse_from_rfc3339(&text)
        .map(|at| at.date_naive())
        .or_else(|_| NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.date()))
        .or_else(|_| NaiveDate::parse_from_str(&text, "%Y-%m-%d"))
        .ok()?;
    (2..9999).contains(&parsed.year()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_stay_as_they_are_and_all_else_is_none() {
        for text in [
            "2018-08-17T16:09:33.263",
            "2012-02-13T13:56:59.353Z",
            "2012-02-13T13:56:59+02:00",
            "2018-08-17T16:09:33",
            "2018-08-17",
            "0800-01-01",
        ] {
            assert_eq!(date(text.to_owned()).as_deref(), Some(text));
        }
        for text in [
            "17/08/2018 16:09",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.997",
            "2018-02-30",
            "2018-13-01T00:00:00Z",
            "+262143-01-01T00:00:00",
            "/Date(1534522173263)/",
            "yesterday",
            "",
            " ",
        ] {
            assert_eq!(date(text.to_owned()), None, "{text}");
        }
    }
}
