use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// Where Debian and Homebrew put PostgreSQL's programs. One `*` stands for any
/// text within a component, and the highest number in its place comes first.
const USUAL_PLACES: [&str; 3] =
    ["/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"];

/// PostgreSQL's own limit for a name; a longer one is cut silently.
const NAME_BYTES: usize = 63;

/// Where PostgreSQL's programs may come from.
#[derive(Clone, Debug)]
pub struct Search {
    /// The directory with `initdb` and `postgres`. When set, nothing else is
    /// tried: a mistake in it is an error, not a reason to use another version.
    pub pg_bin: Option<PathBuf>,
    /// Directories to look in, the best first; a `*` as in
    /// `/usr/lib/postgresql/*/bin`, where the highest number comes first.
    pub places: Vec<String>,
    /// More directories, after `places`: `PATH`.
    pub path: Vec<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The cache for fetched programs, instead of the user's.
    pub cache: Option<PathBuf>,
    /// Whether to fetch programs when there are none.
    pub download: bool,
}

impl Search {
    /// The usual places, and what `PG_BIN`, `PATH`, `XDG_CACHE_HOME` and `HOME`
    /// name. An empty variable counts as absent.
    pub fn from_env() -> Self {
        let var = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            pg_bin: var("PG_BIN").map(PathBuf::from),
            places: USUAL_PLACES.map(str::to_owned).into(),
            path: var("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect()),
            xdg_cache_home: var("XDG_CACHE_HOME").map(PathBuf::from),
            home: var("HOME").map(PathBuf::from),
            cache: None,
            download: true,
        }
    }

    /// Where fetched programs are kept: for root, who cannot run them, a place
    /// that the unprivileged user can read.
    pub(crate) fn cache(&self, root: bool) -> Option<PathBuf> {
        if let Some(cache) = &self.cache {
            return Some(cache.clone());
        }
        let base = if root {
            PathBuf::from("/var/cache")
        } else if let Some(xdg) = self.xdg_cache_home.as_ref().filter(|dir| dir.is_absolute()) {
            xdg.clone()
        } else if cfg!(target_os = "macos") {
            self.home.as_ref()?.join("Library/Caches")
        } else {
            self.home.as_ref()?.join(".cache")
        };
        Some(base.join("cegid-indexer"))
    }
}

/// What kind of server, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its programs come from.
    pub search: Search,
    /// The directory to make the server's own directory in; `None` is the
    /// system's directory for temporary files.
    pub parent: Option<PathBuf>,
    /// Also listen on this port of 127.0.0.1, with a password; 0 is any free
    /// port. `None` is the Unix socket alone.
    pub tcp_port: Option<u16>,
    /// Whether a commit survives a crash of the machine, as in production.
    /// Without it PostgreSQL never waits for the disk, and a commit survives a
    /// crash of PostgreSQL only, [`Server::kill`](crate::Server::kill) included:
    /// for tests.
    pub durable: bool,
    /// Databases to make besides `postgres`, before the first start.
    pub databases: Vec<String>,
    /// More server settings: `("max_connections", "200")`.
    pub settings: Vec<(String, String)>,
    /// How long a start may take, `initdb` not counted.
    pub start_limit: Duration,
    /// How long a stop waits for PostgreSQL to end in good order.
    pub stop_limit: Duration,
    /// What a user can do instead of installing PostgreSQL, for the message of
    /// [`Error::NoPrograms`]: "name a server with --database-url".
    pub instead: Option<String>,
}

impl Options {
    /// A server on a Unix socket, not durable, from [`Search::from_env`].
    pub fn from_env() -> Self {
        Self {
            search: Search::from_env(),
            parent: None,
            tcp_port: None,
            durable: false,
            databases: Vec::new(),
            settings: Vec::new(),
            start_limit: Duration::from_secs(60),
            stop_limit: Duration::from_secs(10),
            instead: None,
        }
    }

    /// What would otherwise be found out late, or understood differently.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        for name in &self.databases {
            let why = match name {
                name if name.is_empty() => "is empty",
                name if name.len() > NAME_BYTES => "is longer than 63 bytes",
                name if name.contains(char::is_control) => "has a control character",
                _ => continue,
            };
            return Err(bad("database name", name, why));
        }
        for (name, value) in &self.settings {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            if name.is_empty() || !name.chars().all(word) {
                return Err(bad("setting", name, "is not a name of a setting"));
            }
            if value.contains('\0') {
                return Err(bad("setting", name, "has a NUL in its value"));
            }
        }
        Ok(())
    }
}

fn bad(option: &'static str, value: &str, why: &'static str) -> Error {
    Error::BadOption { option, value: value.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(xdg: Option<&str>, home: Option<&str>) -> Search {
        Search {
            pg_bin: None,
            places: Vec::new(),
            path: Vec::new(),
            xdg_cache_home: xdg.map(PathBuf::from),
            home: home.map(PathBuf::from),
            cache: None,
            download: false,
        }
    }

    #[test]
    fn the_cache_is_the_users_own_and_for_root_one_that_others_read() {
        let cache = |xdg, home, root| search(xdg, home).cache(root);
        let expect = |path: &str| Some(PathBuf::from(path));
        assert_eq!(cache(Some("/x"), Some("/h"), false), expect("/x/cegid-indexer"));
        assert_eq!(cache(Some("/x"), Some("/root"), true), expect("/var/cache/cegid-indexer"));
        let of_home = cache(Some("relative"), Some("/h"), false).expect("HOME is set");
        assert!(of_home.starts_with("/h"), "{}", of_home.display());
        assert_eq!(cache(None, None, false), None);
    }

    #[test]
    fn names_that_postgres_would_read_differently_are_refused() {
        let mut options = Options::from_env();
        options.databases = vec!["a \"b\" é".into()];
        options.settings = vec![("log.min_1".into(), "a b".into())];
        assert!(options.validate().is_ok());
        for name in ["", "a\nb", &"x".repeat(64)] {
            options.databases = vec![name.into()];
            assert!(options.validate().is_err(), "{name:?}");
        }
        options.databases.clear();
        options.settings = vec![("a=b".into(), String::new())];
        assert!(options.validate().is_err());
    }
}
