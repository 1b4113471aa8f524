//! Stopping: the first signal drains, the second aborts, and a task that died makes the process fail.
//!
//! The soft token is a child of the hard one, so aborting also drains. Long-lived tasks are spawned here and nowhere
//! else; each ends when the soft token is cancelled, and ending before that is a failure.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Lets the process open as many files as the system permits it: by default it begins with about a thousand, and a
/// connection that is kept open is one of them. Gives how many.
///
/// # Errors
/// When the system refuses.
pub fn permit_open_files() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(most)
}

/// Files that the process may open; none without a limit.
pub fn open_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current
}

/// When to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    hard: CancellationToken,
    soft: CancellationToken,
}

impl Default for Stop {
    fn default() -> Stop {
        let hard = CancellationToken::new();
        Stop { soft: hard.child_token(), hard }
    }
}

impl Stop {
    /// Asks for a stop: no new work is begun, what is under way is finished.
    pub fn drain(&self) {
        self.soft.cancel();
    }

    /// Stops at once: what is under way is dropped; nothing that was acknowledged is lost by it.
    pub fn abort(&self) {
        self.hard.cancel();
    }

    /// Whether a stop was asked for.
    pub fn asked(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Ends when a stop is asked for.
    pub async fn draining(&self) {
        self.soft.cancelled().await;
    }

    /// Ends when the stop must not wait any longer.
    pub async fn aborting(&self) {
        self.hard.cancelled().await;
    }

    /// A stop of its own for a part: the whole stopping stops it, not the other way round.
    pub fn part(&self) -> Stop {
        Stop { hard: self.hard.child_token(), soft: self.soft.child_token() }
    }
}

/// A long-lived task failed, or ended though nobody asked for a stop.
#[derive(Debug, thiserror::Error)]
#[error("the {0} task ended by itself")]
pub struct TaskDied(pub &'static str);

/// The long-lived tasks of the process.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<&'static str>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Tasks {
    /// Starts a task that runs until the stop.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(name, task, &Handle::current());
    }

    /// Starts a task that runs until the stop, on another runtime.
    pub fn spawn_on(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static, on: &Handle) {
        let named = async move {
            task.await;
            name
        };
        let task = self.running.spawn_on(named, on);
        self.names.insert(task.id(), name);
    }

    /// Waits until a stop was asked for and every task has ended, `drain` at most; then aborts.
    ///
    /// # Errors
    /// [`TaskDied`] when a task panicked, or ended before the stop; the others are then drained.
    pub async fn run(mut self, stop: &Stop, drain: Duration) -> Result<(), TaskDied> {
        let mut died = None;
        tokio::select! {
            () = stop.draining() => {}
            Some(ended) = self.running.join_next() => {
                // A stop that is asked for in the same instant also ends tasks.
                if !stop.asked() || ended.is_err() {
                    died = Some(self.name_of(&ended));
                }
            }
        }
        if let Some(name) = died {
            error!(task = name, "a task ended by itself: stopping");
        }
        stop.drain();
        let drained = timeout(drain, async {
            while let Some(ended) = self.running.join_next().await {
                if ended.is_err() {
                    died = died.or(Some(self.name_of(&ended)));
                }
            }
        });
        tokio::select! {
            ended = drained => if ended.is_err() { info!("work was still under way after the drain time: aborting") },
            () = stop.aborting() => {}
        }
        stop.abort();
        self.running.shutdown().await;
        died.map_or(Ok(()), |name| Err(TaskDied(name)))
    }

    fn name_of(&self, ended: &Result<&'static str, tokio::task::JoinError>) -> &'static str {
        match ended {
            Ok(name) => name,
            Err(error) => self.names.get(&error.id()).copied().unwrap_or("unknown"),
        }
    }
}

/// Ends at the first SIGINT or SIGTERM by draining, at the second by aborting.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn stop_on_signals(stop: Stop) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked {
                info!("asked to stop a second time: aborting");
                stop.abort();
                return;
            }
            asked = true;
            info!("asked to stop: draining");
            stop.drain();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_stops_the_rest_and_fails() {
        let stop = Stop::default();
        let mut tasks = Tasks::default();
        let waits = stop.clone();
        tasks.spawn("patient", async move { waits.draining().await });
        tasks.spawn("fragile", async { panic!("on purpose") });
        let died = tasks.run(&stop, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(died.0, "fragile");
    }

    #[tokio::test]
    async fn a_stop_waits_for_work_under_way() {
        let stop = Stop::default();
        let mut tasks = Tasks::default();
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let waits = stop.clone();
        tasks.spawn("worker", async move {
            waits.draining().await;
            tokio::task::yield_now().await;
            done.send(()).unwrap();
        });
        stop.drain();
        tasks.run(&stop, Duration::from_secs(5)).await.unwrap();
        assert!(finished.try_recv().is_ok());
    }

    #[tokio::test]
    async fn aborting_also_drains() {
        let stop = Stop::default();
        let part = stop.part();
        stop.abort();
        part.draining().await;
        part.aborting().await;
    }
}
