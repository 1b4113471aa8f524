//! A small tenant beside one with 100,000 unsettled subjects, in one service: is the small one served in time?
//!
//! The large tenant's subjects were never read: each is fetched, decoded, stored and reported, as after an outage or
//! with a burst of callbacks. The time of an event is from the sending of its callback to the arrival of its report.

use std::{
    collections::HashMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cegid_indexer::{
    clock::Clock,
    database::Database,
    domain::TenantId,
    ledger::{self, Ledger},
};
use cegid_simulator::{Config, Endpoint, Fault, FaultKind};
use chrono::{DateTime, Utc};

use crate::{
    ats::Ats,
    load::{Load, Requests, quantile},
    machine::Times,
    postgres::{NEIGHBOUR, Postgres},
    request::{Signer, TENANT},
    service::{Service, Setup},
    table::Figures,
};

/// Name of the large tenant in the service's settings.
const BIG: &str = "big";
/// Vacancies of the small tenant.
const VACANCIES: usize = 3_000;
/// Connections that callbacks come over.
const CONNECTIONS: usize = 4;
/// What a call takes, in milliseconds, where a Cegid takes its time.
const SLOW: u64 = 100;
/// Rows of the simulators' logs.
const KEPT: usize = 10_000;
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// No window is to be loaded: the queue is the large tenant's only work.
const NOTHING_TO_LOAD: &str = "insert into sweep (tenant, kind, use, position, started_at, finished_at)
     select 'big', kind, 'initial', 0, now(), now() from unnest(array['vacancy', 'candidate']) as kind";
const FORGET: &str = "delete from subject where tenant = 'big'; delete from document where tenant = 'big';
     delete from report_item where tenant = 'big'";
/// What autovacuum does in time.
const TIDY: [&str; 2] = ["vacuum analyze subject, document, report_item", "checkpoint"];
const WAITING: &str = "select count(*) from subject where tenant = 'big' and waiting";

/// How much is measured.
#[derive(clap::Args)]
#[group(id = "neighbour")]
pub struct Sizes {
    /// neighbour: unsettled subjects of the large tenant
    #[arg(long, default_value_t = 100_000)]
    unsettled: usize,
    /// neighbour: callbacks of the small tenant in each run
    #[arg(long, default_value_t = 600)]
    callbacks: usize,
    /// neighbour: these a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
}

/// A service with both tenants.
pub struct Neighbours<'a> {
    postgres: &'a Postgres,
    sizes: &'a Sizes,
    small: Ats,
    big: Ats,
    service: Service,
    database: Database,
    tenant: TenantId,
    signer: Signer,
    /// The small tenant's references as JSON.
    keys: Vec<String>,
    /// The large tenant's references.
    unsettled: Vec<String>,
    clock: Clock,
}

/// Whose Cegid takes its time.
#[derive(Clone, Copy, PartialEq)]
enum Slow {
    None,
    Big,
    Both,
}

