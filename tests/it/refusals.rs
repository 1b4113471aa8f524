//! What is turned away is answered alike, whatever is wrong, and counted by what was wrong.

use crate::harness::{CLIENT_ID, Plan, SECRET, World, raw};

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
