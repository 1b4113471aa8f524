//! Several tenants, each a simulator of its own, and several replicas of the service on one database and one clock.

mod notifying;
mod reloading;
mod sharing;
mod states;

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration};

use cegid_indexer::{
    app::App,
    clock::Clock,
    database::Database,
    domain::{Kind, TenantId},
    index::documents,
    lifecycle::{Stop, TaskDied},
    settings::{Settings, reload::Source},
};
use cegid_simulator::{Config, RawCallback, Sent, Simulator};
use chrono::TimeDelta;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::harness::{canary, database::Named, free_port, history, start_time, stored};

/// By the machine's clock.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(10);
/// How far the clock is turned between two looks.
const STEP: Duration = Duration::from_secs(1);
/// Each tenant's.
const EVENTS: usize = 2;

/// A running replica.
pub struct Replica {
    pub public: String,
    pub operators: String,
    stop: Stop,
    task: JoinHandle<Result<(), TaskDied>>,
}

pub struct Town {
    pub clock: Clock,
    pub database: Database,
    pub simulators: BTreeMap<String, Simulator>,
    pub replicas: Vec<Replica>,
    directory: tempfile::TempDir,
    name: Named,
    public_url: String,
    /// What a test wants otherwise of the replicas that it starts, by environment name without the prefix.
    set: BTreeMap<&'static str, String>,
    /// Where the log stood when it began.
    log_from: usize,
}

