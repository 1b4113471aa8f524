use axum::http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const NOW: i64 = 1_789_000_000;
const PATH: &str = "/api/talentsoft/v1/events";
const SECRET: &str = "vector-secret-0001";

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    now_unix: i64,
    client_id: String,
    secret: String,
    valid: bool,
}

fn at(unix: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(unix, 0).unwrap()
}

fn header_map(headers: &[(impl AsRef<str>, impl AsRef<[u8]>)]) -> HeaderMap {
    let pair = |(name, value): &(_, _)| header(AsRef::<str>::as_ref(name), AsRef::<[u8]>::as_ref(value));
    headers.iter().map(pair).collect()
}

fn header(name: &str, value: &[u8]) -> (HeaderName, HeaderValue) {
    (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())
}

/// Signs as the sender does, in its own words: one string, built whole.
fn sign(secret: &[u8], method: &str, headers: &[(&str, &str)], resource: &str) -> String {
    let value = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or("", |(_, value)| *value)
    };
    let mut lines: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name.to_lowercase().starts_with("x-ts-rec-"))
        .map(|(name, value)| format!("{}:{}\n", name.to_lowercase(), value.trim()))
        .collect();
    lines.sort();
    let (md5, kind, expires) = (value("Content-MD5"), value("Content-Type"), value("X-TS-REC-Expires"));
    let text = format!("{method}\n{md5}\n{kind}\n{expires}\n{}{resource}", lines.concat());
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

fn check(
    method: &str,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[&str],
) -> Result<Verified, Refusal> {
    let query = SignedQuery::parse(query)?;
    verify(&Request { method, path, headers, body }, &query, secrets, at(NOW), Duration::ZERO)
}

/// Signs `signed` and presents `sent`, both queries; `{}` in `sent` is the signature.
fn present(signed: &str, sent: &str) -> Result<Verified, Refusal> {
    let headers = [("X-TS-REC-Expires", "1789000300")];
    let resource = if signed.is_empty() { PATH.to_owned() } else { format!("{PATH}?{signed}") };
    let signature = sign(SECRET.as_bytes(), "POST", &headers, &resource);
    check("POST", PATH, &sent.replace("{}", &signature), &header_map(&headers), b"", &[SECRET])
}

#[test]
fn every_vector_gets_its_verdict() {
    let file: Vectors = serde_json::from_str(include_str!("../../../testdata/signature-vectors.json")).unwrap();
    assert_eq!(file.vectors.len(), 14);
    for v in file.vectors {
        let query = SignedQuery::parse(&v.query).unwrap();
        assert_eq!(query.client_id(), v.client_id, "{}", v.id);
        let headers = header_map(&v.headers);
        let request = Request { method: &v.method, path: &v.path, headers: &headers, body: v.body.as_bytes() };
        let result = verify(&request, &query, &[&v.secret], at(v.now_unix), Duration::ZERO);
        assert_eq!(result.is_ok(), v.valid, "{}: {result:?}", v.id);
    }
}

