//! Keeps in the tenant's state whether Cegid accepts the credentials, for operators to see.

use std::sync::Arc;

use super::Context;
use crate::tenants;

/// Writes what the pace has found, whenever it changes, until the worker drains.
pub(super) async fn run(context: Arc<Context>) {
    let mut refused = context.pace.refused();
    // What the worker before has left may have been mended meanwhile; it is well until it is refused.
    let mut written = None;
    loop {
        let says = refused.borrow_and_update().clone();
        if written.as_ref() != Some(&says) {
            match tenants::auth(context.database(), &context.tenant, says.as_deref(), context.now()).await {
                Ok(()) => written = Some(says),
                Err(error) => {
                    context.after_failure("noting whether Cegid accepts the credentials", &error).await;
                    if context.stop.asked() {
                        return;
                    }
                    continue;
                }
            }
        }
        tokio::select! {
            changed = refused.changed() => if changed.is_err() { return context.stop.draining().await },
            () = context.stop.draining() => return,
        }
    }
}
