//! Changes to subjects, each announced by the events a real tenant would send.

use std::borrow::Cow;
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

impl Simulator {
    /// Makes one change and gives the key of what was changed.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn change(&self, change: &Change) -> Result<String, UnknownKey> {
        let (key, _version) = match change {
            Change::CreateVacancy => return Ok(self.create_vacancy()),
            Change::CreateCandidate => return Ok(self.create_candidate()),
            Change::EditVacancy { key } => (key, self.edit_vacancy(key)?),
            Change::SetVacancyStatus { key, status } => (key, self.set_vacancy_status(key, status)?),
            Change::PublishVacancy { key } => (key, self.set_vacancy_status(key, "Published")?),
            Change::ArchiveVacancy { key } => (key, self.set_vacancy_status(key, "Archived")?),
            Change::DeleteVacancy { key } => (key, self.delete_vacancy(key)?),
            Change::EditCandidate { key } => (key, self.edit_candidate(key)?),
            Change::AnonymiseCandidate { key } => (key, self.anonymise_candidate(key)?),
            Change::DeleteCandidate { key } => (key, self.delete_candidate(key)?),
            Change::ReplaceResume { key } => (key, self.replace_resume(key)?),
            Change::AddApplication { key, vacancy } => (key, self.add_application(key, vacancy)?),
        };
        Ok(key.clone())
    }

    /// A new published vacancy; sends `vacancy_new`. Gives its reference.
    #[must_use = "the reference is the only way to it"]
    pub fn create_vacancy(&self) -> String {
        self.create(Kind::Vacancy, "vacancy_new")
    }

    /// A new candidate; sends `applicant_new`. Gives the id.
    #[must_use = "the id is the only way to it"]
    pub fn create_candidate(&self) -> String {
        self.create(Kind::Candidate, "applicant_new")
    }

    fn create(&self, kind: Kind, event: &str) -> String {
        let now = self.inner.clock.now();
        let key = {
            let mut tenant = crate::lock(&self.inner.tenant);
            let key = tenant.add(&self.inner.config, kind, now, now);
            if let Some(row) = tenant.table_mut(kind).rows.last_mut() {
                row.anonymised = false;
                if kind == Kind::Vacancy {
                    row.status = Cow::Borrowed(PUBLISHED);
                }
            }
            key
        };
        self.inner.outgoing.enqueue(event, &key, &Extra::default(), now);
        key.to_string()
    }

    /// Changes the words of a vacancy; sends `vacancy_update`. Gives the new
    /// version, as all changes do.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn edit_vacancy(&self, key: &str) -> Changed {
        let row = self.touch(Kind::Vacancy, key, |_| ())?;
        self.tell("vacancy_update", key, &Extra::default());
        Ok(row.version)
    }

    /// Gives a vacancy a status, by its code (`_TS_CO_OfferStatus_Archive`) or
    /// its logical name (`Archived`); sends `vacancy_update` and
    /// `vacancy_status`, as a status change does.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn set_vacancy_status(&self, key: &str, status: &str) -> Changed {
        let row = self.touch(Kind::Vacancy, key, |row| row.status = status_id(status))?;
        self.tell("vacancy_update", key, &Extra::default());
        let extra = Extra { status_id: Some(&row.status), ..Extra::default() };
        self.tell("vacancy_status", key, &extra);
        Ok(row.version)
    }

    /// Takes a vacancy out of the export; sends `vacancy_deleted`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn delete_vacancy(&self, key: &str) -> Changed {
        let row = self.touch(Kind::Vacancy, key, |row| row.deleted = true)?;
        self.tell("vacancy_deleted", key, &Extra::default());
        Ok(row.version)
    }

    /// Changes the words of a candidate; sends `applicant_update`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn edit_candidate(&self, key: &str) -> Changed {
        let row = self.touch(Kind::Candidate, key, |_| ())?;
        self.tell("applicant_update", key, &Extra::default());
        Ok(row.version)
    }

    /// Empties a candidate of what is personal and sets `isAnonymized`; sends
    /// `applicant_update`. Whether real tenants announce it is not known.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn anonymise_candidate(&self, key: &str) -> Changed {
        let row = self.touch(Kind::Candidate, key, |row| row.anonymised = true)?;
        self.tell("applicant_update", key, &Extra::default());
        Ok(row.version)
    }

    /// Takes a candidate out of the export. No event is known for it, so none is
    /// sent.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn delete_candidate(&self, key: &str) -> Changed {
        self.touch(Kind::Candidate, key, |row| row.deleted = true).map(|row| row.version)
    }

    /// Gives a candidate another CV; sends `applicant_resume_update` with its
    /// `fileId`.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn replace_resume(&self, key: &str) -> Changed {
        let row = self.touch(Kind::Candidate, key, |row| row.resume += 1)?;
        let file = resume_id(self.inner.config.seed, &row);
        let extra = Extra { file_id: file.as_deref(), ..Extra::default() };
        self.tell("applicant_resume_update", key, &extra);
        Ok(row.version)
    }

    /// Lets a candidate apply for a vacancy; sends `application_event_new` with
    /// the candidate and the vacancy.
    ///
    /// # Errors
    ///
    /// When the candidate's key is not known; the vacancy's is not checked.
    pub fn add_application(&self, key: &str, vacancy: &str) -> Changed {
        let row = self.touch(Kind::Candidate, key, |row| row.applications.push(Arc::from(vacancy)))?;
        let extra = Extra { vacancy_reference: Some(vacancy), ..Extra::default() };
        self.tell("application_event_new", key, &extra);
        Ok(row.version)
    }

    /// Queues a callback without changing anything.
    pub fn announce(&self, event: &str, key: &str) {
        self.tell(event, key, &Extra::default());
    }

    /// Changes a subject without telling anybody: what only a sweep can find.
    ///
    /// # Errors
    ///
    /// When neither a vacancy nor a candidate has the key.
    pub fn edit_silently(&self, key: &str) -> Changed {
        self.touch(Kind::Vacancy, key, |_| ())
            .or_else(|_| self.touch(Kind::Candidate, key, |_| ()))
            .map(|row| row.version)
    }

    fn tell(&self, event: &str, key: &str, extra: &Extra<'_>) {
        self.inner.outgoing.enqueue(event, key, extra, self.inner.clock.now());
    }

    fn touch(&self, kind: Kind, key: &str, change: impl FnOnce(&mut Row)) -> Result<Row, UnknownKey> {
        let now = self.inner.clock.now();
        let mut tenant = crate::lock(&self.inner.tenant);
        let table = tenant.table_mut(kind);
        let unknown = || UnknownKey(key.to_owned());
        let place = table.place(key).ok_or_else(unknown)?;
        let row = &mut table.rows[place];
        if row.deleted {
            return Err(unknown());
        }
        change(row);
        row.version += 1;
        row.updated = now;
        Ok(row.clone())
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

    /// The key of some subject that is there and not anonymised.
    fn some_key(&self, kind: Kind, random: &mut Random) -> Option<String> {
        let tenant = crate::lock(&self.inner.tenant);
        let rows = &tenant.table(kind).rows;
        if rows.is_empty() {
            return None;
        }
        (0..100).map(|_| random.pick(rows)).find(|row| !row.deleted && !row.anonymised).map(|row| row.key.to_string())
    }
}
