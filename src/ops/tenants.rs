//! The tenants of the settings, and what was decided about each.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    problem::Problem,
    search::{Api, failed},
};
use crate::{metrics::OfTenant, tenancy, tenants};

#[derive(Serialize)]
struct Tenants<'a> {
    items: Vec<Tenant<'a>>,
}

#[derive(Serialize)]
struct Tenant<'a> {
    id: &'a str,
    /// The replica; none while none has taken it, or none is to.
    worked_by: Option<Uuid>,
    /// The longest that a verified signature was still valid when it came to this replica, since its start.
    signature_lifetime_seconds: i64,
    #[serde(flatten)]
    state: tenants::State,
}

/// Two statements, however many tenants there are.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let holders = tenancy::holders(&api.database, api.clock.now()).await.map_err(|error| failed(&error))?;
    let states = tenants::states(&api.database).await.map_err(|error| failed(&error))?;
    let settings = api.settings.borrow().clone();
    let lifetime = |tenant| api.metrics.signature_lifetime.get(&OfTenant { tenant }).map_or(0, |longest| longest.get());
    let items = settings.tenants.keys().map(|tenant| Tenant {
        id: tenant.as_str(),
        worked_by: holders.get(tenant.as_str()).copied(),
        signature_lifetime_seconds: lifetime(tenant.to_string()),
        state: states.of(tenant).cloned().unwrap_or_default(),
    });
    Ok(Json(Tenants { items: items.collect() }).into_response())
}
