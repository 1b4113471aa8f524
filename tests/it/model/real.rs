//! The same steps taken for real: a signed request through the intake, the worker's own claiming, judging and settling.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use cegid_indexer::{
    arrivals::Arrivals,
    cegid::{self, Broken, Page},
    clock::Clock,
    database::Database,
    domain::{Kind, Record, Subject, TenantId, read_record},
    erasure,
    inbox::Inbox,
    intake::{Directory, Intake},
    ledger::{self, Ledger},
    lifecycle::Stop,
    metrics::Metrics,
    refusals::Refusals,
    settings::{Settings, Tenant},
    subjects,
    tenancy::Holder,
    worker::{
        Shared,
        steps::{Read, Steps},
    },
};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;

use super::{
    expected::{CONFIRM, HORIZON, Held, MIN_ATTEMPTS, Row, Seen},
    steps::Answer,
};
use crate::harness::{CLIENT_ID, SECRET, database::Named, raw, start_time};

const KEY: &str = "somebody";
const CONTROL: &str = "control";
const LEASE: Duration = Duration::from_secs(15);
/// Later than any of these tests.
const EXPIRES: &str = "4000000000";

/// A service without its loops.
pub struct Service {
    shared: Shared,
    tenant: Arc<Tenant>,
    router: Router,
    directory: Arc<Directory>,
    stop: Stop,
}

impl Service {
    pub async fn new(name: &Named) -> Service {
        let values = [
            ("DATABASE__URL", name.url()),
            ("PUBLIC_URL", "http://localhost".into()),
            ("WORKER__CONFIRM_AFTER", format!("{}s", CONFIRM.num_seconds())),
            ("WORKER__RETRY_HORIZON", format!("{}s", HORIZON.num_seconds())),
            ("WORKER__RETRY_MIN_ATTEMPTS", MIN_ATTEMPTS.to_string()),
            ("TENANTS__ACME__BASE_URL", "http://localhost".into()),
            ("TENANTS__ACME__CLIENT_ID", CLIENT_ID.into()),
            ("TENANTS__ACME__CLIENT_SECRET", SECRET.into()),
        ];
        let pairs = values.map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value));
        let settings = Arc::new(Settings::load(None, pairs).unwrap());
        let database = Database::new(&settings.database, settings.worker.lease).unwrap();
        let (clock, metrics) = (Clock::turned(start_time()), Arc::new(Metrics::default()));
        let arrivals = Arc::new(Arrivals::new(clock.clone()));
        let (inbox, writer) = Inbox::new(database.clone(), arrivals.clone(), metrics.clone(), &settings.receive);
        let refusals = Arc::new(Refusals::new(clock.clone()));
        let intake = Intake::new(&settings, clock.clone(), inbox, refusals, metrics.clone());
        let stop = Stop::default();
        tokio::spawn(writer.run(stop.clone()));
        let http = cegid::http_client(&settings.export).unwrap();
        let states = watch::Sender::default().subscribe();
        let tenant = settings.tenants.values().next().unwrap().clone();
        let shared = Shared {
            database,
            clock,
            settings,
            states,
            arrivals,
            metrics,
            replica: Uuid::now_v7(),
            failures: Arc::default(),
            courtesy: Arc::default(),
            http,
        };
        Service { shared, tenant, directory: intake.directory(), router: intake.router(), stop }
    }

    pub fn end(&self) {
        self.stop.abort();
    }
}

enum Begun {
    /// The worker's, by its place among them.
    Read(usize, Read),
    List(usize, i64),
}

/// One subject of one tenant, of its own.
pub struct Real<'a> {
    service: &'a Service,
    tenant: TenantId,
    /// One per holder of the lease; the last holds it.
    workers: Vec<Steps>,
    begun: VecDeque<Begun>,
}

fn record(key: &str, version: i64, anonymised: bool) -> Record {
    let json = json!({"candidateDetail": {"id": key, "title": version.to_string(), "isAnonymized": anonymised}});
    read_record(Kind::Candidate, json.to_string().as_bytes(), &[]).unwrap()
}

fn page(answer: Answer, version: i64, control: bool) -> Page {
    let mut page = Page::default();
    match answer {
        Answer::Shown => page.records.push(record(KEY, version, false)),
        Answer::Anonymised => page.records.push(record(KEY, version, true)),
        Answer::Broken => {
            page.broken.push(Broken { cause: "a frame of the test".into(), digest: None, key: None, place: 0 })
        }
        Answer::Missing | Answer::Blind => {}
    }
    if control && answer != Answer::Blind {
        page.records.push(record(CONTROL, 1, false));
    }
    page
}

