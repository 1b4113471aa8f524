//! Reading an export: frames are decoded as they stream, off the async threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    Call, CallError, Class, Client, Query, Stage,
    frames::{Frame, FrameError, FrameReader, Limits},
    unpack::{UnpackLimits, unpack},
};
use crate::{
    domain::{Kind, Record, read_record},
    metrics::OfKind,
};

/// Frames decoded together: enough that handing them over costs little, few enough to hold.
const TOGETHER: usize = 16;
/// Bytes of frames decoded together.
const TOGETHER_BYTES: usize = 1024 * 1024;
/// Batches being decoded while the next frames arrive.
const DECODING: usize = 2;

/// A frame that gave no record; nothing says whose it was.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What was wrong with it, without a word of its content.
    pub cause: String,
}

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

type Decoded = Vec<Result<Record, Broken>>;

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
        let mut left = self.limits.response_limit;
        let body = answer.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|error| CallError::transport(stage, &error))?;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                CallError::new(stage, Class::Unexpected, "the answer is larger than export.response_limit")
            })?;
            Ok::<_, CallError>(chunk)
        });
        self.decode(stage, query.kind(), body).await
    }

    async fn decode<S>(&self, stage: Stage, kind: Kind, body: S) -> Result<Page, CallError>
    where
        S: stream::Stream<Item = Result<bytes::Bytes, CallError>> + Unpin,
    {
        let limits =
            Limits { in_memory: self.limits.frame_in_memory as usize, frame: self.limits.frame_limit as usize };
        let mut frames = FrameReader::new(body, limits);
        let decoder = Decoder {
            kind,
            limits: UnpackLimits { detail: self.limits.record_limit, ..UnpackLimits::default() },
            live: Arc::from(self.tenant.live_statuses.as_slice()),
        };
        let mut page = Page::default();
        let mut decoding = std::collections::VecDeque::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let next = frames.next().await;
            let ended = !matches!(next, Ok(Some(_)));
            if let Ok(Some(frame)) = next {
                bytes += if let Frame::Memory(memory) = &frame { memory.len() } else { TOGETHER_BYTES };
                batch.push(frame);
            } else if let Err(error) = next {
                let error = failed(stage, error);
                if frames.whole_frames() == 0 {
                    return Err(error);
                }
                self.count(stage, Some(error.class));
                page.cut = Some(error);
            }
            if (ended || batch.len() >= TOGETHER || bytes >= TOGETHER_BYTES) && !batch.is_empty() {
                if decoding.len() >= DECODING {
                    collect(&mut page, decoding.pop_front()).await;
                }
                decoding.push_back(decoder.start(std::mem::take(&mut batch)));
                bytes = 0;
            }
            if ended {
                break;
            }
        }
        while let Some(decoded) = decoding.pop_front() {
            collect(&mut page, Some(decoded)).await;
        }
        let mistyped: u64 = page.records.iter().map(|record| u64::from(record.mistyped)).sum();
        if mistyped > 0 {
            let labels = OfKind { tenant: self.id.to_string(), kind: kind.as_str() };
            self.metrics.mistyped.get_or_create(&labels).inc_by(mistyped);
        }
        Ok(page)
    }
}

async fn collect(page: &mut Page, decoded: Option<JoinHandle<Decoded>>) {
    let Some(decoded) = decoded else { return };
    match decoded.await {
        Ok(decoded) => {
            for result in decoded {
                match result {
                    Ok(record) => page.records.push(record),
                    Err(broken) => page.broken.push(broken),
                }
            }
        }
        // Panics are caught frame by frame; what is left is the runtime going down.
        Err(_) => page.cut = Some(CallError::new(Stage::Vacancies, Class::Transient, "decoding was cancelled")),
    }
}

/// Decodes frames on a blocking thread.
#[derive(Clone)]
struct Decoder {
    kind: Kind,
    limits: UnpackLimits,
    live: Arc<[String]>,
}

impl Decoder {
    fn start(&self, frames: Vec<Frame>) -> JoinHandle<Decoded> {
        let decoder = self.clone();
        spawn_blocking(move || frames.into_iter().map(|frame| decoder.one(frame)).collect())
    }

    /// A record that cannot be read costs itself only, even where reading it hits a bug of ours.
    fn one(&self, frame: Frame) -> Result<Record, Broken> {
        if let Frame::Oversize { bytes } = frame {
            return Err(Broken { cause: format!("its frame of {bytes} bytes is over export.frame_limit") });
        }
        let read = AssertUnwindSafe(|| {
            let unpacked = unpack(self.kind, frame, &self.limits, false).map_err(|error| error.to_string())?;
            read_record(self.kind, &unpacked.detail, &self.live).map_err(|error| error.to_string())
        });
        match catch_unwind(read) {
            Ok(result) => result.map_err(|cause| Broken { cause }),
            Err(_) => Err(Broken { cause: "reading the record hit a bug of the indexer".into() }),
        }
    }
}

fn failed(stage: Stage, error: FrameError) -> CallError {
    match error {
        FrameError::Read(source) => match source.downcast::<CallError>() {
            Ok(error) => *error,
            Err(_) => CallError::new(stage, Class::Transient, "the answer was cut"),
        },
        FrameError::Truncated { .. } => CallError::new(stage, Class::Transient, error.to_string()),
        FrameError::NotFrames { .. } | FrameError::BadSize { .. } | FrameError::Spool(_) => {
            CallError::new(stage, Class::Unexpected, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
