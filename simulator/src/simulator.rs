//! The tenant as a whole: starting, stopping, and answering what is true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::door::Door;
use crate::faults::Faults;
use crate::habits::Habits;
use crate::journal::{Journal, RequestRow};
use crate::sender::{Outgoing, RawCallback, Sent, delivery};
use crate::tenant::{Kind, Row, Tenant, resume_id};
use crate::wire::hooks::{HookRow, Hooks};
use crate::wire::referentials::Lists;
use crate::wire::reports::{ReportRow, Reports};
use crate::wire::token::Tokens;
use crate::wire::{record, router};

/// A running tenant. Clones are the same tenant.
#[derive(Clone)]
pub struct Simulator {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

/// Everything a tenant knows.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) tenant: Mutex<Tenant>,
    pub(crate) tokens: Tokens,
    pub(crate) hooks: Hooks,
    pub(crate) reports: Reports,
    pub(crate) faults: Faults,
    pub(crate) habits: Habits,
    pub(crate) lists: Lists,
    pub(crate) journal: Journal,
    pub(crate) outgoing: Outgoing,
    pub(crate) signing_secret: Mutex<String>,
    pub(crate) client: reqwest::Client,
    /// Counts changes made at random, so that each draws other numbers.
    pub(crate) whims: Mutex<u64>,
    activity: tokio::sync::watch::Sender<u64>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Inner {
    /// Wakes those who wait for something to have happened.
    pub(crate) fn stir(&self) {
        self.activity.send_modify(|count| *count += 1);
    }
}

/// One subject as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TruthRow {
    /// `vacancy` or `candidate`.
    pub kind: &'static str,
    /// Reference of the vacancy or id of the candidate.
    pub key: String,
    /// Whether the export shows it.
    pub present: bool,
    /// Whether an index should show it: a published vacancy, a candidate who is
    /// not anonymised.
    pub live: bool,
    /// Whether the candidate was anonymised.
    pub anonymised: bool,
    /// 1 at first, one more with every change.
    pub version: u64,
    /// The exact title the record shows, with its version once changed; empty
    /// for a title that is null.
    pub title: String,
    /// Code of the vacancy's status; empty for a candidate.
    pub status: String,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// Attachment id of the candidate's CV.
    pub resume: Option<String>,
}

impl Simulator {
    /// Starts a tenant on a listener that is bound already: its server and,
    /// unless bursts are by hand, its sender.
    ///
    /// # Errors
    ///
    /// When the given records cannot be read, or the listener has no address.
    pub async fn start(config: Config, listener: TcpListener) -> anyhow::Result<Self> {
        let clock = Clock::new(config.now);
        let now = clock.now();
        let address = listener.local_addr().context("reading the listener's address")?;
        let seeding = config.clone();
        let tenant = tokio::task::spawn_blocking(move || Tenant::new(&seeding, now))
            .await
            .context("making the tenant's records")??;
        let inner = Arc::new(Inner {
            tenant: Mutex::new(tenant),
            tokens: Tokens::default(),
            hooks: Hooks::default(),
            reports: Reports::default(),
            faults: Faults::default(),
            habits: Habits::default(),
            lists: Lists::default(),
            journal: Journal::new(config.keep_log),
            outgoing: Outgoing::new(config.keep_log),
            signing_secret: Mutex::new(config.client_secret.clone()),
            client: delivery::client(&config)?,
            whims: Mutex::new(0),
            activity: tokio::sync::watch::Sender::new(0),
            address,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            clock,
            config,
        });
        let simulator = Self { inner };
        simulator.serve(listener);
        simulator.send_bursts();
        Ok(simulator)
    }

    fn serve(&self, listener: TcpListener) {
        let app = router(self.clone());
        let stop = self.inner.stop.clone();
        let door = Door { listener, inner: Arc::clone(&self.inner) };
        self.inner.tasks.spawn(async move {
            let serve = axum::serve(door, app).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serve.await {
                tracing::error!(%error, "the simulator's server ended");
            }
        });
    }

