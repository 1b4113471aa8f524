//! How callbacks are signed: the old object-store style, HMAC-SHA1 over a few
//! lines of text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;

/// What one callback is signed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// Base64 of the binary MD5 of the body; empty when the header is not sent.
    pub(crate) content_md5: &'a str,
    /// The header's value with its parameters; empty when it is not sent.
    pub(crate) content_type: &'a str,
    /// Unix seconds, the value of `X-TS-REC-Expires`.
    pub(crate) expires: i64,
    /// Path and query of the callback URL, without `signature`.
    pub(crate) resource: &'a str,
}

impl Signed<'_> {
    /// The text that is signed. `X-TS-REC-Expires` stands in it twice: on its
    /// own line, and as one of the `x-ts-rec-` headers, of which it is the only
    /// one that was seen in production.
    pub(crate) fn text(&self) -> String {
        let Self { method, content_md5, content_type, expires, resource } = self;
        format!("{method}\n{content_md5}\n{content_type}\n{expires}\nx-ts-rec-expires:{expires}\n{resource}")
    }

    /// Base64 of the HMAC-SHA1, as it goes raw into the query.
    pub(crate) fn signature(&self, secret: &str) -> String {
        sign(secret, &self.text())
    }
}

/// Base64 of HMAC-SHA1 of `text` under `secret`.
pub(crate) fn sign(secret: &str, text: &str) -> String {
    // An HMAC takes a key of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The value of `Content-MD5` for a body.
pub(crate) fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

#[cfg(test)]
mod tests {
    use super::{Signed, content_md5};

    const SECRET: &str = "vector-secret-0001";
    const CLIENT: &str = "client_id=11111111-2222-3333-4444-555555555555";
    const BODY: &str = "{\"reference\":\"2026-1000001\",\"statusId\":\"_TS_CO_OfferStatus_Archive\",\"uri\":\"/api/v1/vacancies/2026-1000001\",\"event_type\":\"vacancy_status\",\"event_date\":\"2026-09-10T00:25:50Z\"}";

    fn signature(md5: &str, content_type: &str, expires: i64, path: &str) -> String {
        let resource = format!("{path}?{CLIENT}");
        let signed = Signed { method: "POST", content_md5: md5, content_type, expires, resource: &resource };
        signed.signature(SECRET)
    }

    #[test]
    fn the_text_has_the_lines_a_production_receiver_checks() {
        let resource = format!("/api/talentsoft/v1/pingevents?{CLIENT}");
        let signed =
            Signed { method: "POST", content_md5: "", content_type: "", expires: 1_789_000_300, resource: &resource };
        assert_eq!(
            signed.text(),
            "POST\n\n\n1789000300\nx-ts-rec-expires:1789000300\n/api/talentsoft/v1/pingevents?client_id=11111111-2222-3333-4444-555555555555"
        );
    }

    #[test]
    fn the_vectors_come_out() {
        let events = "/api/talentsoft/v1/events";
        assert_eq!(signature("", "", 1_789_000_300, "/api/talentsoft/v1/pingevents"), "9ffeQRw0E/+E5j8EJrSKMQ7OkC4=");
        assert_eq!(signature("", "application/json", 1_789_000_300, events), "+1fQwIwDelqXTGir3r0EUKJ4dbw=");
        let md5 = content_md5(BODY.as_bytes());
        assert_eq!(md5, "/6kA7esiefqA12pU1PLlHw==");
        assert_eq!(
            signature(&md5, "application/json; charset=utf-8", 1_789_000_300, events),
            "JgrpT3clhB0DWS2MvNOvrSZmCsY="
        );
        assert_eq!(signature("", "application/json", 1_789_000_303, events), "JfE1ux2Mu/BhoNkPhFSlBRd1+qU=");
    }
}
