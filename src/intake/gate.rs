//! The gate: from a request to a [`VerifiedCallback`], or to a refusal.
//!
//! Order: size and time of the body first, before any other work; then the signature over the raw request target and
//! the public path; the body is parsed only when it verified. A client id that nobody has takes the same path with a
//! secret that nobody has.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{StatusCode, Uri, request::Parts},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    Intake, VerifiedCallback,
    signature::{self, Refusal, SignedQuery},
};
use crate::{domain::TenantId, metrics::OfTenant, refusals::Refused};

/// Bytes beyond the limit that are read and dropped before the answer.
const DROPPED: usize = 1024 * 1024;
/// Time that this may take.
const DROPPING: Duration = Duration::from_millis(500);
/// How long a callback waits at the start for the database's time.
const CLOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Which URL was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Callback,
    Ping,
}

/// Whether a query carries a signature at all, right or wrong.
pub(super) fn is_signed(query: &str) -> bool {
    query.split('&').any(|parameter| parameter.split('=').next() == Some("signature"))
}

/// The body, or none as soon as it is larger than `limit`.
async fn capped(body: &mut Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Ok(None);
        }
        read.extend_from_slice(&data);
    }
    Ok(Some(read.freeze()))
}

/// Reads a little more of a body that was too large: a connection that is closed with bytes unread is reset, and the
/// sender would not see the answer.
async fn drop_rest(mut body: Body) {
    let mut left = DROPPED;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

impl Intake {
    /// What is kept of a request that is turned away.
    pub(super) fn refused(&self, parts: &Parts, reason: Refusal) -> Refused {
        Refused {
            reason: reason.as_str(),
            tenant: self.tenant_named(&parts.uri),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
        }
    }

    /// The configured tenant that a request names, by its client id or else by its path, whatever else is wrong with
    /// it.
    fn tenant_named(&self, uri: &Uri) -> Option<TenantId> {
        let directory = self.directory.entries();
        let by_client = signature::client_ids(uri.query().unwrap_or_default())
            .find_map(|client_id| directory.by_client.get(&*client_id));
        let by_name = || directory.by_name.get(self.public_path(uri.path()).1?);
        by_client.or_else(by_name).map(|known| known.id.clone())
    }

    /// Lets a verified request through, with what is to be noted if it cannot be stored.
    pub(super) async fn verify(&self, request: Request, path: Path) -> Result<(VerifiedCallback, Parts), Response> {
        let (parts, body) = request.into_parts();
        let body = match self.read(body).await {
            Ok(body) => body,
            Err((reason, status)) => return Err(self.refuse(self.refused(&parts, reason), status)),
        };
        if timeout(CLOCK_PATIENCE, self.clock.until_set()).await.is_err() {
            // It says whether a signature has expired: a right one must not be turned away by the wrong time.
            return Err(self.refuse(self.refused(&parts, Refusal::NoClock), StatusCode::SERVICE_UNAVAILABLE));
        }
        match self.tenant_of(&parts, &body) {
            Ok(tenant) => {
                let callback = VerifiedCallback::new(tenant, self.clock.now(), body, path == Path::Ping);
                Ok((callback, parts))
            }
            Err(reason) => Err(self.refuse(self.refused(&parts, reason), StatusCode::FORBIDDEN)),
        }
    }

    /// The body under its cap, counted while reading, and its time.
    async fn read(&self, mut body: Body) -> Result<Bytes, (Refusal, StatusCode)> {
        match timeout(self.limits.body_timeout, capped(&mut body, self.limits.body)).await {
            Ok(Ok(Some(read))) => Ok(read),
            Ok(Ok(None)) => {
                // Whether it ended or not, it was too large.
                let _ended = timeout(DROPPING, drop_rest(body)).await;
                Err((Refusal::TooLarge, StatusCode::PAYLOAD_TOO_LARGE))
            }
            Ok(Err(_)) => Err((Refusal::BrokenOff, StatusCode::BAD_REQUEST)),
            Err(_) => Err((Refusal::TooSlow, StatusCode::REQUEST_TIMEOUT)),
        }
    }

    /// The tenant whose secret verifies the request; otherwise why not.
    ///
    /// A request is in time by either of two clocks, the database's and this machine's: a wrong one must not refuse
    /// what is right by the other.
    fn tenant_of(&self, parts: &Parts, body: &[u8]) -> Result<TenantId, Refusal> {
        let (method, headers) = (&parts.method, &parts.headers);
        let directory = self.directory.entries();
        let (public_path, named) = self.public_path(parts.uri.path());
        let named = named.map(|name| directory.by_name.get(name));
        let query = SignedQuery::parse(parts.uri.query().unwrap_or_default())?;
        let client = directory.by_client.get(query.client_id());
        // With a tenant in the path, both must agree.
        let known = match (named, client) {
            (None, client) => client.ok_or(Refusal::UnknownTenant),
            (Some(Some(named)), Some(client)) if named.id == client.id => Ok(client),
            (Some(_), Some(_)) => Err(Refusal::TenantMismatch),
            (Some(_), None) => Err(Refusal::UnknownTenant),
        };
        let request = signature::Request { method: method.as_str(), path: &public_path, headers, body };
        let (now, machine_now, skew) = (self.clock.now(), self.clock.machine_now(), self.limits.skew);
        let (earlier, later) = (now.min(machine_now), now.max(machine_now));
        match known {
            Ok(known) => {
                signature::verify(&request, &query, &known.secrets, earlier, skew)?;
                if known.is_disconnected {
                    return Err(Refusal::Disconnected);
                }
                if self.is_long_lived(&known.id, signature::lifetime(headers, later)) {
                    return Err(Refusal::LongLived);
                }
                Ok(known.id.clone())
            }
            Err(refusal) => {
                signature::refuse_unknown(&request, &query, earlier, skew);
                Err(refusal)
            }
        }
    }

    /// Whether a genuine request stays valid for too many seconds. The longest of each tenant is shown.
    fn is_long_lived(&self, tenant: &TenantId, lifetime: i64) -> bool {
        let longest = self.metrics.signature_lifetime.get_or_create(&OfTenant { tenant: tenant.to_string() });
        longest.inner().fetch_max(lifetime, Ordering::Relaxed);
        let limit = self.limits.lifetime.as_secs();
        limit > 0 && lifetime.unsigned_abs() > limit
    }

    /// The path under which the request was registered, and the name of a tenant that stands in it, known or not.
    fn public_path<'a>(&self, path: &'a str) -> (String, Option<&'a str>) {
        let inner = path.strip_prefix(&*self.prefix).filter(|rest| rest.starts_with("/api/")).unwrap_or(path);
        let mut steps = inner.split('/').skip(4);
        let named = match (steps.next(), steps.next()) {
            (Some(tenant), Some(_)) => Some(tenant),
            _ => None,
        };
        (format!("{}{inner}", self.prefix), named)
    }
}
