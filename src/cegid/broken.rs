//! A frame that gave no record, and what can be known of it all the same.

use std::io::{Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use zip::{ZipArchive, read::read_zipfile_from_stream};

use super::{
    frames::Frame,
    unpack::{Digest, digest, digest_text, is_detail},
};
use crate::domain::{Kind, key_in_prefix};

/// How much of a frame is looked through for its key, and of the record in it, in bytes.
const SEARCHED_FRAME: u64 = 1 << 20;
const SEARCHED_DETAIL: u64 = 64 << 10;
/// Entries of an archive without a directory that are looked through for the record.
const SEARCHED_ENTRIES: usize = 16;

/// A frame that gave no record.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What was wrong with it, without a word of its content.
    pub cause: String,
    /// The same for frames that hold the same; none when it is not known.
    pub digest: Option<Digest>,
    /// The record's key, where it stands readably at the record's beginning.
    pub key: Option<String>,
    /// Frames before it in the answer.
    pub place: usize,
}

impl Broken {
    /// Work for a blocking thread: reads the frame once more. Its place is not known yet.
    pub(super) fn new(kind: Kind, frame: Option<Frame>, cause: String) -> Broken {
        if let Some(Frame::Oversize { .. }) = frame {
            return Broken { digest: Some(digest_text(&cause)), cause, key: None, place: 0 };
        }
        let known = AssertUnwindSafe(|| {
            let again = frame.as_ref().and_then(Frame::try_clone);
            (again.and_then(digest), frame.and_then(|frame| key_of(kind, frame)))
        });
        // It may hit the bug that made it unreadable.
        let (digest, key) = catch_unwind(known).unwrap_or_default();
        Broken { cause, digest, key, place: 0 }
    }
}

fn key_of(kind: Kind, frame: Frame) -> Option<String> {
    let start = match frame {
        Frame::Memory(bytes) => bytes,
        Frame::Spooled(mut file) => {
            let mut start = Vec::new();
            file.rewind().and_then(|()| file.take(SEARCHED_FRAME).read_to_end(&mut start)).ok()?;
            start.into()
        }
        Frame::Oversize { .. } | Frame::Unspooled => return None,
    };
    key_in_prefix(kind, &detail_start(kind, &start)?)
}

/// The part of the record in an archive that can be inflated, from its beginning.
fn detail_start(kind: Kind, archive: &[u8]) -> Option<Vec<u8>> {
    by_directory(kind, archive).or_else(|| without_directory(kind, archive))
}

fn by_directory(kind: Kind, archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).ok()?;
    let index = archive.file_names_raw().position(|name| is_detail(kind, name))?;
    Some(readable(archive.by_index(index).ok()?))
}

/// An archive that was cut has lost its directory, which stands at its end.
fn without_directory(kind: Kind, mut archive: &[u8]) -> Option<Vec<u8>> {
    for _ in 0..SEARCHED_ENTRIES {
        let entry = read_zipfile_from_stream(&mut archive).ok()??;
        if is_detail(kind, entry.name_raw()) {
            return Some(readable(entry));
        }
    }
    None
}

/// What comes before a fault.
fn readable(from: impl Read) -> Vec<u8> {
    let mut start = Vec::new();
    let _fault = from.take(SEARCHED_DETAIL).read_to_end(&mut start);
    start
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn archive(json: &str) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("OfferDetail.json", SimpleFileOptions::default()).unwrap();
        writer.write_all(json.as_bytes()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn key(frame: Vec<u8>) -> Option<String> {
        Broken::new(Kind::Vacancy, Some(Frame::Memory(frame.into())), String::new()).key
    }

    #[test]
    fn the_key_is_found_where_the_json_the_checksum_or_the_directory_is_broken() {
        let padding: String = (0..4000).map(|n| format!("{n:x} ")).collect();
        let json = format!(r#"{{"offerDetail":{{"reference":"2016-48","text":"{padding}"}}}}"#);
        let whole = archive(&json);
        assert_eq!(key(archive(&json[..200])).as_deref(), Some("2016-48"), "JSON that is cut");
        assert_eq!(key(whole[..whole.len() / 2].to_vec()).as_deref(), Some("2016-48"), "an archive that is cut");
        let mut wrong = whole.clone();
        let middle = whole.len() / 2;
        wrong[middle] ^= 0x55;
        assert_eq!(key(wrong).as_deref(), Some("2016-48"), "a byte that is wrong");
        assert_eq!(key(vec![0x5a; 300]), None);
        assert_eq!(key(Vec::new()), None);
    }

    #[test]
    fn a_spooled_frame_has_its_key_too() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive(r#"{"reference":"r","#)).unwrap();
        let spooled = Broken::new(Kind::Vacancy, Some(Frame::Spooled(file)), String::new());
        assert_eq!((spooled.key.as_deref(), spooled.digest.is_some()), (Some("r"), true));
    }
}
