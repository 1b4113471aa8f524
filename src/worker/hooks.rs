//! Registers a webhook for every wanted event that the register does not hold.
//!
//! Receiving and everything else go on meanwhile. An event that the tenant refuses is recorded with the reason, does not
//! stop the others, and is tried again at the next start.

use std::sync::Arc;

use tracing::{info, warn};

use super::Context;
use crate::{
    cegid::{Class, Stage},
    hooks::{self, Hook},
    intake::hook_urls,
};

pub(super) async fn run(context: Arc<Context>) {
    // Settings with tenants have it.
    if let Some(public_url) = &context.shared.settings.public_url {
        let (callback_url, ping_url) = hook_urls(public_url, &context.tenant);
        register(&context, &callback_url, &ping_url).await;
    }
    // The stage stays until the worker ends.
    context.stop.draining().await;
}

async fn register(context: &Context, callback_url: &str, ping_url: &str) {
    let mut refused_now: Vec<&str> = Vec::new();
    while !context.stop.asked() {
        let register = match hooks::of_tenant(context.database(), &context.tenant).await {
            Ok(register) => register,
            Err(error) => {
                context.after_failure("reading the register of hooks", &error).await;
                continue;
            }
        };
        let held = |event: &str| {
            register.iter().any(|Hook { event: held, hook_id, callback_url: url, .. }| {
                held == event && hook_id.is_some() && url == callback_url
            })
        };
        let missing = context.settings.events.iter().map(String::as_str);
        let Some(event) = missing.into_iter().find(|event| !held(event) && !refused_now.contains(event)) else {
            info!(
                tenant = %context.tenant, registered = context.settings.events.len() - refused_now.len(),
                refused = refused_now.len(), "hooks are registered"
            );
            return;
        };
        if refuse_or_register(context, event, callback_url, ping_url).await {
            refused_now.push(event);
        }
    }
}

/// One attempt; true when the tenant refuses the event.
async fn refuse_or_register(context: &Context, event: &str, callback_url: &str, ping_url: &str) -> bool {
    if !context.may_call(Stage::Webhooks).await {
        return false;
    }
    let urls = (callback_url, ping_url);
    let (noted, refused) = match context.client.register_hook(event, callback_url, ping_url).await {
        Ok(hook_id) => {
            context.pace.succeeded(Stage::Webhooks);
            info!(tenant = %context.tenant, event, "hook registered");
            let database = context.database();
            (hooks::registered(database, &context.tenant, event, &hook_id, urls, context.now()).await, false)
        }
        Err(error) if error.class == Class::Query => {
            warn!(tenant = %context.tenant, event, error = %error, "Cegid refuses the hook of this event");
            let says = error.to_string();
            (hooks::refused(context.database(), &context.tenant, event, &says, urls, context.now()).await, true)
        }
        Err(error) => {
            context.pace.failed(Stage::Webhooks, &error);
            return false;
        }
    };
    if let Err(error) = noted {
        context.after_failure("noting a hook", &error).await;
    }
    refused
}
