//! Table `hook`: our registrations. No list can be had from Cegid, so this table is the register.
//!
//! Wanted: a registration that Cegid was asked for is never forgotten, but for one whose answer was lost, and then it is
//! known that there may be one; nothing is deleted at Cegid that is not in this table; an event is never without a
//! registration because its address changes.
//!
//! A row is one registration. It is written as *intended* before Cegid is called, and is *registered* once Cegid's id of
//! it is written. In the same statement the event's older ones are *leaving*: they are deleted at Cegid, and only then
//! forgotten. A *refused* one waits for its next attempt. `hooks/plan.rs` compares the rows with what is wanted,
//! `hooks/tenants.rs` holds table `hook_tenant`, and `worker/hooks/` does what the plan says.

mod plan;
mod tenants;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use plan::{Step, Wanted, plan};
pub use tenants::{Heard, Wish, claim, heard, lift, note_heard, release, wish, withdraw};

use crate::{database::Database, domain::TenantId};

/// How far a registration is; the module says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the module documents the states")]
pub enum State {
    Intended,
    Registered,
    Leaving,
    Refused,
}

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Which row.
    pub id: i64,
    /// The event.
    pub event: String,
    /// How far it is.
    pub state: State,
    /// Cegid's id of it, once registered; empty when Cegid named none.
    pub hook_id: Option<String>,
    /// Where callbacks go.
    pub callback_url: String,
    /// Where pings go.
    pub ping_url: String,
    /// When Cegid answered with the id.
    pub registered_at: Option<DateTime<Utc>>,
    /// Since when Cegid may hold a registration of it that nobody knows the id of.
    pub unanswered_at: Option<DateTime<Utc>>,
    /// Since when it is to be deleted.
    pub leaving_at: Option<DateTime<Utc>>,
    /// When Cegid last refused it.
    pub refused_at: Option<DateTime<Utc>>,
    /// What Cegid said then.
    pub refused: Option<String>,
}

/// What Cegid is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The event.
    pub event: String,
    /// Where callbacks go.
    pub callback_url: String,
    /// Where pings go.
    pub ping_url: String,
    /// Since when an earlier call for it is unanswered.
    pub unanswered_at: Option<DateTime<Utc>>,
}

/// The registrations of a tenant.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_tenant(database: &Database, tenant: &TenantId) -> sqlx::Result<Vec<Hook>> {
    sqlx::query_as!(
        Hook,
        r#"select id, event, state as "state: State", hook_id, callback_url, ping_url, registered_at, unanswered_at,
             leaving_at, refused_at, refused
           from hook where tenant = $1 order by event, id"#,
        tenant.as_str()
    )
    .fetch_all(database.pool())
    .await
}

/// Cegid is about to be asked: from here on there may be a registration that is not known. Gives the row.
///
/// # Errors
/// When the database cannot take it: Cegid must not be asked then.
pub async fn intend(
    database: &Database,
    tenant: &TenantId,
    asked: &Registration,
    now: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "insert into hook (tenant, event, callback_url, ping_url, state, unanswered_at)
         values ($1, $2, $3, $4, 'intended', $5)
         on conflict (tenant, event, callback_url, ping_url) where state <> 'leaving' do update
           set state = 'intended', unanswered_at = coalesce(hook.unanswered_at, excluded.unanswered_at),
             refused = null, refused_at = null
           where hook.state in ('intended', 'refused')
         returning id",
        tenant.as_str(),
        asked.event,
        asked.callback_url,
        asked.ping_url,
        now
    )
    .fetch_one(database.pool())
    .await
}

