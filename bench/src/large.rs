//! A large load beside a small one: does memory grow with the number of records, and is the load resumed?
//!
//! The small load runs undisturbed. The large one is killed at random instants and started again; its memory is the
//! most that any of its processes held.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cegid_indexer::{database::Database, domain::TenantId, ledger};
use cegid_simulator::{Config, TruthRow};
use chrono::DateTime;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::{
    ats::Ats,
    machine::{Times, memory},
    postgres::{LARGE, Postgres, SMALL},
    request::TENANT,
    service::{Service, Setup},
    table::Figures,
};

const POLL: Duration = Duration::from_millis(50);
/// How long nothing may happen: twice a lease, and an autovacuum in between.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows of the simulator's logs.
const KEPT: usize = 20_000;
/// A kill comes up to so long after its share of the load, so that it hits any instant of a page.
const JITTER_MICROS: u64 = 400_000;
/// Between two lines about the progress.
const TOLD: Duration = Duration::from_secs(15);

/// How large the loads are.
#[derive(clap::Args)]
#[group(id = "large")]
pub struct Sizes {
    /// large: vacancies that are loaded
    #[arg(long, default_value_t = 100_000)]
    vacancies: usize,
    /// large: candidates that are loaded
    #[arg(long, default_value_t = 20_000)]
    candidates: usize,
    /// large: vacancies of the load that it is compared with
    #[arg(long, default_value_t = 10_000)]
    small_vacancies: usize,
    /// large: candidates of the load that it is compared with
    #[arg(long, default_value_t = 2_000)]
    small_candidates: usize,
    /// large: how often the service is killed during its load
    #[arg(long, default_value_t = 5)]
    kills: usize,
    /// large: decides the instants of the kills; any but 0
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seed: u64,
}

/// What a load came to.
struct Loaded {
    /// Megabytes that its largest process held.
    most: f64,
    /// Megabytes that each of its processes held.
    each: Vec<f64>,
    records: usize,
    kills: usize,
    took: Duration,
    /// Pages that were asked for.
    pages: usize,
}

/// Where a window stands.
type Windows = BTreeMap<(String, i32), (i32, bool)>;

/// Runs both loads, once.
pub fn run(postgres: &Postgres, program: &Path, sizes: &Sizes, figures: &mut Figures) -> anyhow::Result<()> {
    let before = Times::now();
    let small = Load::start(postgres, program, SMALL, sizes.small_vacancies, sizes.small_candidates)?;
    let small = small.run(&[], figures)?;
    let large = Load::start(postgres, program, LARGE, sizes.vacancies, sizes.candidates)?;
    let large = large.run(&instants(sizes.kills, sizes.seed), figures)?;
    figures.round(1, "large", Times::now().disturbance_since(&before));
    figures.add("large", "×", large.most / small.most);
    for (name, loaded) in [("small", &small), ("large", &large)] {
        let rate = loaded.records as f64 / loaded.took.as_secs_f64();
        figures.add(format!("{name} load: records"), "", loaded.records as f64);
        figures.add(format!("{name} load: most memory of any of its processes"), "MB", loaded.most);
        figures.add(format!("{name} load: records until the last report, waits for leases too"), "records/s", rate);
        figures.add(format!("{name} load: kills"), "", loaded.kills as f64);
        let each = loaded.records as f64 / loaded.pages as f64;
        figures.add(format!("{name} load: records a page that was asked for"), "", each);
    }
    for most in large.each {
        figures.add("large load: most memory of each process", "MB", most);
    }
    Ok(())
}

/// Shares of the load, in order, and microseconds after each: where the service is killed.
fn instants(kills: usize, seed: u64) -> Vec<(f64, u64)> {
    let mut random = seed;
    let mut draw = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    // The first numbers after a small seed are small.
    (0..8).for_each(|_| _ = draw());
    // One in each part of the load.
    (0..kills)
        .map(|nth| ((nth as f64 + (draw() % 1000) as f64 / 1000.0) / kills as f64, draw() % JITTER_MICROS))
        .collect()
}

struct Load<'a> {
    postgres: &'a Postgres,
    program: &'a Path,
    name: &'static str,
    ats: Ats,
    setup: Setup,
    /// The live subjects by kind and key, as reports name them.
    expected: BTreeSet<(String, String)>,
    tenant: TenantId,
    database: Database,
}

