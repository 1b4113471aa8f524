//! What operators have told the worker of a tenant: which work is paused.

use std::sync::Arc;

use tokio::sync::watch;

use super::pace::Lane;
use crate::{
    cegid::Stage,
    domain::TenantId,
    tenants::{States, Work},
};

/// The orders for one tenant, as they are now.
#[derive(Debug, Clone)]
pub struct Orders {
    tenant: TenantId,
    states: watch::Receiver<Arc<States>>,
}

impl Orders {
    /// Those for this tenant.
    pub fn new(tenant: TenantId, states: watch::Receiver<Arc<States>>) -> Orders {
        Orders { tenant, states }
    }

    /// Whether the lane is paused. Hooks are never: a paused tenant still receives.
    pub fn pause(&self, lane: Lane) -> bool {
        pauses(&self.states.borrow(), &self.tenant, lane)
    }

    /// Waits while the lane is paused.
    pub async fn allow(&self, lane: Lane) {
        let mut states = self.states.clone();
        // The sender ends with the process only.
        let _ended = states.wait_for(|states| !pauses(states, &self.tenant, lane)).await;
    }
}

fn pauses(states: &States, tenant: &TenantId, lane: Lane) -> bool {
    let work = match lane {
        Lane::Stage(Stage::Token | Stage::Webhooks) => return false,
        Lane::Stage(Stage::Reports) => Work::Report,
        _ => Work::Fetch,
    };
    states.of(tenant).is_some_and(|state| state.pauses(work))
}
