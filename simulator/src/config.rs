//! What a tenant is like.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Settings of one simulated tenant.
#[derive(Clone)]
pub struct Config {
    /// The same seed gives the same records.
    pub seed: u64,
    /// Generated vacancies at the start; about a sixth is not live.
    pub vacancies: usize,
    /// Generated candidates at the start.
    pub candidates: usize,
    /// The back-office credential, which callbacks name too.
    pub client_id: String,
    /// Its secret, which also signs callbacks.
    pub client_secret: String,
    /// Time between two bursts of callbacks; without one only
    /// [`Simulator::flush`](crate::Simulator::flush) sends. Real tenants send
    /// every 15 minutes unless set otherwise.
    pub burst_every: Option<Duration>,
    /// Callbacks under way at once.
    pub callback_concurrency: usize,
    /// How long an answer to a callback is waited for.
    pub callback_timeout: Duration,
    /// How often a callback that was not answered 2xx is sent again, one burst
    /// later each time. What real tenants do is not known, hence 0.
    pub callback_retries: u32,
    /// Whether callbacks carry `Content-MD5`, without which their body is not
    /// signed. Whether real tenants send it is not known.
    pub content_md5: bool,
    /// `Content-Type` of callbacks.
    pub callback_content_type: String,
    /// How long a callback's signature is good, in seconds.
    pub expires_after: i64,
    /// A directory of JSON files that join the generated records.
    pub records: Option<PathBuf>,
    /// Whether one vacancy in sixty has a reference with `,` `|` or `:`, which no
    /// `reference` filter can ask for.
    pub unaskable_references: bool,
    /// The longest query, encoded, that is looked at; longer ones are answered
    /// 404, as the platform's web server does by default from 2,048 bytes on.
    /// Whether real tenants changed that is not known.
    pub query_limit: usize,
    /// The most items a report may have; more are answered 413. The real limit
    /// is not known.
    pub report_items: usize,
    /// When set, only tokens of this scope may register hooks; others get 403.
    pub hook_scope: Option<String>,
    /// How many requests and how many callbacks the logs keep, the latest; all
    /// without a number. Numbers in the logs go on all the same. Items of reports
    /// are always kept.
    pub keep_log: Option<usize>,
    /// Where the clock stands at first; the system's time without one. Records
    /// are dated back from it.
    pub now: Option<DateTime<Utc>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            vacancies: 300,
            candidates: 2_000,
            client_id: "5e1ec7ed-0000-4000-8000-000000000001".to_owned(),
            client_secret: "simulator+secret/1".to_owned(),
            burst_every: Some(Duration::from_secs(1)),
            callback_concurrency: 8,
            callback_timeout: Duration::from_secs(10),
            callback_retries: 0,
            content_md5: true,
            callback_content_type: "application/json".to_owned(),
            expires_after: 300,
            records: None,
            unaskable_references: true,
            query_limit: 2_048,
            report_items: 100,
            hook_scope: None,
            keep_log: None,
            now: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("seed", &self.seed)
            .field("vacancies", &self.vacancies)
            .field("candidates", &self.candidates)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
