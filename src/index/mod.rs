//! What is searchable: the documents, the resumes beside them, and the lists behind their coded values.

pub mod attachments;
pub mod documents;
pub mod referentials;
pub mod search;

mod terms;
mod words;

pub use words::Words;
