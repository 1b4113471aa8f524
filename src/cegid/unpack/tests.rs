use std::io::Write;

use proptest::prelude::*;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

const JSON: &[u8] = br#"{"offerDetail":{"reference":"2016-48"}}"#;

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn vacancy(bytes: Vec<u8>) -> Result<Unpacked, UnpackError> {
    unpack(Kind::Vacancy, Frame::Memory(bytes.into()), &UnpackLimits::default(), false)
}

/// Replaces every occurrence, as archives repeat their entries' headers.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn the_record_under_any_of_its_names() {
    for name in ["offerdetail", "OfferDetail", "offerdetail.json", "OFFERDETAIL.JSON"] {
        assert_eq!(vacancy(archive(&[(name, JSON)])).unwrap().detail, JSON, "{name}");
    }
    for name in ["offerdetails", "offerdetail.xml", "x/offerdetail", "applicantdetail", "offer"] {
        assert_eq!(vacancy(archive(&[(name, JSON)])), Err(UnpackError::DetailMissing), "{name}");
    }
    let bom = [b"\xEF\xBB\xBF", JSON].concat();
    assert_eq!(vacancy(archive(&[("offerdetail", &bom)])).unwrap().detail, JSON);
}

#[test]
fn attachments_are_listed_and_read_only_when_wanted() {
    let bytes = archive(&[("../../etc/passwd", b"cv"), ("applicantdetail", b"{}"), ("dir/", b""), ("b", b"letter")]);
    let read = |wanted| {
        let frame = Frame::Memory(bytes.clone().into());
        unpack(Kind::Candidate, frame, &UnpackLimits::default(), wanted).unwrap().attachments
    };
    let listed: Vec<_> = read(false).into_iter().map(|a| (a.name, a.size, a.content)).collect();
    assert_eq!(listed, [("../../etc/passwd".to_owned(), 2, None), ("b".to_owned(), 6, None)]);
    assert_eq!(read(true)[1].content, Some(Ok(b"letter".to_vec())));
}

#[test]
fn an_attachment_with_a_broken_header_costs_itself_only() {
    let mut bytes = archive(&[("applicantdetail", b"{}"), ("cv", b"resume"), ("b", b"letter")]);
    let local = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"PK\x03\x04")).nth(1).unwrap();
    bytes[local] = b'X';
    for wanted in [false, true] {
        let frame = Frame::Memory(bytes.clone().into());
        let unpacked = unpack(Kind::Candidate, frame, &UnpackLimits::default(), wanted).unwrap();
        let contents: Vec<_> = unpacked.attachments.into_iter().map(|it| (it.name, it.content)).collect();
        let read = |content| wanted.then_some(content);
        assert_eq!(contents[0], ("cv".to_owned(), read(Err(UnpackError::Archive))));
        assert_eq!(contents[1], ("b".to_owned(), read(Ok(b"letter".to_vec()))));
    }
}

#[test]
fn a_spooled_frame_is_read_like_one_in_memory() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&archive(&[("offerdetail", JSON)])).unwrap();
    let unpacked = unpack(Kind::Vacancy, Frame::Spooled(file), &UnpackLimits::default(), true).unwrap();
    assert_eq!(unpacked.detail, JSON);
    let oversize = unpack(Kind::Vacancy, Frame::Oversize { bytes: 9 }, &UnpackLimits::default(), true);
    assert_eq!(oversize, Err(UnpackError::Oversize));
}

#[test]
fn what_is_no_archive_or_a_broken_one() {
    assert_eq!(vacancy(b"{}".to_vec()), Err(UnpackError::Archive));
    assert_eq!(vacancy(vec![]), Err(UnpackError::Archive));
    let good = archive(&[("offerdetail", JSON)]);
    assert_eq!(vacancy(good[..good.len() - 30].to_vec()), Err(UnpackError::Archive));
    let crc = crc32(JSON).to_le_bytes();
    assert_eq!(vacancy(replace(&good, &crc, &[1, 2, 3, 4])), Err(UnpackError::Corrupt));
    let mut flipped = good;
    flipped[45] ^= 0xFF;
    assert_eq!(vacancy(flipped), Err(UnpackError::Corrupt));
}

