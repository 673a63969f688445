//! The arena of a run: one stretch of bytes in which every value has its place, and the typed views of it.
//!
//! The operands of one operator are split off without overlap: the output and the scratch are borrowed mutably, what is
//! left around them is shared, so that two inputs may be the same value. The casts are `zerocopy`'s; a failed split or
//! cast is `None`, which `Model::load` proved not to happen.

use crate::model::format::ALIGN_BYTES;
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The arena, split for one operator.
pub(crate) struct Split<'r> {
    pub(crate) output: &'r mut [u8],
    pub(crate) scratch: &'r mut [u8],
    /// What lies around the two, with its offsets in the arena.
    rest: [(usize, &'r [u8]); 3],
}

impl<'r> Split<'r> {
    /// Splits off `output` and `scratch`; `None` when they overlap or lie outside of the arena.
    pub(crate) fn new(
        arena: &'r mut [u8],
        output: Range<usize>,
        scratch: Range<usize>,
    ) -> Option<Self> {
        // An empty scratch could lie in the middle of the output, where it would cut it.
        let scratch = if scratch.is_empty() {
            arena.len()..arena.len()
        } else {
            scratch
        };
        let output_first = output.start <= scratch.start;
        let (first, second) = if output_first {
            (output, scratch)
        } else {
            (scratch, output)
        };
        let (middle_start, tail_start) = (first.end, second.end);
        let (head, arena) = arena.split_at_mut_checked(first.start)?;
        let (one, arena) = arena.split_at_mut_checked(first.end.checked_sub(first.start)?)?;
        let (middle, arena) = arena.split_at_mut_checked(second.start.checked_sub(first.end)?)?;
        let (two, tail) = arena.split_at_mut_checked(second.end.checked_sub(second.start)?)?;
        let (output, scratch) = if output_first { (one, two) } else { (two, one) };
        Some(Self {
            output,
            scratch,
            rest: [(0, head), (middle_start, middle), (tail_start, tail)],
        })
    }

    /// Bytes of an input, which overlaps neither output nor scratch.
    pub(crate) fn input(&self, range: Range<usize>) -> Option<&'r [u8]> {
        self.rest.iter().find_map(|&(start, bytes)| {
            let from = range.start.checked_sub(start)?;
            bytes.get(from..range.end.checked_sub(start)?)
        })
    }
}

/// Bytes as elements; `None` when they are misaligned or no whole number.
pub(crate) fn elements<T: FromBytes + Immutable>(bytes: &[u8]) -> Option<&[T]> {
    <[T]>::ref_from_bytes(bytes).ok()
}

/// See [`elements`].
pub(crate) fn elements_mut<T: FromBytes + IntoBytes>(bytes: &mut [u8]) -> Option<&mut [T]> {
    <[T]>::mut_from_bytes(bytes).ok()
}

/// True when `bytes` starts at a boundary that every value may start at.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGN_BYTES)
}

/// A buffer on the heap that starts at a 16-byte boundary, for models and arenas of hosts.
#[cfg(feature = "std")]
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    words: std::vec::Vec<u128>,
    len: usize,
}

#[cfg(feature = "std")]
impl AlignedBytes {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self {
            words: std::vec![0; len.div_ceil(size_of::<u128>())],
            len,
        }
    }

    /// A copy of `bytes`.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut aligned = Self::zeroed(bytes.len());
        aligned.copy_from_slice(bytes);
        aligned
    }
}

#[cfg(feature = "std")]
const _: () = assert!(align_of::<u128>() >= ALIGN_BYTES);

#[cfg(feature = "std")]
impl core::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

#[cfg(feature = "std")]
impl core::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_gives_what_lies_around_output_and_scratch() {
        let mut arena: [u8; 20] = core::array::from_fn(|i| i as u8);
        for (output, scratch) in [
            (4..8, 12..14),
            (12..14, 4..8),
            (4..8, 8..12),
            (0..4, 16..20),
            (4..8, 6..6),
        ] {
            let split = Split::new(&mut arena, output.clone(), scratch.clone()).unwrap();
            assert_eq!(split.output.first().copied(), Some(output.start as u8));
            assert_eq!(
                (split.output.len(), split.scratch.len()),
                (output.len(), scratch.len())
            );
            for start in 0..20 {
                for end in start + 1..=20 {
                    let apart = |other: &Range<usize>| {
                        other.is_empty() || end <= other.start || other.end <= start
                    };
                    let found = split.input(start..end);
                    assert_eq!(
                        found.is_some(),
                        apart(&output) && apart(&scratch),
                        "{start}..{end}"
                    );
                    assert!(
                        found.is_none_or(
                            |bytes| bytes[0] == start as u8 && bytes.len() == end - start
                        )
                    );
                }
            }
        }
    }

    #[test]
    fn a_split_that_overlaps_or_leaves_the_arena_is_none() {
        let mut arena = [0u8; 20];
        for (output, scratch) in [
            (4..8, 6..10),
            (6..10, 4..8),
            (4..8, 4..8),
            (16..24, 0..4),
            (0..4, 16..24),
        ] {
            assert!(Split::new(&mut arena, output, scratch).is_none());
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn aligned_bytes_start_at_a_boundary_and_have_their_length() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let bytes: std::vec::Vec<u8> = (0..len).map(|i| i as u8).collect();
            let aligned = AlignedBytes::from_slice(&bytes);
            assert!(is_aligned(&aligned) && *aligned == *bytes);
            assert_eq!(AlignedBytes::zeroed(len).len(), len);
        }
    }
}
