//! Table `subject`: the queue, and what became of each vacancy and candidate.
//!
//! Wanted: whatever is written about a subject comes from the newest read of it; a subject raised while it was being
//! read is read again; one that keeps failing is buried with its cause and does not hold up its neighbours; a removed
//! one comes back only when two reads show it.
//!
//! The queue is the set of rows with `wanted > settled` that are not dead. Claiming writes nothing: a tenant is worked
//! by one replica, under a lease, and one loop per kind. Every write is conditional on the read's number, so that a slow
//! read changes nothing after a newer one, and happens inside a fenced transaction.

mod forget;
mod guard;
mod raise;
mod settle;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use forget::forget_unread;
pub use guard::{Guarded, Held, Released, held, hold, hold_back, release};
pub use raise::{
    Next, Unseen, count_listed, defer, forget_listed, in_round, next_confirm, request_orphans, request_unseen,
    unlisted, want, want_again, want_next, want_once,
};
pub use settle::{
    Evidence, Failures, Postponed, REPORTED_REPEATS, ReadFailure, Settled, Unclear, Vanished, Why, hide_unclear,
    postpone, settle,
};

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// What the index holds of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Unread,
    /// A searchable document.
    Live,
    /// A document that is not searchable.
    Hidden,
    /// Nothing any more: the row is the tombstone.
    Removed,
}

impl State {
    /// As in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unread => "unread",
            State::Live => "live",
            State::Hidden => "hidden",
            State::Removed => "removed",
        }
    }

    fn from_column(text: &str) -> State {
        match text {
            "live" => State::Live,
            "hidden" => State::Hidden,
            "removed" => State::Removed,
            _ => State::Unread,
        }
    }
}

/// A subject as it stood when it was claimed.
#[derive(Clone)]
pub struct Claimed {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// The request that the read answers.
    pub wanted: i64,
    /// What the index holds of it.
    pub state: State,
    /// Failed reads in a row.
    pub attempts: u32,
    /// When the first of these failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// When the first of two absences was read.
    pub absent_since: Option<DateTime<Utc>>,
    /// When a read first showed a sign of anonymisation in an unknown form.
    pub unclear_since: Option<DateTime<Utc>>,
    /// When it was first read as present again after its removal.
    pub returned_at: Option<DateTime<Utc>>,
    /// When it went from settled to wanted.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Since when it may be read.
    pub due_at: DateTime<Utc>,
    /// Whether a delivery has named it since it was last read; otherwise a sweep or an operator asked.
    pub announced: bool,
    /// Whether an operator has confirmed its removal.
    pub released: bool,
    /// Whether no filter of Cegid's finds it: its key has a comma, a bar or a colon, or lists have shown it although
    /// reads by key did not.
    pub unfilterable: bool,
}

/// Which subjects are claimed.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Those that are due from then on: what was settled before need not be read past.
    pub from: DateTime<Utc>,
    /// Those that are due until then.
    pub until: DateTime<Utc>,
    /// So many.
    pub most: usize,
    /// Whether those that failed come first.
    pub failed_first: bool,
}

/// Due subjects, by their time; those that failed come before or behind all others.
///
/// Two ranges of the index, so that `from` is where each begins: the entries of settled subjects stay until the server
/// may clear them away, which any long transaction prevents.
///
/// # Errors
/// When the database cannot be read.
pub async fn claim(database: &Database, tenant: &TenantId, kind: Kind, due: Due) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query!(
        r#"select key as "key!", wanted as "wanted!", state as "state!", attempts as "attempts!", failing_since,
                  absent_since, unclear_since, returned_at, waiting_since, due_at as "due_at!",
                  announced > settled as "announced!", released_at is not null as "released!",
                  (key ~ '[,|:]' or listed_at is not null and state <> 'removed') as "unfilterable!"
           from (
             (select * from subject
              where tenant = $1 and kind = $2 and waiting and (attempts > 0) is false and due_at between $3 and $4
              order by due_at limit $5)
             union all
             (select * from subject
              where tenant = $1 and kind = $2 and waiting and attempts > 0 and due_at between $3 and $4
              order by due_at limit $5)
           ) as due
           order by (attempts > 0) <> $6, due_at
           limit $5"#,
        tenant.as_str(),
        kind.as_str(),
        due.from,
        due.until,
        due.most as i64,
        due.failed_first
    )
    .map(|row| Claimed {
        key: row.key,
        wanted: row.wanted,
        state: State::from_column(&row.state),
        attempts: row.attempts.unsigned_abs(),
        failing_since: row.failing_since,
        absent_since: row.absent_since,
        unclear_since: row.unclear_since,
        returned_at: row.returned_at,
        waiting_since: row.waiting_since,
        due_at: row.due_at,
        announced: row.announced,
        released: row.released,
        unfilterable: row.unfilterable,
    })
    .fetch_all(database.pool())
    .await
}

