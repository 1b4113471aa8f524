//! A whole run: a storm, then rest, then the balance.

use std::{fmt, path::Path, sync::atomic::Ordering, time::Duration};

use crate::{
    balance::{Line, balance},
    events::Event,
    load::Counts,
    refusals, settle,
    storm::Storm,
    tally::Tally,
    world::{Plan, World},
};

/// What came of a run.
pub struct Outcome {
    /// What everything was drawn from.
    pub seed: u64,
    /// What was done.
    pub tally: Tally,
    /// What holds.
    pub lines: Vec<Line>,
    /// The ledger of each tenant, as the service itself adds it up.
    pub ledgers: Vec<String>,
    load: String,
}

impl Outcome {
    /// Whether everything holds.
    pub fn balances(&self) -> bool {
        self.lines.iter().all(|line| line.wrong.is_empty())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}\n\n{}\n{}\n", self.seed, self.load, self.tally)?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for ledger in &self.ledgers {
            writeln!(f, "\n{ledger}")?;
        }
        let balances = if self.balances() { "balanced" } else { "NOT BALANCED" };
        write!(f, "\nseed {}: {balances}", self.seed)
    }
}

fn described(load: &Counts) -> String {
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "load: {} changes that were announced, {} that nobody was told of, {} callbacks under a wrong secret",
        count(&load.told),
        count(&load.silent),
        count(&load.forged)
    )
}

/// What is done to a world.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// How long events are drawn.
    pub time: Duration,
    /// From which.
    pub events: &'a [Event],
    /// Where the logs of the replicas are copied to.
    pub logs: Option<&'a Path>,
}

/// Lets a storm go over a world of its own for so long, and balances what is left.
///
/// # Errors
/// When the suite itself fails, or the service does not come to rest.
pub async fn run(plan: Plan, course: Course<'_>) -> anyhow::Result<Outcome> {
    // A flood has hundreds of connections.
    cegid_indexer::lifecycle::permit_open_files()?;
    let mut storm = Storm::new(World::start(plan).await?, plan.seed, course.events);
    let load = storm.rage(plan.seed, course.time).await?;
    let end = refusals::now();
    let known = storm.known();
    let settled = async {
        settle::at_rest(&storm.world, &known).await?;
        settle::swept(&mut storm.world, &known).await
    };
    let settled = settled.await;
    if let Some(directory) = course.logs {
        for replica in &storm.world.replicas {
            std::fs::write(directory.join(format!("{}.log", replica.name)), replica.log())?;
        }
    }
    settled?;
    let mut lines = balance(&storm.world, &known).await?;
    lines.push(storm.refusing.line(&storm.world, end));
    lines.extend(chaos_lines(&storm.tally, &load.counts));
    let mut ledgers = Vec::new();
    for tenant in &storm.world.tenants {
        ledgers.push(format!("{}\n{}", tenant.id, storm.world.ledger(&tenant.id).await?));
    }
    for tenant in &storm.world.tenants {
        tenant.simulator.stop().await;
    }
    Ok(Outcome { seed: plan.seed, tally: storm.tally, lines, ledgers, load: described(&load.counts) })
}

fn chaos_lines(tally: &Tally, load: &Counts) -> Vec<Line> {
    let forged = load.forged_accepted.load(Ordering::Relaxed);
    let accepted = if forged > 0 { vec![format!("{forged} were answered 2xx")] } else { Vec::new() };
    let unfelt =
        tally.unfelt().map(|(event, done)| format!("{} times {}: never {}", done.times, event.name(), event.effect()));
    vec![
        Line {
            holds: "nobody is let in under another's secret",
            counted: format!("{} tried", load.forged.load(Ordering::Relaxed)),
            wrong: accepted,
        },
        Line {
            holds: "no process ends by itself",
            counted: format!("{} events", tally.times()),
            wrong: tally.ended.clone(),
        },
        Line {
            holds: "a stop resets nothing and burns no attempt, an upgrade refuses nothing, and a frozen replica is refused",
            counted: "every stop, upgrade and freeze under load".to_owned(),
            wrong: tally.unclean.clone(),
        },
        Line {
            holds: "a flood of connections keeps no callback out",
            counted: "every callback beside one".to_owned(),
            wrong: tally.kept_out.clone(),
        },
        Line { holds: "the chaos happened", counted: format!("{} events", tally.times()), wrong: unfelt.collect() },
    ]
}
