//! What was measured, and the goals beside it.

use std::fmt;

use crate::machine::Disturbance;

/// Which side of a bound is good.
#[derive(Debug, Clone, Copy)]
enum Good {
    Above,
    Below,
}

struct Goal {
    name: &'static str,
    what: &'static str,
    good: Good,
    must: f64,
    moonshot: f64,
    unit: &'static str,
}

const fn above(name: &'static str, what: &'static str, must: f64, moonshot: f64, unit: &'static str) -> Goal {
    Goal { name, what, good: Good::Above, must, moonshot, unit }
}

const fn below(name: &'static str, what: &'static str, must: f64, moonshot: f64, unit: &'static str) -> Goal {
    Goal { name, what, good: Good::Below, must, moonshot, unit }
}

/// The goals that are about this project alone; those about other programs are given as absolute figures.
const GOALS: [Goal; 24] = [
    above("P1 c=1", "durable accept ÷ pgbench one-row commits, 1 connection", 0.5, 0.65, "×"),
    above("P1 c=16", "… 16 connections", 1.0, 1.3, "×"),
    above("P1 c=64", "… 64 connections", 1.2, 1.7, "×"),
    above("P1 c=256", "… 256 connections", 2.0, 2.8, "×"),
    above("P2", "durable accept ÷ the same checks without storing, 64", 0.30, 0.45, "×"),
    above("P4", "throughput at 256 ÷ at 64 connections", 0.85, 0.98, "×"),
    below("P5", "p99 at 1,000/s ÷ p99 of one INSERT a request, pool of 20", 2.0, 1.0, "×"),
    below("P5 abs", "p99 of the answer at 1,000/s", 5.0, 1.5, "ms"),
    below("P6", "p99 at 64 closed loop ÷ pgbench's p99 at 64", 0.8, 0.35, "×"),
    above("P7", "vacancy decode ÷ bare inflate, one thread", 0.5, 0.7, "×"),
    above("P8", "candidate decode with attachments ÷ bare inflate", 0.7, 0.85, "×"),
    below("P13 10/s", "export takes 200 ms, 10/s: p99 to the report − 200 ms", 100.0, 10.0, "ms"),
    below("P13 100/s", "… 100/s", 250.0, 60.0, "ms"),
    below("P14", "p99 of the answer during a burst ÷ without, 64", 15.0, 5.0, "×"),
    below("P15", "most memory: load, bursts, 256 connections", 50.0, 25.0, "MB"),
    below("P16", "most memory reading candidates with attachments", 40.0, 12.0, "MB"),
    below("P17", "PostgreSQL connections at 256 connections", 10.0, 4.0, ""),
    below("large", "most memory: ten times the load, killed ÷ the small load", 1.2, 1.05, "×"),
    below("next door", "p99 to the report beside 100,000 unsettled subjects ÷ alone", 2.0, 1.2, "×"),
    below("next slow", "… the big tenant's Cegid takes its time", 2.0, 1.2, "×"),
    below("both slow", "… both tenants' Cegids take their time", 2.0, 1.2, "×"),
    above("flood", "callbacks answered 200 beside 2,500 idle and 2,100 slow peers", 0.999, 1.0, ""),
    below("flood p99", "… p99 of their answers, each over a new connection", 50.0, 10.0, "ms"),
    above("gate 0", "runs in which everything that was answered is accounted for", 1.0, 1.0, ""),
];

