//! P1, P2, P4, P5, P6 and P17: receiving, beside pgbench, beside the checks alone, and beside one INSERT a request.
//!
//! The tenant's Cegid is a closed port: the worker is on and has nothing to read, which is "receives while Cegid is
//! away".

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use crate::{
    load::{Load, Requests, Run},
    machine::Times,
    pgbench,
    postgres::{ACCEPT, Postgres, ROWS},
    request::Signer,
    servers,
    service::{Service, Setup, closed_port},
    table::Figures,
};

/// Before a run is timed.
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// Vacancies that the callbacks are about.
const KEYS: usize = 20_000;
/// Requests a second of the open loop.
const OPEN: f64 = 1000.0;

/// The servers under test.
pub struct Accept<'a> {
    postgres: &'a Postgres,
    pgbench: Option<PathBuf>,
    service: Service,
    verify: Service,
    insert: Service,
    signer: Signer,
    keys: Arc<[String]>,
    time: Duration,
}

/// What a round's runs at 64 connections gave, for the parts that compare with them.
pub struct Round {
    /// Milliseconds within which 99 % of the answers came, 64 connections in a closed loop.
    pub p99: f64,
}

impl<'a> Accept<'a> {
    /// Starts the service and those that it is compared with.
    pub fn start(postgres: &'a Postgres, program: &Path, signer: Signer, time: Duration) -> anyhow::Result<Accept<'a>> {
        postgres.renew(ACCEPT)?;
        let cegid = format!("http://{}", closed_port()?);
        let setup = |database| -> anyhow::Result<Setup> {
            Ok(Setup { database: postgres.url(database)?, cegid: cegid.clone(), further: Vec::new() })
        };
        Ok(Accept {
            postgres,
            pgbench: postgres.pgbench(),
            service: Service::start(program, &setup(ACCEPT)?)?,
            verify: Service::compared(servers::VERIFY, &setup(ROWS)?)?,
            insert: Service::compared(servers::INSERT, &setup(ROWS)?)?,
            signer,
            keys: (1..=KEYS).map(|number| format!("\"2026-{number:05}\"")).collect(),
            time,
        })
    }

    fn load(&self, target: &Service, connections: usize, rate: Option<f64>) -> Load {
        let requests = Requests::Drawn { from: self.keys.clone(), warm_up: WARM_UP, time: self.time };
        Load { target: target.address, signer: self.signer.clone(), connections, rate, requests }
    }

    /// All comparisons once, in turn.
    pub fn round(&self, round: usize, figures: &mut Figures) -> anyhow::Result<Round> {
        let before = Times::now();
        let mut rates = BTreeMap::new();
        let mut p99 = 0.0;
        for connections in CONNECTIONS {
            let run = self.durable(connections, None, figures)?;
            let name = format!("durable accept, {connections} connections");
            figures.add(&name, "requests/s", run.rate);
            figures.add(format!("{name}: p50"), "ms", run.quantile(0.5));
            figures.add(format!("{name}: p99"), "ms", run.quantile(0.99));
            rates.insert(connections, run.rate);
            if connections == 64 {
                p99 = run.quantile(0.99);
                let verified = self.load(&self.verify, connections, None).run()?;
                figures.add("the same checks without storing, 64 connections", "requests/s", verified.rate);
                figures.gate("verify-only", verified.refused == 0, || format!("{} refused", verified.refused));
                figures.add("P2", "×", run.rate / verified.rate);
            }
            self.beside_pgbench(connections, &run, figures)?;
        }
        figures.add("P4", "×", rates[&256] / rates[&64]);
        let open = self.durable(64, Some(OPEN), figures)?;
        let insert = self.inserted(Some(OPEN), figures)?;
        figures.add("P5", "×", open.quantile(0.99) / insert.quantile(0.99));
        figures.add("P5 abs", "ms", open.quantile(0.99));
        figures.add("durable accept at 1,000/s: p50", "ms", open.quantile(0.5));
        figures.add("one INSERT a request at 1,000/s: p50", "ms", insert.quantile(0.5));
        figures.add("one INSERT a request at 1,000/s: p99", "ms", insert.quantile(0.99));
        figures.round(round, "accept", Times::now().disturbance_since(&before));
        Ok(Round { p99 })
    }

    fn beside_pgbench(&self, connections: usize, run: &Run, figures: &mut Figures) -> anyhow::Result<()> {
        let Some(program) = &self.pgbench else {
            figures.remark("no pgbench beside the PostgreSQL programs: P1 and P6 are not measured");
            return Ok(());
        };
        let commits = pgbench::run(self.postgres, program, connections, self.time + WARM_UP)?;
        figures.add(format!("pgbench one-row commits, {connections} connections"), "commits/s", commits.rate);
        figures.add(format!("P1 c={connections}"), "×", run.rate / commits.rate);
        if connections == 64 {
            figures.add("pgbench, 64 connections: p99", "ms", commits.quantile(0.99));
            figures.add("P6", "×", run.quantile(0.99) / commits.quantile(0.99));
        }
        Ok(())
    }

    /// A run against the service: rows counted, processor time split, connections counted.
    fn durable(&self, connections: usize, rate: Option<f64>, figures: &mut Figures) -> anyhow::Result<Run> {
        self.postgres.execute(ACCEPT, "truncate delivery, subject")?;
        let before = Times::now();
        let running = self.load(&self.service, connections, rate).start()?;
        if connections == 256 {
            thread::sleep(WARM_UP + self.time / 2);
            let used = "select count(*) from pg_stat_activity where application_name = 'cegid-indexer'";
            figures.add("P17", "", self.postgres.number(ACCEPT, used)?);
        }
        let run = running.finish()?;
        let after = Times::now();
        if connections == 64 && rate.is_none() {
            let micros = |seconds: f64| seconds * 1e6 / run.accepted.max(1) as f64;
            let of = |pid| micros(after.seconds_since(&before, pid));
            figures.add("processor time a request, 64 connections: service", "µs", of(self.service.pid()));
            figures.add("processor time a request, 64 connections: PostgreSQL", "µs", of(self.postgres.pid()?));
            figures.add("processor time a request, 64 connections: load generator", "µs", micros(run.cpu));
            let batches = "select count(*)::float8 / greatest(1, count(distinct xmin::text)) from delivery";
            figures.add("deliveries in one commit, 64 connections", "", self.postgres.number(ACCEPT, batches)?);
        }
        let rows = self.postgres.number(ACCEPT, "select count(*) from delivery")?;
        self.gate(&format!("durable accept, {connections} connections"), &run, rows, figures);
        Ok(run)
    }

    fn inserted(&self, rate: Option<f64>, figures: &mut Figures) -> anyhow::Result<Run> {
        self.postgres.execute(ROWS, "truncate bench_row")?;
        let run = self.load(&self.insert, 64, rate).run()?;
        let rows = self.postgres.number(ROWS, "select count(*) from bench_row")?;
        self.gate("one INSERT a request", &run, rows, figures);
        Ok(run)
    }

    fn gate(&self, name: &str, run: &Run, rows: f64, figures: &mut Figures) {
        figures.gate(name, run.refused == 0 && rows == run.accepted as f64, || {
            format!("{} answers of 200, {} others, {rows} rows", run.accepted, run.refused)
        });
    }
}
