//! Table `gap_count`: what sweeps found that no callback announced.

use chrono::{DateTime, Utc};

use crate::{database::Database, domain::TenantId};

/// Gaps of a tenant counted in the hours that began since then.
///
/// # Errors
/// When the database cannot be read.
pub async fn since(database: &Database, tenant: &TenantId, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(count), 0)::bigint as "count!" from gap_count where tenant = $1 and hour >= $2"#,
        tenant.as_str(),
        since
    )
    .fetch_one(database.pool())
    .await
}
