//! P10 to P15: from a callback to the report at the simulator.
//!
//! The time of an event is from the sending of its callback to the arrival of its subject's report. Callbacks of one
//! scenario are about different vacancies, and a scenario begins when the one before is settled and reported, so each
//! report belongs to one callback.

use std::{
    collections::HashMap,
    net::TcpStream,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cegid_indexer::clock::Clock;
use cegid_simulator::{Config, Endpoint, Fault, FaultKind};
use chrono::{DateTime, Utc};

use crate::{
    ats::Ats,
    load::{Load, Requests, Run, quantile},
    machine::{Times, memory},
    postgres::{END_TO_END, Postgres},
    request::Signer,
    service::{Ledger, Service, Setup},
    table::Figures,
};

const VACANCIES: usize = 21_000;
/// Callbacks of the burst.
const BURST: usize = 20_000;
/// Callbacks of the burst during which others trickle in.
const SMALL_BURST: usize = 5_000;
/// What trickles in, a second.
const TRICKLE: f64 = 200.0;
/// Connections that callbacks come over.
const CONNECTIONS: usize = 64;
/// Connections of the run whose memory is judged.
const MANY: usize = 256;
/// What the export takes, in milliseconds, where Cegid is slow.
const SLOW: u64 = 200;
const POLL: Duration = Duration::from_millis(10);
/// For the worst of it: a burst that is read one by one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service with its tenant, loaded and at rest.
pub struct EndToEnd<'a> {
    postgres: &'a Postgres,
    ats: Ats,
    service: Service,
    signer: Signer,
    /// References as JSON, in an order of no meaning.
    keys: Vec<String>,
    next: usize,
    clock: Clock,
}

/// What a scenario came to.
struct Story {
    run: Run,
    /// Milliseconds from each callback to its report, in order of length.
    millis: Vec<f64>,
    /// From the first callback to the last report.
    whole: Duration,
}

