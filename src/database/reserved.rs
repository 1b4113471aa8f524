//! Receiving comes first: while it has no connection the worker opens none. The worker opens no more than there is room
//! for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// What receiving leaves to the worker.
#[derive(Clone, Debug)]
pub(super) struct Reserved(Arc<State>);

#[derive(Debug)]
struct State {
    /// Whether receiving wants a connection that it does not have.
    wanted: watch::Sender<bool>,
    /// Connections that the server had room for when receiving first had its own.
    room: AtomicU32,
}

impl Default for Reserved {
    fn default() -> Reserved {
        Reserved(Arc::new(State { wanted: watch::Sender::new(false), room: AtomicU32::new(u32::MAX) }))
    }
}

impl Reserved {
    pub(super) fn want(&self, wanted: bool) {
        self.0.wanted.send_replace(wanted);
    }

    pub(super) fn is_wanted(&self) -> bool {
        *self.0.wanted.borrow()
    }

    pub(super) fn room(&self) -> u32 {
        self.0.room.load(Ordering::Relaxed)
    }

    /// Notes for how many the server has room; at least one.
    pub(super) fn leave(&self, room: u32) {
        self.0.room.store(room.max(1), Ordering::Relaxed);
    }

    /// Waits until receiving has its connection.
    ///
    /// # Errors
    /// When it has none after so long.
    pub(super) async fn give_way(&self, longest: Duration) -> sqlx::Result<()> {
        let mut wanted = self.0.wanted.subscribe();
        // The sender is kept here, so that waiting ends by the value or the time alone.
        match timeout(longest, wanted.wait_for(|wanted| !wanted)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}
