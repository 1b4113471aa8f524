//! A frame's zip archive: the record's JSON, and the attachments.
//!
//! The archive is read through its central directory. Nothing in it is trusted: sizes are limits to be reached, not
//! amounts to reserve, names are data and never paths, every checksum is checked, and what all entries of a frame
//! inflate to is bounded together. A broken archive costs its record and nothing else.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{BufReader, Cursor, Read, Seek};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::frames::Frame;
use crate::domain::Kind;

mod digest;
mod listed;
mod metered;
pub use digest::{Digest, digest, digest_text};
use metered::Metered;

/// What finding and reading an archive's directory may read of it, in bytes: ten times what a thousand entries take. A
/// directory is held whole, at about ten times its size, before its entries can be counted.
const DIRECTORY: u64 = 1 << 20;

/// What an archive may hold, and inflate to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries of one archive.
    pub entries: usize,
    /// The record's JSON, inflated, in bytes.
    pub detail: u64,
    /// One attachment, inflated, in bytes.
    pub attachment: u64,
    /// Everything that is inflated of one frame, in bytes.
    pub total: u64,
    /// Everything that is inflated of one frame, as a multiple of the frame's size.
    pub ratio: u64,
    /// What a frame may inflate to whatever the ratio, in bytes.
    pub ratio_free: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        UnpackLimits {
            entries: 1_000,
            detail: 16 << 20,
            attachment: 64 << 20,
            total: 256 << 20,
            ratio: 100,
            ratio_free: 1 << 20,
        }
    }
}

/// What a frame held.
#[derive(PartialEq, Eq)]
pub struct Unpacked {
    /// The record's JSON, without a byte order mark.
    pub detail: Vec<u8>,
    /// All other entries.
    pub attachments: Vec<Attachment>,
}

/// An entry beside the record: for a candidate, a file named by its attachment id.
#[derive(PartialEq, Eq)]
pub struct Attachment {
    /// The entry's name: data, not a path.
    pub name: String,
    /// The size the archive states, in bytes. Where the content was read, its length.
    pub size: u64,
    /// The content, when it was asked for. An attachment that cannot be read does not cost the record.
    pub content: Option<Result<Vec<u8>, UnpackError>>,
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, attachments) = (self.detail.len(), self.attachments.len());
        f.debug_struct("Unpacked").field("detail_bytes", &bytes).field("attachments", &attachments).finish()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Why a frame gives no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("unpacking a record: {}", self.as_str())]
pub enum UnpackError {
    /// The frame was over the limit and was not kept.
    Oversize,
    /// No zip archive, or a broken one.
    Archive,
    /// A compression method other than stored and deflate.
    Method,
    /// The entry is encrypted.
    Encrypted,
    /// No `offerdetail` or `applicantdetail`.
    DetailMissing,
    /// More than one entry of that name, or two entries of the same name.
    DetailTwice,
    /// More entries than allowed.
    TooManyEntries,
    /// More bytes than allowed for an entry or for the frame, or out of proportion to its size.
    TooMuch,
    /// A checksum or the compressed data are wrong.
    Corrupt,
    /// The temporary file of a large frame could not be written or read: a fault of this machine.
    Spool,
}

impl UnpackError {
    /// The class, stable: as stored and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            UnpackError::Oversize => "oversize",
            UnpackError::Archive => "archive",
            UnpackError::Method => "method",
            UnpackError::Encrypted => "encrypted",
            UnpackError::DetailMissing => "detail_missing",
            UnpackError::DetailTwice => "detail_twice",
            UnpackError::TooManyEntries => "too_many_entries",
            UnpackError::TooMuch => "too_much",
            UnpackError::Corrupt => "corrupt",
            UnpackError::Spool => "spool",
        }
    }
}

/// Takes a frame apart: work for a blocking thread, about as long as inflating takes.
///
/// Without `want_attachments` attachments are listed and not inflated.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(
    kind: Kind,
    frame: Frame,
    limits: &UnpackLimits,
    want_attachments: bool,
) -> Result<Unpacked, UnpackError> {
    match frame {
        Frame::Memory(bytes) => read(kind, Cursor::new(&bytes[..]), bytes.len() as u64, limits, want_attachments),
        Frame::Spooled(file) => {
            let size = file.metadata().map_err(|_| UnpackError::Spool)?.len();
            read(kind, BufReader::new(file), size, limits, want_attachments)
        }
        Frame::Oversize { .. } => Err(UnpackError::Oversize),
        Frame::Unspooled => Err(UnpackError::Spool),
    }
}

