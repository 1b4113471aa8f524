//! What can happen.

mod cegid;
pub mod failover;
mod floods;
mod links;
pub mod lists;
mod postgres;
mod processes;
pub mod records;
mod upgrade;

use crate::storm::Storm;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Event {
    /// SIGKILL of a replica at a random instant.
    Kill,
    /// A replica that dies at a kill point under load.
    Point,
    /// SIGSTOP of a replica that works a tenant, for twice the lease.
    Freeze,
    /// SIGTERM under load.
    Stop,
    /// A replica on a machine whose clock is two hours off.
    Clock,
    /// PostgreSQL is killed and started again.
    PostgresCrash,
    /// PostgreSQL is stopped for a while.
    PostgresAway,
    /// The connections are terminated.
    Terminate,
    /// PostgreSQL takes no writes for a while.
    ReadOnly,
    /// Others take every connection slot of PostgreSQL for a while.
    Slots,
    /// A link is slow.
    Latency,
    /// The connections of a link are cut.
    Cut,
    /// A connection is cut amid what goes over it.
    CutAmid,
    /// A link passes nothing on.
    BlackHole,
    /// A link refuses connections.
    Refuse,
    /// A network forgets the connections to PostgreSQL that are open.
    Silence,
    /// The connection to PostgreSQL is cut around a COMMIT.
    Commit,
    /// Cegid answers 503.
    Unavailable,
    /// Cegid answers 429 with `Retry-After`.
    Throttled,
    /// Exports break off.
    CutExport,
    /// Tokens are worth nothing any more.
    Tokens,
    /// A record cannot be read until it is buried; then it is as it was.
    Buried,
    /// Cegid refuses reports about some subjects, for a while or for good.
    RefusedReports,
    /// The primary dies, and the standby lacks its last commits.
    Failover,
    /// The last records of a kind go.
    LastGone,
    /// Lists move while they are walked.
    MovingList,
    /// Lists repeat their first or their last page.
    RepeatingList,
    /// Answers are compressed, and cut inside a member or not what they say.
    BadCompression,
    /// Records have a member under another name.
    RenamedMember,
    /// Peers send requests and read no answers.
    SlowReaders,
    /// Peers hold connections and send nothing.
    IdlePeers,
    /// A newer version migrates while a long transaction reads.
    Upgrade,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 32] = [
        Event::Kill,
        Event::Point,
        Event::Freeze,
        Event::Stop,
        Event::Clock,
        Event::PostgresCrash,
        Event::PostgresAway,
        Event::Terminate,
        Event::ReadOnly,
        Event::Slots,
        Event::Latency,
        Event::Cut,
        Event::CutAmid,
        Event::BlackHole,
        Event::Refuse,
        Event::Silence,
        Event::Commit,
        Event::Unavailable,
        Event::Throttled,
        Event::CutExport,
        Event::Tokens,
        Event::Buried,
        Event::RefusedReports,
        Event::Failover,
        Event::LastGone,
        Event::MovingList,
        Event::RepeatingList,
        Event::BadCompression,
        Event::RenamedMember,
        Event::SlowReaders,
        Event::IdlePeers,
        Event::Upgrade,
    ];

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Event::Kill => "a replica was killed",
            Event::Point => "a replica was to die at a kill point",
            Event::Freeze => "a replica was frozen for twice the lease",
            Event::Stop => "a replica was stopped under load",
            Event::Clock => "a replica's clock was two hours off",
            Event::PostgresCrash => "PostgreSQL was killed",
            Event::PostgresAway => "PostgreSQL was stopped for a while",
            Event::Terminate => "connections were terminated",
            Event::ReadOnly => "PostgreSQL was read-only for a while",
            Event::Slots => "every connection slot was taken",
            Event::Latency => "a link was slow",
            Event::Cut => "a link's connections were cut",
            Event::CutAmid => "a connection was cut amid its bytes",
            Event::BlackHole => "a link was a black hole",
            Event::Refuse => "a link refused connections",
            Event::Silence => "connections to PostgreSQL fell silent",
            Event::Commit => "connections were to be cut at COMMIT",
            Event::Unavailable => "Cegid was unavailable",
            Event::Throttled => "Cegid asked for a pause",
            Event::CutExport => "exports broke off",
            Event::Tokens => "Cegid's tokens were worth nothing",
            Event::Buried => "a record failed to the horizon",
            Event::RefusedReports => "Cegid refused reports of some subjects",
            Event::Failover => "a standby without the last commits took over",
            Event::LastGone => "all records of a kind went at a tenant",
            Event::MovingList => "lists moved while they were walked",
            Event::RepeatingList => "lists repeated themselves",
            Event::BadCompression => "answers were compressed badly",
            Event::RenamedMember => "records had a member under another name",
            Event::SlowReaders => "a flood of peers read no answers",
            Event::IdlePeers => "a flood of peers sent no request",
            Event::Upgrade => "a version migrated beside a long reader",
        }
    }

    /// What is counted of it.
    pub fn effect(self) -> &'static str {
        match self {
            Event::Kill | Event::Point => "died by SIGKILL",
            Event::Freeze => "lost its tenants and was refused",
            Event::Stop => "ended with 0",
            Event::Clock => "started with the wrong time",
            Event::PostgresCrash | Event::PostgresAway | Event::ReadOnly => "failures that replicas met",
            Event::Terminate => "connections were ended",
            Event::Slots => "slots were taken",
            Event::Silence => "connections passed nothing on",
            Event::Latency | Event::BlackHole | Event::Refuse => "links were so",
            Event::Cut => "connections were cut",
            Event::CutAmid => "connections were cut",
            Event::Commit => "connections were cut at it",
            Event::Unavailable => "answers of 503",
            Event::Throttled => "answers of 429",
            Event::CutExport => "answers were cut",
            Event::Tokens => "answers of 401",
            Event::Buried => "buried, reported as failed, and mended",
            Event::RefusedReports => "answers of 400",
            Event::Failover => "deliveries were lost, and numbers raised",
            Event::LastGone => "removals were held, and confirmed",
            Event::MovingList => "pages were followed by a change",
            Event::RepeatingList => "pages were shown again",
            Event::BadCompression => "answers were so",
            Event::RenamedMember => "answers held such records",
            Event::SlowReaders | Event::IdlePeers => "callbacks were accepted beside it",
            Event::Upgrade => "attempts did not get their locks",
        }
    }

    /// Whether callbacks may be answered 503 meanwhile: the database cannot be reached or written, or a replica stops.
    /// What only takes connections away is no reason.
    pub fn refuses(self) -> bool {
        matches!(
            self,
            Event::Stop
                | Event::Freeze
                | Event::Point
                | Event::PostgresCrash
                | Event::PostgresAway
                | Event::ReadOnly
                | Event::Latency
                | Event::BlackHole
                | Event::Refuse
                | Event::Failover
        )
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// When the suite itself fails.
    pub async fn happen(self, storm: &mut Storm) -> anyhow::Result<()> {
        storm.tally.did(self);
        match self {
            Event::Kill => storm.kill().await,
            Event::Point => storm.arm().await,
            Event::Freeze => storm.freeze().await,
            Event::Stop => storm.stop().await,
            Event::Clock => storm.wrong_clock().await,
            Event::PostgresCrash => storm.crash_postgres().await,
            Event::PostgresAway => storm.stop_postgres().await,
            Event::Terminate => storm.terminate().await,
            Event::ReadOnly => storm.read_only().await,
            Event::Slots => storm.take_slots().await,
            Event::Latency => storm.slow_link().await,
            Event::Cut => storm.cut_link().await,
            Event::CutAmid => storm.cut_amid().await,
            Event::BlackHole => storm.black_hole().await,
            Event::Refuse => storm.refuse().await,
            Event::Silence => storm.silence().await,
            Event::Commit => storm.cut_commits().await,
            Event::Unavailable => storm.unavailable().await,
            Event::Throttled => storm.throttled().await,
            Event::CutExport => storm.cut_exports().await,
            Event::Tokens => storm.worthless_tokens().await,
            Event::Buried => storm.fail_to_horizon().await,
            Event::RefusedReports => storm.refuse_reports().await,
            Event::Failover => storm.fail_over().await,
            Event::LastGone => storm.last_goes().await,
            Event::MovingList => storm.move_lists().await,
            Event::RepeatingList => storm.repeat_lists().await,
            Event::BadCompression => storm.compress_badly().await,
            Event::RenamedMember => storm.rename_member().await,
            Event::SlowReaders => storm.read_no_answers().await,
            Event::IdlePeers => storm.hold_idle_connections().await,
            Event::Upgrade => storm.migrate_beside_reader().await,
        }
    }
}
