//! What this process knows of a walk under way, and what each page says about the list.
//!
//! Wanted: a walk ends exactly when a page shows nothing new; a list that cannot have ended there is said not to
//! advance; a list that lost records before the page is read again from further back. A restart forgets all of it,
//! which costs pages and no record.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::page_size::PageSize;
use crate::cegid::Page;

/// How often in a row a page is read again further back, because records before it have left the list.
const MAX_STEPS_BACK: u32 = 3;

/// Pages in a row without anything new after which the list is taken not to advance, whatever else they are: halving a
/// page down to one record, passing over it and finding the end take fewer.
const MAX_IDLE_PAGES: u32 = 30;

/// Items of a page that the page before has shown.
pub(super) const OVERLAP: usize = 10;

/// One walk.
#[derive(Debug)]
pub(super) struct WalkState {
    pub(super) page_size: PageSize,
    /// Items that the walk's pages have shown, by hash: keys, or digests of what could not be read.
    shown: HashSet<u64>,
    /// Items of the first page that was read at offset 0, in order.
    first_page: Vec<u64>,
    /// Where the farthest page ended that showed anything new.
    reached: i32,
    /// Steps back in a row.
    steps_back: u32,
    /// A page was empty since something new was shown.
    was_empty: bool,
    /// Pages in a row without anything new.
    idle: u32,
    /// Items that the next page repeats of this one.
    pub(super) overlap: usize,
    /// About how many pages the list has, once they were counted.
    pub(super) list_pages: Option<u64>,
}

/// The shape of a page: which items it shows, and where.
#[derive(Debug, Clone)]
pub(super) struct PageShape {
    /// Its items in order, by hash; those that could not be read come last.
    pub(super) items: Vec<u64>,
    /// How many of them could not be read.
    pub(super) broken: usize,
    /// Items of the list before it.
    pub(super) offset: i32,
    /// How many were asked for.
    pub(super) asked: usize,
    /// Read to its clean end.
    pub(super) whole: bool,
    /// It begins with items of the page before it.
    pub(super) overlaps: bool,
}

/// What a page came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observed {
    /// What it says about the list.
    pub(super) list: ListState,
    /// Records that no page of the walk has shown before.
    pub(super) records: usize,
    /// The same of what could not be read.
    pub(super) broken: usize,
}

/// What a page says about the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListState {
    /// It goes on.
    Advances,
    /// Nothing is behind this page.
    Ended,
    /// A full page showed nothing new behind the first one: taken as the end, though the list may go on.
    Repeats,
    /// Every page is the first one, or many in a row showed nothing new: the list cannot have ended there.
    DoesNotAdvance,
    /// Records before this page have left the list: some in between may have been passed over.
    Moved,
}

impl PageShape {
    /// Reads the shape of an answer.
    pub(super) fn new(page: &Page, offset: i32, asked: usize, overlaps: bool) -> PageShape {
        let keys = page.records.iter().map(|record| hash(record.subject.key()));
        let digests = page.broken.iter().map(|broken| broken.digest.map_or_else(|| hash(offset), hash));
        let broken = page.broken.len();
        PageShape { items: keys.chain(digests).collect(), broken, offset, asked, whole: page.cut.is_none(), overlaps }
    }
}

impl PageShape {
    /// Items of the list up to the page's end.
    pub(super) fn end(&self) -> i32 {
        self.offset.saturating_add(i32::try_from(self.items.len()).unwrap_or(i32::MAX))
    }
}

fn hash(item: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}

impl WalkState {
    /// A new walk; `page_size` is the largest number of records in one request.
    pub(super) fn new(page_size: usize) -> WalkState {
        WalkState {
            page_size: PageSize::new(page_size),
            shown: HashSet::new(),
            first_page: Vec::new(),
            reached: 0,
            steps_back: 0,
            was_empty: false,
            idle: 0,
            overlap: OVERLAP,
            list_pages: None,
        }
    }

