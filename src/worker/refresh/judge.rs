//! What an answer says about each subject that was asked for.
//!
//! | the answer | the subject | what follows |
//! |---|---|---|
//! | shows it | was not removed | indexed; hidden when its status is not live |
//! | shows it, anonymised | any | removed |
//! | shows it, with `isAnonymized` in no known form | never indexed | settled after a second such answer, without a document |
//! | the same | indexed | hidden at once; removed when a second read after the confirming delay says the same |
//! | shows it | was removed | a second read after the confirming delay brings it back |
//! | ends cleanly without it | never indexed | settled after a second such answer: it may not be exported yet |
//! | ends cleanly without it | indexed | a second read after the confirming delay; removed when that one lacks it too and shows the control; held for an operator when no control is left |
//! | holds records that nobody asked for | is missing | it has failed |
//! | is 404, while another record is answered | stands alone | as an answer that ends cleanly without it |
//! | is cut, or holds a broken frame | is missing | asked for again with fewer neighbours; alone, it has failed |

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::{
    super::retry::Curve,
    super::settlement::{ABSENCE, HELD_REREAD_INTERVAL, Indexed, Removal, Settlement, UNCLEAR},
    Refresher,
};
use crate::{
    cegid::{Digest, Page, Query},
    domain::{Anonymisation, Record},
    subjects::{Claimed, Evidence, Postponed, ReadFailure, State, Unclear, Why},
};

/// Whether the subject would be removed if this read does not show it: the read must then ask for a control too.
pub(super) fn needs_control(subject: &Claimed) -> bool {
    subject.absent_since.is_some() && !subject.released && matches!(subject.state, State::Live | State::Hidden)
}

/// What an answer without a subject proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The record that was asked for beside it is there.
    ControlSeen,
    /// That record is missing too: nothing is proved.
    ControlMissing,
    /// None was asked for: none was needed, or none is left.
    NoControl,
}

pub(super) struct Judgement<'a> {
    refresher: &'a Refresher,
    pub(super) part: &'a [Claimed],
    pub(super) settlement: Settlement,
    /// Seconds that the indexed subjects had waited.
    pub(super) waited: Vec<f64>,
    began: DateTime<Utc>,
    control_missing: bool,
}

impl<'a> Judgement<'a> {
    pub(super) fn new(refresher: &'a Refresher, part: &'a [Claimed], read: i64, began: DateTime<Utc>) -> Self {
        let settlement = Settlement::new(refresher.kind, read, refresher.context.guard());
        Judgement { refresher, part, settlement, waited: Vec::new(), began, control_missing: false }
    }

    /// Judges every subject of the part; gives those that are to be asked for again.
    pub(super) fn judge(&mut self, page: Page, control: Option<&str>, control_answered: bool) -> Vec<Claimed> {
        // An answer as long as can be may have left something out.
        let full = page.frames() >= Query::MOST;
        let Page { records, broken, cut } = page;
        let mut found: HashMap<String, Record> =
            records.into_iter().map(|record| (record.subject.key().to_owned(), record)).collect();
        let control_seen = control_answered || control.is_some_and(|key| found.contains_key(key));
        let unfiltered = self.is_unfiltered(found.keys(), control);
        let proof = match control {
            Some(_) if control_seen => Proof::ControlSeen,
            Some(_) => Proof::ControlMissing,
            None => Proof::NoControl,
        };
        self.control_missing = control.is_some() && !control_seen && cut.is_none() && broken.is_empty() && !full;
        let part = self.part;
        let mut again = Vec::new();
        for subject in part {
            match found.remove(&subject.key) {
                Some(record) => self.found(subject, record),
                None => match (&cut, broken.first()) {
                    (Some(cut), _) if part.len() == 1 => self.fail(subject, &cut.to_string(), None),
                    // With a control asked for and not seen, the broken frame may be that one.
                    (None, Some(broken)) if part.len() == 1 && (control.is_none() || control_seen) => {
                        self.fail(subject, &broken.cause, broken.digest);
                    }
                    (None, Some(_)) if part.len() == 1 => self.absent(subject, Proof::ControlMissing),
                    (Some(_), _) | (_, Some(_)) => again.push(subject.clone()),
                    (None, None) if full && part.len() > 1 => again.push(subject.clone()),
                    (None, None) if unfiltered => self.fail(
                        subject,
                        "the answer holds records that were not asked for: Cegid does not filter, and who is missing proves \
                         nothing",
                        None,
                    ),
                    (None, None) if subject.unfilterable => self.unshown(subject),
                    (None, None) => self.absent(subject, proof),
                },
            }
        }
        again
    }

