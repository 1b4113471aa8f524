//! Changes to subjects, each announced by the events a real tenant would send,
//! or by none (`silent`, `pages`).

mod pages;
mod silent;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::random::Random;
use crate::sender::Extra;
use crate::simulator::Simulator;
use crate::tenant::{Kind, PUBLISHED, Row, STATUSES, resume_id, status_id};

/// No subject of the kind has this key, or it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey(pub String);

impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nothing here has the key '{}'", self.0)
    }
}

impl std::error::Error for UnknownKey {}

/// A change in the words of the control API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each says what the method of its name does")]
pub enum Change {
    CreateVacancy,
    EditVacancy { key: String },
    SetVacancyStatus { key: String, status: String },
    PublishVacancy { key: String },
    ArchiveVacancy { key: String },
    DeleteVacancy { key: String },
    CreateCandidate,
    EditCandidate { key: String },
    AnonymiseCandidate { key: String },
    DeleteCandidate { key: String },
    ReplaceResume { key: String },
    AddApplication { key: String, vacancy: String },
}

type Changed = Result<u64, UnknownKey>;

impl Change {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::CreateVacancy
            | Self::EditVacancy { .. }
            | Self::SetVacancyStatus { .. }
            | Self::PublishVacancy { .. }
            | Self::ArchiveVacancy { .. }
            | Self::DeleteVacancy { .. } => Kind::Vacancy,
            Self::CreateCandidate
            | Self::EditCandidate { .. }
            | Self::AnonymiseCandidate { .. }
            | Self::DeleteCandidate { .. }
            | Self::ReplaceResume { .. }
            | Self::AddApplication { .. } => Kind::Candidate,
        }
    }
}

