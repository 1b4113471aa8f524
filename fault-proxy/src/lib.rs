//! A TCP proxy for one link of a test, which fails as it is told.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use fault_proxy::{Pattern, Proxy, Trap};
//!
//! let proxy = Proxy::start(std::path::Path::new("/tmp/server/.s.PGSQL.5432")).await?;
//! println!("postgres://postgres@{}/postgres", proxy.address());
//! proxy.set_trap(Trap::after(Pattern::Commit).skip(2));
//! proxy.wait_for(|counts| counts.sprung == 1).await;
//! # Ok(())
//! # }
//! ```
//!
//! What holds:
//!
//! 1. Without a fault every byte goes through, in order, and each side's end is told to the other.
//! 2. A fault is set at any time and concerns the connections that are open as well as those to come. What was passed on
//!    before stays so.
//! 3. Nothing is left to chance or to time but the latency that was asked for: faults fall on a byte or on a pattern,
//!    wherever the reads of the stream were divided.
//! 4. What happened is counted ([`Counts`]), so that a test can prove that its fault was there, and can wait for it.
//! 5. A cut resets both sides, so that neither takes it for a stream that ended well. The party that is cut off amid
//!    what it reads gets exactly the bytes before the cut, then the end of the stream.

/// What is wrong with the link now, and what will be.
mod faults;
/// One connection: both ways of it.
mod link;
/// The messages of PostgreSQL's protocol, as far as a trap needs them.
mod postgres;
mod proxy;
/// A pattern in a stream of bytes.
mod search;

pub use faults::{Counts, Pattern, Trap, Way};
pub use proxy::{Proxy, Target};
