//! Whether two frames hold the same.

use std::cell::Cell;
use std::io::{BufReader, Cursor, Read, Seek};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::{DIRECTORY, metered::Metered};
use crate::cegid::frames::Frame;

/// SHA-256.
pub type Digest = [u8; 32];

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Entries of an archive that are told apart one by one.
const MAX_ENTRIES: usize = 1_000;

/// The same for frames that hold the same. Of an archive it covers the names, sizes and checksums of its entries: one
/// that is made for each answer holds times, and so has other bytes each time. Of anything else it covers the bytes.
/// Nothing is held in memory; none when the frame was not kept or its file cannot be read.
pub fn digest(frame: Frame) -> Option<Digest> {
    match frame {
        Frame::Memory(bytes) => digest_of(Cursor::new(&bytes[..])),
        Frame::Spooled(file) => digest_of(BufReader::new(file)),
        Frame::Oversize { .. } | Frame::Unspooled => None,
    }
}

/// The same of a failure that is known by its words.
pub fn digest_text(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

fn digest_of(mut source: impl Read + Seek) -> Option<Digest> {
    source.rewind().ok()?;
    if let Some(digest) = digest_entries(&mut source) {
        return Some(digest);
    }
    source.rewind().ok()?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match source.read(&mut chunk).ok()? {
            0 => return Some(hash.finalize().into()),
            read => hash.update(&chunk[..read]),
        }
    }
}

fn digest_entries(source: impl Read + Seek) -> Option<Digest> {
    let may_read = Cell::new(DIRECTORY);
    let archive = ZipArchive::new(Metered::new(source, &may_read)).ok()?;
    if archive.len() > MAX_ENTRIES {
        return None;
    }
    let mut hash = Sha256::new();
    for (index, name) in archive.file_names_raw().enumerate() {
        let entry = archive.by_index_data(index).ok()?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(entry.size().to_le_bytes());
        hash.update(entry.crc32().to_le_bytes());
    }
    Some(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use bytes::Bytes;
    use zip::{DateTime, ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn archive(name: &str, content: &[u8], minute: u8) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let time = DateTime::from_date_and_time(2026, 9, 10, 12, minute, 0).unwrap();
        writer.start_file(name, SimpleFileOptions::default().last_modified_time(time)).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn memory(bytes: Vec<u8>) -> Option<Digest> {
        digest(Frame::Memory(Bytes::from(bytes)))
    }

    fn spooled(bytes: &[u8]) -> Option<Digest> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        // It is read from wherever reading has ended.
        file.seek(std::io::SeekFrom::End(-1)).unwrap();
        digest(Frame::Spooled(file))
    }

    #[test]
    fn an_archive_is_the_same_at_another_time_and_not_with_another_content() {
        let first = archive("offerdetail", b"{", 1);
        assert_ne!(first, archive("offerdetail", b"{", 2));
        assert_eq!(memory(first.clone()), memory(archive("offerdetail", b"{", 2)));
        assert_eq!(memory(first.clone()), spooled(&first));
        for other in [archive("offerdetail", b"[", 1), archive("offerdetails", b"{", 1)] {
            assert_ne!(memory(first.clone()), memory(other));
        }
    }

    #[test]
    fn what_is_no_archive_is_known_by_its_bytes() {
        assert!(memory(vec![0x5a; 300_000]).is_some());
        assert_eq!(memory(vec![0x5a; 300_000]), spooled(&[0x5a; 300_000]));
        assert_ne!(memory(vec![0x5a; 300_000]), memory(vec![0x5a; 300_001]));
        assert_eq!(digest(Frame::Oversize { bytes: 1 }), None);
    }
}
