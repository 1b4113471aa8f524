use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::home::{Home, Lock, look_at_lock};
use crate::{Error, launch};

/// Between two looks at a server that starts or stops.
const PAUSE: Duration = Duration::from_millis(5);
/// How long SIGQUIT, which makes PostgreSQL drop everything, may take.
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// How long the server's other processes may outlive a killed postmaster.
const ORPHANS_LIMIT: Duration = Duration::from_secs(10);
/// The line of `postmaster.pid` with the server's status, and what it says when
/// connections are accepted.
const STATUS_LINE: usize = 8;

/// One run of `postgres`, started as our own child: `pg_ctl` would leave it
/// behind when we are killed, and takes a zombie for a running server.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
    /// Keeps the thread that spawned the child, to whose end the kernel's death
    /// signal is tied.
    _keeper: mpsc::Sender<()>,
}

impl Postmaster {
    /// Spawns `command` with the server's log and its lock, and returns at once.
    ///
    /// The lock file goes in as standard input, which every process of the
    /// server inherits and keeps: the lock is free when the last one is gone.
    pub(crate) fn spawn(mut command: Command, home: &Home) -> Result<Self, Error> {
        wait_gone(&home.server_lock())?;
        let lock = open_for_server(&home.server_lock())?;
        lock.lock().map_err(Error::io("locking", &home.server_lock()))?;
        let log = open_for_server(&home.log())?;
        let out = log.try_clone().map_err(Error::io("opening", &home.log()))?;
        command.stdin(lock).stdout(out).stderr(log);
        let doing = "starting the server in";
        let (tell, spawned) = mpsc::sync_channel(1);
        let (keeper, kept) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || {
                let child = command.spawn();
                // Our copies of the files: the lock is the server's alone now.
                drop(command);
                if tell.send(child).is_ok() {
                    // Nothing is ever sent: this ends when the keeper is dropped.
                    kept.recv().ok();
                }
            })
            .map_err(Error::io(doing, &home.dir))?;
        let child =
            spawned.recv().map_err(io::Error::other).and_then(|child| child).map_err(Error::io(doing, &home.dir))?;
        Ok(Self { child, _keeper: keeper })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_none())
    }

    /// Waits until the server accepts connections; `Ok(false)` when it ended
    /// instead or the time is over.
    pub(crate) fn wait_ready(&mut self, data: &Path, socket: &Path, limit: Duration) -> io::Result<bool> {
        let pid_file = data.join("postmaster.pid");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && self.is_running()? {
            // The file may still be an earlier run's, or half written.
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            if says_ready(&text, self.pid()) && UnixStream::connect(socket).is_ok() {
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
        Ok(false)
    }

    /// Fast shutdown, then a harder one, then the end of it.
    pub(crate) fn stop(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        for (signal, limit) in [("INT", patience), ("QUIT", QUIT_LIMIT)] {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            // Where no shell can be started (no process or memory left), the
            // next signal takes its turn; the last one needs none.
            if launch::signal(self.pid(), signal).is_ok()
                && let Some(status) = self.wait(limit)?
            {
                return Ok(status);
            }
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGKILL, as the kernel does when memory runs out.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < deadline => thread::sleep(PAUSE),
                status => return Ok(status),
            }
        }
    }
}

/// Until no process of the server is left: after a SIGKILL of the postmaster
/// the others notice by themselves, and a new one refuses to start before.
pub(crate) fn wait_gone(server_lock: &Path) -> Result<(), Error> {
    let failed = || Error::io("waiting for the server's processes behind", server_lock);
    let deadline = Instant::now() + ORPHANS_LIMIT;
    while let Lock::Held = look_at_lock(server_lock).map_err(failed())? {
        if Instant::now() > deadline {
            return Err(failed()(io::ErrorKind::TimedOut.into()));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn open_for_server(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(Error::io("opening", path))
}

fn says_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines();
    lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid)
        && lines.nth(STATUS_LINE - 2).is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_line_eight_of_this_runs_file() {
        let file = "42\n/data\n1700000000\n5432\n/socket\n\n  5432001  3\nready   \n";
        assert!(says_ready(file, 42));
        assert!(!says_ready(file, 43));
        assert!(says_ready(&file.replace("ready  ", "standby"), 42));
        assert!(!says_ready(&file.replace("ready", "starting"), 42));
        assert!(!says_ready("42\n/data\n", 42));
    }
}
