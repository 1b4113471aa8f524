//! Reading the settings again while the service runs.
//!
//! Wanted: a new tenant or a rotated secret counts within seconds; a half-written file changes nothing; what is wrong is
//! said once and the last good settings stay. Files are looked at rather than watched: a mounted secret is replaced by
//! turning a link, which watchers miss. A file that has changed is read again once two looks in a row have found the
//! same; SIGHUP reads at once.

use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use super::{Problem, Settings};
use crate::{domain::TenantId, lifecycle::Stop, metrics::Metrics};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Where the settings come from: a file, if one is named, and the environment of the start.
#[derive(Clone)]
pub struct Source {
    file: Option<PathBuf>,
    environment: HashMap<String, String>,
}

/// What one reading came to.
struct Reading {
    settings: Result<Settings, Vec<Problem>>,
    files: Vec<PathBuf>,
}

impl Source {
    /// Nothing is read yet.
    pub fn new(file: Option<PathBuf>, environment: impl IntoIterator<Item = (String, String)>) -> Source {
        Source { file, environment: environment.into_iter().collect() }
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every problem found, each with the name of its key.
    pub fn load(&self) -> Result<Settings, Vec<Problem>> {
        self.read().settings
    }

    fn read(&self) -> Reading {
        let mut files = Vec::new();
        let settings = Settings::load_from(self.file.as_deref(), self.environment.clone(), &mut files);
        Reading { settings, files }
    }
}

impl Settings {
    /// Keeps from the `running` settings what counts from the next start only, and names what differs in it.
    ///
    /// Taken while running: tenants, `[worker]` but for the lease, and `[export]` but for its connections.
    fn keep_fixed(&mut self, running: &Settings) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |same: bool, key: &'static str| {
            if !same {
                kept.push(key);
            }
        };
        keep(self.public_url == running.public_url, "public_url");
        keep(self.receive == running.receive, "receive");
        keep(self.ops == running.ops, "ops");
        keep(self.database == running.database, "database");
        keep(self.retention == running.retention, "retention");
        keep(self.log == running.log, "log");
        keep(self.shutdown == running.shutdown, "shutdown");
        keep(self.worker.lease == running.worker.lease, "worker.lease");
        keep(self.export.connect_timeout == running.export.connect_timeout, "export.connect_timeout");
        keep(self.export.read_timeout == running.export.read_timeout, "export.read_timeout");
        let (tenants, mut worker, mut export) =
            (std::mem::take(&mut self.tenants), self.worker.clone(), self.export.clone());
        worker.lease = running.worker.lease;
        (export.connect_timeout, export.read_timeout) = (running.export.connect_timeout, running.export.read_timeout);
        *self = Settings { tenants, worker, export, ..running.clone() };
        kept
    }
}

/// A fingerprint of what the files hold; one that cannot be read counts as well.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// Follows the source of the settings of a running service.
pub struct Reloader {
    source: Source,
    live: watch::Sender<Arc<Settings>>,
    metrics: Arc<Metrics>,
    /// Of the last reading.
    files: Vec<PathBuf>,
    seen: u64,
    /// What the last look found, when it is not what was read.
    found: Option<u64>,
}

impl Reloader {
    /// Beside settings that were read from this source.
    pub fn new(source: Source, live: watch::Sender<Arc<Settings>>, metrics: Arc<Metrics>) -> Reloader {
        Reloader { source, live, metrics, files: Vec::new(), seen: 0, found: None }
    }

