//! Which walks there will be: the windows of the initial load, and the next run of what recurs.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Use;
use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// Update dates from `since`, included, to `until`, not included; open-ended when none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Start.
    pub since: Option<DateTime<Utc>>,
    /// End.
    pub until: Option<DateTime<Utc>>,
}

/// The windows of an initial load: the newest open towards now, the last towards the beginning.
pub fn windows(now: DateTime<Utc>, width: Duration, count: u32) -> Vec<Bounds> {
    let mut windows = Vec::new();
    let mut until = None;
    for nth in 1..=count {
        let since = now - width * nth;
        windows.push(Bounds { since: Some(since), until });
        until = Some(since);
    }
    windows.push(Bounds { since: None, until });
    windows
}

/// Notes the windows of an initial load, on the first start for a tenant; later starts change nothing.
///
/// # Errors
/// When the database cannot be used.
pub async fn plan_initial(database: &Database, tenant: &TenantId, kind: Kind, windows: &[Bounds]) -> sqlx::Result<()> {
    let since: Vec<Option<DateTime<Utc>>> = windows.iter().map(|window| window.since).collect();
    let until: Vec<Option<DateTime<Utc>>> = windows.iter().map(|window| window.until).collect();
    sqlx::query!(
        "insert into sweep (tenant, kind, use, position, since, until)
         select $1, $2, 'initial', (w.position - 1)::integer, w.since, w.until
         from unnest($3::timestamptz[], $4::timestamptz[]) with ordinality as w (since, until, position)
         where not exists (select from sweep where tenant = $1 and kind = $2 and use = 'initial')",
        tenant.as_str(),
        kind.as_str(),
        &since as _,
        &until as _
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Notes the next run of a sweep that recurs: due an interval after the last one began, but no sooner than a quarter of
/// it after that one ended, so that a long one leaves the others their turn; the first one an interval from now. One that is
/// planned behind a finished run and has not begun takes the interval on.
///
/// # Errors
/// When the database cannot be used.
pub async fn plan(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    purpose: Use,
    interval: Duration,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with last as (
           select max(position) as position,
             coalesce(greatest(max(started_at) + $4::interval, max(finished_at) + $4::interval / 4), $5) as due_at
           from sweep
           where tenant = $1 and kind = $2 and use = $3 and finished_at is not null
         ), planned as (
           update sweep s set due_at = last.due_at from last
           where s.tenant = $1 and s.kind = $2 and s.use = $3 and s.finished_at is null and s.started_at is null
             and not s.asked and last.position is not null
         )
         insert into sweep (tenant, kind, use, position, due_at)
         select $1, $2, $3, coalesce(last.position + 1, 0), last.due_at from last
         on conflict do nothing",
        tenant.as_str(),
        kind.as_str(),
        purpose.as_str(),
        interval as _,
        now + interval
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Notes the next run of a sweep that must be finished by a certain time. One that has not begun takes both times on.
pub async fn plan_by(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    purpose: Use,
    due_at: DateTime<Utc>,
    finish_by: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with planned as (
           update sweep set due_at = case when asked or started_at is not null then due_at else $4 end, finish_by = $5
           where tenant = $1 and kind = $2 and use = $3 and finished_at is null
         )
         insert into sweep (tenant, kind, use, position, due_at, finish_by)
         select $1, $2, $3, coalesce(max(position) + 1, 0), $4, $5 from sweep
         where tenant = $1 and kind = $2 and use = $3 and finished_at is not null
         on conflict do nothing",
        tenant.as_str(),
        kind.as_str(),
        purpose.as_str(),
        due_at,
        finish_by
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_time_without_a_gap() {
        let now = DateTime::from_timestamp(1_789_000_000, 0).unwrap();
        let windows = windows(now, Duration::from_secs(90 * 86400), 2);
        assert_eq!(windows.len(), 3);
        assert_eq!(windows[0].until, None);
        assert_eq!(windows[2].since, None);
        assert!(windows.windows(2).all(|pair| pair[0].since == pair[1].until));
    }
}
