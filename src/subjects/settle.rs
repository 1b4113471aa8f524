//! The two writes: settled by a read, or put off.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::State;
use crate::domain::{Kind, TenantId};

/// An announced change that the export does not show is looked for again: it may lag behind its callbacks.
const LAGGING: [TimeDelta; 2] = [TimeDelta::minutes(2), TimeDelta::minutes(20)];
/// What was removed by absence is looked for again: the absence may have been Cegid's error.
const RETURNING: [TimeDelta; 2] = [TimeDelta::hours(1), TimeDelta::days(1)];

/// What a read showed of one subject.
#[derive(Debug)]
pub struct Settled<'a> {
    /// Vacancy reference or candidate id.
    pub key: &'a str,
    /// What the index holds of it from now on.
    pub state: State,
    /// Why it was removed, with [`State::Removed`] only.
    pub removed: Option<&'static str>,
    /// Whether the index held just this before.
    pub same: bool,
    /// Whether it is a gap to have found this, unless a delivery announces it.
    pub gap: bool,
    /// Whether it was removed and two reads have shown it: nothing else brings a removed subject back.
    pub returns: bool,
    /// Whether it is lists that have shown it so, and reads by key have not: it is left to lists from now on.
    pub listed: bool,
    /// It stops being searchable without a record that says so; the bulk guard counts it.
    pub vanished: Option<Vanished>,
}

/// Why a subject is taken for gone; the ledger counts those with no reason, and those beyond the limit.
#[derive(Debug, Clone, Copy)]
pub struct Vanished {
    /// What showed it.
    pub by: Evidence,
    /// How many of the kind the guard lets vanish in 24 hours now.
    pub limit: i64,
}

/// What shows that a subject is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Two reads lack it, and the second shows a control.
    Control,
    /// An operator has confirmed it.
    Operator,
    /// Two lists in a row lack it, and no filter can name it.
    Lists,
    /// Two reads show it with an unclear sign of anonymisation.
    Reads,
    /// Nothing: it must not have been removed.
    Nothing,
}

impl Evidence {
    fn as_str(self) -> &'static str {
        match self {
            Evidence::Control => "control",
            Evidence::Operator => "operator",
            Evidence::Lists => "lists",
            Evidence::Reads => "reads",
            Evidence::Nothing => "nothing",
        }
    }
}

