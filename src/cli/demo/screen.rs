//! What is printed: results and events on the standard output, bars and log lines on the standard error stream, never
//! into each other.

use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use cegid_indexer::{settings::Log, telemetry};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::ending::{Failure, Interrupt};

/// Bars are drawn at most this often in a second.
const FRAMES: u8 = 10;

/// The terminal, or whatever stands in its place.
pub struct Screen {
    bars: MultiProgress,
    drawn: bool,
    quiet: bool,
    interrupt: Interrupt,
}

impl Screen {
    /// Bars where the standard error stream is a terminal.
    pub fn new(quiet: bool, interrupt: Interrupt) -> Screen {
        let drawn = !quiet && io::stderr().is_terminal();
        let target = if drawn { ProgressDrawTarget::stderr_with_hz(FRAMES) } else { ProgressDrawTarget::hidden() };
        Screen { bars: MultiProgress::with_draw_target(target), drawn, quiet, interrupt }
    }

    /// Whether progress is drawn as bars; otherwise it is written as lines.
    pub fn draws(&self) -> bool {
        self.drawn
    }

    /// Something that happened; not shown when quiet.
    pub fn line(&self, line: &str) {
        if !self.quiet {
            self.result(line);
        }
    }

    /// Something that is always shown.
    pub fn result(&self, text: &str) {
        let written = self.bars.suspend(|| writeln!(io::stdout().lock(), "{text}"));
        if written.is_err() {
            // Nobody reads any more, as with `| head`: there is no point in going on.
            self.interrupt.ask();
        }
    }

    /// A bar with its name; hidden where bars are not drawn.
    pub fn bar(&self, name: &'static str, length: usize) -> ProgressBar {
        let bar = ProgressBar::new(length as u64).with_prefix(name);
        // The template is a constant that is tried below.
        bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bars.add(bar)
    }

    /// Takes all bars away.
    pub fn clear(&self) {
        // A terminal that has gone shows nothing anyway.
        self.bars.clear().ok();
    }

    /// Sends the service's log lines between the bars.
    ///
    /// # Errors
    /// When the level is not a filter.
    pub fn start_logging(&self, settings: &Log) -> Result<(), Failure> {
        Ok(telemetry::start_on(settings, BetweenBars(self.bars.clone())).context("starting the log")?)
    }
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    let style = ProgressStyle::with_template("{prefix:>11}  {bar:40}  {pos}/{len}  {msg}")?;
    Ok(style.progress_chars("=> "))
}

/// Makes a writer for each log line.
struct BetweenBars(MultiProgress);

/// Gathers a line and writes it at once while the bars are away.
struct Between {
    bars: MultiProgress,
    line: Vec<u8>,
}

impl<'line> MakeWriter<'line> for BetweenBars {
    type Writer = Between;

    fn make_writer(&'line self) -> Between {
        Between { bars: self.0.clone(), line: Vec::new() }
    }
}

impl Write for Between {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            // A log line that cannot be written has nowhere else to go.
            self.bars.suspend(|| io::stderr().lock().write_all(&self.line)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_of_the_bars_can_be_read() {
        assert!(super::style().is_ok());
    }
}
