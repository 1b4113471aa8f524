//! What is set for one tenant.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use url::Url;

use super::{Hours, Secret, hours, values};
use crate::domain::Kind;

/// `[tenants.NAME]` laid over `[tenant_defaults]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Tenant {
    #[serde(deserialize_with = "values::base_url")]
    pub base_url: Url,
    #[serde(deserialize_with = "values::required")]
    pub client_id: String,
    pub client_secret: Secret,
    #[serde(deserialize_with = "values::optional_secret")]
    pub previous_client_secret: Option<Secret>,
    pub scope: String,
    pub hook_scope: String,
    pub events: Vec<String>,
    #[serde(deserialize_with = "values::duration")]
    pub callback_interval: Duration,
    pub live_statuses: Vec<String>,
    pub report_type_case: ReportTypeCase,
    pub candidate_report_id: CandidateReportId,
    pub calls_at_once: usize,
    pub calls_per_minute: u32,
    #[serde(deserialize_with = "hours::zone")]
    pub time_zone: Option<Tz>,
    pub bulk_hours: Hours,
    #[serde(deserialize_with = "values::duration")]
    pub load_pause: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub load_window: Duration,
    pub load_windows: u32,
    pub load_vacancy_filter: String,
    #[serde(deserialize_with = "values::duration")]
    pub incremental_interval: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub sweep_overlap: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub full_interval: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub rolling_period: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub gap_grace: Duration,
    pub referentials: Vec<String>,
    pub referential_languages: Vec<i32>,
    #[serde(deserialize_with = "values::duration")]
    pub referential_interval: Duration,
    pub attachments: Attachments,
    pub attachment_limit: u64,
    pub attachment_types: Vec<String>,
    pub paths: Paths,
}

/// With the zone known, an incremental sweep begins at most so long before the one before: an hour that the clocks are
/// put back by, and as much again.
const OVERLAP_IN_ZONE: Duration = Duration::from_secs(2 * 3600);

/// How finely permitted hours are looked through.
const LEAST_STEP: Duration = Duration::from_secs(60);
const LARGEST_STEP: Duration = Duration::from_secs(15 * 60);

impl Tenant {
    /// The zone of the tenant's dates and hours; UTC as long as it is not known.
    pub fn zone(&self) -> Tz {
        self.time_zone.unwrap_or(Tz::UTC)
    }

    /// Whether bulk work may be done now.
    pub fn bulk_permitted(&self, now: DateTime<Utc>) -> bool {
        self.bulk_hours.allowed(now, self.zone())
    }

    /// The latest time from which permitted hours give so much time before `by`. `earliest` when they do not.
    pub fn latest_start(&self, by: DateTime<Utc>, needed: Duration, earliest: DateTime<Utc>) -> DateTime<Utc> {
        let step = (needed / 16).clamp(LEAST_STEP, LARGEST_STEP);
        let (mut at, mut permitted) = (by, Duration::ZERO);
        while at > earliest && permitted < needed {
            at -= step;
            if self.bulk_permitted(at) {
                permitted += step;
            }
        }
        at.max(earliest)
    }

    /// How long before the last incremental sweep the next one begins. The zone tells about the dates of vacancies alone:
    /// those of candidates have one, and how filters take it is not known.
    pub fn overlap(&self, kind: Kind) -> Duration {
        if kind == Kind::Vacancy && self.time_zone.is_some() {
            self.sweep_overlap.min(OVERLAP_IN_ZONE)
        } else {
            self.sweep_overlap
        }
    }

    /// The secrets that verify a signature, the current one first.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.client_secret).chain(self.previous_client_secret.as_ref())
    }
}

/// Letters of `reportType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportTypeCase {
    /// `vacancies`, as the guide writes.
    Lower,
    /// `Vacancies`, as running clients send.
    Capital,
}

/// Member of `candidateDetail` that identifies a candidate in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateReportId {
    /// `id`, as a running client sends.
    Id,
    /// `email`, for tenants whose usernames are addresses.
    Email,
}

/// Which files of candidates are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attachments {
    /// None.
    None,
    /// Those that a record marks as resumes.
    Resumes,
}

/// `[tenants.NAME.paths]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Paths {
    pub token: String,
    pub webhooks: String,
    pub vacancies: String,
    pub candidates: String,
    pub reports: String,
    pub referentials: String,
}
