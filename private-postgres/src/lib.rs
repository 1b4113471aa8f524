//! A private PostgreSQL server: its programs found on the machine or fetched
//! once, started for one process, and gone with it.
//!
//! ```no_run
//! # async fn example() -> Result<(), private_postgres::Error> {
//! let server = private_postgres::Server::start(private_postgres::Options::from_env()).await?;
//! println!("{}", server.url("postgres"));
//! server.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What holds:
//!
//! 1. After [`Server::stop`], or after a drop, there is neither a process nor a
//!    directory.
//! 2. When the process that started the server ends without either (a `static`
//!    that is never dropped, `exit`, SIGKILL), the server still stops and its
//!    directory is still removed, a moment later, by a guardian process.
//! 3. When the guardian was killed as well, the kernel stops the server (Linux
//!    only), and the next start in the same place removes the directory: the
//!    kernel's file locks say which directories are nobody's any more.
//! 4. Nothing of the server is ever run as root.
//! 5. Only the same user (and root) reaches the Unix socket; TCP is opened when
//!    asked for alone, on 127.0.0.1, and wants a password made for this server.

#[cfg(not(unix))]
compile_error!("private-postgres starts servers on Unix sockets: Linux and macOS only");

/// Who PostgreSQL runs as when we are root.
mod account;
/// `initdb` and the databases made before the first start.
mod cluster;
mod error;
/// Programs fetched into a cache.
mod fetch;
/// The process that cleans up when its owner could not.
mod guardian;
/// The server's directory: made, locked, swept.
mod home;
/// How every program of PostgreSQL is run.
mod launch;
mod options;
/// One run of `postgres`.
mod postmaster;
/// Programs found on the machine.
mod programs;
mod server;

pub use error::Error;
pub use options::{Options, Search};
pub use programs::{Found, Programs, find};
pub use server::Server;
