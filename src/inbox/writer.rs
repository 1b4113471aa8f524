//! The task that commits.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    NotStored, Readiness, Waiting, append,
    aside::Aside,
    budget::{Budget, Turns},
    lanes::Lanes,
    session::Session,
};
use crate::{
    arrivals::Arrivals,
    database::{Database, Failure, failure, is_lock_timeout, is_unanswered, told},
    intake::VerifiedCallback,
    kill,
    lifecycle::Stop,
    metrics::Metrics,
    settings::Receive,
    telemetry::FailureLog,
};

/// Contention other than a lock that is waited for is over at once.
const CONTENTION_RETRIES: u32 = 5;
/// Connections that may be lost one after the other while callbacks are appended.
const LOST_RETRIES: u32 = 3;
/// The part of the commit timeout after which a commit is late: what passes nothing on any more must leave time for
/// another connection.
const LATE_DIVISOR: u32 = 4;
/// Callbacks that meet a lock are tried again this often.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Callbacks that were stored this lately show that others can be stored.
const SUCCESS_VALIDITY: Duration = Duration::from_secs(1);
/// For this long after callbacks could not be stored, the service is not ready.
const REFUSAL_VALIDITY: Duration = Duration::from_secs(5);
/// Questions that wait for an answer.
const MAX_QUESTIONS: usize = 16;

/// What is said when callbacks have waited for a lock until their time was up.
const LOCKED: &str = "another transaction locks their subjects' rows, or a table: pg_stat_activity and pg_locks show \
                      which, and pg_terminate_backend ends it";

/// Any sender may send such data, again and again.
static UNSTORABLE: FailureLog =
    FailureLog::new("storing a callback with its subject", "it is kept without its subject, as ignored");

/// Appends what the inbox was handed, and answers when it is committed.
pub struct Writer {
    lanes: Lanes,
    asked: mpsc::Receiver<oneshot::Sender<bool>>,
    readiness: Readiness,
    database: Database,
    arrivals: Arc<Arrivals>,
    metrics: Arc<Metrics>,
    commit_timeout: Duration,
    session: Session,
    budget: Budget,
    aside: Aside,
    failures: FailureLog,
    /// When callbacks could not be stored last, and when others could.
    failed: Option<Instant>,
    succeeded: Option<Instant>,
}

/// What is to be done next.
enum Next {
    Store(Vec<Waiting>),
    Retry,
    Answer(oneshot::Sender<bool>),
    Look,
    End,
}

impl Writer {
    pub(super) fn new(
        lanes: Lanes,
        database: Database,
        arrivals: Arc<Arrivals>,
        metrics: Arc<Metrics>,
        receive: &Receive,
    ) -> Writer {
        let (asking, asked) = mpsc::channel(MAX_QUESTIONS);
        Writer {
            lanes,
            asked,
            readiness: Readiness(asking),
            session: Session::new(database.clone(), receive.commit_timeout),
            database,
            arrivals,
            metrics,
            commit_timeout: receive.commit_timeout,
            budget: Budget::new(receive.new_keys_per_minute),
            aside: Aside::default(),
            failures: FailureLog::new("storing callbacks", "the senders are told to try again"),
            failed: None,
            succeeded: None,
        }
    }

    /// Whether what it appends would be stored.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Runs until every [`super::Inbox`] is gone after a stop, or the stop is hard.
    pub async fn run(mut self, stop: Stop) {
        let work = async {
            self.session.look().await;
            while self.step().await {}
        };
        tokio::select! {
            biased;
            () = stop.aborting() => {}
            () = work => {}
        }
    }

    /// False when there will be no more callbacks.
    async fn step(&mut self) -> bool {
        match self.next().await {
            Next::Store(batch) => self.store(batch).await,
            Next::Retry => self.retry().await,
            Next::Answer(asker) => {
                let _gone = asker.send(self.could_store().await);
            }
            Next::Look => self.session.look().await,
            Next::End => return false,
        }
        true
    }

    async fn next(&mut self) -> Next {
        let retry = Instant::now() + LOCK_RETRY_INTERVAL;
        tokio::select! {
            batch = self.lanes.batch() => batch.map_or(Next::End, Next::Store),
            () = sleep_until(retry), if !self.aside.is_empty() => Next::Retry,
            Some(asker) = self.asked.recv() => Next::Answer(asker),
            () = sleep_until(self.session.next_look()) => Next::Look,
        }
    }

