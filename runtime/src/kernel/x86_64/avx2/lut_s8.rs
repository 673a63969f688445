//! Tables of bytes, 32 elements at a time: 16 tables of 16 bytes, looked up one after the other.
//!
//! A shuffle of bytes looks up the lower half of an index and gives 0 where its top bit is set. Of the indexes from 0 on, the
//! table of the first 16 serves all, and each further one holds what turns the one before into its own; indexes lowered by
//! 16 a step drop out below 0. Indexes below 0 are raised by 128 and do the same with the other half of the table.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, store_i8x16};
use crate::kernel::scalar;

/// Neighbouring channels that have vectors of their own where they share a table.
const BLOCK: usize = 64;

/// `dst[i] = table[src[i] + 128]`.
#[target_feature(enable = "avx2")]
pub(crate) fn lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    Changes::new(table).look_up(src, dst);
}

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`. A vector has one table, so that only blocks of channels with one gain.
#[target_feature(enable = "avx2")]
pub(crate) fn lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
    let channels = index.len();
    let has_one_table = |index: &[u8]| index.iter().all(|&table| table == index[0]);
    if !index.chunks(BLOCK).any(has_one_table) {
        return scalar::lut_channels_s8(tables, index, src, dst);
    }
    for (block, index) in index.chunks(BLOCK).enumerate() {
        let start = block * BLOCK;
        let changes = has_one_table(index).then(|| Changes::new(&tables[usize::from(index[0])]));
        let rows = dst.chunks_mut(channels).zip(src.chunks(channels));
        for (dst, src) in rows.filter(|(_, src)| src.len() > start) {
            let end = src.len().min(start + index.len());
            let (dst, src) = (&mut dst[start..end], &src[start..end]);
            match &changes {
                Some(changes) => changes.look_up(src, dst),
                None => scalar::lut_channels_s8(tables, index, src, dst),
            }
        }
    }
}

/// `dst[i, c] = tables[c][src[i, c]]` of pixels. Three tables for each vector would not pay.
#[target_feature(enable = "avx2")]
pub(crate) fn lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
    scalar::lut_rgb_u8(tables, src, dst);
}

/// A table, by halves: that of indexes from 0 on, and that of those below.
#[derive(Debug)]
struct Changes([[__m256i; 8]; 2]);

impl Changes {
    #[target_feature(enable = "avx2")]
    fn new(table: &[i8; 256]) -> Self {
        let mut changes = [[_mm256_setzero_si256(); 8]; 2];
        for (changes, table) in changes.iter_mut().zip([&table[128..], &table[..128]]) {
            let mut before = _mm_setzero_si128();
            for (change, sixteen) in changes.iter_mut().zip(table.chunks_exact(16)) {
                let own = load_i8x16(sixteen);
                *change = _mm256_broadcastsi128_si256(_mm_xor_si128(own, before));
                before = own;
            }
        }
        Self(changes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_up(&self, src: &[i8], dst: &mut [i8]) {
        for (dst, src) in dst.chunks_mut(32).zip(src.chunks(32)) {
            let (low, high) = src.split_at(src.len().min(16));
            let bytes = _mm256_set_m128i(load_i8x16(high), load_i8x16(low));
            let mut found = _mm256_setzero_si256();
            let mut indexes = [bytes, _mm256_xor_si256(bytes, _mm256_set1_epi8(i8::MIN))];
            for (index, changes) in indexes.iter_mut().zip(&self.0) {
                for &change in changes {
                    found = _mm256_xor_si256(found, _mm256_shuffle_epi8(change, *index));
                    *index = _mm256_subs_epi8(*index, _mm256_set1_epi8(16));
                }
            }
            let (first, second) = dst.split_at_mut(dst.len().min(16));
            store_i8x16(first, _mm256_castsi256_si128(found));
            store_i8x16(second, _mm256_extracti128_si256::<1>(found));
        }
    }
}
