//! The files of a candidate: what a record lists, and what is kept of it.

use std::fmt;

/// A resume that a record lists. Its `Debug` shows nothing of a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Listed {
    /// Cegid's id, which is the name of its entry in the archive; none when it cannot be a key.
    pub id: Option<String>,
    /// File name: data, and no path; empty when there is none.
    pub name: String,
    /// MIME type in lower case, without parameters; empty when there is none.
    pub mime_type: String,
}

/// A file that is kept. Its `Debug` shows nothing of a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Cegid's id, verbatim.
    pub id: String,
    /// File name: data, and no path.
    pub name: String,
    /// MIME type in lower case, without parameters.
    pub mime_type: String,
    /// The file as received.
    pub content: Vec<u8>,
}

/// A MIME type as types are compared: `Application/PDF; name="x"` is `application/pdf`.
pub fn essence(mime_type: &str) -> String {
    mime_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").finish_non_exhaustive()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("bytes", &self.content.len()).finish_non_exhaustive()
    }
}
