//! Integer matrix product: 2 rows by 16 channels of sums in registers.
//!
//! Both rows are widened to 16 bits in scratch once; a block of weights is widened as it is read. One `vpmaddwd` sums the
//! products of 4 channels with 2 pairs of inputs, so a channel has two sums, which are added at the end.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i32x8, store_i8x16, store_i16x8};
use super::requantize::{Channels, Outputs};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS, block_width_s8};
use crate::kernel::{DstS8, GemmS8, Requantize, scalar};

/// Rows of sums in registers.
pub(super) const ROWS: usize = 2;
/// Blocks of 16 channels whose requantisation is kept on the stack at once.
const CHUNK_BLOCKS: usize = 16;

/// See [`GemmS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn gemm_s8(args: GemmS8<'_>) {
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = args.requantize;
    let Some(outputs) = Outputs::new(zero_point, [clamp_min, clamp_max], args.dst.limits()) else {
        return scalar::gemm_s8(args);
    };
    let GemmS8 {
        rows,
        k,
        n,
        lhs,
        weights,
        requantize,
        mut dst,
        scratch,
        layout: _,
    } = args;
    let product = Product {
        k,
        n,
        weights,
        requantize,
        outputs,
    };
    let wide_bytes = 2 * k.next_multiple_of(GROUP_INPUTS);
    product.for_each_tile(rows, |chunk, row, count| {
        for (index, wide) in scratch[..count * wide_bytes]
            .chunks_exact_mut(wide_bytes.max(1))
            .enumerate()
        {
            widen(&lhs[(row + index) * k..][..k], wide);
        }
        product.tile(chunk, &scratch[..count * wide_bytes], &mut dst, row, count);
    });
}

/// Bytes to 16 bits; zeros at the end of `wide`.
#[target_feature(enable = "avx2")]
pub(super) fn widen(narrow: &[i8], wide: &mut [u8]) {
    let (body, end) = wide.split_at_mut(2 * narrow.len());
    for (wide, narrow) in body.chunks_exact_mut(2).zip(narrow) {
        wide.copy_from_slice(&i16::from(*narrow).to_ne_bytes());
    }
    end.fill(0);
}

/// A matrix of weights and what becomes of the sums.
#[derive(Debug)]
pub(super) struct Product<'a> {
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) weights: &'a [i8],
    pub(super) requantize: Requantize<'a>,
    pub(super) outputs: Outputs,
}

/// Requantisation of up to [`CHUNK_BLOCKS`] blocks: bias and factors of both halves.
#[derive(Debug)]
pub(super) struct Chunk {
    channel: usize,
    len: usize,
    blocks: [[(__m256i, Channels); 2]; CHUNK_BLOCKS],
}

