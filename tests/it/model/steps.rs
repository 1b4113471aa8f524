//! The steps, the places they are begun from, and which of them come after each other.

/// What Cegid answers about the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Shown,
    /// The answer ends cleanly without it, and shows the control if that was asked for.
    Missing,
    /// The answer ends cleanly and shows nothing at all.
    Blind,
    Anonymised,
    /// A frame that is no record.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A signed callback about it is received.
    Callback,
    /// The worker claims it and asks Cegid, who answers this.
    Read(Answer),
    /// A sweep asks for a page, which shows this.
    List(Answer),
    /// What the oldest read under way came to is written.
    EndFirst,
    /// The same of the newest.
    EndLast,
    /// The confirming delay goes by.
    Pass,
    /// Longer than a removed subject is left alone.
    Hour,
    /// Reads that are to be made once more are asked for, if their time has come.
    Again,
    /// An operator asks for it.
    Want,
    /// Another replica takes the tenant; what is under way is a zombie's.
    TakeOver,
    Erase,
    Lift,
}

use Answer::{Anonymised, Blind, Broken, Missing, Shown};
use Step::{Again, Callback, EndFirst, EndLast, Erase, Hour, Lift, List, Pass, Read, TakeOver, Want};

/// What every start is followed by, in every order.
pub const EACH: [Step; 15] = [
    Callback,
    Read(Shown),
    Read(Missing),
    Read(Blind),
    Read(Anonymised),
    Read(Broken),
    List(Shown),
    List(Anonymised),
    EndFirst,
    EndLast,
    Pass,
    Want,
    TakeOver,
    Erase,
    Lift,
];

/// What a long sequence is drawn from; what keeps it going is there more than once.
pub const DRAWN: [Step; 26] = [
    Callback,
    Callback,
    Callback,
    Read(Shown),
    Read(Shown),
    Read(Shown),
    Read(Missing),
    Read(Missing),
    Read(Blind),
    Read(Anonymised),
    Read(Broken),
    List(Shown),
    List(Anonymised),
    EndFirst,
    EndFirst,
    EndFirst,
    EndFirst,
    EndLast,
    EndLast,
    Pass,
    Pass,
    Again,
    Want,
    Hour,
    Lift,
    Lift,
];

/// Those that a long sequence has seldom: much that came before them is over.
pub const SELDOM: [Step; 3] = [TakeOver, TakeOver, Erase];

const NEW: [Step; 0] = [];
const LIVE: [Step; 3] = [Callback, Read(Shown), EndFirst];
const READ: [Step; 2] = [Callback, Read(Shown)];
const ABSENT: [Step; 4] = [Callback, Read(Missing), EndFirst, Pass];
const REMOVED: [Step; 2] = [Read(Missing), EndFirst];
const RETURNED: [Step; 4] = [Callback, Read(Shown), EndFirst, Pass];
const FAILING: [Step; 4] = [Callback, Read(Broken), EndFirst, Pass];
const DEAD: [Step; 2] = [Read(Broken), EndFirst];

/// Where every subject stands before the steps that are tried in every order.
pub fn starts() -> Vec<(&'static str, Vec<Step>)> {
    let of = |parts: &[&[Step]]| parts.concat();
    vec![
        ("new", of(&[&NEW])),
        ("live", of(&[&LIVE])),
        ("live, a read under way", of(&[&LIVE, &READ])),
        ("live, a read and a later page under way", of(&[&LIVE, &READ, &[Callback, List(Shown)]])),
        ("never indexed, absent once", of(&[&ABSENT])),
        ("absent once, and due before it counts", of(&[&LIVE, &ABSENT[..3], &[Callback]])),
        ("absent once", of(&[&LIVE, &ABSENT])),
        ("absent once, the second read under way", of(&[&LIVE, &ABSENT, &REMOVED[..1]])),
        ("absent once, a page and the second read under way", of(&[&LIVE, &ABSENT, &[List(Shown)], &REMOVED[..1]])),
        ("removed", of(&[&LIVE, &ABSENT, &REMOVED])),
        ("back once, and due before it counts", of(&[&LIVE, &ABSENT, &REMOVED, &RETURNED[..3], &[Callback]])),
        ("back once", of(&[&LIVE, &ABSENT, &REMOVED, &RETURNED])),
        ("back once, the second read under way", of(&[&LIVE, &ABSENT, &REMOVED, &RETURNED, &READ[1..]])),
        ("anonymised", of(&[&LIVE, &[Callback, Read(Anonymised), EndFirst]])),
        ("failing, and not due", of(&[&LIVE, &FAILING[..3]])),
        ("failing", of(&[&LIVE, &FAILING])),
        ("failing, the last read under way", of(&[&LIVE, &FAILING, &DEAD[..1]])),
        ("dead", of(&[&LIVE, &FAILING, &DEAD])),
        ("erased", of(&[&LIVE, &[Erase]])),
        ("erased and announced, an older read under way", of(&[&LIVE, &READ, &[Erase, Callback]])),
    ]
}

/// SplitMix64: a sequence is known by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of these; once in twenty, one of the seldom ones.
    pub fn step(&mut self) -> Step {
        let number = self.next() as usize;
        if number.is_multiple_of(20) { SELDOM[number / 20 % SELDOM.len()] } else { DRAWN[number / 20 % DRAWN.len()] }
    }
}