/// Everything that was measured, in the order of the first time.
#[derive(Default)]
pub struct Figures {
    measured: Vec<(String, &'static str, Vec<f64>)>,
    rounds: Vec<String>,
    remarks: Vec<String>,
    gates: (usize, usize),
}

impl Figures {
    /// A value of this round: of a goal by its name, or an absolute figure.
    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.measured.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.measured.push((name, unit, vec![value])),
        }
    }

    /// Gate 0 of one run: what must hold, or the run proves nothing.
    pub fn gate(&mut self, run: &str, holds: bool, says: impl FnOnce() -> String) {
        self.gates.0 += usize::from(holds);
        self.gates.1 += 1;
        if !holds {
            self.remark(format!("GATE 0 FAILED: {run}: {}", says()));
        }
    }

    /// Whether every run passed gate 0.
    pub fn gates_hold(&self) -> bool {
        self.gates.0 == self.gates.1
    }

    /// Something a reader of the table must know; once is enough.
    pub fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            eprintln!("{text}");
            self.remarks.push(text);
        }
    }

    /// What others did to the machine during a part of a round.
    pub fn round(&mut self, round: usize, part: &str, disturbance: Disturbance) {
        let Disturbance { others, load } = disturbance;
        let line = format!("round {round} {part}: others took {:.0} % of the machine, load {load:.1}", others * 100.0);
        eprintln!("{line}");
        self.rounds.push(line);
    }

    /// What both measured, the other's first, and this one's in relation to it, round by round.
    pub fn beside(&self, other: &Figures) -> String {
        let mut lines =
            format!("{:<72} {:<28} {:<28} {}\n", "median (min–max)", "--against", "this", "this ÷ --against");
        for (name, unit, values) in &self.measured {
            let Some(others) = other.values(name) else { continue };
            let ratios: Vec<f64> = values.iter().zip(others).map(|(value, other)| value / other).collect();
            let unit = GOALS.iter().find(|goal| goal.name == name).map_or(*unit, |goal| goal.unit);
            let figure = |values: &[f64]| format!("{} {unit}", spread(values));
            lines += &format!("{name:<72} {:<28} {:<28} {}\n", figure(others), figure(values), spread(&ratios));
        }
        lines
    }

    fn values(&self, name: &str) -> Option<&[f64]> {
        self.measured.iter().find(|(known, ..)| known == name).map(|(.., values)| values.as_slice())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => 0.0,
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let whole = format!("{value:.0}");
            let (head, tail) = whole.split_at(whole.len() - 3);
            format!("{head},{tail}")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 {
        return short(least);
    }
    format!("{} ({}–{})", short(median(values)), short(least), short(most))
}

impl Goal {
    fn reached(&self, value: f64) -> &'static str {
        let good = |bound: f64| match self.good {
            Good::Above => value >= bound,
            Good::Below => value <= bound,
        };
        match (good(self.moonshot), good(self.must)) {
            (true, _) => "moonshot",
            (false, true) => "must",
            (false, false) => "MISSED",
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10} {:<62} {:>7} {:>9}   {:<26} ", "goal", "", "must", "moonshot", "median (min–max)")?;
        for goal in &GOALS {
            let share = [self.gates.0 as f64 / self.gates.1.max(1) as f64];
            let values = if goal.name == "gate 0" { Some(&share[..]) } else { self.values(goal.name) };
            let sign = match goal.good {
                Good::Above => "≥",
                Good::Below => "≤",
            };
            let bound = |bound| format!("{sign} {bound}");
            let (figure, reached) = values.map_or(("not measured".into(), ""), |values| {
                (format!("{} {}", spread(values), goal.unit), goal.reached(median(values)))
            });
            let (must, moonshot) = (bound(goal.must), bound(goal.moonshot));
            writeln!(f, "{:<10} {:<62} {must:>7} {moonshot:>9}   {figure:<26} {reached}", goal.name, goal.what)?;
        }
        writeln!(f, "\nabsolute figures, median (min–max) over the rounds")?;
        for (name, unit, values) in &self.measured {
            if GOALS.iter().all(|goal| goal.name != name) {
                writeln!(f, "  {name:<70} {} {unit}", spread(values))?;
            }
        }
        writeln!(f, "\nthe machine")?;
        for line in self.rounds.iter().chain(&self.remarks) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_says_what_was_reached() {
        let goal = below("x", "", 2.0, 1.0, "");
        assert_eq!([0.5, 1.5, 2.5].map(|value| goal.reached(value)), ["moonshot", "must", "MISSED"]);
        assert_eq!(above("x", "", 1.0, 2.0, "").reached(1.0), "must");
    }

    #[test]
    fn two_programs_are_compared_round_by_round() {
        let (mut new, mut old) = (Figures::default(), Figures::default());
        for (now, before) in [(1.0, 2.0), (9.0, 6.0)] {
            new.add("P4", "", now);
            old.add("P4", "", before);
        }
        new.add("alone", "ms", 1.0);
        let lines = new.beside(&old);
        assert!(lines.contains("1.00 (0.50–1.50)") && !lines.contains("alone"), "{lines}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(spread(&[3.0, 1.0, 2.5]), "2.50 (1.00–3.00)");
        assert_eq!(spread(&[12.34]), "12.3");
        assert_eq!((short(47_123.4), short(99.96), short(0.4)), ("47,123".into(), "100.0".into(), "0.40".into()));
        assert_eq!(median(&[1.0, 2.0]), 1.5);
    }
}
