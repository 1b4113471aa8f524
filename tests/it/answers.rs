//! Answers that are none: pages, redirects, bombs, frames that are too large, streams that are cut or drip.

use std::{sync::Arc, time::Duration};

use cegid_indexer::{
    cegid::{self, CallError, Class, Client, Page, Query, Stage},
    clock::Clock,
    domain::Kind,
    metrics::Metrics,
    settings::Settings,
};
use cegid_simulator::{Endpoint, Fault, FaultKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    harness::{
        CLIENT_ID, Plan, SECRET, World,
        between::{Between, Instead, bomb},
        process::Service,
        start_time, tenant,
    },
    worst::{REPORTS, VACANCIES, WEBHOOKS, count, live_vacancies, metric},
};

const HTML: &[u8] = b"<!DOCTYPE html><html><body>Site en maintenance</body></html>";

#[tokio::test]
async fn what_is_no_list_of_records_is_never_an_empty_list() {
    let (mut world, between) = Between::world(Plan::sized(12, 12)).await;
    between.say("/api/exports/v1/vacancies", 3, b"[]");
    between.say("/api/exports/v1/candidates", 3, HTML);
    world.start_service().await;
    world.settle().await;
    world.assert_equal_to_truth().await;
    let held = (world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await);
    let bodies: [&[u8]; 9] = [
        b"[]",
        b"{}",
        b"null",
        br#"{"code":200,"status":"success","data":[]}"#,
        br#"{"code":500,"status":"error"}"#,
        HTML,
        b"\xEF\xBB\xBF<html>",
        b" \r\n<html></html>",
        &[0; 64],
    ];
    for body in bodies {
        let answered = between.answered();
        between.say(VACANCIES, 2, body);
        between.say("/api/exports/v1/candidates", 2, body);
        world.simulator.announce("vacancy_update", held.0.keys().next().unwrap());
        world.simulator.announce("applicant_update", held.1.keys().next().unwrap());
        world.simulator.flush().await;
        world.until("it was answered to both", async |_: &World| between.answered() == answered + 4).await;
        let absent = count(&world, "select count(*) from subject where absent_since is not null").await;
        assert_eq!(absent, 0, "{:?} is taken for an empty list", String::from_utf8_lossy(body));
        world.settle().await;
    }
    assert_eq!((world.indexed(Kind::Vacancy).await, world.indexed(Kind::Candidate).await), held);
    world.end().await;
}

