//! Deletes everything that is held of a tenant that has gone; writes nothing else.
//!
//! It works across tables by one rule, the tenant's name. What is deleted comes back only by a callback, and a tenant
//! is purged only while its callbacks are refused and its lease is held, so nobody else writes.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::{database::Database, kill, tenancy::Lease};

/// One statement reads a table of every tenant's deliveries from its beginning to its end.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Every table with a column `tenant`, in the order in which they are emptied: first what could raise something else.
/// `tenant_lease` is emptied by the end of the work, and `tenant_state` holds that the tenant has gone.
pub const TABLES: &[&str] = &[
    "hook",
    "hook_tenant",
    "delivery",
    "report_item",
    "attachment",
    "document",
    "subject",
    "sweep",
    "unreadable",
    "gap_count",
    "erasure",
    "referential",
    "referential_category",
    "refusal_count",
    "refusal",
];

/// Deletes the tenant's rows table by table while the lease is held, and says how many there were; none when the lease
/// was lost before the end.
///
/// # Errors
/// When the database cannot be used: what is left is deleted the next time.
pub async fn purge(database: &Database, lease: &Lease) -> sqlx::Result<Option<u64>> {
    let mut connection = database.held(PATIENCE).await?;
    let mut rows = 0;
    for table in TABLES {
        if !lease.holds() {
            return Ok(None);
        }
        let statement = format!("delete from {table} where tenant = $1");
        // The name is one of the above.
        let deleted = sqlx::query(AssertSqlSafe(statement)).bind(lease.tenant().as_str()).execute(&mut connection);
        rows += deleted.await?.rows_affected();
        kill::point("purging");
    }
    connection.close().await?;
    Ok(Some(rows))
}
