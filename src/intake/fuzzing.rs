//! What is promised of signed requests and of what they announce; see [`crate::fuzzing`].

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use url::form_urlencoded;

use super::payload::{self, ANNOUNCED_MAX, EVENT_MAX, KEY_MAX, Payload};
use super::query::{Resource, parameters};
use super::signature::{Refusal, Request, ResourceForm, SignedQuery, Verified, refuse_unknown, verify};

/// That of `testdata/signature-vectors.json`, as is the time.
const SECRET: &str = "vector-secret-0001";
const OTHER: &str = "vector-secret-0002";
const NOW: i64 = 1_789_000_000;
const SKEW: Duration = Duration::from_secs(60);

/// Reads a body as the payload of a callback.
///
/// Promised: every byte that is no ping is accounted for by at least one event; an event raises a subject that can be
/// stored or says why it does not, and stands where it says.
pub(crate) fn payload(body: &[u8]) {
    let Payload::Events(events) = payload::read(body) else { return };
    assert!((1..=ANNOUNCED_MAX + 1).contains(&events.len()));
    let mut after = 0;
    for event in events {
        assert_eq!(event.subject.is_some(), event.ignored.is_none());
        if let Some(subject) = event.subject {
            assert!((1..=KEY_MAX).contains(&subject.key().len()) && !subject.key().contains('\0'));
        }
        assert!(event.event.len() <= EVENT_MAX && !event.event.contains('\0'));
        assert!(after <= event.span.start && event.span.end <= body.len() && !event.span.is_empty());
        after = event.span.end;
    }
}

/// A query without what stands at one place of it.
fn without(parts: &[&str], place: usize) -> String {
    let others: Vec<&str> = parts.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, part)| *part).collect();
    others.join("&")
}

/// The places of the parameters of a name.
fn places(parts: &[&str], wanted: &str) -> Vec<usize> {
    let named = |part: &str| form_urlencoded::parse(part.as_bytes()).any(|(name, _)| name == wanted);
    parts.iter().enumerate().filter(|(_, part)| named(part)).map(|(at, _)| at).collect()
}

