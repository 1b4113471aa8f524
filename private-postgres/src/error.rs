use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// What PostgreSQL's programs print when a write fails for want of space; they
/// run under `LC_ALL=C`, so the text is not translated.
const NO_SPACE: &str = "No space left on device";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither the machine nor the cache has usable programs, and none could be
    /// fetched.
    #[error("{}", no_programs(tried, download_error.as_deref(), instead.as_deref()))]
    NoPrograms {
        /// Every place looked at, with the reason where something was there but
        /// could not be used.
        tried: Vec<String>,
        /// Why the download failed; `None` when none was tried.
        download_error: Option<String>,
        /// [`Options::instead`](crate::Options::instead).
        instead: Option<String>,
    },
    /// A disk has no space left.
    #[error("no space left on the disk that holds {}: free some, or choose another place", dir.display())]
    DiskFull {
        /// Where the write went.
        dir: PathBuf,
    },
    /// The TCP port asked for is in use.
    #[error("port {port} of 127.0.0.1 is in use: choose another, or 0 for any free one")]
    PortTaken {
        /// The port asked for.
        port: u16,
    },
    /// We are root and there is nobody to run PostgreSQL as, which refuses root.
    #[error("running as root, and the machine has neither a user postgres nor nobody to run PostgreSQL as")]
    NoAccount,
    /// No directory can hold the server's data.
    #[error("no directory for the server's data: {why}")]
    NoPlace {
        /// Each directory considered and what is wrong with it.
        why: String,
    },
    /// An option that cannot be used.
    #[error("{option} {value:?} {why}")]
    BadOption {
        /// Which one.
        option: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A program of PostgreSQL ended with an error or was not ready in time.
    #[error("{doing} failed: {log}")]
    Start {
        /// What was being done.
        doing: &'static str,
        /// The end of what the program said.
        log: String,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: `verb` done to `path`; a full disk gets its own variant.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { dir: path },
            _ => Self::Io { doing: format!("{verb} {}", path.display()), source },
        }
    }

    /// A program that wrote into `dir` and failed, saying `log`.
    pub(crate) fn from_log(doing: &'static str, dir: &Path, log: String) -> Self {
        if log.contains(NO_SPACE) { Self::DiskFull { dir: dir.to_owned() } } else { Self::Start { doing, log } }
    }
}

fn no_programs(tried: &[String], download_error: Option<&str>, instead: Option<&str>) -> String {
    let mut text = format!(
        "no PostgreSQL found (initdb and postgres, version {} or newer; looked at {})",
        crate::programs::OLDEST_MAJOR,
        tried.join("; ")
    );
    if let Some(error) = download_error {
        write!(text, ", and fetching it failed ({error})").expect("a String takes any text");
    }
    text.push_str(": install the package postgresql, or set PG_BIN to the directory that holds initdb and postgres");
    if let Some(instead) = instead {
        write!(text, ", or {instead}").expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = Error::io("writing", Path::new("/x"))(io::ErrorKind::StorageFull.into());
        assert!(matches!(full, Error::DiskFull { .. }));
        let denied = Error::io("writing", Path::new("/x"))(io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "writing /x: permission denied");
        let log = "FATAL:  could not write lock file: No space left on device".to_owned();
        let full = Error::from_log("starting postgres", Path::new("/x"), log);
        assert!(matches!(full, Error::DiskFull { .. }));
    }

    #[test]
    fn without_programs_the_message_says_what_was_tried_and_what_to_do() {
        let error = Error::NoPrograms {
            tried: vec!["/a/bin: version 9 is too old".into(), "PATH".into()],
            download_error: Some("no route".into()),
            instead: Some("name a server with --database-url".into()),
        };
        assert_eq!(
            error.to_string(),
            "no PostgreSQL found (initdb and postgres, version 14 or newer; looked at \
             /a/bin: version 9 is too old; PATH), and fetching it failed (no route): install the \
             package postgresql, or set PG_BIN to the directory that holds initdb and postgres, \
             or name a server with --database-url"
        );
    }
}
