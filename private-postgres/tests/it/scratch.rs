use std::fs::{self, Permissions};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use private_postgres::{Options, Search};

/// A directory that the server's user reaches, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new("/tmp").join(format!("pp-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a scratch directory");
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("its mode");
        Self(fs::canonicalize(dir).expect("its path"))
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the scratch directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// A server here.
    pub fn options(&self) -> Options {
        Options { parent: Some(self.0.clone()), ..Options::from_env() }
    }

    /// An executable script.
    pub fn script(&self, name: &str, body: &str) {
        let path = self.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the scratch directory is removed");
    }
}

/// Looks nowhere and fetches nothing.
pub fn nowhere() -> Search {
    Search {
        pg_bin: None,
        places: Vec::new(),
        path: Vec::new(),
        xdg_cache_home: None,
        home: None,
        cache: None,
        download: false,
    }
}

/// Whether a process is there and not a zombie, which a container without an
/// init process keeps. Linux images may lack `ps`, other systems have no /proc.
pub fn is_alive(pid: u32) -> bool {
    let state = if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().to_owned()
    } else {
        let ps = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps");
        String::from_utf8_lossy(&ps.stdout).into_owned()
    };
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// The process whose command line ends with `argument`.
pub fn process_with(argument: &Path) -> u32 {
    let argument = argument.to_str().expect("UTF-8");
    if !cfg!(target_os = "linux") {
        let found = Command::new("pgrep").args(["-f", &format!("guardian {argument}$")]).output().expect("pgrep");
        return String::from_utf8_lossy(&found.stdout).trim().parse().expect("one process");
    }
    let processes = fs::read_dir("/proc").expect("the processes").flatten();
    let pid = processes.filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let ends = line.strip_suffix(b"\0")?.ends_with(argument.as_bytes());
        process.file_name().to_str()?.parse().ok().filter(|_| ends)
    });
    pid.min().expect("one process")
}

/// Other processes give no signal when they are done: looks until it is so.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
