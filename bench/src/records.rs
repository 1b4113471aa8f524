//! The records that are decoded: the simulator's, and candidates whose attachments are as large as real ones.

use std::{fs, path::Path};

use anyhow::Context;
use bytes::Bytes;
use cegid_indexer::{
    cegid::{
        frames::Frame,
        unpack::{UnpackLimits, unpack},
    },
    domain::Kind,
};
use cegid_simulator::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ats::Ats;

/// Vacancies that are decoded.
const VACANCIES: usize = 10_000;
/// Candidates that are decoded, or read by the service.
const CANDIDATES: usize = 2_000;
/// Bytes of an attachment.
const ATTACHMENT: usize = 100 * 1024;
/// Bytes after which its contents begin anew …
const STRETCH: usize = 1024;
/// … and how many of these deflate cannot make smaller.
const NOISE: usize = STRETCH * 6 / 10;
const WORDS: [&str; 16] = [
    "obj",
    "endobj",
    "stream",
    "/Type",
    "/Page",
    "/Font",
    "expérience",
    "formation",
    "compétences",
    "projet",
    "client",
    "équipe",
    "gestion",
    "2019",
    "2024",
    "responsable",
];

/// Answers of the exports as they come from the wire, in memory.
pub struct Records {
    /// Pages of vacancies.
    pub vacancies: Vec<Bytes>,
    /// Pages of candidates with attachments.
    pub candidates: Vec<Bytes>,
}

impl Records {
    /// Fetches them from simulators of its own. `candidates` is what [`candidates`] made.
    pub fn fetch(candidates: &Path) -> anyhow::Result<Records> {
        let ats = Ats::start(Config { vacancies: VACANCIES, candidates: 0, ..Config::default() })?;
        let vacancies = ats.pages("vacancies")?;
        let ats = Ats::start(of(candidates))?;
        Ok(Records { vacancies, candidates: ats.pages("candidates")? })
    }
}

/// A tenant that has these candidates and nothing else.
pub fn of(candidates: &Path) -> Config {
    Config { vacancies: 0, candidates: 0, records: Some(candidates.to_owned()), ..Config::default() }
}

/// A directory with 2,000 of the simulator's candidates, each with one attachment of 100 KiB, 60 % of it noise.
pub fn candidates() -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir().context("making a directory for candidates")?;
    let ats = Ats::start(Config { vacancies: 0, candidates: CANDIDATES, ..Config::default() })?;
    let mut number = 0;
    for page in ats.pages("candidates")? {
        for frame in split(&page) {
            let unpacked = unpack(Kind::Candidate, Frame::Memory(frame), &UnpackLimits::default(), false)?;
            let mut record: Value = serde_json::from_slice(&unpacked.detail).context("reading a candidate")?;
            let id = format!("attachment-{number:05}");
            record["attachments"] =
                json!([{ "id": id, "isResume": true, "mimeType": "application/pdf", "filename": "CV.pdf" }]);
            // An anonymised candidate has none.
            record["candidateDetail"]["isAnonymized"] = json!(false);
            fs::write(directory.path().join(format!("{number:05}.json")), record.to_string())?;
            fs::write(directory.path().join(&id), attachment(number))?;
            number += 1;
        }
    }
    Ok(directory)
}

/// The archives of a page, without copying.
pub fn split(page: &Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut rest = page.clone();
    while let Some(size) = rest.get(..4).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes) {
        let end = (4 + size as usize).min(rest.len());
        frames.push(rest.slice(4..end));
        rest = rest.slice(end..);
    }
    frames
}

/// Noise and words in turn, as a file with compressed and plain parts has them.
fn attachment(number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ATTACHMENT + STRETCH);
    let mut random = 0x2545_F491_4F6C_DD1D ^ (number + 1);
    let mut draw = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    while bytes.len() < ATTACHMENT {
        let begun = bytes.len();
        while bytes.len() < begun + NOISE {
            bytes.extend_from_slice(&draw().to_le_bytes());
        }
        while bytes.len() < begun + STRETCH {
            bytes.extend_from_slice(WORDS[(draw() % WORDS.len() as u64) as usize].as_bytes());
            bytes.push(b' ');
        }
    }
    bytes.truncate(ATTACHMENT);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_split_at_its_sizes() {
        let page = Bytes::from_static(b"\x02\0\0\0ab\x01\0\0\0c");
        assert_eq!(split(&page), [&b"ab"[..], b"c"]);
    }

    #[test]
    fn attachments_differ_and_have_one_size() {
        assert_eq!(attachment(1).len(), ATTACHMENT);
        assert_ne!(attachment(1), attachment(2));
    }
}
