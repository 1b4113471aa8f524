use std::io::Read;

use futures_util::{FutureExt, stream};
use proptest::prelude::*;

use super::*;

const SMALL: Limits = Limits { in_memory: 16, frame: 64 };

fn framed(contents: &[Vec<u8>]) -> Vec<u8> {
    contents.iter().flat_map(|c| [&(c.len() as u32).to_le_bytes()[..], c].concat()).collect()
}

/// The frames, or the size of one that was over the limit, and how the body ended.
type Drained = (Vec<Result<Vec<u8>, u64>>, Result<(), FrameError>);

/// Everything a body yields that arrives in chunks of one length.
fn drain(body: &[u8], chunk: usize) -> Drained {
    drain_chunks(body.chunks(chunk))
}

/// Everything a body yields that arrives in these chunks.
fn drain_chunks<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Drained {
    let chunks: Vec<_> = chunks.map(|chunk| Ok::<_, io::Error>(Bytes::copy_from_slice(chunk))).collect();
    let mut reader = FrameReader::new(stream::iter(chunks), SMALL);
    let mut frames = Vec::new();
    let end = loop {
        match run(reader.next()) {
            Ok(Some(Frame::Memory(bytes))) => frames.push(Ok(bytes.to_vec())),
            Ok(Some(Frame::Spooled(mut file))) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert!(bytes.len() > SMALL.in_memory);
                frames.push(Ok(bytes));
            }
            Ok(Some(Frame::Oversize { bytes })) => frames.push(Err(bytes)),
            Ok(Some(Frame::Unspooled)) => panic!("the temporary file could not be written"),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(reader.whole_frames(), frames.len() as u64);
    match (&end, run(reader.next())) {
        (Ok(()), Ok(None)) | (Err(_), Err(FrameError::Truncated { .. })) => {}
        (end, after) => panic!("{after:?} after {end:?}"),
    }
    (frames, end)
}

/// `body` in pieces that end where `cuts` say, some of them empty.
fn pieces<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> impl Iterator<Item = &'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect::<Vec<_>>().into_iter()
}

/// The outcome of what has nothing to wait for.
fn run<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

#[test]
fn an_empty_body_is_an_empty_list() {
    assert!(matches!(drain(b"", 1), (frames, Ok(())) if frames.is_empty()));
}

#[test]
fn a_text_is_never_a_list_and_never_a_size() {
    for (body, class) in [
        ("<!DOCTYPE html><html>", Class::Html),
        (" \r\n\t <html>", Class::Html),
        ("{\"code\":500}", Class::Json),
        ("{}", Class::Json),
        ("[]", Class::Json),
        ("[", Class::Json),
        ("<a>", Class::Html),
        ("\u{feff}[]", Class::Json),
        ("\u{feff}", Class::Text),
        ("Service Unavailable", Class::Text),
        ("    ", Class::Text),
    ] {
        for chunk in [1, 3, 64] {
            let (frames, end) = drain(body.as_bytes(), chunk);
            let Err(FrameError::NotFrames { excerpt_class }) = end else { panic!("{body}: {end:?}") };
            assert!(frames.is_empty());
            assert!(excerpt_class == class || chunk < 64, "{body}: {excerpt_class:?}");
        }
    }
}

#[test]
fn sizes_that_cannot_be() {
    for size in [0, 0x8000_0000, 0xFFFF_FFFF_u32] {
        let body = [framed(&[vec![1; 5]]), size.to_le_bytes().to_vec(), vec![1; 9]].concat();
        let (frames, end) = drain(&body, 7);
        assert_eq!(frames.len(), 1);
        assert!(matches!(end, Err(FrameError::BadSize { size: s, offset: 9 }) if s == size), "{end:?}");
    }
}

#[test]
fn an_announced_size_reserves_nothing() {
    let (frames, end) = drain(&[0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3], 2);
    assert!(frames.is_empty());
    assert!(matches!(end, Err(FrameError::Truncated { whole_frames: 0, offset: 7 })), "{end:?}");
}

#[test]
fn a_frame_within_a_chunk_is_not_copied() {
    let body = Bytes::from(framed(&[vec![7; 10]]));
    let range = body.as_ptr_range();
    let mut reader = FrameReader::new(stream::iter([Ok::<_, io::Error>(body)]), SMALL);
    let Ok(Some(Frame::Memory(frame))) = run(reader.next()) else { panic!("no frame") };
    assert!(range.contains(&frame.as_ptr()));
}