impl<'a> Load<'a> {
    fn start(
        postgres: &'a Postgres,
        program: &'a Path,
        name: &'static str,
        vacancies: usize,
        candidates: usize,
    ) -> anyhow::Result<Load<'a>> {
        let config = Config {
            // A sixth of them is not live, and the initial load asks for the live ones.
            vacancies: vacancies * 6 / 5,
            candidates,
            unaskable_references: false,
            keep_log: Some(KEPT),
            ..Config::default()
        };
        let ats = Ats::start(config)?;
        let plural = |row: &TruthRow| if row.kind == "vacancy" { "vacancies" } else { "candidates" }.to_owned();
        let live = ats.simulator.truth().into_iter().filter(|row| row.present && row.live);
        let setup = Setup {
            database: postgres.url(name)?,
            cegid: ats.simulator.base_url(),
            further: vec![("TENANTS__BENCH__LOAD_PAUSE", "0s".to_owned())],
        };
        Ok(Load {
            postgres,
            program,
            name,
            setup,
            expected: live.map(|row| (plural(&row), row.key)).collect(),
            ats,
            tenant: TENANT.parse().map_err(|_| anyhow::anyhow!("the bench's tenant has a bad name"))?,
            database: postgres.database(name)?,
        })
    }

    /// Runs it to its end, with a kill at each of these instants.
    fn run(&self, kills: &[(f64, u64)], figures: &mut Figures) -> anyhow::Result<Loaded> {
        let began = Instant::now();
        let mut each = Vec::new();
        let mut service = Service::start(self.program, &self.setup)?;
        let options: PgConnectOptions = self.setup.database.parse()?;
        let mut connection = self.postgres.block_on(options.connect())?;
        let (mut windows, mut behind) = (Windows::new(), 0);
        let (mut moved, mut told) = (Instant::now(), Instant::now());
        let mut kills_left = kills.iter();
        let mut next = kills_left.next();
        loop {
            thread::sleep(POLL);
            let (_, most) = memory(service.pid());
            let seen = self.postgres.block_on(read(&mut connection))?;
            behind += windows.iter().filter(|(window, at)| seen.get(window).is_none_or(|now| now < at)).count();
            let done: usize = seen.values().map(|(offset, _)| offset.unsigned_abs() as usize).sum();
            if seen != windows {
                moved = Instant::now();
                windows = seen;
            }
            if told.elapsed() > TOLD {
                told = Instant::now();
                eprintln!("{} load: {done} records of {}, at most {most:.1} MB", self.name, self.expected.len());
            }
            if let Some((share, later)) = next.filter(|(share, _)| done as f64 >= share * self.expected.len() as f64) {
                thread::sleep(Duration::from_micros(*later));
                each.push(memory(service.pid()).1);
                service.kill()?;
                eprintln!("{} load: killed after {:.1} %, at {done} records", self.name, share * 100.0);
                service = Service::start(self.program, &self.setup)?;
                next = kills_left.next();
            } else if !windows.is_empty() && windows.values().all(|(_, finished)| *finished) {
                break;
            } else if moved.elapsed() > PATIENCE {
                bail!("the {} load stands still at {done} records: {}", self.name, service.log_end());
            }
        }
        self.postgres.block_on(connection.close())?;
        let balanced = self.balanced()?;
        let took = began.elapsed();
        each.push(memory(service.pid()).1);
        figures.gate(self.name, balanced.is_none(), || balanced.unwrap_or_default());
        figures.gate(self.name, behind == 0, || format!("the offset of a window went back {behind} times"));
        figures.gate(self.name, next.is_none(), || "the load ended before every kill".to_owned());
        Ok(Loaded {
            most: each.iter().copied().fold(0.0, f64::max),
            kills: each.len() - 1,
            each,
            records: self.expected.len(),
            took,
            pages: self.ats.simulator.count_requests(|row| row.path.contains("/exports/") && row.method == "GET"),
        })
    }

    /// Waits for the last report; says what differs from the simulator's truth then.
    fn balanced(&self) -> anyhow::Result<Option<String>> {
        let began = Instant::now();
        loop {
            let read = ledger::read(&self.database, &self.tenant, DateTime::UNIX_EPOCH);
            let ledger = self.postgres.block_on(read).context("reading the ledger")?;
            let reported: BTreeSet<(String, String)> = self.ats.simulator.last_reports().into_keys().collect();
            let documents = usize::try_from(ledger.documents).unwrap_or(0);
            if ledger.balances() && documents == self.expected.len() && reported == self.expected {
                return Ok(None);
            }
            if began.elapsed() > PATIENCE {
                let (live, told) = (self.expected.len(), reported.len());
                return Ok(Some(format!("{live} are live at Cegid, {told} were reported\n{ledger}")));
            }
            thread::sleep(POLL * 10);
        }
    }
}

async fn read(connection: &mut PgConnection) -> anyhow::Result<Windows> {
    let rows: Vec<(String, i32, i32, bool)> =
        sqlx::query_as("select kind, position, next_offset, finished_at is not null from sweep where use = 'initial'")
            .fetch_all(connection)
            .await
            .context("reading how far the load is")?;
    Ok(rows.into_iter().map(|(kind, position, offset, finished)| ((kind, position), (offset, finished))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_instants() {
        let instants_of = |seed| instants(5, seed);
        assert_eq!(instants_of(1), instants_of(1));
        assert_ne!(instants_of(1), instants_of(2));
        assert!(instants_of(1).windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(instants_of(1).iter().all(|(share, _)| (0.0..1.0).contains(share)));
    }
}
