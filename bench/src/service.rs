//! The service's own binary as a process of its own, and the bench itself as the servers that it is compared with.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::request::{CLIENT_ID, SECRET, TENANT};

/// The workspace that this was built from.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Settings that differ from the defaults: addresses, the tenant, and what a part asks for.
#[derive(Clone)]
pub struct Setup {
    /// Address of the database.
    pub database: String,
    /// Base URL of the tenant's Cegid.
    pub cegid: String,
    /// Further settings, such as `("TENANTS__BENCH__LOAD_PAUSE", "0s".into())`.
    pub further: Vec<(&'static str, String)>,
}

/// What the program's own ledger says of the bench's tenant: another version has another schema.
pub struct Ledger {
    /// Whether nothing is lost, nothing waits and everything was told.
    pub balances: bool,
    /// Deliveries.
    pub received: i64,
    /// Documents.
    pub documents: i64,
    /// All of it, for a gate that does not hold.
    pub says: Value,
}

/// A server that runs until it is dropped.
pub struct Service {
    child: Child,
    program: PathBuf,
    environment: Vec<(String, String)>,
    /// Where callbacks go.
    pub address: SocketAddr,
    /// Holds the log, which the service writes as in production.
    directory: TempDir,
}

/// The settings as a server's environment.
fn environment(setup: &Setup, address: SocketAddr, operators: SocketAddr) -> Vec<(String, String)> {
    let tenant = TENANT.to_uppercase();
    let named = [
        ("PUBLIC_URL".to_owned(), format!("http://{address}")),
        ("RECEIVE__BIND".to_owned(), address.to_string()),
        ("OPS__BIND".to_owned(), operators.to_string()),
        ("DATABASE__URL".to_owned(), setup.database.clone()),
        (format!("TENANTS__{tenant}__BASE_URL"), setup.cegid.clone()),
        (format!("TENANTS__{tenant}__CLIENT_ID"), CLIENT_ID.to_owned()),
        (format!("TENANTS__{tenant}__CLIENT_SECRET"), SECRET.to_owned()),
    ];
    let further = setup.further.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    named.into_iter().chain(further).map(|(key, value)| (format!("CEGID_INDEXER__{key}"), value)).collect()
}

/// A port of the loopback that nobody listens on now.
pub fn closed_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?)
}

impl Service {
    /// Starts the service and waits until it is ready.
    pub fn start(program: &Path, setup: &Setup) -> anyhow::Result<Service> {
        Service::spawn(program, "serve", setup)?.when(|address| ready(address).unwrap_or(false))
    }

    /// Starts the bench as one of its comparison servers.
    pub fn compared(mode: &str, setup: &Setup) -> anyhow::Result<Service> {
        let program = std::env::current_exe().context("looking for the bench's own program")?;
        Service::spawn(&program, mode, setup)?.when(|address| TcpStream::connect(address).is_ok())
    }

    fn spawn(program: &Path, mode: &str, setup: &Setup) -> anyhow::Result<Service> {
        let (address, operators) = (closed_port()?, closed_port()?);
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        let environment = environment(setup, address, operators);
        let child = Command::new(program)
            .arg(mode)
            .env_clear()
            .envs(environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {} {mode}", program.display()))?;
        Ok(Service { child, program: program.to_owned(), environment, address, directory })
    }

    fn when(mut self, ready: impl Fn(SocketAddr) -> bool) -> anyhow::Result<Service> {
        let began = Instant::now();
        while !ready(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start ({status}): {}", self.log_end());
            }
            if began.elapsed() > START_LIMIT {
                bail!("the server was not ready in {} s: {}", START_LIMIT.as_secs(), self.log_end());
            }
            thread::sleep(POLL);
        }
        Ok(self)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the program for its ledger, as an operator does.
    pub fn ledger(&self) -> anyhow::Result<Ledger> {
        let mut command = Command::new(&self.program);
        command.args(["ledger", "--tenant", TENANT, "--json"]).env_clear().envs(self.environment.clone());
        let output = command.output().with_context(|| format!("running {} ledger", self.program.display()))?;
        let says = || String::from_utf8_lossy(&output.stderr).into_owned();
        let mut tenants: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(says)?;
        let says = tenants.pop().context("the ledger names no tenant")?;
        let count = |name: &str| says[name].as_i64().with_context(|| format!("the ledger has no {name}: {says}"));
        let (received, documents) = (count("received")?, count("documents")?);
        Ok(Ledger { balances: says["verdict"] == "balances", received, documents, says })
    }

    /// Ends it as a power cut would: it is asked nothing and gives nothing up.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("killing the service")?;
        self.child.wait().context("waiting for the end of the service")?;
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            // Another process may have its number by now.
            return;
        }
        // A service that is asked gives up its lease, so that the next one works at once.
        let _asked = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < STOP_LIMIT {
            thread::sleep(POLL);
        }
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The service's program, which stands beside the bench's own; built by cargo where it is missing or older.
pub fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("looking for the bench's own program")?;
    let directory = own.parent().context("the bench's program has no directory")?;
    let program = directory.join(format!("cegid-indexer{}", std::env::consts::EXE_SUFFIX));
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&program) >= modified(&own) {
        return Ok(program);
    }
    let release = directory.ends_with("release");
    eprintln!("{} is missing, or older than the bench: cargo builds what is not current", program.display());
    let built = Command::new("cargo")
        .arg("build")
        .args(release.then_some("--release"))
        .args(["--package", "cegid-indexer", "--manifest-path", MANIFEST, "--target-dir"])
        .arg(directory.parent().context("the bench's program is not in a target directory")?)
        .status();
    match built {
        Ok(status) if status.success() => {}
        _ if program.is_file() => eprintln!("cargo could not build it: measuring the one that is there"),
        Ok(status) => bail!("cargo build --package cegid-indexer failed ({status})"),
        Err(error) => return Err(error).context("starting cargo, to build the service"),
    }
    Ok(program)
}
