//! Table `hook_tenant`: what is wanted of the hooks of a tenant beyond the settings, and who deals with them now.
//!
//! The service and a command may both deal with the hooks of a tenant. Each claims the tenant for one step, which is
//! one call to Cegid, decides under the claim what that step is, and gives the claim back: so neither registers what the
//! other is registering. Which replica is the service is decided by the tenant's lease, so all replicas claim as one,
//! and a worker that takes over goes on at once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{database::Database, domain::TenantId};

/// What operators want otherwise than the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Since when no hook of the tenant is wanted.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// Events that are not wanted.
    pub withdrawn_events: Vec<String>,
}

/// What was heard of a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// When its newest event was received.
    pub heard_at: Option<DateTime<Utc>>,
    /// Up to when deliveries were looked at for it.
    pub heard_until: Option<DateTime<Utc>>,
    /// When the hooks were last repaired.
    pub repaired_at: Option<DateTime<Utc>>,
}

/// Takes the tenant's hooks for one step, and gives what is wished of them; none when another deals with them.
///
/// # Errors
/// When the database cannot be used.
pub async fn claim(
    database: &Database,
    tenant: &TenantId,
    holder: Uuid,
    now: DateTime<Utc>,
    length: Duration,
) -> sqlx::Result<Option<Wish>> {
    sqlx::query_as!(
        Wish,
        "insert into hook_tenant as claim (tenant, claimed_by, claimed_until) values ($1, $2, $3)
         on conflict (tenant) do update set claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
           where claim.claimed_by is null or claim.claimed_by = excluded.claimed_by or claim.claimed_until <= $4
         returning withdrawn_at, withdrawn_events",
        tenant.as_str(),
        holder,
        now + length,
        now
    )
    .fetch_optional(database.pool())
    .await
}

/// Gives the tenant's hooks back.
///
/// # Errors
/// When the database cannot be used; the claim then runs out by itself.
pub async fn release(database: &Database, tenant: &TenantId, holder: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update hook_tenant set claimed_by = null, claimed_until = null where tenant = $1 and claimed_by = $2",
        tenant.as_str(),
        holder
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// What is wished of the tenant's hooks.
///
/// # Errors
/// When the database cannot be read.
pub async fn wish(database: &Database, tenant: &TenantId) -> sqlx::Result<Wish> {
    let wish = sqlx::query_as!(
        Wish,
        "select withdrawn_at, withdrawn_events from hook_tenant where tenant = $1",
        tenant.as_str()
    )
    .fetch_optional(database.pool())
    .await?;
    Ok(wish.unwrap_or_default())
}

/// From now on none of the tenant's hooks is wanted, or none of one event.
///
/// # Errors
/// When the database cannot take it.
pub async fn withdraw(
    database: &Database,
    tenant: &TenantId,
    event: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into hook_tenant as wish (tenant, withdrawn_at, withdrawn_events)
         values ($1, case when $2::text is null then $3::timestamptz end, array_remove(array[$2], null))
         on conflict (tenant) do update set
           withdrawn_at = coalesce(wish.withdrawn_at, excluded.withdrawn_at),
           withdrawn_events = array_remove(wish.withdrawn_events, $2) || excluded.withdrawn_events",
        tenant.as_str(),
        event,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// From now on the tenant's hooks are wanted as the settings say.
///
/// # Errors
/// When the database cannot take it.
pub async fn lift(database: &Database, tenant: &TenantId) -> sqlx::Result<()> {
    sqlx::query!(
        "update hook_tenant set withdrawn_at = null, withdrawn_events = '{}' where tenant = $1",
        tenant.as_str()
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// What was heard of the tenant, as far as was looked.
///
/// # Errors
/// When the database cannot be read.
pub async fn heard(database: &Database, tenant: &TenantId) -> sqlx::Result<Heard> {
    let heard = sqlx::query_as!(
        Heard,
        "select heard_at, heard_until, repaired_at from hook_tenant where tenant = $1",
        tenant.as_str()
    )
    .fetch_optional(database.pool())
    .await?;
    Ok(heard.unwrap_or_default())
}

/// Deliveries were looked at up to then, and the newest event among them was received at `newest`.
///
/// # Errors
/// When the database cannot take it.
pub async fn note_heard(
    database: &Database,
    tenant: &TenantId,
    newest: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into hook_tenant as heard (tenant, heard_at, heard_until) values ($1, $2, $3)
         on conflict (tenant) do update set
           heard_at = greatest(heard.heard_at, excluded.heard_at),
           heard_until = greatest(heard.heard_until, excluded.heard_until)",
        tenant.as_str(),
        newest,
        until
    )
    .execute(database.pool())
    .await?;
    Ok(())
}
