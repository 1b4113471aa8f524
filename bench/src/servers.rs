//! What the service is compared with, as modes of the bench's own program: the same checks without storing, and one
//! INSERT a request through a pool.

use std::sync::Arc;

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use cegid_indexer::{
    arrivals::Arrivals,
    clock::Clock,
    database::Database,
    inbox::Inbox,
    intake::Intake,
    lifecycle::Stop,
    metrics::Metrics,
    refusals::Refusals,
    serve::{Limits, serve},
    settings::Settings,
    telemetry,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;
use uuid::Uuid;

/// The name of the mode that checks and stores nothing.
pub const VERIFY: &str = "verify-server";
/// The name of the mode that inserts a row for each request.
pub const INSERT: &str = "insert-server";
/// More brought nothing where it was measured.
const POOL: u32 = 20;

fn settings() -> anyhow::Result<Settings> {
    let environment =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Settings::load(None, environment).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("reading the settings: {}", lines.join("; "))
    })
}

/// Serves until the process is ended.
pub fn run(mode: &str) -> anyhow::Result<()> {
    let settings = settings()?;
    telemetry::start(&settings.log)?;
    // As many threads as the service has.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = if mode == VERIFY { verifying(&settings)? } else { inserting(&settings).await? };
        let listener = TcpListener::bind(settings.receive.bind).await.context("listening")?;
        let (limits, _) = Limits::fitted(&settings);
        serve(listener, router, limits, Arc::default(), Arc::new(|_, _| {}), Stop::default()).await;
        Ok(())
    })
}

/// The service's intake with everything but the inbox.
fn verifying(settings: &Settings) -> anyhow::Result<Router> {
    let clock = Clock::machine();
    // There is no database to follow: the machine's time is taken for right.
    clock.follow(clock.now());
    let metrics = Arc::new(Metrics::default());
    let (inbox, _never_run) = Inbox::new(
        Database::new(&settings.database, settings.worker.lease)?,
        Arc::new(Arrivals::new(clock.clone())),
        metrics.clone(),
        &settings.receive,
    );
    let refusals = Arc::new(Refusals::new(clock.clone()));
    Ok(Intake::new(settings, clock, inbox, refusals, metrics).verify_only_router())
}

/// No check at all: one row, one commit, one pooled connection, then the answer.
async fn inserting(settings: &Settings) -> anyhow::Result<Router> {
    let pool = PgPoolOptions::new()
        .min_connections(POOL)
        .max_connections(POOL)
        .connect(settings.database.url.expose())
        .await
        .context("connecting to the database")?;
    Ok(Router::new().fallback(post(insert)).with_state(pool))
}

async fn insert(State(pool): State<PgPool>, body: Bytes) -> StatusCode {
    let Ok(payload) = std::str::from_utf8(&body) else { return StatusCode::BAD_REQUEST };
    let inserted = sqlx::query(
        "insert into bench_row (key, received_at, payload) values ($1, now(), $2::text::jsonb) on conflict (key) do nothing",
    )
    .bind(Uuid::new_v4())
    .bind(payload)
    .execute(&pool)
    .await;
    if inserted.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
