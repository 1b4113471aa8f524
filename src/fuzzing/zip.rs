//! Archives of records.

use std::io::Write;

use bytes::Bytes;

use crate::{
    cegid::{
        frames::Frame,
        unpack::{UnpackError, UnpackLimits, Unpacked, unpack},
    },
    domain::Kind,
};

/// Small, so that a short input reaches every one of them.
const SMALL: UnpackLimits =
    UnpackLimits { entries: 6, detail: 2_000, attachment: 500, total: 3_000, ratio: 4, ratio_free: 1_000 };

/// Unpacks any bytes as either kind of record, with and without attachments, from memory and from a file.
///
/// Promised: what comes out is within every limit, alone and together; asking for no attachments changes nothing but
/// that their contents are not there; a file gives what memory gives.
///
/// # Panics
/// When a promise is broken.
pub fn zip(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    for kind in Kind::ALL {
        let memory = || Frame::Memory(bytes.clone());
        let full = unpack(kind, memory(), &SMALL, true);
        let listed = unpack(kind, memory(), &SMALL, false);
        match (&full, &listed) {
            (Ok(full), Ok(listed)) => {
                within(full, &SMALL, input.len());
                same_list(full, listed);
                let spooled = unpack(kind, spooled(input), &SMALL, true);
                assert!(spooled.as_ref() == Ok(full), "a file gives something else than memory");
            }
            (Err(full), Err(listed)) => assert_eq!(full, listed),
            (full, listed) => panic!("{full:?} with attachments, {listed:?} without"),
        }
        if full.is_ok() || full == Err(UnpackError::TooMuch) {
            let limits = UnpackLimits::default();
            if let Ok(unpacked) = unpack(kind, memory(), &limits, true) {
                within(&unpacked, &limits, input.len());
            }
        }
    }
}

fn within(unpacked: &Unpacked, limits: &UnpackLimits, frame: usize) {
    assert!(unpacked.attachments.len() < limits.entries);
    assert!(unpacked.detail.len() as u64 <= limits.detail);
    // Growing doubles what is reserved, and the end is found by reading on.
    assert!(unpacked.detail.capacity() as u64 <= 2 * limits.detail + 64);
    let mut total = unpacked.detail.len() as u64;
    for attachment in &unpacked.attachments {
        if let Some(Ok(content)) = &attachment.content {
            assert!(content.len() as u64 <= limits.attachment);
            assert!(content.capacity() as u64 <= 2 * limits.attachment + 64);
            assert_eq!(attachment.size, content.len() as u64);
            total += attachment.size;
        }
    }
    assert!(total <= limits.total);
    assert!(total <= limits.ratio_free.max(frame as u64 * limits.ratio));
}

fn same_list(full: &Unpacked, listed: &Unpacked) {
    assert!(full.detail == listed.detail);
    assert!(listed.attachments.iter().all(|attachment| attachment.content.is_none()));
    assert!(full.attachments.iter().all(|attachment| attachment.content.is_some()));
    let names = |unpacked: &Unpacked| unpacked.attachments.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(full), names(listed));
}

fn spooled(input: &[u8]) -> Frame {
    let mut file = tempfile::tempfile().expect("a temporary file is made");
    file.write_all(input).expect("a temporary file is written");
    Frame::Spooled(file)
}
