//! What one read came to, written in one fenced transaction.
//!
//! Order of locks: the lease, documents, report items, subjects in key order. Subjects come last, because the inbox
//! raises them: they are locked for as short as can be. A subject that a newer read has settled meanwhile is left out,
//! with its document and report item, by beginning again without it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    database::{Database, Failure, failure},
    domain::{Document, Kind},
    index::{attachments, documents},
    outbox::{self, Noted},
    subjects::{self, Postponed, Settled, State},
    tenancy::{Lease, fence},
};

/// Cause of a removal because two reads did not show the subject.
pub(super) const ABSENCE: &str = "absence";
/// Contention with the inbox or another settlement is short.
const ATTEMPTS: usize = 5;

/// What a read of several subjects of one kind came to.
pub struct Settlement {
    /// Which export was read.
    pub kind: Kind,
    /// The read's number, drawn before it was sent.
    pub read: i64,
    /// Found: the document and what is reported.
    pub indexed: Vec<(Document, Noted)>,
    /// To be removed, and why.
    pub removed: Vec<(String, &'static str)>,
    /// Settled without a change: absent and never indexed, or removed before.
    pub unchanged: Vec<(String, State)>,
    /// Not settled.
    pub postponed: Vec<Postponed>,
    /// What is reported of those that are buried by this.
    pub failed: Vec<Noted>,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Keys whose documents were written.
    pub indexed: usize,
    /// Keys that were removed.
    pub removed: usize,
    /// Keys that were buried.
    pub buried: usize,
    /// Keys that a newer read had settled.
    pub superseded: usize,
    /// Keys whose data the database refused, and why: nothing was written about them.
    pub unstorable: Vec<(String, String)>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Another replica works the tenant now.
    #[error("the lease was taken over by another replica")]
    LeaseLost,
    /// The database cannot take it.
    #[error("settling: {0}")]
    Database(#[from] sqlx::Error),
}

impl Settlement {
    /// Nothing yet.
    pub fn new(kind: Kind, read: i64) -> Settlement {
        Settlement {
            kind,
            read,
            indexed: Vec::new(),
            removed: Vec::new(),
            unchanged: Vec::new(),
            postponed: Vec::new(),
            failed: Vec::new(),
        }
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
                Ok(written) => {
                    total.indexed += written.indexed;
                    total.removed += written.removed;
                    total.buried += written.buried;
                    total.superseded += written.superseded;
                }
                Err(NotWritten::Database(error)) if failure(&error) == Failure::Data && !part.indexed.is_empty() => {
                    if part.indexed.len() == 1 {
                        total.unstorable.extend(part.indexed.drain(..).map(|(document, _)| {
                            (document.key().to_owned(), format!("the database refuses its data: {}", code(&error)))
                        }));
                    } else {
                        let mut half = Settlement::new(part.kind, part.read);
                        half.indexed = part.indexed.split_off(part.indexed.len() / 2);
                        parts.push(half);
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
            match self.attempt(database, lease, now, &mut written).await {
                Ok(None) => return Ok(written),
                Ok(Some(superseded)) => {
                    written = Written { superseded: written.superseded + superseded.len(), ..Written::default() };
                    self.indexed.retain(|(document, _)| !superseded.contains(document.key()));
                    self.removed.retain(|(key, _)| !superseded.contains(key));
                    self.unchanged.retain(|(key, _)| !superseded.contains(key));
                }
                Err(NotWritten::Database(error)) if failure(&error) == Failure::Contention && contention < ATTEMPTS => {
                    contention += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the keys that a newer read has settled; nothing was then written.
    async fn attempt(
        &self,
        database: &Database,
        lease: &Lease,
        now: DateTime<Utc>,
        written: &mut Written,
    ) -> Result<Option<HashSet<String>>, NotWritten> {
        let (tenant, kind, read) = (lease.tenant(), self.kind, self.read);
        let mut tx = fence(database, lease).await?.ok_or(NotWritten::LeaseLost)?;
        let found: Vec<&Document> = self.indexed.iter().map(|(document, _)| document).collect();
        let removed: Vec<&str> = self.removed.iter().map(|(key, _)| key.as_str()).collect();
        documents::write(&mut tx, tenant, kind, read, now, &found).await?;
        documents::delete(&mut tx, tenant, kind, read, &removed).await?;
        attachments::write(&mut tx, tenant, read, now, &found).await?;
        attachments::delete(&mut tx, tenant, kind, read, &removed).await?;
        let noted: Vec<Noted> = self.indexed.iter().map(|(_, noted)| noted.clone()).collect();
        outbox::note(&mut tx, tenant, kind, read, now, &noted).await?;
        outbox::forget(&mut tx, tenant, kind, &removed).await?;
        let settled: Vec<Settled<'_>> = self
            .indexed
            .iter()
            .map(|(document, _)| {
                let state = if document.live { State::Live } else { State::Hidden };
                Settled { key: document.key(), state, removed: None }
            })
            .chain(self.removed.iter().map(|(key, cause)| Settled { key, state: State::Removed, removed: Some(cause) }))
            .chain(self.unchanged.iter().map(|(key, state)| Settled {
                key,
                state: *state,
                // The cause that the tombstone holds is kept.
                removed: (*state == State::Removed).then_some(ABSENCE),
            }))
            .collect();
        let mut stale = self.stale(&mut tx, lease).await?;
        if !stale.is_empty() {
            tx.rollback().await?;
            return Ok(Some(std::mem::take(&mut stale)));
        }
        let done = subjects::settle(&mut tx, tenant, kind, read, now, &settled).await?;
        if done.len() < settled.len() {
            let done: HashSet<String> = done.into_iter().collect();
            let left = settled.iter().map(|subject| subject.key.to_owned()).filter(|key| !done.contains(key)).collect();
            tx.rollback().await?;
            return Ok(Some(left));
        }
        let buried = subjects::postpone(&mut tx, tenant, kind, read, now, &self.postponed).await?;
        let failed: Vec<Noted> = self.failed.iter().filter(|noted| buried.contains(&noted.key)).cloned().collect();
        outbox::note(&mut tx, tenant, kind, read, now, &failed).await?;
        tx.commit().await?;
        written.indexed = self.indexed.len();
        written.removed = self.removed.len();
        written.buried = buried.len();
        Ok(None)
    }
}

impl Settlement {
    /// Of the subjects that are judged by what they were when they were claimed: those that are something else by now.
    async fn stale(&self, tx: &mut PgConnection, lease: &Lease) -> sqlx::Result<HashSet<String>> {
        let absent = self.removed.iter().filter(|(_, cause)| *cause == ABSENCE).map(|(key, _)| key.clone());
        let judged: Vec<String> = absent.chain(self.unchanged.iter().map(|(key, _)| key.clone())).collect();
        if judged.is_empty() {
            return Ok(HashSet::new());
        }
        let now = subjects::judged_by(tx, lease.tenant(), self.kind, &judged).await?;
        let stands = |key: &String| {
            let found = now.iter().find(|(known, ..)| known == key);
            let claimed = self.unchanged.iter().find(|(known, _)| known == key).map(|(_, state)| *state);
            match (claimed, found) {
                (Some(claimed), Some((_, state, _))) => *state == claimed,
                (Some(claimed), None) => claimed == State::Unread,
                (None, Some((_, _, absent))) => *absent,
                (None, None) => false,
            }
        };
        Ok(judged.into_iter().filter(|key| !stands(key)).collect())
    }
}

/// The SQLSTATE alone: a message may quote the data.
fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .map_or_else(|| "not encodable".into(), |code| code.into_owned())
}