impl Product<'_> {
    /// Calls `tile` with every pair of rows for every chunk of channels: the chunk, the first row, and the number of rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn for_each_tile(&self, rows: usize, mut tile: impl FnMut(&Chunk, usize, usize)) {
        for channel in (0..self.n).step_by(CHUNK_BLOCKS * BLOCK_CHANNELS) {
            let chunk = self.chunk(channel);
            for row in (0..rows).step_by(ROWS) {
                tile(&chunk, row, ROWS.min(rows - row));
            }
        }
    }

    /// Prepares the blocks from `channel` on.
    #[target_feature(enable = "avx2")]
    fn chunk(&self, channel: usize) -> Chunk {
        let len = (self.n - channel)
            .div_ceil(BLOCK_CHANNELS)
            .min(CHUNK_BLOCKS);
        let zero = _mm256_setzero_si256();
        let mut blocks = [[(zero, Channels::new(zero, zero)); 2]; CHUNK_BLOCKS];
        for (index, half) in blocks[..len].as_flattened_mut().iter_mut().enumerate() {
            let start = self.n.min(channel + 8 * index);
            let channels = start..self.n.min(start + 8);
            let shift = load_i8x16(&self.requantize.shift[channels.clone()]);
            let multiplier = load_i32x8(&self.requantize.multiplier[channels.clone()]);
            let bias = load_i32x8(&self.requantize.bias[channels]);
            *half = (bias, Channels::new(multiplier, _mm256_cvtepi8_epi32(shift)));
        }
        Chunk {
            channel,
            len,
            blocks,
        }
    }

    /// `count` rows of `dst` from `row` on in the channels of `chunk`; `wide` is (count, k rounded up to 4) in 16 bits.
    #[target_feature(enable = "avx2")]
    pub(super) fn tile(
        &self,
        chunk: &Chunk,
        wide: &[u8],
        dst: &mut DstS8<'_>,
        row: usize,
        count: usize,
    ) {
        let k = self.k.next_multiple_of(GROUP_INPUTS);
        for (index, block) in chunk.blocks[..chunk.len].iter().enumerate() {
            let channel = chunk.channel + index * BLOCK_CHANNELS;
            let width = block_width_s8(self.n, channel);
            let weights = &self.weights[channel * k..][..width * k];
            // With one row left, it is computed twice.
            let rows = [&wide[..2 * k], &wide[(count - 1) * 2 * k..]];
            let sums = if width == BLOCK_CHANNELS {
                dot_tile(rows, weights, BLOCK_CHANNELS)
            } else {
                dot_tile(rows, weights, width)
            };
            for (index, sums) in sums.into_iter().enumerate().take(count) {
                self.write(block, sums, dst, row + index, channel);
            }
        }
    }

    /// Requantises the sums of 16 channels of a row and writes them.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn write(
        &self,
        block: &[(__m256i, Channels); 2],
        sums: [__m256i; 2],
        dst: &mut DstS8<'_>,
        row: usize,
        channel: usize,
    ) {
        let [(low_bias, low), (high_bias, high)] = block;
        let values = [
            low.apply(_mm256_add_epi32(sums[0], *low_bias)),
            high.apply(_mm256_add_epi32(sums[1], *high_bias)),
        ];
        let span = row * self.n + channel..row * self.n + self.n.min(channel + BLOCK_CHANNELS);
        match dst {
            DstS8::I8(dst) => store_i8x16(&mut dst[span], self.outputs.to_i8(values)),
            DstS8::I16(dst) => {
                let dst = &mut dst[span];
                let (low, high) = dst.split_at_mut(dst.len().min(8));
                store_i16x8(low, self.outputs.to_i16(values[0]));
                store_i16x8(high, self.outputs.to_i16(values[1]));
            }
        }
    }
}

/// Two rows of 16-bit inputs times a block of `width` channels.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot_tile(rows: [&[u8]; ROWS], weights: &[i8], width: usize) -> [[__m256i; 2]; ROWS] {
    let mut sums = [[_mm256_setzero_si256(); 4]; ROWS];
    let groups = weights.chunks_exact(width * GROUP_INPUTS);
    let inputs = rows[0].chunks_exact(8).zip(rows[1].chunks_exact(8));
    for (group, (first, second)) in groups.zip(inputs) {
        let inputs = [broadcast(first), broadcast(second)];
        for index in 0..4 {
            if index * 16 < group.len() {
                let four = _mm256_cvtepi8_epi16(load_i8x16(&group[index * 16..][..16]));
                for row in 0..ROWS {
                    let products = _mm256_madd_epi16(four, inputs[row]);
                    sums[row][index] = _mm256_add_epi32(sums[row][index], products);
                }
            }
        }
    }
    sums.map(|[a, b, c, d]| [add_pairs(a, b), add_pairs(c, d)])
}

/// 8 bytes in every quarter.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(bytes: &[u8]) -> __m256i {
    let mut value = [0; 8];
    value.copy_from_slice(bytes);
    _mm256_set1_epi64x(i64::from_ne_bytes(value))
}

/// The sums of neighbouring lanes, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(low: __m256i, high: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}
