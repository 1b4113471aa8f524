//! Reading under a budget.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

/// A source that fails once more than its budget was read of it, and then for good.
pub(super) struct Metered<'a, R> {
    source: R,
    /// Bytes that may still be read; whoever set it may set it anew.
    left: &'a Cell<u64>,
}

impl<'a, R> Metered<'a, R> {
    pub(super) fn new(source: R, left: &'a Cell<u64>) -> Self {
        Metered { source, left }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.unwrap_or(0));
        left.map(|_| read).ok_or_else(|| io::Error::other("the budget is used up"))
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}
