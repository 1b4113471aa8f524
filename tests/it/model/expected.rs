//! What a subject must be after each step, from the design alone: no SQL, no batches, one subject.

use chrono::{DateTime, TimeDelta, Utc};

use super::steps::{Answer, Step};

/// An absence, and a return, is confirmed by a second read after so long.
pub const CONFIRM: TimeDelta = TimeDelta::minutes(10);
/// Failed reads after which a subject is buried …
pub const MIN_ATTEMPTS: i32 = 2;
/// … if it has also failed for this long.
pub const HORIZON: TimeDelta = TimeDelta::minutes(10);
/// Delay after the first failed read; of the last one too, once it is buried.
const FIRST: TimeDelta = TimeDelta::seconds(2);

type Time = DateTime<Utc>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Unread,
    Live,
    Removed,
}

/// The subject's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub wanted: i64,
    pub announced: i64,
    pub settled: i64,
    pub held: Held,
    pub dead: bool,
    pub attempts: i32,
    pub failing_since: Option<Time>,
    pub absent_since: Option<Time>,
    pub returned_at: Option<Time>,
    pub due_at: Time,
    pub cause: Option<String>,
}

impl Row {
    fn new(number: i64, now: Time) -> Row {
        Row {
            wanted: number,
            announced: 0,
            settled: 0,
            held: Held::Unread,
            dead: false,
            attempts: 0,
            failing_since: None,
            absent_since: None,
            returned_at: None,
            due_at: now,
            cause: None,
        }
    }

    pub fn waits(&self) -> bool {
        self.wanted > self.settled && !self.dead
    }

    /// Raised by somebody who wants it read now, whatever became of it before.
    fn want(&mut self, number: i64, now: Time) {
        self.wanted = number;
        self.due_at = now;
        self.attempts = 0;
        self.failing_since = None;
        self.dead = false;
    }
}

/// Everything that can be seen of the subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub row: Option<Row>,
    /// Version of the record in the index, and the read that first showed it.
    pub document: Option<(i64, i64)>,
    /// Number of the outcome that is noted for reporting, and whether it is a success.
    pub report: Option<(i64, bool)>,
    /// Deliveries under its key.
    pub deliveries: Vec<i64>,
    /// Deliveries whose key was taken away.
    pub nameless: i64,
}

/// A read under way.
#[derive(Debug, Clone)]
pub struct Read {
    pub number: i64,
    pub began: Time,
    pub answer: Answer,
    /// Version of the record that it shows.
    pub version: i64,
    /// Whose it is: a later holder of the lease has a higher one.
    pub holder: u32,
    /// The subject when it was claimed; none for a page of a list.
    pub claimed: Option<Row>,
}

impl Read {
    /// Whether the control is asked for: this read may remove what the index holds.
    pub fn has_control(&self) -> bool {
        self.claimed.as_ref().is_some_and(|row| row.held == Held::Live && row.absent_since.is_some())
    }
}

#[derive(Debug, Clone, Default)]
pub struct Expected {
    pub seen: Seen,
    pub erased: bool,
    pub holder: u32,
    /// Under way, oldest first.
    pub reads: Vec<Read>,
    /// Of the record at Cegid: every callback announces a new one.
    pub version: i64,
}

impl Expected {
    /// Whether a read of it begins now.
    pub fn is_due(&self, now: Time) -> bool {
        self.seen.row.as_ref().is_some_and(|row| row.waits() && row.due_at <= now)
    }

    /// A delivery of this number was committed.
    pub fn callback(&mut self, number: i64, now: Time) {
        self.seen.deliveries.push(number);
        let row = self.seen.row.get_or_insert_with(|| Row::new(number, now));
        row.due_at = if row.wanted <= row.settled || row.dead {
            now
        } else if row.attempts > 0 {
            row.due_at
        } else {
            row.due_at.min(now)
        };
        if row.dead {
            row.attempts = 0;
            row.failing_since = None;
            row.dead = false;
        }
        row.wanted = number;
        row.announced = number;
    }

    pub fn want(&mut self, number: i64, now: Time) {
        self.seen.row.get_or_insert_with(|| Row::new(number, now)).want(number, now);
    }

    /// A read that is to be made once more has come due.
    pub fn again(&mut self, number: i64, now: Time) {
        let row = self.seen.row.as_mut().expect("a row that was settled");
        row.wanted = number;
        row.due_at = now;
    }

    /// The worker takes the subject; one that was erased loses its key instead.
    pub fn begin(&mut self, read: Read) {
        self.reads.push(read);
    }

    pub fn scrub(&mut self) {
        self.seen.row = None;
        self.seen.nameless += self.seen.deliveries.drain(..).count() as i64;
    }

    pub fn erase(&mut self) {
        self.scrub();
        self.erased = true;
        self.seen.document = None;
        self.seen.report = None;
    }

    /// What follows from an answer. `due` is when a failed read is to be made again, which has a jitter.
    pub fn end(&mut self, read: &Read, now: Time, due: Option<Time>) {
        if read.holder != self.holder || self.erased {
            return;
        }
        let Some(claimed) = &read.claimed else {
            return match (read.answer, self.held()) {
                (Answer::Anonymised, _) => self.remove(read, "anonymised", now),
                (_, Some(Held::Removed)) => self.postpone(read, now, |_| {}),
                _ => self.index(read, false, now),
            };
        };
        match read.answer {
            Answer::Anonymised => self.remove(read, "anonymised", now),
            Answer::Shown if claimed.held != Held::Removed => self.index(read, false, now),
            Answer::Shown => match claimed.returned_at {
                Some(since) if read.began >= since + CONFIRM => self.index(read, true, now),
                since => self.postpone(read, since.unwrap_or(read.began) + CONFIRM, |row| {
                    row.returned_at.get_or_insert(now);
                    row.absent_since = None;
                }),
            },
            Answer::Missing | Answer::Blind => self.missing(read, claimed, now),
            Answer::Broken => self.fail(read, claimed, now, due),
        }
    }

