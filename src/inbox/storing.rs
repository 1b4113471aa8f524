//! Whether callbacks can be stored, as the last of them showed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A failure counts for so long: then another callback shows whether it is over.
const COUNTS: Duration = Duration::from_secs(5);

/// When the last callbacks could not be stored, unless others were since.
#[derive(Debug, Clone, Default)]
pub struct Storing(Arc<Mutex<Option<Instant>>>);

impl Storing {
    pub(super) fn succeeded(&self) {
        self.set(None);
    }

    pub(super) fn failed(&self) {
        self.set(Some(Instant::now()));
    }

    fn set(&self, failed: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Whether the database has refused callbacks just now.
    pub fn fails(&self) -> bool {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < COUNTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_until_a_success_or_for_a_while() {
        let storing = Storing::default();
        assert!(!storing.fails());
        storing.failed();
        assert!(storing.fails());
        storing.succeeded();
        assert!(!storing.fails());
        storing.failed();
        tokio::time::advance(COUNTS).await;
        assert!(!storing.fails());
    }
}
