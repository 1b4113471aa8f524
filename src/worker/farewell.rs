//! Takes leave of a tenant that was disconnected: its hooks are unregistered, and after the grace everything that is
//! held of it is deleted.
//!
//! It runs under the lease, like the worker whose place it takes, so nobody else works the tenant meanwhile. Hooks that
//! Cegid does not let go of do not hold up the deletion.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{error, info, warn};

use super::{AGAIN, Shared, orders::Orders, pace::Pace};
use crate::{
    cegid::{CallError, Class, Client, Stage},
    domain::TenantId,
    hooks,
    lifecycle::Stop,
    purge::purge,
    settings::Tenant,
    tenancy::Lease,
    tenants::{self, State},
};

/// Time for unregistering the hooks, however late it begins.
const UNHOOK_PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// A tenant that was disconnected, as it is when its leave begins.
pub struct Farewell {
    /// What all tenants share.
    pub shared: Shared,
    /// Its section of the settings, with the credentials; none when that was taken out already.
    pub settings: Option<Arc<Tenant>>,
    /// What is left to do.
    pub state: State,
}

impl Farewell {
    /// Does what is left to do now, until the stop.
    pub async fn run(self, lease: &Lease, stop: &Stop) {
        tokio::select! {
            () = self.leave(lease, stop) => {}
            () = stop.aborting() => {}
        }
    }

    async fn leave(&self, lease: &Lease, stop: &Stop) {
        let tenant = lease.tenant();
        let purge_after = self.state.purge_after.unwrap_or_default();
        if self.state.unhooked_at.is_none() {
            // A grace that ended while nobody worked the tenant is not the end of its hooks.
            let patience = match self.settings {
                Some(_) => purge_after.max(self.now() + UNHOOK_PATIENCE),
                None => purge_after,
            };
            let unhooked = tokio::select! {
                unhooked = self.unhook(tenant) => unhooked,
                () = self.shared.clock.sleep_until(patience) => {
                    warn!(%tenant, "hooks of the disconnected tenant stay registered at Cegid");
                    Ok(())
                }
                () = stop.draining() => return,
            };
            if let Err(error) = unhooked {
                return self.failed(tenant, "unregistering the hooks of the disconnected tenant", &error).await;
            }
        }
        if purge_after <= self.now()
            && !stop.asked()
            && let Err(error) = self.purge(lease).await
        {
            self.failed(tenant, "deleting what is held of the disconnected tenant", &error).await;
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// The fleet begins again.
    async fn failed(&self, tenant: &TenantId, doing: &'static str, error: &sqlx::Error) {
        self.shared.failures.failed(Some(tenant), doing, "trying again", &crate::database::told(error));
        tokio::time::sleep(AGAIN).await;
    }

    /// Unregisters what the register holds, one by one.
    async fn unhook(&self, tenant: &TenantId) -> sqlx::Result<()> {
        let database = &self.shared.database;
        let Some(settings) = &self.settings else {
            error!(%tenant, "the disconnected tenant has no section in the settings: its hooks cannot be unregistered");
            // The grace is waited for: the section may come back.
            return std::future::pending().await;
        };
        let client = self.shared.client(tenant, settings);
        let orders = Orders::new(tenant.clone(), self.shared.states.clone());
        let pace = Pace::new(tenant.clone(), self.shared.clock.clone(), 1).limited(settings.calls_per_minute, orders);
        let mut left = VecDeque::from(hooks::of_tenant(database, tenant).await?);
        // One that fails does not keep the others waiting for long.
        while let Some(hook) = left.pop_front() {
            match hook.hook_id.as_deref().filter(|id| !id.is_empty()) {
                Some(id) if !unregister(&client, &pace, id).await => left.push_back(hook),
                _ => hooks::forget(database, hook.id).await?,
            }
        }
        tenants::unhooked(database, tenant, self.now()).await?;
        info!(%tenant, "the hooks of the disconnected tenant are unregistered");
        Ok(())
    }

    async fn purge(&self, lease: &Lease) -> sqlx::Result<()> {
        let (database, tenant) = (&self.shared.database, lease.tenant());
        let Some(rows) = purge(database, lease).await? else { return Ok(()) };
        tenants::purged(database, tenant, self.now()).await?;
        lease.forget(database).await?;
        info!(%tenant, rows, "everything that was held of the disconnected tenant is deleted");
        Ok(())
    }
}

/// Whether Cegid has let go of the hook, or does not know it.
async fn unregister(client: &Client, pace: &Pace, id: &str) -> bool {
    let _leave = pace.ready(Stage::Webhooks).await;
    match client.delete_hook(id).await {
        Ok(_) => pace.succeeded(Stage::Webhooks),
        Err(error) => {
            // What Cegid does not understand is not asked again any faster.
            let class = if error.class == Class::Query { Class::Unexpected } else { error.class };
            pace.failed(Stage::Webhooks, &CallError { class, ..error });
            return false;
        }
    }
    true
}
