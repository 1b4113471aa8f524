//! Many at once, against the real binary: what it holds open, what it remembers and what it writes down.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
};

use super::{EVENTS, LATER, assert_well, good_head};
use crate::harness::{Plan, World, process::Service};

const HALF_OPEN: usize = 1000;
/// What the service opens and closes meanwhile: to Cegid, and to its database.
const OTHERS: usize = 100;
const STRANGERS: usize = 10_000;
const CONNECTIONS: usize = 20;

async fn serve(world: &World, service: &Service) {
    world
        .until_by_itself("the service is ready", async |world: &World| {
            world.get(&world.public, "/readyz").await.0 == 200
        })
        .await;
    assert!(descriptors(service) > 5);
}

fn descriptors(service: &Service) -> usize {
    fs::read_dir(service.shown("fd")).unwrap().count()
}

/// Resident memory, in KiB.
fn memory(service: &Service) -> usize {
    let status = fs::read_to_string(service.shown("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_thousand_half_open_connections_stop_nobody_and_are_given_back() {
    let plan = Plan::sized(0, 0).with("RECEIVE__HEADER_TIMEOUT", "15s").with("RECEIVE__BODY_TIMEOUT", "15s");
    let world = World::start(plan.stopped()).await;
    world.simulator.follow_system_time();
    // It asks the system for more.
    let service = Service::start_limited(&world.environment(), "-Sn 500", Stdio::null());
    serve(&world, &service).await;
    assert_well(&world.public).await;
    let before = descriptors(&service);
    let address = world.public.trim_start_matches("http://").to_owned();
    let beginnings = [
        String::new(),
        "POST /api/talentsoft/v1/acme/events HTTP/1.1\r\nhost: x\r\nx-half".to_owned(),
        format!("{}content-length: 100\r\n\r\nten bytes.", good_head()),
        format!("{}transfer-encoding: chunked\r\n\r\n5\r\nhel", good_head()),
    ];
    let streams: Vec<TcpStream> = (0..HALF_OPEN)
        .map(|nth| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(beginnings[nth % beginnings.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    let open = async |_: &World| descriptors(&service) + OTHERS >= before + HALF_OPEN;
    world.until_by_itself("all are open at once", open).await;
    for _ in 0..50 {
        assert_well(&world.public).await;
    }
    // It is the service that has closed them: they are still open on this side.
    world.until_by_itself("they are given back", async |_: &World| descriptors(&service) <= before + OTHERS).await;
    assert_eq!(streams.len(), HALF_OPEN);
    assert_well(&world.public).await;
    drop(streams);
    service.kill();
    assert_eq!(world.ledger().await.received, 52);
    world.leave().await;
}

/// Sends requests of so many tenants that nobody knows, all at once on each connection.
fn strangers(address: &str, from: usize, count: usize) {
    let each = count / CONNECTIONS;
    for connection in 0..CONNECTIONS {
        let mut requests = String::new();
        for nth in from + connection * each..from + (connection + 1) * each {
            let last = if nth + 1 == from + (connection + 1) * each { "connection: close\r\n" } else { "" };
            requests.push_str(&format!(
                "POST {} HTTP/1.1\r\nhost: host-{nth}\r\nx-ts-rec-expires: {LATER}\r\nx-ts-rec-event: event-{nth}\r\n\
                 user-agent: agent-{nth}\r\n{last}content-length: 2\r\n\r\n{{}}",
                EVENTS.replace("acme", &format!("stranger-{nth}"))
                    + &format!("?client_id=client-{nth}&signature={}=", "A".repeat(27)),
            ));
        }
        let mut stream = TcpStream::connect(address).unwrap();
        let mut writing = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || writing.write_all(requests.as_bytes()));
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        sending.join().unwrap().unwrap();
        assert_eq!(answers.matches("HTTP/1.1 403 ").count(), each);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), each);
    }
}

/// Names and labels of everything in the metrics.
async fn series(world: &World) -> BTreeSet<String> {
    let page = world.get(&world.operators, "/metrics").await.1;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn ten_thousand_strangers_leave_no_series_no_lines_and_no_memory_behind() {
    let world = World::start(Plan::sized(0, 0).with("LOG__LEVEL", "info").stopped()).await;
    world.simulator.follow_system_time();
    let log = tempfile::NamedTempFile::new().unwrap();
    let service = Service::start_logging(&world.environment(), log.reopen().unwrap());
    serve(&world, &service).await;
    world
        .until_by_itself("everything is begun", async |world: &World| world.registered().await && world.loaded().await)
        .await;
    let address = world.public.trim_start_matches("http://").to_owned();
    let send = async |from: usize, count: usize| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || strangers(&address, from, count)).await.unwrap();
    };
    // What is allocated once is allocated by then.
    send(0, 2000).await;
    assert_well(&world.public).await;
    let (series_before, memory_before) = (series(&world).await, memory(&service));
    let lines_before = fs::read_to_string(log.path()).unwrap().lines().count();
    send(2000, STRANGERS).await;
    assert_well(&world.public).await;
    let (series_after, memory_after) = (series(&world).await, memory(&service));
    let lines = fs::read_to_string(log.path()).unwrap();
    let new: Vec<&String> = series_after.difference(&series_before).collect();
    assert!(series_before.len() > 20 && new.is_empty(), "new series: {new:?}");
    assert!(memory_after < memory_before + 6 * 1024, "{memory_before} KiB before, {memory_after} KiB after");
    assert!(lines.lines().count() < lines_before + 20, "{lines}");
    assert!(!lines.contains("stranger-") && !lines.contains("client-"), "{lines}");
    println!("{memory_before} KiB before, {memory_after} KiB after; {} series", series_after.len());
    world
        .until_by_itself("they are counted", async |world: &World| {
            let counted =
                cegid_indexer::refusals::by_reason(&world.database, chrono::DateTime::UNIX_EPOCH).await.unwrap();
            counted == [("unknown_tenant".to_owned(), (STRANGERS + 2000) as i64)]
        })
        .await;
    let rows: (i64, i64) = sqlx::query_as(
        "select (select count(*) from refusal), (select count(*) from refusal_count where reason = 'unknown_tenant')",
    )
    .fetch_one(world.database.pool())
    .await
    .unwrap();
    // One count a minute, and no more of the requests than are kept in memory between two writings.
    assert!(rows.0 <= 2000 && rows.1 < 30, "{rows:?}");
    service.kill();
    world.leave().await;
}
