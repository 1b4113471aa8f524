//! Connections: the pool of the worker and the operators, and connections that are held.

mod address;
mod batches;
mod error;
mod failure;
mod migrate;
mod numbers;
mod reserved;
mod schema;
mod statements;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgExecutor, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tracing::warn;

use crate::settings;
pub use address::check_address;
pub use batches::{ROWS_CHANGED, ROWS_DELETED, in_batches};
pub use error::DatabaseError;
pub use failure::{Failure, failure, is_lock_timeout, is_unanswered, told};
pub use numbers::{Numbers, Repair};
use reserved::Reserved;
use statements::Opening;
pub use statements::{Held, Statements};

/// The way to PostgreSQL.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Statements,
    vital: Statements,
    receiving: Reserved,
    options: PgConnectOptions,
    limits: Limits,
    pooled: bool,
    connect_timeout: Duration,
    connections: u32,
    part: usize,
    numbers: Arc<Numbers>,
}

/// Connections for leases and health.
const VITAL_CONNECTIONS: u32 = 2;
/// A pooled connection answers in this time, or is given up: a network may have dropped it without a word.
const POOL_PING_TIMEOUT: Duration = Duration::from_secs(1);
/// A pooled connection that is idle for this long is closed: the server may have few.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A transaction has this many times the statement timeout.
const STATEMENTS_OF_TRANSACTION: u32 = 3;
/// Longest wait of receiving for a lock: other callbacks wait behind it.
const RECEIVING_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How long things may take on the server.
#[derive(Clone, Copy, Debug)]
struct Limits {
    lock: Duration,
    statement: Duration,
    idle: Duration,
}

impl Limits {
    /// Of a transaction. What is committed is durable, whatever the database's own setting is: the service relies on it
    /// when it answers a callback, registers a hook and reports an erasure.
    fn settings(self) -> [(&'static str, String); 4] {
        let millis = |time: Duration| time.as_millis().to_string();
        [
            ("synchronous_commit", "on".to_owned()),
            ("lock_timeout", millis(self.lock)),
            ("statement_timeout", millis(self.statement)),
            ("idle_in_transaction_session_timeout", millis(self.idle)),
        ]
    }

    /// Of a session: the server's own keepalives also keep the way through a network alive on which nothing is said.
    fn session(self) -> impl Iterator<Item = (&'static str, String)> {
        let keepalives = [("tcp_keepalives_idle", 30), ("tcp_keepalives_interval", 10), ("tcp_keepalives_count", 3)];
        self.settings().into_iter().chain(keepalives.map(|(name, value)| (name, value.to_string())))
    }

    /// Opens a transaction that they hold for alone, where a session keeps nothing.
    fn opening(self) -> Arc<str> {
        let set = self.settings().map(|(name, value)| format!("; set local {name} = {value}")).concat();
        format!("begin; deallocate all{set}").into()
    }
}

impl Database {
    /// Reads the settings; connects when first used.
    ///
    /// # Errors
    /// [`DatabaseError::Address`].
    pub fn new(settings: &settings::Database, lease: Duration) -> Result<Database, DatabaseError> {
        let options = address::parse(settings.url.expose())?.application_name("cegid-indexer");
        address::warn_of_mode(&options);
        // Below the lease: a settling transaction that stalls must not outlive it.
        let idle = lease * 2 / 3;
        let limits = Limits { lock: settings.lock_timeout, statement: settings.statement_timeout, idle };
        let pooled = settings.pooled;
        let options = if pooled {
            // A pooler refuses what a session would be started with, and a statement is prepared for one transaction.
            options.extra_float_digits(None).statement_cache_capacity(0)
        } else {
            options.options(limits.session())
        };
        let opening: Opening = pooled.then(|| limits.opening());
        let numbers: Arc<Numbers> = Arc::default();
        let receiving = Reserved::default();
        let pool = |connections| {
            let (numbers, reserved) = (numbers.clone(), receiving.clone());
            PgPoolOptions::new()
                .test_before_acquire(false)
                .before_acquire(move |connection, session| {
                    let fit = numbers.has_no_cache(session.age);
                    Box::pin(async move { Ok(fit && answers(connection).await) })
                })
                .after_release(move |connection, _| {
                    let kept = !reserved.is_wanted();
                    // sqlx itself would wait for the answer for as long as the network takes to give the connection up.
                    Box::pin(async move { Ok(kept && answers(connection).await) })
                })
                .max_connections(connections)
                .min_connections(0)
                .idle_timeout(POOL_IDLE_TIMEOUT)
                .acquire_timeout(settings.connect_timeout)
        };
        let (part, connect_timeout) = ((settings.connections as usize / 2).max(1), settings.connect_timeout);
        let (work, vital) = (pool(settings.connections), pool(VITAL_CONNECTIONS));
        let behind = Some((receiving.clone(), connect_timeout));
        let patience = settings.statement_timeout + connect_timeout;
        let pool = Statements::new(work, options.clone(), opening.clone(), behind, patience);
        let vital = Statements::new(vital, options.clone(), opening, None, patience);
        Ok(Database {
            pool,
            vital,
            receiving,
            options,
            limits,
            pooled,
            connect_timeout,
            connections: settings.connections,
            part,
            numbers,
        })
    }

