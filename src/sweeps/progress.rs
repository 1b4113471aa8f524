//! What one step of a sweep came to: how far it is, or why it could not go on.

use chrono::{DateTime, Utc};

use super::Sweep;
use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// How far a sweep has come with one step.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Items that are settled.
    pub next_offset: i32,
    /// Subjects up to this key were asked for.
    pub next_key: String,
    /// Records that the step has shown.
    pub records: i64,
    /// Frames that could not be read, each counted once.
    pub broken: i64,
    /// Frames that could not be read and have no readable key.
    pub unnamed: i64,
    /// Records that differed from the index.
    pub changed: i64,
    /// Subjects that were asked for by themselves.
    pub unseen: i64,
    /// Not to go on before.
    pub due_at: Option<DateTime<Utc>>,
    /// The list was read to its end.
    pub listed: bool,
    /// Nothing is left of it.
    pub finished: bool,
}

/// Notes how far a sweep is. One that was asked for since it was read is due when it was asked for, and a round begins
/// anew: the step knew nothing of it.
///
/// # Errors
/// When the database cannot be used; a restart then does the step again.
pub async fn advance(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
    now: DateTime<Utc>,
    progress: &Progress,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update sweep set next_offset = $5, records = records + $6, broken = broken + $7, changed = changed + $8,
           unseen = unseen + $9, unnamed = unnamed + $16, stalls = 0, next_key = case when $14 or asked and not $15 then '' else $10 end,
           due_at = case when asked and not $15 then due_at else coalesce($11, due_at) end,
           listed_at = case when $12 then coalesce(listed_at, $13) else listed_at end,
           started_at = coalesce(started_at, $13),
           finished_at = case when $14 and not (use = 'rolling' and asked and not $15) then $13::timestamptz end
         where tenant = $1 and kind = $2 and use = $3 and position = $4 and finished_at is null",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position,
        progress.next_offset,
        progress.records,
        progress.broken,
        progress.changed,
        progress.unseen,
        progress.next_key,
        progress.due_at,
        progress.listed,
        now,
        progress.finished,
        sweep.asked,
        progress.unnamed
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Puts a sweep off whose list does not advance, and counts how often in a row it did not. Gives that number.
pub async fn stall(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
    until: impl Fn(u32) -> DateTime<Utc>,
) -> sqlx::Result<u32> {
    let stalls = sweep.stalls + 1;
    sqlx::query!(
        "update sweep set due_at = greatest(due_at, $5), stalls = $6
         where tenant = $1 and kind = $2 and use = $3 and position = $4 and finished_at is null",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position,
        until(stalls),
        i32::try_from(stalls).unwrap_or(i32::MAX)
    )
    .execute(database.pool())
    .await?;
    Ok(stalls)
}

/// Puts a sweep off that cannot go on now, so that another has its turn.
///
/// # Errors
/// When the database cannot be used.
pub async fn put_off(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
    until: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update sweep set due_at = greatest(due_at, $5)
         where tenant = $1 and kind = $2 and use = $3 and position = $4 and finished_at is null",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position,
        until
    )
    .execute(database.pool())
    .await?;
    Ok(())
}
