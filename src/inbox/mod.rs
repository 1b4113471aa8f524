//! Table `delivery`, and raising `subject.wanted`: where a callback becomes durable.
//!
//! Wanted: an answer of 2xx means committed; callbacks that arrive together share one commit; one that the database
//! cannot store costs nobody else an answer; nothing here grows with load.
//!
//! [`Inbox::record`] hands a verified callback to the writer, a task that holds its own connection (`session`). The
//! writer takes what waits, from each tenant in turn, appends it in one statement, which is one commit, and only then
//! answers each. While it waits for the commit the next callbacks gather, so the batch grows with the load. A batch
//! that fails on its data is split until the one that cannot be stored stands alone, and is stored as ignored. One that
//! meets a lock is stored without the callbacks that name what is locked; these are set aside and tried again until
//! their time is up.

mod append;
mod aside;
mod budget;
mod forget;
mod heard;
mod lanes;
mod room;
mod session;
mod writer;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use forget::forget;
pub use heard::heard_since;
pub use writer::Writer;

use self::{lanes::Lanes, room::Room};

use crate::{arrivals::Arrivals, database::Database, intake::VerifiedCallback, metrics::Metrics, settings::Receive};

/// Why a callback was not stored. The sender is told to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Too many callbacks wait for a commit, or too many of this tenant.
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
    /// Given back when it is answered or dropped.
    _room: room::Taken,
}

/// Where verified callbacks are handed in.
#[derive(Clone)]
pub struct Inbox {
    waiting: mpsc::UnboundedSender<Waiting>,
    room: Arc<Room>,
    commit_timeout: Duration,
}

/// Asks the writer whether a callback could be stored now.
#[derive(Clone, Debug)]
pub struct Readiness(mpsc::Sender<oneshot::Sender<bool>>);

impl Readiness {
    /// Waits for the writer's answer, which may take as long as storing a callback. False when it has ended.
    pub async fn ask(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.unwrap_or(false)
    }
}

impl Inbox {
    /// The inbox and the writer that must run beside it.
    pub fn new(
        database: Database,
        arrivals: Arc<Arrivals>,
        metrics: Arc<Metrics>,
        receive: &Receive,
    ) -> (Inbox, Writer) {
        // The room bounds what is in the channel.
        let (waiting, arriving) = mpsc::unbounded_channel();
        let writer = Writer::new(Lanes::new(arriving), database, arrivals, metrics, receive);
        let room = Room::new(receive.waiting_callbacks);
        (Inbox { waiting, room, commit_timeout: receive.commit_timeout }, writer)
    }

    /// Returns once the callback is committed.
    ///
    /// # Errors
    /// [`NotStored`]: the sender must not be told that we have it.
    pub async fn record(&self, callback: VerifiedCallback) -> Result<(), NotStored> {
        let (answer, answered) = oneshot::channel();
        let room = self.room.take(callback.tenant()).ok_or(NotStored::Full)?;
        self.waiting.send(Waiting { callback, answer, _room: room }).map_err(|_| NotStored::Stopping)?;
        match timeout(self.commit_timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NotStored::Stopping),
            Err(_) => Err(NotStored::Database),
        }
    }
}
