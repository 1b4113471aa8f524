//! Table `delivery`, and raising `subject.wanted`: where a callback becomes durable.
//!
//! Wanted: an answer of 2xx means committed; callbacks that arrive together share one commit; one that the database
//! cannot store costs nobody else an answer; nothing here grows with load.
//!
//! [`Inbox::record`] hands a verified callback to the writer, a task that holds its own connection. The writer takes
//! whatever waits, appends it in one statement, which is one commit, and only then answers each. While it waits for the
//! commit the next callbacks gather, so the batch grows with the load by itself. A batch that fails on its data is
//! split until the one that cannot be stored stands alone, and is stored as ignored.

mod append;
mod budget;
mod forget;
mod heard;
mod storing;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::info;

use budget::Budget;
pub use forget::forget;
pub use heard::heard_since;
pub use storing::Storing;

use crate::{
    arrivals::Arrivals,
    database::{Database, Failure, Held, failure, told},
    intake::VerifiedCallback,
    kill,
    lifecycle::Stop,
    metrics::Metrics,
    settings::Receive,
    telemetry::FailureLog,
};

/// Rows in one statement; a larger request still goes in whole.
const BATCH_ROWS: usize = 1000;
/// Contention is with a settling transaction, which is short.
const CONTENTION_RETRIES: u32 = 5;
/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(250);

/// Any sender may send such data, again and again.
static UNSTORABLE: FailureLog =
    FailureLog::new("storing a callback with its subject", "it is kept without its subject, as ignored");

/// Why a callback was not stored. The sender is told to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Too many callbacks wait for a commit.
    #[error("too many callbacks wait for their commit")]
    Full,
    /// The database cannot take it now, or did not in time. It may have been committed all the same.
    #[error("the database did not commit it in time")]
    Database,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

struct Waiting {
    callback: VerifiedCallback,
    answer: oneshot::Sender<Result<(), NotStored>>,
}

/// Where verified callbacks are handed in.
#[derive(Clone)]
pub struct Inbox {
    waiting: mpsc::Sender<Waiting>,
    commit_timeout: Duration,
}

impl Inbox {
    /// The inbox and the writer that must run beside it.
    pub fn new(
        database: Database,
        arrivals: Arc<Arrivals>,
        metrics: Arc<Metrics>,
        receive: &Receive,
    ) -> (Inbox, Writer) {
        let (waiting, callbacks) = mpsc::channel(receive.waiting_callbacks);
        let (commit_timeout, budget) = (receive.commit_timeout, Budget::new(receive.new_keys_per_minute));
        let storing = Storing::default();
        let failures = FailureLog::new("storing callbacks", "the senders are told to try again");
        let writer = Writer {
            callbacks,
            database,
            arrivals,
            metrics,
            commit_timeout,
            connection: None,
            storing,
            failures,
            budget,
        };
        (Inbox { waiting, commit_timeout }, writer)
    }

    /// Returns once the callback is committed.
    ///
    /// # Errors
    /// [`NotStored`]: the sender must not be told that we have it.
    pub async fn record(&self, callback: VerifiedCallback) -> Result<(), NotStored> {
        let (answer, answered) = oneshot::channel();
        self.waiting.try_send(Waiting { callback, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotStored::Full,
            mpsc::error::TrySendError::Closed(_) => NotStored::Stopping,
        })?;
        match timeout(self.commit_timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NotStored::Stopping),
            Err(_) => Err(NotStored::Database),
        }
    }
}

/// The task that commits.
pub struct Writer {
    callbacks: mpsc::Receiver<Waiting>,
    database: Database,
    arrivals: Arc<Arrivals>,
    metrics: Arc<Metrics>,
    commit_timeout: Duration,
    connection: Option<Held>,
    storing: Storing,
    failures: FailureLog,
    budget: Budget,
}

impl Writer {
    /// Whether what it appends is stored.
    pub fn storing(&self) -> Storing {
        self.storing.clone()
    }

    /// Runs until every [`Inbox`] is gone after a stop, or the stop is hard.
    pub async fn run(mut self, stop: Stop) {
        let mut batch = Vec::new();
        loop {
            let rows = tokio::select! {
                biased;
                () = stop.aborting() => return,
                rows = self.gather(&mut batch) => rows,
            };
            if rows == 0 {
                return;
            }
            let stored = tokio::select! {
                () = stop.aborting() => return,
                stored = self.store(&batch) => stored,
            };
            self.metrics.commits.observe(rows as f64);
            for (waiting, stored) in batch.drain(..).zip(stored) {
                if stored.is_ok() {
                    kill::point("committed");
                    self.hand_over(&waiting.callback);
                    kill::point("handed-over");
                }
                // The sender may have gone, or its time be up: what is committed stays so.
                let _gone = waiting.answer.send(stored);
            }
        }
    }

