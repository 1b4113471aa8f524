//! Integration tests.

mod container;
mod search;
