//! The operators' listener: health, metrics, tenants, search.

mod gauges;
mod health;
mod host;
mod problem;
mod search;
mod tenants;

use std::sync::Arc;

use axum::{Router, http::header, middleware::from_fn_with_state, response::IntoResponse, routing::get};
use tokio::sync::watch;

pub use gauges::run as run_gauges;
pub use health::Health;

use crate::{clock::Clock, database::Database, metrics::Metrics, settings::Settings};

/// Health for whoever can reach the public listener: nothing that a stranger should not know.
pub fn public_router(health: Arc<Health>) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(health::ready)).with_state(health)
}

/// Everything that operators are shown, with the settings as they are now.
pub fn router(
    health: Arc<Health>,
    settings: watch::Receiver<Arc<Settings>>,
    metrics: Arc<Metrics>,
    database: Database,
    clock: Clock,
) -> Router {
    let health = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(health::ready_verbose))
        .with_state(health);
    let hosts = settings.clone();
    let api = Router::new().nest("/api/v1", search::router(database, clock, settings, metrics.clone()));
    let api = api.route(
        "/metrics",
        get(move || {
            let page = metrics.page();
            async move {
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
                    .into_response()
            }
        }),
    );
    health.merge(api.layer(from_fn_with_state(hosts, host::check)))
}
