//! The export's binary framing: a size, then one complete zip, and again.

use std::io::{Cursor, Write as _};

use anyhow::Context as _;
use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// One file of an archive: its name and its bytes.
pub(crate) type Entry = (String, Vec<u8>);

/// A frame: four bytes little-endian size, then a zip of exactly that size.
///
/// Entries are deflated. Their names are what the export uses: `offerdetail`,
/// `applicantdetail`, or an attachment's id. An archive is made for each answer
/// and bears its time, so that two answers differ in their bytes where they are
/// the same in everything else.
///
/// # Errors
///
/// When an archive passes 2 GiB, the most that the size can say.
pub(crate) fn frame(entries: &[Entry], at: DateTime<Utc>) -> anyhow::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(time(at));
    for (name, bytes) in entries {
        writer.start_file(name.as_str(), options).context("starting an archive entry")?;
        writer.write_all(bytes).context("writing an archive entry")?;
    }
    let archive = writer.finish().context("closing an archive")?.into_inner();
    let size = i32::try_from(archive.len()).context("an archive over 2 GiB has no frame")?;
    let mut frame = Vec::with_capacity(archive.len() + 4);
    frame.extend_from_slice(&size.to_le_bytes());
    frame.extend_from_slice(&archive);
    Ok(frame)
}

/// To two seconds, and from 1980 on: an archive has no other times.
fn time(at: DateTime<Utc>) -> zip::DateTime {
    let part = |number: u32| u8::try_from(number).unwrap_or_default();
    let (year, month, day) = (u16::try_from(at.year()).unwrap_or_default(), part(at.month()), part(at.day()));
    zip::DateTime::from_date_and_time(year, month, day, part(at.hour()), part(at.minute()), part(at.second()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use chrono::{DateTime, TimeDelta};

    use super::frame;

    #[test]
    fn a_frame_is_its_size_and_a_readable_archive() {
        let at = DateTime::from_timestamp(1_789_000_000, 0).expect("a time");
        let made = |at| frame(&[("offerdetail".to_owned(), b"{}".to_vec())], at).expect("a frame");
        let frame = made(at);
        assert_ne!(frame, made(at + TimeDelta::seconds(2)));
        let size = u32::from_le_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(size as usize, frame.len() - 4);
        let mut archive = zip::ZipArchive::new(Cursor::new(&frame[4..])).expect("a zip");
        let mut text = String::new();
        archive.by_name("offerdetail").expect("the entry").read_to_string(&mut text).expect("text");
        assert_eq!(text, "{}");
    }
}