#[test]
fn what_is_not_understood_is_an_error_of_its_own() {
    let good = archive(&[("offerdetail", JSON)]);
    // Bit 0 of the flags, beside the version needed, in the local and in the central header.
    let local = replace(&good, b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01");
    let central = local.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let mut encrypted = local;
    encrypted[central + 8] |= 1;
    assert_eq!(vacancy(encrypted), Err(UnpackError::Encrypted));
    let mut method = good;
    let central = method.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    method[central + 10] = 14;
    method[8] = 14;
    assert_eq!(vacancy(method), Err(UnpackError::Method));
}

#[test]
fn the_record_twice() {
    let two = archive(&[("offerdetail", JSON), ("OfferDetail.json", JSON)]);
    assert_eq!(vacancy(two), Err(UnpackError::DetailTwice));
    let same = replace(&archive(&[("offerdetail", JSON), ("offerdetaiX", JSON)]), b"detaiX", b"detail");
    assert_eq!(vacancy(same), Err(UnpackError::DetailTwice));
}

#[test]
fn a_file_that_is_attached_twice_is_one_file() {
    let twice = archive(&[("cv-1", b"resume"), ("applicantdetail", b"{}"), ("cv-2", b"resume"), ("b", b"letter")]);
    let twice = replace(&twice, b"cv-2", b"cv-1");
    for before in [&b""[..], b"bytes before the archive"] {
        let frame = Frame::Memory([before, &twice].concat().into());
        let unpacked = unpack(Kind::Candidate, frame, &UnpackLimits::default(), true).unwrap();
        let files: Vec<_> = unpacked.attachments.into_iter().map(|it| (it.name, it.content.unwrap())).collect();
        let file = |name: &str, content: &[u8]| (name.to_owned(), Ok(content.to_vec()));
        assert_eq!(files, [file("cv-1", b"resume"), file("b", b"letter")]);
    }
}

#[test]
fn every_limit_is_reached() {
    let limits = UnpackLimits { entries: 2, detail: 100, attachment: 50, total: 160, ratio: 1_000, ratio_free: 160 };
    let read = |entries: &[(&str, &[u8])], limits: &UnpackLimits| {
        unpack(Kind::Vacancy, Frame::Memory(archive(entries).into()), limits, true)
    };
    let content =
        |result: Result<Unpacked, _>| result.map(|u| u.attachments[0].content.clone().unwrap().map(|c| c.len()));
    let zeros = [0; 200];
    assert_eq!(read(&[("offerdetail", &zeros[..100])], &limits).unwrap().detail.len(), 100);
    assert_eq!(read(&[("offerdetail", &zeros[..101])], &limits), Err(UnpackError::TooMuch));
    let three: [(&str, &[u8]); 3] = [("a", b""), ("b", b""), ("offerdetail", b"")];
    assert_eq!(read(&three, &limits), Err(UnpackError::TooManyEntries));
    let beside = |n| [("offerdetail", &b"{}"[..]), ("cv", &zeros[..n])];
    assert_eq!(content(read(&beside(50), &limits)), Ok(Ok(50)));
    assert_eq!(content(read(&beside(51), &limits)), Ok(Err(UnpackError::TooMuch)));
    let full = [("offerdetail", &zeros[..100]), ("cv", &zeros[..50])];
    assert_eq!(content(read(&full, &UnpackLimits { total: 149, ..limits })), Ok(Err(UnpackError::TooMuch)));
    assert_eq!(content(read(&full, &UnpackLimits { total: 150, ..limits })), Ok(Ok(50)));
}

/// The directory of so many entries that to list them would fill the memory is not read to its end.
#[test]
fn a_directory_without_end_is_no_directory() {
    let good = archive(&[("offerdetail", JSON)]);
    let central = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = good.len() - 22;
    let mut many = good[..central].to_vec();
    let count = 3 * DIRECTORY as usize / (end - central);
    for n in 0..count {
        many.extend_from_slice(&good[central..end]);
        let name = many.len() - "offerdetail".len();
        many[name..name + 8].copy_from_slice(format!("{n:08}").as_bytes());
    }
    let directory_end = many.len();
    let field = |value: usize| (value as u64).to_le_bytes();
    let [all, size, start, at] = [count, directory_end - central, central, directory_end].map(field);
    let record = [b"PK\x06\x06", &field(44)[..], &[45, 0, 45, 0], &[0; 8], &all, &all, &size, &start].concat();
    let locator = [b"PK\x06\x07", &[0; 4][..], &at, &[1, 0, 0, 0]].concat();
    many.extend([record, locator, [b"PK\x05\x06", &[0; 4][..], &[0xFF; 12], &[0; 2]].concat()].concat());
    assert!(ZipArchive::new(Cursor::new(&many)).is_ok_and(|archive| archive.len() == count));
    let used = Cell::new(u64::MAX);
    let source = Metered::new(Cursor::new(&many), &used);
    let unpacked = read(Kind::Vacancy, source, many.len() as u64, &UnpackLimits::default(), false);
    assert_eq!(unpacked, Err(UnpackError::TooManyEntries));
    assert!(u64::MAX - used.get() < 2 * DIRECTORY, "{}", u64::MAX - used.get());
}

/// An archive of the size that is spooled, and as many entries as are allowed, is opened within the budget.
#[test]
fn the_largest_directory_allowed_is_read() {
    let names: Vec<String> = (1..UnpackLimits::default().entries).map(|n| format!("{n:0200}")).collect();
    let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let large: Vec<u8> = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    entries[0].1 = &large;
    entries.push(("offerdetail", JSON));
    let unpacked = vacancy(archive(&entries)).unwrap();
    assert_eq!((unpacked.attachments.len(), unpacked.detail.as_slice()), (names.len(), JSON));
}

#[test]
fn a_bomb_is_stopped_by_its_ratio_and_by_the_real_size() {
    let bomb = archive(&[("offerdetail", &vec![b' '; 8 << 20])]);
    assert!(bomb.len() < 16 << 10);
    assert_eq!(vacancy(bomb.clone()), Err(UnpackError::TooMuch));
    // The same with a stated size of one byte.
    let lying = replace(&bomb, &(8_u32 << 20).to_le_bytes(), &1_u32.to_le_bytes());
    assert_eq!(vacancy(lying), Err(UnpackError::Corrupt));
}

#[test]
fn debug_shows_no_content() {
    let unpacked = vacancy(archive(&[("offerdetail", JSON), ("cv of somebody", b"x")])).unwrap();
    let shown = format!("{unpacked:?} {:?}", unpacked.attachments);
    assert!(!shown.contains("2016-48") && !shown.contains("somebody"), "{shown}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

proptest! {
    #[test]
    fn damage_never_panics(at in any::<proptest::sample::Index>(), value in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = archive(&[("offerdetail", JSON), ("a", b"attachment"), ("b", b"")]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if cut {
            bytes.truncate(at);
        }
        let _ = unpack(Kind::Vacancy, Frame::Memory(bytes.into()), &UnpackLimits::default(), true).map(|_| ());
    }
}
