//! The random numbers of training: xoshiro256** (Blackman and Vigna, 2018), seeded by SplitMix64.
//!
//! A generator of our own because its whole state goes into a checkpoint: four words, after which a resumed run draws what
//! the uninterrupted run would have drawn. It is not for secrets.

/// A generator whose state is four words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator for `seed`; every seed gives a different sequence.
    pub(crate) fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// The generator in a saved state, or `None` for the all-zero state, which it can never reach.
    pub(crate) fn from_state(state: [u64; 4]) -> Option<Self> {
        (state != [0; 4]).then_some(Self { state })
    }

    /// The state to save.
    pub(crate) fn state(&self) -> [u64; 4] {
        self.state
    }

    /// 64 random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..count`, each as likely as the next to within 2⁻⁶⁴·`count`.
    ///
    /// # Panics
    /// When `count` is 0.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        assert!(count > 0, "an index needs at least one choice");
        ((u128::from(self.next_u64()) * count as u128) >> 64) as usize
    }

    /// A number in `0.0..1.0` with 24 random bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// `count` numbers of mean 0, uniform, with a standard `deviation`.
    pub(crate) fn spread(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        let bound = 3f32.sqrt() * deviation;
        (0..count)
            .map(|_| bound * (2.0 * self.unit() - 1.0))
            .collect()
    }

    /// `count` different numbers of `0..from`, in random order (the front of a Fisher-Yates shuffle).
    ///
    /// # Panics
    /// When `count` exceeds `from`.
    pub(crate) fn distinct(&mut self, count: usize, from: usize) -> Vec<usize> {
        assert!(count <= from, "{count} different numbers asked of {from}");
        let mut pool: Vec<usize> = (0..from).collect();
        for i in 0..count {
            let j = i + self.index(from - i);
            pool.swap(i, j);
        }
        pool.truncate(count);
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_first_word_is_the_published_one() {
        // State 1, 2, 3, 4 gives 11520, 0, 1509978240 in the authors' C code.
        let mut rng = Rng::from_state([1, 2, 3, 4]).unwrap();
        assert_eq!(
            [rng.next_u64(), rng.next_u64(), rng.next_u64()],
            [11520, 0, 1_509_978_240]
        );
    }

    #[test]
    fn a_saved_state_continues_the_sequence() {
        let mut rng = Rng::new(7);
        rng.unit();
        let mut again = Rng::from_state(rng.state()).unwrap();
        for _ in 0..10 {
            assert_eq!(rng.next_u64(), again.next_u64());
        }
    }

    #[test]
    fn the_zero_state_is_refused() {
        assert!(Rng::from_state([0; 4]).is_none());
    }

    #[test]
    fn distinct_numbers_are_distinct_and_in_range() {
        let mut rng = Rng::new(1);
        let mut drawn = rng.distinct(50, 60);
        assert!(drawn.iter().all(|&i| i < 60));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 50);
    }
}
