//! What a callback announces.
//!
//! A body is only a hint (it is often outside the signature), so nothing in it can make a callback fail: what cannot
//! be read is announced as such, with its reason, and is stored and acknowledged like the rest. Member names are those
//! seen in production for `vacancy_status`, and those that running clients read for the others.

use std::ops::Range;

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};

use crate::domain::lenient::{Unread, view};
use crate::domain::{Kind, Subject};

/// The longest key that is stored, in bytes: well under what a PostgreSQL index entry takes.
pub const KEY_MAX: usize = 512;
/// The longest event name that is stored, in bytes; the rest is cut.
pub const EVENT_MAX: usize = 128;
/// The most events of one array that become deliveries of their own. A body of the largest size allowed holds about
/// as many real events; what lies beyond is one ignored delivery, so that one request cannot make 30,000 rows.
pub const ANNOUNCED_MAX: usize = 1_024;

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Nothing at all: a ping.
    Ping,
    /// At least one event.
    Events(Vec<Announced>),
}

/// One event of a body: one delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Announced {
    /// The event's name in the wire's words, `""` when missing; cut at `EVENT_MAX` bytes, without NUL.
    pub event: String,
    /// What the event is about, when it names anything.
    pub subject: Option<Subject>,
    /// When it happened, as the sender says.
    pub event_date: Option<DateTime<Utc>>,
    /// Why it raises nothing; set exactly when `subject` is not.
    pub ignored: Option<Ignored>,
    /// Where in the body the event stands: all of it, or its element of the array.
    pub span: Range<usize>,
}

/// Why an event raises no subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Not JSON, or JSON that is not an object.
    Unreadable,
    /// An object without any known key.
    NoKey,
    /// A key that is empty, holds a NUL, or is longer than `KEY_MAX` bytes.
    UnusableKey,
    /// Beyond the `ANNOUNCED_MAX` first events of an array.
    TooMany,
}

impl Ignored {
    /// Every reason, for metrics.
    pub const ALL: [Ignored; 4] = [Ignored::Unreadable, Ignored::NoKey, Ignored::UnusableKey, Ignored::TooMany];

    /// The reason as stored and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ignored::Unreadable => "unreadable",
            Ignored::NoKey => "no_key",
            Ignored::UnusableKey => "unusable_key",
            Ignored::TooMany => "too_many",
        }
    }
}

view! {
    struct Event {
        event_type: Unread<'a> = "event_type",
        event_date: Unread<'a> = "event_date",
        applicant_id: Unread<'a> = "applicantId",
        candidate_id: Unread<'a> = "candidateId",
        reference: Unread<'a> = "reference",
        vacancy_reference: Unread<'a> = "vacancyReference",
    }
}

/// Reads a body, whatever it is.
pub fn read(body: &[u8]) -> Payload {
    let start = if body.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let content = &body[start..];
    let Some(leading) = content.iter().position(|b| !b.is_ascii_whitespace()) else {
        return Payload::Ping;
    };
    let first = start + leading;
    let Ok(text) = std::str::from_utf8(&body[first..]) else {
        return Payload::Events(vec![ignored(Ignored::Unreadable, first..body.len())]);
    };
    Payload::Events(match text.as_bytes()[0] {
        b'[' => read_array(text, first),
        _ => vec![read_event(text, first)],
    })
}

/// One announcement per element of the array `text`, which stands at `offset` in the body.
fn read_array(text: &str, offset: usize) -> Vec<Announced> {
    let Ok(elements) = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text) else {
        return vec![ignored(Ignored::Unreadable, offset..offset + text.len())];
    };
    let start_of = |element: &str| offset + (element.as_ptr() as usize - text.as_ptr() as usize);
    let mut announced: Vec<Announced> =
        elements.iter().take(ANNOUNCED_MAX).map(|element| read_event(element.get(), start_of(element.get()))).collect();
    if let Some(beyond) = elements.get(ANNOUNCED_MAX) {
        announced.push(ignored(Ignored::TooMany, start_of(beyond.get())..offset + text.len()));
    }
    if announced.is_empty() {
        announced.push(ignored(Ignored::NoKey, offset..offset + text.len()));
    }
    announced
}

fn read_event(text: &str, offset: usize) -> Announced {
    let span = offset..offset + text.len();
    if !text.starts_with('{') {
        return ignored(Ignored::Unreadable, span);
    }
    let Ok(event) = serde_json::from_str::<Event<'_>>(text) else {
        return ignored(Ignored::Unreadable, span);
    };
    let name = event.event_type.text().map_or_else(String::new, |name| stored_name(&name));
    let (subject, ignored) = match subject(&event, &name) {
        Ok(subject) => (Some(subject), None),
        Err(reason) => (None, Some(reason)),
    };
    let event_date = event.event_date.text().and_then(|date| read_date(&date));
    Announced { event: name, subject, event_date, ignored, span }
}

fn ignored(reason: Ignored, span: Range<usize>) -> Announced {
    Announced { event: String::new(), subject: None, event_date: None, ignored: Some(reason), span }
}

/// The subject an event is about. Applications live in the candidate's record, so a candidate wins over a vacancy;
/// the first usable key holds.
fn subject(event: &Event<'_>, name: &str) -> Result<Subject, Ignored> {
    let about_applicant = name.as_bytes().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"applicant"));
    let reference = if about_applicant { Kind::Candidate } else { Kind::Vacancy };
    let keys = [
        (Kind::Candidate, &event.applicant_id),
        (Kind::Candidate, &event.candidate_id),
        (reference, &event.reference),
        (Kind::Vacancy, &event.vacancy_reference),
    ];
    let mut reason = Ignored::NoKey;
    for (kind, member) in keys {
        match member.text() {
            Some(key) if usable(&key) => return Ok(Subject::new(kind, key.into_owned())),
            Some(_) => reason = Ignored::UnusableKey,
            None => {}
        }
    }
    Err(reason)
}

fn usable(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY_MAX && !key.as_bytes().contains(&0)
}

fn stored_name(name: &str) -> String {
    let mut end = name.len().min(EVENT_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let cut = &name[..end];
    if cut.as_bytes().contains(&0) { cut.replace('\0', "") } else { cut.to_owned() }
}

/// Dates are UTC with a `Z`; one without a zone is taken as UTC.
fn read_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|date| date.to_utc())
        .or_else(|_| text.parse::<NaiveDateTime>().map(|date| date.and_utc()))
        .ok()
        // PostgreSQL knows fewer.
        .filter(|date| (1..=9999).contains(&date.year()))
}

#[cfg(test)]
mod tests;
