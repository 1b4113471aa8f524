//! `sweeps`: what the walks over the exports have come to, and the operator's word on removals in bulk.

use std::{path::Path, process::ExitCode};

use cegid_indexer::{
    database::Database,
    domain::{Kind, TenantId},
    subjects,
    sweeps::{self, Run, Use},
    unreadable::{self, Unreadable},
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};

use super::{EXIT_UNAVAILABLE, fail, known_tenant, with_database};

/// What can be asked for.
#[derive(Args)]
pub struct Sweeps {
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Subcommand)]
enum Asked {
    /// Show what is under way or planned, the last run of each, and the removals that wait
    List {
        /// Of this tenant alone
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Begin a sweep now, whatever the permitted hours; the service does it
    Run {
        #[arg(long)]
        tenant: String,
        /// incremental: what was updated; full: every candidate and live vacancy; rolling: every hidden vacancy
        #[arg(long = "use", value_enum)]
        purpose: Purpose,
    },
    /// Let the removals go through that the bulk guard holds back now; each is read once more before it goes
    Confirm {
        #[arg(long)]
        tenant: String,
        /// Vacancies or candidates alone
        #[arg(long, value_enum)]
        kind: Option<Of>,
        /// Say how many there are, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Purpose {
    Incremental,
    Full,
    Rolling,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Of {
    Vacancy,
    Candidate,
}

impl From<Of> for Kind {
    fn from(of: Of) -> Kind {
        match of {
            Of::Vacancy => Kind::Vacancy,
            Of::Candidate => Kind::Candidate,
        }
    }
}

pub fn sweeps(file: Option<&Path>, Sweeps { asked }: Sweeps) -> ExitCode {
    with_database(file, "sweeps", async |settings, database| match asked {
        Asked::List { tenant } => list(&database, tenant.as_deref()).await,
        Asked::Run { tenant, purpose } => match known_tenant(&settings, &tenant) {
            Ok(tenant) => run(&database, &tenant, purpose).await,
            Err(code) => Ok(code),
        },
        Asked::Confirm { tenant, kind, dry_run } => match known_tenant(&settings, &tenant) {
            Ok(tenant) => confirm(&database, &tenant, kind.map(Kind::from), dry_run).await,
            Err(code) => Ok(code),
        },
    })
}

async fn list(database: &Database, tenant: Option<&str>) -> sqlx::Result<ExitCode> {
    let of = |name: &str| tenant.is_none_or(|tenant| tenant == name);
    for run in sweeps::runs(database).await?.into_iter().filter(|run| of(&run.tenant)) {
        print_line!("{}", line(&run));
    }
    for unreadable in unreadable::counts(database).await?.into_iter().filter(|it| of(&it.tenant)) {
        print_line!("{}", unreadable_line(&unreadable));
    }
    for held in subjects::held(database).await?.into_iter().filter(|held| of(&held.tenant)) {
        print_line!(
            "{} {}: {} removals are held back since {}: check the count in Cegid, then `sweeps confirm --tenant {}`",
            held.tenant,
            held.kind,
            held.count,
            written(held.since),
            held.tenant
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable_line(unreadable: &Unreadable) -> String {
    let Unreadable { tenant, kind, cause, count, unnamed, since, due_at } = unreadable;
    format!(
        "{tenant} {kind}: {count} records of lists cannot be read since {} ({unnamed} without a readable key): {cause}; \
         read again {}",
        written(*since),
        written(*due_at)
    )
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn line(run: &Run) -> String {
    let Run { tenant, kind, purpose, position, .. } = run;
    let state = match (run.started_at, run.finished_at, run.due_at) {
        (_, Some(at), _) => format!("done {}", written(at)),
        (Some(at), None, _) => format!("under way since {}", written(at)),
        (None, None, Some(at)) => format!("due {}", written(at)),
        (None, None, None) => "waiting for its turn".to_owned(),
    };
    let stalled = match run.stalls {
        0 => String::new(),
        times => format!("; its list does not advance ({times} times in a row)"),
    };
    format!(
        "{tenant} {kind} {purpose} #{position}: {state}; {} records, {} changed, {} unreadable, {} asked for by key{stalled}",
        run.records, run.changed, run.broken, run.unseen
    )
}

async fn run(database: &Database, tenant: &TenantId, purpose: Purpose) -> sqlx::Result<ExitCode> {
    let purpose = match purpose {
        Purpose::Incremental => Use::Incremental,
        Purpose::Full => Use::Full,
        Purpose::Rolling => Use::Rolling,
    };
    let now = database.time().await?;
    let mut asked = false;
    for kind in Kind::ALL {
        asked |= sweeps::ask(database, tenant, kind, purpose, now).await?;
    }
    if !asked {
        let says = format!("{tenant} has no such sweep planned yet: has the service worked it since its last start?");
        return Ok(fail(EXIT_UNAVAILABLE, &says));
    }
    print_line!("{tenant}: the {} sweep is due now; `sweeps list` shows how far it is", purpose.as_str());
    Ok(ExitCode::SUCCESS)
}

async fn confirm(database: &Database, tenant: &TenantId, kind: Option<Kind>, dry_run: bool) -> sqlx::Result<ExitCode> {
    let now = database.time().await?;
    for of in Kind::ALL.into_iter().filter(|of| kind.is_none_or(|kind| kind == *of)) {
        let count: i64 = if dry_run {
            let held = subjects::held(database).await?.into_iter();
            held.filter(|held| held.tenant == tenant.as_str() && held.kind == of.as_str()).map(|held| held.count).sum()
        } else {
            let released = subjects::release(database, tenant, of, now).await?;
            if released.unfilterable > 0 {
                // Nothing but a list can say whether they are there.
                sweeps::ask(database, tenant, of, Use::Full, now).await?;
            }
            released.subjects
        };
        let what = if dry_run { "would be confirmed" } else { "are confirmed, and go when a last read lacks them too" };
        print_line!("{tenant} {of}: {count} removals {what}");
    }
    Ok(ExitCode::SUCCESS)
}