    /// Whether a record is among those found that nobody asked for; keys may be compared without regard to case there.
    fn is_unfiltered<'k>(&self, mut found: impl Iterator<Item = &'k String>, control: Option<&str>) -> bool {
        let alike = |key: &str| key.trim().to_lowercase();
        let asked: HashSet<String> =
            self.part.iter().map(|subject| subject.key.as_str()).chain(control).map(alike).collect();
        found.any(|key| !asked.contains(&alike(key)))
    }

    /// The control, when a whole answer did not show it.
    pub(super) fn unseen_control(&self, control: Option<String>) -> Option<String> {
        control.filter(|_| self.control_missing)
    }

    /// No filter finds it: it was searched among what changed since its callback, and is not there.
    fn unshown(&mut self, subject: &Claimed) {
        match subject.state {
            // If it is anywhere, a sweep's list shows it.
            State::Unread | State::Removed => self.absent(subject, Proof::NoControl),
            State::Live | State::Hidden => self.fail(
                subject,
                "no filter of Cegid's finds it, since its key holds a comma, a bar or a colon, or because it was shown by \
                 lists alone, and what changed lately does not show it",
                None,
            ),
        }
    }

    fn found(&mut self, subject: &Claimed, record: Record) {
        let context = &self.refresher.context;
        let confirm = context.shared.settings.worker.confirm_after;
        match record.document.anonymisation {
            Anonymisation::No => {}
            Anonymisation::Yes => return self.settlement.removed.push(Removal::anonymised(&subject.key)),
            Anonymisation::Unclear => return self.unclear(subject),
        }
        if subject.state == State::Removed {
            let since = subject.returned_at.unwrap_or(self.began);
            if subject.returned_at.is_none() || self.began < since + confirm {
                let due_at = since + confirm;
                self.settlement.postponed.push(Postponed { key: subject.key.clone(), due_at, why: Why::Returned });
                return;
            }
        }
        if let Some(since) = subject.waiting_since.filter(|_| subject.announced) {
            self.waited.push((context.now() - since).to_std().unwrap_or_default().as_secs_f64());
        }
        let noted = context.noted(&record.document);
        self.settlement.indexed.push(Indexed {
            document: record.document,
            noted,
            announced: subject.announced,
            returns: subject.state == State::Removed,
            returns_by_list: false,
            listed_as_live: false,
        });
    }

    /// It may be anonymised, or not.
    fn unclear(&mut self, subject: &Claimed) {
        let confirm = self.refresher.context.shared.settings.worker.confirm_after;
        let key = subject.key.clone();
        let since = subject.unclear_since.unwrap_or(self.began);
        let confirmed = subject.unclear_since.is_some() && self.began >= since + confirm;
        match subject.state {
            State::Removed => self.settlement.unchanged.push((key, State::Removed)),
            State::Unread if confirmed => self.settlement.unchanged.push((key, State::Unread)),
            State::Live | State::Hidden if confirmed => {
                self.settlement.removed.push(Removal { key, cause: UNCLEAR, evidence: Some(Evidence::Reads) });
            }
            _ => self.settlement.unclear.push(Unclear { key, due_at: since + confirm }),
        }
    }

    fn absent(&mut self, subject: &Claimed, proof: Proof) {
        let context = &self.refresher.context;
        let confirm = context.shared.settings.worker.confirm_after;
        let key = subject.key.clone();
        if subject.state == State::Removed {
            self.settlement.unchanged.push((key, State::Removed));
            return;
        }
        let since = subject.absent_since.unwrap_or(self.began);
        let confirmed = subject.absent_since.is_some() && self.began >= since + confirm;
        match subject.state {
            State::Unread if confirmed => self.settlement.unchanged.push((key, State::Unread)),
            // What an operator has confirmed needs no other proof: there may be no other record left.
            State::Live | State::Hidden if confirmed && (proof == Proof::ControlSeen || subject.released) => {
                let evidence = match proof {
                    Proof::ControlSeen => Evidence::Control,
                    _ if subject.released => Evidence::Operator,
                    _ => Evidence::Nothing,
                };
                self.settlement.removed.push(Removal { key, cause: ABSENCE, evidence: Some(evidence) });
            }
            // The last of its kind: a person, or a new record that can be the control, tells whether it is gone.
            State::Live | State::Hidden if confirmed && proof == Proof::NoControl => {
                let due_at = context.now() + HELD_REREAD_INTERVAL;
                self.settlement.postponed.push(Postponed { key, due_at, why: Why::Unproven });
            }
            _ => {
                // An answer without the control proves nothing: the same again later.
                let due_at = if confirmed { self.began + confirm } else { since + confirm };
                self.settlement.postponed.push(Postponed { key, due_at, why: Why::Absent });
            }
        }
    }

    /// The read of this subject failed: again later, or buried when it kept failing. It is reported then, or once
    /// several reads have given the same digest of what they could not use; never of a subject that Cegid has not
    /// shown, since anybody may have named it.
    pub(super) fn fail(&mut self, subject: &Claimed, cause: &str, digest: Option<Digest>) {
        let context = &self.refresher.context;
        let worker = &context.shared.settings.worker;
        let curve = Curve {
            first: worker.retry_first,
            limit: worker.retry_limit,
            horizon: worker.retry_horizon,
            min_attempts: worker.retry_min_attempts,
        };
        let now = context.now();
        let since = subject.failing_since.unwrap_or(now);
        let (key, failure) = (subject.key.clone(), ReadFailure { cause: cause.to_owned(), digest });
        if subject.state != State::Unread || digest.is_some() {
            self.settlement.failed.push(context.given_up(&key, cause));
        }
        match curve.again(subject.attempts + 1, since, now, jitter(&subject.key, subject.attempts)) {
            Some(due_at) => self.settlement.postponed.push(Postponed { key, due_at, why: Why::Failed(failure) }),
            None => {
                let why = Why::Buried { wanted: subject.wanted, failure };
                self.settlement.postponed.push(Postponed { key, due_at: now + worker.retry_first, why });
            }
        }
    }
}

/// From 0 to 1; the same for the same failure of the same subject, so that a test can foresee it.
fn jitter(key: &str, attempts: u32) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (key, attempts).hash(&mut hasher);
    f64::from((hasher.finish() & 0xffff) as u16) / f64::from(u16::MAX)
}
