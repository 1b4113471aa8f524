//! `hooks list`: the register beside what is wanted.

use std::process::ExitCode;

use cegid_indexer::{
    domain::TenantId,
    hooks::{self, Hook, State, Wanted, Wish},
    worker::hooks::wanted,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::{EXIT_UNAVAILABLE, EXIT_USAGE, Failure, Stage};

/// The hooks of one tenant.
#[derive(Serialize)]
struct OfTenant {
    tenant: String,
    callback_url: String,
    ping_url: String,
    /// Since when an operator wants no hook of it.
    withdrawn_at: Option<DateTime<Utc>>,
    hooks: Vec<Line>,
}

/// One registration, or an event that has none.
#[derive(Serialize)]
struct Line {
    event: String,
    /// By the settings, and not withdrawn.
    wanted: bool,
    /// `registered`, `refused`, `leaving`, `intended`, or without a registration `missing` or `withdrawn`.
    state: &'static str,
    hook_id: Option<String>,
    callback_url: Option<String>,
    ping_url: Option<String>,
    /// Since when it is in this state.
    since: Option<DateTime<Utc>>,
    /// Why Cegid does not take it.
    refused: Option<String>,
    /// Since when Cegid may hold another registration of it, whose id is not known.
    orphan_since: Option<DateTime<Utc>>,
}

pub(super) async fn list(stage: &Stage, tenants: Vec<TenantId>, json: bool) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    for tenant in &tenants {
        let Some(wanted) = wanted(&stage.settings, tenant) else {
            return Err(Failure(EXIT_USAGE, format!("no tenant is named {tenant} in the settings")));
        };
        let wish = hooks::wish(&stage.database, tenant).await?;
        let register = hooks::of_tenant(&stage.database, tenant).await?;
        all.push(of_tenant(tenant, &wanted, &wish, &register));
    }
    if json {
        let text = serde_json::to_string_pretty(&all);
        print_line!("{}", text.map_err(|error| Failure(EXIT_UNAVAILABLE, format!("writing JSON: {error}")))?);
    } else {
        all.iter().for_each(print);
    }
    Ok(ExitCode::SUCCESS)
}

fn of_tenant(tenant: &TenantId, wanted: &Wanted, wish: &Wish, register: &[Hook]) -> OfTenant {
    let effective = wanted.under(wish);
    let mut lines: Vec<Line> =
        register.iter().map(|hook| of_hook(hook, effective.events.contains(&hook.event))).collect();
    let without = wanted.events.iter().filter(|event| !register.iter().any(|hook| hook.event == **event));
    lines.extend(without.map(|event| {
        let wanted = effective.events.contains(event);
        Line {
            event: event.clone(),
            wanted,
            state: if wanted { "missing" } else { "withdrawn" },
            hook_id: None,
            callback_url: None,
            ping_url: None,
            since: None,
            refused: None,
            orphan_since: None,
        }
    }));
    lines.sort_by(|one, other| one.event.cmp(&other.event));
    OfTenant {
        tenant: tenant.to_string(),
        callback_url: wanted.callback_url.clone(),
        ping_url: wanted.ping_url.clone(),
        withdrawn_at: wish.withdrawn_at,
        hooks: lines,
    }
}

fn of_hook(hook: &Hook, wanted: bool) -> Line {
    let (state, since) = match hook.state {
        State::Registered => ("registered", hook.registered_at),
        State::Leaving => ("leaving", hook.leaving_at),
        State::Refused => ("refused", hook.refused_at),
        State::Intended => ("intended", hook.unanswered_at),
    };
    Line {
        event: hook.event.clone(),
        wanted,
        state,
        hook_id: hook.hook_id.clone(),
        callback_url: Some(hook.callback_url.clone()),
        ping_url: Some(hook.ping_url.clone()),
        since,
        refused: hook.refused.clone(),
        orphan_since: hook.unanswered_at,
    }
}

fn print(of: &OfTenant) {
    print_line!("{}: callbacks to {}, pings to {}", of.tenant, of.callback_url, of.ping_url);
    if let Some(at) = of.withdrawn_at {
        print_line!(
            "  unregistered by hand {}: `cegid-indexer hooks apply --tenant {}` brings them back",
            time(at),
            of.tenant
        );
    }
    let width = |of_line: fn(&Line) -> usize| of.hooks.iter().map(of_line).max().unwrap_or(0);
    let event = width(|line| line.event.len());
    let id = width(|line| line.hook_id.as_deref().map_or(1, str::len));
    for line in &of.hooks {
        let mut text = format!(
            "  {:event$}  {:10}  {:id$}  {:20}  {}",
            line.event,
            line.state,
            line.hook_id.as_deref().filter(|id| !id.is_empty()).unwrap_or("-"),
            line.since.map_or("-".to_owned(), time),
            line.callback_url.as_deref().unwrap_or("-"),
        );
        if line.state == "registered" && !line.wanted {
            text.push_str("  not wanted");
        }
        if let Some(says) = &line.refused {
            text.push_str("  ");
            text.push_str(says);
        }
        if let Some(at) = line.orphan_since {
            text.push_str(&format!("  an orphan may exist at Cegid since {}", time(at)));
        }
        print_line!("{}", text.trim_end());
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
