//! What `/proc` says: who used the processors, and how much memory a process holds.
//!
//! Linux only; elsewhere everything reads as zero.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Processor time of everybody, up to now.
pub struct Times {
    /// Ticks of user and system work, of whomever.
    busy: u64,
    /// All ticks of all processors.
    total: u64,
    /// Parent, own ticks, and those of children that ended.
    processes: HashMap<u32, (u32, u64)>,
}

/// What happened between two [`Times`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Disturbance {
    /// Share of the machine that programs other than the bench and its own took, 0 to 1.
    pub others: f64,
    /// Load average of the last minute.
    pub load: f64,
}

/// The numbers of a `stat` line behind the name, which may hold anything but the last parenthesis.
fn numbers(stat: &str) -> Vec<u64> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Times {
    /// Reads all processes.
    pub fn now() -> Times {
        let stat = read("/proc/stat");
        let all: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let mut processes = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let fields = numbers(&read(&format!("/proc/{pid}/stat")));
            if let (Some(&parent), Some(times)) = (fields.first(), fields.get(10..14)) {
                processes.insert(pid, (u32::try_from(parent).unwrap_or(0), times.iter().sum()));
            }
        }
        // user, nice and system; interrupts are nobody's.
        let busy = all.get(..3).map_or(0, |busy| busy.iter().sum());
        Times { busy, total: all.iter().sum(), processes }
    }

    /// Ticks of a process and all that came from it.
    fn tree(&self, root: u32) -> u64 {
        let mut sum = 0;
        for (&pid, &(_, ticks)) in &self.processes {
            let mut at = pid;
            while at != root && at != 0 {
                at = self.processes.get(&at).map_or(0, |&(parent, _)| parent);
            }
            if at == root {
                sum += ticks;
            }
        }
        sum
    }

    /// Seconds of processor time that a process and all that came from it took since then.
    pub fn seconds_since(&self, before: &Times, root: u32) -> f64 {
        self.tree(root).saturating_sub(before.tree(root)) as f64 / TICKS
    }

    /// What others did since then.
    pub fn disturbance_since(&self, before: &Times) -> Disturbance {
        let ours = self.tree(std::process::id()).saturating_sub(before.tree(std::process::id()));
        let others = self.busy.saturating_sub(before.busy).saturating_sub(ours);
        let total = self.total.saturating_sub(before.total).max(1);
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        Disturbance { others: others as f64 / total as f64, load }
    }
}

/// Seconds of processor time that the calling thread has taken.
pub fn thread_seconds() -> f64 {
    own_seconds(&read("/proc/thread-self/stat"))
}

/// Seconds of processor time that this process's threads of that name have taken.
pub fn threads_seconds(name: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|task| Some(format!("/proc/self/task/{}", task.file_name().to_str()?)))
        .filter(|task| read(&format!("{task}/comm")).trim() == name)
        .map(|task| own_seconds(&read(&format!("{task}/stat"))))
        .sum()
}

fn own_seconds(stat: &str) -> f64 {
    numbers(stat).get(10..12).map_or(0, |times| times.iter().sum()) as f64 / TICKS
}

/// Lets every other thread of the machine run before the calling one.
pub fn stand_back() -> anyhow::Result<()> {
    let link = fs::read_link("/proc/thread-self").context("finding the thread's number")?;
    let thread = link.file_name().and_then(|name| name.to_str()).context("reading the thread's number")?.to_owned();
    let reniced = Command::new("renice").args(["-n", "19", "-p", &thread]).stdout(Stdio::null()).status();
    if !reniced.context("starting renice")?.success() {
        bail!("renice failed");
    }
    Ok(())
}

/// Megabytes that a process holds now, and the most that it ever held.
pub fn memory(pid: u32) -> (f64, f64) {
    let status = read(&format!("/proc/{pid}/status"));
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or(0.0) * 1024.0 / 1e6
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_name() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 99";
        assert_eq!(numbers(line)[0], 3);
        assert_eq!(numbers(line)[10..14], [50, 60, 70, 80]);
        assert!((own_seconds(line) - 1.1).abs() < 1e-9);
    }
}
