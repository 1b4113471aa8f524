//! The `cegid-indexer` command.

#![deny(clippy::print_stdout, clippy::print_stderr)] // see cli/output.rs

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
