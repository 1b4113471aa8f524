//! The connection that receiving holds.
//!
//! Wanted: it is there before the first callback and before the worker's; one that was closed or silently dropped while
//! it stood idle costs no callback its answer; where the server has few connections left, the worker gives up its own.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{
    database::{Database, Held, told},
    telemetry::FailureLog,
};

/// A connection that was idle for this long is verified before callbacks are trusted to it.
const PING_AFTER: Duration = Duration::from_secs(1);
/// While nothing is received, it is verified this often: below the idle timeouts of most networks and servers.
const IDLE_PING_INTERVAL: Duration = Duration::from_secs(15);
/// Between two attempts to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);
/// The part of the commit timeout in which a ping is answered: the rest is for another connection and the commit.
const PING_TIMEOUT_DIVISOR: u32 = 4;

/// One connection outside the pools, which is replaced when it is gone.
pub(super) struct Session {
    database: Database,
    commit_timeout: Duration,
    connection: Option<Held>,
    used: Instant,
    /// Since when there is none.
    lost: Option<Instant>,
    failures: FailureLog,
}

impl Session {
    /// Not connected yet; from now on the worker waits until it is.
    pub(super) fn new(database: Database, commit_timeout: Duration) -> Session {
        database.reserve_for_receiving(true);
        let failures = FailureLog::new("receiving's connection to the database", "callbacks wait for another one");
        Session { database, commit_timeout, connection: None, used: Instant::now(), lost: None, failures }
    }

    /// A connection that answered a moment ago. None if there is none until `until`, or none for longer than a commit
    /// may take: the database is away, and the senders are told so at once.
    pub(super) async fn ready(&mut self, until: Instant) -> Option<&mut Held> {
        if self.connection.is_some() && self.used.elapsed() >= PING_AFTER {
            self.look().await;
        }
        while self.connection.is_none() {
            let until = until.min(*self.lost.get_or_insert_with(Instant::now) + self.commit_timeout);
            if !self.connect().await && Instant::now() >= until {
                return None;
            }
        }
        self.used = Instant::now();
        self.connection.as_mut()
    }

    /// When to look at it next, if it is not used before.
    pub(super) fn next_look(&self) -> Instant {
        self.used + if self.connection.is_some() { IDLE_PING_INTERVAL } else { PING_AFTER }
    }

    /// Whether it still answers; one that does not is replaced, by one attempt.
    pub(super) async fn look(&mut self) {
        if let Some(connection) = &mut self.connection {
            match timeout(self.commit_timeout / PING_TIMEOUT_DIVISOR, connection.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.lose(&told(&error)),
                Err(_) => self.lose("it does not answer"),
            }
        }
        self.used = Instant::now();
        if self.connection.is_none() {
            self.connect().await;
        }
    }

    /// It is in an unknown state, or leads to the wrong server: not to be used again.
    pub(super) fn lose(&mut self, why: &str) {
        if self.connection.take().is_some() {
            self.failures.failed(&why);
            self.lost = Some(Instant::now());
            self.database.reserve_for_receiving(true);
        }
    }

    /// Another connection answered while this one did not.
    pub(super) fn replace(&mut self, connection: Held) {
        self.lose("it does not answer");
        self.keep(connection);
    }

    fn keep(&mut self, connection: Held) {
        self.failures.succeeded();
        (self.connection, self.lost, self.used) = (Some(connection), None, Instant::now());
        self.database.reserve_for_receiving(false);
    }

    async fn connect(&mut self) -> bool {
        match self.database.held_for_receiving(self.commit_timeout).await {
            Ok(connected) => {
                self.keep(connected);
                true
            }
            Err(error) => {
                self.failures.failed(&told(&error));
                self.database.close_idle().await;
                sleep(RECONNECT_INTERVAL).await;
                false
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.database.reserve_for_receiving(false);
    }
}