pub fn id(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub fn secret(name: &str) -> String {
    format!("secret-of-{name}")
}

impl Town {
    /// Tenants of these sizes, and no replica yet.
    pub async fn new(tenants: &[(&str, usize)]) -> Town {
        Town::on(Named::create().await, tenants).await
    }

    /// The same on a database of the test's own.
    pub async fn on(name: Named, tenants: &[(&str, usize)]) -> Town {
        let log_from = canary::listen();
        let mut simulators = BTreeMap::new();
        for (seed, (name, vacancies)) in (1..).zip(tenants) {
            let config = Config {
                // Others' records under the same keys.
                seed,
                vacancies: *vacancies,
                candidates: 2,
                client_id: format!("client-{name}"),
                client_secret: secret(name),
                burst_every: None,
                unaskable_references: false,
                now: Some(start_time()),
                ..Config::default()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            simulators.insert((*name).to_owned(), Simulator::start(config, listener).await.unwrap());
        }
        let given = [("CEGID_INDEXER__DATABASE__URL".to_owned(), name.url())];
        let settings = Settings::load(None, given).unwrap();
        let town = Town {
            clock: Clock::turned(start_time()),
            database: Database::new(&settings.database, settings.worker.lease).unwrap(),
            simulators,
            replicas: Vec::new(),
            directory: tempfile::tempdir().unwrap(),
            name,
            public_url: format!("http://127.0.0.1:{}", free_port()),
            set: BTreeMap::new(),
            log_from,
        };
        let names: Vec<&str> = tenants.iter().map(|(name, _)| *name).collect();
        town.configure(&names.iter().map(|name| (*name, "")).collect::<Vec<_>>());
        town
    }

    pub fn url(&self) -> String {
        self.name.url()
    }

    pub fn set(&mut self, key: &'static str, value: &str) {
        self.set.insert(key, value.to_owned());
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes the settings anew: these tenants, each with more lines of its own.
    pub fn configure(&self, tenants: &[(&str, &str)]) {
        let mut text = String::from(
            "[database]\nconnections = 3\n[log]\nlevel = \"warn\"\n[shutdown]\ndrain = \"2s\"\n\
             [worker]\nbatch_subjects = 20\n[tenant_defaults]\nload_pause = \"1ms\"\nload_windows = 1\n\
             referentials = []\nevents = [\"vacancy_update\", \"vacancy_new\"]\n",
        );
        for (name, own) in tenants {
            let simulator = &self.simulators[*name];
            let base = simulator.base_url();
            writeln!(text, "[tenants.{name}]\nbase_url = \"{base}\"\nclient_id = \"client-{name}\"\n{own}").unwrap();
            if !own.contains("client_secret") {
                writeln!(text, "client_secret = \"{}\"", secret(name)).unwrap();
            }
        }
        self.write("settings.toml", &text);
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// What the settings' file does not say; the first replica has the public address.
    pub fn environment(&self, port: u16) -> Vec<(String, String)> {
        let mut pairs = BTreeMap::from([
            ("DATABASE__URL", self.url()),
            ("PUBLIC_URL", self.public_url.clone()),
            ("RECEIVE__BIND", format!("127.0.0.1:{port}")),
            ("OPS__BIND", "127.0.0.1:0".to_owned()),
        ]);
        pairs.extend(self.set.clone());
        pairs.into_iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value)).collect()
    }

    pub async fn start_replica(&mut self) {
        let first = self.public_url.rsplit(':').next().unwrap().parse().unwrap();
        let port = if self.replicas.is_empty() { first } else { free_port() };
        let source = Source::new(Some(self.path("settings.toml")), self.environment(port));
        let settings = source.load().unwrap();
        let app = App::bind(settings, self.clock.clone()).await.unwrap().reload_from(source);
        let public = format!("http://{}", app.public_addr().unwrap());
        let operators = format!("http://{}", app.operators_addr().unwrap());
        let stop = Stop::default();
        let task = tokio::spawn(app.run(stop.clone()));
        self.replicas.push(Replica { public, operators, stop, task });
    }

    /// As a crash would end it.
    pub async fn kill(&mut self, replica: usize) {
        let Replica { task, .. } = self.replicas.remove(replica);
        task.abort();
        assert!(task.await.is_err_and(|ended| ended.is_cancelled()));
    }

    pub async fn drain(&mut self, replica: usize) {
        let Replica { task, stop, .. } = self.replicas.remove(replica);
        stop.drain();
        task.await.unwrap().unwrap();
    }

    pub fn turn(&self, by: Duration) {
        self.clock.turn(by);
        self.simulators.values().for_each(|simulator| simulator.set_now(self.clock.now()));
    }

    /// Whether every replica has looked at the leases within six seconds of the clock: it is not turned past them.
    async fn looked(&self) -> bool {
        let lately = self.clock.now() + TimeDelta::seconds(15 - 6);
        let seen: i64 = sqlx::query_scalar("select count(*) from replica where seen_until >= $1")
            .bind(lately)
            .fetch_one(self.database.pool())
            .await
            .unwrap();
        seen >= self.replicas.len() as i64
    }

    /// Turns the clock, never past what the replicas have to do, until something holds.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Town) -> bool) {
        self.wait(what, Some(STEP), holds).await;
    }

    /// Waits until something holds while the clock stands still.
    pub async fn until_by_itself(&self, what: &str, holds: impl AsyncFn(&Town) -> bool) {
        self.wait(what, None, holds).await;
    }

    async fn wait(&self, what: &str, step: Option<Duration>, holds: impl AsyncFn(&Town) -> bool) {
        let since = Instant::now();
        while !holds(self).await {
            assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}, at {}", self.clock.now());
            if let Some(step) = step
                && self.looked().await
            {
                self.turn(step);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn pass(&self, time: TimeDelta) {
        let until = self.clock.now() + time;
        self.until("time has passed", async |town: &Town| town.clock.now() >= until).await;
    }

    pub async fn count(&self, statement: &'static str, tenant: &str) -> i64 {
        sqlx::query_scalar(statement).bind(tenant).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Whether the tenant is loaded, its hooks are registered, nothing waits and all is reported.
    pub async fn is_quiet(&self, tenant: &str) -> bool {
        let left = "select (select count(*) from subject where tenant = $1 and waiting)
            + (select count(*) from sweep where tenant = $1 and use = 'initial' and finished_at is null)
            + (select count(*) from report_item where tenant = $1 and noted > reported and dead_at is null)";
        self.count("select count(*) from hook where tenant = $1 and hook_id is not null", tenant).await == EVENTS as i64
            && self.count("select count(*) from sweep where tenant = $1 and use = 'initial'", tenant).await > 0
            && self.count(left, tenant).await == 0
    }

    pub async fn until_quiet_of(&self, tenant: &str) {
        self.until("the tenant is quiet", async |town: &Town| town.is_quiet(tenant).await).await;
    }

    pub async fn until_quiet(&self) {
        self.until("every tenant is loaded and quiet", async |town: &Town| {
            for tenant in town.simulators.keys() {
                if !town.is_quiet(tenant).await {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Tenants by the replica that holds them now.
    pub async fn held(&self) -> BTreeMap<String, Vec<String>> {
        let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (tenant, holder) in cegid_indexer::tenancy::holders(&self.database, self.clock.now()).await.unwrap() {
            held.entry(holder.to_string()).or_default().push(tenant);
        }
        held
    }

    /// How many tenants each replica that has any has, most first.
    pub async fn shares(&self) -> Vec<usize> {
        let mut shares: Vec<usize> = self.held().await.values().map(Vec::len).collect();
        shares.sort_unstable_by(|a, b| b.cmp(a));
        shares
    }

    /// The fencing token of the tenant's lease.
    pub async fn token(&self, tenant: &str) -> i64 {
        self.count("select token from tenant_lease where tenant = $1", tenant).await
    }

    /// A vacancy that is live.
    pub fn a_vacancy(&self, tenant: &str) -> String {
        let truth = self.simulators[tenant].truth().into_iter();
        truth.filter(|row| row.kind == "vacancy" && row.live).map(|row| row.key).next().unwrap()
    }

    /// Signs with a secret and sends to a replica.
    pub async fn send(&self, tenant: &str, replica: usize, secret: &str) -> Sent {
        let raw = RawCallback {
            url: format!("{}/api/talentsoft/v1/{tenant}/events", self.replicas[replica].public),
            body: format!(r#"{{"reference":"{}","event_type":"vacancy_update"}}"#, self.a_vacancy(tenant)).into_bytes(),
            secret: Some(secret.to_owned()),
            ..RawCallback::default()
        };
        self.simulators[tenant].send_raw(&raw).await
    }

    pub async fn get(&self, url: String) -> String {
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    pub async fn metric(&self, name: &str) -> String {
        let page = self.get(format!("{}/metrics", self.replicas[0].operators)).await;
        page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap_or_default().to_owned()
    }

    /// One hook for each event at each tenant, and no more tokens than leases taken.
    pub async fn assert_sparing(&self) {
        // A token is good for 1,199 s and renewed half a minute before.
        let renewed = (self.clock.now() - start_time()).num_seconds() / (1199 - 30);
        for (tenant, simulator) in &self.simulators {
            assert_eq!(simulator.hooks().len(), EVENTS, "{tenant}: {:?}", simulator.hooks());
            let taken = self.count("select taken from tenant_lease where tenant = $1", tenant).await;
            let calls = simulator.token_calls();
            assert!(
                calls <= (taken + renewed) as u64,
                "{tenant}: {calls} tokens, {taken} leases and {renewed} renewals"
            );
        }
    }

    /// What is anybody else's: deliveries that a tenant did not send, rows of no tenant, documents that are not as any
    /// version of the tenant's own record, reports about what it does not have; numbers that went back, and words in the
    /// log.
    async fn assert_each_its_own(&self) {
        let tenants: Vec<&str> = self.simulators.keys().map(String::as_str).collect();
        let mut wrong = stored::strangers(&self.database, &tenants).await;
        wrong.extend(history::steps_back(&self.database).await);
        for (name, simulator) in &self.simulators {
            wrong.extend(stored::differences(simulator, &self.database, name, stored::Others::SendNothing).await);
            wrong.extend(canary::in_the_log(simulator, &[secret(name)], self.log_from));
            let titles: BTreeMap<(&str, String), String> =
                simulator.truth().into_iter().map(|row| ((row.kind, row.key), row.title)).collect();
            // A title shows its version once it was changed.
            let stem = |title: &str| title.rsplit_once("(v").map_or(title, |(stem, _)| stem).trim_end().to_owned();
            for kind in Kind::ALL {
                for (key, title, _) in documents::titles(&self.database, &id(name), kind).await.unwrap() {
                    let own = titles.get(&(kind.as_str(), key.clone()));
                    if own.is_none_or(|own| stem(own) != stem(&title)) {
                        wrong.push(format!("{name}: {kind} {key} is {title:?}, its own {own:?}"));
                    }
                }
            }
            let reports = simulator.reports().into_iter();
            wrong.extend(
                reports
                    .filter(|report| !titles.keys().any(|(_, key)| *key == report.id))
                    .map(|report| format!("{name}: was told of {}", report.id)),
            );
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub async fn end(mut self) {
        self.assert_each_its_own().await;
        while !self.replicas.is_empty() {
            self.drain(0).await;
        }
        for simulator in self.simulators.values() {
            simulator.stop().await;
        }
    }
}
