use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::account::{self, Account};
use crate::home::{self, Home};
use crate::options::Options;
use crate::postmaster::{self, Postmaster};
use crate::programs::{self, Found, Programs};
use crate::{Error, cluster, fetch, launch};

/// The port that names the socket when there is no TCP.
const SOCKET_PORT: u16 = 5432;
/// How often another free port is tried: somebody may take one between our
/// look and PostgreSQL's start.
const PORT_ATTEMPTS: u32 = 5;
/// How long a drop waits for a stop in good order.
const DROP_LIMIT: Duration = Duration::from_secs(3);
/// The password's length; as hexadecimal digits it needs no encoding in a URL.
const PASSWORD_BYTES: usize = 24;

/// A running server, stopped and removed when dropped.
///
/// The methods that stop or start it block for a fraction of a second, rarely
/// for the whole of their limit.
pub struct Server {
    programs: Programs,
    account: Option<Account>,
    /// Set when TCP was asked for.
    password: Option<String>,
    port: u16,
    settings: Vec<(String, String)>,
    start_limit: Duration,
    stop_limit: Duration,
    running: Mutex<Running>,
    dir: PathBuf,
}

struct Running {
    home: Home,
    /// `None` while the server is down on purpose.
    postmaster: Option<Postmaster>,
    /// Bytes of the largest file, from the next start on.
    file_limit: Option<u64>,
}

impl Server {
    /// Finds or fetches the programs, makes a cluster and starts it.
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left behind then, but for programs fetched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(options: Options) -> Result<Self, Error> {
        tokio::task::spawn_blocking(|| Self::start_blocking(options)).await.unwrap_or_else(|error| {
            Err(Error::Io { doing: "starting a private PostgreSQL".to_owned(), source: std::io::Error::other(error) })
        })
    }

