//! The proxy between a client and a target of a few lines, and between sqlx and a real PostgreSQL.
#![allow(missing_docs, reason = "tests are named by sentences")]

mod faults;
mod postgres;
mod target;
mod traps;
