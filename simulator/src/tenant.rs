//! The tenant's subjects as they are now, in a compact form.
//!
//! A subject is one [`Row`]: its key, its state and how often it changed. What
//! it says is made from the seed, or from the given record, when it is asked
//! for, so that a hundred thousand subjects cost little memory.

mod past;
mod table;
mod walks;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Config;
use crate::clock::read_date;
use crate::data::codes::{Code, VACANCY_STATUSES};
use crate::data::given::{self, Given};
use crate::data::random::Random;
use crate::data::{candidate, keys};
use past::Past;
pub(crate) use table::{Asking, Table};

/// The two kinds of subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Vacancy,
    Candidate,
}

impl Kind {
    /// The kind of a name that this crate's methods take: `vacancy`, or anything
    /// else for a candidate.
    pub(crate) fn named(name: &str) -> Self {
        if name == "vacancy" { Self::Vacancy } else { Self::Candidate }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vacancy => "vacancy",
            Self::Candidate => "candidate",
        }
    }

    /// The member that holds the record proper in the export's JSON entry.
    pub(crate) fn wrapper(self) -> &'static str {
        match self {
            Self::Vacancy => "offerDetail",
            Self::Candidate => "candidateDetail",
        }
    }
}

/// A vacancy status: its code and the logical name that filters use.
pub(crate) struct Status {
    pub(crate) logical: &'static str,
    pub(crate) code: &'static Code,
}

pub(crate) const STATUSES: [Status; 7] = [
    Status { logical: "Draft", code: &VACANCY_STATUSES[0] },
    Status { logical: "Validated", code: &VACANCY_STATUSES[1] },
    Status { logical: "AwaitingPublication", code: &VACANCY_STATUSES[2] },
    Status { logical: "Published", code: &VACANCY_STATUSES[3] },
    Status { logical: "Suspended", code: &VACANCY_STATUSES[4] },
    Status { logical: "Finalised", code: &VACANCY_STATUSES[5] },
    Status { logical: "Archived", code: &VACANCY_STATUSES[6] },
];

/// The status id under which a vacancy can be applied to.
pub(crate) const PUBLISHED: &str = VACANCY_STATUSES[3].id;

/// A status by its code or its logical name; anything else is kept as a code.
pub(crate) fn status_id(name: &str) -> Cow<'static, str> {
    STATUSES
        .iter()
        .find(|status| status.code.id == name || status.logical.eq_ignore_ascii_case(name))
        .map_or_else(|| Cow::Owned(name.to_owned()), |status| Cow::Borrowed(status.code.id))
}

/// A status as a record carries it; a code of nobody's has itself as label.
pub(crate) fn coded_status(id: &str, lcid: u32) -> Value {
    STATUSES
        .iter()
        .find(|status| status.code.id == id)
        .map_or_else(|| json!({ "id": id, "label": id }), |status| status.code.coded(lcid))
}

/// Where a subject's words come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Made from the seed and this index.
    Seeded(u64),
    /// Read from a file.
    Given(Arc<Given>),
}

/// One subject.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) key: Arc<str>,
    pub(crate) source: Source,
    /// Place in the list of its kind, from 0.
    pub(crate) place: usize,
    /// 1 at first, one more with every change that can be seen.
    pub(crate) version: u64,
    pub(crate) created: DateTime<Utc>,
    pub(crate) updated: DateTime<Utc>,
    /// Code of the vacancy's status; of no meaning for a candidate.
    pub(crate) status: Cow<'static, str>,
    pub(crate) deleted: bool,
    pub(crate) anonymised: bool,
    /// How often the CV was replaced.
    pub(crate) resume: u32,
    /// References of the vacancies applied for.
    pub(crate) applications: Vec<Arc<str>>,
    /// How it was before its last changes, oldest first.
    past: Vec<Past>,
}

impl Row {
    /// The increasing number that `chronoNumber` filters compare.
    pub(crate) fn chrono_number(&self) -> i64 {
        100_000 + i64::try_from(self.place).unwrap_or(i64::MAX - 100_000)
    }

    /// Whether a matching index should show it.
    pub(crate) fn live(&self) -> bool {
        !self.deleted
            && match self.kind {
                Kind::Vacancy => self.status == PUBLISHED,
                Kind::Candidate => !self.anonymised,
            }
    }
}

/// Both tables.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) vacancies: Table,
    pub(crate) candidates: Table,
}

/// How far back the first records go.
const SPAN_DAYS: i64 = 3 * 365;

