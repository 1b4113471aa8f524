//! The query of an export call.

use chrono::{DateTime, Utc};
use url::form_urlencoded;

use crate::domain::Kind;

/// What an export call asks for.
#[derive(Clone)]
pub struct Query {
    kind: Kind,
    filter: String,
    offset: usize,
    limit: usize,
}

/// Bytes that a key takes in the encoded query, with the comma before it.
pub fn encoded_length(key: &str) -> usize {
    form_urlencoded::byte_serialize(key.as_bytes()).map(str::len).sum::<usize>() + "%2C".len()
}

impl Query {
    /// Records in one answer, at most.
    pub const MOST: usize = 100;

    /// These subjects.
    pub fn keys(kind: Kind, keys: &[String]) -> Query {
        let name = match kind {
            Kind::Vacancy => "reference",
            Kind::Candidate => "id",
        };
        Query { kind, filter: format!("{name}::{}", keys.join(",")), offset: 0, limit: Query::MOST }
    }

    /// A page of what was updated in a window: its start included, its end not, either open. `also` is a further filter.
    pub fn window(
        kind: Kind,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        also: &str,
        offset: usize,
        limit: usize,
    ) -> Query {
        // Vacancy dates have no zone; both kinds are asked in the form without one.
        let date = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S").to_string();
        let mut parts = Vec::new();
        if !also.is_empty() {
            parts.push(also.to_owned());
        }
        parts.extend(since.map(|at| format!("updateDate:ge:{}", date(at))));
        parts.extend(until.map(|at| format!("updateDate:lt:{}", date(at))));
        Query { kind, filter: parts.join("|"), offset, limit }
    }

    /// Records in the answer, at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Which export.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The parameters; every value is encoded once.
    pub(super) fn parameters(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("offset", &self.offset.to_string()).append_pair("limit", &self.limit.to_string());
        if !self.filter.is_empty() {
            query.append_pair("filter", &self.filter);
        }
        if self.kind == Kind::Candidate {
            query.append_pair("attachmenttype", "resume");
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn keys_are_joined_and_encoded_once() {
        let query = Query::keys(Kind::Vacancy, &["2019-01".into(), "2019-Manager H/F".into()]);
        assert_eq!(query.parameters(), "offset=0&limit=100&filter=reference%3A%3A2019-01%2C2019-Manager+H%2FF");
        let query = Query::keys(Kind::Candidate, &["_TS-00001".into()]);
        assert_eq!(query.parameters(), "offset=0&limit=100&filter=id%3A%3A_TS-00001&attachmenttype=resume");
    }

    #[test]
    fn a_window_may_be_open() {
        let at = DateTime::from_timestamp(1_789_000_000, 0).unwrap();
        let query = Query::window(Kind::Vacancy, Some(at), None, "vacancyStatus::Published", 100, 50);
        assert_eq!(query.filter, "vacancyStatus::Published|updateDate:ge:2026-09-10T00:26:40");
        assert_eq!(Query::window(Kind::Vacancy, None, None, "", 0, 50).parameters(), "offset=0&limit=50");
    }

    #[test]
    fn the_length_of_a_key_is_that_of_its_encoding() {
        assert_eq!(encoded_length("a b/é"), "a+b%2F%C3%A9%2C".len());
    }

    /// What a server decodes of it, by name.
    fn decoded(query: &Query) -> Vec<(String, String)> {
        form_urlencoded::parse(query.parameters().as_bytes()).into_owned().collect()
    }

    fn keys() -> impl Strategy<Value = Vec<String>> {
        let key = prop_oneof!["[ -~]{1,20}", "\\PC{1,12}", "[%&+=#?;/\\\\]{1,8}", "_TS-[0-9]{5}", any::<String>()];
        vec(key.prop_filter("a key", |key| !key.is_empty()), 1..100)
    }

    proptest! {
        #[test]
        fn any_keys_arrive_as_they_were_asked_for_and_are_as_long_as_was_reckoned(keys in keys()) {
            for (kind, name) in [(Kind::Vacancy, "reference"), (Kind::Candidate, "id")] {
                let query = Query::keys(kind, &keys);
                let mut expected = vec![
                    ("offset".to_owned(), "0".to_owned()),
                    ("limit".to_owned(), "100".to_owned()),
                    ("filter".to_owned(), format!("{name}::{}", keys.join(","))),
                ];
                if kind == Kind::Candidate {
                    expected.push(("attachmenttype".to_owned(), "resume".to_owned()));
                }
                let decoded = decoded(&query);
                prop_assert_eq!(&decoded, &expected);
                let (_, asked) = decoded[2].1.split_once("::").unwrap();
                // The filter language has no escape for these.
                if !keys.iter().any(|key| key.contains([',', '|', ':'])) {
                    prop_assert_eq!(asked.split(',').collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
                }
                // The batch is cut by these lengths: what is not keys has 80 bytes, and no key a comma before it twice.
                let reckoned: usize = keys.iter().map(|key| encoded_length(key)).sum();
                let rest = query.parameters().len() + "%2C".len() - reckoned;
                prop_assert!((40..=80).contains(&rest), "{rest} bytes that are no keys");
            }
        }

        #[test]
        fn a_window_arrives_as_it_was_asked_for(
            since in proptest::option::of(0..4_000_000_000_i64),
            until in proptest::option::of(0..4_000_000_000_i64),
            also in "([a-zA-Z]{1,12}::[ -{}~]{1,20})?",
            (offset, limit) in (0..1_000_000_usize, 1..101_usize),
        ) {
            let [from, to] = [since, until].map(|at| at.map(|at| DateTime::from_timestamp(at, 0).unwrap()));
            let query = Query::window(Kind::Vacancy, from, to, &also, offset, limit);
            let mut parts: Vec<String> = Some(also).filter(|also| !also.is_empty()).into_iter().collect();
            parts.extend(from.map(|at| format!("updateDate:ge:{}", &at.to_rfc3339()[..19])));
            parts.extend(to.map(|at| format!("updateDate:lt:{}", &at.to_rfc3339()[..19])));
            let mut expected = vec![("offset".to_owned(), offset.to_string()), ("limit".to_owned(), limit.to_string())];
            if !parts.is_empty() {
                expected.push(("filter".to_owned(), parts.join("|")));
            }
            prop_assert_eq!(decoded(&query), expected);
        }
    }
}
