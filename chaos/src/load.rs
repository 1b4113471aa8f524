//! A busy day at each tenant: changes that are told, changes that nobody tells, callbacks sent again or never, and
//! callbacks that another tenant's secret signed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cegid_simulator::{CallbackFaults, RawCallback, Simulator, Spoil};
use tokio::{task::JoinHandle, time::interval};

use crate::{random::Random, world::World};

/// Between two rounds of changes.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds after which failed callbacks are sent again, one is forged, and it is looked which subjects there are.
const ROUNDS: u64 = 10;
/// Changes of a round, at most.
const CHANGES: u64 = 2;
/// Percent of the changes that nobody is told of.
const SILENT: u64 = 15;
/// Failed callbacks sent again at once: under many failures the newest wait long.
const SENT_AGAIN: usize = 200;
/// What becomes of callbacks on their way: those that are dropped are never sent again.
const MISHAPS: CallbackFaults =
    CallbackFaults { drop_percent: 4, duplicate_percent: 5, shuffle: true, delay_percent: 5, delay_millis: 1500 };

/// Event of callbacks that another tenant's secret signed.
pub const FORGED: &str = "vacancy_forged";

/// What the load did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Changes that were announced.
    pub told: AtomicU64,
    /// Changes that were not.
    pub silent: AtomicU64,
    /// Callbacks under another tenant's secret.
    pub forged: AtomicU64,
    /// Of these, those that were answered 2xx.
    pub forged_accepted: AtomicU64,
}

/// The load on all tenants, until it is stopped.
pub struct Load {
    /// What it has done so far.
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins it, at all tenants but the small one. One vacancy and one candidate of each tenant cannot be read from
    /// now on; gives their keys.
    pub fn start(world: &World, seed: u64) -> (Load, Vec<[String; 2]>) {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (mut tasks, mut broken) = (Vec::new(), Vec::new());
        for (nth, tenant) in world.tenants.iter().enumerate().filter(|(_, tenant)| !tenant.small) {
            let simulator = tenant.simulator.clone();
            let truth = simulator.truth();
            let first = |kind: &str| truth.iter().find(|row| row.kind == kind && row.live).map(|row| row.key.clone());
            let keys = ["vacancy", "candidate"].map(|kind| first(kind).unwrap_or_default());
            for key in &keys {
                simulator.spoil(key, Some(Spoil::BrokenArchive));
            }
            broken.push(keys);
            simulator.set_callback_faults(MISHAPS);
            let forger = Forger {
                url: format!("http://{}/api/talentsoft/v1/{}/events", world.front.address, tenant.id),
                secret: world.tenants[(nth + 1) % world.tenants.len()].simulator.config().client_secret.clone(),
            };
            let random = Random::new(seed.wrapping_mul(31).wrapping_add(nth as u64));
            tasks.push(tokio::spawn(work(simulator, random, forger, counts.clone(), stop.clone())));
        }
        (Load { counts, stop, tasks }, broken)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a task of it has failed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await?;
        }
        Ok(())
    }
}

/// Signs with the secret of another tenant.
struct Forger {
    url: String,
    secret: String,
}

async fn work(simulator: Simulator, mut random: Random, forger: Forger, counts: Arc<Counts>, stop: Arc<AtomicBool>) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut keys = Keys::of(&simulator);
    for round in 0.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..random.between(0, CHANGES + 1) {
            if random.percent(SILENT) {
                keys.change_silently(&simulator, &mut random);
                counts.silent.fetch_add(1, Ordering::Relaxed);
            } else {
                simulator.change_at_random();
                counts.told.fetch_add(1, Ordering::Relaxed);
            }
        }
        if round % ROUNDS == 0 {
            keys = Keys::of(&simulator);
            simulator.resend_failed(SENT_AGAIN);
            let key = random.pick(&keys.vacancies);
            let raw = RawCallback {
                url: forger.url.clone(),
                body: format!(r#"{{"reference":"{key}","event_type":"{FORGED}"}}"#).into_bytes(),
                content_md5: true,
                secret: Some(forger.secret.clone()),
                ..RawCallback::default()
            };
            let accepted = simulator.send_raw(&raw).await.accepted();
            counts.forged.fetch_add(1, Ordering::Relaxed);
            counts.forged_accepted.fetch_add(u64::from(accepted), Ordering::Relaxed);
        }
    }
}

/// Subjects as they were when last looked at; one may be gone by now.
struct Keys {
    vacancies: Vec<String>,
    candidates: Vec<String>,
}

impl Keys {
    fn of(simulator: &Simulator) -> Keys {
        let (mut vacancies, mut candidates) = (Vec::new(), Vec::new());
        for row in simulator.truth().into_iter().filter(|row| row.present && !simulator.is_spared(&row.key)) {
            if row.kind == "vacancy" { vacancies.push(row.key) } else { candidates.push(row.key) }
        }
        Keys { vacancies, candidates }
    }

    fn change_silently(&self, simulator: &Simulator, random: &mut Random) {
        let (vacancy, candidate) = (random.pick(&self.vacancies), random.pick(&self.candidates));
        if simulator.is_spared(&vacancy) || simulator.is_spared(&candidate) {
            return;
        }
        // A subject that is gone stays as it is.
        let _changed = match random.between(0, 100) {
            0..25 => simulator.edit_silently(&vacancy),
            25..50 => simulator.edit_silently(&candidate),
            50..60 => simulator.set_vacancy_status_silently(&vacancy, "Archived"),
            60..70 => simulator.set_vacancy_status_silently(&vacancy, "Published"),
            70..75 => simulator.delete_silently(&vacancy),
            75..80 => simulator.delete_silently(&candidate),
            80..85 => simulator.anonymise_silently(&candidate),
            85..93 => Ok(simulator.create_silently("vacancy").len() as u64),
            _ => Ok(simulator.create_silently("candidate").len() as u64),
        };
    }
}
