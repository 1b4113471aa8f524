//! A Cegid Recruiting (ex Talentsoft) tenant seen from the outside: the part of
//! its HTTP API that a matching partner meets, with state, faults and a memory
//! of everything that was said.
//!
//! It is written from what is publicly known about the API and shares no code
//! with the service that it stands opposite to, so that one misreading of the
//! protocol cannot make both sides wrong together. Where nothing is known the
//! doc comments say what was chosen.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use cegid_simulator::{Config, Simulator};
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let tenant = Simulator::start(Config::default(), listener).await?;
//! let reference = tenant.create_vacancy();
//! tenant.set_vacancy_status(&reference, "Archived")?;
//! println!("{} has {:?} to say", tenant.base_url(), tenant.queued_callbacks());
//! # Ok(()) }
//! ```
//!
//! The tour: a [`Simulator`] holds the subjects (`tenant`), whose words are made
//! on demand (`data`); the API is answered (`wire`), changes are made
//! (`changes`) and announced (`sender`). Exports behave as `habits` says, and go
//! wrong as `faults` says; `control` offers the same over HTTP.

mod changes;
mod clock;
mod config;
mod control;
mod data;
mod door;
mod faults;
mod habits;
mod journal;
mod mischief;
mod people;
mod sender;
mod simulator;
mod tenant;
mod wire;

pub use changes::{Change, UnknownKey};
pub use config::Config;
pub use faults::{CallbackFaults, Compression, Distortion, Down, Endpoint, Fault, FaultKind, Spoil};
pub use habits::ListOrder;
pub use journal::RequestRow;
pub use sender::{Outcome, RawCallback, Sent};
pub use simulator::{Simulator, TruthRow};
pub use wire::hooks::HookRow;
pub use wire::referentials::{ReferentialItem, ReferentialManners};
pub use wire::reports::ReportRow;

/// Locks a mutex; one that a panicking task left behind is used as it is, since
/// the simulator's state has no half-made steps.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
