//! The real binary, as a process that can be killed.

use std::{
    collections::HashMap,
    process::{Child, Command, Output, Stdio},
};

const BINARY: &str = env!("CARGO_BIN_EXE_cegid-indexer");

/// A running service; killed when dropped.
pub struct Service(Child);

impl Service {
    pub fn start(environment: &HashMap<String, String>) -> Service {
        Service::start_logging(environment, Stdio::null())
    }

    /// The same with somewhere for its log to go.
    pub fn start_logging(environment: &HashMap<String, String>, log: impl Into<Stdio>) -> Service {
        Service::run(Command::new(BINARY).arg("serve"), environment, log)
    }

    /// The same under a limit of the shell's, such as `-Sn 500`.
    #[cfg(target_os = "linux")]
    pub fn start_limited(environment: &HashMap<String, String>, limit: &str, log: impl Into<Stdio>) -> Service {
        let command = format!("ulimit {limit} && exec \"$0\" serve");
        Service::run(Command::new("sh").args(["-c", &command, BINARY]), environment, log)
    }

    fn run(command: &mut Command, environment: &HashMap<String, String>, log: impl Into<Stdio>) -> Service {
        let child = command.envs(environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Service(child.unwrap())
    }

    /// What the system shows of it, under `/proc`.
    #[cfg(target_os = "linux")]
    pub fn shown(&self, what: &str) -> std::path::PathBuf {
        format!("/proc/{}/{what}", self.0.id()).into()
    }

    /// As `kill -9`.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a command to its end.
pub fn run(arguments: &[&str], environment: &HashMap<String, String>) -> Output {
    Command::new(BINARY).args(arguments).envs(environment).stdin(Stdio::null()).output().unwrap()
}
