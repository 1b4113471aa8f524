//! What a failed statement says, and what to do about it.

use sqlx::migrate::MigrateError;

/// What to do about a failed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Another transaction was in the way: at once again.
    Contention,
    /// The statement's data cannot be stored; the database is fine.
    Data,
    /// A trigger or a function refuses it, for its data or for now.
    Raised,
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
        // external routine, check option violation, PL/pgSQL
        Some(code) if ["38", "39", "44", "P0"].iter().any(|class| code.starts_with(class)) => Failure::Raised,
        _ => Failure::Away,
    }
}

/// Whether a lock was not had in time: waiting for it again takes as long.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// Whether the server has not answered, or has ended the session: another connection may be answered.
pub fn is_unanswered(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            // connection, operator intervention, no write on a standby
            let code = database.code().unwrap_or_default();
            ["08", "57P", "25006"].iter().any(|class| code.starts_with(class))
        }
        _ => true,
    }
}

/// What a failure of the database says. Sentences about data, and those that triggers and functions raise, may quote
/// what is stored: of these the code is told alone.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let database = match error.downcast_ref::<MigrateError>() {
        Some(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => error.as_database_error(),
        _ => error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error),
    };
    match database {
        Some(database) if !is_the_servers_own(database) => {
            let code = database.code().unwrap_or_default();
            format!("the database refuses it with SQLSTATE {code}: its log says why")
        }
        _ => error.to_string(),
    }
}

/// Whether the server itself has made the sentence, and of what it manages: connections, roles, tables, locks, space.
fn is_the_servers_own(error: &dyn sqlx::error::DatabaseError) -> bool {
    const CLASSES: [&str; 12] = ["08", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58"];
    let raised = error
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .is_some_and(|error| error.routine() == Some("exec_stmt_raise"));
    !raised && error.code().is_some_and(|code| CLASSES.iter().any(|class| code.starts_with(class)))
}
