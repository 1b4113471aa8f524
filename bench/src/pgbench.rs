//! `pgbench` with one-row commits: what PostgreSQL allows to somebody who stores one callback at a time.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    load::quantile,
    postgres::{Postgres, ROWS},
    request::BODY_BYTES,
};

const SCRIPT: &str = "insert into bench_row (key, received_at, payload) values (gen_random_uuid(), now(), :payload) \
                      on conflict (key) do nothing;\n";
/// Share of the commits whose time is noted: enough for a p99, and too few to slow pgbench down.
const SAMPLED: &str = "0.1";
/// Below, all of them are noted.
const FEW_CONNECTIONS: usize = 4;

/// What it said.
#[derive(Debug)]
pub struct Commits {
    /// A second.
    pub rate: f64,
    /// Milliseconds of each commit that was noted, in order of length.
    pub millis: Vec<f64>,
}

impl Commits {
    /// Milliseconds within which that share of the commits returned.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.millis, share)
    }
}

/// One run on an empty table; the rows are counted against its own count.
pub fn run(postgres: &Postgres, program: &Path, connections: usize, time: Duration) -> anyhow::Result<Commits> {
    postgres.execute(ROWS, "truncate bench_row")?;
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("one-row-commit.sql");
    fs::write(&script, SCRIPT)?;
    let payload = format!(r#"{{"note":"{}"}}"#, "x".repeat(BODY_BYTES - r#"{"note":""}"#.len()));
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--log"])
        .arg(format!("--sampling-rate={}", if connections < FEW_CONNECTIONS { "1" } else { SAMPLED }))
        .arg(format!("--log-prefix={}", directory.path().join("log").display()))
        .arg(format!("--client={connections}"))
        .arg(format!("--jobs={}", connections.min(2)))
        .arg(format!("--time={}", time.as_secs().max(1)))
        .arg(format!("--define=payload={payload}"))
        .arg(format!("--file={}", script.display()))
        .arg(postgres.url(ROWS)?)
        .stdin(Stdio::null())
        .output()
        .context("starting pgbench")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let number =
        |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    let rate: f64 = number("tps = ").context("pgbench gives no tps")?;
    let done: f64 = number("number of transactions actually processed: ").context("pgbench gives no count")?;
    let rows = postgres.number(ROWS, "select count(*) from bench_row")?;
    if rows != done {
        bail!("pgbench says {done} commits, and there are {rows} rows");
    }
    let mut millis = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        if path != script {
            millis.extend(fs::read_to_string(path)?.lines().filter_map(log_millis));
        }
    }
    millis.sort_by(f64::total_cmp);
    Ok(Commits { rate, millis })
}

/// `client number microseconds script seconds microseconds`
fn log_millis(line: &str) -> Option<f64> {
    Some(line.split(' ').nth(2)?.parse::<f64>().ok()? / 1000.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_log_line_holds_the_time_of_one_commit() {
        assert_eq!(super::log_millis("0 199 2241 0 1175850568 995598"), Some(2.241));
    }
}
