//! Table `sweep`: the walks over the exports, and where each stopped.
//!
//! The initial load has one row per window and ends for good. The others recur: one row per run, of which at most one is
//! unfinished; the next is due an interval after the last began.

mod plan;
mod progress;
mod shown;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub use plan::{Bounds, plan, plan_by, plan_initial, windows};
pub use progress::{Progress, advance, put_off, stall};
pub use shown::{Load, Run, loads, runs};

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// What a sweep is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Everything, once, the newest first.
    Initial,
    /// What was updated since the run before.
    Incremental,
    /// Every candidate, or every live vacancy; what is held and was not shown is then asked for by key.
    Full,
    /// What no list shows, asked for by key: every hidden vacancy.
    Rolling,
}

impl Use {
    /// All of them, the most urgent first.
    pub const ALL: [Use; 4] = [Use::Incremental, Use::Initial, Use::Full, Use::Rolling];

    /// As in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Use::Initial => "initial",
            Use::Incremental => "incremental",
            Use::Full => "full",
            Use::Rolling => "rolling",
        }
    }

    /// Those of a kind that recur.
    pub fn recurring(kind: Kind) -> &'static [Use] {
        match kind {
            Kind::Vacancy => &[Use::Incremental, Use::Full, Use::Rolling],
            Kind::Candidate => &[Use::Incremental, Use::Full],
        }
    }

    /// Whether it waits for the hours in which bulk work is permitted.
    pub fn is_bulk(self) -> bool {
        self != Use::Incremental
    }
}

/// One window, or one run.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What it is for.
    pub purpose: Use,
    /// Place in the order of the windows, or number of the run.
    pub position: i32,
    /// Start of the window in update dates; open-ended when none.
    pub since: Option<DateTime<Utc>>,
    /// Its end, not included; open-ended when none.
    pub until: Option<DateTime<Utc>>,
    /// Items that are settled.
    pub next_offset: i32,
    /// Rolling: subjects up to this key were asked for.
    pub next_key: String,
    /// Drawn when it began; none before.
    pub read: Option<i64>,
    /// When it began; none before.
    pub began: Option<DateTime<Utc>>,
    /// Full: the list was read to its end.
    pub listed: bool,
    /// Frames of the list that could not be read and have no readable key.
    pub unnamed: i64,
    /// Records that the list has shown.
    pub records: i64,
    /// Subjects that were asked for by key.
    pub unseen: i64,
    /// An operator asked for it.
    pub asked: bool,
    /// How often in a row its list did not advance.
    pub stalls: u32,
}

/// What decides whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// By the clock.
    pub now: DateTime<Utc>,
    /// Whether bulk work is permitted at this hour.
    pub bulk: bool,
    /// How long a full sweep takes: one that must be finished within this time waits for no permitted hours.
    pub needed: Duration,
}

/// The most urgent sweep that is due; outside the permitted hours only what needs none, was asked for, or would be
/// late.
///
/// # Errors
/// When the database cannot be used.
pub async fn next(database: &Database, tenant: &TenantId, kind: Kind, turn: Turn) -> sqlx::Result<Option<Sweep>> {
    let order: Vec<&str> = Use::ALL.iter().map(|purpose| purpose.as_str()).collect();
    let row = sqlx::query!(
        r#"select use, position, since, until, next_offset, next_key, read_number, started_at,
                  listed_at is not null as "listed!", unnamed, records, unseen, asked, stalls
           from sweep
           where tenant = $1 and kind = $2 and finished_at is null and due_at <= $3
             and ($4 or asked or use = 'incremental' or finish_by - $6::interval <= $3)
           order by array_position($5::text[], use), position limit 1"#,
        tenant.as_str(),
        kind.as_str(),
        turn.now,
        turn.bulk,
        &order as _,
        turn.needed as _
    )
    .fetch_optional(database.pool())
    .await?;
    Ok(row.and_then(|row| {
        Some(Sweep {
            purpose: Use::ALL.into_iter().find(|purpose| purpose.as_str() == row.r#use)?,
            position: row.position,
            since: row.since,
            until: row.until,
            next_offset: row.next_offset,
            next_key: row.next_key,
            read: row.read_number,
            began: row.started_at,
            listed: row.listed,
            unnamed: row.unnamed,
            records: row.records,
            unseen: row.unseen,
            asked: row.asked,
            stalls: row.stalls.unsigned_abs(),
        })
    }))
}

/// When the run before this one began; for the first, when the initial load did.
///
/// # Errors
/// When the database cannot be read.
pub async fn began_before(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select coalesce(
           (select max(started_at) from sweep where tenant = $1 and kind = $2 and use = $3 and position < $4),
           (select min(started_at) from sweep where tenant = $1 and kind = $2 and use = 'initial'))",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position
    )
    .fetch_one(database.pool())
    .await
}

