//! All subjects of one kind, found by place, by key and by their last change.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Row;
use crate::habits::ListOrder;

/// The subjects, in the order of their creation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    places: HashMap<Arc<str>, usize>,
    /// So that a page of a list by update date costs no sorting.
    by_update: BTreeSet<(DateTime<Utc>, usize)>,
}

impl Table {
    pub(crate) fn place(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.places.insert(Arc::clone(&row.key), row.place);
        self.by_update.insert((row.updated, row.place));
        self.rows.push(row);
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
        Some(row.clone())
    }

    /// A subject as it is, or as it was at a moment.
    pub(crate) fn seen(&self, place: usize, at: Option<DateTime<Utc>>) -> Cow<'_, Row> {
        let row = &self.rows[place];
        at.map_or(Cow::Borrowed(row), |at| row.as_of(at))
    }

    /// The places of all subjects in an order, as they are or as they were at a
    /// moment.
    pub(crate) fn in_order(
        &self,
        order: ListOrder,
        at: Option<DateTime<Utc>>,
    ) -> Box<dyn DoubleEndedIterator<Item = usize> + '_> {
        match order {
            ListOrder::Creation => Box::new(0..self.rows.len()),
            ListOrder::NewestFirst => Box::new((0..self.rows.len()).rev()),
            ListOrder::LastUpdateFirst => Box::new(self.in_order(ListOrder::Update, at).rev()),
            ListOrder::Update => match at {
                None => Box::new(self.by_update.iter().map(|&(_, place)| place)),
                Some(_) => {
                    let updated = |place: usize| (self.seen(place, at).updated, place);
                    let mut places: Vec<_> = (0..self.rows.len()).map(updated).collect();
                    places.sort_unstable();
                    Box::new(places.into_iter().map(|(_, place)| place))
                }
            },
        }
    }
}
