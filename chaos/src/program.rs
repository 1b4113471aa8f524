//! The service's own program, with its kill points.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, bail};

/// The workspace that this was built from.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What the program is made of, there.
const SOURCES: [&str; 5] = ["src", "migrations", "config", "Cargo.toml", "Cargo.lock"];

/// Puts a copy into `directory`: another build, without kill points, may take its place while the suite runs. A build of
/// the whole workspace, as for its tests, has made it already; otherwise it is built as this program was, into the same
/// target directory.
///
/// # Errors
/// When cargo cannot build it.
pub fn program(directory: &Path) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("looking for this program")?;
    // Tests stand one directory deeper.
    let profile = own
        .ancestors()
        .find(|place| place.ends_with("debug") || place.ends_with("release"))
        .context("this program is not in a target directory")?;
    let name = format!("cegid-indexer{}", std::env::consts::EXE_SUFFIX);
    let (built, copy) = (profile.join(&name), directory.join(&name));
    if !is_current(&built) {
        build(profile)?;
    }
    fs::copy(built, &copy).context("copying the service's program")?;
    Ok(copy)
}

/// Whether it is there, has kill points, and is no older than what it is made of.
fn is_current(program: &Path) -> bool {
    let Ok(made) = fs::metadata(program).and_then(|program| program.modified()) else { return false };
    let sources = SOURCES.iter().map(|source| newest(&Path::new(WORKSPACE).join(source)));
    let version = Command::new(program).arg("--version").output();
    sources.into_iter().all(|newest| newest.is_ok_and(|newest| newest <= made))
        && version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("kill points"))
}

/// When anything in this place was last changed.
fn newest(place: &Path) -> io::Result<SystemTime> {
    let mut newest = fs::metadata(place)?.modified()?;
    if place.is_dir() {
        for entry in fs::read_dir(place)? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    }
    Ok(newest)
}

fn build(profile: &Path) -> anyhow::Result<()> {
    let target = profile.parent().context("this program is not in a target directory")?;
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--package", "cegid-indexer", "--bin", "cegid-indexer"])
        .args(["--no-default-features", "--features", "kill-points", "--target-dir"])
        .arg(target)
        .current_dir(WORKSPACE)
        .args(profile.ends_with("release").then_some("--release"))
        .status()
        .context("starting cargo, to build the service")?;
    if !built.success() {
        bail!("cargo could not build the service ({built})");
    }
    Ok(())
}
