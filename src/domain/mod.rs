//! The words of the service and the meaning of a record: pure, no I/O.

mod anonymisation;
mod attachment;
mod candidate;
mod coded;
mod dates;
mod document;
pub mod fold;
mod html;
mod ids;
pub(crate) mod lenient;
pub(crate) mod mend;
mod partial_key;
mod record;
mod vacancy;

pub use anonymisation::Anonymisation;
pub use attachment::{Attachment, Listed, essence, guess};
pub use coded::Coded;
pub use document::{CodedField, Document, FORM, Visibility};
pub use fold::Stemming;
pub use ids::{CandidateId, Kind, Subject, TenantId, VacancyReference};
pub use partial_key::key_in_prefix;
pub use record::{Record, RecordError, read_record};
