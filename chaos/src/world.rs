//! The private PostgreSQL, the tenants' Cegids, the replicas, and a link that can fail between any two of them.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use cegid_indexer::{
    database::Database,
    domain::TenantId,
    ledger::{self, Ledger},
    settings::Settings,
};
use cegid_simulator::{Config, Simulator};
use chrono::DateTime;
use fault_proxy::Proxy;
use private_postgres::{Options, Server};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    front::Front,
    history,
    patience::until_holds,
    program::program,
    random::Random,
    replica::{Armed, Replica},
};

/// Vacancies and candidates that each tenant has at first.
const RECORDS: usize = 60;
/// Those of the small tenant at first.
const FEW: usize = 3;
/// Database of the service.
const DATABASE: &str = "chaos";
/// The shortest lease that the settings allow: a frozen replica has lost its tenants soon.
pub const LEASE: Duration = Duration::from_secs(3);

/// What all replicas are set to, beside addresses and tenants.
const SETTINGS: [(&str, &str); 21] = [
    ("WORKER__LEASE", "3s"),
    ("WORKER__POLL_INTERVAL", "1s"),
    ("WORKER__CONFIRM_AFTER", "2s"),
    ("WORKER__RETRY_FIRST", "200ms"),
    ("WORKER__RETRY_LIMIT", "2s"),
    // Longer than any fault: what is buried failed for its own sake.
    ("WORKER__RETRY_HORIZON", "20s"),
    // Reached before the horizon.
    ("WORKER__RETRY_MIN_ATTEMPTS", "6"),
    // The guard would wait for people.
    ("WORKER__REMOVALS_FLOOR", "1000000"),
    ("EXPORT__CONNECT_TIMEOUT", "2s"),
    ("EXPORT__READ_TIMEOUT", "3s"),
    ("EXPORT__CALL_TIMEOUT", "20s"),
    ("EXPORT__PAGE_SIZE", "25"),
    ("DATABASE__CONNECT_TIMEOUT", "2s"),
    ("DATABASE__STATEMENT_TIMEOUT", "5s"),
    // Fewer than a flood has connections.
    ("RECEIVE__CONNECTIONS", "256"),
    ("RECEIVE__WRITE_TIMEOUT", "3s"),
    // The front, and the links from it.
    ("RECEIVE__PROXIES", "127.0.0.1"),
    // The front looks whether a replica is ready several times in this.
    ("SHUTDOWN__ANNOUNCE", "1s"),
    ("LOG__FORMAT", "json"),
    ("LOG__LEVEL", "info,cegid_indexer=debug"),
    ("TENANT_DEFAULTS__REFERENTIALS", ""),
];

/// By how many seconds the database's time differs from everybody else's, if it does. Longer than callbacks live.
const DATABASE_SHIFT: i64 = 900;

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Also of the simulators.
    pub seed: u64,
    /// Replicas, of which none runs at first.
    pub replicas: usize,
    /// Tenants, each with a simulator of its own.
    pub tenants: usize,
    /// Whether there is one more, of few records, that no load changes.
    pub small: bool,
    /// Seconds by which the database's time is ahead of everybody else's.
    pub database_ahead: i64,
}

impl Plan {
    /// For a storm: whether the database's time is right is drawn from the seed.
    pub fn storm(seed: u64, replicas: usize, tenants: usize) -> Plan {
        let database_ahead = Random::new(seed).pick(&[0, DATABASE_SHIFT, -DATABASE_SHIFT]);
        Plan { seed, replicas, tenants, small: true, database_ahead }
    }
}

/// A customer's Cegid.
pub struct Tenant {
    /// Its name in the settings.
    pub id: TenantId,
    /// The other side.
    pub simulator: Simulator,
    /// Whether it has few records, which no load changes.
    pub small: bool,
}

/// The links of one replica.
pub struct Links {
    /// From the front to the replica.
    pub callbacks: Proxy,
    /// From the replica to PostgreSQL.
    pub database: Proxy,
    /// From the replica to each tenant's Cegid.
    pub cegid: Vec<Proxy>,
}

