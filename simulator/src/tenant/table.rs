//! All subjects of one kind, found by place, by key and by their last change.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Row;
use super::walks::Walks;
use crate::habits::ListOrder;

/// The subjects, in the order of their creation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    places: HashMap<Arc<str>, usize>,
    /// So that a page of a list by update date costs no sorting.
    by_update: BTreeSet<(DateTime<Utc>, usize)>,
    walks: Walks,
}

/// A page of a list that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) order: ListOrder,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
    /// What the list is narrowed to: the same words, the same list.
    pub(crate) question: &'a str,
    /// The moment whose truth is shown, when that is not now.
    pub(crate) at: Option<DateTime<Utc>>,
    /// Whether the same question shows the same list until the table is changed.
    pub(crate) stable: bool,
}

impl Table {
    pub(crate) fn place(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.places.insert(Arc::clone(&row.key), row.place);
        self.by_update.insert((row.updated, row.place));
        self.rows.push(row);
        self.walks.end();
    }

    /// Changes a subject that is there, and gives it as it is then.
    pub(crate) fn change(&mut self, key: &str, now: DateTime<Utc>, change: impl FnOnce(&mut Row)) -> Option<Row> {
        let place = self.place(key)?;
        let row = &mut self.rows[place];
        if row.deleted {
            return None;
        }
        row.remember(now);
        change(row);
        row.version += 1;
        self.by_update.remove(&(row.updated, place));
        self.by_update.insert((now, place));
        row.updated = now;
        self.walks.end();
        Some(row.clone())
    }

    /// A subject as it is, or as it was at a moment.
    pub(crate) fn seen(&self, place: usize, at: Option<DateTime<Utc>>) -> Cow<'_, Row> {
        let row = &self.rows[place];
        at.map_or(Cow::Borrowed(row), |at| row.as_of(at))
    }

    /// The rows of a page, of those that a test shows.
    pub(crate) fn page(&mut self, asking: Asking<'_>, shown: impl Fn(&Row) -> bool) -> Vec<Row> {
        let Asking { order, offset, limit, question, at, .. } = asking;
        let stable = asking.stable && at.is_none();
        let (seen, after) = match self.walks.find(order, question, offset) {
            Some((seen, last)) if stable => (seen, Some(last)),
            _ => (0, None),
        };
        let rows: Vec<Row> = self
            .in_order(order, at, after)
            .map(|place| self.seen(place, at))
            .filter(|row| shown(row))
            .skip(offset - seen)
            .take(limit)
            .map(Cow::into_owned)
            .collect();
        if stable && let Some(last) = rows.last() {
            self.walks.stand(order, question, offset + rows.len(), last.place);
        }
        rows
    }

    /// The places of all subjects in an order, or of those after one of them.
    fn in_order(
        &self,
        order: ListOrder,
        at: Option<DateTime<Utc>>,
        after: Option<usize>,
    ) -> Box<dyn Iterator<Item = usize> + '_> {
        let mark = after.map(|place| (self.rows[place].updated, place));
        match order {
            ListOrder::Creation => Box::new(after.map_or(0, |place| place + 1)..self.rows.len()),
            ListOrder::NewestFirst => Box::new((0..after.unwrap_or(self.rows.len())).rev()),
            ListOrder::Update | ListOrder::LastUpdateFirst if at.is_some() => {
                let updated = |place: usize| (self.seen(place, at).updated, place);
                let mut places: Vec<_> = (0..self.rows.len()).map(updated).collect();
                places.sort_unstable();
                if order == ListOrder::LastUpdateFirst {
                    places.reverse();
                }
                Box::new(places.into_iter().map(|(_, place)| place))
            }
            ListOrder::Update => {
                let from = mark.map_or(Bound::Unbounded, Bound::Excluded);
                Box::new(self.by_update.range((from, Bound::Unbounded)).map(|&(_, place)| place))
            }
            ListOrder::LastUpdateFirst => {
                let to = mark.map_or(Bound::Unbounded, Bound::Excluded);
                Box::new(self.by_update.range((Bound::Unbounded, to)).rev().map(|&(_, place)| place))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Asking;
    use crate::habits::ListOrder;
    use crate::tenant::{Kind, Row, Tenant};
    use crate::{Config, clock};

    /// Whether a list shows a row.
    type Shown = fn(&Row) -> bool;

    /// A page with what is known of the walks, and the same page without.
    fn both(tenant: &mut Tenant, asking: Asking<'_>, shown: Shown) -> [Vec<usize>; 2] {
        [true, false].map(|stable| {
            let rows = tenant.vacancies.page(Asking { stable, ..asking }, shown);
            rows.iter().map(|row| row.place).collect()
        })
    }

    #[test]
    fn a_walk_that_goes_on_sees_what_counting_from_the_start_sees() {
        let config = Config { vacancies: 500, candidates: 0, ..Config::default() };
        let now = clock::read_date("2026-05-26").expect("a date");
        let tests: [(&str, Shown); 2] = [("", |_| true), ("odd", |row| row.place % 2 == 1)];
        for order in [ListOrder::Creation, ListOrder::NewestFirst, ListOrder::Update, ListOrder::LastUpdateFirst] {
            let mut tenant = Tenant::new(&config, now).expect("a tenant");
            for (question, shown) in tests {
                let mut offset = 0;
                loop {
                    let asking = Asking { order, offset, limit: 30, question, at: None, stable: true };
                    let [going_on, counted] = both(&mut tenant, asking, shown);
                    assert_eq!(going_on, counted, "{order:?} {question} {offset}");
                    if counted.is_empty() {
                        break;
                    }
                    offset += counted.len();
                    if offset == 120 {
                        let key = tenant.vacancies.rows[counted[0]].key.clone();
                        tenant.vacancies.change(&key, now, |row| row.deleted = true).expect("the vacancy");
                        tenant.create(&config, Kind::Vacancy, now);
                    }
                }
                assert!(offset > 200);
            }
        }
    }

    #[test]
    fn a_walk_looks_at_each_subject_once() {
        let config = Config { vacancies: 3_000, candidates: 0, ..Config::default() };
        let now = clock::read_date("2026-05-26").expect("a date");
        let mut tenant = Tenant::new(&config, now).expect("a tenant");
        for order in [ListOrder::Creation, ListOrder::Update] {
            let looks = std::cell::Cell::new(0);
            let mut offset = 0;
            loop {
                let asking = Asking { order, offset, limit: 100, question: "", at: None, stable: true };
                let rows = tenant.vacancies.page(asking, |row| {
                    looks.set(looks.get() + 1);
                    row.place % 3 > 0
                });
                if rows.is_empty() {
                    break;
                }
                offset += rows.len();
            }
            assert_eq!((offset, looks.get()), (2_000, 3_000), "{order:?}");
        }
    }
}
