//! What was done to the service, and that it had an effect.

use std::{collections::BTreeMap, fmt};

use crate::events::Event;

/// How often something was done, and how often it was seen to have had its effect.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    /// Times.
    pub times: u64,
    /// Times that it was felt, in the unit that the event names.
    pub felt: u64,
}

/// Counts of a run.
#[derive(Debug, Default)]
pub struct Tally {
    done: BTreeMap<Event, Done>,
    /// Processes that ended and were not meant to.
    pub ended: Vec<String>,
    /// What a stop in good order must not do.
    pub unclean: Vec<String>,
    /// Callbacks that were not answered during a flood of connections.
    pub kept_out: Vec<String>,
    /// Deaths at each kill point.
    pub points: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Once more, with no effect yet.
    pub fn did(&mut self, event: Event) {
        self.done.entry(event).or_default().times += 1;
    }

    /// It had an effect.
    pub fn felt(&mut self, event: Event, times: u64) {
        self.done.entry(event).or_default().felt += times;
    }

    /// How often it had an effect so far.
    pub fn felt_of(&self, event: Event) -> u64 {
        self.done.get(&event).map_or(0, |done| done.felt)
    }

    /// How often processes have died at kill points.
    pub fn deaths(&self) -> u64 {
        self.points.values().sum()
    }

    /// Everything that was done.
    pub fn times(&self) -> u64 {
        self.done.values().map(|done| done.times).sum()
    }

    /// What was done and never felt.
    pub fn unfelt(&self) -> impl Iterator<Item = (Event, Done)> {
        self.done.iter().map(|(event, done)| (*event, *done)).filter(|(_, done)| done.felt == 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (event, done) in &self.done {
            writeln!(f, "{:>5}  {:<46} {:>6}  {}", done.times, event.name(), done.felt, event.effect())?;
        }
        if !self.points.is_empty() {
            let points: Vec<String> = self.points.iter().map(|(point, times)| format!("{point} {times}")).collect();
            writeln!(f, "       died at {}", points.join(", "))?;
        }
        Ok(())
    }
}
