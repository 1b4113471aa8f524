//! Bodies in a compression: what a server may do, and what some do wrong.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt as _;

use super::refusal;
use crate::faults::Compression;

/// What a gzip member ends with: a checksum and a length.
const TRAILER: usize = 8;

/// The answer with its body compressed; a body of no bytes is one member of none.
pub(crate) async fn compressed(answer: Response, how: Compression) -> Response {
    let (mut parts, body) = answer.into_parts();
    let pieces: Result<Vec<Bytes>, axum::Error> = body.into_data_stream().try_collect().await;
    let made = pieces.map_err(anyhow::Error::from).and_then(|pieces| made(&pieces, how));
    let body = match made {
        Ok(body) => body,
        Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("fault: {error}")),
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(how.coding()));
    parts.headers.remove(header::CONTENT_LENGTH);
    if how != Compression::LongLength {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len() + 1));
    let pieces = futures_util::stream::once(async { Ok::<_, axum::Error>(Bytes::from(body)) });
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn made(pieces: &[Bytes], how: Compression) -> anyhow::Result<Vec<u8>> {
    if how == Compression::OnlySaid {
        return Ok(pieces.concat());
    }
    let nothing = Bytes::new();
    let (first, others) = pieces.split_first().unwrap_or((&nothing, &[]));
    let mut body = member(first)?;
    for piece in others {
        if how == Compression::Rest {
            body.extend_from_slice(piece);
        } else {
            body.extend(member(piece)?);
        }
    }
    if how == Compression::CutMember {
        body.truncate(body.len() - TRAILER / 2);
    }
    Ok(body)
}

fn member(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::MultiGzDecoder;

    use super::*;

    fn inflated(how: Compression) -> std::io::Result<Vec<u8>> {
        let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let body = made(&pieces, how).expect("a body");
        let mut content = Vec::new();
        MultiGzDecoder::new(&body[..]).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn members_hold_the_pieces_and_what_is_done_badly_is_no_gzip() {
        assert_eq!(inflated(Compression::Members).expect("gzip"), b"onetwo");
        for how in [Compression::CutMember, Compression::Rest, Compression::OnlySaid] {
            assert!(inflated(how).is_err(), "{how:?}");
        }
    }
}
