//! Whether the service lives, and whether it can take callbacks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use crate::{clock::Clock, database::Database, inbox::Readiness, lifecycle::Stop, settings::Settings};

/// An answer holds for so long: whoever can reach `/readyz` must not be able to load the database.
const HOLDS: Duration = Duration::from_secs(1);
/// The database answers in this time, or counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What readiness is judged by.
pub struct Health {
    database: Database,
    migrated: AtomicBool,
    stop: Stop,
    settings: watch::Receiver<Arc<Settings>>,
    readiness: Readiness,
    clock: Clock,
    last: Mutex<Option<(Instant, Answer)>>,
}

/// What the database says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Nothing,
    /// It can be read alone: a standby, or one that was set so.
    ReadOnly,
    /// It can be written, but not with a callback.
    Refuses,
    Well,
}

/// The verbose answer.
#[derive(Serialize)]
struct Report {
    ready: bool,
    database: &'static str,
    stopping: bool,
    tenants: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<String>,
}

impl Health {
    /// Not ready until the schema is current.
    pub fn new(
        database: Database,
        stop: Stop,
        settings: watch::Receiver<Arc<Settings>>,
        readiness: Readiness,
        clock: Clock,
    ) -> Arc<Health> {
        let (migrated, last) = (AtomicBool::new(false), Mutex::new(None));
        Arc::new(Health { database, migrated, stop, settings, readiness, clock, last })
    }

    /// The schema is current. What was answered before says nothing any more.
    pub async fn migrated(&self) {
        *self.last.lock().await = None;
        self.migrated.store(true, Ordering::Relaxed);
    }

    async fn database_answer(&self) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = *last
            && at.elapsed() < HOLDS
        {
            return answer;
        }
        let (storing, read_only) =
            tokio::join!(timeout(PATIENCE, self.readiness.ask()), timeout(PATIENCE, self.database.is_read_only()));
        let answer = match (storing, read_only) {
            (Ok(true), _) => Answer::Well,
            (_, Ok(Ok(true))) => Answer::ReadOnly,
            (_, Ok(Ok(false))) => Answer::Refuses,
            _ => Answer::Nothing,
        };
        *last = Some((Instant::now(), answer));
        answer
    }
}

impl Health {
    async fn report(&self) -> (StatusCode, Report) {
        let stopping = self.stop.asked();
        let database = if stopping {
            "not asked"
        } else {
            match self.database_answer().await {
                Answer::Nothing => "away",
                Answer::ReadOnly => "read-only",
                _ if !self.migrated.load(Ordering::Relaxed) => "being migrated",
                Answer::Refuses => "refuses callbacks",
                Answer::Well => "ok",
            }
        };
        let ready = database == "ok";
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let settings = self.settings.borrow().clone();
        let missing = settings
            .tenants
            .is_empty()
            .then_some("no tenant is configured: add a section [tenants.NAME] to the settings");
        let tenants = settings.tenants.keys().map(ToString::to_string).collect();
        let clock = self.clock.disagreement(settings.receive.clock_skew);
        (status, Report { ready, database, stopping, tenants, missing, clock })
    }
}

/// `/readyz`: 200 when callbacks can be stored, 503 otherwise and from the moment a stop was asked for.
pub(super) async fn ready(State(health): State<Arc<Health>>) -> Response {
    let (status, report) = health.report().await;
    (status, if report.ready { "ready" } else { "not ready" }).into_response()
}

/// The same for operators: `?verbose` says why, and which tenants there are.
pub(super) async fn ready_verbose(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    if query.as_deref() != Some("verbose") {
        return ready(State(health)).await;
    }
    let (status, report) = health.report().await;
    (status, Json(report)).into_response()
}