    /// [`Self::start`] without a runtime.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_blocking(options: Options) -> Result<Self, Error> {
        options.validate()?;
        let account = account::choose(account::own_uid()?)?;
        let programs = obtain(&options, account.as_ref())?;
        let home = Home::create(options.parent.as_deref(), account.as_ref())?;
        let password = options.tcp_port.map(|_| home::random_hex(PASSWORD_BYTES)).transpose();
        let mut server = Self {
            programs,
            account,
            password: None,
            port: options.tcp_port.unwrap_or(SOCKET_PORT),
            settings: options.settings,
            start_limit: options.start_limit,
            stop_limit: options.stop_limit,
            dir: home.dir.clone(),
            running: Mutex::new(Running { home, postmaster: None, file_limit: None }),
        };
        server.password = password?;
        if !options.durable {
            // synchronous_commit stays on: without fsync it costs no wait, and
            // off it would lose commits to a mere `kill`.
            let off = ["fsync", "full_page_writes"];
            let off = off.map(|name| (name.to_owned(), "off".to_owned()));
            // The caller's own come later and win.
            server.settings.splice(0..0, off);
        }
        let (programs, account) = (&server.programs, server.account.as_ref());
        cluster::init(programs, &server.lock().home, account, server.password.as_deref())?;
        let data = server.data_dir();
        cluster::create_databases(programs, &data, account, &options.databases)?;
        if options.tcp_port == Some(0) {
            server.start_on_a_free_port()?;
        } else {
            server.start_again()?;
        }
        Ok(server)
    }

    fn start_on_a_free_port(&mut self) -> Result<(), Error> {
        let mut attempts = 1;
        loop {
            self.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .map_err(Error::io("looking for a free port for", &self.dir))?
                .port();
            match self.start_again() {
                Err(Error::PortTaken { .. }) if attempts < PORT_ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    /// Starts the server that was stopped or has died: same data, same
    /// addresses. A running one is left alone.
    ///
    /// # Errors
    /// [`Error::PortTaken`], [`Error::DiskFull`], [`Error::Start`] with the end
    /// of the log, or [`Error::Io`].
    pub fn start_again(&self) -> Result<(), Error> {
        let mut running = self.lock();
        let io = || Error::io("looking after the server in", &self.dir);
        if let Some(postmaster) = &mut running.postmaster
            && postmaster.is_running().map_err(io())?
        {
            return Ok(());
        }
        running.postmaster = None;
        running.home.guardian.watch(None);
        let log_before = self.log().len();
        let mut command = self.command();
        if let Some(bytes) = running.file_limit {
            launch::limit_files(&mut command, bytes);
        }
        let mut postmaster = Postmaster::spawn(command, &running.home)?;
        running.home.guardian.watch(Some(postmaster.pid()));
        let data = self.data_dir();
        let ready = postmaster.wait_ready(&data, &self.socket(), self.start_limit);
        if ready.map_err(io())? {
            running.postmaster = Some(postmaster);
            return Ok(());
        }
        postmaster.stop(Duration::ZERO).map_err(io())?;
        running.home.guardian.watch(None);
        let log = self.log();
        let log = launch::tail(log.get(log_before..).unwrap_or(&log)).to_owned();
        // The two lines PostgreSQL gives for a port that is in use; a socket's
        // message differs, and nobody else's is in our directory.
        if log.contains("could not bind IPv4 address") && log.contains("Address already in use") {
            return Err(Error::PortTaken { port: self.port });
        }
        Err(Error::from_log("starting postgres", &self.dir, log))
    }

    fn command(&self) -> std::process::Command {
        let postgres = self.programs.bin.join("postgres");
        let mut command = launch::command(&postgres, self.account.as_ref());
        let listen = self.password.as_ref().map_or("", |_| "127.0.0.1");
        command
            .arg("-D")
            .arg(self.data_dir())
            .arg("-p")
            .arg(self.port.to_string())
            .arg("-c")
            .arg(format!("listen_addresses={listen}"))
            .arg("-k")
            .arg(&self.dir);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    /// From the next start on no file of the server grows beyond so many bytes: for its clients as if the disk were
    /// full. A segment of the write-ahead log, of 16 MiB, must have room.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.lock().file_limit = bytes;
    }

    /// Takes the server down and keeps its data, for [`Self::start_again`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stop_postgres(&self) -> Result<(), Error> {
        self.stop_within(self.stop_limit)
    }

    fn stop_within(&self, limit: Duration) -> Result<(), Error> {
        let mut running = self.lock();
        if let Some(mut postmaster) = running.postmaster.take() {
            let stopped = postmaster.stop(limit);
            running.home.guardian.watch(None);
            stopped.map_err(Error::io("stopping the server in", &self.dir))?;
        }
        Ok(())
    }

    /// Ends the server with SIGKILL, as a crash would, and returns when none of
    /// its processes is left. Its data stay, for [`Self::start_again`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&self) -> Result<(), Error> {
        let mut running = self.lock();
        if let Some(mut postmaster) = running.postmaster.take() {
            let killed = postmaster.kill();
            running.home.guardian.watch(None);
            killed.map_err(Error::io("killing the server in", &self.dir))?;
        }
        postmaster::wait_gone(&running.home.server_lock())
    }

    /// Stops the server and removes its directory, telling what a drop cannot.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn stop(self) -> Result<(), Error> {
        tokio::task::spawn_blocking(|| self.stop_blocking()).await.unwrap_or_else(|error| {
            Err(Error::Io { doing: "stopping a private PostgreSQL".to_owned(), source: std::io::Error::other(error) })
        })
    }

    /// [`Self::stop`] without a runtime.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_blocking(self) -> Result<(), Error> {
        self.stop_postgres()?;
        self.remove()
    }

    fn remove(&self) -> Result<(), Error> {
        let mut running = self.lock();
        // A backend that outlives its postmaster may still write.
        postmaster::wait_gone(&running.home.server_lock())?;
        running.home.remove()
    }

    /// For a client of the Unix socket, in the form that sqlx and libpq read.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost:{}/{}?host={}",
            self.port,
            percent(database.as_bytes()),
            percent(self.dir.as_os_str().as_encoded_bytes())
        )
    }

    /// For a client of the TCP port, with the password; `None` when no port was
    /// asked for.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let password = self.password.as_ref()?;
        Some(format!("postgres://postgres:{password}@127.0.0.1:{}/{}", self.port, percent(database.as_bytes())))
    }

    /// The TCP port on 127.0.0.1, when one was asked for.
    pub fn tcp_port(&self) -> Option<u16> {
        self.password.as_ref().map(|_| self.port)
    }

    /// The Unix socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// The main process, while it is up.
    pub fn pid(&self) -> Option<u32> {
        self.lock().postmaster.as_ref().map(Postmaster::pid)
    }

    /// The cluster's directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory that holds all of the server and goes with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The programs that run it.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The end of the server's log, a few lines.
    pub fn log_tail(&self) -> String {
        launch::tail(&self.log()).to_owned()
    }

    fn log(&self) -> String {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A panic elsewhere leaves nothing half done that a stop could not handle.
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    /// Where this fails the guardian takes over: its pipe closes right after.
    fn drop(&mut self) {
        if self.stop_within(DROP_LIMIT).is_ok() {
            self.remove().ok();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .field("programs", &self.programs)
            .finish_non_exhaustive()
    }
}

fn obtain(options: &Options, account: Option<&Account>) -> Result<Programs, Error> {
    let (tried, download_error) = match programs::find(&options.search) {
        Ok(Found::Here(programs)) => return Ok(programs),
        Ok(Found::ToFetch { into, tried }) => match fetch::fetch(&into, account) {
            Ok(programs) => return Ok(programs),
            Err(full @ Error::DiskFull { .. }) => return Err(full),
            Err(error) => (tried, Some(error.to_string())),
        },
        Err(Error::NoPrograms { tried, .. }) => (tried, None),
        Err(error) => return Err(error),
    };
    Err(Error::NoPrograms { tried, download_error, instead: options.instead.clone() })
}

/// Everything but what no URL gives a meaning to.
fn percent(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_safe_in_a_url() {
        assert_eq!(percent("/tmp/a b_é?".as_bytes()), "%2Ftmp%2Fa%20b_%C3%A9%3F");
    }
}
