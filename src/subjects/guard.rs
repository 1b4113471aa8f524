//! The bulk guard: removals by absence are counted, and beyond a share of the index they wait for an operator.
//!
//! Wanted: nothing is removed in bulk by surprise, whoever asked for the reads; an operator confirms what was seen to be
//! held, not what comes later; time alone lets nothing through. Anonymisation and erasure are never held.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// Which of these removals by absence have to wait: those that waited before and were not confirmed, and those beyond
/// `floor` or `percent` of what is indexed, whichever is more, in 24 hours. What an operator confirmed neither waits nor
/// counts.
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
) -> sqlx::Result<HashSet<String>> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let counts = sqlx::query!(
        r#"select
             (select count(*) from subject where tenant = $1 and kind = $2 and removed_cause = 'absence'
                and removed_at > $3 and released_at is null) as "removed!",
             (select count(*) from subject where tenant = $1 and kind = $2 and state in ('live', 'hidden')) as "held!""#,
        tenant.as_str(),
        kind.as_str(),
        now - chrono::TimeDelta::hours(24)
    )
    .fetch_one(&mut *tx)
    .await?;
    let share = (counts.held + counts.removed) * i64::from(percent) / 100;
    let mut left = share.max(i64::from(floor)) - counts.removed;
    let standing = sqlx::query!(
        r#"select key, held_at is not null as "held!" from subject
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
    Ok(back)
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

/// Confirms the removals of a tenant and kind that wait now: each is read once more, and removed if it is still absent.
/// Gives how many.
///
/// # Errors
/// When the database cannot be used.
pub async fn release(database: &Database, tenant: &TenantId, kind: Kind, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let released = sqlx::query!(
        "with waiting as (
           select key from subject
           where tenant = $1 and kind = $2 and held_at is not null and released_at is null
           order by key for no key update
         )
         update subject s set released_at = $3, due_at = $3
         from waiting where s.tenant = $1 and s.kind = $2 and s.key = waiting.key",
        tenant.as_str(),
        kind.as_str(),
        now
    )
    .execute(database.pool())
    .await?;
    Ok(released.rows_affected())
}
