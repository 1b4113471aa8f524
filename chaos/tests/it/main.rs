//! The crash suite's short form, in one program, so that its parts run beside each other: they wait more than they
//! compute.

mod points;
mod start;
mod storm;
