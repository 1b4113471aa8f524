//! HTTP in: callbacks and pings.
//!
//! The gate (`gate`) reads the body under its cap, verifies the signature over the raw request and makes a
//! [`VerifiedCallback`]; nothing else can. The handlers see only that, hand it to the inbox and answer. Our fault is
//! 5xx, the sender's is 4xx, and the bodies of refusals are constant: a stranger learns neither which tenants there are
//! nor what was wrong.

mod callback;
mod gate;
mod payload;
mod query;
mod signature;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::time::Instant;
use url::Url;

pub use callback::{ReceivedEvent, VerifiedCallback};
pub use payload::Announced;
pub use signature::Refusal;

use crate::{
    clock::Clock,
    domain::TenantId,
    inbox::{Inbox, NotStored},
    kill,
    metrics::{Metrics, Received},
    refusals::{Refusals, Refused},
    serve::{OnUnread, Unread},
    settings::{Secret, Settings, Tenant, UnsignedPings},
};

/// Where the guide puts callbacks and pings; with a tenant in it, this is what is registered.
const EVENTS: &str = "/api/talentsoft/v1/events";
const PINGS: &str = "/api/talentsoft/v1/pingevents";
const TENANT_EVENTS: &str = "/api/talentsoft/v1/{tenant}/events";
const TENANT_PINGS: &str = "/api/talentsoft/v1/{tenant}/pingevents";
/// Seconds after which a sender may try again.
const RETRY_AFTER: &str = "5";

/// The addresses that a tenant's hooks are registered with.
pub fn hook_urls(public_url: &Url, tenant: &TenantId) -> (String, String) {
    let base = public_url.as_str().trim_end_matches('/');
    let url = |path: &str| format!("{base}{}", path.replace("{tenant}", tenant.as_str()));
    (url(TENANT_EVENTS), url(TENANT_PINGS))
}

/// What the gate knows of a tenant.
#[derive(Debug)]
struct Known {
    id: TenantId,
    secrets: Vec<Secret>,
    is_disconnected: bool,
}

/// The tenants, as a request names them.
#[derive(Debug, Default)]
struct Entries {
    by_client: HashMap<String, Arc<Known>>,
    by_name: HashMap<String, Arc<Known>>,
}

/// Whose callbacks are let in, now: a request is judged by what stands here when its body has been read.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Arc<Entries>>);

