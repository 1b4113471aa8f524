//! The storm: events drawn from a seed, one after the other, while faults of links and of Cegid last beside them.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use cegid_simulator::CallbackFaults;

use crate::{
    balance::Known,
    events::{
        Event,
        failover::Lost,
        lists::OddExports,
        records::{FailingRecord, LastGone, RefusedReport, announce_update},
    },
    load::Load,
    random::Random,
    refusals::{self, Windows},
    replica::{Armed, was_killed},
    tally::Tally,
    world::World,
};

/// Between two looks after the replicas.
const LOOK: Duration = Duration::from_millis(50);
/// Between two events, at most.
const GAP: u64 = 1500;
/// What is not felt by then is let be.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much longer a storm may go on, for what was done and not felt yet.
const OVERTIME: Duration = Duration::from_secs(120);
/// With every fault gone, replicas are ready by then.
const REST: Duration = Duration::from_secs(120);
/// Lines of a log that are shown of a process that ended.
const LINES: usize = 6;

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A link whose fault ends by itself.
struct Lasting {
    until: Instant,
    replica: usize,
}

/// A storm over a world.
pub struct Storm {
    /// What it goes over.
    pub world: World,
    /// Where everything is drawn from.
    pub random: Random,
    /// What was done.
    pub tally: Tally,
    /// When callbacks could be refused.
    pub refusing: Windows,
    lasting: Vec<Lasting>,
    events: Vec<Event>,
    deck: Vec<Event>,
    broken: Vec<[String; 2]>,
    /// Records that are to be buried.
    pub(crate) failing: Vec<FailingRecord>,
    /// Those that were buried and are as they were, with the places of their tenants.
    pub(crate) mended: Vec<(usize, String)>,
    /// Subjects whose reports are refused.
    pub(crate) refused: Vec<RefusedReport>,
    pub(crate) odd_exports: Vec<OddExports>,
    pub(crate) last_gone: Option<LastGone>,
    pub(crate) lost: Lost,
}

impl Storm {
    /// Before its beginning.
    pub fn new(world: World, seed: u64, events: &[Event]) -> Storm {
        let (random, tally) = (Random::new(seed), Tally::default());
        Storm {
            world,
            random,
            tally,
            refusing: Windows::default(),
            lasting: Vec::new(),
            events: events.to_vec(),
            deck: Vec::new(),
            broken: Vec::new(),
            failing: Vec::new(),
            mended: Vec::new(),
            refused: Vec::new(),
            odd_exports: Vec::new(),
            last_gone: None,
            lost: Lost::default(),
        }
    }

    /// Goes on for so long, and until all that was done was felt; then takes every fault away. Gives the load, ended.
    ///
    /// # Errors
    /// When the suite itself fails: what the service does wrong is told by the balance.
    pub async fn rage(&mut self, seed: u64, time: Duration) -> anyhow::Result<Load> {
        // Until the schema is current, nothing can be stored.
        self.refusing.add(refusals::now(), refusals::now());
        self.world.start_all()?;
        let (mut load, broken) = Load::start(&self.world, seed);
        self.broken = broken;
        let begin = Instant::now();
        while let Some(event) = self.following(begin + time) {
            eprintln!("{:>6.1} s  {}", begin.elapsed().as_secs_f64(), event.name());
            let since = refusals::now();
            event.happen(self).await?;
            if event.refuses() {
                self.refusing.add(since, refusals::now());
            }
            let gap = self.random.between(0, GAP);
            self.pause(Duration::from_millis(gap)).await?;
        }
        eprintln!("{:>6.1} s  the end", begin.elapsed().as_secs_f64());
        load.stop().await?;
        self.calm().await?;
        Ok(load)
    }

    /// What happens next; after the end, only what was never felt: one fault may hide another.
    fn following(&mut self, end: Instant) -> Option<Event> {
        let now = Instant::now();
        if now < end {
            Some(self.draw())
        } else if now < end + OVERTIME {
            self.tally.unfelt().map(|(event, _)| event).next()
        } else {
            None
        }
    }

    /// Every event comes once before any comes again.
    fn draw(&mut self) -> Event {
        if self.deck.is_empty() {
            self.deck = self.random.shuffled(self.events.clone());
        }
        self.deck.pop().unwrap_or(Event::Kill)
    }

    /// Lets so much time go by, and looks after the replicas.
    ///
    /// # Errors
    /// When a process cannot be started again.
    pub async fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.tend().await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Lets time go by until `count` is more than it was before, or so long at most, and gives by how much it is.
    ///
    /// # Errors
    /// When a process cannot be started again.
    pub async fn more(&mut self, before: u64, count: impl Fn(&Storm) -> u64) -> anyhow::Result<u64> {
        let until = Instant::now() + PATIENCE;
        while count(self) <= before && Instant::now() < until {
            self.pause(LOOK).await?;
        }
        Ok(count(self) - before)
    }

