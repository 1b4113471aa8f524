//! What can be made to go wrong: on the API's endpoints, and on the way of
//! callbacks.

mod kinds;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub(crate) use kinds::{Asked, Bend};

use crate::tenant::Kind;
pub use kinds::{Compression, FaultKind};

/// The parts of the API that a fault can sit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `POST /api/token`.
    Token,
    /// Registering and unregistering hooks.
    Hooks,
    /// The vacancies export.
    Vacancies,
    /// The candidates export.
    Candidates,
    /// The reports.
    Reports,
    /// The referentials.
    Referentials,
    /// Every endpoint of the API; never the control API.
    Any,
}

impl Endpoint {
    /// The endpoint that a path belongs to; nothing for the control API.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/api/token" => Self::Token,
            "/api/exports/v1/vacancies" => Self::Vacancies,
            "/api/exports/v1/candidates" => Self::Candidates,
            "/api/exports/v1/reports" => Self::Reports,
            path if path.starts_with("/api/system/v1/webhooks") => Self::Hooks,
            path if path.starts_with("/api/v1/referentials/") => Self::Referentials,
            path if path.starts_with("/api/") => Self::Any,
            _ => return None,
        })
    }
}

/// A fault on an endpoint: for the next requests, for a time, or until cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where.
    pub endpoint: Endpoint,
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// How many requests it hits; without a number, all.
    #[serde(default)]
    pub times: Option<u64>,
    /// For how many seconds from now; without a number, until cleared.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// How many requests are let through before it begins.
    #[serde(default)]
    pub after: u64,
}

impl Fault {
    /// A fault until it is cleared.
    #[must_use]
    pub fn new(endpoint: Endpoint, kind: FaultKind) -> Self {
        Self { endpoint, kind, times: None, seconds: None, after: 0 }
    }

    /// The same for the next `times` requests only.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same for so many seconds only, counted from when it is added.
    #[must_use]
    pub fn seconds(self, seconds: u64) -> Self {
        Self { seconds: Some(seconds), ..self }
    }

    /// The same, once `after` requests were let through.
    #[must_use]
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }
}

/// What happens to callbacks on their way. All off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallbackFaults {
    /// Percent that are never sent.
    pub drop_percent: u8,
    /// Percent that are sent twice.
    pub duplicate_percent: u8,
    /// Whether the order within a burst is shuffled.
    pub shuffle: bool,
    /// Percent that wait for a later burst.
    pub delay_percent: u8,
    /// Milliseconds that a delayed one waits at least.
    pub delay_millis: u64,
}

/// Whether the tenant can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Down {
    /// It answers.
    #[default]
    No,
    /// The API answers 503 and closes the connection; the control API works.
    Unavailable,
    /// Every new connection is dropped at once, those to the control API too,
    /// and the API answers 503 on connections that are open already.
    Unreachable,
}

/// Answers that are kept back.
#[derive(Debug)]
pub(crate) struct Held {
    count: AtomicUsize,
    release: tokio::sync::watch::Sender<u64>,
}

impl Default for Held {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), release: tokio::sync::watch::Sender::new(0) }
    }
}

impl Held {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.release.send_modify(|number| *number += 1);
    }

    /// Returns with the next release. `begun` is called once that is certain.
    pub(crate) async fn wait(&self, begun: impl FnOnce()) {
        /// Counts down even when the caller hangs up and the wait is dropped.
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let mut release = self.release.subscribe();
        self.count.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.count);
        begun();
        // The sender lives as long as the tenant; without it there is no one to wait for.
        let _ended = release.changed().await;
    }
}

/// How the export treats one subject badly, while the truth about it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoil {
    /// It is left out, as if it were absent.
    Hidden,
    /// Its frame has the right size, and no archive in it.
    BrokenArchive,
    /// Its archive's JSON entry is cut in half.
    BrokenJson,
    /// Its archive's JSON entry lacks its last byte.
    UnclosedJson,
    /// Its archive has no JSON entry.
    NoEntry,
    /// Every answer that would hold it is 500.
    Unservable,
    /// Every list page that would hold it is 400.
    Unlistable,
    /// It has no update date, so that no list of a window of dates shows it.
    Undated,
    /// Every query that names it is 400; lists show it.
    Unaskable,
    /// No query that names it finds it; lists show it.
    Unfindable,
}

/// How the export writes one member of its records otherwise than it should: as
/// after an upgrade that nobody announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distortion {
    /// Under another name.
    Rename {
        /// The member's name.
        member: String,
        /// The name that it has instead.
        to: String,
    },
    /// With another value, of whatever type.
    Write {
        /// The member's name.
        member: String,
        /// Its value.
        value: serde_json::Value,
    },
}

