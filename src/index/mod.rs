//! What is searchable: the documents, and the lists behind their coded values.

pub mod documents;
pub mod referentials;
pub mod search;

mod words;

pub use words::Words;