impl Real<'_> {
    /// A tenant that was never worked; its index holds the control.
    pub async fn new(service: &Service, name: String) -> Real<'_> {
        let tenant: TenantId = name.parse().unwrap();
        service.directory.admit([(&tenant, &service.tenant)], |_| false);
        let mut real = Real { service, tenant, workers: Vec::new(), begun: VecDeque::new() };
        real.take_over().await;
        let read = subjects::draw(real.database()).await.unwrap();
        let page = Page { records: vec![record(CONTROL, 1, false)], ..Page::default() };
        assert!(real.workers[0].page(read, page).await.unwrap());
        real
    }

    fn database(&self) -> &Database {
        &self.service.shared.database
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.service.shared.clock.now()
    }

    pub fn pass(&self, time: Duration) {
        self.service.shared.clock.turn(time);
    }

    /// Another replica takes the tenant once the lease of the one before has run out.
    pub async fn take_over(&mut self) {
        self.pass(LEASE);
        let shared = &self.service.shared;
        let holder = Holder { replica: Uuid::now_v7(), length: LEASE, clock: shared.clock.clone() };
        let lease = holder.acquire(self.database(), std::slice::from_ref(&self.tenant), 1).await.unwrap().remove(0);
        self.workers.push(Steps::new(shared.clone(), self.service.tenant.clone(), lease, Kind::Candidate));
    }

    pub async fn callback(&self) {
        let path = format!("/api/talentsoft/v1/{}/events", self.tenant);
        let query = format!("client_id={CLIENT_ID}");
        let signature = raw::signature_until("POST", &path, SECRET, &query, EXPIRES);
        let request = Request::post(format!("{path}?{query}&signature={signature}"))
            .header("X-TS-REC-Expires", EXPIRES)
            .body(Body::from(format!(r#"{{"event_type":"applicant_update","applicantId":"{KEY}"}}"#)))
            .unwrap();
        let answer = self.service.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// The number of the read, whether it asks for a control; none when the subject is not due.
    pub async fn begin(&mut self) -> Option<(i64, bool)> {
        let last = self.workers.len() - 1;
        let read = self.workers[last].begin(KEY).await.unwrap()?;
        let begun = (read.number(), read.control() == Some(CONTROL));
        self.begun.push_back(Begun::Read(last, read));
        Some(begun)
    }

    pub async fn list(&mut self) -> i64 {
        let read = subjects::draw(self.database()).await.unwrap();
        self.begun.push_back(Begun::List(self.workers.len() - 1, read));
        read
    }

    /// The answer to a read comes; `nth` is its place among those under way. False when the lease was lost.
    pub async fn end(&mut self, nth: usize, answer: Answer, version: i64) -> bool {
        match self.begun.remove(nth).unwrap() {
            Begun::Read(worker, read) => {
                let page = page(answer, version, read.control().is_some());
                self.workers[worker].end(read, page).await
            }
            Begun::List(worker, read) => self.workers[worker].page(read, page(answer, version, false)).await.unwrap(),
        }
    }

    fn subject(&self) -> Subject {
        Subject::new(Kind::Candidate, KEY.into())
    }

    pub async fn erase(&self) {
        erasure::erase(self.database(), &self.tenant, &self.subject(), "", self.now()).await.unwrap();
    }

    pub async fn lift(&self) {
        assert!(erasure::lift(self.database(), &self.tenant, &self.subject(), self.now()).await.unwrap());
    }

    pub async fn want(&self) {
        subjects::want(self.database(), &self.tenant, Kind::Candidate, KEY, self.now()).await.unwrap();
    }

    pub async fn again(&self) {
        subjects::want_again(self.database(), &self.tenant, Kind::Candidate, self.now()).await.unwrap();
    }

    pub async fn ledger(&self) -> Ledger {
        ledger::read(self.database(), &self.tenant, DateTime::UNIX_EPOCH).await.unwrap()
    }

    /// The subject in every table, and when it is to be read once more.
    pub async fn seen(&self) -> (Seen, Option<DateTime<Utc>>) {
        type Found = (Vec<i64>, i64, Option<sqlx::types::Json<Columns>>, Option<(i64, i64)>, Option<(i64, bool)>);
        let (deliveries, nameless, row, document, report): Found = sqlx::query_as(
            "select coalesce(array_agg(id order by id) filter (where key = $2), '{}'), count(*) filter (where key <> $2),
               (select to_jsonb(s) from subject s where tenant = $1 and key = $2),
               (select (title::bigint, read_number) from document where tenant = $1 and key = $2),
               (select (noted, outcome = 'success') from report_item where tenant = $1 and key = $2)
             from delivery where tenant = $1",
        )
        .bind(self.tenant.as_str())
        .bind(KEY)
        .fetch_one(self.database().pool())
        .await
        .unwrap();
        let confirm_at = row.as_ref().and_then(|row| row.confirm_at);
        let row = row.map(|row| row.0.into());
        (Seen { row, document, report, deliveries, nameless }, confirm_at)
    }
}

/// The columns of table `subject` that the model knows.
#[derive(serde::Deserialize)]
struct Columns {
    wanted: i64,
    announced: i64,
    settled: i64,
    state: String,
    dead_at: Option<DateTime<Utc>>,
    attempts: i32,
    failing_since: Option<DateTime<Utc>>,
    absent_since: Option<DateTime<Utc>>,
    returned_at: Option<DateTime<Utc>>,
    due_at: DateTime<Utc>,
    removed_cause: Option<String>,
    confirm_at: Option<DateTime<Utc>>,
}

impl From<Columns> for Row {
    fn from(row: Columns) -> Row {
        let held = match row.state.as_str() {
            "unread" => Held::Unread,
            "live" => Held::Live,
            "removed" => Held::Removed,
            other => panic!("a candidate is never {other}"),
        };
        Row {
            wanted: row.wanted,
            announced: row.announced,
            settled: row.settled,
            held,
            dead: row.dead_at.is_some(),
            attempts: row.attempts,
            failing_since: row.failing_since,
            absent_since: row.absent_since,
            returned_at: row.returned_at,
            due_at: row.due_at,
            cause: row.removed_cause,
        }
    }
}
