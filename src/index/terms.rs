//! From the terms of a search to one full-text query, with the codes whose labels hold a term.
//!
//! Wanted: a word of a label finds the documents that hold its code, in whichever language the label was read; a
//! document is written without a look at the referentials; a label that changes is found the next minute, though no
//! document was written since.
//!
//! So a document holds its codes as words of their own (`coded_words` in the migrations), and what a term of a search
//! means in codes is looked up when it is asked for: the term is widened by every code that has a label with it. An id
//! that two lists label differently says nothing by itself, and is left out: a record does not name the list that a
//! value is out of.

use sqlx::PgConnection;

use super::{Words, referentials};
use crate::domain::TenantId;

/// Of one term: French, English, and as it is written.
const LANGUAGES: usize = 3;

/// A term as PostgreSQL reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// Its query in each language; empty where it is a stop word.
    pub(super) stemmed: [String; LANGUAGES],
    /// A query for the codes whose labels hold it; empty when there are none.
    pub(super) codes: String,
}

/// Both halves of a search, in the form of `tsquery`; empty where nothing is asked for.
pub(super) struct Query {
    pub(super) wanted: String,
    pub(super) unwanted: String,
}

impl Query {
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn of(tx: &mut PgConnection, tenant: &TenantId, words: &Words) -> sqlx::Result<Query> {
        let texts: Vec<String> = words.wanted().iter().flatten().chain(words.unwanted()).cloned().collect();
        let mut terms = referentials::terms(tx, tenant, &texts).await?.into_iter();
        let wanted: Vec<Vec<Term>> =
            words.wanted().iter().map(|alternative| terms.by_ref().take(alternative.len()).collect()).collect();
        let unwanted: Vec<Vec<Term>> = terms.map(|term| vec![term]).collect();
        Ok(Query { wanted: query(&wanted), unwanted: query(&unwanted) })
    }
}

/// All terms of one of the alternatives, in one of the languages. A stop word is asked for in none of its languages:
/// the documents do not hold it.
fn query(alternatives: &[Vec<Term>]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for language in 0..LANGUAGES {
        for terms in alternatives {
            let all: Vec<String> = terms
                .iter()
                .filter(|term| !term.stemmed[language].is_empty())
                .map(|term| match (&term.stemmed[language], term.codes.as_str()) {
                    (stemmed, "") => format!("({stemmed})"),
                    (stemmed, codes) => format!("({stemmed} | {codes})"),
                })
                .collect();
            let part = format!("({})", all.join(" & "));
            if !all.is_empty() && !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    parts.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(stemmed: [&str; LANGUAGES], codes: &str) -> Term {
        Term { stemmed: stemmed.map(Into::into), codes: codes.into() }
    }

    #[test]
    fn a_term_is_asked_for_by_itself_or_by_its_codes_in_every_language() {
        let chef = term(["'chef'", "'chef'", "'chef'"], "");
        let de = term(["", "'de'", "'de'"], "");
        let germany = term(["'germany'", "'germani'", "'germany'"], "'=DE' | '=D'");
        assert_eq!(
            query(&[vec![chef.clone(), de.clone()], vec![germany]]),
            "(('chef')) | (('germany' | '=DE' | '=D')) | (('chef') & ('de')) | (('germani' | '=DE' | '=D'))"
        );
        assert_eq!(query(&[vec![term(["", "", ""], "'=x'")]]), "");
        assert_eq!(query(&[]), "");
    }
}
