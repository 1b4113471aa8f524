//! Table `sweep`: the windows of a walk over an export, and where each stopped.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// One window of update dates, newest first.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its place in the order, from 0.
    pub position: i32,
    /// Its start; open-ended when none.
    pub since: Option<DateTime<Utc>>,
    /// Its end, not included; open-ended when none.
    pub until: Option<DateTime<Utc>>,
    /// Items that are settled.
    pub next_offset: i32,
}

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

/// The first window of the initial load that is not finished.
///
/// # Errors
/// When the database cannot be used.
pub async fn next_window(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<Option<Window>> {
    sqlx::query_as!(
        Window,
        "select position, since, until, next_offset from sweep
         where tenant = $1 and kind = $2 and use = 'initial' and finished_at is null
         order by position limit 1",
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_optional(database.pool())
    .await
}

/// A page of the window is settled.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Items of the window that are settled.
    pub next_offset: i32,
    /// Records of this page.
    pub records: i64,
    /// Frames of this page that could not be read.
    pub broken: i64,
    /// The page was the empty one that ends the window.
    pub finished: bool,
}

/// Notes how far a window is.
///
/// # Errors
/// When the database cannot be used; a restart then reads the page again.
pub async fn advance(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    position: i32,
    now: DateTime<Utc>,
    progress: Progress,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update sweep set next_offset = $4, records = records + $5, broken = broken + $6,
           started_at = coalesce(started_at, $7), finished_at = case when $8 then $7::timestamptz end
         where tenant = $1 and kind = $2 and use = 'initial' and position = $3",
        tenant.as_str(),
        kind.as_str(),
        position,
        progress.next_offset,
        progress.records,
        progress.broken,
        now,
        progress.finished
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// How far the initial load of a tenant and kind is.
#[derive(Debug, Clone)]
pub struct Load {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// Windows in all.
    pub windows: i64,
    /// Windows not finished.
    pub remaining: i64,
    /// Records read.
    pub records: i64,
    /// Records that could not be read.
    pub broken: i64,
}

/// The initial loads, for the operators.
///
/// # Errors
/// When the database cannot be read.
pub async fn loads(database: &Database) -> sqlx::Result<Vec<Load>> {
    sqlx::query_as!(
        Load,
        r#"select tenant, kind, count(*) as "windows!", count(*) filter (where finished_at is null) as "remaining!",
             sum(records)::bigint as "records!", sum(broken)::bigint as "broken!"
           from sweep where use = 'initial' group by tenant, kind order by tenant, kind"#
    )
    .fetch_all(database.pool())
    .await
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
