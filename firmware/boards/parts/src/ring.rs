//! Which words of a ring may be taken while DMA fills it: arithmetic alone.
//!
//! The hardware counts the words that it has written since a frame began; what is written first is taken first. A word that was
//! taken may be overwritten, and one that was not must not: that is an overrun.

use zerocopy::IntoBytes;

/// Words as the bytes that they are in memory: on these chips the lowest byte of a word came first.
pub fn bytes(words: &[u32]) -> &[u8] {
    words.as_bytes()
}

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    ring_words: u32,
    total_words: u32,
    taken: u32,
}

/// What there is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Not so many words yet.
    Wait,
    /// As many words as were asked for, the first of them here in the ring; they may go on at its start.
    Take {
        /// Index of the first word.
        first: usize,
    },
    /// Words were overwritten before they were taken.
    Overrun,
    /// All words of the frame were taken.
    End,
}

impl Ring {
    /// A frame of `total_words` in a ring of `ring_words`.
    pub const fn new(ring_words: u32, total_words: u32) -> Self {
        Self {
            ring_words,
            total_words,
            taken: 0,
        }
    }

    /// Words of the frame.
    pub const fn total(&self) -> u32 {
        self.total_words
    }

    /// Whether `count` words can be taken when `written` were written since the start of the frame.
    pub const fn turn(&self, written: u32, count: u32) -> Turn {
        if self.taken >= self.total_words || self.ring_words == 0 {
            return Turn::End;
        }
        if self.is_lapped(written) {
            return Turn::Overrun;
        }
        if written - self.taken < count {
            return Turn::Wait;
        }
        Turn::Take {
            first: (self.taken % self.ring_words) as usize,
        }
    }

    /// `count` words were copied while the hardware wrote on; `written` was read after the copy.
    ///
    /// Returns whether the copy is sound.
    pub const fn took(&mut self, written: u32, count: u32) -> bool {
        if self.is_lapped(written) {
            return false;
        }
        self.taken += count;
        true
    }

    /// Whether a word that was not taken is overwritten. A count below what was taken is none of this frame.
    const fn is_lapped(&self, written: u32) -> bool {
        written < self.taken || written - self.taken > self.ring_words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sensor sends the bytes 1 to 8; the port shifts the first of four to the bottom of a word.
    #[test]
    fn the_first_byte_of_a_word_is_the_first_of_the_row() {
        let words = [0x0403_0201u32, 0x0807_0605].map(u32::to_le);
        assert_eq!(bytes(&words), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn words_are_taken_in_order_and_wrap() {
        let mut ring = Ring::new(8, 20);
        assert_eq!(ring.turn(4, 5), Turn::Wait);
        assert_eq!(ring.turn(5, 5), Turn::Take { first: 0 });
        assert!(ring.took(6, 5));
        assert_eq!(ring.turn(10, 5), Turn::Take { first: 5 });
        assert!(ring.took(12, 5));
        assert_eq!(ring.turn(15, 5), Turn::Take { first: 2 });
        assert!(ring.took(18, 5));
        assert_eq!(ring.turn(20, 5), Turn::Take { first: 7 });
        assert!(ring.took(20, 5));
        assert_eq!(ring.turn(20, 5), Turn::End);
    }

    #[test]
    fn a_full_ring_is_no_overrun_and_one_word_more_is() {
        let mut ring = Ring::new(8, 100);
        assert_eq!(ring.turn(8, 4), Turn::Take { first: 0 });
        assert_eq!(ring.turn(9, 4), Turn::Overrun);
        // Overwritten while it was copied.
        assert!(!ring.took(9, 4));
        assert!(ring.took(8, 4));
        assert_eq!(ring.turn(12, 4), Turn::Take { first: 4 });
        assert_eq!(ring.turn(13, 4), Turn::Overrun);
    }

    /// Every pace of the hardware, against a model that keeps what each cell holds.
    #[test]
    fn what_is_taken_is_what_was_written() {
        const RING: u32 = 6;
        for pace in 1..=9u32 {
            for count in 1..=RING {
                let total = count * 7;
                let (mut ring, mut cells, mut written) =
                    (Ring::new(RING, total), [u32::MAX; RING as usize], 0);
                let mut expected = 0;
                loop {
                    for _ in 0..pace.min(total - written) {
                        cells[(written % RING) as usize] = written;
                        written += 1;
                    }
                    match ring.turn(written, count) {
                        Turn::Take { first } => {
                            for step in 0..count {
                                assert_eq!(
                                    cells[(first + step as usize) % RING as usize],
                                    expected
                                );
                                expected += 1;
                            }
                            assert!(ring.took(written, count));
                        }
                        Turn::Wait => assert!(written < total),
                        Turn::Overrun => {
                            assert_ne!(cells[(expected % RING) as usize], expected);
                            break;
                        }
                        Turn::End => {
                            assert_eq!(expected, total);
                            break;
                        }
                    }
                }
            }
        }
    }
}
