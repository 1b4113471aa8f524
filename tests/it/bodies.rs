//! Where an answer ends: every byte of it is accounted for, or what it does not show is not absent.

use std::time::Duration;

use cegid_indexer::{
    cegid::{CallError, Client, ReferentialList},
    domain::Kind,
    sweeps::{self, Use},
};
use cegid_simulator::{Compression, Endpoint, Fault, FaultKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    answers::{export, tenant_at},
    harness::{Plan, World, tenant},
    worst::{count, live_vacancies},
};

/// A frame without an archive: one that arrives, and holds no record.
const FRAME: &[u8] = &[4, 0, 0, 0, b'n', b'o', b'n', b'e'];
const TOKEN: &[u8] = br#"{"access_token":"a","token_type":"bearer","expires_in":1199}"#;

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// An answer of HTTP/1.1 with status 200, as bytes.
fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    answer_with("HTTP/1.1 200 OK", headers, body)
}

fn answer_with(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("{status}\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// The same with its length.
fn sized(headers: &str, body: &[u8]) -> Vec<u8> {
    answer(&format!("content-length: {}\r\n{headers}", body.len()), body)
}

fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const GZIP: &str = "content-encoding: gzip\r\n";
const LAST: &[u8] = b"0\r\n\r\n";

/// Answers that end where they say, with a body of two parts.
fn whole(first: &[u8], second: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let both = [first, second].concat();
    let members = [gzip(first), gzip(second)].concat();
    vec![
        ("a length", sized("", &both)),
        ("a length of HTTP/1.0", answer_with("HTTP/1.0 200 OK", &format!("content-length: {}\r\n", both.len()), &both)),
        ("chunks", answer(CHUNKED, &[chunk(first), chunk(second), LAST.to_vec()].concat())),
        ("gzip", sized(GZIP, &gzip(&both))),
        ("two members of gzip", sized(GZIP, &members)),
        (
            "two members of gzip in chunks",
            answer(&format!("{CHUNKED}{GZIP}"), &[chunk(&members[..5]), chunk(&members[5..]), LAST.to_vec()].concat()),
        ),
        ("no coding, by its name", sized("content-encoding: identity\r\n", &both)),
    ]
}

/// Answers that end before they should, or hold something else than they say.
fn not_whole(first: &[u8], second: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let both = [first, second].concat();
    let members = [gzip(first), gzip(second)].concat();
    let long = |headers: &str, body: &[u8]| answer(&format!("content-length: {}\r\n{headers}", body.len() + 9), body);
    vec![
        ("neither length nor chunks", answer("", &both)),
        ("neither of them, and nothing else", answer("", b"")),
        ("neither of them in HTTP/1.0", answer_with("HTTP/1.0 200 OK", "", &both)),
        ("neither of them under gzip", answer(GZIP, &gzip(&both))),
        ("no last chunk", answer(CHUNKED, &chunk(&both))),
        ("half of a last chunk", answer(CHUNKED, &[chunk(&both), b"0\r\n".to_vec()].concat())),
        ("a length that is too long", long("", &both)),
        ("the same under gzip", long(GZIP, &gzip(&both))),
        ("the same under two members", long(GZIP, &members)),
        ("a member that lacks a byte", sized(GZIP, &members[..members.len() - 1])),
        ("half a member", sized(GZIP, &gzip(&both)[..10])),
        ("no member", answer(&format!("{CHUNKED}{GZIP}"), LAST)),
        ("bytes behind a member", sized(GZIP, &[gzip(first), second.to_vec()].concat())),
        ("zeros behind a member", sized(GZIP, &[gzip(&both), vec![0; 8]].concat())),
        ("no gzip under its header", sized(GZIP, &both)),
        ("gzip in gzip", sized("content-encoding: gzip, gzip\r\n", &gzip(&gzip(&both)))),
        ("gzip in gzip by two headers", sized(&format!("{GZIP}{GZIP}"), &gzip(&gzip(&both)))),
        ("another coding", sized("content-encoding: br\r\n", &both)),
        ("another coding of nothing", sized("content-encoding: br\r\n", b"")),
        (
            "gzip as a transfer coding",
            answer("transfer-encoding: gzip, chunked\r\n", &[chunk(&both), LAST.to_vec()].concat()),
        ),
    ]
}

/// Gives a token, and this answer to everything else; `token` in place of the token's.
async fn answering(token: Vec<u8>, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut piece) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                let count = stream.read(&mut piece).await.unwrap();
                if count == 0 {
                    break;
                }
                head.extend_from_slice(&piece[..count]);
            }
            let answer = if head.starts_with(b"POST /api/token") { &token } else { &body };
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // What is still under way is read, so that the answer is not lost to a reset.
            while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
        }
    });
    format!("http://{address}")
}

