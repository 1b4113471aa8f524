//! Peers that hold connections and do nothing useful with them: they read no answers, or send no request.

use std::{fs, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{assert_well, good_request};
use crate::harness::{Plan, World, process::Service, raw};

/// Places of the public listener in most of these tests.
const PLACES: usize = 16;
/// Connections of a flood.
const FLOOD: usize = 100;
/// Callbacks that must be answered during one.
const CALLBACKS: usize = 20;
/// Where floods come from; callbacks come from 127.0.0.1.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Of a peer that takes little before it reads.
const SMALL_BUFFER: u32 = 4096;
/// More requests than the service may read before their answers are taken.
const ENDLESS: usize = 8 << 20;
/// What buffers on both sides may take of them.
const TAKEN: usize = 1 << 20;
/// What has not come by then is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test.
const NEVER: &str = "1h";

/// Nothing but giving way ends a connection.
fn plan() -> Plan {
    Plan::sized(0, 0)
        .with("RECEIVE__CONNECTIONS", PLACES.to_string())
        .with("RECEIVE__HEADER_TIMEOUT", NEVER)
        .with("RECEIVE__BODY_TIMEOUT", NEVER)
        .with("RECEIVE__WRITE_TIMEOUT", NEVER)
        .with("RECEIVE__CONNECTION_AGE_LIMIT", NEVER)
}

async fn connect(from: Ipv4Addr, base: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SMALL_BUFFER).unwrap();
    socket.set_recv_buffer_size(SMALL_BUFFER).unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(base.trim_start_matches("http://").parse().unwrap()).await.unwrap()
}

async fn connect_all(count: usize, from: Ipv4Addr, base: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(connect(from, base).await);
    }
    streams
}

/// Sends a request on a connection that is kept open; gives the head of its answer.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut part = [0; 512];
    // The bodies of these answers come with their heads, or soon after, and are short.
    while !answer.ends_with("\"}") && !answer.ends_with("\r\n\r\nok") {
        let read = timeout(PATIENCE, stream.read(&mut part)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "the connection was closed: {answer}");
        answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    answer
}

/// Callbacks over new connections are answered.
async fn assert_callbacks_are_answered(world: &World) {
    for _ in 0..CALLBACKS {
        timeout(PATIENCE, assert_well(&world.public)).await.expect("an answer to a callback");
    }
}

