//! Whether a callback is genuine.
//!
//! The sender signs, with the client secret of the credential that registered the hook,
//!
//! ```text
//! METHOD LF content-md5 LF content-type LF x-ts-rec-expires LF (x-ts-rec-name:value LF)* path[?query without signature]
//! ```
//!
//! by HMAC-SHA1 and adds `client_id` and the base64 of the result, `signature`, to the query. Seen in production: the
//! expiry is a header (and so is signed twice), the `+` of base64 is sent raw, and the body is covered only when a
//! `Content-MD5` is sent. A captured request can be replayed until it expires; storing is idempotent for that reason.
//!
//! Everything here works on the bytes as received: the raw query, the public path, the headers' values verbatim.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use percent_encoding::percent_decode;
use sha1::Sha1;

use super::query::{self, Resource};

mod refusal;
pub use refusal::Refusal;

/// The header that says until when a request is valid, in Unix seconds.
const EXPIRES: &str = "x-ts-rec-expires";
/// Headers whose name starts so are signed.
const SIGNED_PREFIX: &str = "x-ts-rec-";
/// Stands in for the secret of a tenant that does not exist. What it would verify is refused all the same.
const NOBODY: [&[u8]; 1] = [b"the secret of nobody"];

/// A request as it was signed.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path of the public URL, raw: what the sender called, whatever a proxy made of it.
    pub path: &'a str,
    /// The headers as received.
    pub headers: &'a HeaderMap,
    /// The body as received.
    pub body: &'a [u8],
}

/// The query of a signed request, taken apart.
pub struct SignedQuery<'a> {
    client_id: Cow<'a, str>,
    signature: [u8; 20],
    resource: Resource<'a>,
}

/// Which form of the query the sender signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceForm {
    /// The query as received.
    Raw,
    /// The query decoded and form-encoded again, as a running client rebuilds it.
    Reencoded,
}

/// Proof that `verify` accepted a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Which of the secrets it was signed with, by position.
    pub secret: usize,
    /// Which form of the query was signed.
    pub form: ResourceForm,
}

impl<'a> SignedQuery<'a> {
    /// Finds the signature and the client in a raw query, without its `?`.
    ///
    /// Values are percent-decoded and never form-decoded. A space in the signature is a `+` that a proxy decoded,
    /// since base64 has no space.
    ///
    /// # Errors
    /// `signature` or `client_id` missing, given twice, or a signature that is not the base64 of 20 bytes.
    pub fn parse(raw_query: &'a str) -> Result<SignedQuery<'a>, Refusal> {
        let (mut signature, mut client_id) = (None, None);
        for parameter in query::parameters(raw_query) {
            if parameter.is("signature") {
                if signature.replace(parameter).is_some() {
                    return Err(Refusal::DuplicateSignature);
                }
            } else if parameter.is("client_id") && client_id.replace(parameter).is_some() {
                return Err(Refusal::DuplicateClientId);
            }
        }
        let signature = signature.ok_or(Refusal::MissingSignature)?;
        let client_id = client_id.map(|p| p.decoded()).filter(|id| !id.is_empty()).ok_or(Refusal::MissingClientId)?;
        Ok(SignedQuery {
            client_id,
            signature: decode_signature(signature.value).ok_or(Refusal::MalformedSignature)?,
            resource: Resource::without(raw_query, &signature),
        })
    }

    /// The credential the sender says it signed with; it selects the tenant, and proves nothing.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}

/// The credentials that a raw query names, whatever else is wrong with it.
pub fn client_ids(raw_query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query::parameters(raw_query).filter(|parameter| parameter.is("client_id")).map(|parameter| parameter.decoded())
}

/// Checks that the request was signed with one of `secrets` and has not expired at `now`, give or take `skew`.
///
/// An empty secret verifies nothing. The raw query is tried first, for every secret, then the re-encoded one if it
/// differs.
///
/// # Errors
/// The first check that failed, in this order: expiry header, expiry, digest of the body, signature.
pub fn verify(
    request: &Request<'_>,
    query: &SignedQuery<'_>,
    secrets: &[impl AsRef<[u8]>],
    now: DateTime<Utc>,
    skew: Duration,
) -> Result<Verified, Refusal> {
    let expires = expiry(request.headers)?;
    let skew = i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
    if now.timestamp() > expires.saturating_add(skew) {
        return Err(Refusal::Expired);
    }
    check_body(request)?;

    let headers = signed_headers(request.headers);
    let signed_by = |form: ResourceForm, feed: &dyn Fn(&mut Hmac<Sha1>)| {
        secrets.iter().map(AsRef::as_ref).enumerate().find_map(|(index, secret)| {
            if secret.is_empty() {
                return None;
            }
            let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret).ok()?;
            feed_head(&mut mac, request, &headers);
            feed(&mut mac);
            mac.verify_slice(&query.signature).ok().map(|()| Verified { secret: index, form })
        })
    };
    if let Some(verified) = signed_by(ResourceForm::Raw, &|mac| query.resource.feed_raw(|part| mac.update(part))) {
        return Ok(verified);
    }
    query
        .resource
        .reencoded()
        .and_then(|query| {
            signed_by(ResourceForm::Reencoded, &|mac| {
                if !query.is_empty() {
                    mac.update(b"?");
                    mac.update(query.as_bytes());
                }
            })
        })
        .ok_or(Refusal::Mismatch)
}

/// How long the request stays valid after `now`, in seconds; until then whoever has seen it can send it again.
pub fn lifetime(headers: &HeaderMap, now: DateTime<Utc>) -> i64 {
    expiry(headers).map_or(0, |expires| expires.saturating_sub(now.timestamp()).max(0))
}

/// Refuses a request whose `client_id` no tenant has, after the work that a tenant's would cost.
pub fn refuse_unknown(request: &Request<'_>, query: &SignedQuery<'_>, now: DateTime<Utc>, skew: Duration) -> Refusal {
    // The verdict means nothing, and its work must not be optimised away.
    std::hint::black_box(verify(request, query, &NOBODY, now, skew).is_ok());
    Refusal::UnknownTenant
}

/// The only `X-TS-REC-Expires`, in Unix seconds.
fn expiry(headers: &HeaderMap) -> Result<i64, Refusal> {
    let mut values = headers.get_all(EXPIRES).iter();
    let value = values.next().ok_or(Refusal::MissingExpires)?;
    if values.next().is_some() {
        return Err(Refusal::MalformedExpires);
    }
    let digits = value.as_bytes().trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::MalformedExpires);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Refusal::MalformedExpires)
}

