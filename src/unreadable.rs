//! Table `unreadable`: frames of lists that could not be read, or not be served.
//!
//! Each is counted once, however often lists show it, and its place in the list is read again: soon at first, then less
//! often. It is forgotten when its place no longer shows it; a list that still holds it elsewhere brings it back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    database::Database,
    domain::{Kind, TenantId},
};

/// Frames of a tenant and kind that are remembered; further ones are counted by their sweep alone.
const REMEMBERED: i64 = 10_000;
/// Before the place of a frame is first read again.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// What identifies a list: its places hold other items when one of these differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Start of its window in update dates; open-ended when none.
    pub since: Option<DateTime<Utc>>,
    /// End of the window, not included; open-ended when none.
    pub until: Option<DateTime<Utc>>,
    /// A further filter; empty for none.
    pub also: String,
}

/// A frame that a list has shown.
#[derive(Debug, Clone)]
pub struct Seen {
    /// SHA-256 of the frame, or of its place where it was not served.
    pub digest: [u8; 32],
    /// Whether a key was found in it.
    pub named: bool,
    /// Whether it was served at all; otherwise Cegid answers with an error in its place.
    pub served: bool,
    /// What was wrong; no personal data.
    pub cause: String,
    /// Items of the list before it.
    pub place: i32,
}

/// Remembers what a page of a list could not show. Gives how many of these were not known.
///
/// # Errors
/// When the database cannot be used.
pub async fn remember(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
    list: &List,
    seen: &[Seen],
) -> sqlx::Result<u64> {
    if seen.is_empty() {
        return Ok(0);
    }
    let digests: Vec<&[u8]> = seen.iter().map(|seen| &seen.digest[..]).collect();
    let named: Vec<bool> = seen.iter().map(|seen| seen.named).collect();
    let served: Vec<bool> = seen.iter().map(|seen| seen.served).collect();
    let causes: Vec<String> = seen.iter().map(|seen| seen.cause.replace('\0', "")).collect();
    let places: Vec<i32> = seen.iter().map(|seen| seen.place).collect();
    let new = sqlx::query_scalar!(
        r#"with room as (
             select greatest(0, $12 - count(*)) as free from unreadable where tenant = $1 and kind = $2
           ), seen as (
             select distinct on (digest) digest, named, served, cause, place
             from unnest($4::bytea[], $5::boolean[], $13::boolean[], $6::text[], $7::integer[])
                  as u (digest, named, served, cause, place)
             order by digest
           ), known as (
             update unreadable u set last_at = $3, place = seen.place, since = $8, until = $9, also = $10
             from seen where u.tenant = $1 and u.kind = $2 and u.digest = seen.digest
             returning u.digest
           ), added as (
             insert into unreadable (tenant, kind, digest, named, served, cause, since, until, also, place, first_at,
                                     last_at, due_at)
             select $1, $2, digest, named, served, cause, $8, $9, $10, place, $3, $3, $11 from seen
             where digest not in (select digest from known)
             order by digest limit (select free from room)
             on conflict do nothing
           )
           select (select count(*) from seen) - (select count(*) from known) as "new!""#,
        tenant.as_str(),
        kind.as_str(),
        now,
        &digests as _,
        &named,
        &causes,
        &places,
        list.since,
        list.until,
        list.also,
        now + FIRST_LOOK,
        REMEMBERED,
        &served,
    )
    .fetch_one(tx)
    .await?;
    Ok(new.unsigned_abs())
}

/// A place that is to be read again.
#[derive(Debug, Clone)]
pub struct Place {
    /// The list.
    pub list: List,
    /// Items of the list before it.
    pub place: i32,
    /// Whether it was served at all.
    pub served: bool,
    /// How often it was read again.
    pub looks: u32,
}

/// The place that has been due for the longest time.
///
/// # Errors
/// When the database cannot be read.
pub async fn next_due(
    database: &Database,
    tenant: &TenantId,
    kind: Kind,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Place>> {
    sqlx::query!(
        "select since, until, also, place, served, looks from unreadable
         where tenant = $1 and kind = $2 and due_at <= $3 order by due_at limit 1",
        tenant.as_str(),
        kind.as_str(),
        now
    )
    .map(|row| Place {
        list: List { since: row.since, until: row.until, also: row.also },
        place: row.place,
        served: row.served,
        looks: row.looks.unsigned_abs(),
    })
    .fetch_optional(database.pool())
    .await
}

/// Places of a list that were read again.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// The list.
    pub list: &'a List,
    /// The first place.
    pub from: i32,
    /// Behind the last place.
    pub to: i32,
    /// When those that are still unreadable are read again.
    pub due_at: DateTime<Utc>,
}

/// Notes that these places were read again: what they still showed is due later, everything else is forgotten. Gives
/// how many were forgotten.
///
/// # Errors
/// When the database cannot be used.
pub async fn looked(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    look: &Look<'_>,
    still: &[Seen],
) -> sqlx::Result<u64> {
    let digests: Vec<&[u8]> = still.iter().map(|seen| &seen.digest[..]).collect();
    sqlx::query!(
        "update unreadable set looks = looks + 1, due_at = $4
         where tenant = $1 and kind = $2 and digest = any($3)",
        tenant.as_str(),
        kind.as_str(),
        &digests as _,
        look.due_at
    )
    .execute(&mut *tx)
    .await?;
    let gone = sqlx::query!(
        "delete from unreadable
         where tenant = $1 and kind = $2 and since is not distinct from $3 and until is not distinct from $4 and also = $5
           and place >= $6 and place < $7 and digest <> all($8)",
        tenant.as_str(),
        kind.as_str(),
        look.list.since,
        look.list.until,
        look.list.also,
        look.from,
        look.to,
        &digests as _
    )
    .execute(tx)
    .await?;
    Ok(gone.rows_affected())
}

/// Puts off the places of a list that could not be read again.
///
/// # Errors
/// When the database cannot be used.
pub async fn put_off(database: &Database, tenant: &TenantId, kind: Kind, look: &Look<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "update unreadable set looks = looks + 1, due_at = $8
         where tenant = $1 and kind = $2 and since is not distinct from $3 and until is not distinct from $4 and also = $5
           and place >= $6 and place < $7",
        tenant.as_str(),
        kind.as_str(),
        look.list.since,
        look.list.until,
        look.list.also,
        look.from,
        look.to,
        look.due_at
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Unreadable frames of one cause, for the operators.
#[derive(Debug, Clone, Serialize)]
pub struct Unreadable {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// `vacancy` or `candidate`.
    pub kind: String,
    /// What was wrong.
    pub cause: String,
    /// How many.
    pub count: i64,
    /// How many of these have no readable key.
    pub unnamed: i64,
    /// When the first of them was seen.
    pub since: DateTime<Utc>,
    /// When the next of their places is read again.
    pub due_at: DateTime<Utc>,
}

/// What is remembered, by tenant, kind and cause.
///
/// # Errors
/// When the database cannot be read.
pub async fn counts(database: &Database) -> sqlx::Result<Vec<Unreadable>> {
    sqlx::query_as!(
        Unreadable,
        r#"select tenant, kind, cause, count(*) as "count!", count(*) filter (where not named) as "unnamed!",
             min(first_at) as "since!", min(due_at) as "due_at!"
           from unreadable group by tenant, kind, cause order by tenant, kind, cause"#
    )
    .fetch_all(database.pool())
    .await
}
