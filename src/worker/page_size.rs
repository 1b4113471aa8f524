//! How many records to ask for in one call.
//!
//! A page that keeps being cut, or that provokes a failure, comes through once it is small enough; what is asked for in
//! ever smaller pages costs more calls, so the size grows again as soon as something succeeds.

/// Halved by each failure down to one, doubled by each success up to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageSize {
    most: usize,
    now: usize,
}

impl PageSize {
    /// Begins with the most.
    pub(super) fn new(most: usize) -> PageSize {
        let most = most.max(1);
        PageSize { most, now: most }
    }

    /// Records to ask for, at least one.
    pub(super) fn get(self) -> usize {
        self.now
    }

    /// The page came whole.
    pub(super) fn succeeded(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.most);
    }

    /// A page for which so many records were asked was cut or failed; that may have been fewer than allowed.
    pub(super) fn failed(&mut self, asked: usize) {
        self.now = (asked.min(self.now) / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_become_one_in_seven_failures_and_a_hundred_again_in_seven_successes() {
        let mut size = PageSize::new(100);
        let mut sizes = vec![size.get()];
        for _ in 0..8 {
            size.failed(size.get());
            sizes.push(size.get());
        }
        assert_eq!(sizes, [100, 50, 25, 12, 6, 3, 1, 1, 1]);
        let grown: Vec<usize> = (0..8)
            .map(|_| {
                size.succeeded();
                size.get()
            })
            .collect();
        assert_eq!(grown, [2, 4, 8, 16, 32, 64, 100, 100]);
    }

    #[test]
    fn half_of_what_was_asked_for_when_that_was_less() {
        let mut size = PageSize::new(100);
        size.failed(8);
        assert_eq!(size.get(), 4);
        // An older and larger call fails late.
        size.failed(100);
        assert_eq!(size.get(), 2);
        assert_eq!(PageSize::new(0).get(), 1);
    }
}
