//! What the public listener takes, refuses and answers.

use std::time::Duration;

use cegid_simulator::{RawCallback, Sent};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{Plan, World, raw};

const EVENTS: &str = "/api/talentsoft/v1/acme/events";
const PINGS: &str = "/api/talentsoft/v1/acme/pingevents";

fn quiet() -> Plan {
    Plan::sized(0, 0)
}

async fn post(world: &World, path: &str, body: &[u8]) -> Sent {
    let callback = RawCallback {
        url: format!("{}{path}", world.public),
        body: body.to_vec(),
        content_type: Some("application/json".into()),
        content_md5: true,
        ..RawCallback::default()
    };
    world.simulator.send_raw(&callback).await
}

fn status(sent: &Sent) -> u16 {
    match &sent.outcome {
        cegid_simulator::Outcome::Answered(status) => *status,
        other => panic!("no answer: {other:?}"),
    }
}

async fn ignored(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as::<_, (String, i64)>(
        "select ignored, count(*) from delivery where ignored is not null group by ignored order by ignored",
    )
    .fetch_all(world.database.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn every_vector_gets_its_verdict_over_http() {
    let vectors: Value = serde_json::from_str(include_str!("../../testdata/signature-vectors.json")).unwrap();
    // The verdicts are those of a receiver without an allowance for clocks.
    let plan = quiet().with("RECEIVE__CLOCK_SKEW", "0s").with("TENANTS__ACME__CLIENT_SECRET", "vector-secret-0001");
    let world = World::start(plan).await;
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let mut seen = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        assert_eq!(vector["now_unix"].as_i64().unwrap(), world.clock.now().timestamp(), "turn the clock for this one");
        let headers: Vec<(&str, &str)> = vector["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        let target = format!("{}?{}", text(vector, "path"), text(vector, "query"));
        let body = text(vector, "body");
        let answer = raw::send(&world.public, &text(vector, "method"), &target, &headers, body.as_bytes()).await;
        let wanted = if vector["valid"].as_bool().unwrap() { 200 } else { 403 };
        assert_eq!(answer.status, wanted, "{}", text(vector, "id"));
        seen += 1;
    }
    assert_eq!(seen, 14);
    world.leave().await;
}

#[tokio::test]
async fn signatures_are_read_as_senders_and_proxies_write_them() {
    let world = World::start(quiet()).await;
    let id = "client_id=11111111-2222-3333-4444-555555555555";
    let expires = ("X-TS-REC-Expires", "1789000300");
    let sign = |method: &str, path: &str| raw::signature(method, path, crate::harness::SECRET, id);
    let signed = sign("POST", EVENTS);
    let send = async |query: String, headers: &[(&str, &str)], body: &[u8]| {
        raw::send(&world.public, "POST", &format!("{EVENTS}?{query}"), headers, body).await
    };
    let good = send(format!("{id}&signature={signed}"), &[expires], b"").await;
    assert_eq!(good.status, 200);
    // Anywhere in the query, and once more: a replay is harmless.
    assert_eq!(send(format!("signature={signed}&{id}"), &[expires], b"").await.status, 200);
    let encoded = signed.replace('+', "%2b").replace('/', "%2F").replace('=', "%3D");
    assert_eq!(send(format!("{id}&signature={encoded}"), &[expires], b"").await.status, 200);
    let form_decoded = signed.replace('+', "%20");
    assert_eq!(send(format!("{id}&signature={form_decoded}"), &[expires], b"").await.status, 200);
    // The body is not covered without Content-MD5.
    assert_eq!(send(format!("{id}&signature={signed}"), &[expires], b"{\"reference\":\"x\"}").await.status, 200);

    let refused =
        send(format!("{id}&signature={}", raw::signature("POST", EVENTS, "another", id)), &[expires], b"").await;
    assert_eq!(refused.status, 403);
    let nobody = "client_id=99999999-2222-3333-4444-555555555555";
    let unknown = format!("{nobody}&signature={}", raw::signature("POST", EVENTS, crate::harness::SECRET, nobody));
    for (why, query, headers) in [
        ("an unknown client id", unknown, vec![expires]),
        ("two signatures", format!("{id}&signature={signed}&signature={signed}"), vec![expires]),
        ("no signature", id.to_owned(), vec![expires]),
        ("no client id", format!("signature={signed}"), vec![expires]),
        ("no expiry", format!("{id}&signature={signed}"), vec![]),
        ("an expiry that is no number", format!("{id}&signature={signed}"), vec![("X-TS-REC-Expires", "soon")]),
        ("a header added after signing", format!("{id}&signature={signed}"), vec![expires, ("X-TS-REC-Event", "x")]),
        (
            "a digest of another body",
            format!("{id}&signature={signed}"),
            vec![expires, ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")],
        ),
    ] {
        // The same answer to the byte, whatever is wrong.
        assert_eq!(send(query, &headers, b"x").await, refused, "{why}");
    }
    // The tenant in the path and the client id must agree, and the tenant must be one.
    for path in ["/api/talentsoft/v1/other/events", "/api/talentsoft/v1/ACME/events"] {
        let target = format!("{path}?{id}&signature={}", sign("POST", path));
        assert_eq!(raw::send(&world.public, "POST", &target, &[expires], b"").await, refused, "{path}");
    }
    world.leave().await;
}

#[tokio::test]
async fn a_prefix_of_the_public_address_is_signed_whether_the_proxy_keeps_it_or_not() {
    let world = World::start(quiet().with("PUBLIC_URL", "https://indexer.example.com/hooks/")).await;
    let id = "client_id=11111111-2222-3333-4444-555555555555";
    let expires = ("X-TS-REC-Expires", "1789000300");
    let signed = raw::signature("POST", &format!("/hooks{EVENTS}"), crate::harness::SECRET, id);
    for path in [EVENTS.to_owned(), format!("/hooks{EVENTS}")] {
        let answer =
            raw::send(&world.public, "POST", &format!("{path}?{id}&signature={signed}"), &[expires], b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let bare = raw::signature("POST", EVENTS, crate::harness::SECRET, id);
    let answer = raw::send(&world.public, "POST", &format!("{EVENTS}?{id}&signature={bare}"), &[expires], b"").await;
    assert_eq!(answer.status, 403);
    world.leave().await;
}

#[tokio::test]
async fn poison_among_five_hundred_callbacks_costs_nobody_an_answer() {
    let world = World::start(quiet()).await;
    let mut bodies: Vec<Vec<u8>> = (0..500)
        .map(|nth| format!(r#"{{"event_type":"vacancy_update","reference":"good-{nth}"}}"#).into_bytes())
        .collect();
    let poison: Vec<Vec<u8>> = vec![
        br#"{"event_type":"vacancy_update","reference":"nul-\u0000"}"#.to_vec(),
        br#"{"event_type":"nul-\u0000-event","reference":"nul-event"}"#.to_vec(),
        format!(r#"{{"event_type":"vacancy_update","reference":"{}"}}"#, "x".repeat(600)).into_bytes(),
        b"{\"event_type\":\"vacancy_update\",\"reference\":\"\xff\xfe\"}".to_vec(),
        br#"{"event_type":"vacancy_update","reference":"\ud83d"}"#.to_vec(),
        "[".repeat(60_000).into_bytes(),
        format!("[{}0]", "0,".repeat(30_000)).into_bytes(),
        b"not json".to_vec(),
        b"\xef\xbb\xbf{\"event_type\":\"vacancy_update\",\"reference\":\"bom\"}".to_vec(),
        br#"{"event_type":17,"reference":{"a":1},"event_date":"never"}"#.to_vec(),
    ];
    let poisonous = poison.len();
    for (nth, body) in poison.into_iter().enumerate() {
        bodies.insert(nth * 50 + 25, body);
    }
    let sending = bodies.iter().map(|body| post(&world, EVENTS, body));
    let sent = futures_util::future::join_all(sending).await;
    assert_eq!(sent.len(), 500 + poisonous);
    assert!(sent.iter().all(|sent| status(sent) == 200), "{:?}", sent.iter().find(|sent| status(sent) != 200));
    let ledger = world.ledger().await;
    assert_eq!(ledger.received, ledger.waiting + ledger.settled + ledger.dead + ledger.ignored);
    let good: i64 = sqlx::query_scalar("select count(*) from delivery where key like 'good-%'")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(good, 500);
    // What nobody has is settled as absent, after its second read.
    world.settle().await;
    world.leave().await;
}

/// Which data a later PostgreSQL, or an operator's own rule, refuses is not ours to know.
#[tokio::test]
async fn what_the_database_refuses_costs_its_own_subject_and_nobody_else_anything() {
    const CALLBACKS: usize = 64;
    /// Body, key, why it is ignored, and whether its date is kept.
    type Stored = (Vec<u8>, Option<String>, Option<String>, bool);
    let world = World::start(quiet()).await;
    sqlx::query("alter table delivery add constraint refused check (event <> 'vacancy_refused')")
        .execute(world.database.pool())
        .await
        .unwrap();
    // At the beginning, in the middle, side by side, and at the end of what gathers behind the first.
    let refused = [1, 2, 17, 31, 32, 33, 50, CALLBACKS - 1];
    let bodies: Vec<Vec<u8>> = (0..CALLBACKS)
        .map(|nth| {
            let event = if refused.contains(&nth) { "vacancy_refused" } else { "vacancy_update" };
            format!(r#"{{"event_type":"{event}","reference":"key-{nth}","event_date":"2026-09-01T10:00:00Z"}}"#)
                .into_bytes()
        })
        .collect();
    let mut held = world.database.pool().begin().await.unwrap();
    sqlx::query("lock table delivery in exclusive mode").execute(&mut *held).await.unwrap();
    let release = async {
        let waits = async |world: &World| {
            let waiting = "select count(*) from pg_locks where not granted and relation = 'delivery'::regclass";
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(world.database.pool()).await.unwrap() > 0
        };
        world.until_by_itself("a callback waits for its commit", waits).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.rollback().await.unwrap();
    };
    let sending = futures_util::future::join_all(bodies.iter().map(|body| post(&world, EVENTS, body)));
    let (sent, ()) = tokio::join!(sending, release);
    assert!(sent.iter().all(|sent| status(sent) == 200), "{:?}", sent.iter().find(|sent| status(sent) != 200));

    let stored: Vec<Stored> =
        sqlx::query_as("select body, key, ignored, (event_date = '2026-09-01 10:00Z') is true from delivery")
            .fetch_all(world.database.pool())
            .await
            .unwrap();
    assert_eq!(stored.len(), CALLBACKS, "each once");
    for (nth, body) in bodies.iter().enumerate() {
        let (_, key, ignored, dated) = stored.iter().find(|(stored, ..)| stored == body).unwrap();
        let wanted = (!refused.contains(&nth)).then(|| format!("key-{nth}"));
        let unstorable = wanted.is_none().then_some("unstorable");
        assert_eq!((key, ignored.as_deref(), *dated), (&wanted, unstorable, wanted.is_some()), "{nth}");
    }
    let raised: i64 = sqlx::query_scalar("select count(*) from subject where key like 'key-%'")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    assert_eq!(raised, (CALLBACKS - refused.len()) as i64);
    world.settle().await;
    world.leave().await;
}

#[tokio::test]
async fn unknown_events_arrays_and_pings_are_stored_as_what_they_are() {
    let world = World::start(quiet()).await;
    for (path, body) in [
        (EVENTS, r#"{"event_type":"hiring_finished","uri":"/x"}"#),
        (
            EVENTS,
            r#"[{"event_type":"vacancy_new","reference":"a"},{"event_type":"applicant_new","applicantId":"b"},7]"#,
        ),
        (EVENTS, ""),
        (PINGS, ""),
        (PINGS, r#"{"event_type":"vacancy_update","reference":"on-the-ping-path"}"#),
        (PINGS, "anything"),
    ] {
        assert_eq!(status(&post(&world, path, body.as_bytes()).await), 200, "{path} {body}");
    }
    let ledger = world.ledger().await;
    assert_eq!((ledger.received, ledger.ignored), (8, 5));
    assert_eq!(ignored(&world).await, [("no_key".into(), 1), ("ping".into(), 3), ("unreadable".into(), 1)]);
    let one_request: i64 = sqlx::query_scalar(
        "select count(*) from delivery where request_id = (select request_id from delivery where key = 'a')",
    )
    .fetch_one(world.database.pool())
    .await
    .unwrap();
    assert_eq!(one_request, 3);
    world.leave().await;
}

#[tokio::test]
async fn pings_are_answered_and_only_signed_ones_leave_a_trace() {
    let world = World::start(quiet()).await;
    let id = "client_id=11111111-2222-3333-4444-555555555555";
    let expires = ("X-TS-REC-Expires", "1789000300");
    for method in ["GET", "HEAD", "POST"] {
        assert_eq!(raw::send(&world.public, method, PINGS, &[], b"").await.status, 200, "{method}");
    }
    assert_eq!(world.ledger().await.received, 0);
    for (nth, method) in ["GET", "HEAD", "POST"].into_iter().enumerate() {
        let target = format!("{PINGS}?{id}&signature={}", raw::signature(method, PINGS, crate::harness::SECRET, id));
        assert_eq!(raw::send(&world.public, method, &target, &[expires], b"").await.status, 200, "{method}");
        assert_eq!(world.ledger().await.ignored, nth as i64 + 1);
        let wrong = format!("{PINGS}?{id}&signature={}", raw::signature(method, PINGS, "another", id));
        assert_eq!(raw::send(&world.public, method, &wrong, &[expires], b"").await.status, 403, "{method}");
    }
    assert_eq!(raw::send(&world.public, "POST", EVENTS, &[], b"").await.status, 403);
    world.leave().await;
}

#[tokio::test]
async fn unsigned_pings_can_be_refused() {
    let world = World::start(quiet().with("RECEIVE__UNSIGNED_PINGS", "refuse")).await;
    assert_eq!(raw::send(&world.public, "GET", PINGS, &[], b"").await.status, 403);
    world.leave().await;
}

#[tokio::test]
async fn what_is_too_large_too_slow_or_of_another_method_is_refused() {
    let plan = quiet().with("RECEIVE__BODY_TIMEOUT", "200ms").with("RECEIVE__HEADER_TIMEOUT", "300ms");
    let world = World::start(plan).await;
    let large = vec![b'x'; 65_537];
    assert_eq!(raw::send(&world.public, "POST", EVENTS, &[], &large).await.status, 413);
    let fitting = vec![b'x'; 65_536];
    assert_eq!(raw::send(&world.public, "POST", EVENTS, &[], &fitting).await.status, 403);
    // Without a length the bytes are counted while they come.
    let mut chunked = format!("POST {EVENTS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..70 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.extend_from_slice(&[b'x'; 1024]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(raw::exchange(&world.public, &chunked).await.status, 413);
    let slow = format!("POST {EVENTS} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx");
    assert_eq!(raw::exchange(&world.public, slow.as_bytes()).await.status, 408);
    // A request whose headers never end is cut off.
    let mut stream = TcpStream::connect(world.public.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(20), raw::read(stream)).await.unwrap();
    assert!(cut.status == 408 || cut.status == 0, "{cut:?}");
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(raw::send(&world.public, method, EVENTS, &[], b"").await.status, 405, "{method}");
    }
    assert_eq!(raw::send(&world.public, "DELETE", PINGS, &[], b"").await.status, 405);
    for path in ["/", "/metrics", "/api/v1/tenants", "/api/talentsoft/v1/acme"] {
        assert_eq!(world.get(&world.public, path).await.0, 404, "{path}");
    }
    world
        .until("the refusals are written", async |world: &World| {
            let counted =
                cegid_indexer::refusals::by_reason(&world.database, chrono::DateTime::UNIX_EPOCH).await.unwrap();
            let count = |reason: &str| counted.iter().find(|(known, _)| known == reason).map_or(0, |(_, count)| *count);
            [("too_large", 2), ("too_slow", 1), ("method", 4), ("missing_signature", 1), ("unknown_path", 4)]
                .iter()
                .all(|(reason, wanted)| count(reason) == *wanted)
        })
        .await;
    let kept: Vec<(String, String)> =
        sqlx::query_as("select reason, path from refusal order by id").fetch_all(world.database.pool()).await.unwrap();
    assert_eq!(kept.len(), 12, "{kept:?}");
    world.leave().await;
}

#[tokio::test]
async fn the_newest_refusals_are_kept_and_no_more() {
    let world = World::start(quiet().with("RETENTION__REFUSALS", "20")).await;
    for nth in 0..60 {
        raw::send(&world.public, "POST", &format!("{EVENTS}?nth={nth}&secret=query"), &[], b"secret body").await;
    }
    world
        .until("the refusals are written", async |world: &World| {
            let counted =
                cegid_indexer::refusals::by_reason(&world.database, chrono::DateTime::UNIX_EPOCH).await.unwrap();
            counted.iter().map(|(_, count)| count).sum::<i64>() == 60
        })
        .await;
    let kept: Vec<(String,)> =
        sqlx::query_as("select refusal::text from refusal").fetch_all(world.database.pool()).await.unwrap();
    assert!((1..=20).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().all(|(row,)| !row.contains("secret") && row.contains("127.0.0.1")), "{kept:?}");
    world.leave().await;
}
