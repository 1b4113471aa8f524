//! A small seeded generator, so that the same seed always tells the same story.

/// SplitMix64: eight bytes of state, no warm-up, and any `(seed, topic, index)`
/// can be turned into an independent stream without walking the ones before.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream that belongs to one thing: `topic` separates streams that
    /// share an index, such as a candidate's record and that candidate's CV.
    pub(crate) fn of(seed: u64, topic: &str, index: u64) -> Self {
        let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in topic.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut random = Self(state ^ index.wrapping_mul(GOLDEN_GAMMA));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap_or(0)]
    }

    /// Up to `count` different members of `list`, in the list's order.
    pub(crate) fn some<'a, T>(&mut self, list: &'a [T], count: usize) -> Vec<&'a T> {
        let mut wanted = count.min(list.len()) as u64;
        let mut chosen = Vec::new();
        for (position, item) in list.iter().enumerate() {
            let left = (list.len() - position) as u64;
            if self.below(left) < wanted {
                chosen.push(item);
                wanted -= 1;
            }
        }
        chosen
    }

    /// Fisher-Yates.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for position in (1..list.len()).rev() {
            let other = usize::try_from(self.below(position as u64 + 1)).unwrap_or(0);
            list.swap(position, other);
        }
    }

    /// A GUID in the upper-case writing that tenant-made ids carry.
    pub(crate) fn guid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08X}-{:04X}-4{:03X}-{:04X}-{:012X}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_topic_another_one() {
        let draw = |seed, topic| {
            let mut random = Random::of(seed, topic, 3);
            [random.next(), random.next()]
        };
        assert_eq!(draw(1, "vacancy"), draw(1, "vacancy"));
        assert_ne!(draw(1, "vacancy"), draw(1, "candidate"));
        assert_ne!(draw(1, "vacancy"), draw(2, "vacancy"));
    }

    #[test]
    fn some_gives_exactly_the_count_asked_for() {
        let list = [1, 2, 3, 4, 5, 6];
        for index in 0..50 {
            assert_eq!(Random::of(1, "some", index).some(&list, 3).len(), 3);
        }
        assert_eq!(Random::of(1, "some", 0).some(&list, 9).len(), 6);
    }
}
