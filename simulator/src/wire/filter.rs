//! The filter language: `key::value`, `key::v1,v2`, `key:gt:date`, joined by `|`.
//!
//! No escape for `,`, `|` and `:` inside a value is documented, so none is
//! understood: a value is split wherever a comma stands.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use crate::clock::read_date;
use crate::tenant::{Kind, Row, STATUSES};

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// `reference` of a vacancy or `id` of a candidate.
    Subject,
    Email,
    UpdateDate,
    ChronoNumber,
    VacancyStatus,
    ClientVacancyStatus,
    PublicationMedia,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// The value is one of these.
    OneOf(Key, HashSet<String>),
    Number(Operator, Vec<i64>),
    Date(Operator, Vec<DateTime<Utc>>),
}

/// A filter that was read: every condition must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Filter(Vec<Condition>);

impl Filter {
    /// Reads the decoded value of the `filter` parameter.
    ///
    /// # Errors
    ///
    /// A sentence for the 400 that an unknown key, an unreadable operator or a
    /// value of the wrong type is answered with.
    pub(crate) fn read(kind: Kind, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split('|').map(|part| condition(kind, part)).collect::<Result<_, _>>().map(Self)
    }

    /// The keys asked for by name, when one condition names them: those rows can
    /// be looked up and need not be searched for.
    pub(crate) fn named(&self) -> Option<&HashSet<String>> {
        self.0.iter().find_map(|condition| match condition {
            Condition::OneOf(Key::Subject, values) => Some(values),
            _ => None,
        })
    }

    /// Whether a condition looks at dates: what has none passes no such filter.
    pub(crate) fn asks_for_dates(&self) -> bool {
        self.0.iter().any(|condition| matches!(condition, Condition::Date(..)))
    }

    /// Whether a row passes. `email` and `media` are made on demand, since most
    /// filters look at neither.
    pub(crate) fn holds(
        &self,
        row: &Row,
        email: impl Fn() -> Option<String>,
        media: impl Fn() -> Vec<&'static str>,
    ) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::OneOf(Key::Subject, values) => values.contains(&*row.key),
            Condition::OneOf(Key::Email, values) => email().is_some_and(|email| values.contains(&email.to_lowercase())),
            Condition::OneOf(Key::PublicationMedia, values) => media().iter().any(|medium| values.contains(*medium)),
            Condition::OneOf(_, values) => values.contains(&*row.status),
            Condition::Number(operator, values) => {
                values.iter().any(|value| operator.compare(&row.chrono_number(), value))
            }
            Condition::Date(operator, values) => values.iter().any(|value| operator.compare(&row.updated, value)),
        })
    }
}

impl Operator {
    fn compare<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

fn condition(kind: Kind, part: &str) -> Result<Condition, String> {
    let unreadable = || format!("the filter '{part}' is not key::value or key:operator:value");
    let (name, rest) = part.split_once(':').ok_or_else(unreadable)?;
    let (operator, values) = rest.split_once(':').ok_or_else(unreadable)?;
    let operator = match operator {
        "" => Operator::Equal,
        "gt" => Operator::Greater,
        "ge" => Operator::GreaterOrEqual,
        "lt" => Operator::Less,
        "le" => Operator::LessOrEqual,
        other => return Err(format!("the operator '{other}' is not known")),
    };
    let key = match (kind, name) {
        (Kind::Vacancy, "reference") | (Kind::Candidate, "id") => Key::Subject,
        (Kind::Candidate, "email") => Key::Email,
        (_, "updateDate") => Key::UpdateDate,
        (_, "chronoNumber") => Key::ChronoNumber,
        (Kind::Vacancy, "vacancyStatus") => Key::VacancyStatus,
        (Kind::Vacancy, "clientVacancyStatus") => Key::ClientVacancyStatus,
        (Kind::Vacancy, "publicationMedia" | "publishedOnTheMedia") => Key::PublicationMedia,
        _ => return Err(format!("the key '{name}' cannot be filtered on")),
    };
    if values.is_empty() {
        return Err(format!("the filter on '{name}' has no value"));
    }
    let values = values.split(',');
    match key {
        Key::UpdateDate => values
            .map(|value| read_date(value).ok_or_else(|| format!("'{value}' is not an ISO 8601 date")))
            .collect::<Result<_, _>>()
            .map(|dates| Condition::Date(operator, dates)),
        Key::ChronoNumber => values
            .map(|value| value.parse().map_err(|_| format!("'{value}' is not a number")))
            .collect::<Result<_, _>>()
            .map(|numbers| Condition::Number(operator, numbers)),
        _ if operator != Operator::Equal => Err(format!("'{name}' can only be compared for equality")),
        Key::VacancyStatus => values
            .map(|value| {
                STATUSES
                    .iter()
                    .find(|status| status.logical.eq_ignore_ascii_case(value))
                    .map(|status| status.code.id.to_owned())
                    .ok_or_else(|| format!("the vacancy status '{value}' is not known"))
            })
            .collect::<Result<_, _>>()
            .map(|ids| Condition::OneOf(key, ids)),
        Key::Email => Ok(Condition::OneOf(key, values.map(str::to_lowercase).collect())),
        _ => Ok(Condition::OneOf(key, values.map(str::to_owned).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Filter, Key, Kind, Operator};

    #[test]
    fn several_filters_with_several_values_are_read() {
        let filter = Filter::read(
            Kind::Vacancy,
            "vacancyStatus::published,Archived|updateDate:ge:2018-08-17T16:09:33.263|chronoNumber:lt:7",
        )
        .expect("a filter");
        assert_eq!(filter.0.len(), 3);
        assert!(matches!(&filter.0[0], Condition::OneOf(Key::VacancyStatus, ids)
            if ids.contains("_TS_CO_OfferStatus_Diffuse") && ids.contains("_TS_CO_OfferStatus_Archive")));
        assert!(matches!(&filter.0[1], Condition::Date(Operator::GreaterOrEqual, _)));
        assert_eq!(filter.0[2], Condition::Number(Operator::Less, vec![7]));
    }

    #[test]
    fn a_comma_in_a_reference_cannot_be_asked_for() {
        let filter = Filter::read(Kind::Vacancy, "reference::2019-A,B").expect("a filter");
        let named = filter.named().expect("references");
        assert!(!named.contains("2019-A,B"));
        assert!(named.contains("2019-A") && named.contains("B"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_sentence() {
        for (kind, text) in [
            (Kind::Vacancy, "id::1"),
            (Kind::Candidate, "reference::1"),
            (Kind::Vacancy, "reference"),
            (Kind::Vacancy, "reference:1"),
            (Kind::Vacancy, "reference::"),
            (Kind::Vacancy, "reference:gt:1"),
            (Kind::Vacancy, "updateDate:ne:2019-01-01"),
            (Kind::Vacancy, "updateDate:gt:soon"),
            (Kind::Vacancy, "vacancyStatus::Lost"),
            (Kind::Vacancy, "reference::a|b"),
        ] {
            assert!(Filter::read(kind, text).is_err(), "{text}");
        }
    }
}