    /// Ends faults whose time is up, and starts replicas again that have ended.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for nth in 0..self.lasting.len() {
            if self.lasting[nth].until <= now {
                self.world.links[self.lasting[nth].replica].clear().await?;
            }
        }
        self.lasting.retain(|lasting| lasting.until > now);
        self.restore_exports(Some(now));
        self.lift_refusals(now);
        self.mend_buried().await;
        self.confirm_last().await?;
        for replica in &mut self.world.replicas {
            let Some(status) = replica.ended()? else { continue };
            match replica.armed().point {
                Some((point, _)) if was_killed(status) => {
                    self.tally.felt(Event::Point, 1);
                    *self.tally.points.entry(point).or_default() += 1;
                }
                _ => {
                    let last = last_lines(&replica.log());
                    self.tally.ended.push(format!("{} ended with {status}:\n{last}", replica.name));
                }
            }
            let shift = replica.armed().shift;
            replica.start(Armed { shift, ..Armed::default() })?;
        }
        Ok(())
    }

    /// A fault of a replica's links was set, and ends in so long.
    pub fn lasts(&mut self, replica: usize, time: Duration) {
        self.lasting.push(Lasting { until: Instant::now() + time, replica });
    }

    /// Runs a command of the service's at a replica whose links let it; one that fails is done again with its event.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        for replica in &self.world.replicas {
            if replica.run(arguments, &Armed::default())?.success() {
                break;
            }
        }
        Ok(())
    }

    /// Takes every fault of links, lists and calls away; replicas that are to die at a point yet are started again.
    ///
    /// # Errors
    /// When a process cannot be started again.
    pub async fn calm(&mut self) -> anyhow::Result<()> {
        self.lasting.clear();
        for links in &self.world.links {
            links.clear().await?;
            // A connection that is held or has lost an answer stays so until it is cut.
            for link in links.all() {
                link.cut().await;
            }
        }
        for tenant in &self.world.tenants {
            tenant.simulator.clear_faults();
        }
        self.restore_exports(None);
        self.tend().await?;
        for replica in &mut self.world.replicas {
            if replica.armed().point.is_some() && replica.is_started() {
                replica.kill()?;
                replica.start(Armed::default())?;
            }
        }
        let since = Instant::now();
        while let Some(unready) = self.world.unready().first() {
            let replica = &self.world.replicas[*unready];
            anyhow::ensure!(
                since.elapsed() < REST,
                "{} does not get ready:\n{}",
                replica.name,
                last_lines(&replica.log())
            );
            self.pause(LOOK).await?;
        }
        Ok(())
    }

    /// What is known at the end: callbacks go their way again, what cannot be read is told about once more, and records
    /// that were to be buried and reports that were refused for a while are as they should be.
    pub fn known(&self) -> Known {
        let mut broken: HashMap<String, HashSet<String>> = HashMap::new();
        for (tenant, keys) in self.world.tenants.iter().zip(&self.broken) {
            let simulator = &tenant.simulator;
            simulator.set_callback_faults(CallbackFaults::default());
            for (kind, key) in ["vacancy", "candidate"].into_iter().zip(keys) {
                let row = simulator.truth_of(kind, key).filter(|row| row.present && !row.anonymised);
                if row.is_some() {
                    broken.entry(tenant.id.to_string()).or_default().insert(key.clone());
                } else {
                    simulator.spoil(key, None);
                }
                announce_update(tenant, kind, key);
            }
        }
        for record in &self.failing {
            self.world.tenants[record.tenant].simulator.spoil(&record.key, None);
        }
        let mut refused: HashMap<String, HashSet<String>> = HashMap::new();
        for report in &self.refused {
            let tenant = &self.world.tenants[report.tenant];
            if report.until.is_some() {
                report.lift(tenant);
            } else {
                refused.entry(tenant.id.to_string()).or_default().insert(report.key.clone());
            }
        }
        Known { broken, refused, lost: self.lost.clone(), disturbances: self.tally.times(), ..Known::default() }
    }

    /// Keys that cannot be read, or were to be buried and may still fail, of all tenants.
    pub fn unreadable(&self) -> Vec<String> {
        let failing = self.failing.iter().map(|record| &record.key);
        let mended = self.mended.iter().map(|(_, key)| key);
        self.broken.iter().flatten().chain(failing).chain(mended).cloned().collect()
    }
}
