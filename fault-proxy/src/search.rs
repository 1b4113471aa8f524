/// As many bytes as a pattern may be long.
const KEPT: usize = 1024;

/// The end of a stream, in which a pattern may have begun.
#[derive(Default)]
pub(crate) struct Search {
    last: Vec<u8>,
}

impl Search {
    /// How often the pattern ends within these next bytes of the stream.
    pub(crate) fn occurrences(&self, pattern: &[u8], next: &[u8]) -> u64 {
        let begun = pattern.len().saturating_sub(1).min(self.last.len());
        let text = [&self.last[self.last.len() - begun..], next].concat();
        if pattern.is_empty() {
            return 0;
        }
        text.windows(pattern.len()).filter(|window| *window == pattern).count() as u64
    }

    /// These bytes have gone by.
    pub(crate) fn went_by(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let surplus = self.last.len().saturating_sub(KEPT);
        self.last.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_once_wherever_the_stream_is_divided() {
        let stream = b"..needle.needneedle";
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut search = Search::default();
                let mut found = 0;
                for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                    found += search.occurrences(b"needle", part);
                    search.went_by(part);
                }
                assert_eq!(found, 2, "divided at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_kept_of_a_stream_is_bounded_and_its_end() {
        let mut search = Search::default();
        search.went_by(&[b'x'; 5000]);
        search.went_by(b"nee");
        assert_eq!(search.last.len(), KEPT);
        assert_eq!(search.occurrences(b"needle", b"dle"), 1);
    }
}
