//! The crash suite: the service's own binary in several replicas, killed, frozen and cut off under load, and a ledger
//! that must balance at the end.
//!
//! The tour: [`program`] builds the service with its kill points, [`replica`] is one process of it, and [`world`] puts
//! replicas, tenants and PostgreSQL together, with a link that can fail between any two of them. [`history`] is what the
//! database notes of every write. [`points`] lets the service die at every kill point; a [`storm`] of [`events`] goes over
//! it under [`load`], and [`tally`] counts what was felt of it. [`settle`] comes to rest, and [`balance`] says what holds.
//! [`run`] is all of it. Everything that is drawn comes from [`random`].

pub mod program;
pub mod replica;
pub mod front;
pub mod world;
pub mod history;
pub mod points;
pub mod load;
pub mod events;
pub mod storm;
pub mod tally;
pub mod settle;
pub mod balance;
pub mod truth;
pub mod unreadable;
pub mod leaks;
pub mod refusals;
pub mod run;
pub mod patience;
pub mod random;
