//! When hooks seem lost at Cegid, which says nothing about it: silence, although sweeps find changes.

use chrono::TimeDelta;
use tracing::warn;

use crate::{
    gaps,
    hooks::{self, State, Wanted},
    inbox,
    worker::Context,
};

/// Silence for so many intervals of callbacks is suspicious …
const INTERVALS: u32 = 4;
/// … when sweeps found so many changes meanwhile that no callback announced.
const GAPS: i64 = 3;
/// Between two repairs: when they do not help, it was something else.
const EVERY: TimeDelta = TimeDelta::days(1);
/// What was received before a look may be committed only after it.
const LATE: TimeDelta = TimeDelta::minutes(1);
/// How far the first look goes back; what came before counts as not heard.
const BACK: TimeDelta = TimeDelta::days(1);

/// Marks every hook for being deleted and registered again, when they seem lost.
///
/// Each look reads the deliveries since the one before and keeps the time of the newest: `delivery` has no index on the
/// tenant, and needs none for this.
pub(super) async fn if_silent(context: &Context, wanted: &Wanted) -> sqlx::Result<()> {
    let (database, tenant, now) = (context.database(), &context.tenant, context.now());
    let register = hooks::of_tenant(database, tenant).await?;
    let held = register.iter().filter(|hook| hook.state == State::Registered && wanted.events.contains(&hook.event));
    // Silence before a hook was registered says nothing about it.
    let Some(registered_at) = held.filter_map(|hook| hook.registered_at).max() else { return Ok(()) };
    let before = hooks::heard(database, tenant).await?;
    let from = before.heard_until.map_or((now - BACK).max(registered_at), |until| until - LATE);
    let newest = inbox::heard_since(database, tenant, from).await?;
    hooks::note_heard(database, tenant, newest, now).await?;
    let heard_at = newest.max(before.heard_at);
    let since = heard_at.unwrap_or(registered_at).max(registered_at);
    let silence = context.settings.callback_interval * INTERVALS;
    if now < since + silence || before.repaired_at.is_some_and(|at| at + EVERY > now) {
        return Ok(());
    }
    let gaps = gaps::since(database, tenant, since).await?;
    if gaps < GAPS {
        return Ok(());
    }
    let hooks = hooks::suspect(database, tenant, now - EVERY, now).await?;
    warn!(
        %tenant, %since, gaps, hooks,
        "nothing was received although sweeps found changes: the hooks seem lost at Cegid and are registered again; \
         check that Cegid can reach public_url"
    );
    Ok(())
}