#[test]
fn queries_that_cannot_be_verified() {
    let good = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (query, refusal) in [
        ("", Refusal::MissingSignature),
        ("client_id=c", Refusal::MissingSignature),
        ("client_id=c&signature=", Refusal::MalformedSignature),
        ("client_id=c&signature=AAAA", Refusal::MalformedSignature),
        ("client_id=c&signature=AAAAAAAAAAAAAAAAAAAAAAAAAAA", Refusal::MalformedSignature),
        ("client_id=c&signature=AAAAAAAAAAAAAAAAAAAAAAAAAA!=", Refusal::MalformedSignature),
        ("client_id=c&signature=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Refusal::MalformedSignature),
        ("signature={}", Refusal::MissingClientId),
        ("signature={}&client_id=", Refusal::MissingClientId),
        ("signature={}&client_id=c&signature={}", Refusal::DuplicateSignature),
        ("signature={}&client_id=c&%73ignature={}", Refusal::DuplicateSignature),
        ("signature={}&client_id=c&client_id=d", Refusal::DuplicateClientId),
    ] {
        let parsed = SignedQuery::parse(&query.replace("{}", good)).map(|_| ());
        assert_eq!(parsed, Err(refusal), "{query}");
    }
    let query = SignedQuery::parse("client_id=a%20b+c&signature=AAAAAAAAAAAAAAAAAAAAAAAAAAA=").map_err(|_| ()).unwrap();
    assert_eq!(query.client_id(), "a b+c");
}

#[test]
fn a_plus_that_a_proxy_made_a_space_is_a_plus() {
    let headers = header_map(&[("Content-Type", "application/json"), ("X-TS-REC-Expires", "1789000303")]);
    for signature in ["JfE1ux2Mu/BhoNkPhFSlBRd1 qU=", "JfE1ux2Mu/BhoNkPhFSlBRd1%20qU="] {
        let query = format!("client_id=11111111-2222-3333-4444-555555555555&signature={signature}");
        assert!(check("POST", PATH, &query, &headers, b"", &[SECRET]).is_ok());
    }
}

#[test]
fn the_query_in_both_forms() {
    let raw = Ok(Verified { secret: 0, form: ResourceForm::Raw });
    let reencoded = Ok(Verified { secret: 0, form: ResourceForm::Reencoded });
    assert_eq!(present("client_id=c&x=1", "client_id=c&signature={}&x=1"), raw);
    assert_eq!(present("client_id=c&x=1", "signature={}&client_id=c&x=1"), raw);
    assert_eq!(present("client_id=c&x=a%2fb", "client_id=c&x=a%2fb&signature={}"), raw);
    assert_eq!(present("client_id=c&x=a%2Fb", "client_id=c&x=a%2fb&signature={}"), reencoded);
    assert_eq!(present("client_id=c&x=a+b", "client_id=c&x=a%20b&signature={}"), reencoded);
    assert_eq!(present("x=1&client_id=c", "client_id=c&x=1&signature={}"), Err(Refusal::Mismatch));
}

#[test]
fn headers_that_refuse() {
    let query = "client_id=c&signature=AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let refused = |headers: &[(&str, &str)]| check("POST", PATH, query, &header_map(headers), b"x", &[SECRET]);
    let late = "1789000300";
    for (headers, refusal) in [
        (&[][..], Refusal::MissingExpires),
        (&[("x-ts-rec-expires", "")], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", "-5")], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", "+5")], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", "1789000300.5")], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", "99999999999999999999")], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", late), ("x-ts-rec-expires", late)], Refusal::MalformedExpires),
        (&[("x-ts-rec-expires", "1788999999")], Refusal::Expired),
        // An empty one is signed as none is, so that the signature alone decides.
        (&[("x-ts-rec-expires", late), ("content-md5", "")], Refusal::Mismatch),
        (&[("x-ts-rec-expires", late), ("content-md5", ""), ("content-md5", "")], Refusal::BodyDigest),
        (&[("x-ts-rec-expires", late), ("content-md5", "AAAA")], Refusal::BodyDigest),
        (&[("x-ts-rec-expires", late), ("content-md5", "nd2j")], Refusal::BodyDigest),
        (&[("x-ts-rec-expires", late)], Refusal::Mismatch),
    ] {
        assert_eq!(refused(headers), Err(refusal), "{headers:?}");
    }
    let right = BASE64.encode(Md5::digest(b"x"));
    assert_eq!(refused(&[("x-ts-rec-expires", late), ("content-md5", &right)]), Err(Refusal::Mismatch));
    let twice = [("x-ts-rec-expires", late), ("content-md5", &right), ("content-md5", &right)];
    assert_eq!(refused(&twice), Err(Refusal::BodyDigest));
}

