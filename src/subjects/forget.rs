//! Keys that Cegid has never shown do not stay for ever.

use chrono::{DateTime, TimeDelta, Utc};

use crate::database::{Database, ROWS_CHANGED, in_batches};

/// A delivery may be forgotten this long before the subject that it names: replicas differ in time.
const FORGET_MARGIN: TimeDelta = TimeDelta::days(1);

/// Forgets subjects that two reads did not show and none ever has, and those for which no call ever succeeded, once no
/// delivery that was received since then, nor the last one that named them, is kept. A callback raises them again like
/// any new key. Gives how many.
///
/// # Errors
/// When the database cannot be used; what was forgotten by then stays so.
pub async fn forget_unread(database: &Database, before: DateTime<Utc>) -> sqlx::Result<u64> {
    in_batches(ROWS_CHANGED, |limit: i64| async move {
        let forgotten = sqlx::query!(
            r#"with unread as (
                 select tenant, kind, key from subject
                 where state = 'unread' and not waiting and (dead_at is null or failure_digest is null)
                   and (tenant, kind, key) in (
                     select tenant, kind, key from subject s
                     where state = 'unread' and not waiting and (dead_at is null or failure_digest is null)
                       and due_at < $1 and not exists (select from delivery d where d.id = s.announced)
                     limit $2)
                 order by tenant collate "C", kind collate "C", key collate "C" for update
               )
               delete from subject s using unread
               where s.tenant = unread.tenant and s.kind = unread.kind and s.key = unread.key"#,
            before - FORGET_MARGIN,
            limit
        );
        Ok(forgotten.execute(database.pool()).await?.rows_affected())
    })
    .await
}
