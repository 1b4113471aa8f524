//! The integration tests: a real PostgreSQL, the simulator, a clock turned by hand.
#![allow(missing_docs, reason = "tests are named by sentences")]

mod absences;
mod answers;
mod attachments;
mod bodies;
mod cegid;
mod clocks;
mod container;
mod convergence;
mod crashes;
mod database;
mod fairness;
mod full_sweeps;
mod harness;
mod hooks;
mod hooks_commands;
mod hooks_repair;
mod hostile;
mod leases;
mod lists;
mod ledger;
mod main_loop;
mod model;
mod operations;
mod races;
mod receiving;
mod referentials;
mod refusals;
mod removals;
mod reports;
mod search;
mod unclear;
mod upgrade;
mod walks;
mod worst;
mod tenants;
