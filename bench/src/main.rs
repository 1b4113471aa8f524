//! The bench: what the performance page quotes, as ratios within one run. `README.md` says what each line means.

mod accept;
mod ats;
mod candidates;
mod decode;
mod end_to_end;
mod flood;
mod large;
mod load;
mod machine;
mod neighbour;
mod pgbench;
mod postgres;
mod records;
mod request;
mod servers;
mod service;
mod table;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{bail, ensure};
use cegid_indexer::clock::Clock;
use clap::Parser;

use accept::Accept;
use decode::Decode;
use end_to_end::EndToEnd;
use neighbour::Neighbours;
use postgres::Postgres;
use records::Records;
use request::Signer;
use table::Figures;

/// Goals of each part.
const ACCEPT: [&str; 6] = ["p1", "p2", "p4", "p5", "p6", "p17"];
const DECODE: [&str; 3] = ["p7", "p8", "p9"];
const END_TO_END: [&str; 6] = ["p10", "p11", "p12", "p13", "p14", "p15"];
const CANDIDATES: [&str; 1] = ["p16"];
const FLOOD: [&str; 1] = ["flood"];
/// Parts that run only when they are named: each takes minutes.
const LARGE: [&str; 1] = ["large"];
const NEIGHBOUR: [&str; 1] = ["neighbour"];
/// Callbacks at 10/s take so many times the time of the other runs, to be enough of them.
const PACED: u32 = 3;

/// Measures the service beside pgbench and itself; Linux, in a release build
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Only the parts that measure these, such as p1,p14
    #[arg(long, value_delimiter = ',', value_name = "GOALS")]
    only: Vec<String>,
    /// How often everything is measured, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each run is timed
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    seconds: u64,
    /// Another program of the service, such as the one before a change: P1 to P6, P10 to P15, P17 are measured of both
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    #[command(flatten)]
    large: large::Sizes,
    #[command(flatten)]
    neighbour: neighbour::Sizes,
    /// For the bench itself: serve as one of the servers that the service is compared with
    #[arg(hide = true, value_parser = [servers::VERIFY, servers::INSERT])]
    serve_as: Option<String>,
}

impl Arguments {
    /// Whether a part is to be run.
    fn wants(&self, part: &[&str]) -> bool {
        self.only.is_empty() || self.names(part)
    }

