//! Table `gap_count`: what sweeps found that no callback announced.
//!
//! A read that nobody announced and that shows something new marks its subject. If a delivery names the subject within
//! the grace, callbacks are merely slow; if none does, one was lost, or never sent.

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::{
    database::{Database, ROWS_CHANGED},
    domain::{Kind, TenantId},
};

/// Counts the marked subjects whose grace is over, and takes their marks. Gives how many were gaps.
///
/// # Errors
/// When the database cannot be used.
pub async fn count(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    grace: Duration,
) -> sqlx::Result<i64> {
    let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    let mut gaps = 0;
    loop {
        let counted = sqlx::query!(
            r#"with due as (
                 select key, announced > found as announced from subject
                 where tenant = $1 and kind = $2 and found_at <= $3
                   and key in (select key from subject where tenant = $1 and kind = $2 and found_at <= $3 limit $5)
                 order by key collate "C" for no key update
               ), marks as (
                 update subject s set found = null, found_at = null from due
                 where s.tenant = $1 and s.kind = $2 and s.key = due.key
               ), gaps as (
                 select count(*) as count from due where not announced
               ), counted as (
                 insert into gap_count as held (tenant, kind, hour, count)
                 select $1, $2, $4, count from gaps where count > 0
                 on conflict (tenant, kind, hour) do update set count = held.count + excluded.count
               )
               select (select count(*) from due) as "marked!", count as "gaps!" from gaps"#,
            tenant.as_str(),
            kind.as_str(),
            now - grace,
            hour,
            ROWS_CHANGED
        );
        let counted = counted.fetch_one(database.pool()).await?;
        gaps += counted.gaps;
        if counted.marked < ROWS_CHANGED {
            return Ok(gaps);
        }
    }
}

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

/// Forgets counts of hours that began before then.
///
/// # Errors
/// When the database cannot be used.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("delete from gap_count where hour < $1", before).execute(database.pool()).await?;
    Ok(())
}

/// All gaps that are counted, by tenant and kind, for the operators.
///
/// # Errors
/// When the database cannot be read.
pub async fn totals(database: &Database) -> sqlx::Result<Vec<(String, String, i64)>> {
    sqlx::query!(r#"select tenant, kind, sum(count)::bigint as "count!" from gap_count group by tenant, kind"#)
        .map(|row| (row.tenant, row.kind, row.count))
        .fetch_all(database.pool())
        .await
}
