//! The parameters of a search, each of them checked and named when it is wrong.

use url::form_urlencoded;

use super::super::problem::Problem;
use crate::{
    domain::Kind,
    index::{Words, search::Search},
};

const LIMIT: i64 = 20;
const LIMIT_MAX: i64 = 100;
/// Deeper pages cost as much as all before them; whoever wants everything has the exports.
const OFFSET_MAX: i64 = 10_000;
/// Characters of a search; every word costs an index scan.
const WORDS_MAX: usize = 500;

fn within(name: &str, value: &str, least: i64, most: i64) -> Result<i64, Problem> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Problem::parameter(name, format!("must be a whole number from {least} to {most}")))
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) search: Search,
    /// Windows LCID of the labels that are shown.
    pub(super) labels: Option<i32>,
}

fn lcid(name: &str, value: &str) -> Result<Option<i32>, Problem> {
    let lcid = within(name, value, 1, i32::MAX.into())?;
    Ok(i32::try_from(lcid).ok())
}

/// Reads the query of a request for one document.
pub(super) fn read_labels(query: &str) -> Result<Option<i32>, Problem> {
    let mut labels = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "labels" if labels.is_some() => return Err(Problem::parameter(&name, "is given twice")),
            "labels" => labels = lcid(&name, &value)?,
            _ => return Err(Problem::parameter(&name, "is not known: there is labels")),
        }
    }
    Ok(labels)
}

/// Reads the query of a request for documents.
pub(super) fn read(kind: Kind, query: &str) -> Result<Asked, Problem> {
    let mut labels = None;
    let mut search = Search { words: None, language: None, hidden: false, offset: 0, limit: LIMIT };
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if seen.iter().any(|other| *other == name) {
            return Err(Problem::parameter(&name, "is given twice"));
        }
        match (&*name, kind) {
            ("q", _) => search.words = words(&value)?,
            ("offset", _) => search.offset = within(&name, &value, 0, OFFSET_MAX)?,
            ("limit", _) => search.limit = within(&name, &value, 1, LIMIT_MAX)?,
            ("language", _) => search.language = lcid(&name, &value)?,
            ("labels", _) => labels = lcid(&name, &value)?,
            ("hidden", Kind::Vacancy) => {
                search.hidden = match &*value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Problem::parameter(&name, "must be true or false")),
                };
            }
            _ => {
                let hidden = if kind == Kind::Vacancy { ", hidden" } else { "" };
                let says = format!("is not known here: known are q, offset, limit, language, labels{hidden}");
                return Err(Problem::parameter(&name, says));
            }
        }
        seen.push(name.into_owned());
    }
    Ok(Asked { search, labels })
}

fn words(text: &str) -> Result<Option<Words>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    if text.chars().count() > WORDS_MAX {
        return Err(Problem::parameter("q", format!("must be at most {WORDS_MAX} characters")));
    }
    let nothing = || Problem::parameter("q", "holds no word to search for");
    Words::read(text).map(Some).ok_or_else(nothing)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn defaults_and_bounds() {
        let search = read(Kind::Vacancy, "").unwrap().search;
        assert!(search.words.is_none() && search.language.is_none() && !search.hidden);
        assert_eq!((search.offset, search.limit), (0, 20));
        let search =
            read(Kind::Vacancy, "q=Chef+d%C3%A9p%C3%B4t&offset=10000&limit=100&language=1036&hidden=true&labels=1031");
        let Asked { search, labels } = search.unwrap();
        assert_eq!(search.words.unwrap().wanted(), [["chef", "depot"]]);
        assert_eq!((search.offset, search.limit, search.language, search.hidden), (10_000, 100, Some(1036), true));
        assert_eq!(labels, Some(1031));
        assert!(read(Kind::Candidate, "q=&limit=1").unwrap().search.words.is_none());
        assert_eq!((read_labels("").unwrap(), read_labels("labels=1033").unwrap()), (None, Some(1033)));
        for wrong in ["labels=fr", "labels=0", "labels=1&labels=2", "q=a"] {
            assert!(read_labels(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("q={}", "a".repeat(501));
        for (kind, query, parameter) in [
            (Kind::Vacancy, "offset=10001", "offset"),
            (Kind::Vacancy, "offset=-1", "offset"),
            (Kind::Vacancy, "limit=0", "limit"),
            (Kind::Vacancy, "limit=101", "limit"),
            (Kind::Vacancy, "limit=", "limit"),
            (Kind::Vacancy, "limit=99999999999999999999", "limit"),
            (Kind::Vacancy, "language=fr", "language"),
            (Kind::Vacancy, "language=2147483648", "language"),
            (Kind::Vacancy, "labels=fr", "labels"),
            (Kind::Vacancy, "hidden=1", "hidden"),
            (Kind::Candidate, "hidden=true", "hidden"),
            (Kind::Vacancy, "query=a", "query"),
            (Kind::Vacancy, "q=a&q=b", "q"),
            (Kind::Vacancy, "q=%2B+%26", "q"),
            (Kind::Vacancy, &long, "q"),
        ] {
            let problem = read(kind, query).unwrap_err();
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!((&json["status"], &json["parameter"]), (&400.into(), &parameter.into()), "{query}");
            let response = problem.into_response();
            assert_eq!(response.status(), axum::http::StatusCode::BAD_REQUEST);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }
}
