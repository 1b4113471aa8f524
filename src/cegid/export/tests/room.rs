//! What a batch of frames may hold.

use std::io::{Cursor, Write};

use zip::write::{SimpleFileOptions, ZipWriter};

use super::super::*;
use crate::settings::Settings;

/// A candidate whose resume has so many bytes.
fn frame(id: &str, bytes: usize) -> Frame {
    let file = r#"{"id":"cv","isResume":true,"mimeType":"application/pdf","filename":"CV.pdf"}"#;
    let detail = format!(r#"{{"candidateDetail":{{"id":"{id}"}},"attachments":[{file}]}}"#);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("applicantdetail", detail.as_bytes()), ("cv", vec![b'x'; bytes].as_slice())] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    Frame::Memory(writer.finish().unwrap().into_inner().into())
}

fn decoder(attachments: &str) -> Decoder {
    let settings = [
        ("DATABASE__URL", "postgres://x/y"),
        ("PUBLIC_URL", "https://x.example"),
        ("TENANTS__ACME__BASE_URL", "https://acme.example"),
        ("TENANTS__ACME__CLIENT_ID", "a"),
        ("TENANTS__ACME__CLIENT_SECRET", "b"),
        ("TENANTS__ACME__ATTACHMENTS", attachments),
    ]
    .map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value.to_owned()));
    let settings = Settings::load(None, settings).unwrap();
    let tenant = settings.tenants.values().next().unwrap();
    let keeping = Keeping::of(Kind::Candidate, tenant).map(Arc::new);
    Decoder { kind: Kind::Candidate, limits: UnpackLimits::default(), live: Arc::from([]), keeping }
}

#[test]
fn a_batch_ends_before_the_record_that_does_not_fit() {
    let decoded = |sizes: &[usize], bytes, always| {
        let frames = sizes.iter().map(|size| frame("c", *size)).collect();
        let decoded = decoder("resumes").batch(frames, Room { bytes, always });
        (decoded.results.len(), decoded.kept, decoded.full)
    };
    assert_eq!(decoded(&[10, 10, 10], 30, 0), (3, 30, false));
    assert_eq!(decoded(&[10, 10, 11, 1], 30, 0), (2, 20, true));
    assert_eq!(decoded(&[0, 1], 0, 0), (1, 0, true));
    // A subject and its control fit however large they are.
    assert_eq!(decoded(&[50, 50, 0], 30, 2), (2, 100, true));
    assert_eq!(decoded(&[50, 50], 30, 2), (2, 100, false));
}

#[test]
fn files_are_left_where_they_are_unless_they_are_asked_for() {
    let decoded = decoder("none").batch(vec![frame("c", 10)], Room { bytes: 0, always: 0 });
    let record = decoded.results[0].as_ref().unwrap();
    assert!(record.document.attachments.is_none() && decoded.outcomes.is_empty() && !decoded.full);
}
