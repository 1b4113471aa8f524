//! How a demo ends before its time: signals, and failures with their exit codes.

use std::{
    fmt,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::super::{EXIT_SOFTWARE, EXIT_UNAVAILABLE};

/// A disk is full, as "cannot create" in sysexits.h.
const EXIT_DISK_FULL: u8 = 73;
/// An address is taken: come back later, as in sysexits.h.
const EXIT_ADDRESS_TAKEN: u8 = 75;
/// What a shell gives for a command that a signal ended is this and the signal's number.
const EXIT_SIGNAL: u8 = 128;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The addresses that cannot be listened on, each with what to do.
    #[error("{0}")]
    AddressTaken(String),
    /// Neither found nor fetched, or not to be reached.
    #[error("{0}")]
    NoDatabase(String),
    /// Which disk, and what to do.
    #[error("{0}")]
    DiskFull(String),
    /// By a signal of this number.
    #[error("stopped before everything was compared")]
    Interrupted(u8),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure::Other(anyhow::Error::new(error).context("reading the service's tables"))
    }
}

impl Failure {
    /// As `--help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::AddressTaken(_) => EXIT_ADDRESS_TAKEN,
            Failure::NoDatabase(_) => EXIT_UNAVAILABLE,
            Failure::DiskFull(_) => EXIT_DISK_FULL,
            Failure::Interrupted(number) => EXIT_SIGNAL + number,
            Failure::Other(_) => EXIT_SOFTWARE,
        }
    }
}

/// SIGINT and SIGTERM: the first asks for an end, the second for one at once.
#[derive(Clone)]
pub struct Interrupt {
    soft: CancellationToken,
    hard: CancellationToken,
    number: Arc<AtomicU8>,
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("asked", &self.soft.is_cancelled()).finish_non_exhaustive()
    }
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> io::Result<Interrupt> {
        let interrupt = Interrupt {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            number: Arc::new(AtomicU8::new(SIGINT)),
        };
        let (int, term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(interrupt.clone().listen(int, term));
        Ok(interrupt)
    }

    async fn listen(self, mut int: Signal, mut term: Signal) {
        loop {
            let number = tokio::select! {
                _ = int.recv() => SIGINT,
                _ = term.recv() => SIGTERM,
            };
            self.number.store(number, Ordering::Relaxed);
            if self.soft.is_cancelled() {
                self.hard.cancel();
            }
            self.soft.cancel();
        }
    }

    /// Asks for an end, as the first signal does.
    pub fn ask(&self) {
        self.soft.cancel();
    }

    /// Ends at the first signal.
    pub async fn asked(&self) {
        self.soft.cancelled().await;
    }

    /// Ends at the second signal.
    pub async fn asked_again(&self) {
        self.hard.cancelled().await;
    }

    /// `work`, dropped at the first signal.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub async fn cut<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.until(&self.soft, work).await
    }

    /// `work`, dropped at the second signal.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub async fn cut_hard<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.until(&self.hard, work).await
    }

    async fn until<T>(&self, token: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            // A signal that came while nobody waited counts too.
            biased;
            () = token.cancelled() => Err(Failure::Interrupted(self.number.load(Ordering::Relaxed))),
            done = work => Ok(done),
        }
    }
}