#[tokio::test]
async fn a_page_in_html_is_no_token_no_hook_and_no_receipt_of_a_report() {
    let (mut world, between) = Between::world(Plan::sized(5, 5).with("TENANTS__ACME__REFERENTIALS", "countries")).await;
    for path in ["/api/token", WEBHOOKS, REPORTS, "/api/v1/referentials"] {
        between.say(path, 3, HTML);
        between.say(path, 2, br#"{"code":500,"status":"error","message":"An error has occurred."}"#);
    }
    world.start_service().await;
    world.settle().await;
    world.until("everything was answered", async |_: &World| between.answered() == 20).await;
    world.until("hooks are registered", async |world: &World| world.simulator.hooks().len() == 8).await;
    world
        .until("the list is read", async |world: &World| {
            count(world, "select count(*) from referential_category where items > 0 and refused is null").await == 1
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_nothing_is_sent_where_it_leads() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/api/token", elsewhere.local_addr().unwrap());
    let (mut world, between) = Between::world(Plan::sized(5, 5).with("TENANTS__ACME__REFERENTIALS", "countries")).await;
    let paths = ["/api/token", WEBHOOKS, VACANCIES, "/api/exports/v1/candidates", REPORTS, "/api/v1/referentials"];
    for (path, status) in paths.into_iter().zip([302, 307, 308, 301, 303, 302]) {
        between.tell(path, 2, Instead::Answer(status, vec![("location", location.clone())], Vec::new()));
    }
    world.start_service().await;
    world.settle().await;
    world.until("all were answered", async |_: &World| between.answered() == 12).await;
    let nobody = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody followed a redirect");
    world.end().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_costs_itself_alone() {
    let plan = Plan::sized(12, 3).with("EXPORT__FRAME_LIMIT", "1048576").with("EXPORT__FRAME_IN_MEMORY", "65536");
    let (mut world, between) = Between::world(plan).await;
    world.start_service().await;
    world.settle().await;
    let mut oversize = (3_u32 << 20).to_le_bytes().to_vec();
    oversize.resize(4 + (3 << 20), 7);
    between.tell(VACANCIES, 1, Instead::Before(oversize));
    let before = world.last_request();
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    world.settle().await;
    assert_eq!(between.answered(), 1);
    assert_eq!(world.export_calls(VACANCIES, before), 1, "records behind the frame were asked for again");
    world.end().await;
}

#[tokio::test]
async fn an_export_that_drips_is_cut_and_what_came_is_kept() {
    let plan = Plan::sized(30, 0).with("EXPORT__LEAST_RATE", "50000").with("EXPORT__LEAST_RATE_OVER", "1s");
    let world = World::start(plan).await;
    world.settle().await;
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Drip { bytes: 200, millis: 20 }).times(1));
    let before = world.last_request();
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    world.simulator.flush().await;
    world.until("it is dripping", async |world: &World| world.export_calls(VACANCIES, before) == 1).await;
    world.settle().await;
    let keys: Vec<usize> = world
        .simulator
        .requests()
        .iter()
        .filter(|request| request.number > before && request.path == VACANCIES)
        .map(|request| request.query.matches("%2C").count() + 1)
        .collect();
    let again: usize = keys[1..].iter().sum();
    assert!(keys.len() > 1, "it was not cut");
    assert!(again < keys[0], "nothing was kept: {keys:?}");
    let line = r#"cegid_indexer_cegid_calls_total{tenant="acme",stage="vacancies",class="transient"} 1"#;
    assert!(metric(&world, line).await);
    world.end().await;
}

#[tokio::test]
async fn an_export_that_is_always_cut_comes_through_in_smaller_pages() {
    let world = World::start(Plan::sized(60, 0)).await;
    world.settle().await;
    let cut = FaultKind::Truncate { bytes: 6000 };
    world.simulator.add_fault(Fault::new(Endpoint::Vacancies, cut));
    for key in live_vacancies(&world) {
        world.simulator.edit_vacancy(&key).unwrap();
    }
    let before = world.last_request();
    world.settle().await;
    world.assert_equal_to_truth().await;
    assert_eq!(count(&world, "select count(*) from subject where attempts > 0").await, 0);
    let calls = world.export_calls(VACANCIES, before);
    assert!(calls < live_vacancies(&world).len(), "{calls} calls: what came whole was not kept");
    world.end().await;
}

/// A client as the service has it, for a tenant elsewhere.
pub fn tenant_at(base_url: &str, settings: &[(&str, &str)]) -> Client {
    tenant_through(None, base_url, settings)
}

/// The same with an HTTP client of its own.
pub fn tenant_through(http: Option<reqwest::Client>, base_url: &str, settings: &[(&str, &str)]) -> Client {
    let mut pairs = vec![
        ("DATABASE__URL".to_owned(), "postgres://localhost/nothing".to_owned()),
        ("PUBLIC_URL".to_owned(), "http://localhost".to_owned()),
        ("TENANTS__ACME__BASE_URL".to_owned(), base_url.to_owned()),
        ("TENANTS__ACME__CLIENT_ID".to_owned(), CLIENT_ID.to_owned()),
        ("TENANTS__ACME__CLIENT_SECRET".to_owned(), SECRET.to_owned()),
    ];
    pairs.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let pairs = pairs.into_iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value));
    let settings = Settings::load(None, pairs).unwrap();
    Client::new(
        tenant(),
        settings.tenants[&tenant()].clone(),
        http.unwrap_or_else(|| cegid::http_client(&settings.export).unwrap()),
        settings.export.clone(),
        Clock::turned(start_time()),
        Arc::new(Metrics::default()),
    )
}

pub async fn export(client: &Client) -> Result<Page, CallError> {
    client.export(&Query::keys(Kind::Candidate, &["jane.doe".into()])).await
}

async fn refusal(client: &Client) -> CallError {
    export(client).await.map(|page| page.frames()).expect_err("it should fail")
}

#[tokio::test]
async fn an_answer_that_inflates_beyond_the_limit_is_cut() {
    let (world, between) = Between::world(Plan::sized(1, 1)).await;
    let base = format!("http://{}", between.address());
    let client = tenant_at(&base, &[("EXPORT__RESPONSE_LIMIT", "4194304")]);
    let bomb = bomb(&[0x7f; 4], 64 << 20);
    assert!(bomb.len() < 1 << 20, "{} bytes are no bomb", bomb.len());
    let gzip = || vec![("content-encoding", "gzip".to_owned())];
    between.tell("/api/exports/v1/candidates", 1, Instead::Answer(200, gzip(), bomb.clone()));
    let error = refusal(&client).await;
    assert_eq!(error.class, Class::Unexpected, "{error}");
    assert!(error.says.contains("export.response_limit"), "{error}");
    // A short answer has a limit of its own.
    between.tell("/api/token", 1, Instead::Answer(200, gzip(), bomb));
    let error = refusal(&tenant_at(&base, &[])).await;
    assert!(error.says.contains("8 MiB"), "{error}");
    world.leave().await;
}