impl Distortion {
    /// Changes a record's members.
    pub(crate) fn apply(&self, members: &mut serde_json::Map<String, serde_json::Value>) {
        match self {
            Self::Rename { member, to } => {
                if let Some(value) = members.remove(member) {
                    members.insert(to.clone(), value);
                }
            }
            Self::Write { member, value } => {
                members.insert(member.clone(), value.clone());
            }
        }
    }
}

/// A distortion, of all records of a kind or of one.
#[derive(Debug)]
pub(crate) struct Distorted {
    pub(crate) kind: Kind,
    pub(crate) key: Option<String>,
    pub(crate) how: Distortion,
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) spoiled: Mutex<HashMap<String, Spoil>>,
    /// Keys that no random change picks.
    pub(crate) spared: Mutex<HashSet<String>>,
    pub(crate) distorted: Mutex<Vec<Distorted>>,
    /// Answers kept back, and the number of the last release.
    pub(crate) held: Held,
    endpoints: Mutex<Vec<(Fault, Option<Instant>)>>,
    down: Mutex<(Down, Option<Instant>)>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        let until = fault.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        crate::lock(&self.endpoints).push((fault, until));
    }

    pub(crate) fn clear(&self) {
        crate::lock(&self.endpoints).clear();
    }

    pub(crate) fn all(&self) -> Vec<Fault> {
        crate::lock(&self.endpoints).iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// The fault that hits this request, if any: the oldest that applies.
    pub(crate) fn take(&self, endpoint: Endpoint, asked: Asked) -> Option<FaultKind> {
        let mut faults = crate::lock(&self.endpoints);
        let now = Instant::now();
        faults.retain(|(fault, until)| fault.times != Some(0) && until.is_none_or(|until| now < until));
        for (fault, _) in faults.iter_mut() {
            let here = fault.endpoint == endpoint || fault.endpoint == Endpoint::Any;
            if !here || !fault.kind.hits(asked) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            return Some(fault.kind.clone());
        }
        None
    }

    pub(crate) fn set_down(&self, down: Down, lasting: Option<Duration>) {
        *crate::lock(&self.down) = (down, lasting.map(|lasting| Instant::now() + lasting));
    }

    pub(crate) fn down(&self) -> Down {
        let mut state = crate::lock(&self.down);
        if state.1.is_some_and(|until| Instant::now() >= until) {
            *state = (Down::No, None);
        }
        state.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Endpoint, Fault, FaultKind, Faults};

    #[test]
    fn a_fault_hits_as_often_as_it_says_and_where() {
        let faults = Faults::default();
        faults.add(Fault::new(Endpoint::Vacancies, FaultKind::Html).times(2).after(1));
        let hits: Vec<bool> = (0..4).map(|_| faults.take(Endpoint::Vacancies, Asked::List).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
        faults.add(Fault::new(Endpoint::Any, FaultKind::Empty));
        assert_eq!(faults.take(Endpoint::Token, Asked::Else), Some(FaultKind::Empty));
        faults.clear();
        assert_eq!(faults.take(Endpoint::Token, Asked::Else), None);
    }

    #[test]
    fn a_fault_of_lists_lets_requests_by_key_pass() {
        let faults = Faults::default();
        faults.add(Fault::new(Endpoint::Any, FaultKind::Repeat).times(1));
        faults.add(Fault::new(Endpoint::Any, FaultKind::Flicker { percent: 5 }).times(1));
        assert_eq!(faults.take(Endpoint::Token, Asked::Else), None);
        assert_eq!(faults.take(Endpoint::Vacancies, Asked::Keys), Some(FaultKind::Flicker { percent: 5 }));
        assert_eq!(faults.take(Endpoint::Vacancies, Asked::Keys), None);
        assert_eq!(faults.take(Endpoint::Vacancies, Asked::List), Some(FaultKind::Repeat));
    }

    #[test]
    fn a_fault_is_written_flat() {
        let fault: Fault =
            serde_json::from_str(r#"{"endpoint":"candidates","kind":"status","code":429,"retry_after":2,"times":3}"#)
                .expect("a fault");
        let kind = FaultKind::Status { code: 429, retry_after: Some(2) };
        assert_eq!(fault, Fault::new(Endpoint::Candidates, kind).times(3));
        let fault: Fault =
            serde_json::from_str(r#"{"endpoint":"token","kind":"redirect","location":"http://h/"}"#).expect("a fault");
        let kind = FaultKind::Redirect { code: 302, location: "http://h/".to_owned() };
        assert_eq!(fault, Fault::new(Endpoint::Token, kind));
    }
}
