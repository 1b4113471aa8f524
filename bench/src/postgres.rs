//! The private PostgreSQL: over TCP on the loopback, durable, set as `performance.md` measured.

use std::path::PathBuf;

use anyhow::Context;
use cegid_indexer::{database::Database, settings::Settings};
use private_postgres::{Options, Server};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::runtime::Runtime;

const SETTINGS: [(&str, &str); 4] =
    [("shared_buffers", "1GB"), ("max_wal_size", "4GB"), ("checkpoint_timeout", "15min"), ("max_connections", "500")];
/// A row of the same size as a delivery's, with one unique index.
const ROW_TABLE: &str =
    "create table bench_row (key uuid primary key, received_at timestamptz not null, payload jsonb not null)";

/// One database for each part that must not meet another's rows.
pub const ACCEPT: &str = "accept";
/// What pgbench and the comparison servers write.
pub const ROWS: &str = "rows";
/// End to end.
pub const END_TO_END: &str = "end_to_end";
/// The reading of candidates.
pub const CANDIDATES: &str = "candidates";
/// The small load.
pub const SMALL: &str = "small";
/// The large load.
pub const LARGE: &str = "large";
/// A small tenant beside a large one.
pub const NEIGHBOUR: &str = "neighbour";
/// Callbacks beside a flood of connections.
pub const FLOOD: &str = "flood";

/// The server, and a connection to each database for counting.
pub struct Postgres {
    server: Server,
    runtime: Runtime,
}

impl Postgres {
    /// Starts it; it goes with this value.
    pub fn start() -> anyhow::Result<Postgres> {
        let server = Server::start_blocking(Options {
            tcp_port: Some(0),
            durable: true,
            databases: [ACCEPT, ROWS, END_TO_END, CANDIDATES, SMALL, LARGE, NEIGHBOUR, FLOOD].map(str::to_owned).into(),
            settings: SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Options::from_env()
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let postgres = Postgres { server, runtime };
        postgres.execute(ROWS, ROW_TABLE)?;
        Ok(postgres)
    }

    /// Its version, for the heading.
    pub fn version(&self) -> &str {
        &self.server.programs().version
    }

    /// `pgbench`, where the same programs' directory has it.
    pub fn pgbench(&self) -> Option<PathBuf> {
        Some(self.server.programs().bin.join("pgbench")).filter(|program| program.is_file())
    }

    /// Makes a database anew, for a program that may not know what another one left there.
    pub fn renew(&self, database: &str) -> anyhow::Result<()> {
        self.execute(ROWS, &format!("drop database {database} with (force)"))?;
        self.execute(ROWS, &format!("create database {database}"))
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> anyhow::Result<String> {
        self.server.tcp_url(database).context("the private PostgreSQL has no port")
    }

    /// A database as the service's own code uses it.
    pub fn database(&self, database: &str) -> anyhow::Result<Database> {
        let settings = Settings::load(None, [("CEGID_INDEXER__DATABASE__URL".to_owned(), self.url(database)?)])
            .map_err(|problems| anyhow::anyhow!("reading the settings: {problems:?}"))?;
        // Its pool wants to be made on a runtime.
        Ok(self.runtime.block_on(async { Database::new(&settings.database, settings.worker.lease) })?)
    }

    /// The main process.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.server.pid().context("the private PostgreSQL is down")
    }

    /// Runs statements.
    pub fn execute(&self, database: &str, statements: &str) -> anyhow::Result<()> {
        let options: PgConnectOptions = self.url(database)?.parse()?;
        self.runtime.block_on(async {
            let mut connection = options.connect().await.context("connecting to the private PostgreSQL")?;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
                .execute(&mut connection)
                .await
                .with_context(|| statements.to_owned())?;
            connection.close().await?;
            Ok(())
        })
    }

    /// The one number that a query gives.
    pub fn number(&self, database: &str, query: &'static str) -> anyhow::Result<f64> {
        let options: PgConnectOptions = self.url(database)?.parse()?;
        self.runtime.block_on(async {
            let mut connection: PgConnection =
                options.connect().await.context("connecting to the private PostgreSQL")?;
            let number: f64 = sqlx::query_scalar(AssertSqlSafe(format!("select ({query})::float8")))
                .fetch_one(&mut connection)
                .await
                .with_context(|| query.to_owned())?;
            connection.close().await?;
            Ok(number)
        })
    }

    /// Runs something that needs a runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
