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

/// Whether a key can only be asked for alone: the filter language has no escape for these.
pub fn is_awkward(key: &str) -> bool {
    key.contains([',', '|', ':'])
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
}
