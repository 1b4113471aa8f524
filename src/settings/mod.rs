//! The settings: `config/default.toml` is the reference, a file and the environment are laid over it.
//!
//! To add a setting: write the key with its default and a sentence into `config/default.toml`, and a field of the same
//! name into the section's struct here (a tenant's in `tenant.rs`). Unknown keys, wrong types and rules across fields
//! are then reported by name.

mod hours;
mod layers;
pub mod reload;
mod tenant;
mod values;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use crate::{database, domain::TenantId, telemetry};

const ONE_DAY: Duration = Duration::from_secs(86_400);
pub use hours::Hours;
pub use layers::Problem;
pub use tenant::{Attachments, CandidateReportId, Paths, ReportTypeCase, Tenant};
pub use values::Secret;

/// The reference, compiled in.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// Everything that can be set; `config/default.toml` says what each key means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Settings {
    #[serde(deserialize_with = "values::optional_url")]
    pub public_url: Option<Url>,
    pub receive: Receive,
    pub ops: Ops,
    pub database: Database,
    pub worker: Worker,
    pub export: Export,
    pub retention: Retention,
    pub log: Log,
    pub shutdown: Shutdown,
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, Arc<Tenant>>,
}

/// `[receive]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Receive {
    pub bind: SocketAddr,
    pub body_limit: usize,
    #[serde(deserialize_with = "values::duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub commit_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub clock_skew: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub signature_lifetime_limit: Duration,
    pub unsigned_pings: UnsignedPings,
    #[serde(deserialize_with = "values::duration")]
    pub write_timeout: Duration,
    pub connections: usize,
    #[serde(deserialize_with = "values::duration")]
    pub connection_age_limit: Duration,
    #[serde(deserialize_with = "values::networks")]
    pub proxies: Vec<IpNet>,
    pub waiting_callbacks: usize,
    pub new_keys_per_minute: u32,
}

/// What to do with a ping that carries no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsignedPings {
    /// Answer 200 and store nothing.
    Accept,
    /// Answer 403.
    Refuse,
}

/// `[ops]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Ops {
    pub bind: SocketAddr,
    pub hosts: Vec<String>,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Database {
    pub url: Secret,
    pub pooled: bool,
    pub connections: u32,
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub statement_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub lock_timeout: Duration,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Worker {
    #[serde(deserialize_with = "values::duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub poll_interval: Duration,
    pub batch_subjects: usize,
    pub batch_query_bytes: usize,
    #[serde(deserialize_with = "values::duration")]
    pub linger: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub linger_limit: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub linger_repeats_limit: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub confirm_after: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub retry_first: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub retry_limit: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub retry_horizon: Duration,
    pub retry_min_attempts: u32,
    pub removals_floor: u32,
    pub removals_percent: u32,
}

/// `[export]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Export {
    pub page_size: usize,
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub read_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub call_timeout: Duration,
    pub least_rate: u64,
    #[serde(deserialize_with = "values::duration")]
    pub least_rate_over: Duration,
    pub frame_limit: u64,
    pub frame_in_memory: u64,
    pub record_limit: u64,
    pub response_limit: u64,
    pub kept_limit: u64,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Retention {
    #[serde(deserialize_with = "values::duration")]
    pub deliveries: Duration,
    pub refusals: u32,
    #[serde(deserialize_with = "values::duration")]
    pub refusal_age: Duration,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "config/default.toml documents every key")]
pub struct Shutdown {
    #[serde(deserialize_with = "values::duration")]
    pub announce: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub drain: Duration,
}

