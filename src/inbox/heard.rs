//! When a tenant was last heard of.

use chrono::{DateTime, Utc};

use crate::{database::Database, domain::TenantId};

/// When the newest event of a tenant was received, of those received since then; a ping is none.
///
/// Reads the pages of that time, of all tenants, by the BRIN index on `received_at`: callers ask for a short time again
/// and again and keep the answer, so that appending has no index on the tenant to maintain.
///
/// # Errors
/// When the database cannot be read.
pub async fn heard_since(
    database: &Database,
    tenant: &TenantId,
    since: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select max(received_at) from delivery
         where tenant = $1 and received_at >= $2 and ignored is distinct from 'ping'",
        tenant.as_str(),
        since
    )
    .fetch_one(database.pool())
    .await
}
