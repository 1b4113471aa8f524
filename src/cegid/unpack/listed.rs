//! The entries that an archive's directory lists, those of one name too, which `zip` takes for one entry.

use std::io::{self, Read, Seek, SeekFrom};

use super::DIRECTORY;

/// The end of the directory, without its comment.
const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
const COMMENT_LIMIT: usize = 65_535;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;

/// How many entries have a name that passes.
///
/// # Errors
/// When the directory cannot be read, such as that of a zip64 archive.
pub(super) fn count(mut source: impl Read + Seek, offset: u64, passes: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
    let size = source.seek(SeekFrom::End(0))?;
    let tail = size.min((END_SIZE + COMMENT_LIMIT) as u64);
    source.seek(SeekFrom::Start(size - tail))?;
    let mut read = Vec::new();
    source.by_ref().take(tail).read_to_end(&mut read)?;
    let end = read.windows(END.len()).rposition(|window| window == END).and_then(|at| read.get(at..at + END_SIZE));
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let (length, start) = (number(end, 12, 4), number(end, 16, 4));
    if length > DIRECTORY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    source.seek(SeekFrom::Start(offset.saturating_add(start)))?;
    read.clear();
    source.take(length).read_to_end(&mut read)?;
    let (mut rest, mut count) = (&read[..], 0);
    while !rest.is_empty() {
        let head = rest.get(..ENTRY_SIZE).filter(|head| head.starts_with(ENTRY)).ok_or(io::ErrorKind::InvalidData)?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::try_from(number(head, at, 2)).unwrap_or(usize::MAX));
        let name_of = rest.get(ENTRY_SIZE..ENTRY_SIZE + name).ok_or(io::ErrorKind::InvalidData)?;
        count += usize::from(passes(name_of));
        rest = rest.get(ENTRY_SIZE + name + extra + comment..).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(count)
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
