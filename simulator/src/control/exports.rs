//! How the exports behave, set over HTTP.

use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::ok;
use crate::changes::Change;
use crate::faults::Distortion;
use crate::habits::ListOrder;
use crate::simulator::Simulator;

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/export-lag", post(export_lag))
        .route("/list-order", post(list_order))
        .route("/page-churn", post(page_churn))
        .route("/after-page", post(after_page))
        .route("/hidden", post(hide_all))
        .route("/distort", post(distort))
        .route("/straighten", post(straighten))
}

#[derive(Deserialize)]
struct Lag {
    seconds: Option<u64>,
}

async fn export_lag(State(simulator): State<Simulator>, Json(it): Json<Lag>) -> Json<Value> {
    simulator.set_export_lag(it.seconds.map(Duration::from_secs));
    ok()
}

#[derive(Deserialize)]
struct Ordering {
    order: ListOrder,
}

async fn list_order(State(simulator): State<Simulator>, Json(it): Json<Ordering>) -> Json<Value> {
    simulator.set_list_order(it.order);
    ok()
}

#[derive(Deserialize)]
struct Churning {
    churn: bool,
}

async fn page_churn(State(simulator): State<Simulator>, Json(it): Json<Churning>) -> Json<Value> {
    simulator.churn_between_pages(it.churn);
    ok()
}

#[derive(Deserialize)]
struct Waiting {
    /// How many list pages from now.
    page: u64,
    #[serde(flatten)]
    change: Change,
}

async fn after_page(State(simulator): State<Simulator>, Json(it): Json<Waiting>) -> Json<Value> {
    simulator.after_page(it.page, it.change);
    ok()
}

#[derive(Deserialize)]
struct Distorting {
    kind: crate::tenant::Kind,
    /// None for all records of the kind.
    key: Option<String>,
    #[serde(flatten)]
    how: Distortion,
}

async fn distort(State(simulator): State<Simulator>, Json(it): Json<Distorting>) -> Json<Value> {
    simulator.distort(it.kind.name(), it.key.as_deref(), it.how);
    ok()
}

async fn straighten(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.straighten();
    ok()
}

/// `vacancy` or `candidate`.
#[derive(Deserialize)]
struct Hiding {
    kind: crate::tenant::Kind,
    hide: bool,
}

async fn hide_all(State(simulator): State<Simulator>, Json(it): Json<Hiding>) -> Json<Value> {
    simulator.hide_all(it.kind.name(), it.hide);
    ok()
}