/// Compares the body with its `Content-MD5`, when there is one.
fn check_body(request: &Request<'_>) -> Result<(), Refusal> {
    let mut values = request.headers.get_all("content-md5").iter();
    let Some(value) = values.next() else { return Ok(()) };
    let value = value.as_bytes().trim_ascii();
    let mut expected = [0; 24];
    match (values.next(), BASE64.decode_slice(value, &mut expected)) {
        // An empty one is signed as none is.
        (None, _) if value.is_empty() => Ok(()),
        (None, Ok(16)) if expected[..16] == Md5::digest(request.body)[..] => Ok(()),
        _ => Err(Refusal::BodyDigest),
    }
}

/// The signed headers, lower-cased by the parser, sorted by name and then value.
fn signed_headers(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    let mut signed: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(SIGNED_PREFIX))
        .map(|(name, value)| (name.as_str(), value.as_bytes().trim_ascii()))
        .collect();
    signed.sort_unstable();
    signed
}

/// Feeds what is signed before the query.
fn feed_head(mac: &mut Hmac<Sha1>, request: &Request<'_>, headers: &[(&str, &[u8])]) {
    mac.update(request.method.as_bytes());
    mac.update(b"\n");
    for name in ["content-md5", "content-type", EXPIRES] {
        mac.update(request.headers.get(name).map_or(&b""[..], |value| value.as_bytes()));
        mac.update(b"\n");
    }
    for (name, value) in headers {
        mac.update(name.as_bytes());
        mac.update(b":");
        mac.update(value);
        mac.update(b"\n");
    }
    mac.update(request.path.as_bytes());
}

/// The 20 bytes of a signature parameter's raw value. Padding is required, as base64's standard alphabet has it.
fn decode_signature(raw: &str) -> Option<[u8; 20]> {
    let mut text = [0; 28];
    let mut length = 0;
    for byte in percent_decode(raw.as_bytes()) {
        *text.get_mut(length)? = if byte == b' ' { b'+' } else { byte };
        length += 1;
    }
    let mut bytes = [0; 24];
    match BASE64.decode_slice(&text[..length], &mut bytes) {
        Ok(20) => bytes[..20].try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
