//! Table `tenant_state`: what people and Cegid have decided about a tenant. The settings define the tenants.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{database::Database, domain::TenantId};

/// What an operator can pause by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Every export: refreshes, loads, sweeps and referentials.
    Fetch,
    /// Reports.
    Report,
}

impl Work {
    /// Both.
    pub const ALL: [Work; 2] = [Work::Fetch, Work::Report];

    /// `fetch` or `report`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Work::Fetch => "fetch",
            Work::Report => "report",
        }
    }
}

/// The state of one tenant; the comments of the table's columns say what each is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the table's columns have comments")]
pub struct State {
    #[serde(skip)]
    pub tenant: String,
    pub paused_fetch_at: Option<DateTime<Utc>>,
    pub paused_report_at: Option<DateTime<Utc>>,
    pub pause_reason: Option<String>,
    pub disconnected_at: Option<DateTime<Utc>>,
    pub purge_after: Option<DateTime<Utc>>,
    pub unhooked_at: Option<DateTime<Utc>>,
    pub purged_at: Option<DateTime<Utc>>,
    pub auth_failed_since: Option<DateTime<Utc>>,
    pub auth_says: Option<String>,
}

impl State {
    /// Whether this work is paused.
    pub fn pauses(&self, work: Work) -> bool {
        match work {
            Work::Fetch => self.paused_fetch_at.is_some(),
            Work::Report => self.paused_report_at.is_some(),
        }
    }

    /// What is left to do of a disconnected tenant: its hooks to be unregistered, or everything to be deleted.
    pub fn is_to_be_left(&self, now: DateTime<Utc>) -> bool {
        self.purged_at.is_none() && (self.unhooked_at.is_none() || self.purge_after.is_some_and(|after| after <= now))
    }
}

/// The states by tenant; one without a row has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct States(BTreeMap<TenantId, State>);

impl States {
    /// The state of a tenant.
    pub fn of(&self, tenant: &TenantId) -> Option<&State> {
        self.0.get(tenant)
    }

    /// Whether callbacks of the tenant are refused and its work is over.
    pub fn is_disconnected(&self, tenant: &TenantId) -> bool {
        self.of(tenant).is_some_and(|state| state.disconnected_at.is_some())
    }

    /// Every tenant with a row.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, &State)> {
        self.0.iter()
    }
}

/// Reads them all.
///
/// # Errors
/// When the database cannot be read.
pub async fn states(database: &Database) -> sqlx::Result<States> {
    let rows = sqlx::query_as!(
        State,
        "select tenant, paused_fetch_at, paused_report_at, pause_reason, disconnected_at, purge_after, unhooked_at,
           purged_at, auth_failed_since, auth_says
         from tenant_state"
    )
    .fetch_all(database.vital())
    .await?;
    // The table takes only what was a name once.
    Ok(States(rows.into_iter().filter_map(|state| Some((state.tenant.parse().ok()?, state))).collect()))
}

/// Pauses this work from now on; what is paused already stays so since then.
///
/// # Errors
/// When the database cannot take it.
pub async fn pause(
    database: &Database,
    tenant: &TenantId,
    work: &[Work],
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into tenant_state as state (tenant, paused_fetch_at, paused_report_at, pause_reason)
         values ($1, case when $2 then $5::timestamptz end, case when $3 then $5::timestamptz end, $4)
         on conflict (tenant) do update set
           paused_fetch_at = coalesce(state.paused_fetch_at, excluded.paused_fetch_at),
           paused_report_at = coalesce(state.paused_report_at, excluded.paused_report_at),
           pause_reason = coalesce(excluded.pause_reason, state.pause_reason)",
        tenant.as_str(),
        work.contains(&Work::Fetch),
        work.contains(&Work::Report),
        reason,
        now
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// Lets this work go on.
///
/// # Errors
/// When the database cannot take it.
pub async fn resume(database: &Database, tenant: &TenantId, work: &[Work]) -> sqlx::Result<()> {
    sqlx::query!(
        "update tenant_state set
           paused_fetch_at = case when $2 then null else paused_fetch_at end,
           paused_report_at = case when $3 then null else paused_report_at end,
           pause_reason = case
             when ($2 or paused_fetch_at is null) and ($3 or paused_report_at is null) then null
             else pause_reason end
         where tenant = $1",
        tenant.as_str(),
        work.contains(&Work::Fetch),
        work.contains(&Work::Report)
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// Ends the work for a tenant; everything of it is deleted after `purge_after`. One that is disconnected already gets the
/// new date.
///
/// # Errors
/// When the database cannot take it.
pub async fn disconnect(
    database: &Database,
    tenant: &TenantId,
    now: DateTime<Utc>,
    purge_after: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into tenant_state as state (tenant, disconnected_at, purge_after) values ($1, $2, $3)
         on conflict (tenant) do update set
           disconnected_at = coalesce(state.disconnected_at, excluded.disconnected_at),
           purge_after = excluded.purge_after",
        tenant.as_str(),
        now,
        purge_after
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// Takes a disconnection back: the tenant is worked again, with what is left of it.
///
/// # Errors
/// When the database cannot take it.
pub async fn connect(database: &Database, tenant: &TenantId) -> sqlx::Result<()> {
    sqlx::query!(
        "update tenant_state set disconnected_at = null, purge_after = null, unhooked_at = null, purged_at = null
         where tenant = $1",
        tenant.as_str()
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// The last hook of a disconnected tenant is unregistered.
///
/// # Errors
/// When the database cannot take it.
pub async fn unhooked(database: &Database, tenant: &TenantId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "update tenant_state set unhooked_at = $2 where tenant = $1 and disconnected_at is not null",
        tenant.as_str(),
        now
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// Everything of a disconnected tenant is deleted.
///
/// # Errors
/// When the database cannot take it.
pub async fn purged(database: &Database, tenant: &TenantId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "update tenant_state set purged_at = $2, paused_fetch_at = null, paused_report_at = null, pause_reason = null,
           auth_failed_since = null, auth_says = null
         where tenant = $1 and disconnected_at is not null",
        tenant.as_str(),
        now
    )
    .execute(database.vital())
    .await?;
    Ok(())
}

/// Cegid refuses the credentials: since now, unless that is known already.
///
/// # Errors
/// When the database cannot take it.
pub async fn auth_refused(database: &Database, tenant: &TenantId, says: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into tenant_state as state (tenant, auth_failed_since, auth_says) values ($1, $2, $3)
         on conflict (tenant) do update set
           auth_failed_since = coalesce(state.auth_failed_since, excluded.auth_failed_since),
           auth_says = excluded.auth_says",
        tenant.as_str(),
        now,
        says
    )
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Cegid accepts the credentials.
///
/// # Errors
/// When the database cannot take it.
pub async fn auth_accepted(database: &Database, tenant: &TenantId) -> sqlx::Result<()> {
    sqlx::query!(
        "update tenant_state set auth_failed_since = null, auth_says = null
         where tenant = $1 and auth_failed_since is not null",
        tenant.as_str()
    )
    .execute(database.pool())
    .await?;
    Ok(())
}
