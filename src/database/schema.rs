//! The schema: brought up to date on a session of its own, looked at through a pooler.

use std::collections::HashMap;

use sqlx::{
    PgPool, Row,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgPoolOptions,
};

use super::{Database, DatabaseError};

/// Forward-only, applied at start under an advisory lock.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// A setting of a session that means nothing to the server: whoever passes the session on keeps it.
const MARK: (&str, &str) = ("cegid_indexer.session", "own");

/// Nothing has ever been migrated.
const UNDEFINED_TABLE: &str = "42P01";

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
        let migrated = match is_own(&pool).await {
            Ok(true) => MIGRATIONS.run(&pool).await.map_err(DatabaseError::Migrate),
            Ok(false) => Err(DatabaseError::Pooler("it ignores the settings that one is started with".to_owned())),
            Err(error) => Err(DatabaseError::Connect(error)),
        };
        pool.close().await;
        migrated
    }

    /// Brings the schema up to date, or through a pooler says whether it is.
    ///
    /// # Errors
    /// As [`Self::migrate`], or [`DatabaseError::Behind`].
    pub async fn prepare(&self) -> Result<(), DatabaseError> {
        if !self.pooled {
            return self.migrate().await;
        }
        let mut tx = self.vital.begin().await.map_err(DatabaseError::Connect)?;
        let applied = match tx.list_applied_migrations(&MIGRATIONS.table_name).await {
            Ok(applied) => applied,
            Err(MigrateError::Execute(error)) if is_undefined(&error) => Vec::new(),
            Err(MigrateError::Execute(error)) => return Err(DatabaseError::Connect(error)),
            Err(error) => return Err(error.into()),
        };
        let mut applied: HashMap<i64, _> = applied.into_iter().map(|one| (one.version, one.checksum)).collect();
        let mut missing = 0;
        for migration in MIGRATIONS.iter() {
            match applied.remove(&migration.version) {
                Some(checksum) if checksum == migration.checksum => {}
                Some(_) => return Err(MigrateError::VersionMismatch(migration.version).into()),
                None => missing += 1,
            }
        }
        match (applied.into_keys().min(), missing) {
            (Some(unknown), _) => Err(MigrateError::VersionMissing(unknown).into()),
            (None, 0) => Ok(()),
            (None, missing) => Err(DatabaseError::Behind(missing)),
        }
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

fn is_undefined(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some(UNDEFINED_TABLE)
}
