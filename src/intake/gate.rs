//! The gate: from a request to a [`VerifiedCallback`], or to a refusal.
//!
//! Order: size and time of the body first, before any other work; then the signature over the raw request target and
//! the public path; the body is parsed only when it verified. A client id that nobody has takes the same path with a
//! secret that nobody has.

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use tokio::time::timeout;

use super::{
    Intake, Known, VerifiedCallback,
    signature::{self, Refusal, SignedQuery},
};
use crate::{domain::TenantId, refusals::Refused};

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

/// What is kept of a request that is turned away.
pub(super) fn refused(request: &Request, reason: &'static str) -> Refused {
    Refused {
        reason,
        tenant: None,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
    }
}

impl Intake {
    /// Lets a verified request through, with what is to be noted if it cannot be stored.
    pub(super) async fn verify(&self, request: Request, path: Path) -> Result<(VerifiedCallback, Refused), Response> {
        let mut refusal = refused(&request, "");
        let (parts, body) = request.into_parts();
        let body = match self.read(&parts.headers, body).await {
            Ok(body) => body,
            Err((reason, status)) => return Err(self.refuse(Refused { reason, ..refusal }, status)),
        };
        let raw_path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let verified = self.tenant_of(&parts.method, raw_path, query, &parts.headers, &body);
        match verified {
            Ok(tenant) => {
                refusal.tenant = Some(tenant.clone());
                let callback = VerifiedCallback::new(tenant, self.clock.now(), body, path == Path::Ping);
                Ok((callback, refusal))
            }
            Err((reason, tenant)) => {
                let refused = Refused { reason: reason.as_str(), tenant, ..refusal };
                Err(self.refuse(refused, StatusCode::FORBIDDEN))
            }
        }
    }

    /// The body under its cap, counted while reading, and its time.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, (&'static str, StatusCode)> {
        let too_large = (Refusal::TooLarge.as_str(), StatusCode::PAYLOAD_TOO_LARGE);
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.body as u64) {
            return Err(too_large);
        }
        match timeout(self.limits.body_timeout, axum::body::to_bytes(body, self.limits.body)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) => {
                Err(too_large)
            }
            Ok(Err(_)) => Err(("broken_off", StatusCode::BAD_REQUEST)),
            Err(_) => Err((Refusal::TooSlow.as_str(), StatusCode::REQUEST_TIMEOUT)),
        }
    }

    /// The tenant whose secret verifies the request; otherwise why not, and the configured tenant that it named.
    fn tenant_of(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<TenantId, (Refusal, Option<TenantId>)> {
        let (public_path, named) = self.public_path(path);
        let query =
            SignedQuery::parse(query).map_err(|refusal| (refusal, named.flatten().map(|known| known.id.clone())))?;
        let client = self.directory.by_client.get(query.client_id());
        // With a tenant in the path, both must agree.
        let known = match (named, client) {
            (None, client) => client.ok_or(Refusal::UnknownTenant),
            (Some(Some(named)), Some(client)) if named.id == client.id => Ok(client),
            (Some(_), Some(_)) => Err(Refusal::TenantMismatch),
            (Some(_), None) => Err(Refusal::UnknownTenant),
        };
        let request = signature::Request { method: method.as_str(), path: &public_path, headers, body };
        let (now, skew) = (self.clock.now(), self.limits.skew);
        match known {
            Ok(known) => match signature::verify(&request, &query, &known.secrets, now, skew) {
                Ok(_) => Ok(known.id.clone()),
                Err(refusal) => Err((refusal, Some(known.id.clone()))),
            },
            Err(refusal) => {
                signature::refuse_unknown(&request, &query, now, skew);
                Err((refusal, client.map(|known| known.id.clone())))
            }
        }
    }

    /// The path under which the request was registered, and the tenant that stands in it, known or not.
    fn public_path(&self, path: &str) -> (String, Option<Option<&Arc<Known>>>) {
        let inner = path.strip_prefix(&*self.prefix).filter(|rest| rest.starts_with("/api/")).unwrap_or(path);
        let mut steps = inner.split('/').skip(4);
        let named = match (steps.next(), steps.next()) {
            (Some(tenant), Some(_)) => Some(self.directory.by_name.get(tenant)),
            _ => None,
        };
        (format!("{}{inner}", self.prefix), named)
    }
}