fn read<R: Read + Seek>(
    kind: Kind,
    source: R,
    size: u64,
    limits: &UnpackLimits,
    want_attachments: bool,
) -> Result<Unpacked, UnpackError> {
    let may_read = Cell::new(DIRECTORY);
    let mut archive = match ZipArchive::new(Metered::new(source, &may_read)) {
        Ok(archive) => archive,
        Err(_) if may_read.get() == 0 => return Err(UnpackError::TooManyEntries),
        Err(error) => return Err(class(&error)),
    };
    may_read.set(u64::MAX);
    if archive.len() > limits.entries {
        return Err(UnpackError::TooManyEntries);
    }
    if archive.has_duplicate_names() {
        // Those of one name are one entry here, so the second of two details would go unseen. A file that is attached
        // twice is one file.
        let offset = archive.offset();
        let mut source = archive.into_inner();
        if !matches!(listed::count(&mut source, offset, |name| is_detail(kind, name)), Ok(0 | 1)) {
            return Err(UnpackError::DetailTwice);
        }
        archive = ZipArchive::new(source).map_err(|error| class(&error))?;
    }
    let mut details = archive.file_names_raw().enumerate().filter(|(_, name)| is_detail(kind, name));
    let (detail_index, _) = details.next().ok_or(UnpackError::DetailMissing)?;
    if details.next().is_some() {
        return Err(UnpackError::DetailTwice);
    }
    drop(details);

    let mut left = limits.total.min(limits.ratio_free.max(size.saturating_mul(limits.ratio)));
    let mut detail = inflate(&mut archive, detail_index, limits.detail, &mut left)?;
    if detail.starts_with(b"\xEF\xBB\xBF") {
        detail.drain(..3);
    }
    let mut attachments = Vec::with_capacity(archive.len() - 1);
    for index in (0..archive.len()).filter(|index| *index != detail_index) {
        let Ok(entry) = archive.by_index_data(index) else {
            // Its header is broken, and it alone.
            let name = archive.name_for_index(index).and_then(Result::ok).unwrap_or(Cow::Borrowed("")).into_owned();
            let content = want_attachments.then_some(Err(UnpackError::Archive));
            attachments.push(Attachment { name, size: 0, content });
            continue;
        };
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().unwrap_or(Cow::Borrowed("")).into_owned();
        let mut size = entry.size();
        let content = want_attachments.then(|| inflate(&mut archive, index, limits.attachment, &mut left));
        if let Some(Ok(content)) = &content {
            size = content.len() as u64;
        }
        attachments.push(Attachment { name, size, content });
    }
    Ok(Unpacked { detail, attachments })
}

/// Reads one entry to its end, its checksum included, and takes its length from `left`, the frame's budget.
fn inflate<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
    limit: u64,
    left: &mut u64,
) -> Result<Vec<u8>, UnpackError> {
    let limit = limit.min(*left);
    let entry = archive.by_index(index).map_err(|e| class(&e))?;
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(UnpackError::Method);
    }
    if entry.size() > limit {
        return Err(UnpackError::TooMuch);
    }
    // Deflate reaches a thousandfold at most, so what is reserved stays in proportion to what was sent.
    let most = entry.compressed_size().saturating_mul(1_032).min(limit).min(entry.size()) + 1;
    let mut content = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
    let result = entry.take(limit + 1).read_to_end(&mut content);
    *left = left.saturating_sub(content.len() as u64);
    match result {
        Ok(_) if content.len() as u64 > limit => Err(UnpackError::TooMuch),
        Ok(_) => Ok(content),
        Err(_) => Err(UnpackError::Corrupt),
    }
}

/// Whether an entry's name is that of the record: in any case, with or without `.json`.
pub(super) fn is_detail(kind: Kind, name: &[u8]) -> bool {
    let wanted: &[u8] = match kind {
        Kind::Vacancy => b"offerdetail",
        Kind::Candidate => b"applicantdetail",
    };
    match name.split_at_checked(wanted.len()) {
        Some((stem, extension)) => {
            stem.eq_ignore_ascii_case(wanted) && (extension.is_empty() || extension.eq_ignore_ascii_case(b".json"))
        }
        None => false,
    }
}

fn class(error: &ZipError) -> UnpackError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => UnpackError::Encrypted,
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => UnpackError::Method,
        _ => UnpackError::Archive,
    }
}

#[cfg(test)]
mod tests;
