//! What a tenant is like.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Settings of one simulated tenant.
#[derive(Clone)]
pub struct Config {
    /// What the tenant is called where several are told apart.
    pub name: String,
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
    /// Whether connections for callbacks are used again. What real tenants do is
    /// not known.
    pub callback_keep_alive: bool,
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
            name: "tenant-1".to_owned(),
            seed: 1,
            vacancies: 300,
            candidates: 2_000,
            client_id: "5e1ec7ed-0000-4000-8000-000000000001".to_owned(),
            client_secret: "simulator+secret/1".to_owned(),
            burst_every: Some(Duration::from_secs(1)),
            callback_concurrency: 8,
            callback_timeout: Duration::from_secs(10),
            callback_keep_alive: true,
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
            .field("name", &self.name)
            .field("seed", &self.seed)
            .field("vacancies", &self.vacancies)
            .field("candidates", &self.candidates)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The settings of the `number`-th tenant like this one, which is the first.
    /// Its seed, and the numbers that its name, credential and secret end in, count
    /// on from these; what ends in no number gets one.
    #[must_use]
    pub fn another(&self, number: u64) -> Self {
        let by = number.saturating_sub(1);
        Self {
            name: counted_on(&self.name, by),
            seed: self.seed.wrapping_add(by),
            client_id: counted_on(&self.client_id, by),
            client_secret: counted_on(&self.client_secret, by),
            ..self.clone()
        }
    }
}

/// A text whose last digits are a number that is greater by so much, written as
/// wide as before.
fn counted_on(text: &str, by: u64) -> String {
    if by == 0 {
        return text.to_owned();
    }
    let stem = text.trim_end_matches(|last: char| last.is_ascii_digit());
    // More digits than a number can have are left to the stem.
    let stem = &text[..stem.len().max(text.len().saturating_sub(18))];
    match text[stem.len()..].parse::<u64>() {
        Ok(number) => format!("{stem}{:0width$}", number + by, width = text.len() - stem.len()),
        Err(_) => format!("{text}-{}", by + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, counted_on};

    #[test]
    fn every_tenant_has_a_name_a_seed_and_a_credential_of_its_own() {
        let first = Config::default();
        let third = first.another(3);
        assert_eq!((third.name.as_str(), third.seed), ("tenant-3", 3));
        assert_eq!(third.client_id, "5e1ec7ed-0000-4000-8000-000000000003");
        assert_eq!(third.client_secret, "simulator+secret/3");
        assert_eq!(third.vacancies, first.vacancies);
        assert_eq!(first.another(1).client_id, first.client_id);
    }

    #[test]
    fn numbers_count_on_as_wide_as_they_were() {
        assert_eq!(counted_on("secret-0009", 1), "secret-0010");
        assert_eq!(counted_on("acme", 2), "acme-3");
        assert_eq!(counted_on("99", 1), "100");
        assert_eq!(counted_on("99999999999999999999999", 1), "999991000000000000000000");
    }
}
