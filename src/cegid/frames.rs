//! The binary framing of both exports, read as it arrives.
//!
//! A body is zero or more blocks, back to back: the size as four bytes, little-endian, then that many bytes of one zip
//! archive. There is no count, no end mark and no checksum of its own; an empty body is an empty list. The content
//! type says nothing, so an error page or JSON under a success status is recognised by its first bytes, never taken
//! for a length and never for an empty list.
//!
//! Wanted of this module: what it hands out is exactly the whole frames that arrived; a body cut anywhere inside a
//! frame is `Truncated`; memory follows what arrived, not what was announced; a frame that lies within one chunk of the
//! stream is a slice of it, not a copy; a `next` that was cancelled loses nothing.

use std::fs::File;
use std::io::{self, Seek, Write};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};

use crate::telemetry::FailureLog;

/// Sizes from here on are negative for the sender's 32-bit integer.
const SIZE_END: u32 = 1 << 31;
/// What a frame is given before its first byte has arrived; it then grows with what comes.
const FIRST_RESERVE: usize = 64 * 1024;
/// A fault of this machine, which no answer of Cegid's causes.
static SPOOLING: FailureLog = FailureLog::new(
    "writing a large record to a temporary file",
    "this record alone cannot be read, the others are: see whether TMPDIR can be written and has room",
);
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// How much of a frame is held, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame kept in memory, in bytes; larger ones go to a temporary file.
    pub in_memory: usize,
    /// The largest frame kept at all, in bytes; larger ones are read past.
    pub frame: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { in_memory: 4 << 20, frame: 256 << 20 }
    }
}

/// One block of an export: one record's archive.
#[derive(Debug)]
pub enum Frame {
    /// Held in memory.
    Memory(Bytes),
    /// Held in a temporary file without a name, positioned at its start; it disappears when dropped.
    Spooled(File),
    /// Over the limit: read past and not kept.
    Oversize {
        /// Its size in bytes.
        bytes: u64,
    },
    /// Read past, since no temporary file could hold it: a fault of this machine.
    Unspooled,
}

impl Frame {
    /// The same bytes or the same file; none when the file cannot be held twice.
    pub fn try_clone(&self) -> Option<Frame> {
        match self {
            Frame::Memory(bytes) => Some(Frame::Memory(bytes.clone())),
            Frame::Spooled(file) => file.try_clone().ok().map(Frame::Spooled),
            Frame::Oversize { bytes } => Some(Frame::Oversize { bytes: *bytes }),
            Frame::Unspooled => Some(Frame::Unspooled),
        }
    }
}

/// What a body looks like that holds no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Starts with `<`.
    Html,
    /// Starts with `{` or `[`.
    Json,
    /// Any other text.
    Text,
}

impl Class {
    /// The class as logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Html => "html",
            Class::Json => "json",
            Class::Text => "text",
        }
    }
}

/// Why a body could not be read to its end. After an error nothing more is read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The body ended inside a frame, or reading went on after an error.
    #[error("reading an export: cut off at byte {offset}, after {whole_frames} whole frames")]
    Truncated {
        /// Frames that had arrived whole.
        whole_frames: u64,
        /// Bytes of the body that had arrived.
        offset: u64,
    },
    /// The body is a text: an error page, or JSON.
    #[error("reading an export: {} instead of frames", excerpt_class.as_str())]
    NotFrames {
        /// What it looks like.
        excerpt_class: Class,
    },
    /// A size of zero, or one that is negative for the sender.
    #[error("reading an export: a frame of {size} bytes announced at byte {offset}")]
    BadSize {
        /// The size announced, as an unsigned number of bytes.
        size: u32,
        /// Where in the body the size stands.
        offset: u64,
    },
    /// The stream failed.
    #[error("reading an export: the connection failed")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads the frames of one body.
pub struct FrameReader<S> {
    stream: S,
    limits: Limits,
    /// What arrived and was not used yet.
    chunk: Bytes,
    size: [u8; 4],
    size_read: usize,
    frame: Option<Partial>,
    whole_frames: u64,
    /// Bytes used so far.
    offset: u64,
    ended: bool,
    failed: bool,
}

/// A frame whose size is known and which has not arrived whole.
struct Partial {
    size: usize,
    left: usize,
    kept: Kept,
}

enum Kept {
    Memory(Vec<u8>),
    File(File),
    Nowhere(Unkept),
}

#[derive(Clone, Copy)]
enum Unkept {
    Oversize,
    Unspooled,
}

impl Kept {
    /// What becomes of a large frame that no temporary file can hold.
    fn unspooled(error: &io::Error) -> Kept {
        SPOOLING.failed(error);
        Kept::Nowhere(Unkept::Unspooled)
    }
}

