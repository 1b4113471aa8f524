//! Keeps a matching partner's index in step with Cegid Recruiting tenants.
//!
//! The modules stand in the order in which a callback meets them.
//!
//! 1. [`serve`] and [`intake`]: HTTP in. The signature is checked in `intake::gate`, which alone makes a
//!    [`intake::VerifiedCallback`].
//! 2. [`inbox`]: the callback becomes durable, by one statement that it shares with those beside it; then it is
//!    answered. [`refusals`] keeps account of what was turned away.
//! 3. [`arrivals`]: the hand-over to the worker in this process. A hint: the tables are the truth.
//! 4. [`tenancy`]: which replica works the tenant.
//! 5. [`worker`]: one loop per stage. `worker::refresh` claims due [`subjects`], asks Cegid for them and settles them;
//!    `worker::pace` says when Cegid may be called, and holds the policy for every class of failure, a 429 among them.
//! 6. [`cegid`]: the third party. Exports are decoded as they stream.
//! 7. [`index`]: what is searchable. Written, with the report item and the subject, in one fenced transaction by
//!    `worker::settlement`.
//! 8. [`outbox`]: what is to be told to Cegid, sent and sent again by `worker::report`.
//!
//! [`app`] builds all of it. A setting is a key in `config/default.toml` and a field in [`settings`].

pub mod serve;
pub mod intake;
pub mod inbox;
pub mod refusals;
pub mod arrivals;
pub mod tenancy;
pub mod subjects;
pub mod worker;
pub mod cegid;
pub mod hooks;
pub mod sweeps;
pub mod index;
pub mod outbox;
pub mod ledger;

pub mod domain;

pub mod app;
pub mod clock;
pub mod database;
pub mod lifecycle;
pub mod metrics;
pub mod ops;
pub mod settings;
pub mod telemetry;
