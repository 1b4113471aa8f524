//! Batches that are refused: halved until what is refused stands alone.

/// The parts of a batch that are still to be sent, the next one last.
#[derive(Debug)]
pub(super) struct Parts<T> {
    parts: Vec<Vec<T>>,
    /// Something was accepted.
    accepted: bool,
    /// Refused parts, and those of them that were one item.
    refused: (u32, u32),
}

impl<T> Parts<T> {
    /// These, in their order.
    pub(super) fn new(parts: impl DoubleEndedIterator<Item = Vec<T>>) -> Parts<T> {
        Parts { parts: parts.filter(|part| !part.is_empty()).rev().collect(), accepted: false, refused: (0, 0) }
    }

    /// The next part. If one item was refused alone and nothing was accepted, it is the largest: it is the most likely
    /// to hold what will be accepted.
    pub(super) fn next(&mut self) -> Option<Vec<T>> {
        let last = self.parts.len().checked_sub(1)?;
        let largest = self.parts.iter().enumerate().max_by_key(|(_, part)| part.len()).map_or(last, |(nth, _)| nth);
        Some(self.parts.remove(if self.refused.1 > 0 && !self.accepted { largest } else { last }))
    }

    /// A part, or something beside the batch, was accepted.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
    }

    /// Whether something was accepted.
    pub(super) fn accepted(&self) -> bool {
        self.accepted
    }

    /// Parts that were refused.
    pub(super) fn refused(&self) -> u32 {
        self.refused.0
    }

    /// A part was refused: its halves are next. Gives back an item that stands alone.
    pub(super) fn refuse(&mut self, mut part: Vec<T>) -> Option<T> {
        self.refused.0 += 1;
        if part.len() > 1 {
            self.halve(part);
            return None;
        }
        self.refused.1 += 1;
        part.pop()
    }

    /// The halves of these are next; one item stays alone.
    pub(super) fn halve(&mut self, mut part: Vec<T>) {
        let second = part.split_off(part.len() / 2);
        self.parts.extend([second, part].into_iter().filter(|half| !half.is_empty()));
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What was not sent.
    pub(super) fn rest(self) -> Vec<T> {
        self.parts.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a batch of 100 of which these are refused; gives the calls until something was accepted, all calls, and
    /// what was refused alone.
    fn calls(refused: &[u32]) -> (u32, u32, Vec<u32>) {
        let mut parts = Parts::new([(0..100).collect::<Vec<u32>>()].into_iter());
        let (mut before, mut calls, mut alone) = (0, 0, Vec::new());
        while let Some(part) = parts.next() {
            calls += 1;
            if part.iter().any(|item| refused.contains(item)) {
                alone.extend(parts.refuse(part));
            } else {
                parts.accept();
            }
            before += u32::from(!parts.accepted());
        }
        alone.sort_unstable();
        (before, calls, alone)
    }

    #[test]
    fn what_is_refused_is_found_and_something_is_accepted_soon() {
        assert_eq!(calls(&[]), (0, 1, vec![]));
        for refused in [vec![0], vec![99], vec![0, 1, 2], vec![0, 50], vec![0, 25, 50, 75], (0..50).collect()] {
            let (before, all, alone) = calls(&refused);
            assert_eq!(alone, refused);
            assert!(before <= 15, "{before} calls until something was accepted: {refused:?}");
            assert!(all as usize <= 1 + 14 * refused.len(), "{all} calls: {refused:?}");
        }
        let everything: Vec<u32> = (0..100).collect();
        assert_eq!(calls(&everything), (199, 199, everything.clone()));
    }
}