impl<'a> Neighbours<'a> {
    /// Starts both simulators and the service, and waits until the small tenant is loaded.
    pub fn start(
        postgres: &'a Postgres,
        program: &Path,
        signer: Signer,
        sizes: &'a Sizes,
    ) -> anyhow::Result<Neighbours<'a>> {
        let config = Config { candidates: 0, unaskable_references: false, keep_log: Some(KEPT), ..Config::default() };
        let small = Ats::start(Config { vacancies: VACANCIES, ..config.clone() })?;
        let big = Ats::beside(Config { vacancies: sizes.unsettled, ..config })?;
        let database = postgres.database(NEIGHBOUR)?;
        postgres.block_on(database.migrate())?;
        postgres.execute(NEIGHBOUR, NOTHING_TO_LOAD)?;
        let setup = Setup {
            database: postgres.url(NEIGHBOUR)?,
            cegid: small.simulator.base_url(),
            further: vec![
                ("TENANTS__BENCH__LOAD_PAUSE", "0s".to_owned()),
                ("TENANTS__BIG__BASE_URL", big.simulator.base_url()),
                ("TENANTS__BIG__CLIENT_ID", big.simulator.config().client_id.clone()),
                ("TENANTS__BIG__CLIENT_SECRET", big.simulator.config().client_secret.clone()),
            ],
        };
        let present = |ats: &Ats| ats.simulator.truth().into_iter().filter(|row| row.present && row.live);
        let keys = present(&small).map(|row| serde_json::to_string(&row.key)).collect::<Result<_, _>>()?;
        let unsettled = big.simulator.truth().into_iter().map(|row| row.key).collect();
        let neighbours = Neighbours {
            postgres,
            sizes,
            keys,
            unsettled,
            small,
            big,
            service: Service::start(program, &setup)?,
            database,
            tenant: TENANT.parse().map_err(|_| anyhow::anyhow!("the bench's tenant has a bad name"))?,
            signer,
            clock: Clock::machine(),
        };
        let ledger = neighbours.balanced(|ledger| ledger.documents == neighbours.keys.len() as i64)?;
        if !ledger.balances() {
            bail!("the small tenant was not loaded: {ledger}\n{}", neighbours.service.log_end());
        }
        Ok(neighbours)
    }

    /// One round: alone and beside, with Cegids that answer at once and with such that take their time.
    pub fn round(&self, round: usize, figures: &mut Figures) -> anyhow::Result<()> {
        let before = Times::now();
        // Every second round the other way round, so that nothing that grows favours one of them.
        let turned = round.is_multiple_of(2);
        let mut p99: HashMap<&str, f64> = HashMap::new();
        let mut runs = [
            ("alone", Slow::None, false),
            ("beside", Slow::None, true),
            ("beside, the big one's Cegid slow", Slow::Big, true),
            ("alone, its Cegid slow", Slow::Both, false),
            ("beside, both Cegids slow", Slow::Both, true),
        ];
        if turned {
            runs.reverse();
        }
        for (name, slow, beside) in runs {
            let millis = self.run(name, slow, beside, figures)?;
            for share in [0.5, 0.99] {
                let name = format!("callback to report, {name}: p{:.0}", share * 100.0);
                figures.add(name, "ms", quantile(&millis, share));
            }
            eprintln!("round {round} {name}: p99 {:.1} ms", quantile(&millis, 0.99));
            p99.insert(name, quantile(&millis, 0.99));
        }
        figures.add("next door", "×", p99["beside"] / p99["alone"]);
        figures.add("next slow", "×", p99["beside, the big one's Cegid slow"] / p99["alone"]);
        figures.add("both slow", "×", p99["beside, both Cegids slow"] / p99["alone, its Cegid slow"]);
        figures.round(round, "neighbour", Times::now().disturbance_since(&before));
        Ok(())
    }

    /// Milliseconds from each callback to its report, in order of length.
    fn run(&self, name: &str, slow: Slow, beside: bool, figures: &mut Figures) -> anyhow::Result<Vec<f64>> {
        self.empty()?;
        let fault = || Fault::new(Endpoint::Any, FaultKind::Slow { millis: SLOW });
        if slow != Slow::None {
            self.big.simulator.add_fault(fault());
        }
        if slow == Slow::Both {
            self.small.simulator.add_fault(fault());
        }
        let before = if beside { self.fill()? } else { 0.0 };
        let began = Instant::now();
        let keys: Vec<String> = self.keys.iter().take(self.sizes.callbacks).cloned().collect();
        let (mut millis, ledger) = self.story(&keys)?;
        if beside {
            let (left, took) = (self.waiting()?, began.elapsed().as_secs_f64());
            figures.gate(name, left > 0.0, || "nothing was left of the large tenant's queue at the end".to_owned());
            figures.add(format!("big tenant, {name}: read"), "subjects/s", (before - left) / took);
        }
        self.small.simulator.clear_faults();
        self.big.simulator.clear_faults();
        figures.gate(name, millis.len() == keys.len() && ledger.balances(), || {
            format!("{} of {} reported\n{ledger}", millis.len(), keys.len())
        });
        millis.sort_by(f64::total_cmp);
        Ok(millis)
    }

    /// Sends a callback about each of these, and waits for their reports.
    fn story(&self, keys: &[String]) -> anyhow::Result<(Vec<f64>, Ledger)> {
        let before = self.small.simulator.report_count();
        let (began, began_at) = (Instant::now(), self.clock.now());
        let load = Load {
            target: self.service.address,
            signer: self.signer.clone(),
            connections: CONNECTIONS,
            rate: Some(self.sizes.rate),
            requests: Requests::Each(keys.to_vec().into()),
        };
        let run = load.run()?;
        if run.refused > 0 {
            bail!("{} callbacks were refused: {}", run.refused, self.service.log_end());
        }
        while self.small.simulator.report_count() < before + keys.len() && began.elapsed() < PATIENCE {
            thread::sleep(POLL);
        }
        let mut arrived: HashMap<String, DateTime<Utc>> = HashMap::new();
        for row in self.small.simulator.reports_after(before) {
            arrived.entry(serde_json::to_string(&row.id)?).or_insert(row.at);
        }
        let millis = run.began.iter().filter_map(|(key, sent)| {
            let arrived = (*arrived.get(&keys[*key])? - began_at).as_seconds_f64();
            Some((arrived - (*sent - began).as_secs_f64()) * 1000.0)
        });
        Ok((millis.collect(), self.balanced(|_| true)?))
    }

    /// Makes all of the large tenant's vacancies such as were never read, and waits until they are being read.
    fn fill(&self) -> anyhow::Result<f64> {
        let insert = sqlx::query(
            "with drawn as (select key, nextval('request_number') as number from unnest($1::text[]) as key)
             insert into subject (tenant, kind, key, wanted, announced, due_at, waiting_since)
             select $2, 'vacancy', key, number, number, $3, $3 from drawn",
        );
        let insert = insert.bind(&self.unsettled).bind(BIG).bind(self.clock.now());
        self.postgres.block_on(insert.execute(self.database.pool())).context("filling the large tenant's queue")?;
        self.postgres.execute(NEIGHBOUR, TIDY[0])?;
        let began = Instant::now();
        while self.waiting()? > self.unsettled.len() as f64 * 0.98 {
            if began.elapsed() > PATIENCE {
                bail!("the large tenant is not worked: {}", self.service.log_end());
            }
            thread::sleep(POLL);
        }
        self.waiting()
    }

    /// Leaves nothing of the large tenant, as soon as it is at rest.
    fn empty(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let held = "select (select count(*) from subject where tenant = 'big')
             + (select count(*) from report_item where tenant = 'big')";
        loop {
            // What is being settled at this moment can be in the way, or come after it.
            let forgotten = self.postgres.execute(NEIGHBOUR, FORGET);
            thread::sleep(Duration::from_secs(1));
            if forgotten.is_ok() && self.postgres.number(NEIGHBOUR, held)? == 0.0 {
                break;
            }
            if began.elapsed() > PATIENCE {
                forgotten?;
                bail!("the large tenant does not come to rest: {}", self.service.log_end());
            }
        }
        TIDY.iter().try_for_each(|statement| self.postgres.execute(NEIGHBOUR, statement))
    }

    fn waiting(&self) -> anyhow::Result<f64> {
        self.postgres.number(NEIGHBOUR, WAITING)
    }

    /// The small tenant's ledger once it balances, or as it stands when patience has run out.
    fn balanced(&self, also: impl Fn(&Ledger) -> bool) -> anyhow::Result<Ledger> {
        let began = Instant::now();
        loop {
            let read = ledger::read(&self.database, &self.tenant, DateTime::UNIX_EPOCH);
            let ledger = self.postgres.block_on(read).context("reading the ledger")?;
            if ledger.balances() && also(&ledger) || began.elapsed() > PATIENCE {
                return Ok(ledger);
            }
            thread::sleep(POLL * 10);
        }
    }
}
