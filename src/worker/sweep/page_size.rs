//! How many records are asked for at once: fewer while answers are cut or fail.

/// Failures of a page of one record after which the one behind it is tried.
const STUCK: u32 = 5;

/// The size of a walk's next page.
#[derive(Debug)]
pub(super) struct PageSize {
    most: usize,
    size: usize,
    /// In a row, of a page of one record.
    failures: u32,
}

impl PageSize {
    /// At most so many, which is what is asked for first.
    pub(super) fn new(most: usize) -> PageSize {
        PageSize { most, size: most, failures: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The page was cut, or did not come.
    pub(super) fn failed(&mut self) {
        self.failures = if self.size == 1 { self.failures + 1 } else { 0 };
        self.size = (self.size / 2).max(1);
    }

    /// The page came whole.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.size = (self.size * 2).min(self.most);
    }

    /// Whether one record alone keeps failing. It may be that record, or all of Cegid: if the one behind it can be had,
    /// it is that record.
    pub(super) fn stuck(&self) -> bool {
        self.failures >= STUCK
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
    fn one_record_that_keeps_failing_is_noticed() {
        let mut size = PageSize::new(2);
        (0..5).for_each(|_| size.failed());
        assert!(!size.stuck());
        size.failed();
        assert!(size.stuck());
        size.succeeded();
        assert!(!size.stuck());
    }
}