/// A value of the metrics; 0 of one that has not been set.
async fn metric(world: &World, series: &str) -> u64 {
    let page = world.get(&world.operators, "/metrics").await.1;
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

async fn ended(world: &World, reason: &str) -> u64 {
    let labels = format!("{{listener=\"public\",reason=\"{reason}\"}}");
    metric(world, &format!("cegid_indexer_connections_ended_total{labels}")).await
}

/// Pipelines a request and reads no answer until the other side ends the connection; gives how many bytes it took.
async fn pipeline(mut stream: TcpStream, request: &str) -> usize {
    let batch = request.repeat(100);
    let mut taken = 0;
    while taken < ENDLESS {
        match stream.write(batch.as_bytes()[taken % batch.len()..].as_ref()).await {
            Ok(sent) => taken += sent,
            Err(_) => break,
        }
    }
    taken
}

#[tokio::test]
async fn peers_that_read_no_answers_give_way_to_callbacks() {
    let world = World::start(plan()).await;
    let mut readers = JoinSet::new();
    for stream in connect_all(FLOOD, FLOODER, &world.public).await {
        readers.spawn(pipeline(stream, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"));
    }
    assert_callbacks_are_answered(&world).await;
    assert!(ended(&world, "gave_way").await >= (FLOOD - PLACES) as u64);
    readers.shutdown().await;
    world.leave().await;
}

#[tokio::test]
async fn a_peer_that_takes_no_answers_is_read_no_further_and_ended_in_time() {
    let world = World::start(plan().with("RECEIVE__WRITE_TIMEOUT", "500ms")).await;
    // The first is answered without a body, the second with one.
    for request in ["GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let taken = timeout(PATIENCE, pipeline(connect(FLOODER, &world.public).await, request)).await;
        let taken = taken.expect("an end of the connection");
        assert!(taken < TAKEN, "{taken} bytes of requests were read: {request}");
    }
    assert_eq!(ended(&world, "write_timeout").await, 2);
    world.leave().await;
}

#[tokio::test]
async fn peers_that_send_no_request_give_way_to_callbacks() {
    let world = World::start(plan()).await;
    let mut kept = connect(Ipv4Addr::LOCALHOST, &world.public).await;
    assert!(ask(&mut kept, &good_request("before")).await.contains(" 200 "));
    let mut flood = connect_all(FLOOD, FLOODER, &world.public).await;
    for stream in &mut flood[FLOOD / 2..] {
        // Half of them have begun one. The service may have ended the connection by then.
        let _ended = stream.write_all(b"POST /api/talentsoft/v1/acme/events HTTP/1.1\r\nhost: x\r\nx-half").await;
    }
    assert_callbacks_are_answered(&world).await;
    // A connection over which a request was answered does not give way to these.
    assert!(ask(&mut kept, &good_request("during")).await.contains(" 200 "));
    assert!(ended(&world, "gave_way").await >= (FLOOD - PLACES) as u64);
    let (open, limit) = ("{listener=\"public\"}", PLACES as u64);
    assert!(metric(&world, &format!("cegid_indexer_connections_open{open}")).await <= limit);
    assert_eq!(metric(&world, &format!("cegid_indexer_connections_limit{open}")).await, limit);
    drop(flood);
    world.leave().await;
}

#[tokio::test]
async fn a_peer_that_keeps_all_places_after_its_requests_gives_way_to_others() {
    let world = World::start(plan()).await;
    let mut kept = connect(Ipv4Addr::LOCALHOST, &world.public).await;
    assert!(ask(&mut kept, &good_request("before")).await.contains(" 200 "));
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let mut stream = connect(FLOODER, &world.public).await;
        ask(&mut stream, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        flood.push(stream);
    }
    assert_callbacks_are_answered(&world).await;
    assert!(ask(&mut kept, &good_request("during")).await.contains(" 200 "));
    drop(flood);
    world.leave().await;
}

#[tokio::test]
async fn connections_of_a_proxy_do_not_give_way() {
    let world = World::start(plan().with("RECEIVE__PROXIES", "10.0.3.0/24,127.0.0.3")).await;
    // Opened in advance, as some proxies do: the oldest, and more than the share of a peer.
    let mut pool = connect_all(PLACES / 2, PROXY, &world.public).await;
    let flood = connect_all(FLOOD, FLOODER, &world.public).await;
    assert_callbacks_are_answered(&world).await;
    for stream in &mut pool {
        assert!(ask(stream, &good_request("pooled")).await.contains(" 200 "));
    }
    drop(flood);
    world.leave().await;
}

#[tokio::test]
async fn an_old_connection_is_closed_after_an_answer() {
    let world = World::start(plan().with("RECEIVE__CONNECTION_AGE_LIMIT", "1ms")).await;
    let mut stream = connect(FLOODER, &world.public).await;
    while !ask(&mut stream, &good_request("old")).await.contains("connection: close") {}
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end of the connection").unwrap();
    assert!(rest.is_empty());
    world.leave().await;
}

#[tokio::test]
async fn a_flood_of_the_public_listener_leaves_the_operators_their_own() {
    let world = World::start(plan()).await;
    let flood = connect_all(FLOOD, Ipv4Addr::LOCALHOST, &world.public).await;
    let answer = timeout(PATIENCE, raw::send(&world.operators, "GET", "/readyz", &[], b"")).await;
    assert_eq!(answer.expect("an answer to an operator").status, 200);
    assert_eq!(
        metric(&world, "cegid_indexer_connections_ended_total{listener=\"operators\",reason=\"gave_way\"}").await,
        0
    );
    drop(flood);
    world.leave().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn places_are_fitted_to_the_file_limit_and_a_shortage_is_two_log_lines() {
    let plan = plan().with("RECEIVE__CONNECTIONS", "2048").with("LOG__LEVEL", "info");
    let world = World::start(plan.stopped()).await;
    world.simulator.follow_system_time();
    let log = tempfile::NamedTempFile::new().unwrap();
    let service = Service::start_limited(&world.environment(), "-n 250", log.reopen().unwrap());
    let ready = async |world: &World| world.get(&world.public, "/readyz").await.0 == 200;
    world.until_by_itself("the service is ready", ready).await;
    let limit = metric(&world, "cegid_indexer_connections_limit{listener=\"public\"}").await;
    assert!((50..250).contains(&limit), "{limit} places");
    let lines = |words: &str| fs::read_to_string(log.path()).unwrap().matches(words).count();
    assert_eq!(lines("fewer connections than receive.connections"), 1);
    // Two times, each of them more than the process may have open.
    for shortage in 1..=2 {
        let flood = connect_all(300, FLOODER, &world.public).await;
        assert_callbacks_are_answered(&world).await;
        assert_eq!(raw::send(&world.operators, "GET", "/readyz", &[], b"").await.status, 200);
        assert_eq!(lines("places for connections run short"), shortage);
        assert_eq!(lines("enough places for connections again"), shortage - 1);
        drop(flood);
        let ended = async |_: &World| lines("enough places for connections again") == shortage;
        world.until_by_itself("the shortage ends", ended).await;
    }
    assert_eq!(lines("accepting connections"), 0);
    service.kill();
    world.leave().await;
}