    /// Takes note of a page and says what it shows of the list.
    pub(super) fn observe(&mut self, page: &PageShape) -> Observed {
        let readable = page.items.len().saturating_sub(page.broken);
        let resumed = self.shown.is_empty();
        let begins_known = page.items.first().is_none_or(|first| self.shown.contains(first));
        let mut new = [0; 2];
        for (nth, item) in page.items.iter().enumerate() {
            new[usize::from(nth >= readable)] += usize::from(self.shown.insert(*item));
        }
        let [records, broken] = new;
        let begins_known = begins_known || resumed;
        Observed { list: self.list_state(page, records + broken, begins_known), records, broken }
    }

    fn list_state(&mut self, page: &PageShape, new: usize, begins_known: bool) -> ListState {
        let was_empty = self.was_empty && new == 0;
        self.was_empty = was_empty || page.whole && page.items.is_empty();
        self.idle = if new == 0 { self.idle + 1 } else { 0 };
        if page.offset == 0 && self.first_page.is_empty() {
            self.first_page.clone_from(&page.items);
        }
        let end = page.end();
        let goes_on = end > self.reached;
        if new > 0 {
            self.reached = self.reached.max(end);
        }
        if self.idle >= MAX_IDLE_PAGES {
            return ListState::DoesNotAdvance;
        }
        if !page.whole {
            return ListState::Advances;
        }
        if new == 0 {
            return self.nothing_new(page, was_empty, goes_on);
        }
        if begins_known {
            self.steps_back = 0;
        } else if page.overlaps && self.steps_back < MAX_STEPS_BACK {
            self.steps_back += 1;
            return ListState::Moved;
        }
        ListState::Advances
    }

    fn nothing_new(&self, page: &PageShape, was_empty: bool, goes_on: bool) -> ListState {
        if page.items.is_empty() {
            // One empty answer may be an error; a second one is the end.
            return if was_empty { ListState::Ended } else { ListState::Advances };
        }
        if page.items.len() < page.asked {
            return ListState::Ended;
        }
        if !goes_on {
            // Read once more: after a step back, or because it could not be stored.
            return ListState::Advances;
        }
        let is_first = page.offset > 0 && self.first_page.starts_with(&page.items);
        if is_first { ListState::DoesNotAdvance } else { ListState::Repeats }
    }

