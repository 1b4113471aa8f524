//! Streams of frames.

use std::cell::Cell;
use std::io::{self, Read};

use bytes::Bytes;
use futures_util::{FutureExt, stream};

use crate::cegid::frames::{Frame, FrameError, FrameReader, Limits};

/// Small, so that a short input reaches every way of keeping a frame.
const SMALL: Limits = Limits { in_memory: 16, frame: 64 };
/// The connection fails where the body would end.
const FAILS: u8 = 1;
/// The limits are those of production: what is announced may be large then, and must not be reserved.
const LARGE: u8 = 2;

/// How a body ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Clean,
    Truncated { whole_frames: u64, offset: u64 },
    NotFrames,
    BadSize { size: u32, offset: u64 },
    Failed,
}

/// A frame's bytes, or the size of one that is over the limit.
type Kept<'a> = Result<&'a [u8], u64>;

/// Reads a body in the chunks that the input names: a byte of flags, the number of chunks, the length of each, and
/// then the body, whose last chunk is what is left.
///
/// Promised: exactly the whole frames come out, each with its bytes; nothing comes out before it arrived; the end is
/// named rightly, and stays.
///
/// # Panics
/// When a promise is broken.
pub fn frames(input: &[u8]) {
    let [flags, count, rest @ ..] = input else { return };
    let (lengths, body) = rest.split_at(rest.len().min(usize::from(*count)));
    let (limits, fails) = (if flags & LARGE == 0 { SMALL } else { Limits::default() }, flags & FAILS != 0);
    let (expected, expected_end) = expect(body, limits, fails);

    let arrived = Cell::new(0);
    let body = Bytes::copy_from_slice(body);
    let chunks = chunks(&body, lengths).into_iter().map(|chunk| {
        arrived.set(arrived.get() + chunk.len());
        Ok(chunk)
    });
    let failure = fails.then(|| Err(io::Error::other("reset")));
    let mut reader = FrameReader::new(stream::iter(chunks.chain(failure)), limits);
    let mut next = || reader.next().now_or_never().expect("nothing is waited for");

    let mut used = 0;
    for frame in expected {
        let read = next().unwrap_or_else(|error| panic!("{error} instead of a frame"));
        let read = read.expect("one more frame");
        used += 4 + check(&read, frame, limits);
        assert!(used <= arrived.get(), "a frame before its last byte arrived");
    }
    assert_eq!(end(next()), expected_end);
    match expected_end {
        End::Clean => assert_eq!(end(next()), End::Clean),
        _ => assert!(matches!(end(next()), End::Truncated { .. })),
    }
}

/// Compares a frame with what it is to be, and gives its length.
fn check(frame: &Frame, expected: Kept<'_>, limits: Limits) -> usize {
    match (frame, expected) {
        (Frame::Memory(bytes), Ok(expected)) => {
            assert!(bytes.len() <= limits.in_memory);
            assert_eq!(bytes, expected);
            bytes.len()
        }
        (Frame::Spooled(file), Ok(expected)) => {
            assert!(expected.len() > limits.in_memory);
            let (mut file, mut bytes) = (file, Vec::new());
            file.read_to_end(&mut bytes).expect("the temporary file is read");
            assert_eq!(bytes, expected);
            bytes.len()
        }
        (Frame::Oversize { bytes }, Err(size)) => {
            assert_eq!(*bytes, size);
            usize::try_from(size).expect("a size that arrived")
        }
        (frame, expected) => panic!("{frame:?} for {expected:?}"),
    }
}

fn end(result: Result<Option<Frame>, FrameError>) -> End {
    match result {
        Ok(None) => End::Clean,
        Ok(Some(frame)) => panic!("{frame:?} instead of an end"),
        Err(FrameError::Truncated { whole_frames, offset }) => End::Truncated { whole_frames, offset },
        Err(FrameError::NotFrames { .. }) => End::NotFrames,
        Err(FrameError::BadSize { size, offset }) => End::BadSize { size, offset },
        Err(FrameError::Read(_)) => End::Failed,
    }
}

fn chunks(body: &Bytes, lengths: &[u8]) -> Vec<Bytes> {
    let mut rest = body.clone();
    let mut chunks: Vec<Bytes> =
        lengths.iter().map(|length| rest.split_to(rest.len().min(usize::from(*length)))).collect();
    chunks.push(rest);
    chunks
}

/// What a body holds, read all at once.
fn expect(body: &[u8], limits: Limits, fails: bool) -> (Vec<Kept<'_>>, End) {
    let mut frames = Vec::new();
    let mut rest = body;
    let end = loop {
        let offset = (body.len() - rest.len()) as u64;
        let Some((size, after)) = rest.split_first_chunk::<4>() else {
            let begins_a_text = offset == 0 && (rest == b"\xEF\xBB\xBF" || matches!(rest, [b'{' | b'[' | b'<', ..]));
            break match rest {
                _ if fails => End::Failed,
                [] => End::Clean,
                _ if begins_a_text => End::NotFrames,
                _ => truncated(&frames, body),
            };
        };
        let text = size.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\x0C' | b'\r' | b' '..=b'~'));
        if offset == 0 && (text || size.starts_with(b"\xEF\xBB\xBF")) {
            break End::NotFrames;
        }
        let announced = u32::from_le_bytes(*size);
        if i32::from_le_bytes(*size) <= 0 {
            break End::BadSize { size: announced, offset };
        }
        let length = announced as usize;
        let Some((content, after)) = after.split_at_checked(length) else {
            break if fails { End::Failed } else { truncated(&frames, body) };
        };
        frames.push(if length > limits.frame { Err(u64::from(announced)) } else { Ok(content) });
        rest = after;
    };
    (frames, end)
}

fn truncated(frames: &[Kept<'_>], body: &[u8]) -> End {
    End::Truncated { whole_frames: frames.len() as u64, offset: body.len() as u64 }
}
