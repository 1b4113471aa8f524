//! `tenant list|pause|resume|disconnect`: what people decide about a tenant. It is written into the database; a running
//! service follows it within `worker.poll_interval`.

use std::{collections::BTreeSet, path::Path, process::ExitCode, time::Duration};

use cegid_indexer::{
    clock::Clock,
    database::{Database, DatabaseError},
    domain::TenantId,
    settings::Settings,
    tenancy,
    tenants::{self, State, Work},
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use uuid::Uuid;

use super::{EXIT_UNAVAILABLE, EXIT_USAGE, fail, opened};

#[derive(Args)]
pub struct Tenant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every tenant, which replica works it, and what is paused or ended
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Stop reading from or reporting to Cegid; callbacks are still stored
    Pause {
        /// Name of the tenant in the settings
        tenant: String,
        /// Pause this alone; without it, both
        #[arg(long)]
        stage: Option<Stage>,
        /// Kept for whoever asks why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Go on with what was paused, or take a disconnection back
    Resume {
        /// Name of the tenant in the settings
        tenant: String,
        /// Resume this alone; without it, both
        #[arg(long)]
        stage: Option<Stage>,
    },
    /// Unregister the hooks, refuse callbacks, and delete everything that is held of the tenant after a grace
    Disconnect {
        /// Name of the tenant in the settings
        tenant: String,
        /// How long everything is kept before it is deleted, at least 1m
        #[arg(long, default_value = "7d", value_parser = grace)]
        purge_after: Duration,
        /// It is meant
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    Fetch,
    Report,
}

/// By then every replica refuses the tenant's callbacks: one that is stored after the deletion would stay.
const GRACE: Duration = Duration::from_secs(60);

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if grace < GRACE {
        Err("must be at least 1m: until then replicas may still take its callbacks".into())
    } else {
        Ok(grace)
    }
}

fn work(stage: Option<Stage>) -> &'static [Work] {
    match stage {
        None => &Work::ALL,
        Some(Stage::Fetch) => &[Work::Fetch],
        Some(Stage::Report) => &[Work::Report],
    }
}

pub fn tenant(file: Option<&Path>, asked: Tenant) -> ExitCode {
    opened(file, async |settings, database| {
        let done = match Desk::open(&settings, database).await {
            Ok(desk) => desk.serve(asked.command).await,
            Err(refused) => Err(refused),
        };
        done.map_or_else(|refused| refused.into(), |()| ExitCode::SUCCESS)
    })
}

/// Why nothing was done.
enum Refused {
    Unknown { tenant: String, known: Vec<String> },
    Unsure(TenantId),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Refused {
        Refused::Database(error)
    }
}

impl From<Refused> for ExitCode {
    fn from(refused: Refused) -> ExitCode {
        match refused {
            Refused::Unknown { tenant, known } if known.is_empty() => {
                fail(EXIT_USAGE, &format!("no tenant is named {tenant}, nor anything else: add [tenants.{tenant}]"))
            }
            Refused::Unknown { tenant, known } => {
                fail(EXIT_USAGE, &format!("no tenant is named {tenant}; there are {}", known.join(", ")))
            }
            Refused::Unsure(tenant) => fail(
                EXIT_USAGE,
                &format!("disconnecting {tenant} ends in deleting everything that is held of it: say --yes"),
            ),
            Refused::Database(error) => fail(EXIT_UNAVAILABLE, &DatabaseError::Connect(error)),
        }
    }
}

/// A tenant as `list` shows it.
#[derive(Serialize)]
struct Row {
    id: String,
    /// Whether the settings still have it.
    in_settings: bool,
    worked_by: Option<Uuid>,
    #[serde(flatten)]
    state: State,
}

struct Desk<'a> {
    settings: &'a Settings,
    database: Database,
    states: tenants::States,
    /// Those of the settings, and those that the database still holds something of.
    tenants: BTreeSet<TenantId>,
    now: DateTime<Utc>,
}

