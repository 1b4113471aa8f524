//! One replica: a process that is started, killed, frozen and asked to stop, at addresses that stay.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::patience::until;

/// What the environment arms of `src/kill.rs`.
#[derive(Debug, Clone, Default)]
pub struct Armed {
    /// The point at which the process dies, and at which passing.
    pub point: Option<(&'static str, u64)>,
    /// Seconds by which its machine's clock is wrong.
    pub shift: i64,
}

/// An address of the loopback that nobody else is given while this lives: bound, and never listening.
pub struct Address {
    /// The address.
    pub at: SocketAddr,
    _held: TcpSocket,
}

impl Address {
    /// A free one.
    ///
    /// # Errors
    /// When there is none.
    pub fn free() -> anyhow::Result<Address> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Address { at: socket.local_addr()?, _held: socket })
    }
}

/// A replica, running or not.
pub struct Replica {
    /// For people.
    pub name: String,
    /// Its public listener.
    pub public: Address,
    /// Its operators' listener.
    pub operators: Address,
    program: PathBuf,
    settings: BTreeMap<String, String>,
    log: PathBuf,
    child: Option<Child>,
    armed: Armed,
    frozen: bool,
}

impl Replica {
    /// One that does not run yet. `settings` are by their names without the prefix.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn new(name: &str, program: &Path, log: PathBuf) -> anyhow::Result<Replica> {
        let (public, operators) = (Address::free()?, Address::free()?);
        let settings = BTreeMap::from([
            ("RECEIVE__BIND".to_owned(), public.at.to_string()),
            ("OPS__BIND".to_owned(), operators.at.to_string()),
        ]);
        let (name, program) = (name.to_owned(), program.to_owned());
        let (armed, frozen) = (Armed::default(), false);
        Ok(Replica { name, public, operators, program, settings, log, child: None, armed, frozen })
    }

    /// Sets something from the next start on.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Starts it, armed or not.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(&mut self, armed: Armed) -> anyhow::Result<()> {
        let mut command = self.command(&armed)?;
        command.arg("serve");
        self.child = Some(command.spawn().context("starting the service")?);
        (self.armed, self.frozen) = (armed, false);
        Ok(())
    }

    /// Runs another command of the service's to its end, with the same settings.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn run(&self, arguments: &[&str], armed: &Armed) -> anyhow::Result<ExitStatus> {
        self.command(armed)?.args(arguments).status().context("running a command of the service")
    }

    fn command(&self, armed: &Armed) -> anyhow::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).context("opening a log")?;
        let output: File = log.try_clone()?;
        let mut command = Command::new(&self.program);
        command.env_clear().stdin(Stdio::null()).stdout(output).stderr(log);
        command.envs(self.settings.iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value)));
        if let Some((point, nth)) = armed.point {
            command.env("CEGID_INDEXER_KILL_POINT", format!("{point}:{nth}"));
        }
        if armed.shift != 0 {
            command.env("CEGID_INDEXER_CLOCK_SHIFT", armed.shift.to_string());
        }
        Ok(command)
    }

    /// How it was started.
    pub fn armed(&self) -> &Armed {
        &self.armed
    }

    /// Whether it was started, and has not been waited for.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it was started and is not frozen.
    pub fn is_running(&self) -> bool {
        self.child.is_some() && !self.frozen
    }

    /// How it ended, if it has ended by itself.
    ///
    /// # Errors
    /// When the process cannot be asked for.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        kill_process(pid.context("the replica does not run")?, signal).context("signalling the service")
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it has ended before by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the replica does not run")?;
        self.frozen = false;
        child.kill().context("killing the service")?;
        child.wait().context("waiting for the end of the service")?;
        Ok(())
    }

    /// Freezes it, as a machine that is moved does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        self.frozen = true;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)?;
        self.frozen = false;
        Ok(())
    }

    /// Asks it to stop, as a deployment does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ask_to_stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Errors
    /// When it has not ended in time.
    pub async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        until(&what, async || self.ended()).await
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended before.
        let _killed = self.kill();
    }
}

/// Whether it died by SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}
