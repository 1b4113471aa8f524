//! Follows callbacks to the end: answered, indexed as the simulator's truth has it, reported.
//!
//! Everything is read from outside the service: what the simulator sent and what was reported to it, and the index. So
//! the changes that a person makes over the control API are followed too.

use std::collections::BTreeMap;

use cegid_indexer::{database::Database, domain::Kind, domain::TenantId, index::documents};
use cegid_simulator::{Outcome, ReportRow, Sent, Simulator, TruthRow};
use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Stage, ending::Failure};

/// Characters of a candidate's key that are shown.
const SHOWN: usize = 4;

/// A vacancy or a candidate.
type Subject = (Kind, String);

/// A subject whose callbacks were answered and that is not done yet.
struct UnderWay {
    what: String,
    callbacks: usize,
    status: u16,
    /// Milliseconds until the answer.
    millis: u64,
    /// When the first callback was sent, on the simulator's clock.
    at: DateTime<Utc>,
}

/// What the index holds, as far as it is looked at.
type Held = BTreeMap<Subject, (String, bool)>;

/// Callbacks under way.
pub struct Follower<'a> {
    simulator: &'a Simulator,
    database: &'a Database,
    tenant: &'a TenantId,
    /// Rows of the simulator's logs that were looked at.
    sent: usize,
    reports: usize,
    under_way: BTreeMap<Subject, UnderWay>,
    told: BTreeMap<Subject, ReportRow>,
}

impl<'a> Follower<'a> {
    /// Of callbacks sent from now on.
    pub fn new(stage: &'a Stage<'_>) -> Follower<'a> {
        Follower {
            simulator: stage.simulator,
            database: stage.database,
            tenant: &stage.tenant,
            sent: stage.simulator.sent_after(0).len(),
            reports: stage.simulator.report_count(),
            under_way: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// A line for each callback or group of callbacks that came to its end since the last look.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn look(&mut self) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        let sent = self.simulator.sent_after(self.sent);
        self.sent += sent.len();
        lines.extend(sent.into_iter().filter_map(|sent| self.begin(sent)));
        let reports = self.simulator.reports_after(self.reports);
        self.reports += reports.len();
        for report in reports {
            self.told.insert((kind_of(&report.report_type), report.id.clone()), report);
        }
        if self.under_way.is_empty() {
            self.told.clear();
            return Ok(lines);
        }
        let held = self.held().await?;
        let now = self.simulator.now();
        let mut done = Vec::new();
        for (subject, under_way) in &self.under_way {
            let truth = self.simulator.truth_of(subject.0.as_str(), &subject.1);
            let end = end(truth.as_ref(), held.get(subject), self.told.get(subject), under_way.at, now);
            if let Some((end, millis)) = end {
                let UnderWay { what, callbacks, status, millis: answered, .. } = under_way;
                let times = if *callbacks == 1 { "callback".to_owned() } else { format!("{callbacks} callbacks,") };
                let name = name(subject.0, &subject.1);
                lines.push(format!("{name} {what} → {times} {status} in {answered} ms → {end} ({millis} ms)"));
                done.push(subject.clone());
            }
        }
        for subject in done {
            self.under_way.remove(&subject);
        }
        Ok(lines)
    }

    /// How far those are that are not done.
    pub fn under_way(&self) -> String {
        if self.under_way.is_empty() {
            return "no callback was answered with 2xx".to_owned();
        }
        let waits = |(kind, key): &Subject| {
            let told = if self.told.contains_key(&(*kind, key.clone())) { "reported" } else { "not reported" };
            format!("{}: its callback was answered, it was {told}", name(*kind, key))
        };
        self.under_way.keys().map(waits).collect::<Vec<_>>().join("; ")
    }

