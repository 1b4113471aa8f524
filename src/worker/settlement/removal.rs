//! Why a subject leaves the index.

use crate::subjects::Evidence;

/// Cause of a removal because two reads did not show the subject.
pub const ABSENCE: &str = "absence";
/// Cause of a removal because Cegid has anonymised the person.
const ANONYMISED: &str = "anonymised";
/// Cause of a removal because two reads showed a sign of anonymisation in a form that is not known.
pub const UNCLEAR: &str = "unclear";

/// A subject that leaves the index.
#[derive(Debug)]
pub struct Removal {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// What its tombstone says.
    pub cause: &'static str,
    /// What shows that it is gone; none when its record says so.
    pub evidence: Option<Evidence>,
}

impl Removal {
    /// Its record says that it is anonymised.
    pub fn anonymised(key: &str) -> Removal {
        Removal { key: key.to_owned(), cause: ANONYMISED, evidence: None }
    }
}
