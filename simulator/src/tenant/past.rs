//! How a subject was before its last changes, for exports that lag behind.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::Row;

/// Changes of one subject that can be looked behind; of one that changes more
/// often than that within the lag, the oldest state that is kept is shown.
const REMEMBERED: usize = 16;

/// What a change took away.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// When the change came: before that moment this was how it was.
    until: DateTime<Utc>,
    version: u64,
    updated: DateTime<Utc>,
    status: Cow<'static, str>,
    deleted: bool,
    anonymised: bool,
    resume: u32,
    /// Applications are only ever added, so that their number tells them.
    applications: usize,
}

impl Row {
    /// Keeps how it is until `now`, when it is about to be changed.
    pub(super) fn remember(&mut self, now: DateTime<Utc>) {
        if self.past.len() == REMEMBERED {
            self.past.remove(0);
        }
        self.past.push(Past {
            until: now,
            version: self.version,
            updated: self.updated,
            status: self.status.clone(),
            deleted: self.deleted,
            anonymised: self.anonymised,
            resume: self.resume,
            applications: self.applications.len(),
        });
    }

    /// Keeps that it was not there until `now`.
    pub(super) fn was_absent(&mut self, now: DateTime<Utc>) {
        self.remember(now);
        if let Some(past) = self.past.last_mut() {
            past.deleted = true;
        }
    }

    /// How it was at a moment; one that was not there yet is deleted.
    pub(crate) fn as_of(&self, at: DateTime<Utc>) -> Cow<'_, Self> {
        let Some(past) = self.past.iter().find(|past| past.until > at) else {
            return Cow::Borrowed(self);
        };
        let mut row = self.clone();
        row.version = past.version;
        row.updated = past.updated;
        row.status = past.status.clone();
        row.deleted = past.deleted;
        row.anonymised = past.anonymised;
        row.resume = past.resume;
        row.applications.truncate(past.applications);
        Cow::Owned(row)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Duration, Utc};

    use super::REMEMBERED;
    use crate::Config;
    use crate::tenant::{Kind, Tenant};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
    }

    #[test]
    fn a_moment_shows_what_was_true_then() {
        let mut tenant = Tenant::default();
        let key = tenant.create(&Config::default(), Kind::Candidate, at(10)).key;
        let table = &mut tenant.candidates;
        table.change(&key, at(20), |row| row.applications.push("2024-00001".into())).expect("the candidate");
        table.change(&key, at(30), |row| row.anonymised = true).expect("the candidate");
        table.change(&key, at(40), |row| row.deleted = true).expect("the candidate");
        let seen: Vec<_> = [9, 10, 19, 20, 30, 39, 40]
            .into_iter()
            .map(|seconds| {
                let row = table.rows[0].as_of(at(seconds));
                (row.deleted, row.version, row.applications.contains(&"2024-00001".into()), row.anonymised)
            })
            .collect();
        assert!(seen[0].0, "it was not there yet");
        assert_eq!(seen[1..3], [(false, 1, false, false); 2]);
        assert_eq!(seen[3], (false, 2, true, false));
        assert_eq!(seen[4..6], [(false, 3, true, true); 2]);
        assert_eq!(seen[6], (true, 4, true, true));
    }

    #[test]
    fn only_the_last_changes_are_remembered() {
        let mut tenant = Tenant::default();
        let key = tenant.create(&Config::default(), Kind::Vacancy, at(0)).key;
        for second in 1..=40 {
            tenant.vacancies.change(&key, at(second), |_| ()).expect("the vacancy");
        }
        let row = &tenant.vacancies.rows[0];
        assert_eq!(row.past.len(), REMEMBERED);
        assert_eq!(row.as_of(at(0)).version, 41 - REMEMBERED as u64);
        assert_eq!(row.as_of(at(39)).version, 40);
    }
}