    /// While receiving has no connection, the worker opens none, and gives up each that it is done with.
    pub fn reserve_for_receiving(&self, wanted: bool) {
        self.receiving.want(wanted);
    }

    /// Closes the worker's connections that stand idle.
    pub async fn close_idle(&self) {
        self.pool.close_idle().await;
    }

    /// For single statements.
    pub fn pool(&self) -> &Statements {
        &self.pool
    }

    /// How many of the pool's connections one tenant's settling may take: the other half is the others'.
    pub fn part(&self) -> usize {
        self.part
    }

    /// For leases and health, which must not wait behind the work.
    pub fn vital(&self) -> &Statements {
        &self.vital
    }

    /// Gives a transaction up when its time is over: its connection was dropped without a word.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`] then; whether it was committed is unknown.
    pub async fn in_time<T, E: From<sqlx::Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        statements::in_time(self.limits.statement * STATEMENTS_OF_TRANSACTION + self.connect_timeout, work).await
    }

    /// Begins a transaction; see [`Statements::begin`].
    ///
    /// # Errors
    /// When no connection can be had.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.pool.begin().await
    }

    /// A connection outside the pool, for a task that holds it and whose statements must end in this time.
    ///
    /// # Errors
    /// When nothing answers in time.
    pub async fn held(&self, statement_timeout: Duration) -> sqlx::Result<Held> {
        self.connect(Limits { statement: statement_timeout, ..self.limits }).await
    }

    /// The connection of receiving: it waits for no lock longer than a settling transaction takes.
    ///
    /// # Errors
    /// When nothing answers in time.
    pub async fn held_for_receiving(&self, statement_timeout: Duration) -> sqlx::Result<Held> {
        let lock = self.limits.lock.min(RECEIVING_LOCK_TIMEOUT);
        let mut held = self.connect(Limits { lock, statement: statement_timeout, ..self.limits }).await?;
        if !self.pooled && self.receiving.room() == u32::MAX {
            self.leave_room(&mut held).await;
        }
        Ok(held)
    }

    /// Has the worker make do with the connections that the server has left now.
    async fn leave_room(&self, held: &mut Held) {
        let free = sqlx::query_scalar!(
            r#"with used as (
                 select datname, usename from pg_stat_activity where backend_type = 'client backend'
               )
               select least(
                 current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
                   - (select count(*) from used),
                 (select rolconnlimit - (select count(*) from used where usename = rolname) from pg_roles
                  where rolname = current_user and rolconnlimit >= 0 and not rolsuper),
                 (select datconnlimit - (select count(*) from used where used.datname = d.datname) from pg_database d
                  where datname = current_database() and datconnlimit >= 0)) as "free!""#
        );
        let Ok(free) = free.fetch_one(held).await else { return };
        let room = u32::try_from(free - i64::from(VITAL_CONNECTIONS)).unwrap_or(0).max(1);
        let most = self.connections;
        if room < most {
            warn!(
                free,
                room,
                connections = most,
                "the server has fewer connections left than database.connections: the worker makes do with them until the \
                 next start"
            );
        }
        self.receiving.leave(room);
    }

    async fn connect(&self, limits: Limits) -> sqlx::Result<Held> {
        let (options, opening) = if self.pooled {
            (self.options.clone(), Some(limits.opening()))
        } else {
            (self.options.clone().options(limits.session()), None)
        };
        match tokio::time::timeout(self.connect_timeout.min(limits.statement), options.connect()).await {
            Ok(connected) => Ok(Held::new(connected?, opening, limits.statement + self.connect_timeout)),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Whether there is a pooler in between, which passes each transaction to another session.
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// A session of its own that listens: on a session of another kind, sqlx keeps what is heard until its next use.
    ///
    /// # Errors
    /// When nothing answers in time.
    pub async fn listen(&self, channel: &str) -> sqlx::Result<PgListener> {
        // It is idle for as long as nothing is heard.
        let options = self.options.clone().options([("idle_session_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.connect_timeout);
        let mut listener = PgListener::connect_with(&pool.connect_with(options).await?).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// Tells the planner what the tables of a load hold: until it knows, it takes them for nearly empty, and the next
    /// look of the server's own may be a minute away.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn analyze(&self) -> sqlx::Result<()> {
        sqlx::query!("analyze subject, document, report_item").execute(self.pool()).await?;
        Ok(())
    }

    /// Whether nothing can be written: on a standby, or where the server was set so.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn is_read_only(&self) -> sqlx::Result<bool> {
        sqlx::query_scalar!(r#"select current_setting('transaction_read_only')::boolean as "read_only!""#)
            .fetch_one(self.vital())
            .await
    }

    /// The database's clock, on a connection that is closed again: a migration that follows needs two, and the server may
    /// have few.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn time_at_start(&self) -> sqlx::Result<DateTime<Utc>> {
        let mut session = self.held(self.limits.statement).await?;
        let time = read_time(&mut session).await?;
        session.close().await?;
        Ok(time)
    }

    /// The database's clock.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn time(&self) -> sqlx::Result<DateTime<Utc>> {
        read_time(self.vital()).await
    }
}

async fn read_time(on: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(on).await
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(POOL_PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}
