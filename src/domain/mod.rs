//! The words of the service and the meaning of a record: pure, no I/O.

pub mod coded;
pub mod ids;

pub(crate) mod lenient;

pub use coded::Coded;
pub use ids::{CandidateId, Kind, Subject, TenantId, VacancyReference};
mod document;
pub use document::{Document, Record, read_record};