/// The number that was drawn when the run before this one began, of those whose list showed anything; none for the
/// first, and none when that list held frames that nobody can name.
///
/// # Errors
/// When the database cannot be read.
pub async fn read_before(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
) -> sqlx::Result<Option<i64>> {
    let before = sqlx::query_scalar!(
        "select case when unnamed = 0 then read_number end from sweep
         where tenant = $1 and kind = $2 and use = $3 and position < $4 and records > 0
         order by position desc limit 1",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position
    )
    .fetch_optional(database.pool())
    .await?;
    Ok(before.flatten())
}

/// When the last finished run of a kind began; before the first, when the initial load did.
pub async fn last_began(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    purpose: Use,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select coalesce(
           (select max(started_at) from sweep where tenant = $1 and kind = $2 and use = $3 and finished_at is not null),
           (select min(started_at) from sweep where tenant = $1 and kind = $2 and use = 'initial'))",
        tenant.as_str(),
        kind.as_str(),
        purpose.as_str()
    )
    .fetch_one(database.pool())
    .await
}

/// A run begins: its number, and for an incremental one the start of its window.
///
/// # Errors
/// When the database cannot be used.
pub async fn begin(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    sweep: &Sweep,
    read: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update sweep set started_at = coalesce(started_at, $5), read_number = coalesce(read_number, $6),
           since = coalesce(since, $7)
         where tenant = $1 and kind = $2 and use = $3 and position = $4",
        tenant.as_str(),
        kind.as_str(),
        sweep.purpose.as_str(),
        sweep.position,
        now,
        read,
        sweep.since
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Whether the initial load of a kind is not finished: what is found until then is no gap.
///
/// # Errors
/// When the database cannot be read.
pub async fn loading(database: &Database, tenant: &TenantId, kind: Kind) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from sweep
                          where tenant = $1 and kind = $2 and use = 'initial' and finished_at is null) as "loading!""#,
        tenant.as_str(),
        kind.as_str()
    )
    .fetch_one(database.pool())
    .await
}

/// An operator wants a run now: the one that is planned is due at once, and goes on without waiting for permitted hours;
/// a rolling one begins its round anew. False when the service has planned none yet.
///
/// # Errors
/// When the database cannot be used.
pub async fn ask(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    purpose: Use,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let asked = sqlx::query!(
        "update sweep set asked = true, due_at = $4, next_key = ''
         where tenant = $1 and kind = $2 and use = $3 and finished_at is null",
        tenant.as_str(),
        kind.as_str(),
        purpose.as_str(),
        now
    )
    .execute(database.pool())
    .await?;
    Ok(asked.rows_affected() > 0)
}

/// Forgets finished runs older than so long, but the last of each.
///
/// # Errors
/// When the database cannot be used.
pub async fn forget(database: &Database, before: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from sweep s where use <> 'initial' and finished_at < $1 and exists
           (select from sweep n where n.tenant = s.tenant and n.kind = s.kind and n.use = s.use
              and n.position > s.position and n.finished_at is not null)",
        before
    )
    .execute(database.pool())
    .await?;
    Ok(())
}