impl Links {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        [&self.callbacks, &self.database].into_iter().chain(&self.cegid)
    }

    /// Takes every fault away.
    ///
    /// # Errors
    /// When a port could not be had again.
    pub async fn clear(&self) -> anyhow::Result<()> {
        for link in self.all() {
            link.clear().await?;
        }
        Ok(())
    }
}

/// All of it.
pub struct World {
    /// The private PostgreSQL.
    pub server: Arc<Server>,
    /// As the service's own code reads it, past the links.
    pub database: Database,
    /// The suite's own connections, which may always write.
    pub pool: PgPool,
    /// The other sides.
    pub tenants: Vec<Tenant>,
    /// The processes.
    pub replicas: Vec<Replica>,
    /// In the order of the replicas.
    pub links: Vec<Links>,
    /// The public address.
    pub front: Front,
    /// The password in the database's address.
    pub password: String,
    /// Seconds by which the database's time is ahead of everybody else's.
    pub database_ahead: i64,
    _directory: TempDir,
}

/// Sessions that begin from now on find a `clock_timestamp()` in front of the server's own.
async fn shift_time(own: &PgConnectOptions, seconds: i64) -> anyhow::Result<()> {
    let mut connection = own.connect().await?;
    let statements = format!(
        "create function public.clock_timestamp() returns timestamptz language sql volatile as
           $$ select pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$;
         alter database {DATABASE} set search_path = public, pg_catalog"
    );
    if seconds != 0 {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

/// The address with another port, which is a link's.
fn through(url: &str, link: SocketAddr) -> anyhow::Result<String> {
    let (before, after) = url.split_once("@127.0.0.1:").context("an address of the loopback")?;
    let (_, database) = after.split_once('/').context("an address with a database")?;
    Ok(format!("{before}@{link}/{database}"))
}

impl World {
    /// Starts everything but the replicas.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start(plan: Plan) -> anyhow::Result<World> {
        let directory = tempfile::tempdir()?;
        let place = directory.path().to_owned();
        let program = tokio::task::spawn_blocking(move || program(&place)).await??;
        let server = Server::start(Options {
            tcp_port: Some(0),
            databases: vec![DATABASE.to_owned()],
            settings: vec![("max_connections".to_owned(), "200".to_owned())],
            ..Options::from_env()
        })
        .await?;
        let url = server.tcp_url(DATABASE).context("the private PostgreSQL has no port")?;
        let port = server.tcp_port().context("the private PostgreSQL has no port")?;
        let password = url.split(['@', ':']).nth(2).unwrap_or_default().to_owned();
        let settings = Settings::load(None, [("CEGID_INDEXER__DATABASE__URL".to_owned(), url.clone())])
            .map_err(|problems| anyhow!("reading the settings: {problems:?}"))?;
        let own: PgConnectOptions = url.parse()?;
        shift_time(&own, plan.database_ahead).await.context("shifting the database's time")?;
        let database = Database::new(&settings.database, LEASE)?;
        database.migrate().await?;
        let own = own.options([("default_transaction_read_only", "off")]);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(own).await?;
        sqlx::raw_sql(history::TABLES).execute(&pool).await.context("making the history")?;

        let mut tenants = Vec::new();
        for (nth, name) in (1..).zip(["acme", "bolt", "coil"].into_iter().take(plan.tenants)) {
            tenants.push(tenant(name, nth, plan.seed, RECORDS).await?);
        }
        if plan.small {
            tenants.push(tenant("dune", 9, plan.seed, 0).await?);
            create_few(&tenants[plan.tenants].simulator);
        }
        let (mut replicas, mut links) = (Vec::new(), Vec::new());
        for nth in 1..=plan.replicas {
            let name = format!("replica-{nth}");
            let log: PathBuf = directory.path().join(format!("{name}.log"));
            let mut replica = Replica::new(&name, &program, log)?;
            let link = links_of(&replica, port, &tenants).await?;
            replica.set("DATABASE__URL", through(&url, link.database.address())?);
            for (key, value) in SETTINGS {
                replica.set(key, value);
            }
            replicas.push(replica);
            links.push(link);
        }
        let places: Vec<_> = replicas.iter().zip(&links).map(|(r, l)| (r.public.at, l.callbacks.address())).collect();
        let front = Front::start(&places).await?;
        for (replica, links) in replicas.iter_mut().zip(&links) {
            replica.set("PUBLIC_URL", format!("http://{}", front.address));
            for (tenant, link) in tenants.iter().zip(&links.cegid) {
                let (name, config) = (tenant.id.as_str().to_uppercase(), tenant.simulator.config());
                replica.set(&format!("TENANTS__{name}__BASE_URL"), format!("http://{}", link.address()));
                replica.set(&format!("TENANTS__{name}__CLIENT_ID"), config.client_id.clone());
                replica.set(&format!("TENANTS__{name}__CLIENT_SECRET"), config.client_secret.clone());
                replica.set(&format!("TENANTS__{name}__LOAD_PAUSE"), "1ms");
                replica.set(&format!("TENANTS__{name}__LOAD_WINDOWS"), "2");
            }
        }
        let (server, database_ahead) = (Arc::new(server), plan.database_ahead);
        let _directory = directory;
        Ok(World { server, database, pool, tenants, replicas, links, front, password, database_ahead, _directory })
    }

    /// Tenants that a load changes; they come first.
    pub fn loaded(&self) -> usize {
        self.tenants.iter().filter(|tenant| !tenant.small).count()
    }

    /// The counts of one tenant.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ledger(&self, tenant: &TenantId) -> anyhow::Result<Ledger> {
        Ok(ledger::read(&self.database, tenant, DateTime::UNIX_EPOCH).await?)
    }

    /// The one number that a query gives.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn number(&self, query: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
    }

    /// Starts every replica that does not run.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for replica in &mut self.replicas {
            if !replica.is_started() {
                replica.start(Armed::default())?;
            }
        }
        Ok(())
    }

    /// Waits until every replica that runs is ready.
    ///
    /// # Errors
    /// When one does not get ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        until_holds("every replica is ready", async || Ok(self.unready().is_empty())).await
    }

    /// Replicas that run and are not ready.
    pub fn unready(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|nth| self.replicas[*nth].is_running() && !self.front.is_ready(*nth)).collect()
    }
}