    /// Notes a callback; a line when it ends here.
    fn begin(&mut self, sent: Sent) -> Option<String> {
        // A ping is about nothing.
        if sent.event.is_empty() {
            return None;
        }
        let kind = if sent.event.starts_with("vacancy") { Kind::Vacancy } else { Kind::Candidate };
        let truth = self.simulator.truth_of(kind.as_str(), &sent.key);
        let what = what(&sent.event, truth.as_ref());
        let status = match &sent.outcome {
            Outcome::Answered(status) if sent.accepted() => *status,
            Outcome::Answered(status) => {
                return Some(format!("{} {what} → callback {status}", name(kind, &sent.key)));
            }
            Outcome::Failed(reason) => {
                return Some(format!("{} {what} → callback failed: {reason}", name(kind, &sent.key)));
            }
            Outcome::Dropped => return Some(format!("{} {what} → callback dropped", name(kind, &sent.key))),
            Outcome::Unheard => return Some(format!("{} {what} → no hook for it", name(kind, &sent.key))),
        };
        let (millis, at) = (sent.millis, sent.at);
        let under_way = self.under_way.entry((kind, sent.key)).or_insert_with(|| UnderWay {
            what: what.clone(),
            callbacks: 0,
            status,
            millis,
            at,
        });
        under_way.callbacks += 1;
        under_way.at = under_way.at.min(at);
        // An update goes with every other event.
        if under_way.what == "edited" {
            under_way.what = what;
        }
        None
    }

    async fn held(&self) -> Result<Held, Failure> {
        let mut held = Held::new();
        for kind in Kind::ALL {
            let of_kind = self.under_way.keys().filter(|(of, _)| *of == kind);
            let keys: Vec<String> = of_kind.map(|(_, key)| key.clone()).collect();
            if keys.is_empty() {
                continue;
            }
            for (key, title, searchable) in documents::titles_of(self.database, self.tenant, kind, &keys).await? {
                held.insert((kind, key), (title, searchable));
            }
        }
        Ok(held)
    }
}

/// What it came to and after how many milliseconds, once it has.
fn end(
    truth: Option<&TruthRow>,
    held: Option<&(String, bool)>,
    told: Option<&ReportRow>,
    at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<(&'static str, i64)> {
    let Some(truth) = truth.filter(|row| row.present && !row.anonymised) else {
        let cause = if truth.is_some_and(|row| row.present) { "removed" } else { "confirmed absent, removed" };
        return held.is_none().then(|| (cause, (now - at).num_milliseconds()));
    };
    let (title, searchable) = held?;
    let told = told.filter(|report| report.at >= at && report.status == "success" && is_of(report, truth))?;
    let indexed = if truth.live { "indexed → reported" } else { "kept, not searchable → reported" };
    (*title == truth.title && *searchable == truth.live).then(|| (indexed, (told.at - at).num_milliseconds()))
}

/// Whether the report is about the record as it is now. A candidate's record has no date of its last change.
pub fn is_of(report: &ReportRow, truth: &TruthRow) -> bool {
    let text = report.last_update_date.trim_end_matches('Z');
    match truth.kind {
        // A given record that was not changed yet has dates of its own.
        "vacancy" if truth.version > 1 => {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok_and(|at| at == truth.updated.naive_utc())
        }
        "vacancy" => true,
        _ => report.at >= truth.updated,
    }
}

/// The kind that a `reportType` names.
pub fn kind_of(report_type: &str) -> Kind {
    if report_type == "vacancies" { Kind::Vacancy } else { Kind::Candidate }
}

/// What a subject is called on the screen: candidates by the end of their key alone.
pub fn name(kind: Kind, key: &str) -> String {
    match kind {
        Kind::Vacancy => format!("vacancy {key}"),
        Kind::Candidate => {
            let begin = key.char_indices().rev().nth(SHOWN - 1).map_or(0, |(at, _)| at);
            format!("candidate …{}", &key[begin..])
        }
    }
}

/// What an event says, in a word.
fn what(event: &str, truth: Option<&TruthRow>) -> String {
    let word = match event {
        "vacancy_new" | "applicant_new" => "created",
        "vacancy_deleted" => "deleted",
        "vacancy_status" if truth.is_some_and(|row| row.live) => "published",
        "vacancy_status" if truth.is_some_and(|row| row.status.contains("Archive")) => "archived",
        "vacancy_status" => "taken offline",
        "applicant_update" if truth.is_some_and(|row| row.anonymised) => "anonymised",
        "vacancy_update" | "applicant_update" => "edited",
        "applicant_resume_update" => "given another CV",
        "application_event_new" => "applied",
        other => other,
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_shown_by_the_end_of_the_key_alone() {
        assert_eq!(name(Kind::Vacancy, "2024-Manager H/F 8"), "vacancy 2024-Manager H/F 8");
        assert_eq!(name(Kind::Candidate, "_TS-00153"), "candidate …0153");
        assert_eq!(name(Kind::Candidate, "é1"), "candidate …é1");
    }
}
