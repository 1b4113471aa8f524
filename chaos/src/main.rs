//! The crash suite's long form.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use cegid_indexer_chaos::{
    events::Event,
    run::{Course, run},
    world::Plan,
};
use clap::Parser;

/// Kills, freezes and cuts off the service under load, and balances the ledger
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Everything is drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the storm goes on, such as 90s, 30m or 2h
    #[arg(long = "for", default_value = "5m", value_parser = duration)]
    time: Duration,
    /// Processes of the service, at least 2
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    replicas: u8,
    /// Customers, each with a simulator of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    tenants: u8,
    /// What can happen; everything unless it is given
    #[arg(long, value_enum, value_delimiter = ',')]
    events: Vec<Event>,
    /// An existing directory that the logs of the replicas are copied to
    #[arg(long)]
    logs: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number with s, m or h is wanted".to_owned()),
    };
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| "a number is wanted".to_owned())?;
    Ok(Duration::from_secs(number * seconds))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan::storm(arguments.seed, usize::from(arguments.replicas), usize::from(arguments.tenants));
    let events = if arguments.events.is_empty() { &Event::ALL[..] } else { &arguments.events };
    let course = Course { time: arguments.time, events, logs: arguments.logs.as_deref() };
    match run(plan, course).await {
        Ok(outcome) => {
            println!("{outcome}");
            if outcome.balances() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("seed {}: {error:#}", arguments.seed);
            ExitCode::FAILURE
        }
    }
}
