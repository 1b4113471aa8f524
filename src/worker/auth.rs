//! Keeps in the tenant's state whether Cegid accepts the credentials, for operators to see.

use std::sync::Arc;

use super::{Context, pace::Auth};
use crate::tenants;

/// Writes what the pace has found, whenever it changes, until the worker drains. Until it has found something, what the
/// worker before has written stands.
pub(super) async fn run(context: Arc<Context>) {
    let mut auth = context.pace.auth();
    while !context.stop.asked() {
        let found = auth.borrow_and_update().clone();
        let (database, tenant, now) = (context.database(), &context.tenant, context.now());
        let written = match found {
            Auth::Unknown => Ok(()),
            Auth::Accepted => tenants::auth_accepted(database, tenant).await,
            Auth::Refused(says) => tenants::auth_refused(database, tenant, &says, now).await,
        };
        if let Err(error) = written {
            context.after_failure("noting whether Cegid accepts the credentials", &error).await;
            auth.mark_changed();
        }
        tokio::select! {
            // The pace ends with the context.
            _ = auth.changed() => {}
            () = context.stop.draining() => {}
        }
    }
}
