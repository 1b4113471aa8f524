//! Requests that are framed badly: lengths that lie, bodies and headers without end, and two requests in one.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{EVENTS, assert_well, delivered, good_head, good_request};
use crate::harness::{Plan, World, raw};

/// More than any socket's buffers, and than the service reads of anything.
const ENDLESS: usize = 64 << 20;
/// What buffers on both sides may take beside what is read.
const TAKEN: usize = 24 << 20;
/// Far beyond the time for headers and bodies.
const LONG: Duration = Duration::from_secs(60);
const ZEROS: &str = "zeros of a chunk's size";

fn plan() -> Plan {
    Plan::sized(0, 0).with("RECEIVE__HEADER_TIMEOUT", "300ms").with("RECEIVE__BODY_TIMEOUT", "2s")
}

#[tokio::test]
async fn a_length_that_is_none_is_refused() {
    let world = World::start(plan()).await;
    for length in
        ["", "-1", "+5", "0x5", "5.0", "5 5", "5,6", "five", "18446744073709551616", "99999999999999999999999"]
    {
        let request = format!("{}content-length: {length}\r\n\r\nhello", good_head());
        let answered = raw::statuses(&world.public, request.as_bytes()).await;
        assert_eq!(answered, [400], "{length:?}");
    }
    assert_eq!(world.ledger().await.received, 0);
    assert_well(&world.public).await;
    world.leave().await;
}

#[tokio::test]
async fn a_length_that_lies_makes_no_second_request() {
    let world = World::start(plan()).await;
    // Too short: what is left over is no request.
    let body = r#"{"event_type":"vacancy_update","reference":"left-over"}"#;
    let short = format!("{}content-length: 5\r\n\r\n{body}", good_head());
    let answered = raw::statuses(&world.public, short.as_bytes()).await;
    assert_eq!(answered, [200, 400]);
    // Too long: what follows on the connection belongs to the body, which never ends.
    let long = format!("{}content-length: 60000\r\n\r\n{}", good_head(), good_request("within"));
    assert_eq!(raw::statuses(&world.public, long.as_bytes()).await, [408]);
    // As long as can be said.
    let longest = format!("{}content-length: 18446744073709551613\r\n\r\n{}", good_head(), "x".repeat(70_000));
    let answered = raw::statuses(&world.public, longest.as_bytes()).await;
    assert!(answered == [413] || answered == [400] || answered.is_empty(), "{answered:?}");
    assert_eq!((delivered(&world, "left-over").await, delivered(&world, "within").await), (0, 0));
    assert_well(&world.public).await;
    world.leave().await;
}

/// Sends `head`, and then `part` until the other side has had enough; gives how many bytes that was, and the answer.
async fn pour(world: &World, head: &str, part: &[u8]) -> (usize, String) {
    let stream = TcpStream::connect(world.public.trim_start_matches("http://")).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    writing.write_all(head.as_bytes()).await.unwrap();
    let pouring = async {
        let mut poured = 0;
        while poured < ENDLESS && writing.write_all(part).await.is_ok() {
            poured += part.len();
        }
        poured
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(pouring, reading.read_to_end(&mut answer)) };
    let (poured, _reset) = timeout(LONG, both).await.expect("an answer, or a reset");
    (poured, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn what_has_no_end_is_not_read_for_long() {
    let world = World::start(plan()).await;
    let chunked = format!("{}transfer-encoding: chunked\r\n\r\n", good_head());
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
    let lines = b"a: b\r\n".repeat(1000);
    let no_line = [b'a'; 4096];
    for (what, head, part, statuses) in [
        ("a chunked body", chunked.clone(), &chunk[..], &["413"][..]),
        ("a chunk's size", format!("{chunked}5;"), &no_line[..], &["400"]),
        // As much as fits into the time for a body.
        (ZEROS, chunked.clone(), &[b'0'; 4096][..], &["400", "408"]),
        ("trailers", format!("{chunked}0\r\n"), &lines, &["400"]),
        ("headers", good_head(), &lines, &["431"]),
        ("one header", format!("{}x: ", good_head()), &no_line, &["431"]),
        ("a header's name", good_head(), &no_line, &["431"]),
        ("a target", format!("POST {EVENTS}?"), &no_line, &["414", "431"]),
        ("a method", String::new(), &no_line, &["400", "431"]),
        ("empty lines", String::new(), &b"\r\n".repeat(1000)[..], &["400", "408", "431"]),
    ] {
        let (poured, answer) = pour(&world, &head, part).await;
        assert!(poured < TAKEN || what == ZEROS, "{what}: {poured} bytes were taken");
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // The answer may be lost where the connection is reset behind it.
        assert!(status.is_empty() || statuses.contains(&status), "{what}: {answer}");
    }
    assert_eq!(world.ledger().await.received, 0);
    assert_well(&world.public).await;
    world.leave().await;
}

#[tokio::test]
async fn headers_are_counted_and_weighed() {
    let world = World::start(plan()).await;
    let with = |headers: String| format!("{}{headers}content-length: 0\r\n\r\n", good_head());
    let many = |count: usize| with((0..count).map(|nth| format!("x-{nth}: y\r\n")).collect());
    // Beside the two of the head, and the length.
    assert_eq!(raw::statuses(&world.public, many(61).as_bytes()).await, [200]);
    let heavy = |bytes: usize| with(format!("x: {}\r\n", "y".repeat(bytes)));
    assert_eq!(raw::statuses(&world.public, heavy(32_000).as_bytes()).await, [200]);
    for (what, request) in [
        ("one header more", many(62)),
        ("a thousand headers", many(1000)),
        ("a value a little too long", heavy(32_768)),
        ("a long value", heavy(200_000)),
        ("a long name", with(format!("{}: y\r\n", "x".repeat(200_000)))),
        ("a long target", format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000))),
    ] {
        let answered = raw::statuses(&world.public, request.as_bytes()).await;
        assert!(matches!(answered[..], [] | [431 | 414]), "{what}: {answered:?}");
    }
    assert_eq!(world.ledger().await.received, 2);
    assert_well(&world.public).await;
    world.leave().await;
}

