//! Real servers, started and stopped; as root and as an ordinary user.

mod client;
mod command;
mod failures;
mod scratch;
mod server;
mod sweep;