/// When the next subject is due, of those that are due from then on.
///
/// # Errors
/// When the database cannot be read.
pub async fn next_due(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    from: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select min(due_at) from (
           (select due_at from subject
            where tenant = $1 and kind = $2 and waiting and (attempts > 0) is false and due_at >= $3
            order by due_at limit 1)
           union all
           (select due_at from subject
            where tenant = $1 and kind = $2 and waiting and attempts > 0 and due_at >= $3
            order by due_at limit 1)
         ) as due",
        tenant.as_str(),
        kind.as_str(),
        from
    )
    .fetch_one(database.pool())
    .await
}

/// Draws a read number; a read that begins after it has seen every change whose delivery has a lower id.
///
/// # Errors
/// When the database cannot be used.
pub async fn draw(database: &Database) -> sqlx::Result<i64> {
    database.draw_number().await
}

/// The removed ones of these, and since when lists show again those that were removed by absence.
///
/// # Errors
/// When the database cannot be read.
pub async fn removed(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    keys: &[String],
) -> sqlx::Result<HashMap<String, Option<DateTime<Utc>>>> {
    let rows = sqlx::query!(
        "select key, case when removed_cause = 'absence' then listed_at end as listed_at from subject
         where tenant = $1 and kind = $2 and key = any($3) and state = 'removed'",
        tenant.as_str(),
        kind.as_str(),
        keys
    );
    Ok(rows.fetch_all(database.pool()).await?.into_iter().map(|row| (row.key, row.listed_at)).collect())
}

/// A subject as it stands under its lock.
pub struct Locked {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// What the index holds of it.
    pub state: State,
    /// Whether an absence is noted.
    pub absent: bool,
    /// Whether an unclear sign of anonymisation is noted.
    pub unclear: bool,
}

/// Locks subjects, in key order, and tells what they are now.
///
/// # Errors
/// When the database cannot be used.
pub async fn locked(tx: &mut PgConnection, tenant: &TenantId, kind: Kind, keys: &[&str]) -> sqlx::Result<Vec<Locked>> {
    sqlx::query!(
        r#"select key, state, absent_since is not null as "absent!", unclear_since is not null as "unclear!" from subject
           where tenant = $1 and kind = $2 and key = any($3)
           order by key collate "C" for no key update"#,
        tenant.as_str(),
        kind.as_str(),
        keys as _
    )
    .map(|row| Locked { key: row.key, state: State::from_column(&row.state), absent: row.absent, unclear: row.unclear })
    .fetch_all(tx)
    .await
}

/// Of the subjects that can be asked for with others, other than these, the one that was read last, a live one if there
/// is any: an answer that does not show it proves no absence. One whose read has failed is taken only if there is no
/// other: while every record is unreadable, nothing is taken for the last of its kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn control(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    other_than: &[String],
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select key from subject
         where tenant = $1 and kind = $2 and state in ('live', 'hidden') and absent_since is null and key <> all($3)
           and dead_at is null and key !~ '[,|:]' and listed_at is null
         order by attempts = 0 desc, state = 'live' desc, settled desc
         limit 1",
        tenant.as_str(),
        kind.as_str(),
        other_than
    )
    .fetch_optional(database.pool())
    .await
}

/// Unsettled, oldest wait and buried, for the operators.
#[derive(Debug, Clone)]
pub struct Depth {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// Subjects that are not settled.
    pub waiting: i64,
    /// When the oldest of these began to wait.
    pub oldest: Option<DateTime<Utc>>,
    /// Subjects that were buried.
    pub dead: i64,
}

/// The queue by tenant and kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn depths(database: &Database) -> sqlx::Result<Vec<Depth>> {
    sqlx::query_as!(
        Depth,
        r#"select tenant, kind,
             count(*) filter (where waiting) as "waiting!",
             min(waiting_since) filter (where waiting) as oldest,
             count(*) filter (where dead_at is not null) as "dead!"
           from subject group by tenant, kind"#
    )
    .fetch_all(database.pool())
    .await
}
