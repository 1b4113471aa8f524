//! `hooks`: what is registered at Cegid, and doing by hand what the service does by itself.
//!
//! A command takes the same steps as the service, one at a time and each under a claim, so it may run beside it.

mod list;

use std::{collections::HashSet, path::Path, process::ExitCode, sync::Arc, time::Duration};

use cegid_indexer::{
    cegid::{self, CallError, Class, Client},
    clock::Clock,
    database::{Database, told},
    domain::TenantId,
    hooks::{self, Step, Wish},
    lifecycle::Stop,
    metrics::Metrics,
    settings::Settings,
    worker::hooks::{Progress, Registrar, wanted},
};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, fail, serve::runtime, settings};

/// Something is not as it is wanted, because Cegid refuses it.
const EXIT_REFUSED: u8 = 1;
/// Between two looks whether another still deals with the hooks.
const LOOK: Duration = Duration::from_millis(200);
/// A claim of another's runs out in this time, if nothing else ends it.
const PATIENCE: Duration = Duration::from_secs(120);

const EXIT_CODES: &str = "\
Exit codes:
  0   it is as it is wanted
  1   Cegid refuses something: an event, which is recorded, and the service tries it again every hour; or every call,
      and what to ask for is said
  2   the command line cannot be read
  64  the settings hold no such tenant or event
  69  the database or Cegid is away: what is not done is done by the service, or by the same command again
  78  the settings are wrong";

/// What can be asked of the hooks.
#[derive(Subcommand)]
pub enum Hooks {
    /// Show which hooks are wanted, and what is registered, refused or to be deleted
    #[command(after_help = EXIT_CODES)]
    List {
        /// One tenant; otherwise all
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Register what is missing and delete what is not wanted any more; brings back what `unregister` took away
    #[command(after_help = EXIT_CODES)]
    Apply {
        /// One tenant; otherwise all
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Print what would be done, and call nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete our hooks at Cegid, and register none until `apply`; hooks of others are never touched
    #[command(after_help = EXIT_CODES)]
    Unregister(Unregister),
}

/// What is to be deleted.
#[derive(Args)]
pub struct Unregister {
    /// Whose hooks
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// Of one event; otherwise of all
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Print what would be done, and call nothing
    #[arg(long)]
    dry_run: bool,
}

/// Why a command ended early: the exit code and the sentence.
struct Failure(u8, String);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure(EXIT_UNAVAILABLE, format!("using the register of hooks: {}", told(&error)))
    }
}

/// Runs a command to its end.
pub fn hooks(file: Option<&Path>, command: Hooks) -> ExitCode {
    let (settings, runtime) = match settings(file).and_then(|settings| Ok((settings, runtime()?))) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let ended = runtime.block_on(async {
        let stage = Stage::new(settings).await?;
        match command {
            Hooks::List { tenant, json } => list::list(&stage, stage.tenants(tenant.as_deref())?, json).await,
            Hooks::Apply { tenant, dry_run } => apply(&stage, stage.tenants(tenant.as_deref())?, dry_run).await,
            Hooks::Unregister(what) => unregister(&stage, what).await,
        }
    });
    match ended {
        Ok(code) => code,
        Err(Failure(code, says)) => fail(code, &says),
    }
}

/// What all commands use.
struct Stage {
    settings: Settings,
    database: Database,
    clock: Clock,
}

impl Stage {
    async fn new(settings: Settings) -> Result<Stage, Failure> {
        let database = Database::new(&settings.database, settings.worker.lease)
            .map_err(|error| Failure(EXIT_CONFIG, error.to_string()))?;
        database.fits().await.map_err(|error| Failure(EXIT_UNAVAILABLE, error.to_string()))?;
        let time = database.time().await;
        let time =
            time.map_err(|error| Failure(EXIT_UNAVAILABLE, format!("connecting to the database: {}", told(&error))))?;
        let clock = Clock::machine();
        clock.follow(time);
        Ok(Stage { settings, database, clock })
    }

    /// The tenant that is named, or all.
    fn tenants(&self, named: Option<&str>) -> Result<Vec<TenantId>, Failure> {
        let all = self.settings.tenants.keys();
        let Some(named) = named else { return Ok(all.cloned().collect()) };
        match all.clone().find(|tenant| tenant.as_str() == named) {
            Some(tenant) => Ok(vec![tenant.clone()]),
            None => {
                let names: Vec<&str> = all.map(TenantId::as_str).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Failure(EXIT_USAGE, format!("no tenant is named {named} in the settings; there is {names}")))
            }
        }
    }

    fn registrar(&self, tenant: &TenantId) -> Result<Registrar, Failure> {
        let found = self.settings.tenants.get(tenant).zip(wanted(&self.settings, tenant));
        let Some((of_tenant, wanted)) = found else {
            return Err(Failure(EXIT_USAGE, format!("no tenant is named {tenant} in the settings")));
        };
        let http = cegid::http_client(&self.settings.export).map_err(|error| {
            Failure(EXIT_UNAVAILABLE, format!("preparing to call Cegid: {error}; are CA certificates installed?"))
        })?;
        let (limits, metrics) = (self.settings.export.clone(), Arc::new(Metrics::default()));
        Ok(Registrar {
            database: self.database.clone(),
            clock: self.clock.clone(),
            tenant: tenant.clone(),
            client: Client::new(tenant.clone(), of_tenant.clone(), http, limits, self.clock.clone(), metrics),
            wanted,
            holder: Uuid::now_v7(),
            stop: Stop::default(),
            refusals: Default::default(),
        })
    }
}

