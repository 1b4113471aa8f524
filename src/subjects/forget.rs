//! Keys that Cegid has never shown do not stay for ever.

use chrono::{DateTime, TimeDelta, Utc};

use crate::database::Database;

/// Rows of one statement: receiving goes on beside it.
const ROWS: i64 = 5_000;
/// A delivery that names a subject may be forgotten so long after the last one that does: replicas differ in time.
const BESIDE: TimeDelta = TimeDelta::days(1);

/// Forgets subjects that two reads did not show and none ever has, once no delivery that was received since then, nor
/// the last one that named them, is kept. A callback raises them again like any new key. Gives how many.
///
/// # Errors
/// When the database cannot be used; what was forgotten by then stays so.
pub async fn forget_unread(database: &Database, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let mut forgotten = 0;
    loop {
        let rows = sqlx::query!(
            "delete from subject where state = 'unread' and not waiting and dead_at is null
               and (tenant, kind, key) in (
                 select tenant, kind, key from subject s
                 where state = 'unread' and not waiting and dead_at is null and due_at < $1
                   and not exists (select from delivery d where d.id = s.announced)
                 order by tenant, kind, key limit $2)",
            before - BESIDE,
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
