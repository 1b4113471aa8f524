//! The integration tests: a real PostgreSQL, the simulator, a clock turned by hand.
#![allow(missing_docs, reason = "tests are named by sentences")]

mod container;
mod harness;
mod main_loop;
mod search;