    fn held(&self) -> Option<Held> {
        self.seen.row.as_ref().map(|row| row.held)
    }

    fn missing(&mut self, read: &Read, claimed: &Row, now: Time) {
        let confirmed = claimed.absent_since.is_some_and(|since| read.began >= since + CONFIRM);
        let proven = read.answer == Answer::Missing && read.has_control();
        match claimed.held {
            // Judged by what it was: something else by now is left alone.
            Held::Removed if self.held() == Some(Held::Removed) => {
                self.settle(read, Held::Removed, false, now);
            }
            Held::Removed => {}
            Held::Unread if confirmed => {
                if self.held().is_none_or(|held| held == Held::Unread) {
                    self.settle(read, Held::Unread, false, now);
                }
            }
            Held::Live if confirmed && proven => {
                if self.seen.row.as_ref().is_some_and(|row| row.absent_since.is_some()) {
                    self.remove(read, "absence", now);
                }
            }
            Held::Unread | Held::Live => {
                let since = if confirmed { read.began } else { claimed.absent_since.unwrap_or(read.began) };
                self.postpone(read, since + CONFIRM, |row| {
                    row.absent_since.get_or_insert(now);
                    row.returned_at = None;
                });
            }
        }
    }

    /// True when it was settled: by a newer read than before, and out of its grave only by a return.
    fn settle(&mut self, read: &Read, held: Held, returns: bool, now: Time) -> bool {
        let row = self.seen.row.get_or_insert_with(|| Row::new(read.number, now));
        if row.settled >= read.number || (row.held == Held::Removed && held != Held::Removed && !returns) {
            return false;
        }
        if row.wanted > read.number {
            row.due_at = now;
        }
        let cause = row.cause.take().filter(|_| held == Held::Removed);
        *row = Row {
            wanted: row.wanted.max(read.number),
            announced: row.announced,
            settled: read.number,
            held,
            due_at: row.due_at,
            cause,
            ..Row::new(0, now)
        };
        true
    }

    fn index(&mut self, read: &Read, returns: bool, now: Time) {
        if !self.settle(read, Held::Live, returns, now) {
            return;
        }
        let same = self.seen.document.is_some_and(|(version, _)| version == read.version);
        let announced = read.claimed.as_ref().is_some_and(|row| row.announced > row.settled);
        if !same {
            self.seen.document = Some((read.version, read.number));
        }
        // What decides beside these is the outcome that was noted last.
        if !same || announced || self.seen.report.is_none_or(|(_, success)| !success) {
            self.note(read, true);
        }
    }

    fn remove(&mut self, read: &Read, cause: &str, now: Time) {
        if self.settle(read, Held::Removed, false, now) {
            self.seen.document = None;
            self.seen.report = None;
            let row = self.seen.row.as_mut().expect("a row that was settled");
            row.cause.get_or_insert_with(|| cause.to_owned());
        }
    }

    fn note(&mut self, read: &Read, success: bool) {
        // A read can settle what a newer one has failed to read: its outcome is the newer one.
        let number = self.seen.report.map_or(read.number, |(noted, _)| read.number.max(noted + 1));
        self.seen.report = Some((number, success));
    }

    /// Not settled: to be read again then, by whoever asked for it before and for this.
    fn postpone(&mut self, read: &Read, due_at: Time, note: impl FnOnce(&mut Row)) {
        let Some(row) = self.seen.row.as_mut().filter(|row| row.settled < read.number) else { return };
        row.want(row.wanted.max(read.number), due_at);
        note(row);
    }

    fn fail(&mut self, read: &Read, claimed: &Row, now: Time, due: Option<Time>) {
        let Some(row) = self.seen.row.as_mut().filter(|row| row.settled < read.number && row.waits()) else { return };
        let since = claimed.failing_since.unwrap_or(now);
        let given_up = now - since >= HORIZON && claimed.attempts + 1 >= MIN_ATTEMPTS;
        row.attempts += 1;
        row.failing_since.get_or_insert(now);
        row.dead = given_up && row.wanted <= claimed.wanted;
        row.due_at = now + FIRST;
        if !given_up {
            let delay = FIRST * 2_i32.pow(claimed.attempts.unsigned_abs());
            let due = due.expect("a row that failed");
            assert!(now + delay * 3 / 4 <= due && due <= now + delay, "again after {}, not {delay}", due - now);
            row.due_at = due;
        }
        if row.dead && self.seen.report.is_none_or(|(_, success)| success) {
            self.note(read, false);
        }
    }

    /// Whether the step can be taken, and is not the last one over again.
    pub fn allows(&self, step: Step, last: Option<Step>, now: Time) -> bool {
        match step {
            Step::Callback => true,
            // Whatever the answer would be, an erased subject is not asked for.
            Step::Read(answer) => self.reads.len() < 2 && self.is_due(now) && (!self.erased || answer == Answer::Shown),
            Step::List(_) => self.reads.len() < 2,
            Step::EndFirst => !self.reads.is_empty(),
            Step::EndLast => self.reads.len() > 1,
            Step::Lift => self.erased,
            Step::Want => last != Some(Step::Callback) && last != Some(Step::Want),
            Step::Pass | Step::Hour | Step::TakeOver | Step::Erase | Step::Again => last != Some(step),
        }
    }
}
