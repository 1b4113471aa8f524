use std::fs;
use std::path::{Path, PathBuf};

use crate::account::{self, Account};
use crate::options::Search;
use crate::{Error, launch};

/// The oldest major version the service's SQL is meant for.
pub(crate) const OLDEST_MAJOR: u32 = 14;

/// A directory with usable programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Holds `initdb` and `postgres`.
    pub bin: PathBuf,
    /// As `postgres --version` says it, "15.18".
    pub version: String,
}

/// What [`find`] came to.
#[derive(Clone, Debug)]
pub enum Found {
    /// These are on the machine, or were fetched before.
    Here(Programs),
    /// None are, and a start would fetch them into this directory.
    ToFetch {
        /// The cache.
        into: PathBuf,
        /// Every place looked at, as in [`Error::NoPrograms`].
        tried: Vec<String>,
    },
}

/// Looks for programs without fetching any: `PG_BIN`, the usual places, `PATH`,
/// then what was fetched before.
///
/// # Errors
/// [`Error::NoPrograms`] when there are none and none can be fetched,
/// [`Error::NoAccount`], and [`Error::Io`] when the system does not say who we
/// are.
pub fn find(search: &Search) -> Result<Found, Error> {
    let own_uid = account::own_uid()?;
    let account = account::choose(own_uid)?;
    let none = |tried| Error::NoPrograms { tried, download_error: None, instead: None };
    if let Some(bin) = &search.pg_bin {
        return match check(bin, account.as_ref()) {
            Ok(programs) => Ok(Found::Here(programs)),
            Err(why) => Err(none(vec![format!("PG_BIN={}: {why}", bin.display())])),
        };
    }
    let mut tried = Vec::new();
    for pattern in &search.places {
        let reasons = tried.len();
        for bin in expand(pattern) {
            match check_if_any(&bin, account.as_ref()) {
                None => {}
                Some(Ok(programs)) => return Ok(Found::Here(programs)),
                Some(Err(why)) => tried.push(format!("{}: {why}", bin.display())),
            }
        }
        if tried.len() == reasons {
            tried.push(pattern.clone());
        }
    }
    for bin in &search.path {
        match check_if_any(bin, account.as_ref()) {
            None => {}
            Some(Ok(programs)) => return Ok(Found::Here(programs)),
            Some(Err(why)) => tried.push(format!("{}: {why}", bin.display())),
        }
    }
    tried.push("PATH".to_owned());
    let Some(cache) = search.cache(own_uid == 0) else {
        tried.push("no cache, for neither XDG_CACHE_HOME nor HOME is set".to_owned());
        return Err(none(tried));
    };
    let cache = cache.join("postgresql");
    if let Some(programs) = fetched(&cache, account.as_ref()) {
        return Ok(Found::Here(programs));
    }
    tried.push(cache.display().to_string());
    if search.download { Ok(Found::ToFetch { into: cache, tried }) } else { Err(none(tried)) }
}

/// The newest programs fetched before.
pub(crate) fn fetched(cache: &Path, account: Option<&Account>) -> Option<Programs> {
    let pattern = format!("{}/*/bin", cache.display());
    expand(&pattern).iter().find_map(|bin| check(bin, account).ok())
}

/// `None` where there is no `postgres` at all.
fn check_if_any(bin: &Path, account: Option<&Account>) -> Option<Result<Programs, String>> {
    bin.join("postgres").is_file().then(|| check(bin, account))
}

/// Programs that are there, new enough, and may be run by `account`.
fn check(bin: &Path, account: Option<&Account>) -> Result<Programs, String> {
    for name in ["postgres", "initdb"] {
        if !bin.join(name).is_file() {
            return Err(format!("no {name} there"));
        }
    }
    // The programs are started from another working directory.
    let bin = fs::canonicalize(bin).map_err(|error| error.to_string())?;
    let user = account.map_or_else(String::new, |account| format!(" as user {}", account.name));
    let said = launch::output(launch::command(&bin.join("postgres"), account).arg("--version"))
        .map_err(|error| format!("cannot be run{user}: {error}"))?
        .map_err(|text| format!("postgres --version failed{user}: {text}"))?;
    let (version, major) = parse_version(&said).ok_or_else(|| format!("no version in {:?}", said.trim()))?;
    if major < OLDEST_MAJOR {
        return Err(format!("version {version} is older than {OLDEST_MAJOR}"));
    }
    Ok(Programs { bin, version })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
fn parse_version(said: &str) -> Option<(String, u32)> {
    let (_, rest) = said.split_once("(PostgreSQL)")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((version.to_owned(), digits.parse().ok()?))
}

/// The directories that a pattern with at most one `*` names, the one with the
/// highest number in its place first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let middle = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            // Half-fetched programs of ours.
            if name.starts_with('.') {
                return None;
            }
            let numbers = middle.split(|c: char| !c.is_ascii_digit());
            let numbers = numbers.filter_map(|number| number.parse().ok()).collect();
            Some((numbers, entry.path().join(rest)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let parse = |text| parse_version(text).map(|(_, major)| major);
        assert_eq!(parse("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse("postgres (PostgreSQL)"), None);
        assert_eq!(parse("something else 15"), None);
    }

    #[test]
    fn the_highest_version_comes_first() {
        let dir = std::env::temp_dir().join(format!("places-{}", std::process::id()));
        for name in ["pg@9", "pg@16.10.0", "pg@16.2.0", "pg", ".pg@99", "other@99"] {
            fs::create_dir_all(dir.join(name)).expect("a directory");
        }
        let found = expand(&format!("{}/pg*/bin", dir.display()));
        fs::remove_dir_all(&dir).expect("removed");
        let names = ["pg@16.10.0", "pg@16.2.0", "pg@9", "pg"];
        assert_eq!(found, names.map(|name| dir.join(name).join("bin")));
    }
}
