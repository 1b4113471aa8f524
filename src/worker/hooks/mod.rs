//! Makes the registrations at Cegid what the settings and the operators want, and looks again for as long as it runs.
//!
//! Receiving and everything else go on meanwhile. A step that fails does not keep the others waiting: it is taken again
//! after them, at the stage's pace. An event that the tenant refuses is recorded with the reason, and tried again every
//! hour. `registrar` takes the steps, one at a time, and so do the commands; `repair` decides when hooks seem lost.

mod registrar;
mod repair;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::{info, warn};
use uuid::Uuid;

pub use registrar::{Progress, Registrar};

use super::Context;
use crate::{
    cegid::Stage,
    domain::TenantId,
    hooks::{self, Wanted, Wish},
    intake::hook_urls,
    settings::Settings,
};

/// Between two looks at the register.
const LOOK: Duration = Duration::from_secs(300);
/// Between two looks whether another still deals with the hooks.
const BUSY: Duration = Duration::from_secs(2);
/// Between two rounds of what failed, at least.
const ROUND: Duration = Duration::from_secs(1);

/// What the settings want of a tenant's hooks; none when there is no such tenant.
pub fn wanted(settings: &Settings, tenant: &TenantId) -> Option<Wanted> {
    // Settings with tenants have it.
    let (callback_url, ping_url) = hook_urls(settings.public_url.as_ref()?, tenant);
    let events = settings.tenants.get(tenant)?.events.iter().cloned().collect();
    Some(Wanted { callback_url, ping_url, events })
}

pub(super) async fn run(context: Arc<Context>) {
    let Some(wanted) = wanted(&context.shared.settings, &context.tenant) else {
        // The stage stays until the worker ends.
        return context.stop.draining().await;
    };
    let registrar = Registrar {
        database: context.database().clone(),
        clock: context.shared.clock.clone(),
        tenant: context.tenant.clone(),
        client: context.client.clone(),
        wanted,
        holder: Uuid::nil(),
        stop: context.stop.clone(),
        refusals: Mutex::default(),
    };
    let mut said = false;
    while !context.stop.asked() {
        let looked = async {
            if !std::mem::replace(&mut said, true) {
                say_what_is_withdrawn(&context).await?;
            }
            repair::if_silent(&context, &registrar.wanted).await?;
            converge(&context, &registrar).await
        };
        if context.or_wait("looking after the hooks", looked.await).await.is_some() {
            context.wrote();
            context.pause(LOOK).await;
        }
    }
}

/// Nobody should have to guess why nothing comes.
async fn say_what_is_withdrawn(context: &Context) -> sqlx::Result<()> {
    let Wish { withdrawn_at, withdrawn_events } = hooks::wish(context.database(), &context.tenant).await?;
    if withdrawn_at.is_some() || !withdrawn_events.is_empty() {
        let events = if withdrawn_at.is_some() { "all".to_owned() } else { withdrawn_events.join(", ") };
        warn!(
            tenant = %context.tenant, events,
            "hooks were unregistered by hand and are not registered: `cegid-indexer hooks apply` brings them back"
        );
    }
    Ok(())
}

/// Takes steps until none is due.
async fn converge(context: &Context, registrar: &Registrar) -> sqlx::Result<()> {
    let mut failed = HashSet::new();
    let (mut done, mut refused) = (0, 0);
    while let Some(_leave) = context.may_call(Stage::Webhooks).await {
        match registrar.step(&failed, |_| true).await? {
            Progress::Nothing if failed.is_empty() => break,
            Progress::Nothing => {
                failed.clear();
                context.pause(ROUND).await;
            }
            Progress::Busy => context.pause(BUSY).await,
            Progress::Done(_) => {
                context.pace.succeeded(Stage::Webhooks);
                done += 1;
            }
            Progress::Refused(..) => refused += 1,
            Progress::Failed(step, error) => {
                context.pace.failed(Stage::Webhooks, &error);
                failed.insert(step.key());
            }
        }
    }
    if done + refused > 0 {
        info!(tenant = %context.tenant, done, refused, "the hooks are as far as Cegid takes them");
    }
    Ok(())
}