    /// How far back the page after a [`ListState::Moved`] begins, in items before the page that showed it.
    pub(super) fn step_back(&self, asked: usize) -> i32 {
        i32::try_from(asked.saturating_mul(1 << self.steps_back.min(16))).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 10;

    fn shape(items: Vec<u64>, offset: usize) -> PageShape {
        PageShape { items, broken: 0, offset: offset as i32, asked: PAGE, whole: true, overlaps: offset > 0 }
    }

    /// What a walk over a list comes to: the last state, and how many pages it took.
    fn walk(page: impl Fn(usize, usize) -> Vec<u64>) -> (ListState, usize) {
        let mut state = WalkState::new(PAGE);
        let mut settled = 0_usize;
        for nth in 1..100 {
            let offset = settled.saturating_sub(2);
            let items = page(offset, PAGE);
            let end = offset + items.len();
            match state.observe(&shape(items, offset)).list {
                ListState::Advances | ListState::Moved => settled = settled.max(end),
                last => return (last, nth),
            }
        }
        (ListState::Advances, 100)
    }

    fn list(length: usize) -> impl Fn(usize, usize) -> Vec<u64> {
        move |offset, limit| (offset..length.min(offset + limit)).map(|item| item as u64).collect()
    }

    #[test]
    fn a_list_ends_on_a_short_page_that_shows_nothing_new() {
        for length in 1..40 {
            let (last, pages) = walk(list(length));
            assert_eq!(last, ListState::Ended, "{length}");
            assert!(pages <= length / 8 + 2, "{length} took {pages}");
        }
        assert_eq!(walk(list(0)), (ListState::Ended, 2), "one empty answer may be an error");
    }

    #[test]
    fn a_list_that_ignores_the_offset_does_not_advance_unless_one_page_holds_it_all() {
        let ignoring = |length| move |_: usize, limit: usize| list(length)(0, limit);
        assert_eq!(walk(ignoring(35)), (ListState::DoesNotAdvance, 2));
        assert_eq!(walk(ignoring(PAGE)), (ListState::DoesNotAdvance, 2), "it may hold more");
        assert_eq!(walk(ignoring(7)), (ListState::Ended, 2));
    }

    #[test]
    fn a_list_that_does_not_advance_does_not_whatever_number_is_asked_for() {
        let mut state = WalkState::new(PAGE);
        let mut observe = |length: u64, offset: usize| {
            let page = PageShape { asked: length as usize, ..shape((0..length).collect(), offset) };
            state.observe(&page).list
        };
        assert_eq!(observe(10, 0), ListState::Advances);
        for length in [10, 6, 10, 6, 4] {
            assert_eq!(observe(length, 8), ListState::DoesNotAdvance, "{length}");
        }
    }

    #[test]
    fn a_list_ends_though_every_page_with_its_last_item_is_cut() {
        let mut state = WalkState::new(PAGE);
        let mut settled = 0_usize;
        for nth in 1..20 {
            let size = state.page_size.size();
            let offset = settled.saturating_sub(2.min(size / 2));
            let items: Vec<u64> = (offset as u64..4.min((offset + size) as u64)).collect();
            let whole = !items.contains(&3);
            if whole {
                state.page_size.succeeded()
            } else {
                state.page_size.failed()
            }
            let page = PageShape { asked: size, whole, ..shape(items, offset) };
            settled = settled.max(page.end() as usize);
            if state.observe(&page).list == ListState::Ended {
                assert_eq!((settled, nth < 12), (4, true), "page {nth}");
                return;
            }
        }
        panic!("the walk goes on for ever");
    }

    #[test]
    fn a_list_that_shows_nothing_new_for_long_does_not_advance() {
        let mut state = WalkState::new(PAGE);
        let page = PageShape { whole: false, ..shape((0..3).collect(), 0) };
        let nth = (1..100).find(|_| state.observe(&page).list == ListState::DoesNotAdvance);
        assert_eq!(nth, Some(MAX_IDLE_PAGES as usize + 1));
    }

    #[test]
    fn a_list_that_repeats_its_last_page_ends() {
        // The page of the largest offset that still shows something.
        let by_page = |offset: usize, limit: usize| list(35)(offset.min(30), limit);
        assert_eq!(walk(by_page).0, ListState::Ended);
        // As many items as were asked for, whatever the offset.
        let clamped = |offset: usize, limit: usize| list(35)(offset.min(35 - limit), limit);
        assert_eq!(walk(clamped).0, ListState::Repeats);
    }

    #[test]
    fn a_page_that_does_not_begin_with_what_was_shown_tells_that_the_list_has_moved() {
        let mut state = WalkState::new(PAGE);
        let mut observe = |items: std::ops::Range<u64>, offset: usize| {
            let observed = state.observe(&shape(items.collect(), offset));
            (observed.list, observed.records, state.step_back(PAGE))
        };
        assert_eq!(observe(0..10, 0), (ListState::Advances, 10, 10));
        // Five of the first ten have left: the page at offset 8 begins with the 13th.
        assert_eq!(observe(13..23, 8), (ListState::Moved, 10, 20));
        assert_eq!(observe(5..15, 0), (ListState::Advances, 3, 10));
        assert_eq!(observe(13..23, 8), (ListState::Advances, 0, 10), "it was read before");
        assert_eq!(observe(21..31, 16), (ListState::Advances, 8, 10));
    }

    #[test]
    fn what_could_not_be_read_is_counted_once_and_is_no_end() {
        let mut state = WalkState::new(PAGE);
        let page = PageShape { broken: 10, ..shape((0..10).collect(), 0) };
        let observed = state.observe(&page);
        assert_eq!((observed.list, observed.records, observed.broken), (ListState::Advances, 0, 10));
        let observed = state.observe(&PageShape { broken: 2, ..shape((8..18).collect(), 8) });
        assert_eq!((observed.records, observed.broken), (6, 2));
        assert_eq!(state.observe(&PageShape { broken: 10, ..page }).broken, 0);
    }
}