    /// Waits for a callback and takes what has gathered behind it; 0 rows when there will be no more.
    async fn gather(&mut self, batch: &mut Vec<Waiting>) -> usize {
        let Some(first) = self.callbacks.recv().await else { return 0 };
        let mut rows = first.callback.events().len();
        batch.push(first);
        while rows < BATCH_ROWS {
            let Ok(next) = self.callbacks.try_recv() else { break };
            // Its sender was told to try again, or has gone.
            if next.answer.is_closed() {
                continue;
            }
            rows += next.callback.events().len();
            batch.push(next);
        }
        rows
    }

    async fn store(&mut self, batch: &[Waiting]) -> Vec<Result<(), NotStored>> {
        let callbacks: Vec<&VerifiedCallback> = batch.iter().map(|waiting| &waiting.callback).collect();
        let mut stored = vec![Err(NotStored::Database); batch.len()];
        // What is still to be stored, from and to; stored in two halves when its data are refused.
        let mut parts = vec![(0, batch.len())];
        while let Some((from, to)) = parts.pop() {
            let part = from..to;
            match self.append(&callbacks[part.clone()], false).await {
                Ok(()) => stored[part].fill(Ok(())),
                Err(Failure::Data | Failure::Raised) if part.len() > 1 => {
                    let middle = from + part.len() / 2;
                    parts.extend([(middle, to), (from, middle)]);
                }
                Err(Failure::Data) => {
                    UNSTORABLE.failed(&"the database refuses its data");
                    if self.append(&callbacks[part.clone()], true).await.is_ok() {
                        stored[part].fill(Ok(()));
                    }
                }
                Err(Failure::Raised | Failure::Contention | Failure::Away) => {}
            }
        }
        stored
    }

    /// One statement, one commit. With `bare`, only the bytes are kept.
    async fn append(&mut self, callbacks: &[&VerifiedCallback], bare: bool) -> Result<(), Failure> {
        for _ in 0..CONTENTION_RETRIES {
            // Twice the time that the server has: one that is gone without a word must not hold the writer for ever.
            let patience = self.commit_timeout * 2;
            let (database, turns) = (self.database.clone(), self.budget.turns(callbacks));
            let Some(connection) = self.connection().await else {
                self.storing.failed();
                return Err(Failure::Away);
            };
            let appending = append::append(connection, database.numbers(), &turns, callbacks, bare);
            let error = match timeout(patience, appending).await {
                Ok(Ok(Some(unread))) => {
                    self.budget.spend(callbacks, &unread);
                    self.storing.succeeded();
                    self.failures.succeeded();
                    return Ok(());
                }
                Ok(Ok(None)) => {
                    // Whichever server that was, the next connection leads to the one that is repaired.
                    self.connection = None;
                    match database.verify_numbers().await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::PoolTimedOut,
            };
            match failure(&error) {
                Failure::Contention => {}
                Failure::Data => return Err(Failure::Data),
                Failure::Raised => {
                    self.failures.failed(&format!("a trigger refuses them: {}", told(&error)));
                    return Err(Failure::Raised);
                }
                Failure::Away => {
                    self.failures.failed(&told(&error));
                    // Whether it was committed is unknown; a connection in an unknown state is not used again.
                    self.connection = None;
                    self.storing.failed();
                    return Err(Failure::Away);
                }
            }
        }
        self.failures.failed(&"another transaction holds a lock");
        Err(Failure::Contention)
    }

    async fn connection(&mut self) -> Option<&mut Held> {
        if self.connection.is_none() {
            match self.database.held(self.commit_timeout).await {
                Ok(connected) => {
                    info!("the inbox is connected to the database");
                    self.connection = Some(connected);
                }
                Err(error) => {
                    self.failures.failed(&format!("the inbox cannot reach the database: {}", told(&error)));
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
        self.connection.as_mut()
    }

    /// Tells the worker in this process what was committed; the table stays the truth.
    fn hand_over(&self, callback: &VerifiedCallback) {
        for event in callback.events() {
            if let Some(subject) = event.raised() {
                self.arrivals.note(callback.tenant(), subject);
            }
        }
    }
}