    /// Stores a batch in as few commits as its data and the locks that it meets allow, and answers each callback.
    async fn store(&mut self, batch: Vec<Waiting>) {
        let until = Instant::now() + self.commit_timeout;
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let part = self.aside.sort(part);
            if part.is_empty() {
                continue;
            }
            match self.append(&part, false, until).await {
                Ok(()) => self.accept(part),
                Err(Failure::Data | Failure::Raised) if part.len() > 1 => parts.extend(halves(part)),
                Err(Failure::Data) => {
                    UNSTORABLE.failed(&"the database refuses its data");
                    match self.append(&part, true, until).await {
                        Ok(()) => self.accept(part),
                        Err(_) => refuse(part),
                    }
                }
                Err(Failure::Contention) => match self.find_locks(&part, until).await {
                    Some(found) if found > 0 => parts.push(part),
                    Some(_) if part.len() > 1 => parts.extend(halves(part)),
                    // Alone, or a whole table is locked.
                    _ => self.aside.put(part),
                },
                Err(Failure::Raised | Failure::Away) => refuse(part),
            }
        }
    }

    /// Looks which subjects of these are locked, and how many: callbacks that name them are then set aside. None when
    /// even that meets a lock.
    async fn find_locks(&mut self, part: &[Waiting], until: Instant) -> Option<usize> {
        let callbacks: Vec<&VerifiedCallback> = part.iter().map(|waiting| &waiting.callback).collect();
        let connection = self.session.ready(until).await?;
        let locked = timeout_at(until, append::locked(connection, &callbacks)).await.ok()?.ok()?;
        let found = locked.len();
        self.aside.add_locked(locked);
        Some(found)
    }

    /// Tries those again that met a lock. What is still locked is asked first, so that nothing waits for it.
    async fn retry(&mut self) {
        let (waiting, gone) = self.aside.take();
        if gone > 0 {
            self.failures.failed(&LOCKED);
        }
        if waiting.is_empty() {
            return;
        }
        let until = Instant::now() + self.commit_timeout;
        match self.find_locks(&waiting, until).await {
            Some(_) => self.store(waiting).await,
            None => self.aside.put(waiting),
        }
    }

    /// One statement, one commit. With `bare`, only the bytes are kept. If the connection is lost, the callbacks are
    /// appended again on another: those that were committed without an answer are stored twice, which costs a read.
    async fn append(&mut self, part: &[Waiting], bare: bool, until: Instant) -> Result<(), Failure> {
        let callbacks: Vec<&VerifiedCallback> = part.iter().map(|waiting| &waiting.callback).collect();
        let (mut contended, mut lost) = (0, 0);
        loop {
            let turns = self.budget.turns(&callbacks);
            let Some(appended) = self.append_once(&callbacks, &turns, bare, until).await else {
                self.failures.failed(&"the database cannot be reached");
                self.failed = Some(Instant::now());
                return Err(Failure::Away);
            };
            let error = match appended {
                Ok(Some(unread)) => {
                    self.budget.spend(&callbacks, &unread);
                    let rows: usize = callbacks.iter().map(|callback| callback.events().len()).sum();
                    self.metrics.commits.observe(rows as f64);
                    (self.succeeded, self.failed) = (Some(Instant::now()), None);
                    self.failures.succeeded();
                    return Ok(());
                }
                Ok(None) => {
                    if !self.database.numbers().run().is_empty() {
                        // Whichever server that was, the next connection leads to the one that is repaired.
                        self.session.lose("the database has gone back, or is another one");
                    }
                    match self.verify_numbers(until).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            match failure(&error) {
                Failure::Contention if is_lock_timeout(&error) || contended >= CONTENTION_RETRIES => {
                    return Err(Failure::Contention);
                }
                Failure::Contention => contended += 1,
                Failure::Data => return Err(Failure::Data),
                Failure::Raised => {
                    self.failures.failed(&format!("a trigger refuses them: {}", told(&error)));
                    return Err(Failure::Raised);
                }
                Failure::Away => {
                    if is_unanswered(&error) {
                        // Whether it was committed is unknown; a connection in an unknown state is not used again.
                        self.session.lose(&told(&error));
                        lost += 1;
                        if lost <= LOST_RETRIES && Instant::now() < until {
                            continue;
                        }
                    }
                    self.failures.failed(&told(&error));
                    self.failed = Some(Instant::now());
                    return Err(Failure::Away);
                }
            }
        }
    }

    /// A repair that takes longer is finished by a task of its own, while the senders are told to try again.
    async fn verify_numbers(&self, until: Instant) -> sqlx::Result<()> {
        let database = self.database.clone();
        let verified = tokio::spawn(async move { database.verify_numbers().await });
        match timeout_at(until, verified).await {
            Ok(Ok(verified)) => verified,
            Ok(Err(panicked)) => Err(sqlx::Error::Io(io::Error::other(panicked))),
            Err(_) => Err(unanswered("the repair of its numbers", self.commit_timeout)),
        }
    }

    /// None without a connection. When the answer is late, the connection may have been dropped without a word: the
    /// same is then appended on a second one too, and the first answer counts. What both commit is stored twice.
    async fn append_once(
        &mut self,
        callbacks: &[&VerifiedCallback],
        turns: &Turns,
        bare: bool,
        until: Instant,
    ) -> Option<sqlx::Result<append::Appended>> {
        let (database, commit_timeout) = (&self.database, self.commit_timeout);
        let connection = self.session.ready(until).await?;
        let replacement = {
            let first = append::append(connection, database.numbers(), turns, callbacks, bare);
            tokio::pin!(first);
            let late = Instant::now() + commit_timeout / LATE_DIVISOR;
            if let Ok(answer) = timeout_at(until.min(late), &mut first).await {
                return Some(answer);
            }
            let second = async || -> sqlx::Result<_> {
                let mut connection = database.held_for_receiving(commit_timeout).await?;
                let appended = append::append(&mut connection, database.numbers(), turns, callbacks, bare).await?;
                Ok((connection, appended))
            };
            let either = async {
                tokio::select! {
                    answer = &mut first => Err(answer),
                    Ok(replacement) = second() => Ok(replacement),
                }
            };
            match timeout_at(until, either).await {
                Ok(Ok(replacement)) => replacement,
                Ok(Err(answer)) => return Some(answer),
                Err(_) => return Some(Err(unanswered("the commit", commit_timeout))),
            }
        };
        let (connection, appended) = replacement;
        self.session.replace(connection);
        Some(Ok(appended))
    }

    /// Whether a commit would succeed now, as the last callbacks showed or as a rehearsal shows.
    async fn could_store(&mut self) -> bool {
        if self.failed.is_some_and(|at| at.elapsed() < REFUSAL_VALIDITY) {
            return false;
        }
        if self.succeeded.is_some_and(|at| at.elapsed() < SUCCESS_VALIDITY) {
            return true;
        }
        let until = Instant::now() + self.commit_timeout;
        let Some(connection) = self.session.ready(until).await else { return false };
        match timeout(self.commit_timeout, append::rehearse(connection, self.database.numbers())).await {
            Ok(Ok(could)) => could,
            Ok(Err(error)) => {
                if is_unanswered(&error) {
                    self.session.lose(&told(&error));
                }
                false
            }
            Err(_) => {
                self.session.lose("it does not answer");
                false
            }
        }
    }

    /// They are committed.
    fn accept(&self, part: Vec<Waiting>) {
        for waiting in part {
            kill::point("committed");
            self.hand_over(&waiting.callback);
            kill::point("handed-over");
            // The sender may have gone, or its time be up: what is committed stays so.
            let _gone = waiting.answer.send(Ok(()));
        }
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

/// The database has not answered in time.
fn unanswered(what: &str, time: Duration) -> sqlx::Error {
    let says = format!("the database did not answer within {time:?}: {what} waits, such as for a disk or a standby");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, says))
}

/// To be stored apart, the first half first.
fn halves(mut part: Vec<Waiting>) -> [Vec<Waiting>; 2] {
    let second = part.split_off(part.len() / 2);
    [second, part]
}

/// They are not committed, as far as is known.
fn refuse(part: Vec<Waiting>) {
    for waiting in part {
        let _gone = waiting.answer.send(Err(NotStored::Database));
    }
}