/// Settles subjects at the read's number, in key order. A subject that a newer read has settled is left alone.
///
/// Returns the keys that were settled. A subject raised by a later request stays wanted and is due at once.
///
/// # Errors
/// When the database cannot be used.
pub async fn settle(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    now: DateTime<Utc>,
    subjects: &[Settled<'_>],
) -> sqlx::Result<Vec<String>> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = subjects.iter().map(|subject| subject.key).collect();
    let states: Vec<&str> = subjects.iter().map(|subject| subject.state.as_str()).collect();
    let causes: Vec<Option<&str>> = subjects.iter().map(|subject| subject.removed).collect();
    let gaps: Vec<bool> = subjects.iter().map(|subject| subject.gap).collect();
    // Told through columns of the proposed row, since a conflict's update sees nothing else of it: `confirm_at` and
    // `returned_at`.
    let same: Vec<bool> = subjects.iter().map(|subject| subject.same).collect();
    let returns: Vec<bool> = subjects.iter().map(|subject| subject.returns).collect();
    let listed: Vec<bool> = subjects.iter().map(|subject| subject.listed).collect();
    let evidence: Vec<Option<&str>> =
        subjects.iter().map(|subject| subject.vanished.map(|vanished| vanished.by.as_str())).collect();
    let limits: Vec<Option<i64>> =
        subjects.iter().map(|subject| subject.vanished.map(|vanished| vanished.limit)).collect();
    sqlx::query_scalar!(
        r#"insert into subject as held (tenant, kind, key, wanted, settled, state, due_at, removed_at, removed_cause,
                                        found, found_at, confirm_at, returned_at, vanished_at, vanished_by,
                                        vanished_limit, listed_at)
           select $1, $2, key, $3, $3, state, $4, case when cause is not null then $4::timestamptz end, cause,
                  case when gap then $3::bigint end, case when gap then $4::timestamptz end,
                  case when same then $4::timestamptz end, case when returns then $4::timestamptz end,
                  case when evidence is not null then $4::timestamptz end, evidence, allowed,
                  case when listed then $4::timestamptz end
           from unnest($5::text[], $6::text[], $7::text[], $8::boolean[], $9::boolean[], $14::boolean[], $15::text[],
                       $16::bigint[], $17::boolean[])
                as read (key, state, cause, gap, same, returns, evidence, allowed, listed)
           order by key collate "C"
           on conflict (tenant, kind, key) do update set
             settled = $3,
             wanted = greatest(held.wanted, $3),
             state = excluded.state,
             due_at = case when held.wanted > $3 then $4 else held.due_at end,
             waiting_since = case when held.wanted > $3 then $4::timestamptz end,
             attempts = 0, failing_since = null, last_error = null, dead_at = null,
             failure_digest = null, failure_repeats = 0,
             absent_since = null, unclear_since = null, returned_at = null, held_at = null,
             held_unproven = false,
             released_at = case when excluded.removed_cause is not null or excluded.vanished_at is not null
                                then held.released_at end,
             -- A record that is shown ends it; what was removed stays counted until then.
             vanished_at = case when excluded.vanished_at is not null or excluded.removed_cause is not null
                                then coalesce(held.vanished_at, excluded.vanished_at) end,
             vanished_by = case when excluded.vanished_at is not null or excluded.removed_cause is not null
                                then coalesce(held.vanished_by, excluded.vanished_by) end,
             vanished_limit = case when excluded.vanished_at is not null or excluded.removed_cause is not null
                                   then coalesce(held.vanished_limit, excluded.vanished_limit) end,
             -- A read by key brought it back, or lists have it no more: reads by key are believed again.
             listed_at = case when excluded.returned_at is not null and excluded.listed_at is null
                                or excluded.removed_cause is not null and held.state <> 'removed'
                              then null else held.listed_at end,
             -- Shown again, and no callback said that it came back: it was there all the time.
             undone_at = case when held.vanished_at is not null and excluded.vanished_at is null
                                   and excluded.removed_cause is null and held.announced <= held.settled
                              then $4::timestamptz else held.undone_at end,
             removed_at = case when excluded.removed_at is not null then coalesce(held.removed_at, excluded.removed_at) end,
             removed_cause = case when excluded.removed_cause is not null
                                  then coalesce(held.removed_cause, excluded.removed_cause) end,
             found = case when excluded.found is not null and held.announced <= held.settled and held.confirm_at is null
                          then coalesce(held.found, excluded.found) else held.found end,
             found_at = case when excluded.found is not null and held.announced <= held.settled and held.confirm_at is null
                             then coalesce(held.found_at, excluded.found_at) else held.found_at end,
             confirm_at = case
               when excluded.removed_cause = 'absence' and held.removed_at is null then $4::timestamptz + $12::interval
               when excluded.confirm_at is null then null
               when excluded.removed_cause is null and excluded.state <> 'unread' and held.announced > held.settled
                 then $4::timestamptz + $10::interval
               when held.confirm_at <= $4 and held.confirms = 0
                 then $4::timestamptz + case when excluded.removed_cause is null then $11::interval else $13::interval end
               when held.confirm_at > $4 then held.confirm_at end,
             confirms = case
               when excluded.removed_cause = 'absence' and held.removed_at is null or excluded.confirm_at is null then 0
               when excluded.removed_cause is null and held.announced > held.settled then 0
               when held.confirm_at <= $4 then 1
               else held.confirms end
           where held.settled < $3
             and (held.state <> 'removed' or excluded.state = 'removed' or excluded.returned_at is not null)
           returning key"#,
        tenant.as_str(),
        kind.as_str(),
        read,
        now,
        &keys as _,
        &states as _,
        &causes as _,
        &gaps,
        &same,
        LAGGING[0] as _,
        LAGGING[1] as _,
        RETURNING[0] as _,
        RETURNING[1] as _,
        &returns,
        &evidence as _,
        &limits as _,
        &listed,
    )
    .fetch_all(tx)
    .await
}

/// A subject that a read showed with a sign of anonymisation in an unknown form.
#[derive(Debug, Clone)]
pub struct Unclear {
    /// Candidate id.
    pub key: String,
    /// When it is to be read again.
    pub due_at: DateTime<Utc>,
}

/// Hides such subjects and asks for another read. A removed one, and one that a newer read has settled, is left alone.
///
/// Returns the keys that are hidden now.
///
/// # Errors
/// When the database cannot be used.
pub async fn hide_unclear(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    now: DateTime<Utc>,
    subjects: &[Unclear],
) -> sqlx::Result<Vec<String>> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = subjects.iter().map(|subject| subject.key.as_str()).collect();
    let due_at: Vec<DateTime<Utc>> = subjects.iter().map(|subject| subject.due_at).collect();
    sqlx::query_scalar!(
        r#"insert into subject as held (tenant, kind, key, wanted, due_at, waiting_since, unclear_since)
         select $1, $2, key, $3, due_at, $4, $4 from unnest($5::text[], $6::timestamptz[]) as read (key, due_at)
         order by key collate "C"
         on conflict (tenant, kind, key) do update set
           state = case held.state when 'live' then 'hidden' else held.state end,
           wanted = greatest(held.wanted, $3), due_at = excluded.due_at,
           waiting_since = coalesce(held.waiting_since, $4), unclear_since = coalesce(held.unclear_since, $4),
           absent_since = null, attempts = 0, failing_since = null, last_error = null, dead_at = null,
           failure_digest = null, failure_repeats = 0
         where held.settled < $3 and held.state <> 'removed'
         returning key"#,
        tenant.as_str(),
        kind.as_str(),
        read,
        now,
        &keys as _,
        &due_at,
    )
    .fetch_all(tx)
    .await
}

