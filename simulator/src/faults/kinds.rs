//! The kinds of fault that an endpoint can have.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// This status is answered and nothing is done.
    Status {
        /// The HTTP status.
        code: u16,
        /// Seconds, for a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The same with a `Retry-After` in its other writing, an HTTP date.
    StatusUntil {
        /// The HTTP status.
        code: u16,
        /// Seconds from the time on the tenant's clock to that date.
        seconds: u64,
    },
    /// A redirect, as to a login page or another host; nothing is done.
    Redirect {
        /// The HTTP status; 307 and 308 ask for the same request, body included.
        #[serde(default = "found")]
        code: u16,
        /// The `Location`.
        location: String,
    },
    /// What was asked is done, then this status is answered instead.
    AnswerLost {
        /// The HTTP status.
        code: u16,
    },
    /// The answer begins only after this many milliseconds.
    Slow {
        /// Milliseconds.
        millis: u64,
    },
    /// The body ends after this many bytes, as if it were complete.
    Truncate {
        /// Bytes that are still sent.
        bytes: usize,
    },
    /// The connection breaks after this many bytes of the body.
    Break {
        /// Bytes that are still sent.
        bytes: usize,
    },
    /// 200 with a page in HTML, as a proxy or a maintenance site answers.
    Html,
    /// 200 with `{"code":500,"status":"error","message":…}`.
    JsonError,
    /// An error as OAuth has it, whose words repeat the request's body and its `Authorization`.
    Echo {
        /// The HTTP status; 200 too is one that servers send with an error.
        code: u16,
    },
    /// 200 with nothing.
    Empty,
    /// The body comes in small pieces with pauses.
    Drip {
        /// Bytes in a piece.
        bytes: usize,
        /// Milliseconds between two pieces.
        millis: u64,
    },
    /// The answer is made, then kept back until
    /// [`release_held`](crate::Simulator::release_held): a read that is overtaken.
    Hold,
    /// The body is compressed, well or badly, whether or not that was asked for.
    Compressed {
        /// How.
        how: Compression,
    },
    /// 200 with bytes that are no frames: a size, then no archive.
    Garbage,
    /// 200 with `[]`, as JSON.
    EmptyArray,
    /// 200 with one frame of this size, all zeroes, which are sent without being
    /// held.
    Oversize {
        /// Bytes that are announced and sent.
        bytes: u32,
    },
    /// An export's first frames as they should be, then a size that is not one,
    /// and 64 zeroes.
    BadSize {
        /// The size: 0, negative, or larger than what follows.
        announced: i32,
        /// Whole frames before it.
        #[serde(default)]
        frames: usize,
    },
    /// An export's list ends cleanly after its first records. Requests by key are
    /// not hit.
    Short {
        /// Records that the list still has.
        records: usize,
    },
    /// Every page of an export's list is the first page. Requests by key are not
    /// hit.
    Repeat,
    /// Behind its end, an export's list shows its last records again, as many as
    /// are asked for. Requests by key are not hit.
    RepeatLast,
    /// An export's query by key finds what the same query without keys would: the
    /// first records of everything. Lists are not hit.
    IgnoreKeys,
    /// An export's query by key that finds nothing is answered 404. Lists are not
    /// hit.
    NotFound,
    /// An export leaves out records by chance, another time others, also when
    /// they are asked for by key. The pages' places stay the same.
    Flicker {
        /// Percent that are left out.
        percent: u8,
    },
}

/// How an answer's body is compressed, and what its header says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip, a member for each piece of the body: for an export, one for each
    /// frame. This is valid.
    Members,
    /// The same, and the last member lacks its last bytes.
    CutMember,
    /// The same, and behind the first member all others as they were before they
    /// were compressed.
    Rest,
    /// The same, and a `Content-Length` that is larger by one.
    LongLength,
    /// Not compressed, although the header says gzip.
    OnlySaid,
    /// gzip, and a header that says `br`.
    SaidBr,
    /// gzip, and a header that says `gzip, gzip`.
    SaidTwice,
}

impl Compression {
    /// The value of `Content-Encoding`.
    pub(crate) fn coding(self) -> &'static str {
        match self {
            Self::SaidBr => "br",
            Self::SaidTwice => "gzip, gzip",
            _ => "gzip",
        }
    }
}

fn found() -> u16 {
    302
}

/// What the exports themselves do wrong, handed to them with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bend {
    Short(usize),
    Repeat,
    RepeatLast,
    IgnoreKeys,
    NotFound,
    Flicker(u8),
}

impl FaultKind {
    /// Whether it can hit a request for this.
    pub(super) fn hits(&self, asked: Asked) -> bool {
        match self {
            Self::Short { .. } | Self::Repeat | Self::RepeatLast => asked == Asked::List,
            Self::IgnoreKeys | Self::NotFound => asked == Asked::Keys,
            Self::Flicker { .. } => asked != Asked::Else,
            _ => true,
        }
    }
}

/// What a request asks an export for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Records in whatever number.
    List,
    /// Records by their keys.
    Keys,
    /// Nothing, or nothing that can be read.
    Else,
}
