//! The body of an answer, decompressed, up to an end that the answer itself states.
//!
//! Wanted of this module: a body that ends without an error arrived whole. Every byte that the answer announced has
//! arrived and was used, so that what it does not show can be taken for absent.
//!
//! | the answer | counts as whole when |
//! |---|---|
//! | `Transfer-Encoding: chunked` | its last chunk has arrived |
//! | `Content-Length` | as many bytes have arrived |
//! | neither of them (HTTP/1.0, or a length lost on the way) | never: a connection also ends when its sender fails |
//! | `Content-Encoding: gzip` | besides, each of its members is whole and nothing follows the last one |
//!
//! Gzip is what the client asks for. Another coding, or one upon another, is an error: such bytes are no frames, and an
//! empty body of that kind is no empty list. An answer that states the length 0 is empty, also under gzip: some
//! compressors write nothing for nothing.
//!
//! Two ends cannot be told from a true one: that of a body without a coding whose sender states a shorter length than
//! it should, and that of one between two frames, members or chunks, which a proxy closes as if it were complete.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::stream;
use http_body_util::BodyExt;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING},
};

use super::{CallError, Class, Stage};

/// Bytes decompressed at once, at most.
const PIECE_LIMIT: usize = 64 * 1024;
/// The largest window that gzip allows, as a power of two.
const GZIP_WINDOW_BITS: u8 = 15;

/// Reads the body of an answer, decompressed, in pieces of bounded size.
pub(super) fn body_stream(
    stage: Stage,
    answer: Response,
) -> impl stream::Stream<Item = Result<Bytes, CallError>> + Unpin + Send {
    let states_end = states_end(&answer);
    let states_nothing = answer.status() == StatusCode::NO_CONTENT || answer.content_length() == Some(0);
    let gzip = match coding(answer.headers()) {
        Ok(is_gzip) => Ok((is_gzip && !states_nothing).then(Gunzip::new)),
        Err(says) => Err(CallError::new(stage, Class::Unexpected, says)),
    };
    let raw = hyper::Response::<reqwest::Body>::from(answer).into_body();
    let state = gzip.map(|gzip| BodyReader { stage, raw, states_end, gzip });
    Box::pin(stream::try_unfold(state, async |state| {
        let mut reader = state?;
        Ok(reader.next().await?.map(|piece| (piece, Ok(reader))))
    }))
}

/// Whether its header says where the body ends.
fn states_end(answer: &Response) -> bool {
    let codings = list(answer.headers(), &TRANSFER_ENCODING);
    let framed = match &codings[..] {
        [] => answer.headers().contains_key(CONTENT_LENGTH),
        [coding] => coding == "chunked",
        _ => false,
    };
    framed || answer.status() == StatusCode::NO_CONTENT
}

/// Whether the body is compressed by gzip, or why it cannot be read.
fn coding(headers: &HeaderMap) -> Result<bool, String> {
    let mut codings = list(headers, &CONTENT_ENCODING);
    codings.retain(|coding| coding != "identity");
    match &codings[..] {
        [] => Ok(false),
        [coding] if coding == "gzip" || coding == "x-gzip" => Ok(true),
        [coding] => {
            let shown: String = coding.chars().filter(char::is_ascii_graphic).take(20).collect();
            Err(format!("the answer is encoded as {shown}, which was not asked for"))
        }
        _ => Err("the answer is encoded more than once, which was not asked for".to_owned()),
    }
}

/// The members of a list that one or several header lines hold, in lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let members = lines.flat_map(|line| line.split(',').map(|it| it.trim().to_ascii_lowercase()).collect::<Vec<_>>());
    members.filter(|member| !member.is_empty()).collect()
}

struct BodyReader {
    stage: Stage,
    raw: reqwest::Body,
    states_end: bool,
    gzip: Option<Gunzip>,
}

