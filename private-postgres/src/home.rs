//! The server's directory, 0700 and the server's user's own: data, socket, log
//! and two lock files. The kernel drops a lock when the last process that has
//! the file open ends, which no process number could tell as surely (numbers
//! are used again, and mean nothing in another container with the same /tmp):
//!
//! - `owner.lock` is held by the process that made the directory;
//! - `server.lock` is held by every process of the server, see `postmaster`.
//!
//! A directory with neither lock held is nobody's, and is swept.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::account::Account;
use crate::guardian::Guardian;

const PREFIX: &str = "cegid-pg-";
/// A socket's path has about 104 bytes on macOS and 108 on Linux; below this,
/// clients that add something to it still work.
const SOCKET_PATH_BYTES: usize = 90;
/// The longest that comes after the directory: `/.s.PGSQL.65535`.
const SOCKET_NAME_BYTES: usize = 15;
/// A directory without an `owner.lock` may be one just being made.
const NEWBORN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) guardian: Guardian,
    _owner: File,
}

impl Home {
    /// Makes a directory in `parent`, after a sweep there.
    pub(crate) fn create(parent: Option<&Path>, account: Option<&Account>) -> Result<Self, Error> {
        let parent = choose_parent(parent, account)?;
        let dir = parent.join(format!("{PREFIX}{}", random_hex(6)?));
        DirBuilder::new().mode(0o700).create(&dir).map_err(Error::io("making", &dir))?;
        // Before anything can fail: an early return leaves no directory either.
        let guardian = Guardian::start(&dir).map_err(Error::io("starting a guardian of", &dir))?;
        let owner = hold_lock(&dir.join("owner.lock"))?;
        let home = Self { dir, guardian, _owner: owner };
        if let Some(account) = account {
            home.give(&home.dir, account)?;
        }
        sweep(&parent, &home.dir);
        Ok(home)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn server_lock(&self) -> PathBuf {
        self.dir.join("server.lock")
    }

    /// Makes `path` the account's own.
    pub(crate) fn give(&self, path: &Path, account: &Account) -> Result<(), Error> {
        chown(path, Some(account.uid), Some(account.gid)).map_err(Error::io("giving away", path))
    }

    /// Removes the directory; the server is stopped. Once more is no error.
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        remove_dir(&self.dir).map_err(Error::io("removing", &self.dir))?;
        self.guardian.dismiss().map_err(Error::io("dismissing the guardian of", &self.dir))
    }
}

/// As hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut random = vec![0; bytes];
    File::open(path).and_then(|mut file| file.read_exact(&mut random)).map_err(Error::io("reading", path))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The directory asked for, or the first of the usual ones, in which a server's
/// directory has a short enough path and is reached by its user.
fn choose_parent(asked: Option<&Path>, account: Option<&Account>) -> Result<PathBuf, Error> {
    let usual = || vec![env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let candidates = asked.map_or_else(usual, |asked| vec![asked.to_owned()]);
    let mut refused = Vec::new();
    for candidate in candidates {
        let why = match fs::canonicalize(&candidate) {
            Err(error) => error.to_string(),
            Ok(dir) => {
                let name = 1 + PREFIX.len() + 12 + SOCKET_NAME_BYTES;
                match account {
                    _ if dir.as_os_str().len() + name >= SOCKET_PATH_BYTES => {
                        "its path is too long for a socket".to_owned()
                    }
                    Some(account) if !account.reaches(&dir) => {
                        format!("user {} cannot reach it", account.name)
                    }
                    _ => return Ok(dir),
                }
            }
        };
        refused.push(format!("{}: {why}", candidate.display()));
    }
    Err(Error::NoPlace { why: refused.join("; ") })
}

/// Makes the file and locks it before it gets its name, so that a sweep never
/// sees it unlocked.
fn hold_lock(path: &Path) -> Result<File, Error> {
    let unnamed = path.with_extension("new");
    let file = File::create_new(&unnamed).map_err(Error::io("making", &unnamed))?;
    file.lock().map_err(Error::io("locking", &unnamed))?;
    fs::rename(&unnamed, path).map_err(Error::io("naming", path))?;
    Ok(file)
}

/// What a lock file says about its processes.
pub(crate) enum Lock {
    /// There is no such file.
    Absent,
    /// A process that has it open is alive.
    Held,
    /// All are gone; held by the caller until this is dropped.
    Free(#[expect(dead_code, reason = "held, not read")] File),
}

pub(crate) fn look_at_lock(path: &Path) -> io::Result<Lock> {
    // Another user's directory may hold anything under this name: a link is not
    // followed, and a pipe does not block the open.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lock::Absent),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(Lock::Free(file)),
            Err(TryLockError::WouldBlock) => Ok(Lock::Held),
            Err(TryLockError::Error(error)) => Err(error),
        },
    }
}

/// Removes the directories of ours in `parent` that are nobody's any more. They
/// are not this server's business: one that resists is left to the next start.
fn sweep(parent: &Path, own: &Path) {
    let (Ok(entries), Ok(own_uid)) = (fs::read_dir(parent), fs::metadata(own).map(|m| m.uid())) else {
        return;
    };
    for entry in entries.flatten() {
        let dir = entry.path();
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !ours || dir == own || !is_dir_of(&dir, own_uid) {
            continue;
        }
        let Ok(owner) = look_at_lock(&dir.join("owner.lock")) else {
            continue;
        };
        let abandoned = match &owner {
            Lock::Held => false,
            Lock::Absent => older_than(&dir, NEWBORN),
            Lock::Free(_) => !matches!(look_at_lock(&dir.join("server.lock")), Ok(Lock::Held) | Err(_)),
        };
        if abandoned {
            remove_dir(&dir).ok();
        }
    }
}

fn is_dir_of(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

fn older_than(dir: &Path, age: Duration) -> bool {
    let changed = fs::metadata(dir).and_then(|meta| meta.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// A directory that another process removes at the same time is as good.
fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound || dir.exists() => Err(error),
        _ => Ok(()),
    }
}
