//! Changes between the pages of a walk over an export, which shift what the next
//! page shows.

use super::Change;
use crate::data::random::Random;
use crate::habits::ListOrder;
use crate::simulator::Simulator;
use crate::tenant::Kind;

impl Simulator {
    /// Makes one change silently after the `pages`-th list page of its kind from
    /// now: a page of an export that was not asked for by key and showed
    /// something. An unknown key is told in the log of requests and nowhere else.
    pub fn after_page(&self, pages: u64, change: Change) {
        self.inner.habits.after_page(pages, change);
    }

    /// Creates, deletes or edits a random subject silently after every list page,
    /// of the page's kind, or no longer. The seed decides which.
    pub fn churn_between_pages(&self, churn: bool) {
        self.inner.habits.churn(churn);
    }

    /// Sets the order of both lists from the next page on.
    pub fn set_list_order(&self, order: ListOrder) {
        self.inner.habits.set_order(order);
    }

    /// Shows nothing of a kind any more, whatever is asked, or all of it again;
    /// `kind` is `vacancy` or `candidate`. The truth about them stands.
    pub fn hide_all(&self, kind: &str, hide: bool) {
        self.inner.habits.hide(Kind::named(kind), hide);
    }

    /// Does what was to be done after a list page, and says what that was.
    pub(crate) fn list_page_shown(&self, kind: Kind) -> Vec<String> {
        let mut changes = self.inner.habits.page_done(kind);
        if self.inner.habits.churns() {
            changes.push(self.some_change(kind));
        }
        let made = |change: Change| match self.change_silently(&change) {
            Ok(key) => format!("{change:?}: {key}"),
            Err(error) => format!("{change:?}: {error}"),
        };
        changes.into_iter().map(made).collect()
    }

    fn some_change(&self, kind: Kind) -> Change {
        let mut random = Random::of(self.inner.config.seed, "churn", self.inner.habits.draw());
        let roll = random.below(3);
        match (kind, self.some_key(kind, &mut random)) {
            (Kind::Vacancy, Some(key)) if roll == 0 => Change::EditVacancy { key },
            (Kind::Vacancy, Some(key)) if roll == 1 => Change::DeleteVacancy { key },
            (Kind::Vacancy, _) => Change::CreateVacancy,
            (Kind::Candidate, Some(key)) if roll == 0 => Change::EditCandidate { key },
            (Kind::Candidate, Some(key)) if roll == 1 => Change::DeleteCandidate { key },
            (Kind::Candidate, _) => Change::CreateCandidate,
        }
    }
}
