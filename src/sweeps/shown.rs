//! What operators see of the sweeps.

use chrono::{DateTime, Utc};

use crate::database::Database;

/// How far the initial load of a tenant and kind is.
#[derive(Debug, Clone)]
pub struct Load {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// Windows in all.
    pub windows: i64,
    /// Windows not finished.
    pub remaining: i64,
    /// Records read.
    pub records: i64,
    /// Records that could not be read.
    pub broken: i64,
}

/// The initial loads, for the operators.
///
/// # Errors
/// When the database cannot be read.
pub async fn loads(database: &Database) -> sqlx::Result<Vec<Load>> {
    sqlx::query_as!(
        Load,
        r#"select tenant, kind, count(*) as "windows!", count(*) filter (where finished_at is null) as "remaining!",
             sum(records)::bigint as "records!", sum(broken)::bigint as "broken!"
           from sweep where use = 'initial' group by tenant, kind order by tenant, kind"#
    )
    .fetch_all(database.pool())
    .await
}

/// A sweep as operators see it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named like the columns of the table, which has a comment on each")]
pub struct Run {
    pub tenant: String,
    pub kind: String,
    pub purpose: String,
    pub position: i32,
    pub due_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub records: i64,
    pub broken: i64,
    pub changed: i64,
    pub unseen: i64,
    pub stalls: i32,
}

/// What is not finished, and the last finished run of each that recurs.
///
/// # Errors
/// When the database cannot be read.
pub async fn runs(database: &Database) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as!(
        Run,
        r#"select tenant, kind, use as purpose, position, nullif(due_at, '-infinity') as due_at, started_at,
             finished_at, records, broken, changed, unseen, stalls
           from sweep s
           where finished_at is null or use <> 'initial' and not exists
             (select from sweep n where n.tenant = s.tenant and n.kind = s.kind and n.use = s.use
                and n.position > s.position and n.finished_at is not null)
           order by tenant, kind, use, position"#
    )
    .fetch_all(database.pool())
    .await
}
