//! Reads the referentials of the settings with their translations, throttled, beside everything else.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::Context;
use crate::{
    cegid::{CallError, Class, ReferentialItem, ReferentialList, Stage},
    index::referentials,
};

/// Between two calls: a list has many translations, and nothing waits for them.
const PAUSE: Duration = Duration::from_millis(100);
/// Answers that are no list, about an hour of them, before the next list has its turn.
const UNEXPECTED: u32 = 20;
/// How often it is looked whether a list is due.
const LOOK: Duration = Duration::from_secs(300);
/// What is said of a 403.
const RIGHTS: &str = "403: the tenant's application may not read referentials: ask its administrator for the permission \
                      Use on the resource ReferencesAdministration";

pub(super) async fn run(context: Arc<Context>) {
    while !context.stop.asked() {
        let _done = context.or_wait("refreshing the referentials", refresh(&context).await).await;
        context.pause(LOOK).await;
    }
}

async fn refresh(context: &Context) -> sqlx::Result<()> {
    let (database, tenant) = (context.database(), &context.tenant);
    let read_at = referentials::read_at(database, tenant).await?;
    let interval = context.settings.referential_interval;
    let forgetting = referentials::forget_others(database, tenant, &context.settings.referentials);
    let forgotten = database.in_time(forgetting).await?;
    if forgotten > 0 {
        info!(%tenant, lists = forgotten, "referentials that the settings no longer name are forgotten");
    }
    for category in &context.settings.referentials {
        if read_at.get(category).is_some_and(|at| *at + interval > context.now()) {
            continue;
        }
        match read(context, category).await {
            Some(Ok(ReferentialList::Items(items))) => {
                let replacing = referentials::replace(database, tenant, category, &items, context.now());
                database.in_time(replacing).await?;
                info!(%tenant, category, items = items.len(), "referential read");
            }
            Some(Ok(ReferentialList::Unknown)) => {
                warn!(%tenant, category, "the tenant has no referential of this name: check tenants.*.referentials");
                referentials::refused(database, tenant, category, "unknown name", context.now()).await?;
            }
            Some(Err(error)) if error.class == Class::Forbidden => {
                warn!(%tenant, category, "{RIGHTS}");
                referentials::refused(database, tenant, category, RIGHTS, context.now()).await?;
            }
            Some(Err(error)) => {
                warn!(%tenant, category, error = %error, "Cegid does not give this referential");
                referentials::refused(database, tenant, category, &error.to_string(), context.now()).await?;
            }
            // A stop, or Cegid is away: the next look finds it due.
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The list with its translations; none when it is to be tried again later.
async fn read(context: &Context, category: &str) -> Option<Result<ReferentialList, CallError>> {
    let list = call(context, || context.client.referential(category)).await?;
    let Ok(ReferentialList::Items(mut items)) = list else { return Some(list) };
    let mut listed = true;
    for item in &mut items {
        if let Err(error) = translate(context, category, item, &mut listed).await? {
            return Some(Err(error));
        }
    }
    Some(Ok(ReferentialList::Items(items)))
}

/// Reads the labels of an item: all of them in one call, or one for each language once the tenant has shown that it
/// does not list them.
async fn translate(
    context: &Context,
    category: &str,
    item: &mut ReferentialItem,
    listed: &mut bool,
) -> Option<Result<(), CallError>> {
    let languages = &context.settings.referential_languages;
    if languages.is_empty() {
        return Some(Ok(()));
    }
    if *listed {
        match call(context, || context.client.translations(category, &item.id)).await? {
            Ok(Some(labels)) => {
                item.labels = labels;
                item.labels.retain(|lcid, _| languages.contains(lcid));
                return Some(Ok(()));
            }
            Ok(None) => *listed = false,
            Err(error) => return Some(Err(error)),
        }
    }
    for lcid in &context.settings.referential_languages {
        match call(context, || context.client.translation(category, &item.id, *lcid)).await? {
            Ok(Some(label)) => _ = item.labels.insert(*lcid, label),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(()))
}

/// One call at its pace, again while Cegid is not well; none when the worker drains. An error is a refusal.
async fn call<T, F>(context: &Context, call: impl Fn() -> F) -> Option<Result<T, CallError>>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut unexpected = 0;
    loop {
        let _leave = context.may_call(Stage::Referentials).await?;
        let error = match call().await {
            Ok(answer) => {
                context.pace.succeeded(Stage::Referentials);
                tokio::time::sleep(PAUSE).await;
                return Some(Ok(answer));
            }
            Err(error) => error,
        };
        context.pace.failed(Stage::Referentials, &error);
        unexpected += u32::from(error.class == Class::Unexpected);
        if matches!(error.class, Class::Query | Class::Forbidden) || unexpected == UNEXPECTED {
            return Some(Err(error));
        }
    }
}
