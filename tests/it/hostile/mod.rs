//! Strangers and captures: what comes over the public address from those who do not mean well, and what they put into
//! records.

mod captures;
mod connections;
mod content;
mod crowd;
mod framing;
mod records;
mod reuse;

use crate::harness::{CLIENT_ID, SECRET, World, raw};

pub const EVENTS: &str = "/api/talentsoft/v1/acme/events";
/// Later than any of these tests, by whichever clock.
pub const LATER: &str = "4000000000";

/// A target that is signed for `acme`, with a body that is not covered.
pub fn signed_target() -> String {
    let query = format!("client_id={CLIENT_ID}");
    let signature = raw::signature_until("POST", EVENTS, SECRET, &query, LATER);
    format!("{EVENTS}?{query}&signature={signature}")
}

/// The head of a good request as far as its framing.
pub fn good_head() -> String {
    format!("POST {} HTTP/1.1\r\nhost: x\r\nx-ts-rec-expires: {LATER}\r\n", signed_target())
}

/// A good request about a vacancy.
pub fn good_request(reference: &str) -> String {
    let body = format!(r#"{{"event_type":"vacancy_update","reference":"{reference}"}}"#);
    format!("{}content-length: {}\r\n\r\n{body}", good_head(), body.len())
}

/// A good callback is answered as ever.
pub async fn assert_well(base: &str) {
    let body = br#"{"event_type":"hiring_finished"}"#;
    let answer = raw::send(base, "POST", &signed_target(), &[("X-TS-REC-Expires", LATER)], body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn delivered(world: &World, key: &str) -> i64 {
    sqlx::query_scalar("select count(*) from delivery where key = $1")
        .bind(key)
        .fetch_one(world.database.pool())
        .await
        .unwrap()
}
