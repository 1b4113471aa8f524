//! Deletes the attachments that the tenant's settings no longer ask for, once per start of its worker.

use std::sync::Arc;

use tracing::info;

use super::Context;
use crate::{
    index::attachments::{self, Wanted},
    settings::Attachments,
    tenancy::fence,
};

pub(super) async fn run(context: Arc<Context>) {
    let settings = &context.settings;
    let types: Vec<String> = settings.attachment_types.iter().map(|name| crate::domain::essence(name)).collect();
    let wanted = match settings.attachments {
        Attachments::None => Wanted { limit: 0, types: &[] },
        Attachments::Resumes => Wanted { limit: settings.attachment_limit, types: &types },
    };
    let mut gone = 0;
    while !context.stop.asked() {
        match context.or_wait("deleting attachments that are no longer wanted", few(&context, wanted).await).await {
            Some(Some(0)) => break,
            Some(Some(deleted)) => gone += deleted,
            // Another replica works the tenant now: this worker is about to be ended.
            Some(None) => return context.stop.draining().await,
            None => {}
        }
    }
    if gone > 0 {
        info!(tenant = %context.tenant, attachments = gone, "attachments that the settings no longer ask for are deleted");
    }
    // The stage stays until the worker ends.
    context.stop.draining().await;
}

/// Some of them, in a short transaction; none when the lease is another's.
async fn few(context: &Context, wanted: Wanted<'_>) -> sqlx::Result<Option<u64>> {
    let deleting = async {
        let Some(mut tx) = fence(context.database(), &context.lease).await? else { return Ok(None) };
        let deleted = attachments::purge(&mut tx, &context.tenant, wanted).await?;
        tx.commit().await?;
        Ok(Some(deleted))
    };
    context.database().in_time(deleting).await
}