/// The value of one parameter, its `+` a space.
fn form_value(part: &str) -> String {
    form_urlencoded::parse(part.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

/// The query as Python's `urlencode(parse_qsl(query, keep_blank_values=True))` makes it anew.
fn reencode(query: &str) -> String {
    let quote = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.map(|(name, value)| format!("{}={}", quote(&name), quote(&value))).collect::<Vec<_>>().join("&")
}

/// Takes any query apart.
///
/// Promised: the parameters are the query; leaving any one out gives the others as they came, or encoded anew; a
/// signature and a client are found when each is there once, and refused when they are not.
///
/// # Panics
/// When a promise is broken.
pub fn query(input: &[u8]) {
    let Ok(raw) = std::str::from_utf8(input) else { return };
    let parts: Vec<&str> = raw.split('&').collect();
    assert_eq!(parameters(raw).count(), parts.len());
    for (place, parameter) in parameters(raw).enumerate() {
        let rest = without(&parts, place);
        let resource = Resource::without(raw, &parameter);
        let mut fed = Vec::new();
        resource.feed_raw(|part| fed.extend_from_slice(part));
        let expected = if rest.is_empty() { String::new() } else { format!("?{rest}") };
        assert_eq!(String::from_utf8_lossy(&fed), expected);
        assert_eq!(resource.reencoded().as_deref().unwrap_or(&rest), reencode(&rest));
    }
    let (signatures, clients) = (places(&parts, "signature"), places(&parts, "client_id"));
    match SignedQuery::parse(raw) {
        Ok(query) => {
            assert_eq!((signatures.len(), clients.len()), (1, 1));
            // The client's value is percent-decoded alone: its `+` is one.
            assert_eq!(query.client_id(), form_value(&parts[clients[0]].replace('+', "%2B")));
            assert!(!query.client_id().is_empty());
        }
        Err(Refusal::DuplicateSignature) => assert!(signatures.len() > 1),
        Err(Refusal::DuplicateClientId) => assert!(clients.len() > 1),
        Err(Refusal::MissingSignature) => assert!(signatures.is_empty()),
        Err(Refusal::MissingClientId) => assert!(clients.is_empty() || form_value(parts[clients[0]]).is_empty()),
        Err(Refusal::MalformedSignature) => {
            let text = form_value(parts[signatures[0]]).replace(' ', "+");
            assert!(!BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 20));
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// A request as text: a line of method and target, lines of headers, an empty line, and the body.
struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: HeaderMap,
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    fn read(input: &'a [u8]) -> Option<Sent<'a>> {
        let end = input.windows(2).position(|two| two == b"\n\n");
        let (head, body) = end.map_or((input, &[][..]), |at| (&input[..at], &input[at + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for line in lines {
            let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let name = HeaderName::from_bytes(&line[..at]);
            let value = HeaderValue::from_bytes(line.get(at + 1..).unwrap_or_default());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Some(Sent { method, path, query, headers, body })
    }

    /// Whether a right signature lets it through: its time, and the digest of its body when it gives one.
    fn admissible(&self) -> bool {
        let values = |name: &str| {
            let values = self.headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes().trim_ascii()).into_owned()).collect::<Vec<_>>()
        };
        let [expires] = &values("x-ts-rec-expires")[..] else { return false };
        let in_time = expires.bytes().all(|byte| byte.is_ascii_digit())
            && expires.parse::<i64>().is_ok_and(|until| until >= NOW - SKEW.as_secs() as i64);
        let digest = values("content-md5");
        let whole = match &digest[..] {
            [] => true,
            [digest] => digest.is_empty() || *digest == BASE64.encode(Md5::digest(self.body)),
            _ => false,
        };
        in_time && whole
    }

    /// The signature over the request with this query, made from one text, built whole.
    fn sign(&self, secret: &str, query: &str) -> String {
        let mut text = self.method.as_bytes().to_vec();
        for name in ["content-md5", "content-type", "x-ts-rec-expires"] {
            text.push(b'\n');
            text.extend_from_slice(self.headers.get(name).map_or(b"", |value| value.as_bytes()));
        }
        let recruiting = self.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ts-rec-"));
        let mut lines: Vec<_> =
            recruiting.map(|(name, value)| (name.as_str(), value.as_bytes().trim_ascii())).collect();
        lines.sort();
        for (name, value) in lines {
            text.extend_from_slice(&[b"\n", name.as_bytes(), b":", value].concat());
        }
        text.push(b'\n');
        text.extend_from_slice(self.path.as_bytes());
        if !query.is_empty() {
            text.extend_from_slice(&[b"?", query.as_bytes()].concat());
        }
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()).expect("any length is a key");
        mac.update(&text);
        BASE64.encode(mac.finalize().into_bytes())
    }

    /// The verdict on the request with this query in the place of its own.
    fn verdict(&self, query: &str, secrets: &[&str]) -> Result<Verified, Refusal> {
        let query = SignedQuery::parse(query)?;
        let request = Request { method: self.method, path: self.path, headers: &self.headers, body: self.body };
        assert_eq!(refuse_unknown(&request, &query, now(), SKEW), Refusal::UnknownTenant);
        verify(&request, &query, secrets, now(), SKEW)
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap_or_default()
}

/// Verifies any request: as it came, and with a signature of our own.
///
/// Promised: a request is genuine exactly when its one signature is the one made with the secret, over either form of
/// its query, and it is admissible; signed with another secret, an empty one or none it never is.
///
/// # Panics
/// When a promise is broken.
pub fn headers(input: &[u8]) {
    let Some(sent) = Sent::read(input) else { return };
    let parts: Vec<&str> = sent.query.split('&').collect();
    let signatures = places(&parts, "signature");

    let genuine = sent.verdict(sent.query, &[SECRET]).is_ok();
    if let [signature] = signatures[..] {
        let (rest, given) = (without(&parts, signature), form_value(parts[signature]).replace(' ', "+"));
        let signed = [rest.clone(), reencode(&rest)].iter().any(|query| sent.sign(SECRET, query) == given);
        let client = places(&parts, "client_id");
        let named = client.len() == 1 && !form_value(parts[client[0]]).is_empty();
        assert_eq!(genuine, signed && named && sent.admissible());
    } else {
        assert!(!genuine);
    }
    assert!(sent.verdict(sent.query, &[OTHER, ""]).is_err());

    let rest: Vec<&str> =
        parts.iter().enumerate().filter(|(at, _)| !signatures.contains(at)).map(|(_, part)| *part).collect();
    let clients = places(&rest, "client_id");
    let named = clients.len() == 1 && !form_value(rest[clients[0]]).is_empty();
    let rest = rest.join("&");
    let genuine = named && sent.admissible();
    for (query, form) in [(rest.clone(), ResourceForm::Raw), (reencode(&rest), ResourceForm::Reencoded)] {
        let form = if query == rest { ResourceForm::Raw } else { form };
        let with = |secret: &str| {
            let signature = sent.sign(secret, &query);
            if rest.is_empty() { format!("signature={signature}") } else { format!("{rest}&signature={signature}") }
        };
        let verdict = sent.verdict(&with(SECRET), &[OTHER, SECRET]);
        assert_eq!(verdict.ok(), genuine.then_some(Verified { secret: 1, form }));
        for (secret, secrets) in [(OTHER, &[SECRET][..]), ("", &["", SECRET]), (SECRET, &[])] {
            assert!(sent.verdict(&with(secret), secrets).is_err());
        }
    }
}
