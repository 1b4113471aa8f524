//! One callback as Cegid sends it: signed by code of the bench's own, each unlike any other.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

/// Name of the tenant in the service's settings.
pub const TENANT: &str = "bench";
/// The credential that callbacks name.
pub const CLIENT_ID: &str = "5e1ec7ed-0000-4000-8000-000000000001";
/// Its secret.
pub const SECRET: &str = "bench+secret/1";
/// Bytes of a body, as of a real callback with some members more.
pub const BODY_BYTES: usize = 330;

const CONTENT_TYPE: &str = "application/json";
/// Enough for the longest run.
const GOOD_FOR_SECONDS: i64 = 3600;

/// Writes requests for one tenant.
#[derive(Clone)]
pub struct Signer {
    /// Keyed once; each signature begins with a copy.
    mac: Hmac<Sha1>,
    /// Path and query, without the signature.
    resource: String,
    expires: String,
    date: String,
}

impl Signer {
    /// For requests that are sent from `now` on.
    pub fn new(now: chrono::DateTime<chrono::Utc>) -> anyhow::Result<Signer> {
        Ok(Signer {
            mac: keyed(SECRET)?,
            resource: format!("/api/talentsoft/v1/{TENANT}/events?client_id={CLIENT_ID}"),
            expires: (now.timestamp() + GOOD_FOR_SECONDS).to_string(),
            date: now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }

    /// Puts the whole request into `out`. `key` is written as JSON; `number` makes the body one of its kind.
    pub fn write(&self, out: &mut String, body: &mut String, key: &str, number: u64) {
        self.body(body, key, number);
        let digest = BASE64.encode(Md5::digest(&body));
        let signature = sign(self.mac.clone(), &digest, CONTENT_TYPE, &self.expires, &self.resource);
        out.clear();
        // Writing to a string cannot fail.
        let _infallible = write!(
            out,
            "POST {}&signature={signature} HTTP/1.1\r\nhost: bench\r\ncontent-type: {CONTENT_TYPE}\r\n\
             content-md5: {digest}\r\nx-ts-rec-expires: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.resource,
            self.expires,
            body.len()
        );
    }

    fn body(&self, body: &mut String, key: &str, number: u64) {
        body.clear();
        let _infallible = write!(
            body,
            r#"{{"reference":{key},"statusId":"_TS_CO_OfferStatus_Diffuse","uri":"/api/v1/vacancies/{number:016}","event_type":"vacancy_update","event_date":"{}","note":""#,
            self.date
        );
        while body.len() < BODY_BYTES - 2 {
            body.push('x');
        }
        body.push_str("\"}");
    }
}

fn keyed(secret: &str) -> anyhow::Result<Hmac<Sha1>> {
    <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()).map_err(|_| anyhow::anyhow!("keying the signature"))
}

fn sign(mut mac: Hmac<Sha1>, digest: &str, content_type: &str, expires: &str, resource: &str) -> String {
    for part in ["POST\n", digest, "\n", content_type, "\n", expires, "\nx-ts-rec-expires:", expires, "\n", resource] {
        mac.update(part.as_bytes());
    }
    BASE64.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_published_vector() {
        let resource = "/api/talentsoft/v1/events?client_id=11111111-2222-3333-4444-555555555555";
        let mac = keyed("vector-secret-0001").unwrap();
        let signature =
            sign(mac, "/6kA7esiefqA12pU1PLlHw==", "application/json; charset=utf-8", "1789000300", resource);
        assert_eq!(signature, "JgrpT3clhB0DWS2MvNOvrSZmCsY=");
    }

    #[test]
    fn bodies_have_one_size_and_differ() {
        let signer = Signer::new(chrono::DateTime::UNIX_EPOCH).unwrap();
        let (mut one, mut other) = (String::new(), String::new());
        signer.body(&mut one, "\"2026-1\"", 1);
        signer.body(&mut other, "\"2026-1\"", 2);
        assert_eq!((one.len(), other.len()), (BODY_BYTES, BODY_BYTES));
        assert_ne!(one, other);
        assert!(serde_json::from_str::<serde_json::Value>(&one).is_ok());
    }
}
