//! Connections: the pool of the worker and the operators, and connections that are held.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{
    ConnectOptions, PgConnection, PgPool, Postgres, Transaction,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::settings;

/// Forward-only, applied at start under an advisory lock.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address cannot be read. Its text is not shown: it may hold a password.
    #[error("reading database.url: it is not a postgres:// address")]
    Address,
    /// Nothing answers there in time.
    #[error("connecting to the database: {0}")]
    Connect(#[source] sqlx::Error),
    /// A migration failed, or the schema is newer than this version.
    #[error("migrating the database: {0}")]
    Migrate(#[from] MigrateError),
}

impl DatabaseError {
    /// Whether it is about the server or the way to it, and not about the schema: the same may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        let error = match self {
            DatabaseError::Address => return false,
            DatabaseError::Connect(_) => return true,
            DatabaseError::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => error,
            DatabaseError::Migrate(_) => return false,
        };
        let sqlx::Error::Database(database) = error else { return true };
        // connection, transaction rolled back, resources, operator intervention, read-only transaction, lock
        let code = database.code().unwrap_or_default();
        ["08", "40", "53", "57", "25006", "55P03"].iter().any(|passing| code.starts_with(passing))
    }
}

/// The way to PostgreSQL.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    vital: PgPool,
    options: PgConnectOptions,
    connect_timeout: Duration,
    part: usize,
}

impl Database {
    /// Reads the settings; connects when first used.
    ///
    /// # Errors
    /// [`DatabaseError::Address`].
    pub fn new(settings: &settings::Database, lease: Duration) -> Result<Database, DatabaseError> {
        let options = PgConnectOptions::from_str(settings.url.expose()).map_err(|_| DatabaseError::Address)?;
        let millis = |time: Duration| time.as_millis().to_string();
        let options = options.application_name("cegid-indexer").options([
            ("lock_timeout", millis(settings.lock_timeout)),
            ("statement_timeout", millis(settings.statement_timeout)),
            // Below the lease: a settling transaction that stalls must not outlive it.
            ("idle_in_transaction_session_timeout", millis(lease * 2 / 3)),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .min_connections(0)
            .acquire_timeout(settings.connect_timeout)
            .connect_lazy_with(options.clone());
        let vital = PgPoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .acquire_timeout(settings.connect_timeout)
            .connect_lazy_with(options.clone());
        let part = (settings.connections as usize / 2).max(1);
        Ok(Database { pool, vital, options, connect_timeout: settings.connect_timeout, part })
    }

    /// For single statements.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How many of the pool's connections one tenant's settling may take: the other half is the others'.
    pub fn part(&self) -> usize {
        self.part
    }

    /// For leases and health, which must not wait behind the work.
    pub fn vital(&self) -> &PgPool {
        &self.vital
    }

    /// Begins a transaction. The round trip runs in a task of its own and always finishes: a `begin` that is dropped
    /// half way would leave the pooled connection inside a transaction that nobody knows of.
    ///
    /// # Errors
    /// When no connection can be had.
    #[allow(clippy::disallowed_methods, reason = "this is the safe form of it")]
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        tokio::spawn(async move { pool.begin().await })
            .await
            .map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
    }

    /// A connection outside the pool, for a task that holds it and whose statements must end in this time.
    ///
    /// # Errors
    /// When nothing answers in time.
    pub async fn held(&self, statement_timeout: Duration) -> sqlx::Result<PgConnection> {
        let options = self.options.clone().options([("statement_timeout", statement_timeout.as_millis().to_string())]);
        match tokio::time::timeout(self.connect_timeout, options.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Applies what is missing of the schema.
    ///
    /// # Errors
    /// When the database cannot be reached, a migration fails, or the schema is newer than this version.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        // A migration may take longer than a statement of the worker.
        let options = self.options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.connect_timeout)
            .connect_with(options)
            .await
            .map_err(DatabaseError::Connect)?;
        let migrated = MIGRATIONS.run(&pool).await;
        pool.close().await;
        Ok(migrated?)
    }

    /// Tells the planner what the tables of a load hold: until it knows, it takes them for nearly empty, and the next
    /// look of the server's own may be a minute away.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn analyze(&self) -> sqlx::Result<()> {
        sqlx::query!("analyze subject, document, report_item").execute(&self.pool).await?;
        Ok(())
    }

    /// The database's clock.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn time(&self) -> sqlx::Result<DateTime<Utc>> {
        sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&self.vital).await
    }
}

/// What to do about a failed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Another transaction was in the way: at once again.
    Contention,
    /// The statement's data cannot be stored; the database is fine.
    Data,
    /// The database cannot be used now.
    Away,
}

/// Sorts a failure by its SQLSTATE.
pub fn failure(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Failure::Data,
            _ => Failure::Away,
        };
    };
    match database.code().as_deref() {
        // deadlock, serialization failure, lock not available
        Some("40P01" | "40001" | "55P03") => Failure::Contention,
        // data exception, integrity constraint violation, program limit exceeded (an index row too large)
        Some(code) if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") => Failure::Data,
        _ => Failure::Away,
    }
}
