//! Points at which the crash suite lets the process die, and a machine's clock that it sets wrong.
//!
//! Without the feature `kill-points`, which no build has by itself, nothing of this is compiled in.

/// Every point, in the order of the path. The suite lets a process die at each and looks what is left.
pub const POINTS: [&str; 20] = [
    "request-read",
    "committed",
    "handed-over",
    "claimed",
    "token-given",
    "number-drawn",
    "record-decoded",
    "answer-read",
    "settling",
    "settled",
    "report-read",
    "report-posted",
    "report-noted",
    "hook-intended",
    "hook-answered",
    "hook-left",
    "hook-deleted",
    "page-settled",
    "purging",
    "erased",
];

#[cfg(not(feature = "kill-points"))]
mod armed {
    /// Nothing.
    #[inline(always)]
    pub fn point(_name: &'static str) {}
}

#[cfg(feature = "kill-points")]
mod armed {
    use std::{
        ffi::OsStr,
        sync::{
            LazyLock,
            atomic::{AtomicI64, Ordering},
        },
    };

    use chrono::TimeDelta;
    use rustix::process::{Signal, getpid, kill_process};

    /// `name:nth`: the process dies when it passes that point for the nth time.
    const POINT: &str = "CEGID_INDEXER_KILL_POINT";
    /// Seconds by which the machine's clock is wrong.
    const SHIFT: &str = "CEGID_INDEXER_CLOCK_SHIFT";

    struct Armed {
        name: String,
        left: AtomicI64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let value = std::env::var_os(POINT)?;
        let (name, nth) = value.to_str()?.split_once(':')?;
        assert!(super::POINTS.contains(&name), "there is no kill point {name}");
        Some(Armed { name: name.to_owned(), left: AtomicI64::new(nth.parse().ok()?) })
    });

    static SHIFTED: LazyLock<TimeDelta> = LazyLock::new(|| {
        let seconds = std::env::var_os(SHIFT).as_deref().and_then(OsStr::to_str).and_then(|text| text.parse().ok());
        let shift = TimeDelta::seconds(seconds.unwrap_or(0));
        if !shift.is_zero() {
            tracing::warn!(seconds = shift.num_seconds(), "the machine's clock is set wrong for the crash suite");
        }
        shift
    });

    /// Dies here by SIGKILL when this passing is the one.
    pub fn point(name: &'static str) {
        debug_assert!(super::POINTS.contains(&name), "{name} is not in the list");
        if let Some(armed) = &*ARMED
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            tracing::warn!(name, "dying at a kill point");
            // It cannot fail: it is our own process.
            let _died = kill_process(getpid(), Signal::KILL);
        }
    }

    /// By how much the machine's clock is wrong.
    pub fn shift() -> TimeDelta {
        *SHIFTED
    }
}

pub use armed::*;
