//! What every request to the API passes: the log, the tenant being away, and
//! the faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{Note, compressed, exports, json_answer, refusal};
use crate::clock::http_date;
use crate::faults::{Bend, Down, Endpoint, FaultKind};
use crate::simulator::{Inner, Simulator};

/// Time for what was written to leave before the connection breaks.
const BREATH: Duration = Duration::from_millis(10);
/// Bytes of a request that an answer repeats at most.
const ECHO_LIMIT: usize = 64 * 1024;

/// The middleware in front of every endpoint of the API.
pub(crate) async fn pass(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let inner = Arc::clone(&simulator.inner);
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default();
    let begun = Instant::now();
    let number = inner.journal.begin(inner.clock.now(), request.method().as_str(), &path, query);
    let mut answer = answer(&inner, Endpoint::of(&path), request, next).await;
    let note = answer.extensions_mut().remove::<Note>();
    inner.journal.note(number, |row| {
        row.status = answer.status().as_u16();
        row.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        row.note = note.map(|note| note.0).unwrap_or_default();
    });
    inner.stir();
    counted(answer, inner, number)
}

async fn answer(inner: &Inner, endpoint: Option<Endpoint>, request: Request, next: Next) -> Response {
    if inner.faults.down() != Down::No {
        let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, "the tenant is down");
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    let query = request.uri().query().unwrap_or_default();
    if query.len() > inner.config.query_limit {
        return refusal(StatusCode::NOT_FOUND, "the query is too long");
    }
    let fault = endpoint.and_then(|endpoint| inner.faults.take(endpoint, exports::asked(endpoint, query)));
    let Some(fault) = fault else { return next.run(request).await };
    match fault {
        FaultKind::Status { code, retry_after } => {
            let mut answer = refusal(status(code), "fault: status");
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            answer
        }
        FaultKind::StatusUntil { code, seconds } => {
            let mut answer = refusal(status(code), "fault: status");
            let seconds = i64::try_from(seconds).unwrap_or(i64::from(i32::MAX));
            let until = http_date(inner.clock.now() + chrono::Duration::seconds(seconds));
            set(&mut answer, header::RETRY_AFTER, &until);
            answer
        }
        FaultKind::Redirect { code, location } => {
            let mut answer = refusal(status(code), "fault: redirect");
            set(&mut answer, header::LOCATION, &location);
            answer
        }
        FaultKind::AnswerLost { code } => {
            let done = next.run(request).await.status();
            refusal(status(code), &format!("fault: answer {done} lost"))
        }
        FaultKind::Slow { millis } => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            noted(next.run(request).await, "slow")
        }
        FaultKind::Hold => {
            let answer = next.run(request).await;
            inner.faults.held.wait(|| inner.stir()).await;
            noted(answer, "held")
        }
        FaultKind::Truncate { bytes } => {
            let answer = next.run(request).await;
            noted(cut(answer, bytes, false), "truncated")
        }
        FaultKind::Break { bytes } => {
            let answer = next.run(request).await;
            noted(cut(answer, bytes, true), "broken off")
        }
        FaultKind::Html => {
            let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            let page = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head>\
                        <body><h1>Site en maintenance</h1></body></html>\n";
            noted((headers, page).into_response(), "HTML page")
        }
        FaultKind::JsonError => {
            let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
            let body = r#"{"code":500,"status":"error","message":"An error has occurred."}"#;
            noted((headers, body).into_response(), "JSON error")
        }
        FaultKind::Echo { code } => echo(status(code), request).await,
        FaultKind::Empty => noted(StatusCode::OK.into_response(), "empty"),
        FaultKind::Drip { bytes, millis } => noted(dripping(next.run(request).await, bytes.max(1), millis), "dripping"),
        FaultKind::Compressed { how } => {
            noted(compressed::compressed(next.run(request).await, how).await, "compressed")
        }
        FaultKind::Garbage => {
            let mut body = 64_i32.to_le_bytes().to_vec();
            body.extend_from_slice(&[0x5a; 64]);
            let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
            noted((headers, body).into_response(), "garbage")
        }
        FaultKind::EmptyArray => {
            let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
            noted((headers, "[]").into_response(), "empty array")
        }
        FaultKind::Oversize { bytes } => {
            let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
            noted((headers, zeroes(bytes)).into_response(), "oversize")
        }
        FaultKind::BadSize { announced, frames } => {
            noted(badly_sized(next.run(request).await, announced, frames), "bad size")
        }
        FaultKind::Short { records } => noted(bent(Bend::Short(records), request, next).await, "short list"),
        FaultKind::Repeat => noted(bent(Bend::Repeat, request, next).await, "first page again"),
        FaultKind::RepeatLast => noted(bent(Bend::RepeatLast, request, next).await, "last page again"),
        FaultKind::IgnoreKeys => noted(bent(Bend::IgnoreKeys, request, next).await, "keys ignored"),
        FaultKind::NotFound => noted(bent(Bend::NotFound, request, next).await, "404 if nothing is found"),
        FaultKind::Flicker { percent } => noted(bent(Bend::Flicker(percent), request, next).await, "flicker"),
    }
}

