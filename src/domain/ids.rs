//! Who and what: tenants, and the subjects that change at a tenant.
//!
//! Cegid's identifiers are opaque and customer-made: some end in a space, some hold slashes, and two may differ in
//! case alone. They are kept and compared verbatim, never trimmed or folded.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, de};

/// The longest tenant name, in bytes.
const TENANT_MAX: usize = 63;

/// The name of a customer's site, as the settings give it: `[a-z0-9_]{1,63}`.
///
/// The alphabet is what survives an environment variable's lower-casing, a path segment and a metric label unchanged.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// A tenant name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading a tenant name: `{0}` is not 1 to 63 of a-z, 0-9 and _")]
pub struct BadTenantId(String);

impl TenantId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = BadTenantId;

    fn from_str(text: &str) -> Result<Self, BadTenantId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.is_empty() || text.len() > TENANT_MAX || !text.bytes().all(allowed) {
            return Err(BadTenantId(text.chars().take(TENANT_MAX + 1).collect()));
        }
        Ok(TenantId(text.into()))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The two kinds of subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A vacancy, which the vendor also calls an offer.
    Vacancy,
    /// A candidate, which the vendor also calls an applicant.
    Candidate,
}

/// A kind that is neither `vacancy` nor `candidate`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading a kind: neither `vacancy` nor `candidate`")]
pub struct UnknownKind;

impl Kind {
    /// Both, in the order in which they are worked.
    pub const ALL: [Kind; 2] = [Kind::Vacancy, Kind::Candidate];

    /// `vacancy` or `candidate`, as stored and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Vacancy => "vacancy",
            Kind::Candidate => "candidate",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A vacancy's reference: free text of the customer, for example `2026-2248374`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VacancyReference(String);

impl VacancyReference {
    /// The reference, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for VacancyReference {
    fn from(reference: String) -> Self {
        VacancyReference(reference)
    }
}

/// A candidate's id. It names a person, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CandidateId(String);

impl CandidateId {
    /// The id, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for CandidateId {
    fn from(id: String) -> Self {
        CandidateId(id)
    }
}

impl fmt::Debug for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CandidateId(…)")
    }
}

/// What changed at a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A vacancy, by its reference.
    Vacancy(VacancyReference),
    /// A candidate, by its id.
    Candidate(CandidateId),
}

impl Subject {
    /// The subject of this kind with this key, verbatim.
    pub fn new(kind: Kind, key: String) -> Subject {
        match kind {
            Kind::Vacancy => Subject::Vacancy(key.into()),
            Kind::Candidate => Subject::Candidate(key.into()),
        }
    }

    /// Which of the two it is.
    pub fn kind(&self) -> Kind {
        match self {
            Subject::Vacancy(_) => Kind::Vacancy,
            Subject::Candidate(_) => Kind::Candidate,
        }
    }

    /// The reference or id, verbatim. A candidate's is personal data.
    pub fn key(&self) -> &str {
        match self {
            Subject::Vacancy(reference) => reference.as_str(),
            Subject::Candidate(id) => id.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names_are_checked() {
        for good in ["a", "acme_fr", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<TenantId>().unwrap().as_str(), good);
        }
        for bad in ["", "ACME", "a-b", "a b", "é", "a\0", &"x".repeat(64)] {
            let error = bad.parse::<TenantId>().unwrap_err().to_string();
            assert!(error.starts_with("reading a tenant name"), "{error}");
        }
        assert!(serde_json::from_str::<TenantId>("\"Acme\"").is_err());
    }

    #[test]
    fn kinds_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("Vacancy".parse::<Kind>(), Err(UnknownKind));
    }

    #[test]
    fn keys_are_verbatim_and_candidates_are_not_shown() {
        let vacancy = Subject::new(Kind::Vacancy, " 2026/A ".into());
        assert_eq!((vacancy.kind(), vacancy.key()), (Kind::Vacancy, " 2026/A "));
        let candidate = Subject::new(Kind::Candidate, "_TS-00001".into());
        assert_eq!(candidate.key(), "_TS-00001");
        assert_eq!(format!("{candidate:?}"), "Candidate(CandidateId(…))");
    }
}