async fn apply(stage: &Stage, tenants: Vec<TenantId>, dry_run: bool) -> Result<ExitCode, Failure> {
    let mut ended = Ended::default();
    for tenant in &tenants {
        print_line!("{tenant}:");
        let registrar = stage.registrar(tenant)?;
        // By hand nothing waits until it is time.
        let plan = registrar.plan(&Wish::default(), DateTime::<Utc>::MAX_UTC).await?;
        if dry_run {
            plan.iter().for_each(|step| print_line!("  {step}"));
            continue;
        }
        hooks::lift(&stage.database, tenant).await?;
        hooks::ask_again(&stage.database, tenant).await?;
        plan.iter().filter(|step| matches!(step, Step::Keep(_))).for_each(|step| print_line!("  {step}"));
        pass(&registrar, &mut ended, &|_| true).await?;
    }
    Ok(ended.code())
}

async fn unregister(stage: &Stage, what: Unregister) -> Result<ExitCode, Failure> {
    let tenants = stage.tenants(Some(&what.tenant))?;
    let mut ended = Ended::default();
    for tenant in &tenants {
        let registrar = stage.registrar(tenant)?;
        let mut wish = hooks::wish(&stage.database, tenant).await?;
        if let Some(event) = &what.event {
            let register = hooks::of_tenant(&stage.database, tenant).await?;
            if !registrar.wanted.events.contains(event) && !register.iter().any(|hook| hook.event == *event) {
                let says = format!("{event} is neither wanted by tenants.{tenant}.events nor registered");
                return Err(Failure(EXIT_USAGE, says));
            }
        }
        match &what.event {
            Some(event) => wish.withdrawn_events.push(event.clone()),
            None => wish.withdrawn_at = Some(stage.clock.now()),
        }
        let event = what.event.as_deref();
        let only = |step: &Step| {
            event.is_none_or(|event| event == step.event()) && matches!(step, Step::Unregister(_) | Step::Forget(_))
        };
        print_line!("{tenant}:");
        if what.dry_run {
            registrar
                .plan(&wish, DateTime::<Utc>::MAX_UTC)
                .await?
                .iter()
                .filter(|step| only(step))
                .for_each(|step| print_line!("  {step}"));
            continue;
        }
        // First the wish, so that the service does not register meanwhile what is deleted here.
        hooks::withdraw(&stage.database, tenant, event, stage.clock.now()).await?;
        hooks::ask_again(&stage.database, tenant).await?;
        pass(&registrar, &mut ended, &only).await?;
        print_line!("  registered again only after `cegid-indexer hooks apply --tenant {tenant}`");
    }
    Ok(ended.code())
}

/// What was not done.
#[derive(Default)]
struct Ended {
    refused: bool,
    away: bool,
}

impl Ended {
    fn code(&self) -> ExitCode {
        match self {
            Ended { away: true, .. } => ExitCode::from(EXIT_UNAVAILABLE),
            Ended { refused: true, .. } => ExitCode::from(EXIT_REFUSED),
            _ => ExitCode::SUCCESS,
        }
    }
}

/// Whether Cegid is there and refuses the call, whatever it is about; the same call again would be refused again.
fn refuses_calls(error: &CallError) -> bool {
    let is_refusal = |status| (400..500).contains(&status) && ![408, 429].contains(&status);
    matches!(error.class, Class::Credentials | Class::Forbidden) || error.status.is_some_and(is_refusal)
}

/// Takes every step once that is due and passes `only`, and prints each.
async fn pass(registrar: &Registrar, ended: &mut Ended, only: &impl Fn(&Step) -> bool) -> Result<(), Failure> {
    let mut failed = HashSet::new();
    let mut waiting: Option<Instant> = None;
    loop {
        match registrar.step(&failed, only).await? {
            Progress::Nothing => return Ok(()),
            Progress::Busy => {
                let since = *waiting.get_or_insert_with(|| {
                    print_error!("waiting: the service deals with a hook of {} now", registrar.tenant);
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    let says =
                        format!("another deals with the hooks of {} without an end: try again", registrar.tenant);
                    return Err(Failure(EXIT_UNAVAILABLE, says));
                }
                sleep(LOOK).await;
                continue;
            }
            Progress::Done(step) => {
                print_line!("  {step}");
                if step.may_leave_orphan() {
                    print_line!("    an orphan of it may exist at Cegid, whose id is not known; it does no harm");
                }
            }
            Progress::Refused(step, says) => {
                print_line!("  ! refused {}: {says}", step.event());
                ended.refused = true;
            }
            Progress::Failed(step, error) => {
                print_error!("cegid-indexer: {step}: {error}");
                match error.class {
                    Class::Credentials => print_error!("  {}", cegid::Stage::Token.right()),
                    Class::Forbidden => print_error!("  {}", error.stage.right()),
                    _ => {}
                }
                if refuses_calls(&error) {
                    ended.refused = true;
                } else {
                    ended.away = true;
                }
                // What stops one stops all.
                if matches!(error.class, Class::Throttled | Class::Credentials | Class::Forbidden) {
                    return Ok(());
                }
                failed.insert(step.key());
            }
        }
        waiting = None;
    }
}
