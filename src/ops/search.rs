//! Searching the index: what an operator sees of it.
//!
//! Of a candidate that is the key, the title, the status, the coded values and how many resumes are kept, and never a
//! name, an address or a file.

mod answer;
mod parameters;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tower_http::set_header::SetResponseHeaderLayer;

use super::{problem::Problem, tenants};
use crate::{
    clock::Clock,
    database::Database,
    domain::{Kind, TenantId},
    index::{attachments, referentials, search},
    metrics::Metrics,
    settings::Settings,
    telemetry::FailureLog,
};
use answer::{Content, Item, Labels, List, Lists, Results};
use parameters::Asked;

/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the handlers share.
pub(super) struct Api {
    pub(super) database: Database,
    pub(super) clock: Clock,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Api {
    fn tenant(&self, name: &str) -> Result<TenantId, Problem> {
        let unknown = || Problem::not_found("no such tenant: GET /api/v1/tenants lists those of the settings");
        let settings = self.settings.borrow();
        settings.tenants.keys().find(|tenant| tenant.as_str() == name).cloned().ok_or_else(unknown)
    }

    /// The labels that referentials have for the coded values of these documents.
    async fn labels<'a>(
        &self,
        tenant: &TenantId,
        documents: impl IntoIterator<Item = &'a search::Found>,
        language: Option<i32>,
    ) -> Result<Labels, Problem> {
        let mut labels = Labels::of(documents, language);
        labels.known = search::labels(&self.database, tenant, &labels.ids()).await.map_err(|error| failed(&error))?;
        Ok(labels)
    }
}

/// The API under `/api/v1`; whatever it answers is kept by nobody on the way.
pub(super) fn router(
    database: Database,
    clock: Clock,
    settings: watch::Receiver<Arc<Settings>>,
    metrics: Arc<Metrics>,
) -> Router {
    // The other connections are the worker's and retention's.
    let turns = Semaphore::new((settings.borrow().database.connections as usize / 3).max(1));
    let api = Arc::new(Api { database, clock, settings, metrics });
    Router::new()
        .route("/tenants", get(tenants::list))
        .route("/tenants/{tenant}/vacancies", get(|state, path, query| find(Kind::Vacancy, state, path, query)))
        .route("/tenants/{tenant}/vacancies/{*key}", get(|state, path, query| one(Kind::Vacancy, state, path, query)))
        .route("/tenants/{tenant}/candidates", get(|state, path, query| find(Kind::Candidate, state, path, query)))
        .route(
            "/tenants/{tenant}/candidates/{*key}",
            get(|state, path, query| one(Kind::Candidate, state, path, query)),
        )
        .route("/tenants/{tenant}/referentials", get(lists))
        .fallback(async || Problem::not_found("no such address"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::new(turns), take_turn))
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(api)
}

/// Serves few requests at once, and refuses one whose turn does not come.
async fn take_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match timeout(TURN_TIMEOUT, turns.acquire()).await {
        Ok(Ok(_turn)) => next.run(request).await,
        _ => Problem::unavailable("other requests are still being answered: try again").into_response(),
    }
}

static READING: FailureLog =
    FailureLog::new("reading the index for an operator", "the reader is told to look at /readyz");

/// What a reader is told of a failure: not its text, which may hold a key.
pub(super) fn failed(error: &sqlx::Error) -> Problem {
    if search::took_too_long(error) {
        return Problem::unavailable(format!(
            "the search took longer than {} s and was given up: use rarer words",
            search::PATIENCE.as_secs()
        ));
    }
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    READING.failed(&format!("SQLSTATE {code:?}"));
    Problem::unavailable("the database cannot be read now: see /readyz?verbose")
}

async fn find(
    kind: Kind,
    State(api): State<Arc<Api>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let tenant = &api.tenant(&tenant)?;
    let Asked { search: asked, labels } = parameters::read(kind, query.as_deref().unwrap_or_default())?;
    let page = search::find(&api.database, tenant, kind, &asked).await.map_err(|error| failed(&error))?;
    let labels = api.labels(tenant, &page.found, labels).await?;
    READING.succeeded();
    let ranked = asked.words.as_ref().is_some_and(|words| !words.wanted().is_empty());
    let items = page.found.into_iter().map(|found| Item::new(found, ranked, &labels)).collect();
    Ok(Json(Results { total: page.total, offset: asked.offset, limit: asked.limit, items }).into_response())
}

async fn one(
    kind: Kind,
    State(api): State<Arc<Api>>,
    Path((tenant, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let tenant = &api.tenant(&tenant)?;
    let language = parameters::read_labels(query.as_deref().unwrap_or_default())?;
    let (found, raw) = search::one(&api.database, tenant, kind, &key)
        .await
        .map_err(|error| failed(&error))?
        .ok_or_else(|| Problem::not_found("no such document in the index"))?;
    let labels = api.labels(tenant, [&found], language).await?;
    let kept = match kind {
        Kind::Vacancy => None,
        Kind::Candidate => {
            Some(attachments::count_of(&api.database, tenant, &key).await.map_err(|error| failed(&error))?)
        }
    };
    READING.succeeded();
    Ok(Json(Content::new(Item::new(found, false, &labels), kept, raw)).into_response())
}

/// The referentials of a tenant, and how each is.
async fn lists(State(api): State<Arc<Api>>, Path(tenant): Path<String>) -> Result<Response, Problem> {
    let tenant = api.tenant(&tenant)?;
    let states = referentials::states(&api.database, &tenant).await.map_err(|error| failed(&error))?;
    Ok(Json(Lists { items: states.into_iter().map(List::from).collect() }).into_response())
}
