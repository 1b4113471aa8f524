//! How statements and transactions reach the server: on sessions of one's own, or through a pooler that gives each
//! transaction another session.
//!
//! Behind such a pooler nothing outlives a transaction: neither a setting nor a prepared statement. So each statement
//! is made a transaction, since it is prepared and executed in two steps that must meet in one session, and each
//! transaction opens by clearing away what others have prepared there and by setting the time limits for itself alone.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{
    TryFutureExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    AssertSqlSafe, Connection, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::reserved::Reserved;

type Step = Either<PgQueryResult, PgRow>;

/// What opens a transaction behind a pooler; none where the session is one's own.
pub(super) type Opening = Option<Arc<str>>;

/// A pool. Used as an executor, it runs each statement by itself.
#[derive(Clone, Debug)]
pub struct Statements {
    /// Made when it is first used: by then it is known for how many connections the server has room.
    pool: Arc<OnceLock<PgPool>>,
    made_of: Arc<(PgPoolOptions, PgConnectOptions)>,
    opening: Opening,
    /// Whom it gives way to, and for how long at most.
    behind: Option<(Reserved, Duration)>,
    /// After this time an answer is given up: the connection was dropped without a word.
    patience: Duration,
}

impl Statements {
    pub(super) fn new(
        pool: PgPoolOptions,
        connection: PgConnectOptions,
        opening: Opening,
        behind: Option<(Reserved, Duration)>,
        patience: Duration,
    ) -> Statements {
        Statements { pool: Arc::default(), made_of: Arc::new((pool, connection)), opening, behind, patience }
    }

    fn pool(&self) -> &PgPool {
        self.pool.get_or_init(|| {
            let (pool, connection) = self.made_of.as_ref().clone();
            let room = self.behind.as_ref().map_or(u32::MAX, |(reserved, _)| reserved.room());
            let most = pool.get_max_connections().min(room);
            pool.max_connections(most).connect_lazy_with(connection)
        })
    }

    /// Whether statements go to the pool as they are.
    fn is_free(&self) -> bool {
        self.opening.is_none() && !self.behind.as_ref().is_some_and(|(reserved, _)| reserved.is_wanted())
    }

    async fn give_way(&self) -> sqlx::Result<()> {
        match &self.behind {
            Some((reserved, longest)) => reserved.give_way(*longest).await,
            None => Ok(()),
        }
    }

    /// Closes connections that nobody uses now.
    pub(super) async fn close_idle(&self) {
        while let Some(connection) = self.pool().try_acquire() {
            // The server may have gone.
            let _closed = connection.close().await;
        }
    }

    /// Begins a transaction. The round trip runs in a task of its own and always finishes: a `begin` that is dropped
    /// half way would leave the pooled connection inside a transaction that nobody knows of.
    ///
    /// # Errors
    /// When no connection can be had, or the server does not answer in time.
    #[allow(clippy::disallowed_methods, reason = "this is the safe form of it")]
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.give_way().await?;
        let (pool, opening) = (self.pool().clone(), self.opening.clone());
        let begun = async move {
            match opening {
                None => pool.begin().await,
                Some(opening) => pool.begin_with(AssertSqlSafe(opening.to_string())).await,
            }
        };
        let finished = tokio::spawn(begun).unwrap_or_else(|error| Err(sqlx::Error::Io(io::Error::other(error))));
        in_time(self.patience, finished).await
    }

    /// A connection as it is. Behind a pooler what is done on it may meet any session.
    ///
    /// # Errors
    /// When no connection can be had.
    pub async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.give_way().await?;
        self.pool().acquire().await
    }

    /// Closes its connections, when they have come back.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

/// A connection outside the pool. Used as an executor, it runs each statement by itself.
#[derive(Debug)]
pub struct Held {
    connection: PgConnection,
    opening: Opening,
    /// See [`Statements`].
    patience: Duration,
}

impl Held {
    pub(super) fn new(connection: PgConnection, opening: Opening, patience: Duration) -> Held {
        Held { connection, opening, patience }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When the server has gone.
    pub async fn ping(&mut self) -> sqlx::Result<()> {
        self.connection.ping().await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the server has gone.
    pub async fn begin(&mut self) -> sqlx::Result<Transaction<'_, Postgres>> {
        match &self.opening {
            None => self.connection.begin().await,
            Some(opening) => self.connection.begin_with(AssertSqlSafe(opening.to_string())).await,
        }
    }

    /// Says goodbye to the server.
    ///
    /// # Errors
    /// When it has gone.
    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }
}

/// The server ends what takes too long; what says nothing for longer than that is a connection that was dropped without
/// a word, which is then not used again: before it is, it would be asked for a sign of life.
pub(super) async fn in_time<T, E: From<sqlx::Error>>(
    patience: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
}

async fn whole<'q>(
    mut transaction: Transaction<'_, Postgres>,
    query: impl Execute<'q, Postgres> + 'q,
) -> sqlx::Result<Vec<Step>> {
    let steps = transaction.fetch_many(query).try_collect().await?;
    transaction.commit().await?;
    Ok(steps)
}

fn each(steps: Vec<Step>) -> stream::Iter<impl Iterator<Item = sqlx::Result<Step>>> {
    stream::iter(steps.into_iter().map(Ok))
}

fn first_row(steps: Vec<Step>) -> Option<PgRow> {
    steps.into_iter().find_map(Either::right)
}

impl<'c> Executor<'c> for &'c Statements {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Step>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let steps = async move {
            if self.is_free() {
                return self.pool().fetch_many(query).try_collect().await;
            }
            whole(self.begin().await?, query).await
        };
        Box::pin(in_time(self.patience, steps).map_ok(each).try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let row = async move {
            if self.is_free() {
                return self.pool().fetch_optional(query).await;
            }
            whole(self.begin().await?, query).await.map(first_row)
        };
        Box::pin(in_time(self.patience, row))
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.pool().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        self.pool().describe(sql)
    }
}

impl<'c> Executor<'c> for &'c mut Held {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Step>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Held { connection, opening, patience } = self;
        let steps = async move {
            match opening {
                None => connection.fetch_many(query).try_collect().await,
                Some(opening) => whole(connection.begin_with(AssertSqlSafe(opening.to_string())).await?, query).await,
            }
        };
        Box::pin(in_time(*patience, steps).map_ok(each).try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Held { connection, opening, patience } = self;
        let row = async move {
            match opening {
                None => connection.fetch_optional(query).await,
                Some(opening) => {
                    let begun = connection.begin_with(AssertSqlSafe(opening.to_string())).await?;
                    whole(begun, query).await.map(first_row)
                }
            }
        };
        Box::pin(in_time(*patience, row))
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        self.connection.describe(sql)
    }
}
