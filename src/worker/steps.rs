//! A tenant's worker taken step by step, for the test that holds it against a model and chooses what comes between two
//! steps: another read, a callback, an erasure, a take-over.

use std::sync::Arc;

use super::{
    Context, Shared,
    refresh::{Asked, Front, Part, Refresher},
    settlement::NotWritten,
    sweep,
};
use crate::{
    cegid::Page,
    domain::Kind,
    lifecycle::Stop,
    settings::Tenant,
    subjects::{self, Claimed},
    tenancy::Lease,
};

/// A worker of one kind that does what it is told to.
pub struct Steps(Refresher);

/// A read under way.
pub struct Read {
    part: Vec<Claimed>,
    asked: Asked,
}

impl Read {
    /// The key of the subject that is asked for beside the others, so that an answer without it proves nothing.
    pub fn control(&self) -> Option<&str> {
        self.asked.control.as_deref()
    }

    /// Its number.
    pub fn number(&self) -> i64 {
        self.asked.read
    }
}

impl Steps {
    /// Under this lease, lost or not: a zombie does not know.
    pub fn new(shared: Shared, settings: Arc<Tenant>, lease: Lease, kind: Kind) -> Steps {
        // It waits for nothing.
        let stop = Stop::default();
        stop.drain();
        Steps(Refresher::new(Arc::new(Context::new(shared, settings, lease, stop)), kind))
    }

    /// Claims one subject and draws the number of its read; none when it is not due.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn begin(&self, key: &str) -> sqlx::Result<Option<Read>> {
        let part: Vec<Claimed> =
            self.0.claim(100, &mut Front::new()).await?.into_iter().filter(|subject| subject.key == key).collect();
        if part.is_empty() {
            return Ok(None);
        }
        let control = self.0.control(&part).await?;
        let read = subjects::draw(self.0.context.database()).await?;
        Ok(Some(Read { part, asked: Asked { read, began: self.0.context.now(), control, control_answered: false } }))
    }

    /// Judges the answer and writes what follows from it. False when nothing was written, because the lease was lost.
    pub async fn end(&self, read: Read, page: Page) -> bool {
        !matches!(self.0.shown(&read.part, read.asked, page).await, Part::Failed)
    }

    /// Settles a page of a list that was asked for under this number. False when the lease was lost.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn page(&self, read: i64, page: Page) -> sqlx::Result<bool> {
        let sweeper = sweep::Sweeper::new(self.0.context.clone(), self.0.kind);
        match sweeper.settle(sweep::Read::one(read, page)).await {
            Ok(_) => Ok(true),
            Err(NotWritten::LeaseLost) => Ok(false),
            Err(NotWritten::Database(error)) => Err(error),
        }
    }
}