impl BodyReader {
    /// The next bytes of the body, or `None` once it has arrived whole.
    async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            if let Some(gzip) = &mut self.gzip
                && let Some(piece) = gzip.inflate().map_err(|error| self.refuse(error))?
            {
                return Ok(Some(piece));
            }
            let Some(frame) = self.raw.frame().await else { return self.end().map(|()| None) };
            let frame = frame.map_err(|error| CallError::transport(self.stage, &error))?;
            // Trailers say nothing.
            let Ok(chunk) = frame.into_data() else { continue };
            match &mut self.gzip {
                Some(gzip) => gzip.chunk = chunk,
                None => return Ok(Some(chunk)),
            }
        }
    }

    /// What the end of the connection's bytes means. A length or a last chunk that is missing is an error before.
    fn end(&self) -> Result<(), CallError> {
        if !self.states_end {
            let says = "nothing in the answer says where it ends: it has neither a Content-Length nor plain chunks";
            return Err(CallError::new(self.stage, Class::Unexpected, says));
        }
        match &self.gzip {
            Some(gzip) if !gzip.is_at_end() => Err(self.refuse(GzipError::Truncated)),
            _ => Ok(()),
        }
    }

    fn refuse(&self, error: GzipError) -> CallError {
        let class = if error == GzipError::Truncated { Class::Transient } else { Class::Unexpected };
        CallError::new(self.stage, class, error.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum GzipError {
    #[error("the answer ended inside its gzip")]
    Truncated,
    #[error("the answer is not the gzip that its header announces, or broken gzip")]
    Broken,
    #[error("the answer goes on behind the end of its gzip")]
    Rest,
}

/// Decompresses the members of a gzip body one after the other, up to the last byte.
struct Gunzip {
    /// What arrived and was not used yet.
    chunk: Bytes,
    member: Decompress,
    /// Members that were whole.
    members: u64,
    is_inside: bool,
    /// The last piece was full: there may be more without another byte of input.
    is_pending: bool,
}

impl Gunzip {
    fn new() -> Gunzip {
        let member = Decompress::new_gzip(GZIP_WINDOW_BITS);
        Gunzip { chunk: Bytes::new(), member, members: 0, is_inside: false, is_pending: false }
    }

    /// The next piece, or `None` when more input is needed.
    fn inflate(&mut self) -> Result<Option<Bytes>, GzipError> {
        while self.is_pending || !self.chunk.is_empty() {
            if !self.is_inside {
                self.member.reset(true);
                self.is_inside = true;
            }
            let used = self.member.total_in();
            let mut piece = Vec::with_capacity(PIECE_LIMIT);
            let status = self.member.decompress_vec(&self.chunk, &mut piece, FlushDecompress::None);
            let Ok(status) = status else { return Err(self.broken()) };
            self.chunk.advance(usize::try_from(self.member.total_in() - used).unwrap_or(usize::MAX));
            self.is_pending = piece.len() == piece.capacity();
            match status {
                Status::StreamEnd => {
                    (self.is_inside, self.is_pending) = (false, false);
                    self.members += 1;
                }
                Status::BufError if piece.is_empty() && !self.chunk.is_empty() => return Err(self.broken()),
                Status::Ok | Status::BufError => {}
            }
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
        Ok(None)
    }

    fn broken(&self) -> GzipError {
        if self.members > 0 && self.member.total_out() == 0 { GzipError::Rest } else { GzipError::Broken }
    }

    /// A gzip body has one member at least.
    fn is_at_end(&self) -> bool {
        !self.is_inside && self.members > 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn member(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What a body comes to when it arrives in chunks of this size.
    fn read(body: &[u8], chunk: usize) -> Result<Vec<u8>, GzipError> {
        let (mut gzip, mut content) = (Gunzip::new(), Vec::new());
        for chunk in body.chunks(chunk) {
            gzip.chunk = Bytes::copy_from_slice(chunk);
            while let Some(piece) = gzip.inflate()? {
                assert!(piece.len() <= PIECE_LIMIT);
                content.extend_from_slice(&piece);
            }
        }
        if gzip.is_at_end() { Ok(content) } else { Err(GzipError::Truncated) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn all_members_are_read_and_no_cut_inside_one_and_no_rest_is_an_end(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
            rest in prop::collection::vec(any::<u8>(), 1..40),
            chunk in 1_usize..200,
        ) {
            let members: Vec<Vec<u8>> = contents.iter().map(|content| member(content)).collect();
            let body = members.concat();
            prop_assert_eq!(read(&body, chunk), Ok(contents.concat()));
            let mut borders = vec![0];
            borders.extend(members.iter().map(Vec::len).scan(0, |at, size| { *at += size; Some(*at) }));
            for cut in (0..body.len()).filter(|cut| *cut == 0 || !borders.contains(cut)) {
                prop_assert_eq!(read(&body[..cut], chunk), Err(GzipError::Truncated), "cut at {}", cut);
            }
            prop_assert!(read(&[&body[..], &rest].concat(), chunk).is_err());
            prop_assert!(read(&rest, chunk).is_err());
        }
    }

    #[test]
    fn what_inflates_a_thousandfold_comes_in_pieces_and_a_changed_byte_is_found() {
        let content = vec![7; 10 * PIECE_LIMIT];
        let body = member(&content);
        assert!(body.len() < PIECE_LIMIT / 10);
        assert_eq!(read(&body, 100).unwrap(), content);
        assert_eq!(read(&body, usize::MAX).unwrap(), content);
        // Checksum and length stand at the end.
        for at in body.len() - 8..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, 100), Err(GzipError::Broken));
        }
        assert_eq!(read(&[&body[..], &[0; 512]].concat(), 100), Err(GzipError::Rest));
        assert_eq!(read(b"<!DOCTYPE html>", 100), Err(GzipError::Broken));
    }

    #[test]
    fn one_coding_that_was_asked_for_is_read_and_no_other() {
        let said = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            coding(&headers)
        };
        for values in [&[][..], &["identity"], &[""]] {
            assert_eq!(said(values), Ok(false), "{values:?}");
        }
        for values in [&["gzip"][..], &["GZip"], &["x-gzip"], &["identity, gzip"]] {
            assert_eq!(said(values), Ok(true), "{values:?}");
        }
        for values in [&["br"][..], &["deflate"], &["zstd"], &["gzip, gzip"], &["gzip", "gzip"], &["gzip;q=1"]] {
            assert!(said(values).is_err(), "{values:?}");
        }
    }
}
