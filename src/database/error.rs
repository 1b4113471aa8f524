//! Why the database could not be used, and what to do about it.

use std::{io::ErrorKind, time::Duration};

use sqlx::{ConnectOptions, migrate::MigrateError};
use tokio::time::timeout;

use super::{Database, told};

/// How long it is tried once more to connect, to learn why no connection was had in time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address cannot be read; why, without its text, which may hold a password.
    #[error("reading database.url: {0}")]
    Address(String),
    /// Nothing answers there in time.
    #[error("connecting to the database: {}", told(.0))]
    Connect(#[source] sqlx::Error),
    /// Any of these, with what to do about it.
    #[error("{failure}: {remedy}")]
    Remediable {
        /// What failed.
        failure: Box<DatabaseError>,
        /// What to do.
        remedy: String,
    },
    /// Not every text can be stored.
    #[error(
        "the database's encoding is {0}, and must be UTF8: as an administrator, run `create database NAME owner ROLE \
         encoding 'UTF8' template template0`, and name it in database.url"
    )]
    Encoding(String),
    /// A migration failed.
    #[error("migrating the database: {}", told(.0))]
    Migrate(#[from] MigrateError),
    /// What was migrated cannot be read.
    #[error("reading which migrations the database has: {}", told(.0))]
    Unread(#[source] sqlx::Error),
    /// Another version has migrated it further.
    #[error(
        "the database's schema is newer than this version of cegid-indexer, which does not know migration {0}: run the \
         version that made it, or a newer one"
    )]
    Newer(String),
    /// It is not migrated as far as this version needs.
    #[error(
        "the database's schema is older than this version of cegid-indexer, it lacks migration {0}: run \
         `cegid-indexer migrate`, or start the service, which does the same; neither does it through a pooler"
    )]
    Older(String),
    /// The settings say that a pooler is in between.
    #[error(
        "migrating the database: database.pooled is true, and this needs a session of its own, which a pooler does not \
         give: run `cegid-indexer migrate` with database.url naming the server itself and database.pooled = false"
    )]
    Pooled,
    /// There is a pooler in between that the settings do not speak of.
    #[error(
        "the server behind database.url does not keep what a session sets, as a pooler in transaction mode ({0}): set \
         database.pooled = true for `serve` and the commands, and name the server itself for `migrate`"
    )]
    Pooler(String),
}

impl DatabaseError {
    /// Whether it is about the server or the way to it, and not about the schema: the same may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            DatabaseError::Connect(_) => return true,
            DatabaseError::Remediable { failure, .. } => return failure.is_passing(),
            _ => {}
        }
        let Some(error) = self.of_server() else { return false };
        let sqlx::Error::Database(database) = error else { return true };
        // connection, role, no such database, transaction rolled back, resources, operator intervention, read-only
        // transaction, lock
        let code = database.code().unwrap_or_default();
        ["08", "28", "3D", "40", "53", "57", "25006", "55P03"].iter().any(|passing| code.starts_with(passing))
    }

    /// What the server, or the way to it, has answered.
    fn of_server(&self) -> Option<&sqlx::Error> {
        match self {
            DatabaseError::Connect(error)
            | DatabaseError::Unread(error)
            | DatabaseError::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl Database {
    /// Adds what to do about a failure, where that is known.
    pub async fn explain(&self, failure: DatabaseError) -> DatabaseError {
        let failure = match failure {
            // A pool keeps trying until its timeout, and does not say what each attempt met.
            DatabaseError::Connect(sqlx::Error::PoolTimedOut) => {
                match timeout(PROBE_TIMEOUT, self.options.connect()).await {
                    Ok(Err(error)) => DatabaseError::Connect(error),
                    _ => DatabaseError::Connect(sqlx::Error::PoolTimedOut),
                }
            }
            failure => failure,
        };
        match self.remedy(&failure) {
            Some(remedy) => DatabaseError::Remediable { failure: Box::new(failure), remedy },
            None => failure,
        }
    }

    fn remedy(&self, failure: &DatabaseError) -> Option<String> {
        let error = failure.of_server()?;
        let role = self.options.get_username();
        let place = match self.options.get_socket() {
            Some(directory) => directory.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        };
        let code = error.as_database_error().and_then(|error| error.code());
        let remedy = match (error, code.as_deref()) {
            (_, Some("28P01" | "28000")) => format!(
                "check user and password in database.url, and the server's pg_hba.conf, for the role {role} at {place}"
            ),
            (_, Some("3D000")) => format!(
                "as an administrator of {place}, run `create database {} owner {role} encoding 'UTF8' template template0`",
                self.options.get_database().unwrap_or(role)
            ),
            (_, Some("42501")) if matches!(failure, DatabaseError::Migrate(_)) => format!(
                "as the owner of the schema, run `grant usage, create on schema public to {role}`, or run \
                 `cegid-indexer migrate` with the owner's database.url"
            ),
            (_, Some("42501")) => format!("the role {role} lacks a right: see \"Two roles\" in docs/operate.md"),
            (_, Some("53300")) => format!(
                "{place} has no connection left for {role}: raise max_connections or the role's limit there, or lower \
                 database.connections"
            ),
            (sqlx::Error::Io(io), _) if matches!(io.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                format!("nothing listens on {place}: is PostgreSQL started, and does database.url name it?")
            }
            (sqlx::Error::Io(_), _) => format!("is {place} the server that database.url means, and can it be reached?"),
            (sqlx::Error::PoolTimedOut, _) => format!(
                "{place} does not answer in database.connect_timeout: does database.url name it, and does the network let \
                 connections through?"
            ),
            (sqlx::Error::Tls(_), _) => format!(
                "the way to {place} is to be encrypted, and its certificate verified, unless database.url names another \
                 sslmode: see \"Encryption\" in docs/operate.md"
            ),
            (sqlx::Error::Protocol(_), _) => format!("is it PostgreSQL that listens on {place}?"),
            _ => return None,
        };
        Some(remedy)
    }
}
