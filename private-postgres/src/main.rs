//! `private-postgres run -- COMMAND`: a command with a PostgreSQL of its own.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, bail};
use private_postgres::{Found, Options, Server, find};
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "\
Runs a command with a PostgreSQL server of its own, gone when the command ends.

Usage:
  private-postgres run [OPTIONS] -- COMMAND [ARGUMENT]...
  private-postgres which

`run` sets DATABASE_URL for COMMAND and exits with its code, or with 125 when
there is no server, 127 when there is no COMMAND, 126 when it cannot be run.
`which` prints the programs that would be used, without fetching any.

Options:
  --tcp               listen on a free port of 127.0.0.1 too; DATABASE_URL names it
  --durable           keep what is committed through a crash of the machine
  --database NAME     make this database and name it in DATABASE_URL
  --set NAME=VALUE    a server setting; may be repeated

Environment:
  PG_BIN              the directory with initdb and postgres; nothing else is tried
  XDG_CACHE_HOME      where fetched programs are kept (not for root)
";

/// Our own failures, as `env` and `timeout` give them.
const FAILED: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// A shell's code for a command ended by a signal is this plus its number.
const SIGNALLED: i32 = 128;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let result = match verb.to_str() {
        Some("run") => Plan::parse(arguments).and_then(run),
        Some("which") if arguments.len() == 0 => which(),
        Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            Ok(0)
        }
        _ => {
            eprint!("{HELP}");
            Ok(FAILED)
        }
    };
    result
        .unwrap_or_else(|error| {
            eprintln!("private-postgres: {error:#}");
            FAILED
        })
        .into()
}

fn which() -> anyhow::Result<u8> {
    match find(&Options::from_env().search)? {
        Found::Here(programs) => {
            println!("{} (PostgreSQL {})", programs.bin.display(), programs.version);
        }
        Found::ToFetch { into, tried } => {
            println!("none found ({}); would fetch into {}", tried.join("; "), into.display());
        }
    }
    Ok(0)
}

#[derive(Debug)]
struct Plan {
    options: Options,
    tcp: bool,
    database: String,
    command: Vec<OsString>,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        let mut plan =
            Self { options: Options::from_env(), tcp: false, database: "postgres".to_owned(), command: Vec::new() };
        let text = |value: Option<OsString>, option| {
            let value = value.with_context(|| format!("{option} wants a value"))?;
            let value = value.into_string();
            value.map_err(|value| anyhow::anyhow!("{option}: {value:?} is not UTF-8"))
        };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--tcp") => {
                    plan.tcp = true;
                    plan.options.tcp_port = Some(0);
                }
                Some("--durable") => plan.options.durable = true,
                Some("--database") => plan.database = text(arguments.next(), "--database")?,
                Some("--set") => {
                    let setting = text(arguments.next(), "--set")?;
                    let (name, value) = setting
                        .split_once('=')
                        .with_context(|| format!("--set {setting}: no value, as in NAME=VALUE"))?;
                    plan.options.settings.push((name.to_owned(), value.to_owned()));
                }
                Some("--") => {
                    plan.command = arguments.collect();
                    break;
                }
                _ => bail!("unknown argument {argument:?}: see private-postgres --help"),
            }
        }
        if plan.command.is_empty() {
            bail!("no command: private-postgres run [OPTIONS] -- COMMAND [ARGUMENT]...");
        }
        if plan.database != "postgres" {
            plan.options.databases.push(plan.database.clone());
        }
        Ok(plan)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(plan: Plan) -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = tokio::select! {
        server = Server::start(plan.options) => server?,
        // A start cannot be taken back half way; the guardian ends it.
        code = first(&mut interrupt, &mut terminate) => std::process::exit(SIGNALLED + code),
    };
    let url = if plan.tcp { server.tcp_url(&plan.database).context("no port")? } else { server.url(&plan.database) };
    let (program, arguments) = plan.command.split_first().context("no command")?;
    let child = tokio::process::Command::new(program).args(arguments).env("DATABASE_URL", url).spawn();
    let code = match child {
        Ok(child) => wait(child, &mut interrupt, &mut terminate).await,
        Err(error) => {
            eprintln!("private-postgres: {}: {error}", program.display());
            Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
        }
    };
    server.stop().await?;
    code
}

async fn first(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => libc::SIGINT,
        _ = terminate.recv() => libc::SIGTERM,
    }
}

/// Until the command ends; signals to us are meant for it.
async fn wait(mut child: tokio::process::Child, interrupt: &mut Signal, terminate: &mut Signal) -> anyhow::Result<u8> {
    loop {
        tokio::select! {
            status = child.wait() => return Ok(code(status.context("waiting for the command")?)),
            signal = first(interrupt, terminate) => {
                // A Ctrl-C has reached the command already, which shares our
                // terminal, and a second one can mean something else to it.
                let typed = signal == libc::SIGINT && io::stdin().is_terminal();
                if let Some(pid) = child.id() && !typed {
                    forward(pid, signal).context("passing a signal on")?;
                }
            }
        }
    }
}

fn forward(pid: u32, signal: i32) -> io::Result<()> {
    Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill"])
        .arg(if signal == libc::SIGINT { "INT" } else { "TERM" })
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .status()
        .map(drop)
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}
