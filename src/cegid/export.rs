//! Reading an export: frames are decoded as they stream, off the async threads.
//!
//! A page is collected before it is settled. Records are small; the files that are kept of candidates are not, so what
//! one page holds of them is bounded: at `export.kept_limit` the answer is read no further, and the page ends as one
//! that was cut, with [`Class::Full`]. The batches of such an answer are decoded one after the other, so that each knows
//! what is left of the limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    Call, CallError, Class, Client, Query, Stage,
    attachments::Keeping,
    body::body_stream,
    brisk::brisk,
    broken::Broken,
    frames::{Frame, FrameError, FrameReader, Limits},
    unpack::{UnpackLimits, unpack},
};
use crate::{
    domain::{Kind, Record, read_record},
    kill,
    metrics::{Listed, OfKind},
};

/// Frames decoded together: enough that handing them over costs little, few enough to hold.
const TOGETHER: usize = 16;
/// Bytes of frames decoded together.
const TOGETHER_BYTES: usize = 1024 * 1024;
/// Batches being decoded while the next frames arrive.
const DECODING: usize = 2;
/// Records of a page that are kept however large their files are: a subject and its control, so that asking for one
/// subject always tells about it.
const ALWAYS: usize = 2;

/// What one export call brought.
#[derive(Default)]
pub struct Page {
    /// Records that could be read, in the order of the answer.
    pub records: Vec<Record>,
    /// Frames that could not.
    pub broken: Vec<Broken>,
    /// The answer did not come to its clean end: what is missing from it proves nothing.
    pub cut: Option<CallError>,
}

impl Page {
    /// Frames of the answer that arrived whole.
    pub fn frames(&self) -> usize {
        self.records.len() + self.broken.len()
    }
}

/// What a batch of frames held.
#[derive(Default)]
struct Decoded {
    results: Vec<Result<Record, Broken>>,
    /// What became of the files that its records list.
    outcomes: Vec<&'static str>,
    /// Bytes of those that are kept.
    kept: u64,
    /// A record did not fit any more: it and those behind it are left out.
    full: bool,
}

/// What a batch may hold.
#[derive(Clone, Copy)]
struct Room {
    /// Bytes of files.
    bytes: u64,
    /// Records that fit whatever they hold.
    always: usize,
}

impl Client {
    /// Asks an export, and decodes what arrives while it arrives.
    ///
    /// # Errors
    /// When there is no answer, it is not a success, or it does not hold frames. An answer that is cut later is a
    /// [`Page`] with [`Page::cut`].
    pub async fn export(&self, query: &Query) -> Result<Page, CallError> {
        let (stage, path) = match query.kind() {
            Kind::Vacancy => (Stage::Vacancies, &self.tenant.paths.vacancies),
            Kind::Candidate => (Stage::Candidates, &self.tenant.paths.candidates),
        };
        let mut url = self.url(path);
        url.set_query(Some(&query.parameters()));
        let answer = self.send(stage, Call::Export, |http| http.get(url.clone())).await?;
        if !matches!(answer.status(), StatusCode::OK | StatusCode::NO_CONTENT) {
            self.count(stage, Some(Class::Unexpected));
            let says = format!("{}, which is no answer of an export", answer.status());
            return Err(CallError::new(stage, Class::Unexpected, says));
        }
        let mut left = self.limits.response_limit;
        // What is counted is inflated already.
        let body = body_stream(stage, answer).map(move |chunk| {
            let chunk = chunk?;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                CallError::new(stage, Class::Unexpected, "the answer is larger than export.response_limit")
            })?;
            Ok::<_, CallError>(chunk)
        });
        let slow = || CallError::new(stage, Class::Transient, "the answer came slower than export.least_rate");
        let body = brisk(body, self.limits.least_rate, self.limits.least_rate_over, slow);
        self.decode(stage, query, Box::pin(body)).await
    }

    async fn decode<S>(&self, stage: Stage, query: &Query, body: S) -> Result<Page, CallError>
    where
        S: stream::Stream<Item = Result<bytes::Bytes, CallError>> + Unpin,
    {
        let limits =
            Limits { in_memory: self.limits.frame_in_memory as usize, frame: self.limits.frame_limit as usize };
        let kind = query.kind();
        let mut frames = FrameReader::new(body, limits);
        let decoder = self.decoder(kind);
        let at_once = if decoder.keeping.is_some() { 1 } else { DECODING };
        // Bytes of files kept, and whether the rest of the answer was left unread.
        let (mut page, mut kept, mut full) = (Page::default(), 0, false);
        let mut decoding = std::collections::VecDeque::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let next = frames.next().await;
            // More than was asked for is not held: a list is asked for again behind it.
            let surplus = frames.whole_frames() > query.limit() as u64;
            let ended = surplus || !matches!(next, Ok(Some(_)));
            match next {
                Ok(Some(_)) if surplus => {}
                Ok(Some(frame)) => {
                    bytes += if let Frame::Memory(memory) = &frame { memory.len() } else { TOGETHER_BYTES };
                    batch.push(frame);
                }
                Ok(None) => {}
                Err(error) => {
                    let error = failed(stage, error);
                    self.count(stage, Some(error.class));
                    if frames.whole_frames() == 0 {
                        return Err(error);
                    }
                    page.cut = Some(error);
                }
            }
            if (ended || batch.len() >= TOGETHER || bytes >= TOGETHER_BYTES) && !batch.is_empty() {
                if decoding.len() >= at_once {
                    full |= self.collect(&mut page, &mut kept, decoding.pop_front()).await;
                }
                if full {
                    break;
                }
                let room = Room {
                    bytes: self.limits.kept_limit.saturating_sub(kept),
                    always: ALWAYS.saturating_sub(page.frames()),
                };
                decoding.push_back(decoder.start(std::mem::take(&mut batch), room));
                bytes = 0;
            }
            if ended {
                full |= surplus;
                break;
            }
        }
        while let Some(decoded) = decoding.pop_front() {
            full |= self.collect(&mut page, &mut kept, Some(decoded)).await;
        }
        if full {
            let says =
                "not read to the end: it is larger than export.kept_limit, or has more records than were asked for";
            page.cut.get_or_insert_with(|| CallError::new(stage, Class::Full, says));
        }
        let mistyped: u64 = page.records.iter().map(|record| u64::from(record.mistyped)).sum();
        if mistyped > 0 {
            let labels = OfKind { tenant: self.id.to_string(), kind: kind.as_str() };
            self.metrics.mistyped.get_or_create(&labels).inc_by(mistyped);
        }
        Ok(page)
    }

    fn decoder(&self, kind: Kind) -> Decoder {
        let mut limits = UnpackLimits { detail: self.limits.record_limit, ..UnpackLimits::default() };
        let keeping = Keeping::of(kind, &self.tenant);
        if let Some(keeping) = &keeping {
            limits.attachment = keeping.limit;
            limits.total = self.limits.record_limit.saturating_add(self.limits.kept_limit);
        }
        let live = Arc::from(self.tenant.live_statuses.as_slice());
        Decoder { kind, limits, live, keeping: keeping.map(Arc::new) }
    }

    /// Adds a batch to the page; true when a record of it did not fit.
    async fn collect(&self, page: &mut Page, kept: &mut u64, decoded: Option<JoinHandle<Decoded>>) -> bool {
        let Some(decoded) = decoded else { return false };
        let Ok(decoded) = decoded.await else {
            // Panics are caught frame by frame; what is left is the runtime going down.
            page.cut = Some(CallError::new(Stage::Vacancies, Class::Transient, "decoding was cancelled"));
            return false;
        };
        for result in decoded.results {
            match result {
                Ok(record) => page.records.push(record),
                Err(broken) => page.broken.push(Broken { place: page.frames(), ..broken }),
            }
        }
        for outcome in decoded.outcomes {
            self.metrics.listed.get_or_create(&Listed { tenant: self.id.to_string(), outcome }).inc();
        }
        *kept += decoded.kept;
        decoded.full
    }
}