#[tokio::test]
async fn two_requests_are_never_made_out_of_one() {
    let world = World::start(plan()).await;
    let second = good_request("smuggled");
    let body = format!("0\r\n\r\n{second}");
    let (length, chunk) = (body.len(), format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len()));
    let head = good_head();
    let te = "transfer-encoding";
    let shapes = [
        ("a length and chunks", format!("{head}content-length: {length}\r\n{te}: chunked\r\n\r\n{body}")),
        ("chunks and a length", format!("{head}{te}: chunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a short length and chunks", format!("{head}content-length: 4\r\n{te}: chunked\r\n\r\n{chunk}")),
        ("two lengths", format!("{head}content-length: 0\r\ncontent-length: {}\r\n\r\n{second}", second.len())),
        ("two lengths, turned", format!("{head}content-length: {}\r\ncontent-length: 0\r\n\r\n{second}", second.len())),
        ("a list of lengths", format!("{head}content-length: 0, {}\r\n\r\n{second}", second.len())),
        ("chunked twice", format!("{head}{te}: chunked\r\n{te}: chunked\r\n\r\n{body}")),
        ("chunked, then not", format!("{head}{te}: chunked\r\n{te}: identity\r\n\r\n{body}")),
        (
            "not, then chunked",
            format!("{head}{te}: identity\r\n{te}: chunked\r\ncontent-length: {length}\r\n\r\n{body}"),
        ),
        ("nothing, then chunked", format!("{head}{te}: identity\r\n{te}: chunked\r\n\r\n{body}")),
        ("a list of codings", format!("{head}{te}: identity, chunked\r\n\r\n{body}")),
        ("chunked and more", format!("{head}{te}: chunked, identity\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("another coding", format!("{head}{te}: xchunked\r\ncontent-length: 0\r\n\r\n{second}")),
        ("a coding that is none", format!("{head}{te}: identity\r\ncontent-length: 0\r\n\r\n{second}")),
        ("an empty coding", format!("{head}{te}:\r\ncontent-length: 0\r\n\r\n{second}")),
        ("a coding in quotes", format!("{head}{te}: \"chunked\"\r\ncontent-length: 0\r\n\r\n{second}")),
        ("a space before the colon", format!("{head}{te} : chunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a tab before the coding", format!("{head}{te}:\tchunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a vertical tab", format!("{head}{te}:\x0bchunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a NUL in the coding", format!("{head}{te}: chunked\0\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a folded coding", format!("{head}{te}:\r\n chunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a folded length", format!("{head}x: y\r\n content-length: {length}\r\n{te}: chunked\r\n\r\n{body}")),
        ("a header in a header", format!("{head}x: y\rcontent-length: 0\r\n\r\n{second}")),
        ("chunks by an older protocol", format!("{head}{te}: chunked\r\n\r\n{body}").replace("HTTP/1.1", "HTTP/1.0")),
        ("a size in another notation", format!("{head}{te}: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{second}")),
        ("a size with a sign", format!("{head}{te}: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n{second}")),
        ("a size below nothing", format!("{head}{te}: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n{second}")),
        (
            "a size that overflows",
            format!("{head}{te}: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n{second}"),
        ),
        ("a chunk longer than its size", format!("{head}{te}: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n{second}")),
        ("a chunk that ends in a line feed", format!("{head}{te}: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n{second}")),
        ("no protocol", format!("POST {EVENTS}\r\n\r\n{second}")),
    ];
    for (shape, request) in shapes {
        let answered = raw::statuses(&world.public, request.as_bytes()).await;
        // Those that are taken are taken as one, by the only reading that the standard leaves.
        assert!(matches!(answered[..], [200 | 400 | 404 | 505]), "{shape}: {answered:?}");
        assert_eq!(delivered(&world, "smuggled").await, 0, "{shape}: {answered:?}");
    }
    // The parser has no answer to this one.
    let other = format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{second}");
    assert_eq!(raw::statuses(&world.public, other.as_bytes()).await, [0; 0]);
    assert_eq!(delivered(&world, "smuggled").await, 0);
    // One after the other they are two, so that the above would be seen.
    let two = format!("{}{second}", good_request("first"));
    assert_eq!(raw::statuses(&world.public, two.as_bytes()).await, [200, 200]);
    assert_eq!((delivered(&world, "first").await, delivered(&world, "smuggled").await), (1, 1));
    world.leave().await;
}

/// Some senders end their side behind the last byte.
#[tokio::test]
async fn a_request_whose_sender_has_ended_its_side_is_answered() {
    let world = World::start(plan()).await;
    for nth in 0..20 {
        let mut stream = TcpStream::connect(world.public.trim_start_matches("http://")).await.unwrap();
        stream.write_all(good_request(&format!("half-closed-{nth}")).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.expect("an answer, and the end").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{nth}: {answer:?}");
        assert_eq!(delivered(&world, &format!("half-closed-{nth}")).await, 1);
    }
    assert_well(&world.public).await;
    world.leave().await;
}
