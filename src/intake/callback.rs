//! A callback whose signature was verified.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::payload::{self, Announced, Payload};
use crate::domain::{Subject, TenantId};

/// Reason of a delivery that is a ping.
const PING: &str = "ping";
/// Events that have a label of their own in metrics.
const KNOWN: [&str; 8] = [
    "vacancy_new",
    "vacancy_update",
    "vacancy_status",
    "vacancy_deleted",
    "applicant_new",
    "applicant_update",
    "applicant_resume_update",
    "application_event_new",
];

/// A request of a tenant's own Cegid, read to its end. Only the gate makes one.
#[derive(Debug)]
pub struct VerifiedCallback {
    tenant: TenantId,
    request_id: Uuid,
    received_at: DateTime<Utc>,
    events: Vec<ReceivedEvent>,
}

/// One event of it: one delivery.
#[derive(Debug)]
pub struct ReceivedEvent {
    announced: Option<Announced>,
    body: Bytes,
}

impl VerifiedCallback {
    /// Reads what the body announces. On the ping path a body that raises nothing is a ping whatever it holds.
    pub(super) fn new(tenant: TenantId, received_at: DateTime<Utc>, body: Bytes, ping_path: bool) -> VerifiedCallback {
        let events = match payload::read(&body) {
            Payload::Ping => vec![ReceivedEvent { announced: None, body }],
            Payload::Events(events) if ping_path && events.iter().all(|event| event.subject.is_none()) => {
                vec![ReceivedEvent { announced: None, body }]
            }
            Payload::Events(events) => events
                .into_iter()
                .map(|announced| {
                    let body = body.slice(announced.span.clone());
                    ReceivedEvent { announced: Some(announced), body }
                })
                .collect(),
        };
        VerifiedCallback { tenant, request_id: Uuid::now_v7(), received_at, events }
    }

    /// One that nobody has sent.
    #[cfg(test)]
    pub(crate) fn made_up(tenant: TenantId, body: &str) -> VerifiedCallback {
        VerifiedCallback::new(tenant, DateTime::UNIX_EPOCH, body.to_owned().into(), false)
    }

    /// Whose secret verified it.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Shared by the events of one request.
    pub fn request_id(&self) -> Uuid {
        self.request_id
    }

    /// When it was read to its end.
    pub fn received_at(&self) -> DateTime<Utc> {
        self.received_at
    }

    /// At least one.
    pub fn events(&self) -> &[ReceivedEvent] {
        &self.events
    }
}

impl ReceivedEvent {
    /// The subject that it raises.
    pub fn raised(&self) -> Option<&Subject> {
        self.announced.as_ref()?.subject.as_ref()
    }

    /// Its name in the wire's words; empty when it has none.
    pub fn event(&self) -> &str {
        self.announced.as_ref().map_or("", |announced| &announced.event)
    }

    /// When Cegid says the change happened.
    pub fn event_date(&self) -> Option<DateTime<Utc>> {
        self.announced.as_ref()?.event_date
    }

    /// Why it raises nothing.
    pub fn ignored(&self) -> Option<&'static str> {
        match &self.announced {
            None => Some(PING),
            Some(announced) => announced.ignored.map(|ignored| ignored.as_str()),
        }
    }

    /// Its bytes as received.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its name where only known ones may stand.
    pub fn metric_label(&self) -> &'static str {
        match &self.announced {
            None => PING,
            Some(announced) => KNOWN.iter().find(|known| **known == announced.event).copied().unwrap_or("other"),
        }
    }
}