impl Tenant {
    /// The tenant that a configuration describes, as of `now`.
    ///
    /// # Errors
    ///
    /// When the directory of given records cannot be read or understood.
    pub(crate) fn new(config: &Config, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let mut tenant = Self::default();
        for given in config.records.iter().map(|dir| given::read_directory(dir)) {
            for given in given? {
                let (kind, place) = (given.kind, tenant.table(given.kind).rows.len());
                if tenant.table(kind).place(&given.key).is_some() {
                    anyhow::bail!("two given records have the key '{}'", given.key);
                }
                tenant.table_mut(kind).push(given_row(given, place, now));
            }
        }
        // Midnight, so that a restart on the same day finds the same dates.
        let today = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        for (kind, count) in [(Kind::Vacancy, config.vacancies), (Kind::Candidate, config.candidates)] {
            for index in 0..count {
                let mut random = Random::of(config.seed, "dates", index as u64 * 2 + kind as u64);
                // Oldest first, as a tenant grows; the exact minute is anyone's guess.
                let step = SPAN_DAYS * 86_400_000 / i64::try_from(count.max(1))?;
                let age = SPAN_DAYS * 86_400_000 - step * i64::try_from(index)?;
                let jitter = i64::try_from(random.below(step.unsigned_abs()))?;
                let created = today - Duration::milliseconds(age - jitter);
                let since = u64::try_from((today - created).num_milliseconds().max(0))?;
                let updated = created + Duration::milliseconds(i64::try_from(random.below(since))?);
                tenant.add(config, kind, created, updated);
            }
        }
        Ok(tenant)
    }

    pub(crate) fn table(&self, kind: Kind) -> &Table {
        match kind {
            Kind::Vacancy => &self.vacancies,
            Kind::Candidate => &self.candidates,
        }
    }

    pub(crate) fn table_mut(&mut self, kind: Kind) -> &mut Table {
        match kind {
            Kind::Vacancy => &mut self.vacancies,
            Kind::Candidate => &mut self.candidates,
        }
    }

    /// Adds the next generated subject.
    pub(crate) fn add(&mut self, config: &Config, kind: Kind, created: DateTime<Utc>, updated: DateTime<Utc>) {
        let place = self.table(kind).rows.len();
        let index = place as u64;
        let mut random = Random::of(config.seed, "state", index * 2 + kind as u64);
        let (key, status, applications) = match kind {
            Kind::Vacancy => (
                keys::reference(place, created, config.unaskable_references),
                // Four in five are published, the others anything.
                if random.percent(80) { PUBLISHED } else { random.pick(&STATUSES).code.id },
                Vec::new(),
            ),
            Kind::Candidate => {
                let count = usize::try_from(random.below(3)).unwrap_or(0);
                (keys::candidate_id(place), "", self.some_vacancies(&mut random, count))
            }
        };
        // A given record may have taken the key already.
        let taken = self.table(kind).place(&key).is_some();
        let key: Arc<str> = if taken { format!("{key} bis").into() } else { key.into() };
        self.table_mut(kind).push(Row {
            kind,
            key,
            source: Source::Seeded(index),
            place,
            version: 1,
            created,
            updated,
            status: Cow::Borrowed(status),
            deleted: false,
            anonymised: kind == Kind::Candidate && random.percent(1),
            resume: 0,
            applications,
            past: Vec::new(),
        });
    }

    /// Adds a generated subject that an index should show, and that was not there
    /// before now.
    pub(crate) fn create(&mut self, config: &Config, kind: Kind, now: DateTime<Utc>) -> Row {
        let place = self.table(kind).rows.len();
        self.add(config, kind, now, now);
        let row = &mut self.table_mut(kind).rows[place];
        row.anonymised = false;
        if kind == Kind::Vacancy {
            row.status = Cow::Borrowed(PUBLISHED);
        }
        row.was_absent(now);
        row.clone()
    }

    fn some_vacancies(&self, random: &mut Random, count: usize) -> Vec<Arc<str>> {
        let rows = &self.vacancies.rows;
        if rows.is_empty() {
            return Vec::new();
        }
        (0..count).map(|_| Arc::clone(&random.pick(rows).key)).collect()
    }
}

fn given_row(given: Arc<Given>, place: usize, now: DateTime<Utc>) -> Row {
    let date = |path: &str| given.text(path).and_then(read_date);
    let created = date("/creationDate").unwrap_or(now);
    Row {
        kind: given.kind,
        key: given.key.as_str().into(),
        place,
        version: 1,
        created,
        updated: date("/modificationDate").unwrap_or(created),
        status: match given.kind {
            Kind::Vacancy => given.text("/status/id").map_or(Cow::Borrowed(""), status_id),
            Kind::Candidate => Cow::Borrowed(""),
        },
        deleted: false,
        anonymised: given.detail()["isAnonymized"] == true,
        resume: 0,
        applications: Vec::new(),
        past: Vec::new(),
        source: Source::Given(given),
    }
}

/// The id of a subject's CV, if it has one.
pub(crate) fn resume_id(seed: u64, row: &Row) -> Option<String> {
    if row.kind == Kind::Vacancy || row.anonymised {
        return None;
    }
    match &row.source {
        Source::Seeded(index) => (row.resume > 0 || candidate::basics(seed, *index).with_resume)
            .then(|| candidate::resume_id(seed, *index, row.resume)),
        Source::Given(_) if row.resume > 0 => Some(candidate::resume_id(seed, row.place as u64, row.resume)),
        Source::Given(given) => given.resume_id().map(str::to_owned),
    }
}
