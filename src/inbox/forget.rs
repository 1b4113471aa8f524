//! What was received does not stay for ever.

use chrono::{DateTime, Utc};

use crate::database::{Database, delete_in_batches};

/// Forgets deliveries received before then that are settled, ignored or dead, or whose subject is gone. Gives how many.
///
/// # Errors
/// When the database cannot be used; what was forgotten by then stays so.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<u64> {
    delete_in_batches(|limit| async move {
        sqlx::query!(
            "delete from delivery where id in (
               select d.id from delivery d
               left join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
               where d.received_at < $1
                 and (d.ignored is not null or s.key is null or d.id <= s.settled or s.dead_at is not null)
               limit $2)",
            before,
            limit
        )
        .execute(database.pool())
        .await
    })
    .await
}
