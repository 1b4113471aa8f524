//! Keeps a matching partner's index in step with Cegid Recruiting tenants.
//!
//! The tour, in the order in which a callback meets the modules:
//!
//! 1. [`serve`] and [`intake`]: HTTP in. `intake/gate.rs` reads the request and asks `intake/signature.rs`; it alone
//!    makes a [`intake::VerifiedCallback`]. What is turned away is kept account of in [`refusals`].
//! 2. [`inbox`]: the callback becomes durable, by one statement that it shares with those beside it
//!    (`inbox/append.rs`); then it is answered.
//! 3. [`arrivals`]: the hand-over to the worker in this process, and [`notify`] to that in another. Hints: the tables
//!    are the truth.
//! 4. [`fleet`]: which replica works the tenant, under a lease of [`tenancy`] that [`replicas`] share evenly, with the
//!    settings and the [`tenants`]' states as they are now.
//! 5. [`worker`]: one loop per stage. `worker/refresh.rs` claims due [`subjects`], asks Cegid for them and settles
//!    them. A failed call has one class, and [`cegid::error`] has the table of what is done about each:
//!    `worker/pace.rs` pauses a stage or the tenant (a 429 among them), `worker/refresh.rs` and `worker/report.rs`
//!    halve batches, count attempts and give up.
//! 6. [`cegid`]: the third party. Exports are decoded as they stream; a refused token is renewed once.
//! 7. [`index`]: what is searchable. Written, with the report item and the subject, in one fenced transaction by
//!    `worker/settlement.rs`.
//! 8. [`outbox`]: what is to be told to Cegid, sent and sent again by `worker/report.rs`.
//!
//! Beside this way: [`hooks`] is the register of our webhooks, which `worker/hooks/` keeps as the settings want
//! it; [`sweeps`] holds how far each walk over an export is
//! (`worker/sweep/` has the four of them), [`gaps`] what they found that no callback announced, and [`unreadable`] what
//! they could not read; [`erasure`] is an
//! operator's removal, [`retention`] forgets what is old, [`purge`] deletes what is held of a tenant that has gone,
//! [`ledger`] adds everything up, [`ops`] shows it all, and [`domain`] has the words.
//!
//! [`app`] builds all of it. A setting is a key in `config/default.toml` and a field in [`settings`].

pub mod serve;
pub mod intake;
pub mod inbox;
pub mod refusals;
pub mod arrivals;
pub mod notify;
pub mod replicas;
pub mod tenancy;
pub mod tenants;
pub mod fleet;
pub mod subjects;
pub mod worker;
pub mod cegid;
pub mod hooks;
pub mod sweeps;
pub mod gaps;
pub mod unreadable;
pub mod erasure;
pub mod index;
pub mod outbox;
pub mod ledger;
pub mod retention;
pub mod purge;

pub mod domain;

pub mod app;
pub mod clock;
pub mod database;
#[doc(hidden)]
pub mod kill;
pub mod lifecycle;
pub mod metrics;
pub mod ops;
pub mod settings;
pub mod telemetry;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
