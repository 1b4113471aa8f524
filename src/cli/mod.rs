//! The command line: one file per command family.

#[cfg(feature = "demo")]
mod demo;
mod hooks;
mod serve;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use cegid_indexer::{
    database::Database,
    settings::{Problem, Settings},
    telemetry,
};
use clap::{Parser, Subcommand};

/// Configuration problems, as in sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// A service that is needed is away, as in sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// Something failed while running, as in sysexits.h.
const EXIT_SOFTWARE: u8 = 70;

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
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
    match cli.command {
        Command::Serve => serve::serve(file),
        Command::Migrate => serve::migrate(file),
        Command::Check => check(file),
        Command::Healthcheck => serve::healthcheck(file),
        Command::Hooks(command) => hooks::hooks(file, command),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo::demo(demo),
    }
}

/// The settings of the file and the environment, or every problem on the standard error stream.
fn settings(file: Option<&Path>) -> Result<Settings, ExitCode> {
    // Variables that are not Unicode are not ours.
    let environment =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Settings::load(file, environment).map_err(|problems| {
        print_problems(&problems);
        ExitCode::from(EXIT_CONFIG)
    })
}

fn print_problems(problems: &[Problem]) {
    let many = if problems.len() == 1 { "problem" } else { "problems" };
    eprintln!("{} {many} with the settings:", problems.len());
    for problem in problems {
        eprintln!("  {problem}");
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    match settings(file) {
        Ok(settings) => {
            if let Err(error) = Database::new(&settings.database, settings.worker.lease) {
                return fail(EXIT_CONFIG, &error);
            }
            if let Err(error) = telemetry::filter(&settings.log) {
                return fail(EXIT_CONFIG, &error);
            }
            println!("the settings are right: {} tenants", settings.tenants.len());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("cegid-indexer: {error}");
    ExitCode::from(code)
}
