//! What commands print. No command is ended by its output: whoever read it may be gone, as with `hooks apply | head`.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::OnceLock,
};

/// The output could not be written, as in sysexits.h.
const EXIT_IO: u8 = 74;

/// Why a line of the standard output is missing that somebody waits for.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// `println!` that neither panics nor ends anything.
macro_rules! print_line {
    ($($line:tt)*) => { $crate::cli::output::line(format_args!($($line)*)) };
}

/// `eprintln!` that neither panics nor ends anything.
macro_rules! print_error {
    ($($line:tt)*) => { $crate::cli::output::error(format_args!($($line)*)) };
}

pub fn line(line: Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout(), "{line}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        // The first one tells why.
        let _later = FAILURE.set(error);
    }
}

pub fn error(line: Arguments<'_>) {
    // There is nowhere else to say it.
    let _unread = writeln!(io::stderr(), "{line}");
}

/// The exit code of a command that has printed everything. With incomplete output, such as on a full disk, it is a
/// failure.
pub fn checked(code: ExitCode) -> ExitCode {
    match FAILURE.get() {
        Some(failure) if code == ExitCode::SUCCESS => {
            error(format_args!("cegid-indexer: what was asked is done, but writing the standard output: {failure}"));
            ExitCode::from(EXIT_IO)
        }
        _ => code,
    }
}
