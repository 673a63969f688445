//! Bytes to 16 bits in scratch: for each group of 4 inputs a word with inputs 0 and 2 and a word with 1 and 3.

use super::instruction::{sxtb16, sxtb16_odd};
use crate::kernel::packing::GROUP_INPUTS;

/// Bytes that are collected before they are widened.
const STAGE: usize = 256;

/// Rows of scratch, `rows` of them interleaved group by group.
pub(super) struct Wide<'a> {
    /// (groups, rows, 2)
    pub(super) words: &'a mut [u32],
    pub(super) rows: usize,
}

impl Wide<'_> {
    /// Writes `bytes`, whole groups but for the last one, to `row` from `group` on.
    #[inline]
    pub(super) fn put(&mut self, row: usize, group: usize, bytes: &[i8]) {
        if bytes.is_empty() {
            return;
        }
        let words = &mut self.words[2 * (group * self.rows + row)..];
        let (groups, rest) = bytes.as_chunks::<GROUP_INPUTS>();
        let mut places = words.chunks_mut(2 * self.rows);
        for (group, place) in groups.iter().zip(&mut places) {
            let word = u32::from_le_bytes(group.map(|byte| byte as u8));
            place[0] = sxtb16(word);
            place[1] = sxtb16_odd(word);
        }
        if let (false, Some(place)) = (rest.is_empty(), places.next()) {
            let mut group = [0; GROUP_INPUTS];
            group[..rest.len()].copy_from_slice(rest);
            let word = u32::from_le_bytes(group.map(|byte| byte as u8));
            place[0] = sxtb16(word);
            place[1] = sxtb16_odd(word);
        }
    }
}

/// Collects the pieces of a row, whose ends need not be ends of groups.
pub(super) struct Stage {
    bytes: [i8; STAGE],
    len: usize,
    group: usize,
}

impl Stage {
    /// Of a new row.
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; STAGE],
            len: 0,
            group: 0,
        }
    }

    /// Begins another row.
    pub(super) fn restart(&mut self) {
        (self.len, self.group) = (0, 0);
    }

    /// Appends `len` bytes that `fill` writes, in parts.
    #[inline]
    pub(super) fn append(
        &mut self,
        wide: &mut Wide<'_>,
        row: usize,
        len: usize,
        mut fill: impl FnMut(usize, &mut [i8]),
    ) {
        let mut done = 0;
        while done < len {
            let count = (len - done).min(STAGE - self.len);
            fill(done, &mut self.bytes[self.len..][..count]);
            self.len += count;
            done += count;
            if self.len == STAGE {
                self.flush(wide, row);
            }
        }
    }

    /// Widens what is left.
    pub(super) fn flush(&mut self, wide: &mut Wide<'_>, row: usize) {
        wide.put(row, self.group, &self.bytes[..self.len]);
        self.group += self.len / GROUP_INPUTS;
        self.len = 0;
    }
}
