//! The operators' listener: health, metrics, search.

mod gauges;
mod health;
mod problem;
mod search;

use std::sync::Arc;

use axum::{Router, http::header, response::IntoResponse, routing::get};

pub use gauges::run as run_gauges;
pub use health::Health;

use crate::{database::Database, domain::TenantId, metrics::Metrics};

/// Health for whoever can reach the public listener: nothing that a stranger should not know.
pub fn public_router(health: Arc<Health>) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(health::ready)).with_state(health)
}

/// Everything that operators are shown.
pub fn router(
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    database: Database,
    tenants: impl IntoIterator<Item = TenantId>,
) -> Router {
    let health = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(health::ready_verbose))
        .with_state(health);
    health.nest("/api/v1", search::router(database, tenants)).route(
        "/metrics",
        get(move || {
            let page = metrics.page();
            async move {
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
                    .into_response()
            }
        }),
    )
}
