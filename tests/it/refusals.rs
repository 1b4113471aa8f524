//! What is turned away is answered alike, whatever is wrong, and counted by what was wrong.

use std::collections::BTreeMap;

use crate::harness::{
    CLIENT_ID, Plan, SECRET, World,
    log::{keep_log, warnings},
    raw,
};

const EVENTS: &str = "/api/talentsoft/v1/events";
const EXPIRES: (&str, &str) = ("X-TS-REC-Expires", "1789000300");

#[tokio::test]
async fn every_refusal_is_answered_alike_and_counted_by_its_reason() {
    let world = World::start(Plan::sized(0, 0).with("RECEIVE__CLOCK_SKEW", "0s")).await;
    let id = format!("client_id={CLIENT_ID}");
    let signature = raw::signature("POST", EVENTS, SECRET, &id);
    let good = format!("{EVENTS}?{id}&signature={signature}");
    let nobody = "client_id=99999999-2222-3333-4444-555555555555";
    let other = "/api/talentsoft/v1/other/events";
    let late = (world.clock.now().timestamp() - 1).to_string();
    let requests = [
        ("mismatch", format!("{EVENTS}?{id}&signature={}", raw::signature("POST", EVENTS, "", &id)), vec![EXPIRES]),
        // Added on the way, after the request was signed.
        ("mismatch", good.clone(), vec![EXPIRES, ("X-TS-REC-Event", "x")]),
        ("mismatch", good.clone(), vec![EXPIRES, ("Content-Type", "application/json")]),
        ("unknown_tenant", format!("{EVENTS}?{nobody}&signature={signature}"), vec![EXPIRES]),
        (
            "tenant_mismatch",
            format!("{other}?{id}&signature={}", raw::signature("POST", other, SECRET, &id)),
            vec![EXPIRES],
        ),
        ("duplicate_signature", format!("{good}&signature={signature}"), vec![EXPIRES]),
        ("duplicate_signature", format!("{good}&%73ignature={signature}"), vec![EXPIRES]),
        ("duplicate_client_id", format!("{good}&{id}"), vec![EXPIRES]),
        ("malformed_signature", format!("{EVENTS}?{id}&signature=x"), vec![EXPIRES]),
        ("missing_signature", format!("{EVENTS}?{id}"), vec![EXPIRES]),
        ("missing_client_id", format!("{EVENTS}?signature={signature}"), vec![EXPIRES]),
        ("missing_expires", good.clone(), vec![]),
        ("malformed_expires", good.clone(), vec![("X-TS-REC-Expires", "soon")]),
        ("malformed_expires", good.clone(), vec![("X-TS-REC-Expires", "-1")]),
        ("malformed_expires", good.clone(), vec![EXPIRES, EXPIRES]),
        ("expired", good.clone(), vec![("X-TS-REC-Expires", late.as_str())]),
        ("body_digest", good.clone(), vec![EXPIRES, ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")]),
    ];
    let mut first = None;
    for (reason, target, headers) in &requests {
        let answer = raw::send(&world.public, "POST", target, headers, b"x").await;
        assert_eq!((answer.status, answer.body.as_str()), (403, r#"{"status":"forbidden"}"#), "{reason}");
        assert_eq!(*first.get_or_insert(answer.clone()), answer, "{reason}");
    }
    assert_eq!(world.ledger().await.received, 0);
    let mut wanted = std::collections::BTreeMap::new();
    for (reason, ..) in &requests {
        *wanted.entry((*reason).to_owned()).or_insert(0) += 1;
    }
    world
        .until_by_itself("the refusals are counted", async |world: &World| {
            let since = chrono::DateTime::UNIX_EPOCH;
            let counted = cegid_indexer::refusals::by_reason(&world.database, since).await.unwrap();
            counted.iter().map(|(_, count)| count).sum::<i64>() == requests.len() as i64
                && counted.into_iter().collect::<std::collections::BTreeMap<_, _>>() == wanted
        })
        .await;
    world.leave().await;
}

/// Counts by tenant and reason.
async fn counts(world: &World) -> BTreeMap<(String, String), i64> {
    let query = "select tenant, reason, sum(count)::bigint from refusal_count group by 1, 2";
    let rows: Vec<(String, String, i64)> = sqlx::query_as(query).fetch_all(world.database.pool()).await.unwrap();
    rows.into_iter().map(|(tenant, reason, count)| ((tenant, reason), count)).collect()
}

#[tokio::test]
async fn a_refusal_is_counted_under_the_tenant_that_the_request_names() {
    let plan = Plan::sized(0, 0).with("RECEIVE__UNSIGNED_PINGS", "refuse").with("RECEIVE__BODY_LIMIT", "1024");
    let world = World::start(plan).await;
    let (id, nobody) = (format!("client_id={CLIENT_ID}"), "client_id=nobody");
    let (named, pings) = ("/api/talentsoft/v1/acme/events", "/api/talentsoft/v1/acme/pingevents");
    let signature = raw::signature("POST", EVENTS, "", &id);
    let large = vec![b'x'; 2000];
    let small: &[u8] = b"";
    let requests = [
        ("acme", "mismatch", "POST", format!("{EVENTS}?{id}&signature={signature}"), small, 403),
        ("acme", "missing_signature", "POST", format!("{EVENTS}?{id}"), small, 403),
        ("acme", "duplicate_client_id", "POST", format!("{EVENTS}?{nobody}&{id}&signature={signature}"), small, 403),
        ("acme", "unknown_tenant", "POST", format!("{named}?{nobody}&signature={signature}"), small, 403),
        ("acme", "missing_client_id", "POST", format!("{named}?signature={signature}"), small, 403),
        ("acme", "too_large", "POST", format!("{named}?{nobody}&signature={signature}"), &large[..], 413),
        ("acme", "method", "PUT", format!("{EVENTS}?{id}"), small, 405),
        ("acme", "missing_signature", "GET", pings.to_owned(), small, 403),
        // A proxy has added a prefix, or removed one.
        ("acme", "unknown_path", "POST", format!("/hooks{named}?{id}&signature={signature}"), small, 404),
        ("acme", "unknown_path", "POST", format!("/v1/acme/events?x=y&client_i%64={CLIENT_ID}"), small, 404),
        ("", "unknown_path", "POST", format!("/hooks{named}?{nobody}&signature={signature}"), small, 404),
        ("", "unknown_path", "GET", "/".to_owned(), small, 404),
        ("", "unknown_tenant", "POST", format!("{EVENTS}?{nobody}&signature={signature}"), small, 403),
        ("", "method", "PUT", "/api/talentsoft/v1/nobody/events".to_owned(), small, 405),
    ];
    let mut wanted = BTreeMap::new();
    let mut answers: BTreeMap<u16, raw::Answer> = BTreeMap::new();
    for (tenant, reason, method, target, body, status) in &requests {
        let answer = raw::send(&world.public, method, target, &[EXPIRES], body).await;
        assert_eq!(answer.status, *status, "{tenant} {reason}");
        // Whoever is named, the answer is the same.
        assert_eq!(*answers.entry(*status).or_insert(answer.clone()), answer, "{tenant} {reason}");
        *wanted.entry(((*tenant).to_owned(), (*reason).to_owned())).or_insert(0) += 1;
    }
    world.until_by_itself("the refusals are counted", async |world: &World| counts(world).await == wanted).await;
    let (_, metrics) = world.get(&world.operators, "/metrics").await;
    for ((tenant, reason), count) in wanted {
        let line = format!("cegid_indexer_refusals_total{{tenant=\"{tenant}\",reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    world.leave().await;
}

#[tokio::test]
async fn a_series_of_refusals_is_one_warning_for_each_reason_and_tenant() {
    let (log, _lines, _guard) = keep_log();
    let world = World::start(Plan::sized(0, 0)).await;
    let (id, nobody) = (format!("client_id={CLIENT_ID}"), "client_id=CANARY");
    for _ in 0..20 {
        for query in [&*id, nobody] {
            for path in [EVENTS, "/CANARY/events"] {
                let target = format!("{path}?{query}&signature={}", raw::signature("POST", path, "", query));
                raw::send(&world.public, "POST", &target, &[EXPIRES], b"").await;
            }
        }
    }
    let lines = warnings(&log, "requests are refused");
    for wanted in [
        "tenant=acme reason=\"mismatch\"",
        "tenant=acme reason=\"unknown_path\"",
        "refused: table refusal holds the last ones reason=\"unknown_tenant\"",
        "refused: table refusal holds the last ones reason=\"unknown_path\"",
    ] {
        assert_eq!(lines.iter().filter(|line| line.contains(wanted)).count(), 1, "{wanted}: {lines:#?}");
    }
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(!log.text().contains("CANARY"), "{}", log.text());
    world.leave().await;
}

#[tokio::test]
async fn a_method_of_any_length_is_kept_cut() {
    let world = World::start(Plan::sized(0, 0)).await;
    let method = "X".repeat(8000);
    assert_eq!(raw::send(&world.public, &method, EVENTS, &[], b"").await.status, 405);
    world
        .until_by_itself("it is kept", async |world: &World| {
            let kept: Vec<String> =
                sqlx::query_scalar("select method from refusal").fetch_all(world.database.pool()).await.unwrap();
            kept == [&method[..16]]
        })
        .await;
    world.leave().await;
}

#[tokio::test]
async fn while_a_secret_is_rotated_the_old_one_verifies_beside_the_new_one() {
    let plan = Plan::sized(0, 0).with("TENANTS__ACME__PREVIOUS_CLIENT_SECRET", "the old secret");
    let world = World::start(plan).await;
    let id = format!("client_id={CLIENT_ID}");
    for (secret, status) in [(SECRET, 200), ("the old secret", 200), ("", 403), ("an older one", 403)] {
        let target = format!("{EVENTS}?{id}&signature={}", raw::signature("POST", EVENTS, secret, &id));
        let answer = raw::send(&world.public, "POST", &target, &[EXPIRES], b"").await;
        assert_eq!(answer.status, status, "signed with {secret:?}");
    }
    world.leave().await;
}

/// Elsewhere the machine's own limit is lower than this.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_that_come_at_once_wait_to_be_accepted() {
    use std::{io::Write as _, net::TcpStream, time::Duration};

    let world = World::start(Plan::sized(0, 0)).await;
    let id = format!("client_id={CLIENT_ID}");
    let target = format!("{EVENTS}?{id}&signature={}", raw::signature("POST", EVENTS, SECRET, &id));
    let request = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}: {}\r\ncontent-length: 0\r\n\r\n",
        EXPIRES.0, EXPIRES.1
    );
    let address = world.public.trim_start_matches("http://").parse().unwrap();
    // This test's one thread connects, so that nothing is accepted meanwhile.
    let mut streams = Vec::new();
    for nth in 0..250 {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let mut stream = stream.unwrap_or_else(|error| panic!("connection {nth}: {error}"));
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        streams.push(tokio::net::TcpStream::from_std(stream).unwrap());
    }
    for stream in streams {
        assert_eq!(raw::read(stream).await.status, 200);
    }
    assert_eq!(world.ledger().await.received, 250);
    world.leave().await;
}

/// What the parser of HTTP turns away reaches no handler, and leaves a trace all the same.
#[tokio::test]
async fn requests_that_are_refused_unread_are_counted_too() {
    let world = World::start(Plan::sized(0, 0)).await;
    let request = |headers: &str| format!("POST {EVENTS} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let many: String = (0..70).map(|nth| format!("x-{nth}: y\r\n")).collect();
    let large = format!("cookie: {}\r\n", "x".repeat(40_000));
    let two_codings = request("transfer-encoding: gzip, chunked\r\n") + "0\r\n\r\n";
    for (bytes, status) in [
        (request(&many), 431),
        (request(&large), 431),
        (two_codings, 400),
        ("\x16\x03\x01 a TLS greeting\r\n\r\n".to_owned(), 400),
    ] {
        let answer = raw::exchange(&world.public, bytes.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let of = |reason: &str, count| ((String::new(), reason.to_owned()), count);
    let wanted = BTreeMap::from([of("headers_too_large", 2), of("malformed", 2)]);
    world.until_by_itself("they are counted", async |world: &World| counts(world).await == wanted).await;
    let (_, metrics) = world.get(&world.operators, "/metrics").await;
    assert!(metrics.contains(r#"cegid_indexer_refusals_total{tenant="",reason="headers_too_large"} 2"#), "{metrics}");
    world.leave().await;
}