/// Decodes frames on a blocking thread.
#[derive(Clone)]
struct Decoder {
    kind: Kind,
    limits: UnpackLimits,
    live: Arc<[String]>,
    keeping: Option<Arc<Keeping>>,
}

impl Decoder {
    fn start(&self, frames: Vec<Frame>, room: Room) -> JoinHandle<Decoded> {
        let decoder = self.clone();
        spawn_blocking(move || decoder.batch(frames, room))
    }

    fn batch(&self, frames: Vec<Frame>, room: Room) -> Decoded {
        let mut decoded = Decoded::default();
        for frame in frames {
            let (result, outcomes) = match self.one(frame) {
                Ok((record, outcomes)) => (Ok(record), outcomes),
                Err(broken) => (Err(broken), Vec::new()),
            };
            kill::point("record-decoded");
            let files = result.as_ref().ok().and_then(|record| record.document.attachments.as_deref());
            let kept: u64 = files.unwrap_or_default().iter().map(|file| file.content.len() as u64).sum();
            if decoded.results.len() >= room.always && decoded.kept + kept > room.bytes {
                decoded.full = true;
                break;
            }
            decoded.kept += kept;
            decoded.outcomes.extend(outcomes);
            decoded.results.push(result);
        }
        decoded
    }

    /// A record that cannot be read costs itself only, even where reading it hits a bug of ours.
    fn one(&self, frame: Frame) -> Result<(Record, Vec<&'static str>), Broken> {
        if let Frame::Oversize { bytes } = frame {
            let cause = format!("its frame of {bytes} bytes is over export.frame_limit");
            return Err(Broken::new(self.kind, Some(frame), cause));
        }
        let copy = frame.try_clone();
        let read = AssertUnwindSafe(|| {
            let unpacked =
                unpack(self.kind, frame, &self.limits, self.keeping.is_some()).map_err(|error| error.to_string())?;
            let mut record = read_record(self.kind, &unpacked.detail, &self.live).map_err(|error| error.to_string())?;
            let mut outcomes = Vec::new();
            if let Some(keeping) = &self.keeping {
                let chosen = keeping.choose(record.document.listed(), unpacked.attachments);
                record.document.attachments = Some(chosen.kept);
                outcomes = chosen.outcomes;
            }
            Ok((record, outcomes))
        });
        let cause = match catch_unwind(read) {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(cause)) => cause,
            Err(_) => "reading the record hit a bug of the indexer".into(),
        };
        Err(Broken::new(self.kind, copy, cause))
    }
}

fn failed(stage: Stage, error: FrameError) -> CallError {
    match error {
        FrameError::Read(source) => match source.downcast::<CallError>() {
            Ok(error) => *error,
            Err(_) => CallError::new(stage, Class::Transient, "the answer was cut"),
        },
        FrameError::Truncated { .. } => CallError::new(stage, Class::Transient, error.to_string()),
        FrameError::NotFrames { .. } | FrameError::BadSize { .. } => {
            CallError::new(stage, Class::Unexpected, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
