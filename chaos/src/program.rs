//! The service's own program, built with its kill points.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// The workspace that this was built from.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");

/// Builds it as this program was built, into the same target directory, and puts a copy into `directory`: another
/// build, without kill points, may take its place while the suite runs.
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
    let target = profile.parent().context("this program is not in a target directory")?;
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--package", "cegid-indexer", "--bin", "cegid-indexer"])
        .args(["--no-default-features", "--features", "kill-points", "--manifest-path", MANIFEST, "--target-dir"])
        .arg(target)
        .args(profile.ends_with("release").then_some("--release"))
        .status()
        .context("starting cargo, to build the service")?;
    if !built.success() {
        bail!("cargo could not build the service ({built})");
    }
    let name = format!("cegid-indexer{}", std::env::consts::EXE_SUFFIX);
    let copy = directory.join(&name);
    fs::copy(profile.join(&name), &copy).context("copying the service's program")?;
    Ok(copy)
}
