//! How many records are asked for at once: fewer while answers are cut or fail.

/// Failures of a page of one record after which it is asked whether it is that record or all of Cegid.
const STUCK: u32 = 5;

/// The size of one walk's next page.
#[derive(Debug)]
pub(super) struct PageSize {
    most: usize,
    size: usize,
    /// In a row, of a page of one record.
    failures: u32,
    /// Nothing before this offset is asked for again: a record there cannot be served.
    passed: i32,
}

impl PageSize {
    /// At most so many, which is what is asked for first.
    pub(super) fn new(most: usize) -> PageSize {
        PageSize { most, size: most, failures: 0, passed: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn passed(&self) -> i32 {
        self.passed
    }

    /// The page was cut, or did not come.
    pub(super) fn failed(&mut self) {
        self.failures = if self.size == 1 { self.failures + 1 } else { 0 };
        self.size = (self.size / 2).max(1);
    }

    /// The page did not come, for an item of it: one that stands alone need not be tried again first.
    pub(super) fn failed_by_item(&mut self) {
        if self.size == 1 {
            self.failures = self.failures.max(STUCK - 1);
        }
        self.failed();
    }

    /// The page came whole.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.size = (self.size * 2).min(self.most);
    }

    /// Asks for another number of records, because the list answers the same whatever the offset: one that holds just a
    /// page of them then shows its end.
    pub(super) fn vary(&mut self) {
        self.size = if self.size > 2 { self.size * 2 / 3 } else { self.most };
    }

    /// How far ahead to look whether Cegid answers at all, when one record alone keeps failing: farther each time, since
    /// its neighbours may fail too.
    pub(super) fn ahead(&self) -> Option<i32> {
        let more = self.failures.checked_sub(STUCK)?;
        Some(1 << more.min(10))
    }

    /// The record before this offset is passed over.
    pub(super) fn pass(&mut self, offset: i32) {
        self.passed = offset;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_halved_down_to_one_record_and_grows_again() {
        let mut size = PageSize::new(100);
        let halved: Vec<usize> = (0..8)
            .map(|_| {
                size.failed();
                size.size()
            })
            .collect();
        assert_eq!(halved, [50, 25, 12, 6, 3, 1, 1, 1]);
        size.succeeded();
        assert_eq!(size.size(), 2);
        (0..10).for_each(|_| size.succeeded());
        assert_eq!(size.size(), 100);
    }

    #[test]
    fn one_record_that_keeps_failing_is_looked_past_farther_each_time() {
        let mut size = PageSize::new(2);
        (0..5).for_each(|_| size.failed());
        assert_eq!(size.ahead(), None);
        let ahead: Vec<_> = (0..4)
            .map(|_| {
                size.failed();
                size.ahead().unwrap()
            })
            .collect();
        assert_eq!(ahead, [1, 2, 4, 8]);
        size.pass(61);
        assert_eq!((size.ahead(), size.passed()), (None, 61));
    }
}