#[test]
fn the_skew_is_an_allowance_and_no_more() {
    let headers = [("x-ts-rec-expires", "1789000000")];
    let signature = sign(SECRET.as_bytes(), "POST", &headers, &format!("{PATH}?client_id=c"));
    let query = format!("client_id=c&signature={signature}");
    let query = SignedQuery::parse(&query).map_err(|_| ()).unwrap();
    let headers = header_map(&headers);
    let request = Request { method: "POST", path: PATH, headers: &headers, body: b"" };
    let skew = Duration::from_secs(60);
    assert!(verify(&request, &query, &[SECRET], at(NOW + 60), skew).is_ok());
    assert_eq!(verify(&request, &query, &[SECRET], at(NOW + 61), skew), Err(Refusal::Expired));
}

#[test]
fn secrets_are_tried_in_order_and_an_empty_one_never_verifies() {
    let headers = [("x-ts-rec-expires", "1789000300")];
    let query = |secret: &str| {
        let signature = sign(secret.as_bytes(), "POST", &headers, &format!("{PATH}?client_id=c"));
        format!("client_id=c&signature={signature}")
    };
    let map = header_map(&headers);
    let verdict = |secret: &str, secrets: &[&str]| check("POST", PATH, &query(secret), &map, b"", secrets);
    assert_eq!(verdict("new", &["old", "new"]).map(|v| v.secret), Ok(1));
    assert_eq!(verdict("old", &["old", "new"]).map(|v| v.secret), Ok(0));
    assert_eq!(verdict("", &["", "new"]), Err(Refusal::Mismatch));
    assert_eq!(verdict("new", &[]), Err(Refusal::Mismatch));
}

#[test]
fn nobody_signs_for_an_unknown_tenant() {
    let headers = [("x-ts-rec-expires", "1789000300")];
    let signature = sign(NOBODY[0], "POST", &headers, &format!("{PATH}?client_id=c"));
    let query = format!("client_id=c&signature={signature}");
    let query = SignedQuery::parse(&query).map_err(|_| ()).unwrap();
    let headers = header_map(&headers);
    let request = Request { method: "POST", path: PATH, headers: &headers, body: b"" };
    assert_eq!(refuse_unknown(&request, &query, at(NOW), Duration::ZERO), Refusal::UnknownTenant);
}

