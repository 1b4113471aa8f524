//! Where walks over a list stand, so that a page goes on where the one before it
//! ended instead of counting from the start.

use std::collections::VecDeque;

use crate::habits::ListOrder;

/// Walks that are kept in mind; more than anyone has under way at once.
const STANDING: usize = 16;

/// One walk: after its last page.
#[derive(Debug)]
struct Standing {
    order: ListOrder,
    /// What the list is narrowed to, in the words of the request.
    question: String,
    /// Subjects that the walk has seen, from the list's start.
    seen: usize,
    /// Place in the table of the last of them.
    last: usize,
}

/// The walks over one table. Any change of the table ends them all, since it may
/// shift what stands where; the next page then counts from the start.
#[derive(Debug, Default)]
pub(crate) struct Walks(VecDeque<Standing>);

impl Walks {
    pub(super) fn end(&mut self) {
        self.0.clear();
    }

    /// The furthest point at or before an offset: how many were seen until there,
    /// and the place of the last.
    pub(super) fn find(&self, order: ListOrder, question: &str, offset: usize) -> Option<(usize, usize)> {
        self.0
            .iter()
            .filter(|walk| walk.order == order && walk.seen <= offset && walk.question == question)
            .max_by_key(|walk| walk.seen)
            .map(|walk| (walk.seen, walk.last))
    }

    /// Keeps in mind that a walk has come so far.
    pub(super) fn stand(&mut self, order: ListOrder, question: &str, seen: usize, last: usize) {
        if self.0.iter().any(|walk| walk.order == order && walk.seen == seen && walk.question == question) {
            return;
        }
        if self.0.len() == STANDING {
            self.0.pop_front();
        }
        self.0.push_back(Standing { order, question: question.to_owned(), seen, last });
    }
}