/// Cegid has registered it. The event's other registrations are leaving. If the row was answered or taken away
/// meanwhile, this registration is in excess, and leaving itself.
///
/// # Errors
/// When the database cannot take it.
pub async fn registered(
    database: &Database,
    tenant: &TenantId,
    (row, asked): (i64, &Registration),
    hook_id: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with taken as (
           update hook set state = 'registered', hook_id = $3, registered_at = $4, unanswered_at = $5
           where id = $2 and state = 'intended'
           returning id
         ), others as (
           update hook set state = 'leaving', leaving_at = $4
           from taken where hook.tenant = $1 and hook.event = $6 and hook.state = 'registered' and hook.id <> taken.id
         )
         insert into hook (tenant, event, callback_url, ping_url, state, hook_id, registered_at, leaving_at)
         select $1, $6, $7, $8, 'leaving', $3, $4, $4
         where $3 <> '' and not exists (select from taken)
           and not exists (select from hook where tenant = $1 and hook_id = $3)",
        tenant.as_str(),
        row,
        hook_id,
        now,
        asked.unanswered_at,
        asked.event,
        asked.callback_url,
        asked.ping_url,
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Cegid has not registered it, for certain: it was not reached, or refused the call for another reason than the event.
///
/// # Errors
/// When the database cannot take it.
pub async fn unregistered(database: &Database, row: i64, asked: &Registration) -> sqlx::Result<()> {
    sqlx::query!("update hook set unanswered_at = $2 where id = $1 and state = 'intended'", row, asked.unanswered_at)
        .execute(database.pool())
        .await?;
    Ok(())
}

/// Cegid does not take the event; what was registered before stays in the register.
///
/// # Errors
/// When the database cannot take it.
pub async fn refused(
    database: &Database,
    (row, asked): (i64, &Registration),
    says: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update hook set state = 'refused', unanswered_at = $2, refused = $3, refused_at = $4
         where id = $1 and state = 'intended'",
        row,
        asked.unanswered_at,
        says,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Cegid is asked again about what it has refused, without waiting until it is time.
///
/// # Errors
/// When the database cannot take it.
pub async fn ask_again(database: &Database, tenant: &TenantId) -> sqlx::Result<()> {
    sqlx::query!(
        "update hook set state = case state when 'refused' then 'intended' else state end, refused = null, refused_at = null
         where tenant = $1 and state in ('refused', 'leaving')",
        tenant.as_str()
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// It is in excess: to be deleted at Cegid.
///
/// # Errors
/// When the database cannot take it: Cegid must not be asked then.
pub async fn leave(database: &Database, row: i64, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("update hook set state = 'leaving', leaving_at = $2 where id = $1 and state = 'registered'", row, now)
        .execute(database.pool())
        .await?;
    Ok(())
}

/// Cegid does not delete it.
///
/// # Errors
/// When the database cannot take it.
pub async fn kept(database: &Database, row: i64, says: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("update hook set refused = $2, refused_at = $3 where id = $1 and state = 'leaving'", row, says, now)
        .execute(database.pool())
        .await?;
    Ok(())
}

/// It is gone at Cegid, or was never there.
///
/// # Errors
/// When the database cannot take it.
pub async fn forget(database: &Database, row: i64) -> sqlx::Result<()> {
    sqlx::query!("delete from hook where id = $1", row).execute(database.pool()).await?;
    Ok(())
}

/// The tenant's hooks seem lost: all that are registered are leaving, so that they are registered again. Nothing happens
/// when that was done since `not_since`. Gives how many they are.
///
/// # Errors
/// When the database cannot take it.
pub async fn suspect(
    database: &Database,
    tenant: &TenantId,
    not_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let leaving = sqlx::query!(
        "with due as (
           update hook_tenant set repaired_at = $3
           where tenant = $1 and (repaired_at is null or repaired_at <= $2)
           returning tenant
         )
         update hook set state = 'leaving', leaving_at = $3
         from due where hook.tenant = due.tenant and hook.state = 'registered'",
        tenant.as_str(),
        not_since,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(leaving.rows_affected())
}

/// Registered and refused ones by tenant; zeros for a tenant that has none any more.
///
/// # Errors
/// When the database cannot be read.
pub async fn counts(database: &Database) -> sqlx::Result<Vec<(String, i64, i64)>> {
    let rows = sqlx::query!(
        r#"select tenant as "tenant!",
             count(*) filter (where state = 'registered') as "registered!",
             count(*) filter (where state = 'refused') as "refused!"
           from hook_tenant left join hook using (tenant) group by tenant"#
    )
    .fetch_all(database.pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.registered, row.refused)).collect())
}