#[tokio::test]
async fn more_records_than_were_asked_for_are_not_held() {
    let (world, between) = Between::world(Plan::sized(1, 1)).await;
    let client = tenant_at(&format!("http://{}", between.address()), &[]);
    let key = world.simulator.truth().into_iter().find(|row| row.kind == "candidate").unwrap().key;
    let frame = world.simulator.frame("candidate", &key).unwrap();
    let mut body = i32::try_from(frame.len()).unwrap().to_le_bytes().to_vec();
    body.extend(frame);
    for (frames, cut) in [(100, false), (101, true), (3000, true)] {
        between.say("/api/exports/v1/candidates", 1, &body.repeat(frames));
        let page = client.export(&Query::keys(Kind::Candidate, std::slice::from_ref(&key))).await.unwrap();
        assert_eq!((page.frames(), page.cut.is_some()), (100, cut), "{frames}");
    }
    world.leave().await;
}

#[tokio::test]
async fn dns_a_refused_connection_and_tls_are_told_apart_without_the_query() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    // Answers in the clear whatever it is asked.
    let clear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clear_port = clear.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = clear.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    for (base, says) in [
        ("https://nowhere.invalid".to_owned(), "DNS does not know nowhere.invalid"),
        (format!("http://127.0.0.1:{port}"), "127.0.0.1 refuses the connection"),
        (format!("https://127.0.0.1:{clear_port}"), "TLS with 127.0.0.1 failed: "),
    ] {
        let error = refusal(&tenant_at(&base, &[])).await;
        assert_eq!((error.class, error.stage), (Class::Transient, Stage::Token), "{error}");
        assert!(error.says.starts_with(says), "{error}");
        println!("{error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("jane") && !told.contains(SECRET) && !told.contains("/api/"), "{told}");
    }
    answering.abort();
}

#[tokio::test]
async fn a_token_that_says_to_live_for_ever_is_used_and_asked_for_again_in_time() {
    for lifetime in
        ["1000000000000000", "9223372036854775807", "18446744073709551615", "1e300", "\"99999999999999999999\""]
    {
        let (mut world, between) = Between::world(Plan::sized(3, 1).stopped()).await;
        let body = format!(r#"{{"access_token":"not one of Cegid's","token_type":"bearer","expires_in":{lifetime}}}"#);
        between.say("/api/token", 1, body.as_bytes());
        world.start_service().await;
        world.settle().await;
        assert_eq!(between.answered(), 1, "{lifetime}");
        assert!(world.simulator.count_requests(|request| request.status == 401) > 0, "{lifetime}: it was never used");
        world.end().await;
    }
}

/// The real binary, which finds no place for its temporary files.
#[tokio::test]
async fn without_a_temporary_directory_large_records_fail_alone_and_the_machine_is_blamed() {
    let plan = Plan::sized(10, 30).with("EXPORT__FRAME_IN_MEMORY", "2000").with("LOG__FORMAT", "json");
    let world = World::start(plan.stopped()).await;
    world.simulator.follow_system_time();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut environment = world.environment();
    environment.insert("TMPDIR".to_owned(), "/nowhere".to_owned());
    let service = Service::start_logging(&environment, log.reopen().unwrap());
    world
        .until_by_itself("what can be read is indexed", async |world: &World| {
            let read = "select count(*) from unreadable where cause = 'unpacking a record: spool'";
            world.loaded().await && count(world, read).await > 0
        })
        .await;
    let (held, unreadable) =
        (count(&world, "select count(*) from document").await, count(&world, "select count(*) from unreadable").await);
    let live = world.simulator.truth().into_iter().filter(|row| row.live && row.present).count();
    assert_eq!(held + unreadable, live as i64, "{held} are indexed, {unreadable} cannot be read");
    assert!(held > 0);
    service.kill();
    let log = std::fs::read_to_string(log.path()).unwrap();
    let blamed = |line: &&str| line.contains("writing a large record to a temporary file") && line.contains("TMPDIR");
    assert_eq!(log.lines().filter(blamed).count(), 1, "{log}");
    assert!(!log.contains("Cegid is not well"), "{log}");
    world.leave().await;
}
