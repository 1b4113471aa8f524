use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// A way through the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the client sends.
    ToTarget,
    /// What it is answered.
    ToClient,
}

/// What a trap looks for in what the client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// These bytes, wherever reads divide them.
    Bytes(Vec<u8>),
    /// PostgreSQL's message, simple (`Query`) or extended (`Parse`), whose statement is COMMIT.
    Commit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// Springs when a pattern passes: the connection is cut, or held.
#[derive(Debug, Clone)]
pub struct Trap {
    pub(crate) pattern: Pattern,
    pub(crate) moment: Moment,
    pub(crate) holds: bool,
    pub(crate) skip: u64,
    pub(crate) times: u64,
}

impl Trap {
    /// Before the pattern is passed on. Of what the client sent with it nothing is passed on either.
    pub fn before(pattern: Pattern) -> Trap {
        Trap { pattern, moment: Moment::Before, holds: false, skip: 0, times: 1 }
    }

    /// After the target has begun to answer what carried the pattern, of which answer nothing is passed on: what was
    /// asked for has been done, and the client does not learn of it. For a client that waits for each answer before it
    /// asks for more.
    pub fn after(pattern: Pattern) -> Trap {
        Trap { moment: Moment::After, ..Trap::before(pattern) }
    }

    /// The connection is not cut but stands still, until it is cut or its client is killed.
    #[must_use]
    pub fn holding(self) -> Trap {
        Trap { holds: true, ..self }
    }

    /// Lets so many occurrences pass first.
    #[must_use]
    pub fn skip(self, occurrences: u64) -> Trap {
        Trap { skip: occurrences, ..self }
    }

    /// Springs so often, not once.
    #[must_use]
    pub fn times(self, times: u64) -> Trap {
        Trap { times, ..self }
    }
}

/// What has happened since the proxy's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Of these, those that are open.
    pub open: u64,
    /// Of these, those whose target could not be reached: they were reset.
    pub unreachable: u64,
    /// Times that the listener was closed, so that connections were refused.
    pub refused: u64,
    /// Connections that were cut, by whatever fault.
    pub cut: u64,
    /// Occurrences of a trap's pattern while it was set, those included that it let pass.
    pub seen: u64,
    /// Occurrences at which a trap cut or held a connection.
    pub sprung: u64,
    /// Bytes passed on to the target.
    pub to_target: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
    /// Bytes of answers that were dropped.
    pub dropped: u64,
}

/// What concerns every connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) refuse: bool,
    pub(crate) black_hole: bool,
    pub(crate) drop_answers: bool,
    pub(crate) latency: [Duration; 2],
    /// Connections up to this number pass nothing on any more.
    pub(crate) silent: u64,
    /// Connections up to this number are cut.
    pub(crate) cut: u64,
}

/// What falls on one connection when its time comes.
#[derive(Default)]
pub(crate) struct Armed {
    pub(crate) trap: Option<Trap>,
    /// So many bytes more go this way; the connection that carries the last of them is cut behind it.
    pub(crate) after: Option<(Way, u64)>,
    /// The next that asks for something gets so many bytes of its answer.
    pub(crate) answer: Option<u64>,
}

/// What the proxy and its connections share.
pub(crate) struct Shared {
    pub(crate) faults: watch::Sender<Faults>,
    pub(crate) counts: watch::Sender<Counts>,
    armed: Mutex<Armed>,
    /// Connections that are open, by their numbers.
    open: Mutex<BTreeSet<u64>>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared {
            faults: watch::Sender::new(Faults::default()),
            counts: watch::Sender::new(Counts::default()),
            armed: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// Everything is well again.
    pub(crate) fn clear(&self) {
        *self.armed() = Armed::default();
        self.faults
            .send_modify(|faults| *faults = Faults { cut: faults.cut, silent: faults.silent, ..Faults::default() });
    }

    pub(crate) fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }
}