    /// Whether a part was named.
    fn names(&self, part: &[&str]) -> bool {
        self.only.iter().any(|goal| part.contains(&goal.to_lowercase().as_str()))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.serve_as {
        Some(mode) => servers::run(mode).map(|()| true),
        None => measure(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cegid-indexer-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A program of the service, and what was measured of it.
struct Side {
    program: PathBuf,
    figures: Figures,
    /// p99 of each round without a burst.
    calm: Vec<f64>,
}

impl Side {
    fn new(program: PathBuf) -> Side {
        Side { program, figures: Figures::default(), calm: Vec::new() }
    }
}

/// Of this and the other program, if there is one; each begins every second round.
fn in_turn(sides: &mut [Side], round: usize) -> impl Iterator<Item = &mut Side> {
    let (first, second) = sides.split_at_mut(round % sides.len());
    second.iter_mut().chain(first)
}

/// False when a run did not pass gate 0.
fn measure(arguments: &Arguments) -> anyhow::Result<bool> {
    let known = [&ACCEPT[..], &DECODE, &END_TO_END, &CANDIDATES, &FLOOD, &LARGE, &NEIGHBOUR].concat();
    if let Some(unknown) = arguments.only.iter().find(|goal| !known.contains(&goal.to_lowercase().as_str())) {
        bail!("--only {unknown}: the goals are {}", known.join(", "));
    }
    let mut sides = vec![Side::new(service::program()?)];
    if let Some(other) = &arguments.against {
        ensure!(other.is_file(), "--against {}: there is no such program", other.display());
        sides.push(Side::new(other.clone()));
    }
    if cfg!(debug_assertions) {
        sides[0].figures.remark("this is a debug build: its figures mean nothing");
    }
    let postgres = Postgres::start()?;
    let time = Duration::from_secs(arguments.seconds.max(1));
    let signer = Signer::new(Clock::machine().now())?;
    println!(
        "PostgreSQL {}, {} processors, {} rounds of {} s",
        postgres.version(),
        std::thread::available_parallelism().map_or(0, usize::from),
        arguments.rounds,
        time.as_secs()
    );
    let (decoding, candidates) = (arguments.wants(&DECODE), arguments.wants(&CANDIDATES));
    let directory = if decoding || candidates { Some(records::candidates()?) } else { None };
    let decode = match &directory {
        Some(directory) if decoding => Some(Decode::new(Records::fetch(directory.path())?)?),
        _ => None,
    };
    let accepting = arguments.wants(&ACCEPT) || arguments.only.iter().any(|goal| goal.eq_ignore_ascii_case("p14"));
    for round in 1..=arguments.rounds {
        if accepting {
            for Side { program, figures, calm } in in_turn(&mut sides, round) {
                // Begun anew for each round, so that nothing of the others runs beside it.
                calm.push(Accept::start(&postgres, program, signer.clone(), time)?.round(round, figures)?.p99);
            }
        }
        if let Some(decode) = &decode {
            decode.round(round, time / 2, &mut sides[0].figures)?;
        }
    }
    drop(decode);
    if arguments.wants(&END_TO_END) {
        // One after the other: what runs beside a service that is measured must be the same for both.
        for Side { program, figures, calm } in &mut sides {
            let mut end_to_end = EndToEnd::start(&postgres, program, signer.clone(), figures)?;
            for round in 1..=arguments.rounds {
                end_to_end.round(round, time * PACED, calm.get(round - 1).copied(), figures)?;
            }
            end_to_end.memory(figures)?;
        }
    }
    let Side { program, figures, .. } = &mut sides[0];
    if let (true, Some(directory)) = (candidates, &directory) {
        candidates::run(&postgres, program, directory.path(), figures)?;
    }
    if arguments.wants(&FLOOD) {
        for round in 1..=arguments.rounds {
            flood::round(&postgres, program, &signer, round, time * PACED, figures)?;
        }
    }
    if arguments.names(&LARGE) {
        large::run(&postgres, program, &arguments.large, figures)?;
    }
    if arguments.names(&NEIGHBOUR) {
        let neighbours = Neighbours::start(&postgres, program, signer, &arguments.neighbour)?;
        for round in 1..=arguments.rounds {
            neighbours.round(round, figures)?;
        }
    }
    println!("\n{}", sides[0].figures);
    if let [new, old] = &sides[..] {
        println!("{}", new.figures.beside(&old.figures));
    }
    Ok(sides.iter().all(|side| side.figures.gates_hold()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_programs_begin_in_turn() {
        let mut sides = ["new", "old"].map(|name| Side::new(name.into()));
        let mut first = |round| in_turn(&mut sides, round).next().unwrap().program.clone();
        assert_eq!([first(1), first(2), first(3)], ["old", "new", "old"].map(PathBuf::from));
        assert_eq!(in_turn(&mut [Side::new("alone".into())], 1).count(), 1);
    }

    #[test]
    fn a_goal_selects_its_part() {
        let arguments = Arguments::parse_from(["bench", "--only", "P1,p14"]);
        assert!(arguments.wants(&ACCEPT) && arguments.wants(&END_TO_END));
        assert!(!arguments.wants(&DECODE) && !arguments.wants(&CANDIDATES));
        assert!(Arguments::parse_from(["bench"]).wants(&DECODE));
        assert!(!Arguments::parse_from(["bench"]).names(&LARGE));
        assert!(Arguments::parse_from(["bench", "--only", "large"]).names(&LARGE));
    }
}