impl Simulator {
    /// Makes one change, tells of it, and gives the key of what was changed.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn change(&self, change: &Change) -> Result<String, UnknownKey> {
        let row = self.make(change)?;
        self.tell_of(change, &row);
        Ok(row.key.to_string())
    }

    /// A new published vacancy; sends `vacancy_new`. Gives its reference.
    #[must_use = "the reference is the only way to it"]
    pub fn create_vacancy(&self) -> String {
        self.create(&Change::CreateVacancy)
    }

    /// A new candidate; sends `applicant_new`. Gives the id.
    #[must_use = "the id is the only way to it"]
    pub fn create_candidate(&self) -> String {
        self.create(&Change::CreateCandidate)
    }

    /// Changes the words of a vacancy; sends `vacancy_update`. Gives the new
    /// version, as all changes do.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn edit_vacancy(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::EditVacancy { key: key.to_owned() })
    }

    /// Gives a vacancy a status, by its code (`_TS_CO_OfferStatus_Archive`) or
    /// its logical name (`Archived`); sends `vacancy_update` and
    /// `vacancy_status`, as a status change does.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn set_vacancy_status(&self, key: &str, status: &str) -> Changed {
        self.make_and_tell(&Change::SetVacancyStatus { key: key.to_owned(), status: status.to_owned() })
    }

    /// Takes a vacancy out of the export; sends `vacancy_deleted`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn delete_vacancy(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::DeleteVacancy { key: key.to_owned() })
    }

    /// Changes the words of a candidate; sends `applicant_update`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn edit_candidate(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::EditCandidate { key: key.to_owned() })
    }

    /// Empties a candidate of what is personal and sets `isAnonymized`; sends
    /// `applicant_update`. Whether real tenants announce it is not known.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn anonymise_candidate(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::AnonymiseCandidate { key: key.to_owned() })
    }

    /// Takes a candidate out of the export. No event is known for it, so none is
    /// sent.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn delete_candidate(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::DeleteCandidate { key: key.to_owned() })
    }

    /// Gives a candidate another CV; sends `applicant_resume_update` with its
    /// `fileId`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn replace_resume(&self, key: &str) -> Changed {
        self.make_and_tell(&Change::ReplaceResume { key: key.to_owned() })
    }

    /// Lets a candidate apply for a vacancy; sends `application_event_new` with
    /// the candidate and the vacancy.
    ///
    /// # Errors
    ///
    /// When the candidate's key is not known; the vacancy's is not checked.
    pub fn add_application(&self, key: &str, vacancy: &str) -> Changed {
        self.make_and_tell(&Change::AddApplication { key: key.to_owned(), vacancy: vacancy.to_owned() })
    }

    /// Queues a callback without changing anything.
    pub fn announce(&self, event: &str, key: &str) {
        self.tell(event, key, &Extra::default());
    }

    fn create(&self, change: &Change) -> String {
        let row = self.add(change.kind());
        self.tell_of(change, &row);
        row.key.to_string()
    }

    fn make_and_tell(&self, change: &Change) -> Changed {
        let row = self.make(change)?;
        self.tell_of(change, &row);
        Ok(row.version)
    }

    /// Makes a change and tells nobody. Gives the subject as it is then.
    pub(crate) fn make(&self, change: &Change) -> Result<Row, UnknownKey> {
        let kind = change.kind();
        match change {
            Change::CreateVacancy | Change::CreateCandidate => Ok(self.add(kind)),
            Change::EditVacancy { key } | Change::EditCandidate { key } => self.touch(kind, key, |_| ()),
            Change::SetVacancyStatus { key, status } => self.touch(kind, key, |row| row.status = status_id(status)),
            Change::PublishVacancy { key } => self.touch(kind, key, |row| row.status = status_id("Published")),
            Change::ArchiveVacancy { key } => self.touch(kind, key, |row| row.status = status_id("Archived")),
            Change::DeleteVacancy { key } | Change::DeleteCandidate { key } => {
                self.touch(kind, key, |row| row.deleted = true)
            }
            Change::AnonymiseCandidate { key } => self.touch(kind, key, |row| row.anonymised = true),
            Change::ReplaceResume { key } => self.touch(kind, key, |row| row.resume += 1),
            Change::AddApplication { key, vacancy } => {
                self.touch(kind, key, |row| row.applications.push(Arc::from(vacancy.as_str())))
            }
        }
    }

    /// Queues what a real tenant would send about a change that was made.
    fn tell_of(&self, change: &Change, row: &Row) {
        let (key, plain) = (&*row.key, Extra::default());
        match change {
            Change::CreateVacancy => self.tell("vacancy_new", key, &plain),
            Change::EditVacancy { .. } => self.tell("vacancy_update", key, &plain),
            Change::SetVacancyStatus { .. } | Change::PublishVacancy { .. } | Change::ArchiveVacancy { .. } => {
                self.tell("vacancy_update", key, &plain);
                self.tell("vacancy_status", key, &Extra { status_id: Some(&row.status), ..plain });
            }
            Change::DeleteVacancy { .. } => self.tell("vacancy_deleted", key, &plain),
            Change::CreateCandidate => self.tell("applicant_new", key, &plain),
            Change::EditCandidate { .. } | Change::AnonymiseCandidate { .. } => {
                self.tell("applicant_update", key, &plain);
            }
            Change::DeleteCandidate { .. } => {}
            Change::ReplaceResume { .. } => {
                let file = resume_id(self.inner.config.seed, row);
                self.tell("applicant_resume_update", key, &Extra { file_id: file.as_deref(), ..plain });
            }
            Change::AddApplication { vacancy, .. } => {
                self.tell("application_event_new", key, &Extra { vacancy_reference: Some(vacancy), ..plain });
            }
        }
    }

    fn tell(&self, event: &str, key: &str, extra: &Extra<'_>) {
        self.inner.outgoing.enqueue(event, key, extra, self.inner.clock.now());
    }

    /// A new subject that an index should show.
    pub(crate) fn add(&self, kind: Kind) -> Row {
        let now = self.inner.clock.now();
        crate::lock(&self.inner.tenant).create(&self.inner.config, kind, now)
    }

    fn touch(&self, kind: Kind, key: &str, change: impl FnOnce(&mut Row)) -> Result<Row, UnknownKey> {
        let now = self.inner.clock.now();
        let mut tenant = crate::lock(&self.inner.tenant);
        tenant.table_mut(kind).change(key, now, change).ok_or_else(|| UnknownKey(key.to_owned()))
    }

    /// Makes a change as a working day brings it, mostly edits, now and then a
    /// new subject, a status, a CV, an application, rarely a deletion. Gives a
    /// line that says what.
    pub fn change_at_random(&self) -> String {
        let whim = {
            let mut whims = crate::lock(&self.inner.whims);
            *whims += 1;
            *whims
        };
        let mut random = Random::of(self.inner.config.seed, "whim", whim);
        let roll = random.below(100);
        let kind = if roll < 45 { Kind::Vacancy } else { Kind::Candidate };
        let Some(key) = self.some_key(kind, &mut random) else {
            return format!("new vacancy {}", self.create_vacancy());
        };
        let (done, what) = match roll {
            0..25 => (self.edit_vacancy(&key), "edited vacancy"),
            25..40 => {
                let status = random.pick(&STATUSES).code.id;
                let status = if random.percent(60) { PUBLISHED } else { status };
                (self.set_vacancy_status(&key, status), "status of vacancy")
            }
            40..43 => return format!("new vacancy {}", self.create_vacancy()),
            43..45 => (self.delete_vacancy(&key), "deleted vacancy"),
            45..70 => (self.edit_candidate(&key), "edited candidate"),
            70..80 => return format!("new candidate {}", self.create_candidate()),
            80..88 => (self.replace_resume(&key), "new CV of candidate"),
            88..97 => {
                let vacancy = self.some_key(Kind::Vacancy, &mut random).unwrap_or_default();
                (self.add_application(&key, &vacancy), "application of candidate")
            }
            _ => (self.anonymise_candidate(&key), "anonymised candidate"),
        };
        match done {
            Ok(version) => format!("{what} {key} (v{version})"),
            Err(error) => error.to_string(),
        }
    }

    /// The key of some subject that is there, not anonymised and not spared.
    pub(crate) fn some_key(&self, kind: Kind, random: &mut Random) -> Option<String> {
        let spared = crate::lock(&self.inner.faults.spared);
        let tenant = crate::lock(&self.inner.tenant);
        let rows = &tenant.table(kind).rows;
        if rows.is_empty() {
            return None;
        }
        (0..100)
            .map(|_| random.pick(rows))
            .find(|row| !row.deleted && !row.anonymised && !spared.contains(&*row.key))
            .map(|row| row.key.to_string())
    }
}
