use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use private_postgres::Server;

use crate::scratch::{Scratch, eventually, is_alive, process_with};

fn private_postgres(scratch: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_private-postgres"));
    command.env("TMPDIR", scratch.as_os_str()).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// `run` with a command that says its own process number and waits.
struct Waiting {
    run: Child,
    command: u32,
    server: u32,
    guardian: u32,
    dir: PathBuf,
}

impl Waiting {
    fn start(scratch: &Scratch) -> Self {
        let mut run = private_postgres(scratch)
            .args(["run", "--", "sh", "-c", "trap 'exit 7' TERM; echo $$; while :; do sleep 0.1; done"])
            .spawn()
            .expect("the binary");
        let mut line = String::new();
        BufReader::new(run.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let name = scratch.names().into_iter().find(|name| name.starts_with("cegid-pg-")).expect("a server");
        let dir = scratch.join(name);
        let pid_file = fs::read_to_string(dir.join("data/postmaster.pid")).expect("a server");
        Self {
            run,
            command: line.trim().parse().expect("a process number"),
            server: pid_file.lines().next().and_then(|pid| pid.parse().ok()).expect("a process number"),
            guardian: process_with(&dir),
            dir,
        }
    }
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -s {signal} {pid}")]).status();
    assert!(status.expect("sh").success());
}

#[test]
fn a_command_gets_its_database_and_passes_its_code_on() {
    let scratch = Scratch::new();
    let script = "echo $DATABASE_URL; exit 3";
    let run = private_postgres(&scratch)
        .args(["run", "--tcp", "--database", "jobs", "--set", "max_connections=20", "--", "sh", "-c", script])
        .output()
        .expect("the binary");
    assert_eq!(run.status.code(), Some(3));
    let url = String::from_utf8(run.stdout).expect("UTF-8");
    assert!(url.starts_with("postgres://postgres:") && url.trim().ends_with("/jobs"), "{url}");
    assert!(scratch.names().is_empty());
}

#[test]
fn failures_have_the_codes_of_env_and_timeout() {
    let scratch = Scratch::new();
    let code = |arguments: &[&str], pg_bin: &str| {
        let mut command = private_postgres(&scratch);
        if !pg_bin.is_empty() {
            command.env("PG_BIN", pg_bin);
        }
        let status = command.args(arguments).stderr(Stdio::null()).status();
        status.expect("the binary").code()
    };
    assert_eq!(code(&["run", "--", "true"], "/nonexistent"), Some(125));
    assert_eq!(code(&["run"], ""), Some(125));
    assert_eq!(code(&["run", "--", "/nonexistent/program"], ""), Some(127));
    assert_eq!(code(&["which"], ""), Some(0));
    assert!(scratch.names().is_empty());
}

#[test]
fn a_signal_reaches_the_command_and_then_the_server_stops() {
    let scratch = Scratch::new();
    let mut waiting = Waiting::start(&scratch);
    kill("TERM", waiting.run.id());
    assert_eq!(waiting.run.wait().expect("it ends").code(), Some(7));
    assert!(!is_alive(waiting.server) && !is_alive(waiting.guardian) && !is_alive(waiting.command));
    assert!(scratch.names().is_empty());
}

#[test]
fn a_killed_owner_leaves_neither_server_nor_directory() {
    let scratch = Scratch::new();
    let mut waiting = Waiting::start(&scratch);
    kill("KILL", waiting.run.id());
    waiting.run.wait().expect("it ends");
    eventually("the server is gone", || !is_alive(waiting.server));
    eventually("its directory is gone", || !waiting.dir.exists());
    eventually("the guardian is gone", || !is_alive(waiting.guardian));
    kill("KILL", waiting.command);
}

/// The death signal, which stands in here for the guardian, is Linux's.
#[cfg(target_os = "linux")]
#[test]
fn without_the_guardian_the_kernel_stops_the_server_and_the_next_start_sweeps() {
    let scratch = Scratch::new();
    let mut waiting = Waiting::start(&scratch);
    kill("KILL", waiting.guardian);
    kill("KILL", waiting.run.id());
    waiting.run.wait().expect("it ends");
    eventually("the server is gone", || !is_alive(waiting.server));
    assert!(waiting.dir.exists());
    let next = Server::start_blocking(scratch.options()).expect("a server");
    assert!(!waiting.dir.exists());
    drop(next);
    kill("KILL", waiting.command);
}

/// The process just ends then, as it does under a `static` that is never dropped.
#[test]
fn a_command_ended_during_the_start_leaves_nothing() {
    let scratch = Scratch::new();
    let mut run = private_postgres(&scratch).args(["run", "--", "true"]).spawn().expect("the binary");
    eventually("the directory is made", || !scratch.names().is_empty());
    kill("TERM", run.id());
    let mut rest = String::new();
    run.stdout.take().expect("piped").read_to_string(&mut rest).expect("read");
    assert_eq!(run.wait().expect("it ends").code(), Some(143));
    eventually("the directory is gone", || scratch.names().is_empty());
}