    fn send_bursts(&self) {
        let Some(every) = self.inner.config.burst_every else { return };
        let (inner, stop) = (Arc::clone(&self.inner), self.inner.stop.clone());
        self.inner.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = ticks.tick() => {}
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = delivery::burst(&inner) => {}
                }
            }
        });
    }

    /// `http://address`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// What the tenant was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Stops the server and the sender; a burst under way is cut off. Answers
    /// that take longer than two seconds to finish are not waited for.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(Duration::from_secs(2), self.inner.tasks.wait()).await.is_err() {
            tracing::debug!("the simulator stopped with answers under way");
        }
    }

    /// Turns the clock; it then stands still until it is turned again.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.inner.clock.set(Some(now));
    }

    /// Gives the clock back to the system.
    pub fn follow_system_time(&self) {
        self.inner.clock.set(None);
    }

    /// The time on the tenant's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }

    /// Every subject that ever was, vacancies first, in the order of creation.
    #[must_use]
    pub fn truth(&self) -> Vec<TruthRow> {
        let tenant = crate::lock(&self.inner.tenant);
        let seed = self.inner.config.seed;
        let rows = tenant.vacancies.rows.iter().chain(&tenant.candidates.rows);
        rows.map(|row| truth_row(seed, row)).collect()
    }

    /// One subject, `kind` being `vacancy` or `candidate`.
    #[must_use]
    pub fn truth_of(&self, kind: &str, key: &str) -> Option<TruthRow> {
        let tenant = crate::lock(&self.inner.tenant);
        let table = tenant.table(Kind::named(kind));
        table.place(key).map(|place| truth_row(self.inner.config.seed, &table.rows[place]))
    }

    /// Callbacks that wait for a burst, or that a burst has not done with yet. At 0
    /// everything that was to be told is in [`sent`](Self::sent).
    #[must_use]
    pub fn queued_callbacks(&self) -> usize {
        let waiting = crate::lock(&self.inner.outgoing.waiting);
        waiting.len() + self.inner.outgoing.under_way.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Sends a burst now and gives what became of each callback, after all were
    /// answered or failed. Delayed ones that are not due yet stay.
    pub async fn flush(&self) -> Vec<Sent> {
        delivery::burst(&self.inner).await
    }

    /// All that was sent or swallowed, in the order of the answers, as far as
    /// [`Config::keep_log`] keeps it.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.sent_after(0)
    }

    /// [`sent`](Self::sent) without the first `count` that there ever were.
    #[must_use]
    pub fn sent_after(&self, count: usize) -> Vec<Sent> {
        crate::lock(&self.inner.outgoing.sent).after(count).cloned().collect()
    }

    /// Queues up to `most` callbacks whose last attempt was not answered 2xx
    /// again, oldest first, and says how many.
    pub fn resend_failed(&self, most: usize) -> usize {
        delivery::resend_failed(&self.inner, most)
    }

    /// Signs and sends one request that a test made up. It is not in
    /// [`sent`](Self::sent) but in [`sent_raw`](Self::sent_raw).
    pub async fn send_raw(&self, raw: &RawCallback) -> Sent {
        let sent = delivery::send(&self.inner, raw).await;
        crate::lock(&self.inner.outgoing.raw).push(sent.clone());
        sent
    }

    /// What [`send_raw`](Self::send_raw) sent, in the order of the answers, as far
    /// as [`Config::keep_log`] keeps it.
    #[must_use]
    pub fn sent_raw(&self) -> Vec<Sent> {
        crate::lock(&self.inner.outgoing.raw).iter().cloned().collect()
    }

    /// Calls every hook's ping URL: a signed POST with an empty body.
    pub async fn ping(&self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for url in self.inner.hooks.ping_urls() {
            let raw = RawCallback { url, ..RawCallback::default() };
            if self.inner.hooks.muted() {
                sent.push(delivery::unsaid(&self.inner, &raw));
            } else {
                sent.push(delivery::send(&self.inner, &raw).await);
            }
        }
        delivery::note(&self.inner, &sent);
        sent
    }

    /// Hooks that are registered.
    #[must_use]
    pub fn hooks(&self) -> Vec<HookRow> {
        self.inner.hooks.rows()
    }

    /// How often each event was registered since the start, whatever became of
    /// the hooks.
    #[must_use]
    pub fn registrations(&self) -> BTreeMap<String, u64> {
        self.inner.hooks.registrations()
    }

    /// The request log, as far as [`Config::keep_log`] keeps it.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRow> {
        self.inner.journal.rows()
    }

    /// How many requests of the log pass a test, without copying the log. The test
    /// must not ask the simulator anything.
    #[must_use]
    pub fn count_requests(&self, mut test: impl FnMut(&RequestRow) -> bool) -> usize {
        self.inner.journal.count(|row| test(row))
    }

    /// Items of the reports that were accepted, in the order of arrival.
    #[must_use]
    pub fn reports(&self) -> Vec<ReportRow> {
        self.inner.reports.rows()
    }

    /// [`reports`](Self::reports) without its first `count`.
    #[must_use]
    pub fn reports_after(&self, count: usize) -> Vec<ReportRow> {
        self.inner.reports.rows_after(count)
    }

    /// Reports that name this id are answered 400 from now on, or no longer.
    pub fn refuse_reports_of(&self, id: &str, refuse: bool) {
        self.inner.reports.refuse(id, refuse);
    }

    /// How many subjects of a kind are present, and how many of them live.
    pub(crate) fn counts(&self, kind: Kind) -> (usize, usize) {
        let tenant = crate::lock(&self.inner.tenant);
        let rows = &tenant.table(kind).rows;
        (rows.iter().filter(|row| !row.deleted).count(), rows.iter().filter(|row| row.live()).count())
    }

    /// How many items [`reports`](Self::reports) has.
    #[must_use]
    pub fn report_count(&self) -> usize {
        self.inner.reports.count()
    }

    /// The last report of each `(report_type, id)`.
    #[must_use]
    pub fn last_reports(&self) -> BTreeMap<(String, String), ReportRow> {
        self.inner.reports.last()
    }

    /// How often a token was asked for, with whatever answer.
    #[must_use]
    pub fn token_calls(&self) -> u64 {
        self.inner.tokens.calls()
    }

    /// Returns once the condition holds. It is looked at now, and again whenever a
    /// request was answered or held, or a burst was sent. Waits for ever if need be.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut activity = self.inner.activity.subscribe();
        while !condition(self) {
            if activity.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes every token that was given out worthless.
    pub fn expire_tokens(&self) {
        self.inner.tokens.expire_all();
    }

    /// Refuses the right credentials too, as when a customer revokes them.
    pub fn refuse_credentials(&self, refuse: bool) {
        self.inner.tokens.refuse(refuse);
    }

    /// Signs callbacks with another secret from now on, as after a rotation;
    /// tokens are still given for the configured one.
    pub fn set_signing_secret(&self, secret: &str) {
        secret.clone_into(&mut crate::lock(&self.inner.signing_secret));
    }
}

fn truth_row(seed: u64, row: &Row) -> TruthRow {
    TruthRow {
        kind: row.kind.name(),
        key: row.key.to_string(),
        present: !row.deleted,
        live: row.live(),
        anonymised: row.anonymised,
        version: row.version,
        title: record::title(seed, row).unwrap_or_default(),
        status: row.status.to_string(),
        updated: row.updated,
        resume: resume_id(seed, row),
    }
}
