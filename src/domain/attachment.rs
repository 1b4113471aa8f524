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

/// The MIME type of a file whose own says nothing, by its first bytes and its name; `None` where these say nothing
/// either.
pub fn guess(mime_type: &str, name: &str, content: &[u8]) -> Option<&'static str> {
    const NOTHING: [&str; 6] = [
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/unknown",
        "application/download",
        "application/force-download",
    ];
    if !NOTHING.contains(&mime_type) && !mime_type.starts_with("application/x-") {
        return None;
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.trim().to_ascii_lowercase());
    match (content, extension.as_deref()) {
        ([b'%', b'P', b'D', b'F', b'-', ..], _) => Some("application/pdf"),
        ([b'{', b'\\', b'r', b't', b'f', ..], _) => Some("application/rtf"),
        ([0xD0, 0xCF, 0x11, 0xE0, ..], _) => Some("application/msword"),
        ([b'P', b'K', 3, 4, ..], Some("docx")) => {
            Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document")
        }
        ([b'P', b'K', 3, 4, ..], Some("odt")) => Some("application/vnd.oasis.opendocument.text"),
        (_, Some("txt")) => Some("text/plain"),
        (_, Some("htm" | "html")) => Some("text/html"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_says_nothing_is_settled_by_the_bytes_and_the_name() {
        const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        for (mime_type, name, content, is) in [
            ("application/octet-stream", "cv", &b"%PDF-1.7 ..."[..], Some("application/pdf")),
            ("", "cv.docx", b"%PDF-1.7", Some("application/pdf")),
            ("application/x-unknown", "CV.DOCX", b"PK\x03\x04...", Some(DOCX)),
            ("binary/octet-stream", "cv.doc", b"\xD0\xCF\x11\xE0...", Some("application/msword")),
            ("", "cv.rtf", b"{\\rtf1", Some("application/rtf")),
            ("", "cv.txt", b"Jane", Some("text/plain")),
            ("", "cv.zip", b"PK\x03\x04...", None),
            ("", "cv", b"", None),
            ("image/png", "cv.pdf", b"%PDF-1.7", None),
        ] {
            assert_eq!(guess(mime_type, name, content), is, "{mime_type} {name}");
        }
    }
}
