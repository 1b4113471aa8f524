//! The schema beside the migrations of this version.

use sqlx::{
    Executor, Postgres,
    migrate::{MigrateError, Migrator},
};

use super::{Database, DatabaseError};

/// Forward-only, applied at start.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();
/// Nothing was ever migrated.
const UNDEFINED_TABLE: &str = "42P01";

impl Database {
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
    /// [`DatabaseError::Newer`], [`DatabaseError::Older`], [`DatabaseError::Encoding`], or when it cannot be read.
    pub async fn fits(&self) -> Result<(), DatabaseError> {
        match self.compare().await {
            Ok(Schema::Current) => Ok(()),
            Ok(Schema::Newer(unknown)) => Err(DatabaseError::Newer(unknown)),
            Ok(Schema::Older(missing)) => Err(DatabaseError::Older(missing)),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    async fn compare(&self) -> Result<Schema, DatabaseError> {
        require_utf8(self.pool()).await?;
        Schema::read(self.pool(), &MIGRATIONS).await
    }
}

/// Whether every text can be stored.
pub(super) async fn require_utf8<'c>(on: impl Executor<'c, Database = Postgres>) -> Result<(), DatabaseError> {
    let encoding: String = sqlx::query_scalar("select current_setting('server_encoding')")
        .fetch_one(on)
        .await
        .map_err(DatabaseError::Connect)?;
    if encoding == "UTF8" { Ok(()) } else { Err(DatabaseError::Encoding(encoding)) }
}

/// The schema beside the migrations of a version.
pub(super) enum Schema {
    Current,
    /// The first migration that this version does not know.
    Newer(String),
    /// The first that is missing.
    Older(String),
}

impl Schema {
    /// Compares without any lock that others could hold.
    pub(super) async fn read<'c>(
        on: impl Executor<'c, Database = Postgres>,
        migrations: &Migrator,
    ) -> Result<Schema, DatabaseError> {
        // No macro: the table is not made by a migration.
        let applied = sqlx::query_as("select version, description, checksum from _sqlx_migrations order by version");
        let applied: Vec<(i64, String, Vec<u8>)> = match applied.fetch_all(on).await {
            Ok(applied) => applied,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Vec::new(),
            Err(error @ sqlx::Error::Database(_)) => return Err(DatabaseError::Unread(error)),
            Err(error) => return Err(DatabaseError::Connect(error)),
        };
        let find = |version: i64| migrations.iter().find(|ours| ours.version == version);
        if let Some((version, name, _)) = applied.iter().find(|(version, ..)| find(*version).is_none()) {
            return Ok(Schema::Newer(format!("{version} ({name})")));
        }
        let has_changed = |(version, _, checksum): &&(i64, String, Vec<u8>)| {
            find(*version).is_some_and(|ours| *ours.checksum != **checksum)
        };
        if let Some((version, ..)) = applied.iter().find(has_changed) {
            return Err(MigrateError::VersionMismatch(*version).into());
        }
        let missing = migrations.iter().find(|ours| !applied.iter().any(|(version, ..)| *version == ours.version));
        Ok(missing.map_or(Schema::Current, |ours| Schema::Older(format!("{} ({})", ours.version, ours.description))))
    }
}
