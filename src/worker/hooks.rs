//! Registers a webhook for every wanted event that the register does not hold.
//!
//! Receiving and everything else go on meanwhile. An event that the tenant refuses is recorded with the reason, does not
//! stop the others, and is tried again every hour.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::Context;
use crate::{
    cegid::{Class, Stage},
    hooks::{self, Hook},
    intake::hook_urls,
};

/// Before events that the tenant has refused are tried again.
const REFUSED: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: Arc<Context>) {
    // Settings with tenants have it.
    if let Some(public_url) = &context.shared.settings.public_url {
        let (callback_url, ping_url) = hook_urls(public_url, &context.tenant);
        register(&context, &callback_url, &ping_url).await;
    }
    // The stage stays until the worker ends.
    context.stop.draining().await;
}

/// Goes round the missing events until none is left; one that fails does not keep the others waiting.
async fn register(context: &Context, callback_url: &str, ping_url: &str) {
    let mut refused: Vec<String> = Vec::new();
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
        let events = context.settings.events.iter();
        let missing: Vec<&String> = events.filter(|event| !held(event) && !refused.contains(event)).collect();
        if missing.is_empty() {
            let registered = context.settings.events.len() - refused.len();
            info!(tenant = %context.tenant, registered, refused = refused.len(), "hooks are registered");
            if refused.is_empty() {
                return;
            }
            context.pause(REFUSED).await;
            refused.clear();
        }
        for event in missing {
            if register_one(context, event, (callback_url, ping_url)).await {
                refused.push(event.clone());
            }
        }
    }
}

/// One attempt; true when the tenant refuses the event.
async fn register_one(context: &Context, event: &str, (callback_url, ping_url): (&str, &str)) -> bool {
    if !context.may_call(Stage::Webhooks).await {
        return false;
    }
    let answer = context.client.register_hook(event, callback_url, ping_url).await;
    let (hook_id, refused) = match answer {
        Ok(hook_id) => {
            context.pace.succeeded(Stage::Webhooks);
            (Some(hook_id), None)
        }
        Err(error) if error.class == Class::Query => {
            warn!(tenant = %context.tenant, event, error = %error, "Cegid refuses the hook of this event");
            (None, Some(error.to_string()))
        }
        Err(error) => {
            context.pace.failed(Stage::Webhooks, &error);
            return false;
        }
    };
    let (database, tenant, urls) = (context.database(), &context.tenant, (callback_url, ping_url));
    // Written until it is: an id that is forgotten would be registered once more.
    while let Err(error) = match (&hook_id, &refused) {
        (Some(hook_id), _) => hooks::registered(database, tenant, event, hook_id, urls, context.now()).await,
        (None, says) => {
            hooks::refused(database, tenant, event, says.as_deref().unwrap_or_default(), urls, context.now()).await
        }
    } {
        context.after_failure("noting a hook", &error).await;
        if context.stop.asked() {
            return false;
        }
    }
    if hook_id.is_some() {
        info!(tenant = %context.tenant, event, "hook registered");
    }
    refused.is_some()
}
