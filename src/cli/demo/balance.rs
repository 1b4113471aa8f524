//! The comparison at the end: index, reports and ledger against the simulator's truth.

use std::{collections::BTreeMap, fmt};

use cegid_indexer::{
    domain::Kind,
    index::documents,
    ledger::{self, Ledger},
};
use cegid_simulator::{CallbackFaults, Down, Outcome, ReportRow, TruthRow};
use chrono::{DateTime, Utc};

use super::{Stage, ending::Failure, follow};

/// Differences that are printed one by one.
const LISTED: usize = 20;
/// The database is the demo's own: everything in it counts.
const SINCE: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Callbacks as the simulator saw them.
#[derive(Debug, Default, Clone, Copy)]
struct Callbacks {
    sent: i64,
    accepted: i64,
    /// Without an answer: they may have been stored all the same.
    unanswered: i64,
}

/// What was compared, and everything that differs.
pub struct Balance {
    ledger: Ledger,
    callbacks: Callbacks,
    vacancies: usize,
    candidates: usize,
    hidden: usize,
    reports: usize,
    differences: Vec<String>,
}

impl Balance {
    /// Compares now.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub async fn read(stage: &Stage<'_>) -> Result<Balance, Failure> {
        let (simulator, database, tenant) = (stage.simulator, stage.database, &stage.tenant);
        let ledger = ledger::read(database, tenant, SINCE).await?;
        let mut held = BTreeMap::new();
        for kind in Kind::ALL {
            for (key, title, searchable) in documents::titles(database, tenant, kind).await? {
                held.insert((kind, key), (title, searchable));
            }
        }
        let truth = simulator.truth();
        let last = simulator.last_reports();
        let last = last.into_iter().map(|((of, id), row)| ((follow::kind_of(&of), id), row)).collect();
        let sent = simulator.sent();
        let count = |test: fn(&Outcome) -> bool| sent.iter().filter(|sent| test(&sent.outcome)).count() as i64;
        let callbacks = Callbacks {
            sent: count(|outcome| matches!(outcome, Outcome::Answered(_) | Outcome::Failed(_))),
            accepted: sent.iter().filter(|sent| sent.accepted()).count() as i64,
            unanswered: count(|outcome| matches!(outcome, Outcome::Failed(_))),
        };
        let mut differences = differences(&truth, &held, &last);
        differences.extend(accounts(&ledger, callbacks));
        let refused = simulator.count_requests(|row| row.path.ends_with("/reports") && row.status == 400);
        if refused > 0 {
            differences.push(format!("{refused} reports were refused: their shape is wrong, or a fault was set"));
        }
        let live = |kind: &str| truth.iter().filter(|row| row.live && row.kind == kind).count();
        Ok(Balance {
            ledger,
            callbacks,
            vacancies: live("vacancy"),
            candidates: live("candidate"),
            hidden: held.values().filter(|(_, searchable)| !searchable).count(),
            reports: simulator.report_count(),
            differences,
        })
    }

    /// Nothing differs.
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Callbacks { sent, accepted, .. } = self.callbacks;
        writeln!(f, "{}", self.ledger)?;
        writeln!(f, "callbacks:  {sent} sent, {accepted} answered 2xx, {} stored", self.ledger.received)?;
        writeln!(
            f,
            "truth:      {} published vacancies, {} candidates; {} vacancies are kept and not searchable; {} report items \
             arrived",
            self.vacancies, self.candidates, self.hidden, self.reports
        )?;
        if self.holds() {
            return write!(
                f,
                "everything balances: the index equals the simulator's truth, every outcome was reported, no callback \
                 was lost"
            );
        }
        write!(f, "{} differences:", self.differences.len())?;
        for difference in self.differences.iter().take(LISTED) {
            write!(f, "\n  {difference}")?;
        }
        match self.differences.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// Whether nothing is under way.
///
/// # Errors
/// When the tables cannot be read.
pub async fn is_quiet(stage: &Stage<'_>) -> Result<bool, Failure> {
    let ledger = ledger::read(stage.database, &stage.tenant, SINCE).await?;
    Ok(ledger.waiting == 0 && ledger.subjects_waiting == 0 && ledger.reports_waiting == 0)
}

/// Takes away what a person set over the control API and what would keep the service from finishing.
pub fn end_faults(stage: &Stage<'_>) {
    let simulator = stage.simulator;
    let faults = simulator.faults().len();
    if faults > 0 {
        stage.screen.line(&format!("{faults} faults that are still set are taken away"));
    }
    simulator.clear_faults();
    simulator.set_callback_faults(CallbackFaults::default());
    simulator.set_down(Down::No, None);
    simulator.refuse_credentials(false);
    simulator.release_held();
}

type Subject = (Kind, String);

