//! The bulk guard: what stops being searchable without a record that says so is counted, and beyond a share of the
//! index it waits for an operator.
//!
//! Wanted: nothing vanishes in bulk by surprise, whichever way: absent from reads by key, or missing from two lists; an
//! operator confirms what was seen to be held, not what comes later; time alone lets nothing through. A record that is
//! shown anonymised or in another status, and an erasure, are never held.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::{Database, ROWS_CHANGED},
    domain::{Kind, TenantId},
};

/// What the bulk guard says.
#[derive(Debug, Default)]
pub struct Guarded {
    /// Those that have to wait.
    pub back: HashSet<String>,
    /// How many of the kind may vanish in 24 hours.
    pub limit: i64,
}

/// Which of these subjects, which are about to vanish, have to wait: those that waited before and were not confirmed,
/// and those beyond `floor` or `percent` of what is indexed, whichever is more, in 24 hours. One that waited for a
/// control alone has its proof now. What an operator confirmed neither waits nor counts.
///
/// # Errors
/// When the database cannot be read.
pub async fn hold_back(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    (floor, percent): (u32, u32),
    keys: &[&str],
) -> sqlx::Result<Guarded> {
    if keys.is_empty() {
        return Ok(Guarded::default());
    }
    let counts = sqlx::query!(
        r#"select
             (select count(*) from subject where tenant = $1 and kind = $2 and vanished_at > $3 and released_at is null)
               as "vanished!",
             (select count(*) from subject
              where tenant = $1 and kind = $2 and state in ('live', 'hidden') and vanished_at is null) as "held!""#,
        tenant.as_str(),
        kind.as_str(),
        now - chrono::TimeDelta::hours(24)
    )
    .fetch_one(&mut *tx)
    .await?;
    let share = (counts.held + counts.vanished) * i64::from(percent) / 100;
    let limit = share.max(i64::from(floor));
    let mut left = limit - counts.vanished;
    let standing = sqlx::query!(
        r#"select key, held_at is not null and not held_unproven as "held!" from subject
           where tenant = $1 and kind = $2 and key = any($3) and released_at is null order by key"#,
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .fetch_all(tx)
    .await?;
    let mut back = HashSet::new();
    for subject in standing {
        if subject.held || left <= 0 {
            back.insert(subject.key);
        } else {
            left -= 1;
        }
    }
    Ok(Guarded { back, limit })
}

/// Notes that these have to wait for an operator.
///
/// # Errors
/// When the database cannot be used.
pub async fn hold(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    keys: &[&str],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"with held as (
             select key from subject where tenant = $1 and kind = $2 and key = any($4)
             order by key collate "C" for no key update
           )
           update subject s set held_at = coalesce(s.held_at, $3), held_unproven = false
           from held where s.tenant = $1 and s.kind = $2 and s.key = held.key"#,
        tenant.as_str(),
        kind.as_str(),
        now,
        keys as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removals that wait for a confirmation.
#[derive(Debug, Clone)]
pub struct Held {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// How many.
    pub count: i64,
    /// Since when the oldest of them waits.
    pub since: DateTime<Utc>,
}

/// The removals that wait, by tenant and kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn held(database: &Database) -> sqlx::Result<Vec<Held>> {
    sqlx::query_as!(
        Held,
        r#"select tenant, kind, count(*) as "count!", min(held_at) as "since!" from subject
           where held_at is not null and released_at is null group by tenant, kind order by tenant, kind"#
    )
    .fetch_all(database.pool())
    .await
}

/// What an operator's confirmation has reached.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// Subjects that are confirmed.
    pub subjects: i64,
    /// Those of them that no filter can name: the next full list decides, not a read by key.
    pub unfilterable: i64,
}

/// Confirms the removals of a tenant and kind that wait now: each is read once more, and removed if it is still absent.
///
/// # Errors
/// When the database cannot be used.
pub async fn release(database: &Database, tenant: &TenantId, kind: Kind, now: DateTime<Utc>) -> sqlx::Result<Released> {
    let mut all = Released { subjects: 0, unfilterable: 0 };
    loop {
        let released = sqlx::query_as!(
            Released,
            r#"with waiting as (
                 select key from subject
                 where tenant = $1 and kind = $2 and held_at is not null and released_at is null and key in (
                   select key from subject
                   where tenant = $1 and kind = $2 and held_at is not null and released_at is null limit $4)
                 order by key collate "C" for no key update
               ), released as (
                 update subject s set released_at = $3, due_at = $3
                 from waiting where s.tenant = $1 and s.kind = $2 and s.key = waiting.key
                 returning s.waiting
               )
               select count(*) as "subjects!", count(*) filter (where not waiting) as "unfilterable!" from released"#,
            tenant.as_str(),
            kind.as_str(),
            now,
            ROWS_CHANGED
        );
        let released = released.fetch_one(database.pool()).await?;
        all.subjects += released.subjects;
        all.unfilterable += released.unfilterable;
        if released.subjects < ROWS_CHANGED {
            return Ok(all);
        }
    }
}
