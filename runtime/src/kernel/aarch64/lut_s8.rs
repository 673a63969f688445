//! Tables of bytes, 16 elements at a time.
//!
//! Where channels have tables of their own, a block of channels is looked up in one table that occurs in it after the other,
//! over all rows, so that the table stays in registers:
//!
//! ```text
//! for 64 channels: for each of their tables: for each row: dst[channels of the table] = table[src]
//! ```

use super::level::Level;
use super::neon::*;
use crate::kernel::scalar;

/// Elements at a time.
const CHUNK: usize = 16;
/// Channels at a time.
const BLOCK: usize = 64;
/// Tables among the channels of a block up to which looking all of them up pays.
const MAX_TABLES: usize = 4;
/// Groups of 16 pixels that share a load of a table.
const GROUPS: usize = 4;
/// Bytes of a group of pixels.
const GROUP_BYTES: usize = 48;

/// `dst[i] = table[src[i] + 128]`.
pub(super) fn lut_s8<L: Level>(_: L, table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    let table = Table::new(table);
    let (dst, last_dst) = dst.as_chunks_mut::<CHUNK>();
    let (src, last_src) = src.as_chunks::<CHUNK>();
    for (dst, src) in dst.iter_mut().zip(src) {
        store_i8x16(dst, table.look_up_signed(load_i8x16(src)));
    }
    store_up_to_i8x16(last_dst, table.look_up_signed(load_up_to_i8x16(last_src)));
}

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`.
pub(super) fn lut_channels_s8<L: Level>(
    _: L,
    tables: &[[i8; 256]],
    index: &[u8],
    src: &[i8],
    dst: &mut [i8],
) {
    let channels = index.len();
    for (block, index) in index.chunks(BLOCK).enumerate() {
        let start = block * BLOCK;
        let rows = || src.chunks(channels).filter(|src| src.len() > start);
        let part = |src: &[i8]| start..src.len().min(start + index.len());
        let Some((kinds, count)) = kinds(index) else {
            for (dst, src) in dst.chunks_mut(channels).zip(rows()) {
                let part = part(src);
                scalar::lut_channels_s8(tables, index, &src[part.clone()], &mut dst[part]);
            }
            continue;
        };
        for &kind in &kinds[..count] {
            let table = Table::new(&tables[usize::from(kind)]);
            let kind = vdupq_n_s8(kind as i8);
            for (dst, src) in dst.chunks_mut(channels).zip(rows()) {
                let part = part(src);
                table.look_up_some(index, kind, &src[part.clone()], &mut dst[part]);
            }
        }
    }
}

/// The tables that occur, and how many; `None` for too many.
fn kinds(index: &[u8]) -> Option<([u8; MAX_TABLES], usize)> {
    let (mut kinds, mut count) = ([0; MAX_TABLES], 0);
    for kind in index {
        if !kinds[..count].contains(kind) {
            *kinds.get_mut(count)? = *kind;
            count += 1;
        }
    }
    Some((kinds, count))
}

/// `dst[i, c] = tables[c][src[i, c]]` of pixels.
pub(super) fn lut_rgb_u8<L: Level>(_: L, tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
    let (whole, rest) = src.as_chunks::<{ GROUPS * GROUP_BYTES }>();
    let (whole_dst, rest_dst) = dst.as_chunks_mut::<{ GROUPS * GROUP_BYTES }>();
    for (dst, src) in whole_dst.iter_mut().zip(whole) {
        look_up_pixels(tables, src, dst);
    }
    scalar::lut_rgb_u8(tables, rest, rest_dst);
}

/// Four groups of pixels, a channel after the other.
#[inline(always)]
fn look_up_pixels(
    tables: &[[i8; 256]; 3],
    src: &[u8; GROUPS * GROUP_BYTES],
    dst: &mut [i8; GROUPS * GROUP_BYTES],
) {
    let zero = vdupq_n_s8(0);
    let mut groups = [int8x16x3_t(zero, zero, zero); GROUPS];
    for (group, src) in groups.iter_mut().zip(src.as_chunks::<GROUP_BYTES>().0) {
        *group = load_rgb(src);
    }
    let table = Table::new(&tables[0]);
    groups
        .iter_mut()
        .for_each(|group| group.0 = table.look_up(group.0));
    let table = Table::new(&tables[1]);
    groups
        .iter_mut()
        .for_each(|group| group.1 = table.look_up(group.1));
    let table = Table::new(&tables[2]);
    groups
        .iter_mut()
        .for_each(|group| group.2 = table.look_up(group.2));
    for (group, dst) in groups.into_iter().zip(dst.as_chunks_mut::<GROUP_BYTES>().0) {
        store_rgb(dst, group);
    }
}

/// A table of 256 bytes as four of 64, each looking at the bytes that the others leave alone.
struct Table([int8x16x4_t; 4]);

impl Table {
    #[inline(always)]
    fn new(table: &[i8; 256]) -> Self {
        let quarter = |quarter: usize| {
            let vector = |v: usize| load_i8x16(&table[quarter * 64 + v * 16..]);
            int8x16x4_t(vector(0), vector(1), vector(2), vector(3))
        };
        Self([quarter(0), quarter(1), quarter(2), quarter(3)])
    }

    /// By bytes with a sign, the smallest of which is first in the table.
    #[inline(always)]
    fn look_up_signed(&self, bytes: int8x16_t) -> int8x16_t {
        self.look_up(veorq_s8(bytes, vdupq_n_s8(i8::MIN)))
    }

    /// By bytes without a sign.
    #[inline(always)]
    fn look_up(&self, bytes: int8x16_t) -> int8x16_t {
        let step = vdupq_n_s8(64);
        // A place outside of 0..64 gives 0 in the first look, and leaves what is there in the others.
        let mut place = bytes;
        let mut found = vqtbl4q_s8(self.0[0], vreinterpretq_u8_s8(place));
        for table in &self.0[1..] {
            place = vsubq_s8(place, step);
            found = vqtbx4q_s8(found, *table, vreinterpretq_u8_s8(place));
        }
        found
    }

    /// A row of a block, the channels of table `kind` alone.
    #[inline(always)]
    fn look_up_some(&self, index: &[u8], kind: int8x16_t, src: &[i8], dst: &mut [i8]) {
        let chunks = dst.chunks_mut(CHUNK).zip(src.chunks(CHUNK));
        for ((dst, src), index) in chunks.zip(index.chunks(CHUNK)) {
            let mine = vceqq_s8(load_up_to_u8x16(index), kind);
            let found = self.look_up_signed(load_up_to_i8x16(src));
            let kept = vbslq_s8(mine, found, load_up_to_i8x16(dst));
            store_up_to_i8x16(dst, kept);
        }
    }
}