/// What a failed read says.
#[derive(Debug, Clone)]
pub struct ReadFailure {
    /// In words, without personal data.
    pub cause: String,
    /// SHA-256 of what could not be used, where the failure is the record's and not one of Cegid or of the way to it.
    pub digest: Option<[u8; 32]>,
}

/// Why a subject is not settled by a read.
#[derive(Debug, Clone)]
pub enum Why {
    /// It was not there; a second read after this time decides.
    Absent,
    /// It was removed and is there again; a second read after this time decides.
    Returned,
    /// Its removal waits for the bulk guard.
    Held,
    /// Its removal waits for a control, or for an operator: no other record of the kind is left.
    Unproven,
    /// The read failed.
    Failed(ReadFailure),
    /// It failed for the last time; wanted at this value it is buried, raised since it is tried again.
    Buried {
        /// The request that the read answered.
        wanted: i64,
        /// What the last read said.
        failure: ReadFailure,
    },
    /// A record that a sweep found for a removed subject: it is to be read by itself.
    Asked,
}

/// A subject that stays unsettled.
#[derive(Debug, Clone)]
pub struct Postponed {
    /// Vacancy reference or candidate id.
    pub key: String,
    /// When it is to be read again.
    pub due_at: DateTime<Utc>,
    /// Why.
    pub why: Why,
}

/// Reads that give the same failure of the same bytes, after which it is reported: the record will hardly be read, but
/// it goes on being tried.
pub const REPORTED_REPEATS: i32 = 3;

/// Subjects that were put off because a read failed, and whose failure is their outcome.
#[derive(Debug, Default)]
pub struct Failures {
    /// Those that were buried.
    pub buried: usize,
    /// Keys of these, and of those that have failed alike several times.
    pub outcomes: HashSet<String>,
}

/// Puts subjects off. One that a newer read has settled is left alone.
///
/// # Errors
/// When the database cannot be used.
pub async fn postpone(
    tx: &mut PgConnection,
    tenant: &TenantId,
    kind: Kind,
    read: i64,
    now: DateTime<Utc>,
    subjects: &[Postponed],
) -> sqlx::Result<Failures> {
    let mut failures = Failures::default();
    // Few at a time, and never on the path of a burst: one statement each, in key order.
    let mut ordered: Vec<&Postponed> = subjects.iter().collect();
    ordered.sort_by(|a, b| a.key.cmp(&b.key));
    for subject in ordered {
        let (absent, returned) = (matches!(subject.why, Why::Absent), matches!(subject.why, Why::Returned));
        let (failed, bury_at) = match &subject.why {
            Why::Failed(failure) => (Some(failure), None),
            Why::Buried { wanted, failure } => (Some(failure), Some(*wanted)),
            Why::Absent | Why::Returned | Why::Held | Why::Unproven | Why::Asked => (None, None),
        };
        let (asked, unproven) = (matches!(subject.why, Why::Asked), matches!(subject.why, Why::Unproven));
        let held = unproven || matches!(subject.why, Why::Held);
        let (cause, digest) = (failed.map(|failed| &failed.cause), failed.and_then(|failed| failed.digest));
        let row = sqlx::query!(
            r#"update subject set
                 -- Another read may have settled it since it was claimed: it is to be read again all the same.
                 wanted = case when $7 or $8 or $11 then greatest(wanted, $4) else wanted end,
                 waiting_since = coalesce(waiting_since, $5),
                 due_at = $6,
                 absent_since = case when $7 then coalesce(absent_since, $5) when $8 then null else absent_since end,
                 listed_at = case when $11 then coalesce(listed_at, $5) else listed_at end,
                 returned_at = case when $8 then coalesce(returned_at, $5) when $7 then null else returned_at end,
                 held_at = case when $12 then coalesce(held_at, $5) else held_at end,
                 -- What the guard holds stays its own.
                 held_unproven = case when $12 then $15 and (held_at is null or held_unproven) else held_unproven end,
                 attempts = case when $9::text is null then 0 else attempts + 1 end,
                 failing_since = case when $9::text is null then null else coalesce(failing_since, $5) end,
                 last_error = $9,
                 failure_digest = $13,
                 failure_repeats = case when $13::bytea is null then 0
                                        when failure_digest = $13 then failure_repeats + 1 else 1 end,
                 dead_at = case when wanted <= $10 then $5::timestamptz end
               where tenant = $1 and kind = $2 and key = $3 and settled < $4 and ($9::text is null or waiting)
               returning dead_at is not null as "dead!", failure_repeats >= $14 as "repeated!""#,
            tenant.as_str(),
            kind.as_str(),
            subject.key,
            read,
            now,
            subject.due_at,
            absent,
            returned,
            cause,
            bury_at,
            asked,
            held,
            digest.as_ref().map(|digest| &digest[..]),
            REPORTED_REPEATS,
            unproven,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row.filter(|row| row.dead || row.repeated) {
            failures.buried += usize::from(row.dead);
            failures.outcomes.insert(subject.key.clone());
        }
    }
    Ok(failures)
}
