//! What was received does not stay for ever.

use chrono::{DateTime, Utc};

use crate::database::Database;

/// Rows of one statement: receiving goes on beside it.
const ROWS: i64 = 5_000;

/// Forgets deliveries received before then that are settled, ignored or dead, or whose subject is gone. Gives how many.
///
/// # Errors
/// When the database cannot be used; what was forgotten by then stays so.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let mut forgotten = 0;
    loop {
        let rows = sqlx::query!(
            "delete from delivery where id in (
               select d.id from delivery d
               left join subject s on s.tenant = d.tenant and s.kind = d.kind and s.key = d.key
               where d.received_at < $1
                 and (d.ignored is not null or s.key is null or d.id <= s.settled or s.dead_at is not null)
               limit $2)",
            before,
            ROWS
        )
        .execute(database.pool())
        .await?
        .rows_affected();
        forgotten += rows;
        if rows < ROWS.unsigned_abs() {
            return Ok(forgotten);
        }
    }
}