/// The answer of an export that is told to do something wrong.
async fn bent(bend: Bend, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(bend);
    next.run(request).await
}

async fn echo(status: StatusCode, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, ECHO_LIMIT).await.unwrap_or_default();
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let description =
        format!("cannot read {} under {}", String::from_utf8_lossy(&body), authorization.unwrap_or_default());
    noted(json_answer(status, &json!({ "error": "invalid_client", "error_description": description })), "echo")
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A header that a fault names; one that cannot be sent is left out.
fn set(answer: &mut Response, name: header::HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            answer.headers_mut().insert(name, value);
        }
        Err(error) => tracing::warn!(%name, %error, "the fault names no header value"),
    }
}

fn noted(mut answer: Response, fault: &str) -> Response {
    let note = match answer.extensions_mut().remove::<Note>() {
        Some(Note(note)) => format!("{note}, fault: {fault}"),
        None => format!("fault: {fault}"),
    };
    answer.extensions_mut().insert(Note(note));
    answer
}

/// Only the first bytes of a body: ended as if complete, or with the connection.
fn cut(answer: Response, bytes: usize, breaking: bool) -> Response {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let pieces = body.into_data_stream().scan(bytes, |left, piece| {
        let piece = match piece {
            _ if *left == 0 => None,
            Ok(piece) => {
                let piece = piece.slice(..piece.len().min(*left));
                *left -= piece.len();
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(piece)
    });
    if !breaking {
        return Response::from_parts(parts, Body::from_stream(pieces));
    }
    let broken = stream::once(async {
        tokio::time::sleep(BREATH).await;
        let error = std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "broken off by a fault");
        Err::<Bytes, _>(axum::Error::new(error))
    });
    Response::from_parts(parts, Body::from_stream(pieces.chain(broken)))
}

/// A size and as many zeroes, the same few again and again.
fn zeroes(bytes: u32) -> Body {
    const PIECE: u32 = 64 * 1024;
    static ZEROES: [u8; PIECE as usize] = [0; PIECE as usize];
    let size = Bytes::copy_from_slice(&bytes.to_le_bytes());
    let pieces = stream::unfold(bytes, |left| async move {
        let piece = left.min(PIECE);
        (piece > 0).then(|| (Bytes::from_static(&ZEROES[..piece as usize]), left - piece))
    });
    Body::from_stream(stream::once(async { size }).chain(pieces).map(Ok::<_, axum::Error>))
}

/// An export's body comes a frame at a time: the first of them, then a size that
/// is none.
fn badly_sized(answer: Response, announced: i32, frames: usize) -> Response {
    let mut bad = announced.to_le_bytes().to_vec();
    bad.extend_from_slice(&[0; 64]);
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let bad = stream::once(async { Ok(Bytes::from(bad)) });
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().take(frames).chain(bad)))
}

fn dripping(answer: Response, bytes: usize, millis: u64) -> Response {
    let (parts, body) = answer.into_parts();
    let pieces = body.into_data_stream().flat_map(move |piece| {
        let pieces: Vec<Result<Bytes, axum::Error>> = match piece {
            Ok(whole) => (0..whole.len())
                .step_by(bytes)
                .map(|from| Ok(whole.slice(from..whole.len().min(from + bytes))))
                .collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            piece
        })
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Counts the bytes of a body into the log as the connection takes them. A body
/// of known size keeps its length header.
fn counted(answer: Response, inner: Arc<Inner>, number: u64) -> Response {
    use axum::body::HttpBody as _;
    let size = answer.body().size_hint().exact();
    if let Some(size) = size {
        inner.journal.note(number, |row| row.bytes = size);
        return answer;
    }
    answer.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |piece| {
            if let Ok(piece) = piece {
                inner.journal.note(number, |row| row.bytes += piece.len() as u64);
            }
        }))
    })
}
