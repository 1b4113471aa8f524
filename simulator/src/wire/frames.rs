//! The export's binary framing: a size, then one complete zip, and again.

use std::io::{Cursor, Write as _};

use anyhow::Context as _;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// One file of an archive: its name and its bytes.
pub(crate) type Entry = (String, Vec<u8>);

/// A frame: four bytes little-endian size, then a zip of exactly that size.
///
/// Entries are deflated. Their names are what the export uses: `offerdetail`,
/// `applicantdetail`, or an attachment's id.
///
/// # Errors
///
/// When an archive passes 2 GiB, the most that the size can say.
pub(crate) fn frame(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
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

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::frame;

    #[test]
    fn a_frame_is_its_size_and_a_readable_archive() {
        let frame = frame(&[("offerdetail".to_owned(), b"{}".to_vec())]).expect("a frame");
        let size = u32::from_le_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(size as usize, frame.len() - 4);
        let mut archive = zip::ZipArchive::new(Cursor::new(&frame[4..])).expect("a zip");
        let mut text = String::new();
        archive.by_name("offerdetail").expect("the entry").read_to_string(&mut text).expect("text");
        assert_eq!(text, "{}");
    }
}