impl Settings {
    /// Reads the reference, the file if one is named, and the environment, and checks everything.
    ///
    /// # Errors
    /// Every problem found, each with the name of its key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, Vec<Problem>> {
        Settings::load_from(file, environment.into_iter().collect(), &mut Vec::new())
    }

    /// The same, and adds the files that were read to `files`, whatever comes of it.
    fn load_from(
        file: Option<&Path>,
        environment: HashMap<String, String>,
        files: &mut Vec<PathBuf>,
    ) -> Result<Settings, Vec<Problem>> {
        let (settings, mut problems) = layers::read(file, environment, files)?;
        let Some(settings) = settings else {
            return Err(problems);
        };
        settings.check(&mut problems);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// The rules that one field alone cannot break.
    fn check(&self, problems: &mut Vec<Problem>) {
        // One that is missing was named already.
        if !problems.iter().any(|problem| problem.key.starts_with("database.url"))
            && let Err(why) = database::check_address(self.database.url.expose())
        {
            problems.push(Problem::new("database.url", &why));
        }
        if let Err(error) = telemetry::filter(&self.log) {
            problems.push(Problem::new("log.level", error.to_string()));
        }
        let mut rule = |holds: bool, key: &str, says: &str| {
            if !holds {
                problems.push(Problem::new(key, says));
            }
        };
        rule(
            self.public_url.as_ref().is_none_or(|url| url.query().is_none() && url.fragment().is_none()),
            "public_url",
            "must have neither query nor fragment: signatures cover the query, and Cegid adds its own",
        );
        rule(
            self.tenants.is_empty() || self.public_url.is_some(),
            "public_url",
            "missing: hooks are registered under it, and signatures cover its path",
        );
        rule(!self.export.least_rate_over.is_zero(), "export.least_rate_over", "must not be zero");
        let page = 1..=100;
        rule(
            page.contains(&self.export.page_size),
            "export.page_size",
            "must be from 1 to 100, the most that Cegid answers",
        );
        rule(
            page.contains(&self.worker.batch_subjects),
            "worker.batch_subjects",
            "must be from 1 to 100, the most that Cegid answers",
        );
        rule(self.worker.batch_query_bytes >= 256, "worker.batch_query_bytes", "must be at least 256");
        let lease = Duration::from_secs(3)..=ONE_DAY;
        rule(lease.contains(&self.worker.lease), "worker.lease", "must be from 3s to 1d");
        // PostgreSQL counts milliseconds, 0 for no limit, and knows no more than 24 days.
        for (key, timeout) in [
            ("database.lock_timeout", self.database.lock_timeout),
            ("database.statement_timeout", self.database.statement_timeout),
            ("receive.commit_timeout", self.receive.commit_timeout),
        ] {
            rule((Duration::from_millis(1)..=ONE_DAY).contains(&timeout), key, "must be from 1ms to 1d");
        }
        for (key, time) in [
            ("database.connect_timeout", self.database.connect_timeout),
            ("receive.header_timeout", self.receive.header_timeout),
            ("receive.body_timeout", self.receive.body_timeout),
            ("worker.poll_interval", self.worker.poll_interval),
            ("worker.retry_first", self.worker.retry_first),
            ("export.connect_timeout", self.export.connect_timeout),
            ("export.read_timeout", self.export.read_timeout),
            ("export.call_timeout", self.export.call_timeout),
        ] {
            rule(!time.is_zero(), key, "must not be zero");
        }
        rule(
            self.worker.retry_first <= self.worker.retry_limit,
            "worker.retry_first",
            "must not be longer than worker.retry_limit",
        );
        rule(self.worker.retry_min_attempts > 0, "worker.retry_min_attempts", "must be at least 1");
        rule(
            self.worker.linger <= self.worker.linger_limit,
            "worker.linger",
            "must not be longer than worker.linger_limit",
        );
        rule(
            self.retention.deliveries >= ONE_DAY,
            "retention.deliveries",
            "must be at least 1d: what was received is what the ledger is made of",
        );
        rule(self.database.connections >= 2, "database.connections", "must be at least 2");
        rule(self.receive.body_limit >= 1024, "receive.body_limit", "must be at least 1024");
        rule(self.receive.connections >= 1, "receive.connections", "must be at least 1");
        rule(!self.receive.write_timeout.is_zero(), "receive.write_timeout", "must not be zero");
        rule(!self.receive.connection_age_limit.is_zero(), "receive.connection_age_limit", "must not be zero");
        rule(self.receive.waiting_callbacks >= 1, "receive.waiting_callbacks", "must be at least 1");
        let mut ids = BTreeMap::new();
        for (id, tenant) in &self.tenants {
            let key = |member: &str| format!("tenants.{id}.{member}");
            rule(tenant.calls_at_once >= 1, &key("calls_at_once"), "must be at least 1");
            rule(!tenant.live_statuses.is_empty(), &key("live_statuses"), "must name at least one status");
            rule(!tenant.scope.is_empty(), &key("scope"), "must not be empty");
            rule(
                (1..=self.export.kept_limit).contains(&tenant.attachment_limit),
                &key("attachment_limit"),
                "must be at least 1, and not larger than export.kept_limit",
            );
            rule(!tenant.callback_interval.is_zero(), &key("callback_interval"), "must not be zero");
            rule(!tenant.load_window.is_zero(), &key("load_window"), "must not be zero");
            let minute = Duration::from_secs(60);
            for (member, interval) in [
                ("incremental_interval", tenant.incremental_interval),
                ("full_interval", tenant.full_interval),
                ("rolling_period", tenant.rolling_period),
            ] {
                rule(interval >= minute, &key(member), "must be at least 1m: Cegid asks for few calls");
            }
            if let Some(other) = ids.insert(&tenant.client_id, id) {
                rule(
                    false,
                    &key("client_id"),
                    &format!("is also that of tenants.{other}: callbacks could not be told apart"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
