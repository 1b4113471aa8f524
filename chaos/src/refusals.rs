//! Whether callbacks were refused for no reason: 503 is for a database that is away, or a replica that stops.

use cegid_simulator::Outcome;
use chrono::{DateTime, TimeDelta, Utc};

use crate::{balance::Line, world::World};

/// A fault of a link that outlasts its event, the patience of receiving and a start of a replica.
const AFTER: TimeDelta = TimeDelta::seconds(12);
/// Refusals that are told one by one.
const TOLD: usize = 5;

/// The time as the simulators tell it.
#[allow(clippy::disallowed_methods, reason = "their clock is the machine's, and not the service's")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// When 503 was to be expected.
#[derive(Debug, Default)]
pub struct Windows(Vec<(DateTime<Utc>, DateTime<Utc>)>);

impl Windows {
    /// What refuses callbacks went on from then until then.
    pub fn add(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) {
        self.0.push((from, until + AFTER));
    }

    fn hold(&self, at: DateTime<Utc>) -> bool {
        self.0.iter().any(|(from, until)| (*from..=*until).contains(&at))
    }

    /// Every 503 of the load lies in one of them.
    pub fn line(&self, world: &World, end: DateTime<Utc>) -> Line {
        let (mut calm, mut refused, mut wrong) = (0, 0, Vec::new());
        for tenant in &world.tenants {
            for sent in tenant.simulator.sent().into_iter().filter(|sent| sent.at < end) {
                let is_calm = !self.hold(sent.at);
                calm += usize::from(is_calm);
                if sent.outcome != Outcome::Answered(503) {
                    continue;
                }
                refused += 1;
                if is_calm && wrong.len() < TOLD {
                    wrong.push(format!("{}: 503 at {} after {} ms", tenant.id, sent.at, sent.millis));
                }
            }
        }
        let counted = format!("{refused} answers of 503, {calm} callbacks while none was to be expected");
        Line { holds: "no callback is refused for no reason", counted, wrong }
    }
}
