//! How the exports behave while nothing fails: what no page says, and what a
//! partner must cope with all the same.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::tenant::Kind;

/// The order of the exports' lists, which is documented nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListOrder {
    /// By creation, oldest first.
    #[default]
    Creation,
    /// By creation, newest first: whatever is created moves all others on.
    NewestFirst,
    /// By the last change, longest ago first: a changed subject goes to the end.
    Update,
    /// By the last change, latest first: a changed subject goes to the start.
    LastUpdateFirst,
}

/// The habits that are set.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    lag: Mutex<Option<Duration>>,
    order: Mutex<ListOrder>,
    churning: AtomicBool,
    /// Counts what was left to chance, so that each time draws other numbers.
    draws: AtomicU64,
    /// Changes that wait for list pages of their kind, with how many.
    after_pages: Mutex<Vec<(u64, Change)>>,
    hidden: [AtomicBool; 2],
}

impl Habits {
    pub(crate) fn set_lag(&self, lag: Option<Duration>) {
        *crate::lock(&self.lag) = lag;
    }

    /// The moment whose truth the exports show, when that is not now.
    pub(crate) fn shown(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let lag = (*crate::lock(&self.lag))?;
        let lag = chrono::Duration::from_std(lag).unwrap_or(chrono::Duration::MAX);
        Some(now.checked_sub_signed(lag).unwrap_or(DateTime::<Utc>::MIN_UTC))
    }

    pub(crate) fn set_order(&self, order: ListOrder) {
        *crate::lock(&self.order) = order;
    }

    pub(crate) fn order(&self) -> ListOrder {
        *crate::lock(&self.order)
    }

    pub(crate) fn churn(&self, churn: bool) {
        self.churning.store(churn, Ordering::SeqCst);
    }

    pub(crate) fn churns(&self) -> bool {
        self.churning.load(Ordering::SeqCst)
    }

    pub(crate) fn draw(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn after_page(&self, pages: u64, change: Change) {
        crate::lock(&self.after_pages).push((pages.max(1), change));
    }

    /// Counts a list page, and gives the changes that were waiting for it.
    pub(crate) fn page_done(&self, kind: Kind) -> Vec<Change> {
        let mut waiting = crate::lock(&self.after_pages);
        for (pages, _) in waiting.iter_mut().filter(|(_, change)| change.kind() == kind) {
            *pages -= 1;
        }
        let (due, later) = std::mem::take(&mut *waiting).into_iter().partition(|(pages, _)| *pages == 0);
        *waiting = later;
        let due: Vec<(u64, Change)> = due;
        due.into_iter().map(|(_, change)| change).collect()
    }

    pub(crate) fn hide(&self, kind: Kind, hide: bool) {
        self.hidden[kind as usize].store(hide, Ordering::SeqCst);
    }

    pub(crate) fn hides(&self, kind: Kind) -> bool {
        self.hidden[kind as usize].load(Ordering::SeqCst)
    }
}
