//! What was received does not stay for ever.

use chrono::{DateTime, Utc};

use crate::database::{Database, ROWS_DELETED, in_batches};

/// Forgets deliveries received before then that are settled, ignored or dead, or whose subject is gone. Gives how many.
///
/// # Errors
/// When the database cannot be used; what was forgotten by then stays so.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<u64> {
    in_batches(ROWS_DELETED, |limit: i64| async move {
        let forgotten = sqlx::query!(
            "delete from delivery where id in (
               select d.id from delivery d
               left join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
               where d.received_at < $1
                 and (d.ignored is not null or s.key is null or d.id <= s.settled or s.dead_at is not null)
               limit $2)",
            before,
            limit
        );
        Ok(forgotten.execute(database.pool()).await?.rows_affected())
    })
    .await
}