impl<'a> Desk<'a> {
    async fn open(settings: &'a Settings, database: Database) -> Result<Desk<'a>, Refused> {
        let clock = Clock::machine();
        clock.follow(database.time().await?);
        let states = tenants::states(&database).await?;
        let left = states.iter().filter(|(_, state)| state.purged_at.is_none()).map(|(tenant, _)| tenant.clone());
        let mut tenants: BTreeSet<TenantId> = settings.tenants.keys().cloned().chain(left).collect();
        tenants.extend(tenancy::known(&database).await?);
        Ok(Desk { settings, database, states, tenants, now: clock.now() })
    }

    async fn serve(&self, command: Command) -> Result<(), Refused> {
        match command {
            Command::List { json } => self.list(json).await,
            Command::Pause { tenant, stage, reason } => {
                let tenant = self.known(&tenant)?;
                tenants::pause(&self.database, &tenant, work(stage), reason.as_deref(), self.now).await?;
                print_line!("{tenant}: {} is paused; callbacks are stored and wait", names(work(stage)));
                Ok(())
            }
            Command::Resume { tenant, stage } => self.resume(&self.known(&tenant)?, work(stage)).await,
            Command::Disconnect { tenant, purge_after, yes } => {
                let tenant = self.known(&tenant)?;
                if !yes {
                    return Err(Refused::Unsure(tenant));
                }
                self.disconnect(&tenant, purge_after).await
            }
        }
    }

    fn known(&self, name: &str) -> Result<TenantId, Refused> {
        let found = self.tenants.iter().find(|tenant| tenant.as_str() == name).cloned();
        found.ok_or_else(|| Refused::Unknown {
            tenant: name.to_owned(),
            known: self.tenants.iter().map(ToString::to_string).collect(),
        })
    }

    async fn list(&self, json: bool) -> Result<(), Refused> {
        let holders = tenancy::holders(&self.database, self.now).await?;
        let row = |id: TenantId| Row {
            in_settings: self.settings.tenants.contains_key(&id),
            worked_by: holders.get(id.as_str()).copied(),
            state: self.states.of(&id).cloned().unwrap_or_default(),
            id: id.to_string(),
        };
        let rows: Vec<Row> = self.tenants.iter().cloned().map(row).collect();
        if json {
            // Nothing in a row can fail to be written.
            print_line!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
            return Ok(());
        }
        let width = rows.iter().map(|row| row.id.len()).max().unwrap_or(0).max("TENANT".len());
        print_line!("{:width$}  {:36}  STATE", "TENANT", "WORKED BY");
        for row in &rows {
            let worked_by = row.worked_by.map_or_else(|| "-".to_owned(), |replica| replica.to_string());
            print_line!("{:width$}  {worked_by:36}  {}", row.id, said(row));
        }
        Ok(())
    }

    async fn resume(&self, tenant: &TenantId, work: &[Work]) -> Result<(), Refused> {
        if self.states.is_disconnected(tenant) {
            tenants::connect(&self.database, tenant).await?;
            print_line!(
                "{tenant}: is connected again; its hooks are registered anew, and what was deleted is read again"
            );
        }
        tenants::resume(&self.database, tenant, work).await?;
        print_line!("{tenant}: {} goes on", names(work));
        Ok(())
    }

    async fn disconnect(&self, tenant: &TenantId, grace: Duration) -> Result<(), Refused> {
        let purge_after = chrono::TimeDelta::from_std(grace)
            .ok()
            .and_then(|grace| self.now.checked_add_signed(grace))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        tenants::disconnect(&self.database, tenant, self.now, purge_after).await?;
        print_line!(
            "{tenant}: is disconnected; its hooks are unregistered and its callbacks refused, and everything that is \
             held of it is deleted after {}",
            time(purge_after)
        );
        if !self.settings.tenants.contains_key(tenant) {
            print_line!(
                "[tenants.{tenant}] is not in the settings: without its credentials its hooks stay registered at Cegid"
            );
            return Ok(());
        }
        print_line!(
            "keep [tenants.{tenant}] in the settings until then: unregistering needs the credentials; \
             `tenant resume {tenant}` takes it back"
        );
        Ok(())
    }
}

fn names(work: &[Work]) -> String {
    work.iter().map(|work| work.as_str()).collect::<Vec<_>>().join(" and ")
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The state of a tenant in words.
fn said(row: &Row) -> String {
    let state = &row.state;
    let mut says = Vec::new();
    if !row.in_settings {
        says.push("not in the settings".to_owned());
    }
    if let Some(since) = state.disconnected_at {
        says.push(format!("disconnected since {}", time(since)));
        match (state.purged_at, state.purge_after) {
            (Some(at), _) => says.push(format!("deleted at {}", time(at))),
            (None, Some(after)) => says.push(format!("to be deleted after {}", time(after))),
            (None, None) => {}
        }
        if state.unhooked_at.is_none() && state.purged_at.is_none() {
            says.push("hooks not unregistered yet".to_owned());
        }
    }
    for (work, since) in [(Work::Fetch, state.paused_fetch_at), (Work::Report, state.paused_report_at)] {
        if let Some(since) = since {
            says.push(format!("{} paused since {}", work.as_str(), time(since)));
        }
    }
    if let Some(reason) = &state.pause_reason {
        says.push(format!("reason: {reason}"));
    }
    if let (Some(since), Some(auth)) = (state.auth_failed_since, &state.auth_says) {
        says.push(format!("credentials refused since {}: {auth}", time(since)));
    }
    if says.is_empty() { "well".to_owned() } else { says.join("; ") }
}