async fn client_of(body: Vec<u8>) -> Client {
    tenant_at(&answering(sized("", TOKEN), body).await, &[])
}

#[tokio::test]
async fn a_page_is_whole_only_if_every_byte_of_its_answer_is_accounted_for() {
    let mut wrong = Vec::new();
    for (name, body) in whole(FRAME, FRAME) {
        match export(&client_of(body).await).await {
            Ok(page) if page.cut.is_none() && page.frames() == 2 => {}
            Ok(page) => wrong.push(format!("{name}: {} frames, {:?}", page.frames(), page.cut)),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    let none = ["HTTP/1.1 204 No Content", "HTTP/1.1 200 OK"].map(|status| {
        let headers = if status.contains("204") { "" } else { "content-length: 0\r\ncontent-encoding: gzip\r\n" };
        answer_with(status, headers, b"")
    });
    for body in none {
        match export(&client_of(body).await).await {
            Ok(page) if page.cut.is_none() && page.frames() == 0 => {}
            other => wrong.push(format!("an empty list: {:?}", other.map(|page| page.cut))),
        }
    }
    let parts = ["202 Accepted", "206 Partial Content"]
        .map(|status| ("another status", answer_with(&format!("HTTP/1.1 {status}"), "content-length: 0\r\n", b"")));
    for (name, body) in not_whole(FRAME, FRAME).into_iter().chain(parts) {
        match export(&client_of(body).await).await {
            Ok(page) if page.cut.is_none() => wrong.push(format!("{name}: {} frames and a clean end", page.frames())),
            Ok(page) => println!("{name}: {} frames, then {}", page.frames(), page.cut.unwrap()),
            Err(error) => println!("{name}: {error}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_and_a_referential_are_read_only_from_whole_answers() {
    let mut wrong = Vec::new();
    let (first, second) = TOKEN.split_at(20);
    let token = async |token: Vec<u8>| -> Result<(), CallError> {
        export(&tenant_at(&answering(token, sized("", b"")).await, &[])).await.map(|_| ())
    };
    for (name, answer) in whole(first, second) {
        wrong.extend(token(answer).await.err().map(|error| format!("{name}: {error}")));
    }
    for (name, answer) in not_whole(first, second) {
        wrong.extend(token(answer).await.is_ok().then(|| format!("{name}: a token")));
    }
    let list = async |answer: Vec<u8>| match client_of(answer).await.referential("countries").await {
        Ok(ReferentialList::Items(items)) => Ok(items.len()),
        Ok(ReferentialList::Unknown) => Ok(0),
        Err(error) => Err(error),
    };
    // The first part is a list of its own.
    let (first, second) = (&br#"[{"id":"FR"}]"#[..], &b"  "[..]);
    for (name, answer) in whole(first, second) {
        wrong.extend(list(answer).await.err().map(|error| format!("{name}: {error}")));
    }
    for (name, answer) in not_whole(first, second) {
        wrong.extend(list(answer).await.ok().map(|items| format!("{name}: a list of {items}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const EXPORTS: [Endpoint; 2] = [Endpoint::Vacancies, Endpoint::Candidates];

fn compress(world: &World, how: Compression) {
    for endpoint in EXPORTS {
        world.simulator.add_fault(Fault::new(endpoint, FaultKind::Compressed { how }));
    }
}

#[tokio::test]
async fn records_in_a_gzip_member_each_are_all_read() {
    let mut world = World::start(Plan::default().stopped()).await;
    compress(&world, Compression::Members);
    world.start_service().await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    world.settle().await;
    world.sweep_all().await;
    world.pass(Duration::from_secs(1200)).await;
    world.settle().await;
    assert_eq!(count(&world, "select count(*) from subject where state = 'removed'").await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_compressed_list_that_is_cut_spoilt_or_misnamed_removes_nobody() {
    let world = World::start(Plan::default()).await;
    world.settle().await;
    for how in [Compression::Rest, Compression::CutMember, Compression::LongLength, Compression::SaidTwice] {
        compress(&world, how);
        for kind in Kind::ALL {
            for purpose in Use::recurring(kind) {
                sweeps::ask(&world.database, &tenant(), kind, *purpose, world.clock.now()).await.unwrap();
            }
        }
        let before = world.last_request();
        world
            .until("lists were answered so", async |world: &World| {
                let answered = |path| {
                    world.simulator.count_requests(|request| {
                        request.number > before && request.path == path && request.note.contains("compressed")
                    })
                };
                answered("/api/exports/v1/vacancies") > 2 && answered("/api/exports/v1/candidates") > 2
            })
            .await;
        let seen = "select count(*) from subject where state = 'removed' or absent_since is not null";
        assert_eq!(count(&world, seen).await, 0, "{how:?}");
        world.simulator.clear_faults();
    }
    world.pass(Duration::from_secs(1800)).await;
    world.settle().await;
    world.end().await;
}
