//! The one source of time: the database's in production, turned by hand in tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

/// Tells the time and waits for it. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// The machine's clock, corrected by what the database's differs, in microseconds, once that is known.
    Machine { ahead: AtomicI64, known: watch::Sender<bool> },
    /// Stands still until it is turned. `machine_ahead` is what the machine's clock is ahead of it, in microseconds: 0,
    /// unless a test sets it.
    Turned { now: watch::Sender<DateTime<Utc>>, machine_ahead: AtomicI64 },
}

impl Clock {
    /// The machine's clock, which [`Clock::follow`] corrects.
    pub fn machine() -> Clock {
        Clock(Arc::new(Source::Machine { ahead: AtomicI64::new(0), known: watch::Sender::new(false) }))
    }

    /// A clock that stands at `at` until [`Clock::turn`] moves it.
    pub fn turned(at: DateTime<Utc>) -> Clock {
        Clock(Arc::new(Source::Turned { now: watch::Sender::new(at), machine_ahead: AtomicI64::new(0) }))
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        match &*self.0 {
            Source::Machine { ahead, .. } => machine() + TimeDelta::microseconds(ahead.load(Ordering::Relaxed)),
            Source::Turned { now, .. } => *now.borrow(),
        }
    }

    /// What time it is by the machine's own clock, which the database corrects nothing of.
    pub fn machine_now(&self) -> DateTime<Utc> {
        match &*self.0 {
            Source::Machine { .. } => machine(),
            Source::Turned { now, machine_ahead } => {
                *now.borrow() + TimeDelta::microseconds(machine_ahead.load(Ordering::Relaxed))
            }
        }
    }

    /// By how much this clock is ahead of the machine's own.
    pub fn ahead_of_machine(&self) -> TimeDelta {
        match &*self.0 {
            Source::Machine { ahead, .. } => TimeDelta::microseconds(ahead.load(Ordering::Relaxed)),
            Source::Turned { machine_ahead, .. } => TimeDelta::microseconds(-machine_ahead.load(Ordering::Relaxed)),
        }
    }

    /// Says how the database's time differs from the machine's, if by more whole seconds than the allowance.
    pub fn disagreement(&self, allowance: Duration) -> Option<String> {
        let ahead = self.ahead_of_machine().num_seconds();
        let (seconds, direction) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
        let differs = seconds > allowance.as_secs();
        differs.then(|| format!("the database's time is {seconds} s {direction} this machine's: set both clocks right"))
    }

    /// Sets the machine's own clock of a turned clock. That of a machine cannot be set.
    pub fn set_machine_ahead(&self, by: TimeDelta) {
        if let Source::Turned { machine_ahead, .. } = &*self.0 {
            machine_ahead.store(by.num_microseconds().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Corrects the machine's clock by the database's, read just now. A turned clock stays where it is.
    pub fn follow(&self, database: DateTime<Utc>) {
        if let Source::Machine { ahead, known } = &*self.0 {
            let micros = (database - machine()).num_microseconds().unwrap_or(0);
            ahead.store(micros, Ordering::Relaxed);
            known.send_if_modified(|known| !std::mem::replace(known, true));
        }
    }

    /// Waits until it can be judged by: the machine's clock not before it has followed the database's.
    pub async fn until_set(&self) {
        if let Source::Machine { known, .. } = &*self.0 {
            let mut known = known.subscribe();
            // The sender lives in this clock, so waiting ends only by the value.
            let _set = known.wait_for(|known| *known).await;
        }
    }

    /// Moves a turned clock forward and wakes who waits on it. The machine's clock cannot be turned.
    pub fn turn(&self, by: Duration) {
        if let Source::Turned { now, .. } = &*self.0 {
            now.send_modify(|now| *now += by);
        }
    }

    /// Waits until `at`.
    pub async fn sleep_until(&self, at: DateTime<Utc>) {
        match &*self.0 {
            Source::Machine { .. } => {
                tokio::time::sleep((at - self.now()).to_std().unwrap_or_default()).await;
            }
            Source::Turned { now, .. } => {
                let mut now = now.subscribe();
                // The sender lives in this clock, so waiting ends only by the time.
                let _ended = now.wait_for(|now| *now >= at).await;
            }
        }
    }

    /// Waits for so long.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }
}

/// What the machine's clock shows.
#[allow(clippy::disallowed_methods, reason = "this is the one home of the machine's clock")]
fn machine() -> DateTime<Utc> {
    #[cfg(feature = "kill-points")]
    return Utc::now() + crate::kill::shift();
    #[cfg(not(feature = "kill-points"))]
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turned_clock_wakes_its_sleepers() {
        let clock = Clock::turned(DateTime::UNIX_EPOCH);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.turn(Duration::from_secs(3600));
        sleeper.await.unwrap();
    }

    #[tokio::test]
    async fn the_machines_clock_follows_the_database() {
        let clock = Clock::machine();
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.until_set().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let database = clock.now() + Duration::from_secs(7200);
        clock.follow(database);
        waiting.await.unwrap();
        clock.until_set().await;
        assert!((clock.now() - database).abs() < TimeDelta::seconds(60));
    }
}
