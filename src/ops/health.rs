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

use crate::{database::Database, lifecycle::Stop, settings::Settings};

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
    last: Mutex<Option<(Instant, bool)>>,
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
}

impl Health {
    /// Not ready until the schema is current.
    pub fn new(database: Database, stop: Stop, settings: watch::Receiver<Arc<Settings>>) -> Arc<Health> {
        Arc::new(Health { database, migrated: AtomicBool::new(false), stop, settings, last: Mutex::new(None) })
    }

    /// The schema is current.
    pub fn migrated(&self) {
        self.migrated.store(true, Ordering::Relaxed);
    }

    async fn database_answers(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, answers)) = *last
            && at.elapsed() < HOLDS
        {
            return answers;
        }
        let answers = matches!(timeout(PATIENCE, self.database.time()).await, Ok(Ok(_)));
        *last = Some((Instant::now(), answers));
        answers
    }
}

impl Health {
    async fn report(&self) -> (StatusCode, Report) {
        let stopping = self.stop.asked();
        let database = if stopping {
            "not asked"
        } else if !self.database_answers().await {
            "away"
        } else if self.migrated.load(Ordering::Relaxed) {
            "ok"
        } else {
            "being migrated"
        };
        let ready = database == "ok";
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let settings = self.settings.borrow().clone();
        let missing = settings
            .tenants
            .is_empty()
            .then_some("no tenant is configured: add a section [tenants.NAME] to the settings");
        let tenants = settings.tenants.keys().map(ToString::to_string).collect();
        (status, Report { ready, database, stopping, tenants, missing })
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
