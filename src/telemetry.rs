//! Log lines: text on a terminal, JSON otherwise; few of them, however often the same fails.

mod failures;

use std::{
    collections::HashMap,
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use failures::{FailureCount, FailureLog, FailureSeries, WorkerFailures};

use crate::settings::{Log, LogFormat};

/// The filter cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFilter {
    /// It is no filter.
    #[error("no filter of log lines: {0}")]
    Unreadable(#[from] tracing_subscriber::filter::ParseError),
    /// A word alone that would be taken for a part of the program, of which everything is logged, and nothing else.
    #[error("`{0}` is no level: there are off, error, warn, info, debug and trace, and PART=LEVEL for a part")]
    NoLevel(String),
}

/// The filter of `log.level`, behind the one that keeps other crates quiet.
///
/// # Errors
/// When it cannot be read.
pub fn filter(settings: &Log) -> Result<EnvFilter, BadFilter> {
    let is_level = |word: &str| word.is_empty() || word.parse::<LevelFilter>().is_ok();
    let bare = settings.level.split(',').map(str::trim).find(|word| !word.contains(['=', '[']) && !is_level(word));
    if let Some(bare) = bare {
        return Err(BadFilter::NoLevel(bare.to_owned()));
    }
    // sqlx logs slow statements with their text, hyper and reqwest log addresses with their query.
    let quiet = "sqlx=error,hyper=warn,hyper_util=warn,reqwest=warn";
    Ok(EnvFilter::try_new(format!("{quiet},{}", settings.level))?)
}

/// Starts logging to the standard error stream, so that the standard output is a command's own.
///
/// # Errors
/// When `log.level` is not a filter.
pub fn start(settings: &Log) -> Result<(), BadFilter> {
    start_on(settings, stderr)
}

/// [`start`] with another way to the standard error stream, for a command that draws there.
///
/// # Errors
/// When `log.level` is not a filter.
pub fn start_on<W>(settings: &Log, writer: W) -> Result<(), BadFilter>
where
    W: for<'line> MakeWriter<'line> + Send + Sync + 'static,
{
    // The message of a panic may quote what was being read: only the place is told.
    let places: Mutex<HashMap<String, FailureSeries>> = Mutex::default();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let count = places.lock().unwrap_or_else(PoisonError::into_inner).entry(place.clone()).or_default().failed();
        if let Some(FailureCount { failures, .. }) = count {
            tracing::error!(place, failures, "a task panicked");
        }
    }));
    let filter = filter(settings)?;
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A line that cannot be written would be answered by a panic where its error cannot be written either.
    let lines = fmt::layer().log_internal_errors(false).with_writer(writer);
    // A second start in one process, as in tests, keeps the first.
    let _already = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_target(false).with_ansi(stderr().is_terminal())).try_init()
    };
    Ok(())
}