    /// Looks, and listens for SIGHUP, until the stop.
    pub async fn run(mut self, stop: Stop) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                warn!(error = %error, "listening for SIGHUP failed: the settings are read again when a file changes");
                None
            }
        };
        // The files may have changed since the start.
        self.read().await;
        loop {
            tokio::select! {
                () = stop.draining() => return,
                () = asked(&mut hangup) => {
                    info!("asked to read the settings again");
                    self.read().await;
                }
                () = tokio::time::sleep(LOOK) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let files = self.files.clone();
        let Ok(found) = spawn_blocking(move || fingerprint(&files)).await else { return };
        if found == self.seen {
            self.found = None;
        } else if self.found == Some(found) {
            self.read().await;
        } else {
            self.found = Some(found);
        }
    }

    async fn read(&mut self) {
        let (source, files) = (self.source.clone(), self.files.clone());
        let read = spawn_blocking(move || {
            // Before the reading: what changes while it goes on is found by the next look. So is another list of files.
            let seen = fingerprint(&files);
            (source.read(), seen)
        });
        let Ok((reading, seen)) = read.await else { return };
        (self.files, self.seen, self.found) = (reading.files, seen, None);
        self.metrics.settings_reload_failed.set(i64::from(reading.settings.is_err()));
        match reading.settings {
            Ok(settings) => self.take(settings),
            Err(problems) => {
                for problem in &problems {
                    error!(%problem, "the settings are wrong");
                }
                error!(problems = problems.len(), "the last good settings stay in use: put right what is named above");
            }
        }
    }

    fn take(&self, mut settings: Settings) {
        let running = self.live.borrow().clone();
        let kept = settings.keep_fixed(&running);
        if !kept.is_empty() {
            warn!(keys = kept.join(", "), "these settings have changed and count from the next start on");
        }
        if settings == *running {
            return;
        }
        let names = |keep: &dyn Fn(&TenantId) -> bool, of: &Settings| {
            of.tenants.keys().filter(|tenant| keep(tenant)).map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let added = names(&|tenant| !running.tenants.contains_key(tenant), &settings);
        let removed = names(&|tenant| !settings.tenants.contains_key(tenant), &running);
        let differs = |tenant: &TenantId| {
            running.tenants.get(tenant).is_some_and(|before| settings.tenants.get(tenant) != Some(before))
        };
        let changed = names(&differs, &settings);
        info!(added, changed, removed, "the settings were read again: tenants");
        if !removed.is_empty() {
            warn!(
                tenants = removed,
                "taken out of the settings without being disconnected, their hooks stay registered at Cegid, and what is \
                 held of them stays: see cegid-indexer tenant disconnect"
            );
        }
        self.live.send_replace(Arc::new(settings));
    }
}

/// Ends when SIGHUP comes.
async fn asked(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "base_url = \"https://acme.example.com\"\nclient_id = \"x\"\nclient_secret = \"s\"\n";

    fn source(file: &std::path::Path) -> Source {
        let pairs = [("DATABASE__URL", "postgres://localhost/cegid"), ("PUBLIC_URL", "https://indexer.example.com")];
        Source::new(
            Some(file.to_owned()),
            pairs.map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value.to_owned())),
        )
    }

    fn reloader(file: &std::path::Path) -> (Reloader, watch::Receiver<Arc<Settings>>) {
        let source = source(file);
        let live = watch::Sender::new(Arc::new(source.load().unwrap()));
        let settings = live.subscribe();
        (Reloader::new(source, live, Arc::default()), settings)
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_not_read_until_it_has_come_to_rest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let whole = format!("[tenants.acme]\n{TENANT}");
        fs::write(&file, &whole).unwrap();
        let (mut reloader, settings) = reloader(file.path());
        let tenants = || settings.borrow().tenants.len();
        reloader.read().await;
        reloader.look().await;
        // Right as it stands, and not what was meant.
        fs::write(&file, "").unwrap();
        reloader.look().await;
        assert_eq!(tenants(), 1);
        fs::write(&file, format!("{whole}[tenants.other]\n{}", TENANT.replace("\"x\"", "\"y\""))).unwrap();
        reloader.look().await;
        assert_eq!(tenants(), 1);
        reloader.look().await;
        assert_eq!(tenants(), 2);
        // What was written and taken back within a moment is nothing.
        fs::write(&file, "").unwrap();
        reloader.look().await;
        fs::write(&file, format!("{whole}[tenants.other]\n{}", TENANT.replace("\"x\"", "\"y\""))).unwrap();
        reloader.look().await;
        fs::write(&file, "").unwrap();
        reloader.look().await;
        assert_eq!(tenants(), 2);
    }

    #[tokio::test]
    async fn what_is_wrong_changes_nothing_and_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, format!("[tenants.acme]\n{TENANT}")).unwrap();
        let (mut reloader, settings) = reloader(file.path());
        let before = settings.borrow().clone();
        fs::write(&file, format!("[tenants.acme]\n{TENANT}calls_at_once = 0\n")).unwrap();
        reloader.read().await;
        assert_eq!(reloader.metrics.settings_reload_failed.get(), 1);
        assert!(Arc::ptr_eq(&before, &settings.borrow()));
        fs::remove_file(&file).unwrap();
        reloader.read().await;
        assert!(Arc::ptr_eq(&before, &settings.borrow()));
    }

    #[test]
    fn what_counts_from_the_next_start_only_is_kept_and_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let running = source(file.path()).load().unwrap();
        let text = "[receive]\nbody_limit = 2048\n[worker]\nlease = \"30s\"\npoll_interval = \"1s\"\n[export]\n\
                    page_size = 50\nread_timeout = \"5s\"\n";
        fs::write(&file, format!("{text}[tenants.acme]\n{TENANT}")).unwrap();
        let mut read = source(file.path()).load().unwrap();
        assert_eq!(read.keep_fixed(&running), ["receive", "worker.lease", "export.read_timeout"]);
        assert_eq!((&read.receive, read.worker.lease), (&running.receive, running.worker.lease));
        assert_eq!(read.export.read_timeout, running.export.read_timeout);
        assert_eq!((read.worker.poll_interval, read.export.page_size), (Duration::from_secs(1), 50));
        assert_eq!(read.tenants.len(), 1);
    }
}