impl<'a> EndToEnd<'a> {
    /// Starts the simulator and the service and waits for the initial load, which is P10.
    pub fn start(
        postgres: &'a Postgres,
        program: &Path,
        signer: Signer,
        figures: &mut Figures,
    ) -> anyhow::Result<EndToEnd<'a>> {
        let config = Config { vacancies: VACANCIES, candidates: 0, unaskable_references: false, ..Config::default() };
        let ats = Ats::start(config)?;
        postgres.renew(END_TO_END)?;
        let setup = Setup {
            database: postgres.url(END_TO_END)?,
            cegid: ats.simulator.base_url(),
            // Otherwise the courtesy to Cegid is what would be measured.
            further: vec![("TENANTS__BENCH__LOAD_PAUSE", "0s".to_owned())],
        };
        let (before, ats_before) = (Times::now(), Ats::seconds());
        let service = Service::start(program, &setup)?;
        let mut keys: Vec<String> = ats
            .simulator
            .truth()
            .iter()
            .filter(|row| row.present)
            .map(|row| serde_json::to_string(&row.key))
            .collect::<Result<_, _>>()?;
        shuffle(&mut keys);
        let end_to_end = EndToEnd { postgres, ats, service, signer, keys, next: 0, clock: Clock::machine() };
        end_to_end.loaded(figures)?;
        // The rounds are about a service that has run for a while, when autovacuum has done this.
        postgres.execute(END_TO_END, "analyze")?;
        figures.add("P10 import: share of the simulator in the processor time", "%", {
            let ats = Ats::seconds() - ats_before;
            let others = Times::now().seconds_since(&before, std::process::id());
            100.0 * ats / others.max(0.01)
        });
        Ok(end_to_end)
    }

    /// Waits for the initial load and everything that it is to report.
    fn loaded(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let left =
            "select count(*) filter (where finished_at is null) + (count(*) = 0)::int from sweep where use = 'initial'";
        let began = Instant::now();
        while self.postgres.number(END_TO_END, left).unwrap_or(1.0) > 0.0 {
            if began.elapsed() > PATIENCE {
                bail!("the initial load did not end: {}", self.service.log_end());
            }
            thread::sleep(POLL * 10);
        }
        let ended = "select extract(epoch from max(finished_at)) from sweep where use = 'initial' and kind = 'vacancy'";
        let ended = self.postgres.number(END_TO_END, ended)?;
        let requests = self.ats.simulator.requests();
        let first = requests.iter().find(|row| row.path.ends_with("/vacancies")).context("no export was asked for")?;
        let took = ended - seconds(first.at);
        let ledger = self.balanced()?;
        figures.gate("initial load", ledger.balances && ledger.documents > 0, || ledger.says.to_string());
        figures.add("P10 import: fetched, decoded and stored", "vacancies/s", ledger.documents as f64 / took);
        Ok(())
    }

    /// One round of all scenarios; `paced` is how long callbacks come at 10/s. `calm` is the answers' p99 without work.
    pub fn round(
        &mut self,
        round: usize,
        paced: Duration,
        calm: Option<f64>,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let before = Times::now();
        let count = |rate: f64| (rate * paced.as_secs_f64()).ceil() as usize;
        let story = self.story("10/s", count(10.0), CONNECTIONS, Some(10.0), figures)?;
        figures.add("P11 callback to report, 10/s: p50", "ms", quantile(&story.millis, 0.5));
        figures.add("P11 callback to report, 10/s: p99", "ms", quantile(&story.millis, 0.99));

        self.ats.simulator.add_fault(Fault::new(Endpoint::Vacancies, FaultKind::Slow { millis: SLOW }));
        for (rate, goal) in [(10.0, "P13 10/s"), (100.0, "P13 100/s")] {
            let story = self.story(goal, count(rate).min(1000), CONNECTIONS, Some(rate), figures)?;
            figures.add(goal, "ms", quantile(&story.millis, 0.99) - SLOW as f64);
            figures.add(format!("{goal} p50 to the report, the 200 ms included"), "ms", quantile(&story.millis, 0.5));
        }
        self.ats.simulator.clear_faults();

        let (times, ats) = (Times::now(), Ats::seconds());
        let story = self.story("burst", BURST, CONNECTIONS, None, figures)?;
        let after = Times::now();
        let micros = |seconds: f64| seconds * 1e6 / BURST as f64;
        let name = "processor time an event, burst";
        figures.add(
            "P12 burst of 20,000: events until the last report",
            "events/s",
            BURST as f64 / story.whole.as_secs_f64(),
        );
        figures.add(format!("{name}: service"), "µs", micros(after.seconds_since(&times, self.service.pid())));
        figures.add(format!("{name}: PostgreSQL"), "µs", micros(after.seconds_since(&times, self.postgres.pid()?)));
        figures.add(format!("{name}: simulator"), "µs", micros(Ats::seconds() - ats));
        figures.add("burst: p99 of the answers", "ms", story.run.quantile(0.99));
        figures.add("burst: accepted", "requests/s", story.run.rate);
        match calm {
            Some(calm) => figures.add("P14", "×", story.run.quantile(0.99) / calm),
            None => figures.remark("P14 compares with the answers of part accept, which was not run"),
        }
        self.trickle(figures)?;
        figures.round(round, "end to end", Times::now().disturbance_since(&before));
        Ok(())
    }

    /// P15: the burst over many connections, then the most that the service ever held.
    pub fn memory(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        let address = self.service.address;
        let open: Vec<TcpStream> =
            (CONNECTIONS..MANY).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
        self.story("burst, 256 connections", BURST, CONNECTIONS, None, figures)?;
        drop(open);
        self.story("burst, 256 connections", BURST, MANY, None, figures)?;
        let (now, most) = memory(self.service.pid());
        figures.add("P15", "MB", most);
        figures.add("P15 resident after the last burst", "MB", now);
        Ok(())
    }

    /// Callbacks that trickle in while a burst is worked: are they answered, and is the burst held up?
    fn trickle(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        let from: Arc<[String]> = self.take(100).into();
        let requests = Requests::Drawn { from, warm_up: Duration::ZERO, time: PATIENCE };
        let load = Load { requests, rate: Some(TRICKLE), ..self.load(CONNECTIONS, None, Vec::new()) };
        let running = load.start()?;
        let told = self.burst_reported(SMALL_BURST, figures);
        running.stop();
        let trickled = running.finish()?;
        let whole = told?;
        figures.add(
            "burst of 5,000 while others come at 200/s: events",
            "events/s",
            SMALL_BURST as f64 / whole.as_secs_f64(),
        );
        figures.add("burst of 5,000: p99 of the others' answers", "ms", trickled.quantile(0.99));
        let ledger = self.balanced()?;
        figures.gate("trickle", trickled.refused == 0 && ledger.balances, || ledger.says.to_string());
        Ok(())
    }

    /// Sends a burst and waits for the report of each of its subjects, whatever else is reported.
    fn burst_reported(&mut self, count: usize, figures: &mut Figures) -> anyhow::Result<Duration> {
        let keys = self.take(count);
        let before = self.ats.simulator.report_count();
        let began = Instant::now();
        let run = self.load(CONNECTIONS, None, keys.clone()).run()?;
        figures.gate("burst beside others", run.refused == 0, || format!("{} refused", run.refused));
        let (arrived, ended) = self.reported(&keys, before, began)?;
        figures
            .gate("burst beside others", arrived.len() == count, || format!("{} of {count} reported", arrived.len()));
        Ok(ended)
    }

    fn take(&mut self, count: usize) -> Vec<String> {
        let keys = self.keys.iter().cycle().skip(self.next).take(count).cloned().collect();
        self.next = (self.next + count) % self.keys.len();
        keys
    }

    fn load(&self, connections: usize, rate: Option<f64>, keys: Vec<String>) -> Load {
        let requests = Requests::Each(keys.into());
        Load { target: self.service.address, signer: self.signer.clone(), connections, rate, requests }
    }

    /// Sends one callback for each of so many vacancies, and waits until every outcome is reported.
    fn story(
        &mut self,
        name: &str,
        count: usize,
        connections: usize,
        rate: Option<f64>,
        figures: &mut Figures,
    ) -> anyhow::Result<Story> {
        let keys = self.take(count);
        let (reports, received) = (self.ats.simulator.report_count(), self.service.ledger()?.received);
        let (began, began_at) = (Instant::now(), self.clock.now());
        let run = self.load(connections, rate, keys.clone()).run()?;
        let (arrived, whole) = self.reported(&keys, reports, began)?;
        let mut millis: Vec<f64> = run
            .began
            .iter()
            .filter_map(|(key, sent)| {
                let arrived = (*arrived.get(&keys[*key])? - began_at).as_seconds_f64();
                Some((arrived - (*sent - began).as_secs_f64()) * 1000.0)
            })
            .collect();
        millis.sort_by(f64::total_cmp);
        let ledger = self.balanced()?;
        let stored = usize::try_from(ledger.received - received).unwrap_or(0);
        let holds = run.refused == 0 && stored == run.accepted && millis.len() == count && ledger.balances;
        figures.gate(name, holds, || {
            format!(
                "{} answers of 200, {stored} rows, {} of {count} reported\n{}",
                run.accepted,
                millis.len(),
                ledger.says
            )
        });
        Ok(Story { run, millis, whole })
    }

    /// When the report of each of these keys arrived first, and how long after `began` the last of them did; keys that
    /// were not reported in time are left out.
    fn reported(
        &self,
        keys: &[String],
        before: usize,
        began: Instant,
    ) -> anyhow::Result<(HashMap<String, DateTime<Utc>>, Duration)> {
        let began_at = self.clock.now() - began.elapsed();
        loop {
            let late = began.elapsed() > PATIENCE;
            if late || self.ats.simulator.report_count() >= before + keys.len() {
                let mut arrived: HashMap<String, DateTime<Utc>> = HashMap::new();
                for row in self.ats.simulator.reports().split_off(before) {
                    arrived.entry(serde_json::to_string(&row.id)?).or_insert(row.at);
                }
                let mine: HashMap<String, DateTime<Utc>> =
                    keys.iter().filter_map(|key| Some((key.clone(), *arrived.get(key)?))).collect();
                if late || mine.len() == keys.len() {
                    let last = mine.values().max().copied().unwrap_or(began_at);
                    return Ok((mine, (last - began_at).to_std().unwrap_or_default()));
                }
            }
            thread::sleep(POLL);
        }
    }

    /// The ledger once it balances, or as it stands when patience has run out.
    fn balanced(&self) -> anyhow::Result<Ledger> {
        let began = Instant::now();
        loop {
            let ledger = self.service.ledger()?;
            if ledger.balances || began.elapsed() > PATIENCE {
                return Ok(ledger);
            }
            thread::sleep(POLL * 10);
        }
    }
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

/// The same order in every run.
fn shuffle(keys: &mut [String]) {
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
    for last in (1..keys.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        keys.swap(last, (random % (last as u64 + 1)) as usize);
    }
}
