//! Table `hook`: our registrations. No list can be had from Cegid, so this table is the register.

use chrono::{DateTime, Utc};

use crate::{database::Database, domain::TenantId};

/// One event's registration.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Name of the tenant in the settings.
    pub tenant: String,
    /// The event.
    pub event: String,
    /// Cegid's id of it; none when the event was refused.
    pub hook_id: Option<String>,
    /// The address that was registered.
    pub callback_url: String,
    /// What Cegid said when it refused the event.
    pub refused: Option<String>,
}

/// The registrations of a tenant.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_tenant(database: &Database, tenant: &TenantId) -> sqlx::Result<Vec<Hook>> {
    sqlx::query_as!(
        Hook,
        "select tenant, event, hook_id, callback_url, refused from hook where tenant = $1 order by event",
        tenant.as_str()
    )
    .fetch_all(database.pool())
    .await
}

/// Cegid has registered the event.
///
/// # Errors
/// When the database cannot take it: the registration then stays at Cegid as a duplicate, which is tolerated.
pub async fn registered(
    database: &Database,
    tenant: &TenantId,
    event: &str,
    hook_id: &str,
    (callback_url, ping_url): (&str, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into hook (tenant, event, hook_id, callback_url, ping_url, registered_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant, event) do update set hook_id = excluded.hook_id, callback_url = excluded.callback_url,
           ping_url = excluded.ping_url, registered_at = excluded.registered_at, refused = null, refused_at = null",
        tenant.as_str(),
        event,
        hook_id,
        callback_url,
        ping_url,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Cegid has refused the event; what was registered before stays in the register.
///
/// # Errors
/// When the database cannot take it.
pub async fn refused(
    database: &Database,
    tenant: &TenantId,
    event: &str,
    says: &str,
    (callback_url, ping_url): (&str, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into hook (tenant, event, callback_url, ping_url, refused, refused_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant, event) do update set refused = excluded.refused, refused_at = excluded.refused_at",
        tenant.as_str(),
        event,
        callback_url,
        ping_url,
        says,
        now
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// The event's registration is gone at Cegid, or is not ours to keep.
///
/// # Errors
/// When the database cannot take it: it is then unregistered again, which is harmless.
pub async fn forget(database: &Database, tenant: &TenantId, event: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from hook where tenant = $1 and event = $2", tenant.as_str(), event)
        .execute(database.pool())
        .await?;
    Ok(())
}
