//! Records and callbacks.

use serde::de::IgnoredAny;

use crate::{
    domain::{Kind, RecordError, Visibility, read_record},
    intake::fuzzing::payload,
};

/// Bytes of a key, as the tables take it.
const KEY: usize = 512;
/// Bytes of folded text of one weight.
const WORDS: usize = 200_000;
const LIVE: &str = "_TS_CO_OfferStatus_Diffuse";

/// Reads any bytes as a vacancy, as a candidate and as the body of a callback.
///
/// Promised of a record: its key and everything that goes into a column of its own can be stored; the words are within
/// their bound; the text kept is JSON, no longer than what was received, and reads as the same record.
///
/// # Panics
/// When a promise is broken.
pub fn json(input: &[u8]) {
    payload(input);
    for kind in Kind::ALL {
        let live = [LIVE.to_owned()];
        let record = match read_record(kind, input, &live) {
            Ok(record) => record,
            Err(RecordError::NotJson | RecordError::NoKey) => continue,
        };
        let document = &record.document;
        assert_eq!((document.kind(), document.key()), (kind, record.subject.key()));
        assert!((1..=KEY).contains(&document.key().len()));
        let status = document.status.as_ref().and_then(|status| status.id.as_deref());
        let columns = [Some(document.key()), Some(&document.title), document.created.as_deref()];
        let columns = columns.into_iter().chain([document.modified.as_deref(), status, document.email()]);
        for text in columns.flatten().chain(document.folded().iter().map(String::as_str)) {
            assert!(!text.contains('\0'));
        }
        if kind == Kind::Vacancy {
            assert_eq!(document.visibility == Visibility::Live, status == Some(LIVE));
            assert!(status.is_some() || document.visibility == Visibility::Unknown);
        }
        for words in document.folded() {
            assert!(words.len() <= WORDS);
            assert!(!words.starts_with(' ') && !words.contains("  "));
        }
        let coded = document.coded_json();
        assert!(!coded.contains("\\u0000"));
        assert!(serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(&coded).is_ok());

        // The escape of a control character is the longest thing that mending makes of one byte.
        assert!(document.raw().len() <= 6 * input.len());
        assert!(serde_json::from_str::<IgnoredAny>(document.raw()).is_ok());
        if kind == Kind::Candidate {
            let again = read_record(kind, document.raw().as_bytes(), &live).expect("what is kept is a record");
            assert_eq!(again.document.key(), document.key());
            assert_eq!(again.document.folded(), document.folded());
            assert_eq!(again.mistyped, record.mistyped);
        }
    }
}
