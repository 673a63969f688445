//! The inner loop of every product: rows of unsigned bytes times blocks of weights by `vpdpbusd`.
//!
//! ```text
//! for each group of 4 inputs: for each row: for each block: sums += lhs · weights     16 channels of the group a vector
//! ```
//!
//! `vpdpbusd` multiplies unsigned by signed bytes. Signed rows are raised by 128, a flip of the top bit, before they come
//! here, and the starts take back what that adds: 128 · Σ weights. All of it wraps at 32 bits, so it is exact.

use core::arch::x86_64::*;

use super::super::attention::signed;
use super::memory::{load_i8, mask16, store_i8};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS};

/// Bytes of a group of a whole block.
pub(super) const GROUP_BYTES: usize = BLOCK_CHANNELS * GROUP_INPUTS;

/// Rows of bytes as `vpdpbusd` takes them, `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [u8],
    pub(super) pitch: usize,
}

/// `R` rows times `B` blocks over `groups` groups of inputs, onto `starts`. The blocks follow each other; with `NARROW`, the
/// last one has `last_width` channels, not 16. What lies at `ahead`, 64 bytes a group, is asked for meanwhile: weights that a
/// later call reads.
#[inline]
#[expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and block"
)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn dot_tile<const R: usize, const B: usize, const NARROW: bool>(
    lhs: Rows<'_>,
    groups: usize,
    weights: &[i8],
    last_width: usize,
    starts: [__m512i; B],
    ahead: *const i8,
) -> [[__m512i; R]; B] {
    let block_bytes = groups * GROUP_BYTES;
    let last_bytes = GROUP_INPUTS * if NARROW { last_width } else { BLOCK_CHANNELS };
    assert!(lhs.data.len() >= (R - 1) * lhs.pitch + groups * GROUP_INPUTS);
    assert!(weights.len() >= (B - 1) * block_bytes + groups * last_bytes);
    let last_mask = mask16(last_width);
    let mut sums: [[__m512i; R]; B] = core::array::from_fn(|b| [starts[b]; R]);
    for group in 0..groups {
        // A hint, which may name any address.
        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(group * GROUP_BYTES));
        let mut vectors = [_mm512_setzero_si512(); B];
        for b in 0..B {
            let narrow = NARROW && b == B - 1;
            let bytes = if narrow { last_bytes } else { GROUP_BYTES };
            // SAFETY: block b begins at `b * block_bytes` and has `bytes` bytes for each group, asserted above.
            let from = unsafe { weights.as_ptr().add(b * block_bytes + group * bytes) };
            vectors[b] = if narrow {
                // SAFETY: the mask leaves `last_width` lanes of 4 bytes, which are `bytes`.
                unsafe { _mm512_maskz_loadu_epi32(last_mask, from.cast()) }
            } else {
                // SAFETY: 64 bytes are `bytes`.
                unsafe { _mm512_loadu_si512(from.cast()) }
            };
        }
        for r in 0..R {
            // SAFETY: row r begins at `r * pitch` and has 4 bytes for each group, the last row too, asserted above.
            let from = unsafe { lhs.data.as_ptr().add(r * lhs.pitch + group * GROUP_INPUTS) };
            // SAFETY: as above, 4 bytes; any bytes are an i32.
            let four = unsafe { from.cast::<i32>().read_unaligned() };
            let four = _mm512_set1_epi32(four);
            for b in 0..B {
                sums[b][r] = _mm512_dpbusd_epi32(sums[b][r], four, vectors[b]);
            }
        }
    }
    sums
}

/// The sums of the weights of each channel of a block, `bytes` bytes a group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn sum_weights(block: &[i8], bytes: usize) -> __m512i {
    let ones = _mm512_set1_epi8(1);
    // Four sums, so that one product need not wait for the one before.
    let mut sums = [_mm512_setzero_si512(); 4];
    let mut groups = block.chunks_exact(4 * bytes);
    for four in &mut groups {
        for (sum, group) in sums.iter_mut().zip(four.chunks_exact(bytes)) {
            *sum = _mm512_dpbusd_epi32(*sum, ones, load_i8(group));
        }
    }
    for group in groups.remainder().chunks_exact(bytes) {
        sums[0] = _mm512_dpbusd_epi32(sums[0], ones, load_i8(group));
    }
    let [a, b, c, d] = sums;
    _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d))
}

/// Signed bytes to unsigned ones, 128 higher.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn raise(bytes: __m512i) -> __m512i {
    _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN))
}

/// Writes `src`, raised by 128, to the start of `dst`; beyond it, up to the next multiple of 64 that `dst` has, zeros raised
/// alike. Whole vectors are stored where `dst` has room, because masked stores of bytes are slow on some CPUs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn raise_row(src: &[i8], dst: &mut [u8]) {
    for (dst, src) in signed(dst).chunks_mut(64).zip(src.chunks(64)) {
        store_i8(dst, raise(load_i8(src)));
    }
}
