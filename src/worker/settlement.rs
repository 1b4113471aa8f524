//! What one read came to, written in one fenced transaction.
//!
//! A record that shows what the index holds already settles its subject and is not written again. It is reported again
//! if a delivery asked for it, or if the outcome noted last is another one: the record failed in between.
//!
//! Order of locks: the lease, documents, report items, subjects in key order. Subjects come last, because the inbox
//! raises them: they are locked for as short as can be. Only outcomes that are noted if they differ follow: of what is
//! shown unchanged, and of what failed. A subject that a newer read has settled meanwhile is left out, with its
//! document and report item, by beginning again without it; and so is one that an operator has erased.

mod removal;
mod written;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{
    database::{Database, Failure, failure, told},
    domain::{Document, Kind, Visibility},
    erasure,
    index::{attachments, documents},
    kill,
    outbox::{self, Noted, Noting},
    subjects::{self, Guarded, Postponed, Settled, State, Unclear, Vanished, Why},
    tenancy::{Lease, fence},
};

pub use removal::{ABSENCE, Removal, UNCLEAR};
pub use written::Written;

/// Before a removal that waits for an operator is read again, in case the record is back.
pub(super) const HELD_REREAD_INTERVAL: TimeDelta = TimeDelta::hours(1);
/// Contention with the inbox or another settlement is short.
const ATTEMPTS: usize = 5;

/// A record that a read showed.
pub struct Indexed {
    /// What is indexed of it.
    pub document: Document,
    /// What is reported of it.
    pub noted: Noted,
    /// Whether a delivery asked for the read: it is then reported even if it shows nothing new.
    pub announced: bool,
    /// Whether it was removed, and may come back.
    pub returns: bool,
    /// Whether it comes back because lists show it, and reads by key do not.
    pub returns_by_list: bool,
    /// Whether the list that showed it was asked for published ones: without a readable status it then counts as live.
    pub listed_as_live: bool,
}

impl Indexed {
    /// What is written, when this is held. An unknown status leaves what is held live or hidden as it is; only a
    /// vacancy that never had a readable one goes by the list.
    fn write(&self, held: Option<&documents::Held>) -> documents::Write<'_> {
        let searchable = match self.document.visibility {
            Visibility::Live => true,
            Visibility::NotLive => false,
            Visibility::Unknown => match held {
                Some(held) if held.searchable || held.has_status => held.searchable,
                _ => self.listed_as_live,
            },
        };
        documents::Write { document: &self.document, searchable }
    }
}

