mod room;

use std::io::{Cursor, Write};

use bytes::Bytes;
use proptest::prelude::*;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::{clock::Clock, metrics::Metrics, settings::Settings};

/// Bytes of a frame that is over the limit of these tests.
const FRAME_LIMIT: usize = 700;
/// Bytes of a frame that goes through a file.
const IN_MEMORY: usize = 300;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// A record of this many bytes of title, which do not compress.
    Record(usize),
    /// An archive with another entry than the record.
    NoDetail,
    /// Bytes that are no archive.
    Junk,
    /// More than is kept.
    Oversize,
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => (0..200_usize).prop_map(Content::Record),
        1 => Just(Content::NoDetail),
        1 => Just(Content::Junk),
        1 => Just(Content::Oversize),
    ]
}

fn archive(name: &str, text: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, SimpleFileOptions::default()).unwrap();
    writer.write_all(text).unwrap();
    writer.finish().unwrap().into_inner()
}

/// The frame at this place of the stream, without its size.
fn frame(kind: Kind, place: usize, content: Content) -> Vec<u8> {
    let (name, member) = match kind {
        Kind::Vacancy => ("offerdetail", "reference"),
        Kind::Candidate => ("applicantdetail", "id"),
    };
    match content {
        Content::Record(title) => {
            let noise = (0..title as u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26));
            let title: String = noise.collect();
            archive(name, format!(r#"{{"{member}":"{place}","title":"{title}"}}"#).as_bytes())
        }
        Content::NoDetail => archive("readme", b"nothing"),
        Content::Junk => vec![0xA5; 20],
        Content::Oversize => vec![0; FRAME_LIMIT + 1],
    }
}

/// The stream, and where each of its frames ends.
fn body(kind: Kind, contents: &[Content]) -> (Vec<u8>, Vec<usize>) {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for (place, content) in contents.iter().enumerate() {
        let frame = frame(kind, place, *content);
        body.extend((frame.len() as u32).to_le_bytes());
        body.extend(frame);
        ends.push(body.len());
    }
    (body, ends)
}

fn client() -> Client {
    let environment = [
        ("DATABASE__URL", "postgres://localhost/cegid"),
        ("PUBLIC_URL", "https://indexer.example.com"),
        ("TENANTS__ACME__BASE_URL", "https://acme.example.com"),
        ("TENANTS__ACME__CLIENT_ID", "c"),
        ("TENANTS__ACME__CLIENT_SECRET", "s"),
    ];
    let pair = |(key, value): (&str, &str)| (format!("CEGID_INDEXER__{key}"), value.to_owned());
    let mut settings = Settings::load(None, environment.map(pair)).unwrap();
    let (id, tenant) = settings.tenants.pop_first().unwrap();
    settings.export.frame_limit = FRAME_LIMIT as u64;
    settings.export.frame_in_memory = IN_MEMORY as u64;
    let http = crate::cegid::http_client(&settings.export).unwrap();
    let clock = Clock::turned(chrono::DateTime::UNIX_EPOCH);
    Client::new(id, tenant, http, settings.export, clock, Arc::new(Metrics::default()))
}

/// Decodes what arrived before `cut`, in chunks of these lengths in turn.
async fn decode(client: &Client, kind: Kind, arrived: &[u8], chunks: &[usize]) -> Result<Page, CallError> {
    let (mut rest, mut lengths) = (Bytes::copy_from_slice(arrived), chunks.iter().cycle());
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |length| (*length).min(rest.len()));
        pieces.push(Ok(rest.split_to(length)));
    }
    let query = Query::window(kind, None, None, "", 0, Query::MOST);
    client.decode(Stage::Vacancies, &query, stream::iter(pieces)).await
}

/// Everything that a page cut at `cut` has to be.
async fn check(client: &Client, kind: Kind, contents: &[Content], cut: usize, chunks: &[usize]) {
    let (body, ends) = body(kind, contents);
    let whole = ends.iter().filter(|end| **end <= cut).count();
    let clean = cut == 0 || ends.contains(&cut);
    let page = match decode(client, kind, &body[..cut], chunks).await {
        Ok(page) => page,
        // An answer that brought nothing is a failed call and no page.
        Err(_) => {
            assert!(whole == 0 && !clean, "cut at {cut}");
            return;
        }
    };
    assert!(whole > 0 || clean, "a page of nothing, cut at {cut}");
    assert_eq!(page.cut.is_none(), clean, "cut at {cut}");
    if let Some(error) = &page.cut {
        assert_eq!(error.class, Class::Transient);
    }
    let records = contents[..whole].iter().enumerate().filter(|(_, content)| matches!(content, Content::Record(_)));
    let expected: Vec<String> = records.map(|(place, _)| place.to_string()).collect();
    let keys: Vec<&str> = page.records.iter().map(|record| record.subject.key()).collect();
    assert_eq!(keys, expected, "cut at {cut}");
    assert_eq!(page.frames(), whole, "cut at {cut}");
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

/// More frames than are decoded together, so that batches end before, at and after the cut.
#[test]
fn batches_keep_their_order_at_every_border() {
    let client = client();
    let contents: Vec<Content> = (0..2 * TOGETHER + 3).map(|i| Content::Record(i * 7 % 150)).collect();
    run(async {
        for end in body(Kind::Vacancy, &contents).1 {
            for cut in [end - 1, end, end + 1, end + 4] {
                let cut = cut.min(body(Kind::Vacancy, &contents).0.len());
                check(&client, Kind::Vacancy, &contents, cut, &[61]).await;
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_page_is_the_whole_frames_before_any_cut(
        candidates in any::<bool>(),
        contents in proptest::collection::vec(content(), 0..5),
        chunks in proptest::collection::vec(1..400_usize, 1..6),
    ) {
        let kind = if candidates { Kind::Candidate } else { Kind::Vacancy };
        let client = client();
        run(async {
            for cut in 0..=body(kind, &contents).0.len() {
                check(&client, kind, &contents, cut, &chunks).await;
            }
        });
    }
}
