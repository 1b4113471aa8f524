//! P7 and P8: from the bytes of an answer to typed records, beside bare inflating of the same streams.

use std::{
    io::{Cursor, Read},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use cegid_indexer::{
    cegid::{
        frames::{FrameReader, Limits},
        unpack::{UnpackLimits, unpack},
    },
    domain::{Kind, read_record},
};
use flate2::{Decompress, FlushDecompress};
use futures_util::stream;
use zip::{CompressionMethod, ZipArchive};

use crate::{
    machine::Times,
    records::{self, Records},
    table::Figures,
};

/// Bytes of one read from a connection.
const CHUNK: usize = 64 * 1024;
/// As configured by default.
const LIVE: &str = "_TS_CO_OfferStatus_Diffuse";

/// A deflate stream, and what it inflates to, in bytes.
struct Deflated {
    bytes: Vec<u8>,
    size: usize,
}

struct Sample {
    kind: Kind,
    pages: Vec<Bytes>,
    records: usize,
    streams: Vec<Deflated>,
    largest: usize,
}

/// Answers in memory, ready to be decoded.
pub struct Decode {
    samples: [Sample; 2],
}

impl Decode {
    /// Takes the deflate streams out of the archives beforehand.
    pub fn new(records: Records) -> anyhow::Result<Decode> {
        Ok(Decode {
            samples: [
                Sample::new(Kind::Vacancy, records.vacancies)?,
                Sample::new(Kind::Candidate, records.candidates)?,
            ],
        })
    }

    /// One round of both kinds; each figure takes about this time.
    pub fn round(&self, round: usize, time: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        let before = Times::now();
        for (sample, goal) in self.samples.iter().zip(["P7", "P8"]) {
            let inflate = repeated(time, || sample.inflate())?;
            let decode = repeated(time, || sample.decode(&sample.pages))?;
            let halves = sample.pages.split_at(sample.pages.len() / 2);
            let both = repeated(time, || {
                thread::scope(|scope| {
                    let other = scope.spawn(|| sample.decode(halves.1));
                    let one = sample.decode(halves.0)?;
                    Ok(one + other.join().map_err(|_| anyhow::anyhow!("decoding panicked"))??)
                })
            })?;
            let kind = sample.kind;
            figures.add(goal, "×", decode / inflate);
            figures.add(format!("{goal} {kind} decode, one thread"), "records/s", decode);
            figures.add(format!("{goal} {kind} bare inflate, one thread"), "records/s", inflate);
            figures.add(format!("P9 {kind} decode, two threads"), "records/s", both);
        }
        figures.round(round, "decode", Times::now().disturbance_since(&before));
        Ok(())
    }
}

/// Records a second, over as many repetitions as the time allows.
fn repeated(time: Duration, mut once: impl FnMut() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut records = 0;
    while began.elapsed() < time {
        records += once()?;
    }
    Ok(records as f64 / began.elapsed().as_secs_f64())
}

impl Sample {
    fn new(kind: Kind, pages: Vec<Bytes>) -> anyhow::Result<Sample> {
        let (mut records, mut streams) = (0, Vec::new());
        for frame in pages.iter().flat_map(records::split) {
            records += 1;
            let mut archive = ZipArchive::new(Cursor::new(frame))?;
            for index in 0..archive.len() {
                let mut entry = archive.by_index_raw(index)?;
                if entry.compression() != CompressionMethod::Deflated {
                    bail!("an entry of the simulator's is not deflated");
                }
                let size = usize::try_from(entry.size())?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                streams.push(Deflated { bytes, size });
            }
        }
        let largest = streams.iter().map(|stream| stream.size).max().context("there is nothing to decode")?;
        Ok(Sample { kind, pages, records, streams, largest })
    }

    /// Nothing but inflating, into one buffer, without checksums.
    fn inflate(&self) -> anyhow::Result<usize> {
        let mut inflate = Decompress::new(false);
        let mut buffer = vec![0; self.largest];
        for stream in &self.streams {
            inflate.reset(false);
            inflate.decompress(&stream.bytes, &mut buffer, FlushDecompress::Finish)?;
            if inflate.total_out() != stream.size as u64 {
                bail!("a stream inflates to another size than its archive says");
            }
        }
        Ok(self.records)
    }

    /// What the service does with an answer, on one thread, attachments included.
    fn decode(&self, pages: &[Bytes]) -> anyhow::Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (limits, live) = (UnpackLimits::default(), [LIVE.to_owned()]);
        runtime.block_on(async {
            let mut records = 0;
            for page in pages {
                let chunks = (0..page.len()).step_by(CHUNK).map(|from| page.slice(from..page.len().min(from + CHUNK)));
                let mut frames = FrameReader::new(stream::iter(chunks.map(Ok::<_, std::io::Error>)), Limits::default());
                while let Some(frame) = frames.next().await? {
                    let unpacked = unpack(self.kind, frame, &limits, true)?;
                    let record = read_record(self.kind, &unpacked.detail, &live);
                    let record = record.map_err(|error| anyhow::anyhow!("reading a record: {error}"))?;
                    std::hint::black_box((record, unpacked.attachments));
                    records += 1;
                }
            }
            Ok(records)
        })
    }
}