/// What a read of several subjects of one kind came to.
pub struct Settlement {
    /// Which export was read.
    pub kind: Kind,
    /// The read's number, drawn before it was sent.
    pub read: i64,
    /// Whether to have found something that nobody announced is a gap: not in an initial load.
    pub gaps: bool,
    /// Removals by absence in 24 hours beyond which they wait: so many, or this percentage.
    pub guard: (u32, u32),
    /// Found.
    pub indexed: Vec<Indexed>,
    /// To be removed.
    pub removed: Vec<Removal>,
    /// To be hidden until it is clear whether they are anonymised.
    pub unclear: Vec<Unclear>,
    /// Settled without a change: absent and never indexed, or removed before.
    pub unchanged: Vec<(String, State)>,
    /// Not settled.
    pub postponed: Vec<Postponed>,
    /// What is reported of those whose read failed, once that is their outcome.
    pub failed: Vec<Noted>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Another replica works the tenant now.
    #[error("the lease was taken over by another replica")]
    LeaseLost,
    /// The database cannot take it.
    #[error("settling: {}", told(.0))]
    Database(#[from] sqlx::Error),
}

impl Settlement {
    /// Nothing yet.
    pub fn new(kind: Kind, read: i64, guard: (u32, u32)) -> Settlement {
        Settlement {
            kind,
            read,
            gaps: true,
            guard,
            indexed: Vec::new(),
            removed: Vec::new(),
            unclear: Vec::new(),
            unchanged: Vec::new(),
            postponed: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// The same in several, with so many documents each. Everything else is in the last one.
    pub fn pieces(mut self, most: usize) -> Vec<Settlement> {
        let mut pieces = Vec::new();
        while self.indexed.len() > most {
            let first = self.indexed.drain(..most).collect();
            pieces.push(self.part(first));
        }
        pieces.push(self);
        pieces
    }

    /// Of the same read, with these documents alone.
    fn part(&self, indexed: Vec<Indexed>) -> Settlement {
        Settlement { gaps: self.gaps, indexed, ..Settlement::new(self.kind, self.read, self.guard) }
    }

    /// Writes it all, or nothing. Only where the database refuses a document's data is it written in parts, until that
    /// document stands alone and is left out.
    ///
    /// # Errors
    /// [`NotWritten`]; the subjects are then as they were, and will be read again.
    pub async fn write(self, database: &Database, lease: &Lease, now: DateTime<Utc>) -> Result<Written, NotWritten> {
        let mut total = Written::default();
        let mut parts = vec![self];
        while let Some(mut part) = parts.pop() {
            match part.write_whole(database, lease, now).await {
                Ok(written) => total.add(written),
                Err(NotWritten::Database(error))
                    if matches!(failure(&error), Failure::Data | Failure::Raised) && !part.indexed.is_empty() =>
                {
                    if part.indexed.len() == 1 {
                        total.unstorable.extend(part.indexed.drain(..).map(|one| {
                            (one.document.key().to_owned(), format!("the database refuses its data: {}", code(&error)))
                        }));
                    } else {
                        let half = part.indexed.split_off(part.indexed.len() / 2);
                        parts.push(part.part(half));
                    }
                    parts.push(part);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    async fn write_whole(
        &mut self,
        database: &Database,
        lease: &Lease,
        now: DateTime<Utc>,
    ) -> Result<Written, NotWritten> {
        let mut written = Written::default();
        let mut contention = 0;
        loop {
            match database.in_time(self.attempt(database, lease, now, &mut written)).await {
                Ok(None) => return Ok(written),
                Ok(Some(superseded)) => {
                    written = Written { superseded: written.superseded + superseded.len(), ..Written::default() };
                    self.indexed.retain(|one| !superseded.contains(one.document.key()));
                    self.removed.retain(|removal| !superseded.contains(&removal.key));
                    self.unclear.retain(|subject| !superseded.contains(&subject.key));
                    self.unchanged.retain(|(key, _)| !superseded.contains(key));
                    self.postponed.retain(|subject| !superseded.contains(&subject.key));
                }
                Err(NotWritten::Database(error)) if failure(&error) == Failure::Contention && contention < ATTEMPTS => {
                    contention += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Every key that something would be written about.
    fn keys(&self) -> Vec<&str> {
        let indexed = self.indexed.iter().map(|one| one.document.key());
        let others = self.removed.iter().map(|removal| &removal.key).chain(self.unchanged.iter().map(|(key, _)| key));
        let postponed = self.postponed.iter().map(|subject| &subject.key);
        let unclear = self.unclear.iter().map(|subject| &subject.key);
        indexed.chain(others.chain(postponed).chain(unclear).map(String::as_str)).collect()
    }

    /// Gives the keys that a newer read has settled, or that were erased; nothing was then written.
    async fn attempt(
        &self,
        database: &Database,
        lease: &Lease,
        now: DateTime<Utc>,
        written: &mut Written,
    ) -> Result<Option<HashSet<String>>, NotWritten> {
        let (tenant, kind, read) = (lease.tenant(), self.kind, self.read);
        let mut tx = fence(database, lease).await?.ok_or(NotWritten::LeaseLost)?;
        let erased = erasure::erased(&mut *tx, tenant, kind, &self.keys()).await?;
        if !erased.is_empty() {
            tx.rollback().await?;
            return Ok(Some(erased.into_iter().collect()));
        }
        let vanished = self.removed.iter().filter(|removal| removal.evidence.is_some());
        let vanished: Vec<&str> = vanished.map(|removal| removal.key.as_str()).collect();
        let Guarded { back, limit } = subjects::hold_back(&mut tx, tenant, kind, now, self.guard, &vanished).await?;
        let removed: Vec<&Removal> = self.removed.iter().filter(|removal| !back.contains(&removal.key)).collect();
        let gone: Vec<&str> = removed.iter().map(|removal| removal.key.as_str()).collect();

        let shown = self.indexed.iter().map(|one| one.document.key());
        let unclear: Vec<&str> = self.unclear.iter().map(|subject| subject.key.as_str()).collect();
        let concerned: Vec<&str> = shown.chain(gone.iter().copied()).chain(unclear.iter().copied()).collect();
        let held: HashMap<String, documents::Held> = documents::held(&mut tx, tenant, kind, &concerned)
            .await?
            .into_iter()
            .map(|held| (held.key.clone(), held))
            .collect();
        let files = attachments::kept(&mut tx, tenant, self.indexed.iter().map(|one| &one.document)).await?;
        let is = |one: &&Indexed| {
            let document = &one.document;
            let held = held.get(document.key());
            held.is_some_and(|held| held.is(one.write(Some(held)))) && files.are_of(document)
        };
        let (same, new): (Vec<&Indexed>, Vec<&Indexed>) = self.indexed.iter().partition(is);
        let writes: Vec<documents::Write<'_>> = new.iter().map(|one| one.write(held.get(one.document.key()))).collect();
        let found: Vec<&Document> = new.iter().map(|one| &one.document).collect();
        documents::write(&mut tx, tenant, kind, read, now, &writes).await?;
        documents::delete(&mut tx, tenant, kind, read, &gone).await?;
        documents::hide(&mut tx, tenant, kind, &unclear).await?;
        attachments::write(&mut tx, tenant, read, now, &found).await?;
        attachments::delete(&mut tx, tenant, kind, read, &gone).await?;
        let (announced, unannounced): (Vec<&Indexed>, Vec<&Indexed>) = same.iter().partition(|one| one.announced);
        let outcomes = |of: &[&Indexed]| of.iter().map(|one| one.noted.clone()).collect::<Vec<Noted>>();
        let expected = outcomes(&[&new[..], &announced[..]].concat());
        written.noted = outbox::note(&mut tx, tenant, kind, read, now, (Noting::Always, &expected)).await?;
        outbox::forget(&mut tx, tenant, kind, &gone).await?;

        let settled = self.settled(&removed, limit, &held);
        let stale = self.stale(&mut tx, lease).await?;
        if !stale.is_empty() {
            tx.rollback().await?;
            return Ok(Some(stale));
        }
        let done = subjects::settle(&mut tx, tenant, kind, read, now, &settled).await?;
        if done.len() < settled.len() {
            let done: HashSet<String> = done.into_iter().collect();
            let left = settled.iter().map(|subject| subject.key.to_owned()).filter(|key| !done.contains(key)).collect();
            tx.rollback().await?;
            return Ok(Some(left));
        }
        let doubted = subjects::hide_unclear(&mut tx, tenant, kind, read, now, &self.unclear).await?;
        if doubted.len() < unclear.len() {
            let left = unclear.iter().map(|key| (*key).to_owned()).filter(|key| !doubted.contains(key)).collect();
            tx.rollback().await?;
            return Ok(Some(left));
        }
        let held_back =
            back.iter().map(|key| Postponed { key: key.clone(), due_at: now + HELD_REREAD_INTERVAL, why: Why::Held });
        let postponed: Vec<Postponed> = self.postponed.iter().cloned().chain(held_back).collect();
        let failures = subjects::postpone(&mut tx, tenant, kind, read, now, &postponed).await?;
        let failed = self.failed.iter().filter(|noted| failures.outcomes.contains(&noted.key)).cloned();
        let others: Vec<Noted> = outcomes(&unannounced).into_iter().chain(failed).collect();
        written.noted += outbox::note(&mut tx, tenant, kind, read, now, (Noting::IfChanged, &others)).await?;
        kill::point("settling");
        tx.commit().await?;
        if let Some(last) = settled.last() {
            database.numbers().settled(tenant, kind, last.key, read);
        }
        kill::point("settled");
        written.indexed = new.len();
        written.same = same.len();
        written.removed = gone.len();
        written.held = back.len();
        written.unclear = unclear.len();
        written.status_unknown =
            self.indexed.iter().filter(|one| one.document.visibility == Visibility::Unknown).count();
        let was_found =
            |write: &&documents::Write<'_>| held.get(write.document.key()).is_some_and(|held| held.searchable);
        written.hidden = writes.iter().filter(|write| !write.searchable).filter(was_found).count();
        written.unproven = self.postponed.iter().filter(|subject| matches!(subject.why, Why::Unproven)).count();
        written.buried = failures.buried;
        Ok(None)
    }

    /// What becomes of each subject that is settled. `held` is what the index holds of them now.
    fn settled<'a>(
        &'a self,
        removed: &[&'a Removal],
        limit: i64,
        held: &HashMap<String, documents::Held>,
    ) -> Vec<Settled<'a>> {
        let indexed = self.indexed.iter().map(|one| {
            let held = held.get(one.document.key());
            let documents::Write { document, searchable } = one.write(held);
            let same = held.is_some_and(|held| held.shows(document));
            // A vacancy that was never live is no loss to the index.
            let gap = self.gaps && !same && (held.is_some() || searchable);
            let state = if searchable { State::Live } else { State::Hidden };
            Settled {
                key: document.key(),
                state,
                removed: None,
                same,
                gap,
                returns: one.returns,
                listed: one.returns_by_list,
                vanished: None,
            }
        });
        let removed = removed.iter().map(move |removal| Settled {
            key: &removal.key,
            state: State::Removed,
            removed: Some(removal.cause),
            same: false,
            gap: self.gaps && held.contains_key(&removal.key),
            returns: false,
            listed: false,
            vanished: removal.evidence.map(|by| Vanished { by, limit }),
        });
        let unchanged = self.unchanged.iter().map(|(key, state)| Settled {
            key,
            state: *state,
            // The cause that the tombstone holds is kept.
            removed: (*state == State::Removed).then_some(ABSENCE),
            same: true,
            gap: false,
            returns: false,
            listed: false,
            vanished: None,
        });
        indexed.chain(removed).chain(unchanged).collect()
    }
}

impl Settlement {
    /// Of the subjects that are judged by what they were when they were claimed: those that are something else by now.
    /// Where more than one statement writes subjects, it has locked all of them, in the order that everybody keeps.
    async fn stale(&self, tx: &mut PgConnection, lease: &Lease) -> sqlx::Result<HashSet<String>> {
        if self.removed.is_empty() && self.unchanged.is_empty() && self.unclear.is_empty() && self.postponed.is_empty()
        {
            return Ok(HashSet::new());
        }
        let now = subjects::locked(tx, lease.tenant(), self.kind, &self.keys()).await?;
        let vanished = self.removed.iter().filter(|removal| removal.evidence.is_some());
        let judged = vanished.map(|removal| &removal.key).chain(self.unchanged.iter().map(|(key, _)| key));
        let stands = |key: &String| {
            let found = now.iter().find(|locked| locked.key == *key);
            let claimed = self.unchanged.iter().find(|(known, _)| known == key).map(|(_, state)| *state);
            match (claimed, found) {
                (Some(claimed), Some(locked)) => locked.state == claimed,
                (Some(claimed), None) => claimed == State::Unread,
                (None, Some(locked)) => {
                    let unclear = self.removed.iter().any(|gone| gone.key == *key && gone.cause == UNCLEAR);
                    if unclear { locked.unclear } else { locked.absent }
                }
                (None, None) => false,
            }
        };
        Ok(judged.filter(|key| !stands(key)).cloned().collect())
    }
}

/// The SQLSTATE alone: a message may quote the data.
fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .map_or_else(|| "not encodable".into(), |code| code.into_owned())
}