/// What differs between the index, the last report of each subject, and the truth.
fn differences(
    truth: &[TruthRow],
    held: &BTreeMap<Subject, (String, bool)>,
    last: &BTreeMap<Subject, ReportRow>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let mut known = BTreeMap::new();
    for row in truth {
        let kind = if row.kind == "vacancy" { Kind::Vacancy } else { Kind::Candidate };
        let subject = (kind, row.key.clone());
        if row.live && !held.contains_key(&subject) {
            differences.push(format!("{} is missing from the index", follow::name(kind, &row.key)));
        }
        known.insert(subject, row);
    }
    for (subject, (title, searchable)) in held {
        let name = follow::name(subject.0, &subject.1);
        let says = match known.get(subject) {
            None => "is in the index and was never in Cegid".to_owned(),
            Some(row) if !row.present => "is in the index and was deleted in Cegid".to_owned(),
            Some(row) if row.anonymised => "is in the index and was anonymised in Cegid".to_owned(),
            Some(row) if *title != row.title && subject.0 == Kind::Vacancy => {
                format!("is indexed as {title:?} and is {:?} in Cegid", row.title)
            }
            Some(row) if *title != row.title => "has another title in the index than in Cegid".to_owned(),
            Some(row) if *searchable != row.live => {
                let not = if *searchable { "" } else { "not " };
                format!("is {not}searchable, against its status {} in Cegid", row.status)
            }
            Some(row) => match last.get(subject) {
                None => "was never reported".to_owned(),
                Some(report) if report.status != "success" => "is indexed, and its last report is an error".to_owned(),
                Some(report) if !follow::is_of(report, row) => "was last reported as an older version".to_owned(),
                Some(_) => continue,
            },
        };
        differences.push(format!("{name} {says}"));
    }
    differences
}

/// What does not add up in the service's own accounts, or against what was sent.
fn accounts(ledger: &Ledger, callbacks: Callbacks) -> Vec<String> {
    let mut differences = Vec::new();
    let mut unless = |holds: bool, says: String| {
        if !holds {
            differences.push(says);
        }
    };
    unless(ledger.balances(), "the ledger does not balance".to_owned());
    unless(ledger.dead == 0, format!("{} deliveries are dead", ledger.dead));
    unless(ledger.reports_dead == 0, format!("{} outcomes were refused by Cegid", ledger.reports_dead));
    let stored = ledger.received - callbacks.accepted;
    unless(stored >= 0, format!("{} callbacks were answered 2xx and are not stored", -stored));
    unless(
        stored <= callbacks.unanswered,
        format!("{} deliveries are stored that the simulator did not see answered 2xx", stored - callbacks.unanswered),
    );
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, live: bool) -> TruthRow {
        TruthRow {
            kind: "vacancy",
            key: key.to_owned(),
            present: true,
            live,
            anonymised: false,
            version: 2,
            title: "Soudeur (v2)".to_owned(),
            status: String::new(),
            updated: DateTime::UNIX_EPOCH,
            resume: None,
        }
    }

    fn report(key: &str, date: &str) -> (Subject, ReportRow) {
        let report = ReportRow {
            number: 1,
            at: DateTime::UNIX_EPOCH,
            report_type: "vacancies".to_owned(),
            id: key.to_owned(),
            date: date.to_owned(),
            last_update_date: date.to_owned(),
            status: "success".to_owned(),
            messages: Vec::new(),
        };
        ((Kind::Vacancy, key.to_owned()), report)
    }

    fn held(key: &str, title: &str, searchable: bool) -> (Subject, (String, bool)) {
        ((Kind::Vacancy, key.to_owned()), (title.to_owned(), searchable))
    }

    const NOW: &str = "1970-01-01T00:00:00.000";

    #[test]
    fn an_index_that_equals_the_truth_has_no_differences() {
        let truth = [row("a", true), row("b", false), row("never announced", false)];
        let held = [held("a", "Soudeur (v2)", true), held("b", "Soudeur (v2)", false)].into();
        assert_eq!(differences(&truth, &held, &[report("a", NOW), report("b", NOW)].into()), Vec::<String>::new());
    }

    #[test]
    fn everything_that_differs_is_named() {
        let gone = TruthRow { present: false, live: false, ..row("gone", false) };
        let truth =
            [row("missing", true), row("old", true), row("shown", false), row("late", true), row("mute", true), gone];
        let held = [
            held("old", "Soudeur", true),
            held("shown", "Soudeur (v2)", true),
            held("late", "Soudeur (v2)", true),
            held("mute", "Soudeur (v2)", true),
            held("gone", "Soudeur (v2)", true),
            held("unknown", "Soudeur", true),
        ];
        let reports = [report("late", "1969-12-31T23:59:59.999"), report("old", NOW), report("shown", NOW)];
        let found = differences(&truth, &held.into(), &reports.into());
        for (key, says) in [
            ("missing", "missing from the index"),
            ("old", "indexed as"),
            ("shown", "searchable"),
            ("late", "older version"),
            ("mute", "never reported"),
            ("gone", "deleted in Cegid"),
            ("unknown", "never in Cegid"),
        ] {
            assert!(found.iter().any(|line| line.contains(key) && line.contains(says)), "{key}: {found:?}");
        }
        assert_eq!(found.len(), 7);
    }
}
