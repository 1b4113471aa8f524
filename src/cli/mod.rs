//! The command line: one file per command family.

#[macro_use]
mod output;

mod database;
#[cfg(feature = "demo")]
mod demo;
mod erase;
mod hooks;
mod ledger;
mod serve;
mod sweeps;
mod tenants;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use cegid_indexer::{
    database::{Database, told},
    domain::TenantId,
    settings::{Problem, Settings, reload::Source},
    telemetry,
};
use clap::{Parser, Subcommand};

/// Configuration problems, as in sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// A command that cannot be meant so, as in sysexits.h.
const EXIT_USAGE: u8 = 64;
/// A service that is needed is away, as in sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// Something failed while running, as in sysexits.h.
const EXIT_SOFTWARE: u8 = 70;

/// Says that it can be made to die: nobody should run such a build in earnest.
const VERSION: &str = if cfg!(feature = "kill-points") {
    concat!(env!("CARGO_PKG_VERSION"), " with kill points")
} else {
    env!("CARGO_PKG_VERSION")
};

#[derive(Parser)]
#[command(version = VERSION, about, max_term_width = 100)]
struct Cli {
    /// File with the settings, TOML; without it, the environment alone
    #[arg(long, global = true, value_name = "FILE", env = "CEGID_INDEXER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve,
    /// Bring the database's schema up to date, and end
    Migrate,
    /// Say everything that is wrong with the settings, and end
    Check,
    /// Ask the service on this machine whether it is ready; for a container's HEALTHCHECK
    Healthcheck,
    /// Say whether anything is lost: what was received against what became of it, the index and the reports
    Ledger(ledger::Ledger),
    /// Show the sweeps, ask for one now, or confirm removals that were held back
    Sweeps(sweeps::Sweeps),
    /// Erase somebody at once, and keep them out until it is lifted
    Erase(erase::Erase),
    /// Show tenants, pause and resume their work, or disconnect them
    Tenant(tenants::Tenant),
    /// Look after the database: its numbers after a failover or a restore
    #[command(subcommand)]
    Database(database::Maintenance),
    /// Show the hooks at Cegid, register or unregister them by hand
    #[command(subcommand)]
    Hooks(hooks::Hooks),
    /// Show the whole service at work on this machine, against a simulated tenant, and prove it
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let file = cli.config.as_deref();
    let code = match cli.command {
        Command::Serve => serve::serve(file),
        Command::Migrate => serve::migrate(file),
        Command::Check => check(file),
        Command::Healthcheck => serve::healthcheck(file),
        Command::Ledger(asked) => ledger::ledger(file, asked),
        Command::Sweeps(asked) => sweeps::sweeps(file, asked),
        Command::Erase(asked) => erase::erase(file, asked),
        Command::Tenant(asked) => tenants::tenant(file, asked),
        Command::Database(command) => database::maintain(file, command),
        Command::Hooks(command) => hooks::hooks(file, command),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo::demo(demo),
    };
    output::checked(code)
}

/// Where the settings come from: the file and the environment.
fn source(file: Option<&Path>) -> Source {
    // Variables that are not Unicode are not ours.
    let environment =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Source::new(file.map(Path::to_owned), environment)
}

/// The settings, or every problem on the standard error stream.
fn settings(file: Option<&Path>) -> Result<Settings, ExitCode> {
    source(file).load().map_err(|problems| {
        print_problems(&problems);
        ExitCode::from(EXIT_CONFIG)
    })
}

fn print_problems(problems: &[Problem]) {
    let many = if problems.len() == 1 { "problem" } else { "problems" };
    print_error!("{} {many} with the settings:", problems.len());
    for problem in problems {
        print_error!("  {problem}");
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    match settings(file) {
        Ok(settings) => {
            // A pool of connections is made within a runtime, even though none is opened here.
            let runtime = match serve::runtime() {
                Ok(runtime) => runtime,
                Err(code) => return code,
            };
            let _entered = runtime.enter();
            if let Err(error) = Database::new(&settings.database, settings.worker.lease) {
                return fail(EXIT_CONFIG, &error);
            }
            if let Err(error) = telemetry::filter(&settings.log) {
                return fail(EXIT_CONFIG, &error);
            }
            print_line!("the settings are right: {} tenants", settings.tenants.len());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// A command's own work, with the settings and their database, whose schema is this version's.
fn opened(file: Option<&Path>, work: impl AsyncFnOnce(Settings, Database) -> ExitCode) -> ExitCode {
    let (settings, runtime) = match settings(file).and_then(|settings| Ok((settings, serve::runtime()?))) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    runtime.block_on(async {
        match Database::new(&settings.database, settings.worker.lease) {
            Ok(database) => match database.fits().await {
                Ok(()) => work(settings, database).await,
                Err(error) => fail(EXIT_UNAVAILABLE, &error),
            },
            Err(error) => fail(EXIT_CONFIG, &error),
        }
    })
}

/// The same, where a failure of the database ends it with a sentence.
fn with_database(
    file: Option<&Path>,
    doing: &str,
    work: impl AsyncFnOnce(Settings, Database) -> sqlx::Result<ExitCode>,
) -> ExitCode {
    opened(file, async |settings, database| match work(settings, database).await {
        Ok(code) => code,
        Err(error) => fail(EXIT_UNAVAILABLE, &format!("{doing}: {}", told(&error))),
    })
}

/// The tenant of this name, or which there are.
fn known_tenant(settings: &Settings, name: &str) -> Result<TenantId, ExitCode> {
    match settings.tenants.keys().find(|tenant| tenant.as_str() == name) {
        Some(tenant) => Ok(tenant.clone()),
        None => {
            let known: Vec<&str> = settings.tenants.keys().map(TenantId::as_str).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            Err(fail(EXIT_USAGE, &format!("no tenant `{name}` in the settings: {known}")))
        }
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    print_error!("cegid-indexer: {error}");
    ExitCode::from(code)
}