#[test]
fn a_failed_stream_stays_failed() {
    let chunks = [Ok(Bytes::from_static(&[2, 0, 0, 0, 9, 9, 5])), Err(io::Error::other("reset"))];
    let mut reader = FrameReader::new(stream::iter(chunks), SMALL);
    assert!(run(reader.next()).unwrap().is_some());
    assert!(matches!(run(reader.next()), Err(FrameError::Read(_))));
    assert!(matches!(run(reader.next()), Err(FrameError::Truncated { whole_frames: 1, offset: 7 })));
}

#[test]
fn a_cancelled_call_loses_nothing() {
    let contents = [vec![3; 9], vec![4; 40], vec![5; 2]];
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let arriving = stream::unfold(receiver, |mut r| async move { r.recv().await.map(|chunk| (chunk, r)) });
    let mut reader = FrameReader::new(Box::pin(arriving), SMALL);
    let mut frames = 0;
    for byte in framed(&contents) {
        // The call before each byte is dropped while it waits.
        assert!(reader.next().now_or_never().is_none());
        sender.send(Ok::<_, io::Error>(Bytes::from(vec![byte]))).unwrap();
        if let Some(Ok(Some(_))) = reader.next().now_or_never() {
            frames += 1;
        }
    }
    assert_eq!(frames, contents.len());
}

proptest! {
    #[test]
    fn any_cut_gives_the_whole_frames_before_it(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..90), 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let body = framed(&contents);
        let mut boundaries = vec![0];
        for content in &contents {
            boundaries.push(boundaries[boundaries.len() - 1] + 4 + content.len());
        }
        for cut in 0..=body.len() {
            let whole = boundaries.iter().filter(|b| **b <= cut).count() - 1;
            let (frames, end) = drain_chunks(pieces(&body[..cut], &cuts));
            let expected: Vec<_> = contents[..whole]
                .iter()
                .map(|c| if c.len() > SMALL.frame { Err(c.len() as u64) } else { Ok(c.clone()) })
                .collect();
            prop_assert_eq!(frames, expected);
            match end {
                Ok(()) => prop_assert!(boundaries.contains(&cut)),
                Err(FrameError::Truncated { whole_frames, offset }) => {
                    prop_assert!(!boundaries.contains(&cut));
                    prop_assert_eq!((whole_frames, offset), (whole as u64, cut as u64));
                }
                // Of a body cut after one to three bytes nobody can say whether it was to be a text.
                Err(FrameError::NotFrames { .. }) => prop_assert!((1..4).contains(&cut)),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// Whatever is announced, no more is held of a frame than twice what arrived of it, or the first reserve.
    #[test]
    fn memory_follows_what_arrived(
        size in prop_oneof![1..1_u32 << 22, 1..SIZE_END],
        chunks in proptest::collection::vec(1..200_000_usize, 0..12),
        in_memory in 0..64_usize << 20,
    ) {
        prop_assume!(!is_text(&size.to_le_bytes()) && !size.to_le_bytes().starts_with(BOM));
        let limits = Limits { in_memory, frame: in_memory };
        let arriving = std::iter::once(Bytes::copy_from_slice(&size.to_le_bytes()))
            .chain(chunks.iter().map(|length| vec![7; *length].into()));
        let pending = stream::iter(arriving.map(Ok::<_, io::Error>)).chain(stream::pending());
        let mut reader = FrameReader::new(pending, limits);
        let arrived: usize = chunks.iter().sum();
        prop_assume!(arrived < size as usize);
        prop_assert!(reader.next().now_or_never().is_none());
        match &reader.frame.as_ref().unwrap().kept {
            Kept::Memory(kept) => {
                prop_assert_eq!(kept.len(), arrived);
                prop_assert!(kept.capacity() <= FIRST_RESERVE.max(2 * arrived), "{}", kept.capacity());
            }
            Kept::Nowhere(_) => prop_assert!(size as usize > in_memory),
            Kept::File(_) => prop_assert!(false, "there is no size between the limits"),
        }
    }
}
