//! The schema: brought up to date on a session of its own, looked at through a pooler.

use sqlx::{Executor, PgPool, Postgres, Row, migrate::Migrator, postgres::PgPoolOptions};

use super::{Database, DatabaseError};

/// Forward-only, applied at start under an advisory lock.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// A setting of a session that means nothing to the server: whoever passes the session on keeps it.
const MARK: (&str, &str) = ("cegid_indexer.session", "own");

impl Database {
    /// Applies what is missing of the schema. Through a pooler nothing is applied: the lock that keeps two from migrating
    /// at once is a session's, and would be left behind in one that others are given.
    ///
    /// # Errors
    /// When the database cannot be reached, a migration fails, the schema is newer than this version, or there is a
    /// pooler in between.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        if self.pooled {
            return Err(DatabaseError::Pooled);
        }
        // A migration may take longer than a statement of the worker.
        let options = self.options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0"), MARK]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.connect_timeout)
            .connect_with(options)
            .await
            .map_err(refused)?;
        let migrated = async {
            if !is_own(&pool).await.map_err(DatabaseError::Connect)? {
                return Err(DatabaseError::Pooler("it ignores the settings that one is started with".to_owned()));
            }
            match Schema::read(&pool).await? {
                Schema::Newer(unknown) => Err(DatabaseError::Newer(unknown)),
                Schema::Current | Schema::Older(_) => Ok(MIGRATIONS.run(&pool).await?),
            }
        };
        let migrated = migrated.await;
        pool.close().await;
        migrated
    }

    /// Brings the schema up to date, or through a pooler says whether it is.
    ///
    /// # Errors
    /// As [`Self::migrate`] or [`Self::fits`].
    pub async fn prepare(&self) -> Result<(), DatabaseError> {
        if self.pooled { self.fits().await } else { self.migrate().await }
    }

    /// Whether the schema is the one that this version works with, for what does not migrate.
    ///
    /// # Errors
    /// [`DatabaseError::Newer`], [`DatabaseError::Older`], or when the database cannot be read.
    pub async fn fits(&self) -> Result<(), DatabaseError> {
        match Schema::read(self.pool()).await? {
            Schema::Current => Ok(()),
            Schema::Newer(unknown) => Err(DatabaseError::Newer(unknown)),
            Schema::Older(missing) => Err(DatabaseError::Older(missing)),
        }
    }
}

/// The schema beside the migrations of this version.
enum Schema {
    Current,
    /// The first migration that this version does not know.
    Newer(String),
    /// The first that is missing.
    Older(String),
}

impl Schema {
    async fn read<'c>(on: impl Executor<'c, Database = Postgres> + Copy) -> Result<Schema, DatabaseError> {
        let unread = |error| match error {
            sqlx::Error::Database(_) => DatabaseError::Unread(error),
            _ => DatabaseError::Connect(error),
        };
        // No macro: the table is not made by a migration.
        let begun = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(on);
        let applied: Vec<(i64, String)> = if begun.await.map_err(unread)? {
            let applied = sqlx::query_as("select version, description from _sqlx_migrations order by version");
            applied.fetch_all(on).await.map_err(unread)?
        } else {
            Vec::new()
        };
        let unknown = applied.iter().find(|(version, _)| !MIGRATIONS.version_exists(*version));
        let missing = MIGRATIONS.iter().find(|ours| !applied.iter().any(|(version, _)| *version == ours.version));
        Ok(match (unknown, missing) {
            (Some((version, name)), _) => Schema::Newer(format!("{version} ({name})")),
            (None, Some(ours)) => Schema::Older(format!("{} ({})", ours.version, ours.description)),
            (None, None) => Schema::Current,
        })
    }
}

/// Asked without a prepared statement, which such a session may not keep either.
async fn is_own(pool: &PgPool) -> sqlx::Result<bool> {
    let mark = sqlx::raw_sql("select current_setting('cegid_indexer.session', true)").fetch_one(pool).await?;
    Ok(mark.try_get::<Option<String>, _>(0)?.as_deref() == Some(MARK.1))
}

/// Poolers say so when they do not know a setting that a session is started with.
fn refused(error: sqlx::Error) -> DatabaseError {
    match error.as_database_error().map(|error| error.message()) {
        Some(message) if message.contains("startup parameter") => DatabaseError::Pooler(message.to_owned()),
        _ => DatabaseError::Connect(error),
    }
}