impl Directory {
    /// Lets these tenants in from now on, but for those that are disconnected, and nobody else.
    pub fn admit<'a>(
        &self,
        tenants: impl IntoIterator<Item = (&'a TenantId, &'a Arc<Tenant>)>,
        is_disconnected: impl Fn(&TenantId) -> bool,
    ) {
        let mut entries = Entries::default();
        for (id, tenant) in tenants {
            let secrets = tenant.secrets().cloned().collect();
            let known = Arc::new(Known { id: id.clone(), secrets, is_disconnected: is_disconnected(id) });
            entries.by_client.insert(tenant.client_id.clone(), known.clone());
            entries.by_name.insert(id.to_string(), known);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
    }

    fn entries(&self) -> Arc<Entries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything the handlers use.
#[derive(Clone)]
pub struct Intake {
    directory: Arc<Directory>,
    /// Path of `public_url`, without a slash at its end: signatures cover it.
    prefix: Arc<str>,
    limits: Limits,
    clock: Clock,
    inbox: Inbox,
    refusals: Arc<Refusals>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    body: usize,
    body_timeout: Duration,
    skew: Duration,
    /// Of a signature; no limit when zero.
    lifetime: Duration,
    unsigned_pings: UnsignedPings,
}

impl Intake {
    /// From the settings.
    pub fn new(
        settings: &Settings,
        clock: Clock,
        inbox: Inbox,
        refusals: Arc<Refusals>,
        metrics: Arc<Metrics>,
    ) -> Intake {
        let directory = Directory::default();
        directory.admit(&settings.tenants, |_| false);
        let prefix = settings.public_url.as_ref().map(|url| url.path().trim_end_matches('/')).unwrap_or_default();
        let limits = Limits {
            body: settings.receive.body_limit,
            body_timeout: settings.receive.body_timeout,
            skew: settings.receive.clock_skew,
            lifetime: settings.receive.signature_lifetime_limit,
            unsigned_pings: settings.receive.unsigned_pings,
        };
        Intake { directory: Arc::new(directory), prefix: prefix.into(), limits, clock, inbox, refusals, metrics }
    }

    /// Where it is said whose callbacks are let in.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }

    /// The routes, also under the prefix of `public_url` for proxies that keep it.
    pub fn router(self) -> Router {
        let mut router = Router::new();
        let prefixes =
            if self.prefix.is_empty() { vec![String::new()] } else { vec![String::new(), self.prefix.to_string()] };
        for prefix in prefixes {
            router = router
                .route(&format!("{prefix}{EVENTS}"), post(callback))
                .route(&format!("{prefix}{TENANT_EVENTS}"), post(callback))
                .route(&format!("{prefix}{PINGS}"), get(ping).post(ping))
                .route(&format!("{prefix}{TENANT_PINGS}"), get(ping).post(ping));
        }
        router.method_not_allowed_fallback(wrong_method).fallback(unknown_path).with_state(self)
    }

    /// A tenant's callbacks alone, with every check and nothing stored: what the bench compares receiving with.
    #[cfg(feature = "verify-only")]
    pub fn verify_only_router(self) -> Router {
        async fn verify(State(intake): State<Intake>, request: Request) -> Response {
            let began = Instant::now();
            let answer = match intake.verify(request, gate::Path::Callback).await {
                Ok(_verified) => accepted(),
                Err(answer) => answer,
            };
            intake.metrics.accept.observe(began.elapsed().as_secs_f64());
            answer
        }
        Router::new().route(TENANT_EVENTS, post(verify)).with_state(self)
    }

    /// Notes the requests that the listener refuses unread.
    pub fn on_unread(&self) -> OnUnread {
        let intake = self.clone();
        Arc::new(move |unread, peer| {
            let reason = match unread {
                Unread::Malformed => Refusal::Malformed,
                Unread::HeadersTooLarge => Refusal::HeadersTooLarge,
            };
            intake.note(Refused::unread(reason.as_str(), peer.ip()), false);
        })
    }

    fn note(&self, refused: Refused, is_our_fault: bool) {
        let tenant = refused.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
        self.metrics.refusals.get_or_create(&crate::metrics::Refused { tenant, reason: refused.reason }).inc();
        self.refusals.note(refused, is_our_fault);
    }

    fn refuse(&self, refused: Refused, status: StatusCode) -> Response {
        self.note(refused, status == StatusCode::SERVICE_UNAVAILABLE);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                (status, [(header::RETRY_AFTER, RETRY_AFTER)], r#"{"status":"unavailable"}"#).into_response()
            }
            StatusCode::FORBIDDEN => (status, r#"{"status":"forbidden"}"#).into_response(),
            _ => status.into_response(),
        }
    }

    /// Stores a verified callback and answers.
    async fn record(&self, callback: VerifiedCallback, parts: &Parts) -> Response {
        let labels: Vec<(TenantId, &'static str)> =
            callback.events().iter().map(|event| (callback.tenant().clone(), event.metric_label())).collect();
        kill::point("request-read");
        let stored = self.inbox.record(callback).await;
        let outcome = if stored.is_ok() { "stored" } else { "not_stored" };
        for (tenant, event) in labels {
            let labels = Received { tenant: tenant.to_string(), event: event.to_owned(), outcome };
            self.metrics.deliveries.get_or_create(&labels).inc();
        }
        let reason = match stored {
            Ok(()) => return accepted(),
            Err(NotStored::Full) => Refusal::NoRoom,
            Err(NotStored::Database) => Refusal::NotCommitted,
            Err(NotStored::Stopping) => Refusal::Stopping,
        };
        self.refuse(self.refused(parts, reason), StatusCode::SERVICE_UNAVAILABLE)
    }
}

fn accepted() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#).into_response()
}

async fn callback(State(intake): State<Intake>, request: Request) -> Response {
    let began = Instant::now();
    let answer = match intake.verify(request, gate::Path::Callback).await {
        Ok((callback, parts)) => intake.record(callback, &parts).await,
        Err(answer) => answer,
    };
    intake.metrics.accept.observe(began.elapsed().as_secs_f64());
    answer
}

async fn ping(State(intake): State<Intake>, request: Request) -> Response {
    if request.uri().query().is_none_or(|query| !gate::is_signed(query)) {
        return match intake.limits.unsigned_pings {
            UnsignedPings::Accept => accepted(),
            UnsignedPings::Refuse => {
                let (parts, _body) = request.into_parts();
                intake.refuse(intake.refused(&parts, Refusal::MissingSignature), StatusCode::FORBIDDEN)
            }
        };
    }
    match intake.verify(request, gate::Path::Ping).await {
        Ok((callback, parts)) => intake.record(callback, &parts).await,
        Err(answer) => answer,
    }
}

async fn wrong_method(State(intake): State<Intake>, path: Option<MatchedPath>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let mut refused = intake.refused(&parts, Refusal::Method);
    if let Some(path) = path {
        refused.path = path.as_str().to_owned();
    }
    intake.refuse(refused, StatusCode::METHOD_NOT_ALLOWED)
}

/// What matches no route: strangers look for what is not here, and a proxy that adds or removes a prefix sends Cegid's
/// callbacks here.
async fn unknown_path(State(intake): State<Intake>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    intake.refuse(intake.refused(&parts, Refusal::UnknownPath), StatusCode::NOT_FOUND)
}