impl<S, E> FrameReader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads the body that `stream` delivers.
    pub fn new(stream: S, limits: Limits) -> Self {
        FrameReader {
            stream,
            limits,
            chunk: Bytes::new(),
            size: [0; 4],
            size_read: 0,
            frame: None,
            whole_frames: 0,
            offset: 0,
            ended: false,
            failed: false,
        }
    }

    /// The frames handed out so far.
    pub fn whole_frames(&self) -> u64 {
        self.whole_frames
    }

    /// The next frame, or `None` at a clean end. A call that was cancelled can be repeated.
    ///
    /// # Errors
    /// See [`FrameError`]. The body cannot be read on after one; further calls are `Truncated`.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.failed {
            return Err(self.truncated());
        }
        let result = self.read().await;
        match &result {
            Ok(Some(_)) => self.whole_frames += 1,
            Ok(None) => {}
            Err(_) => self.failed = true,
        }
        result
    }

    async fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if !self.arrive().await? {
                return self.end();
            }
        }
    }

    /// Waits for the next bytes; false at the end.
    async fn arrive(&mut self) -> Result<bool, FrameError> {
        while !self.ended && self.chunk.is_empty() {
            match self.stream.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(FrameError::Read(error.into())),
                None => self.ended = true,
            }
        }
        Ok(!self.chunk.is_empty())
    }

    /// Uses the bytes at hand; a frame when they complete one.
    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.frame.is_none() {
            while self.size_read < 4 && !self.chunk.is_empty() {
                self.size[self.size_read] = self.chunk.get_u8();
                self.size_read += 1;
                self.offset += 1;
            }
            if self.size_read < 4 {
                return Ok(None);
            }
            let size = self.announced()?;
            self.size_read = 0;
            if size <= self.chunk.len() && size <= self.limits.in_memory.min(self.limits.frame) {
                self.offset += size as u64;
                return Ok(Some(Frame::Memory(self.chunk.split_to(size))));
            }
            self.frame = Some(Partial { size, left: size, kept: self.keeping(size) });
        }
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let piece = self.chunk.split_to(frame.left.min(self.chunk.len()));
        frame.left -= piece.len();
        self.offset += piece.len() as u64;
        match &mut frame.kept {
            Kept::Memory(kept) => kept.extend_from_slice(&piece),
            // Large frames are rare and a chunk is small, so writing here costs less than a thread would.
            Kept::File(file) => {
                if let Err(error) = file.write_all(&piece) {
                    frame.kept = Kept::unspooled(&error);
                }
            }
            Kept::Nowhere(_) => {}
        }
        if frame.left > 0 {
            return Ok(None);
        }
        let Some(frame) = self.frame.take() else { return Ok(None) };
        Ok(Some(match frame.kept {
            Kept::Memory(kept) => Frame::Memory(kept.into()),
            Kept::File(mut file) => match file.rewind() {
                Ok(()) => {
                    SPOOLING.succeeded();
                    Frame::Spooled(file)
                }
                Err(error) => {
                    SPOOLING.failed(&error);
                    Frame::Unspooled
                }
            },
            Kept::Nowhere(Unkept::Oversize) => Frame::Oversize { bytes: frame.size as u64 },
            Kept::Nowhere(Unkept::Unspooled) => Frame::Unspooled,
        }))
    }

    /// The size that the four bytes read announce.
    fn announced(&self) -> Result<usize, FrameError> {
        let first = self.offset == 4;
        if first && (is_text(&self.size) || self.size.starts_with(BOM)) {
            return Err(self.not_frames());
        }
        match u32::from_le_bytes(self.size) {
            size @ 1..SIZE_END => Ok(size as usize),
            size => Err(FrameError::BadSize { size, offset: self.offset - 4 }),
        }
    }

    fn keeping(&self, size: usize) -> Kept {
        if size > self.limits.frame {
            Kept::Nowhere(Unkept::Oversize)
        } else if size > self.limits.in_memory {
            tempfile::tempfile().map_or_else(|error| Kept::unspooled(&error), Kept::File)
        } else {
            Kept::Memory(Vec::with_capacity(size.min(FIRST_RESERVE)))
        }
    }

    /// What the end of the body means here.
    fn end(&mut self) -> Result<Option<Frame>, FrameError> {
        let begun = &self.size[..self.size_read];
        match begun {
            [] if self.frame.is_none() => Ok(None),
            // A whole body of less than four bytes, such as `[]`, holds no size at all.
            [b'{' | b'[' | b'<', ..] | [0xEF, 0xBB, 0xBF] if self.offset == self.size_read as u64 => {
                Err(self.not_frames())
            }
            _ => Err(self.truncated()),
        }
    }

    fn truncated(&self) -> FrameError {
        FrameError::Truncated { whole_frames: self.whole_frames, offset: self.offset }
    }

    /// Names the text at the start of the body by its first character that is not a space.
    fn not_frames(&self) -> FrameError {
        let read = &self.size[..self.size_read];
        let read = read.strip_prefix(BOM).unwrap_or(read);
        let first = read.iter().chain(self.chunk.iter()).find(|byte| !byte.is_ascii_whitespace());
        let excerpt_class = match first {
            Some(b'<') => Class::Html,
            Some(b'{' | b'[') => Class::Json,
            _ => Class::Text,
        };
        FrameError::NotFrames { excerpt_class }
    }
}

/// Four characters of a text. As a size they would be 150 MB or more, which no record has.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests;