/// Creates the records of the small tenant: all of them live.
pub fn create_few(simulator: &Simulator) {
    for _ in 0..FEW {
        let _keys = (simulator.create_vacancy(), simulator.create_candidate());
    }
}

async fn tenant(name: &str, nth: u64, seed: u64, records: usize) -> anyhow::Result<Tenant> {
    let config = Config {
        seed: seed.wrapping_mul(1000),
        vacancies: records,
        candidates: records,
        burst_every: Some(Duration::from_millis(200)),
        callback_timeout: Duration::from_secs(5),
        callback_keep_alive: false,
        // No filter can ask for such a vacancy: that it is gone is known after two full sweeps only.
        unaskable_references: false,
        client_secret: "CANARY-SECRET-0001".to_owned(),
        ..Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let simulator = Simulator::start(config.another(nth), listener).await?;
    let id = name.parse().map_err(|_| anyhow!("{name} is no name of a tenant"))?;
    Ok(Tenant { id, simulator, small: records == 0 })
}

async fn links_of(replica: &Replica, postgres: u16, tenants: &[Tenant]) -> anyhow::Result<Links> {
    let callbacks = Proxy::start(replica.public.at).await?;
    let database = Proxy::start(SocketAddr::from(([127, 0, 0, 1], postgres))).await?;
    let mut cegid = Vec::new();
    for tenant in tenants {
        let address = tenant.simulator.base_url();
        let address: SocketAddr = address.trim_start_matches("http://").parse()?;
        cegid.push(Proxy::start(address).await?);
    }
    Ok(Links { callbacks, database, cegid })
}
