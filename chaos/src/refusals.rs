//! When callbacks were refused: 503 is for a database that is away, or a replica that stops.

use cegid_simulator::{Outcome, Sent};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{balance::Line, world::World};

/// A fault of a link that outlasts its event, the patience of receiving and a start of a replica.
const REFUSAL_GRACE: TimeDelta = TimeDelta::seconds(12);

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
        self.0.push((from, until + REFUSAL_GRACE));
    }

    /// Whether a callback was under way in one of them.
    fn hold(&self, sent: &Sent) -> bool {
        let answered = sent.at + TimeDelta::milliseconds(sent.millis.cast_signed());
        self.0.iter().any(|(from, until)| answered >= *from && sent.at <= *until)
    }

    /// Counts answers of 503, and names those that lie in none of them.
    pub fn line(&self, world: &World, end: DateTime<Utc>) -> Line {
        let (mut calm, mut refused, mut wrong) = (0, 0, Vec::new());
        for tenant in &world.tenants {
            for sent in tenant.simulator.sent().into_iter().filter(|sent| sent.at < end) {
                let (is_calm, is_refused) = (!self.hold(&sent), sent.outcome == Outcome::Answered(503));
                calm += usize::from(is_calm);
                refused += usize::from(is_refused);
                if is_calm && is_refused {
                    wrong.push(format!("{} at {} after {} ms", tenant.id, sent.at.time(), sent.millis));
                }
            }
        }
        let counted =
            format!("{refused} answers of 503, {} of them among {calm} callbacks at other times", wrong.len());
        Line { holds: "503 is answered only while the database is away or a replica stops", counted, wrong }
    }
}