#[test]
fn header_values_outside_ascii_are_signed_as_bytes() {
    let value = "r\u{e9}f";
    let headers = [("X-TS-REC-Expires", "1789000300"), ("X-TS-REC-Event", value), ("Content-Type", value)];
    let signature = sign(SECRET.as_bytes(), "POST", &headers, &format!("{PATH}?client_id=c"));
    let query = format!("client_id=c&signature={signature}");
    assert!(check("POST", PATH, &query, &header_map(&headers), b"", &[SECRET]).is_ok());
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_no_changed_byte_does(
        secret in "[ -~]{1,80}",
        path in "/[a-zA-Z0-9_.~/%-]{0,40}",
        client in "[a-zA-Z0-9-]{1,40}",
        extra in "(&[a-z]{1,4}=[a-zA-Z0-9%+_.-]{0,10}){0,3}",
        kind in "[a-z/; =-]{0,30}",
        event in "[!-~]{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
        ahead in 0..1_000_000_i64,
        change in any::<proptest::sample::Index>(),
    ) {
        prop_assume!(!extra.contains("&client_id="));
        let (md5, expires) = (BASE64.encode(Md5::digest(&body)), (NOW + ahead).to_string());
        let parts = [&path, &format!("client_id={client}{extra}"), kind.trim(), &event, &expires].map(str::to_owned);
        let headers = |parts: &[String; 5]| [
            ("Content-MD5", md5.clone()), ("Content-Type", parts[2].clone()),
            ("X-TS-REC-Event", parts[3].clone()), ("X-TS-REC-Expires", parts[4].clone()),
        ];
        let signed = headers(&parts);
        let signed: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let signature = sign(secret.as_bytes(), "POST", &signed, &format!("{}?{}", parts[0], parts[1]));
        let verdict = |parts: &[String; 5], body: &[u8], signature: &str| {
            let query = format!("{}&signature={signature}", parts[1]);
            check("POST", &parts[0], &query, &header_map(&headers(parts)), body, &[&secret])
        };
        prop_assert_eq!(verdict(&parts, &body, &signature), Ok(Verified { secret: 0, form: ResourceForm::Raw }));

        // One byte of everything signed, body and signature included, becomes another.
        let lengths = parts.iter().map(String::len).chain([body.len(), signature.len() - 1]).collect::<Vec<_>>();
        let mut at = change.index(lengths.iter().sum());
        let mut part = 0;
        while at >= lengths[part] {
            at -= lengths[part];
            part += 1;
        }
        let (mut parts, mut body, mut signature) = (parts, body, signature);
        let other = |text: &str| {
            let replacement = if &text[at..=at] == "1" { "2" } else { "1" };
            format!("{}{replacement}{}", &text[..at], &text[at + 1..])
        };
        match part {
            5 => body[at] ^= 1,
            6 => signature = other(&signature),
            _ => parts[part] = other(&parts[part]),
        }
        prop_assert!(verdict(&parts, &body, &signature).is_err());
    }

    #[test]
    fn any_request_with_its_own_signature_is_genuine_and_with_no_other(
        method in "(POST|GET|HEAD|PUT|[A-Z]{1,8})",
        path in "/[!-\"$->@-~]{0,40}",
        query in proptest::collection::vec(
            prop_oneof![
                Just("client_id=c".to_owned()), Just("signature=x".to_owned()), Just("client%5fid=d".to_owned()),
                "[a-z]{0,3}=[ -%'-~]{0,8}", "(%[0-9a-fA-F]{2}|%[g-z]{0,2}|[+&;=]){0,6}", "\\PC{0,6}",
            ],
            0..6,
        ),
        headers in proptest::collection::vec(
            prop_oneof![
                Just("x-ts-rec-expires:1789000300".to_owned()), Just("content-md5:".to_owned()),
                "(x-ts-rec-[a-c]|X-TS-REC-B):[ -~]{0,12}", "(content-type|x-ts-record|accept):[ -~]{0,12}",
            ],
            0..7,
        ),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let head = format!("{method} {path}?{}\n{}\n\n", query.join("&"), headers.join("\n"));
        // What is promised, checked against a signature of its own making: over the query as it is and encoded anew,
        // with this secret, another, an empty one and none.
        crate::intake::fuzzing::headers(&[head.as_bytes(), &body].concat());
    }

    #[test]
    fn no_bit_of_a_signature_may_differ_and_no_tenants_secret_verifies_anothers(
        secrets in proptest::collection::hash_set("[ -~]{1,70}", 2..6),
        bit in 0..160_usize,
        rest in "(&[a-z]{1,4}=[a-zA-Z0-9%+/_.-]{0,10}){0,3}",
    ) {
        prop_assume!(!rest.contains("&client_id="));
        let headers = [("X-TS-REC-Expires", "1789000300")];
        let map = header_map(&headers);
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        for (nth, secret) in secrets.iter().enumerate() {
            let signature = sign(secret.as_bytes(), "POST", &headers, &format!("{PATH}?client_id=c{rest}"));
            let verdict = |signature: &str, secrets: &[&str]| {
                let query = format!("client_id=c{rest}&signature={signature}");
                check("POST", PATH, &query, &map, b"", secrets).map(|verified| verified.secret)
            };
            prop_assert_eq!(verdict(&signature, &secrets), Ok(nth));
            let others: Vec<&str> = secrets.iter().filter(|other| *other != secret).copied().collect();
            prop_assert_eq!(verdict(&signature, &others), Err(Refusal::Mismatch));
            let mut bytes = BASE64.decode(&signature).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verdict(&BASE64.encode(bytes), &secrets), Err(Refusal::Mismatch));
        }
    }
}
