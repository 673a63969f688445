//! Integer matrix product: 8 rows by up to 48 channels of sums in registers.
//!
//! ```text
//! for 256 channels: starts = bias − 128 · Σ weights
//!     for 8 rows: raised = lhs + 128
//!         for 48 channels: dst = requantize(starts + raised · weights)      see super::dot_tile
//! ```

use core::arch::x86_64::*;

use super::dot_tile::{Rows, dot_tile, raise_row, sum_weights};
use super::memory::{store_i8, store_i16x16};
use super::requantize::{Channels, Outputs8, Path};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS, block_width_s8};
use crate::kernel::{DstS8, GemmS8, Requantize, TILE_ROWS, scalar};

/// Blocks of 16 channels whose requantisation is kept on the stack at once.
pub(super) const CHUNK_BLOCKS: usize = 16;

/// See [`GemmS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn gemm_s8(args: GemmS8<'_>) {
    let Some(outputs) = Outputs::new(&args.requantize, &args.dst) else {
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
    let pitch = k.next_multiple_of(GROUP_INPUTS);
    for first_block in (0..n.div_ceil(BLOCK_CHANNELS)).step_by(CHUNK_BLOCKS) {
        let chunk = product.chunk(first_block);
        let mut row = 0;
        while row < rows {
            let tile = tile_rows(rows - row);
            let src = &lhs[row * k..][..tile * k];
            if pitch == k {
                raise_row(src, &mut scratch[..src.len().next_multiple_of(64)]);
            } else {
                let row_bytes = k.next_multiple_of(64);
                for (index, src) in src.chunks_exact(k).enumerate() {
                    raise_row(src, &mut scratch[index * pitch..][..row_bytes]);
                }
            }
            product.tile(&chunk, scratch, tile, &mut dst, row);
            row += tile;
        }
    }
}

/// Rows of the next tile when `left` are left: 8; 7 where tiles of 7 and 8 use up what tiles of 8 would not; else 4, 2 or 1.
pub(super) fn tile_rows(left: usize) -> usize {
    let short = TILE_ROWS - 1;
    if !left.is_multiple_of(TILE_ROWS) && left >= left.div_ceil(TILE_ROWS) * short {
        return short;
    }
    [TILE_ROWS, 4, 2, 1]
        .into_iter()
        .find(|&rows| rows <= left)
        .unwrap_or(1)
}

/// Where and how outputs are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outputs {
    I8(Outputs8),
    /// Smallest and largest output.
    I16([i16; 2]),
}

impl Outputs {
    /// `None` for a zero point outside what the vectors handle.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(requantize: &Requantize<'_>, dst: &DstS8<'_>) -> Option<Self> {
        let &Requantize {
            zero_point,
            clamp_min,
            clamp_max,
            ..
        } = requantize;
        match dst {
            DstS8::I8(_) => Outputs8::new(zero_point, clamp_min, clamp_max).map(Self::I8),
            DstS8::I16(_) => (zero_point == 0).then_some(Self::I16(
                [clamp_min, clamp_max].map(|bound| bound.clamp(-32768, 32767) as i16),
            )),
        }
    }
}

/// Repeats `$body` for the rows `$r` of a tile of `R`, or for its blocks `$b` of `B`.
///
/// Written out with literal indices, because the compiler keeps vectors in registers only where it knows their index early,
/// and it does not unroll loops of this size.
macro_rules! unrolled {
    ($r:ident < R: $body:expr) => {
        unrolled!(@ $r, R, [0 1 2 3 4 5 6 7], $body)
    };
    ($b:ident < B: $body:expr) => {
        unrolled!(@ $b, B, [0 1 2], $body)
    };
    (@ $index:ident, $end:ident, [$($literal:literal)*], $body:expr) => {
        $(if $literal < $end {
            #[allow(non_upper_case_globals, reason = "reads like the variable of a loop")]
            const $index: usize = $literal;
            $body;
        })*
    };
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

/// Requantisation of up to [`CHUNK_BLOCKS`] blocks, the correction for raised inputs in the bias.
#[derive(Debug)]
pub(super) struct Chunk {
    first_block: usize,
    len: usize,
    blocks: [Channels; CHUNK_BLOCKS],
}

impl Product<'_> {
    /// Prepares the blocks from `first_block` on.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn chunk(&self, first_block: usize) -> Chunk {
        let len = (self.n.div_ceil(BLOCK_CHANNELS) - first_block).min(CHUNK_BLOCKS);
        let mut blocks = [Channels::uniform(0, 0); CHUNK_BLOCKS];
        for (index, block) in blocks[..len].iter_mut().enumerate() {
            let channel = (first_block + index) * BLOCK_CHANNELS;
            *block = Channels::new(&self.requantize, channel, self.n, self.k);
            let group_bytes = block_width_s8(self.n, channel) * GROUP_INPUTS;
            let sums = sum_weights(self.block_weights(channel), group_bytes);
            block.bias = _mm512_sub_epi32(block.bias, _mm512_slli_epi32::<7>(sums));
        }
        Chunk {
            first_block,
            len,
            blocks,
        }
    }

    /// Packed weights of the block beginning at `channel`.
    fn block_weights(&self, channel: usize) -> &[i8] {
        let k = self.k.next_multiple_of(GROUP_INPUTS);
        &self.weights[channel * k..][..block_width_s8(self.n, channel) * k]
    }

    /// Rows `row..row + rows` of `dst` in the channels of `chunk`; `lhs` is (rows, k rounded up to 4), raised
    /// by 128.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn tile(
        &self,
        chunk: &Chunk,
        lhs: &[u8],
        rows: usize,
        dst: &mut DstS8<'_>,
        row: usize,
    ) {
        match rows {
            TILE_ROWS => self.tile_of::<TILE_ROWS>(chunk, lhs, dst, row),
            7 => self.tile_of::<7>(chunk, lhs, dst, row),
            4 => self.tile_of::<4>(chunk, lhs, dst, row),
            2 => self.tile_of::<2>(chunk, lhs, dst, row),
            _ => self.tile_of::<1>(chunk, lhs, dst, row),
        }
    }

    /// [`Self::tile`] of a fixed number of rows: 3, 2 or 1 blocks at a time.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn tile_of<const R: usize>(&self, chunk: &Chunk, lhs: &[u8], dst: &mut DstS8<'_>, row: usize) {
        let mut block = 0;
        while block < chunk.len {
            block += match chunk.len - block {
                1 => self.block_tile::<R, 1>(chunk, block, lhs, dst, row),
                2 | 4 => self.block_tile::<R, 2>(chunk, block, lhs, dst, row),
                _ => self.block_tile::<R, 3>(chunk, block, lhs, dst, row),
            };
        }
    }

    /// `R` rows by `B` blocks, beginning at `block` of the chunk; returns `B`.
    ///
    /// All of it in one function: what the compiler does not inline gets its vectors through memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn block_tile<const R: usize, const B: usize>(
        &self,
        chunk: &Chunk,
        block: usize,
        lhs: &[u8],
        dst: &mut DstS8<'_>,
        row: usize,
    ) -> usize {
        let (channels, _) = chunk.blocks[block..].split_at(B);
        let mut starts = [_mm512_setzero_si512(); B];
        for (start, channels) in starts.iter_mut().zip(channels) {
            *start = channels.bias;
        }
        let channel = (chunk.first_block + block) * BLOCK_CHANNELS;
        let pitch = self.k.next_multiple_of(GROUP_INPUTS);
        let groups = pitch / GROUP_INPUTS;
        let lhs = Rows { data: lhs, pitch };
        let weights = &self.weights[channel * pitch..];
        // Each row of tiles asks for a part of the next chunk.
        let part = (CHUNK_BLOCKS + row / TILE_ROWS % B) * BLOCK_CHANNELS * pitch;
        let ahead = weights.as_ptr().wrapping_add(part);
        let width = (self.n - channel).min(B * BLOCK_CHANNELS);
        let last_width = block_width_s8(self.n, channel + (B - 1) * BLOCK_CHANNELS);
        let mut sums = if last_width == BLOCK_CHANNELS {
            dot_tile::<R, B, false>(lhs, groups, weights, BLOCK_CHANNELS, starts, ahead)
        } else {
            dot_tile::<R, B, true>(lhs, groups, weights, last_width, starts, ahead)
        };
        match channels.iter().map(|channels| channels.path).max() {
            Some(Path::HalfUp) => {
                unrolled!(b < B: unrolled!(r < R: sums[b][r] = channels[b].half_up(sums[b][r])));
            }
            Some(Path::HalfAway) => {
                unrolled!(b < B: unrolled!(r < R: sums[b][r] = channels[b].half_away(sums[b][r])));
            }
            _ => {
                for (sums, channels) in sums.iter_mut().zip(channels) {
                    for sum in sums {
                        *sum = channels.any(*sum);
                    }
                }
            }
        }
        let start = row * self.n + channel;
        match (&self.outputs, dst) {
            (Outputs::I8(outputs), DstS8::I8(dst)) => {
                let dst = &mut dst[start..][..(R - 1) * self.n + width];
                unrolled!(r < R: {
                    let bytes = outputs.pack_in_order(core::array::from_fn(|b| sums[b.min(B - 1)][r]));
                    if width == B * BLOCK_CHANNELS {
                        // SAFETY: `dst` has R rows `n` apart, row r among them.
                        let to = unsafe { dst.as_mut_ptr().add(r * self.n) };
                        // SAFETY: the last row too has `width` bytes, as many as are stored.
                        unsafe { store_columns::<B>(to, bytes) };
                    } else {
                        store_i8(&mut dst[r * self.n..][..width], bytes);
                    }
                });
            }
            (&Outputs::I16([clamp_min, clamp_max]), DstS8::I16(dst)) => {
                let bounds = [clamp_min, clamp_max].map(|bound| _mm256_set1_epi16(bound));
                unrolled!(r < R: {
                    let dst = &mut dst[start + r * self.n..][..width];
                    unrolled!(b < B: {
                        let value = _mm512_cvtsepi32_epi16(sums[b][r]);
                        let value = _mm256_min_epi16(_mm256_max_epi16(value, bounds[0]), bounds[1]);
                        let end = width.min((b + 1) * BLOCK_CHANNELS);
                        store_i16x16(&mut dst[b * BLOCK_CHANNELS..end], value);
                    });
                });
            }
            _ => unreachable!("outputs are made for dst"),
        }
        B
    }
}

/// Writes the first 16 · `B` bytes.
///
/// # Safety
/// `dst` points to as many bytes that may be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn store_columns<const B: usize>(dst: *mut i8, bytes: __m512i) {
    let low = _mm512_castsi512_si256(bytes);
    if B == 1 {
        let first = _mm256_castsi256_si128(low);
        // SAFETY: 16 bytes, as the caller states.
        return unsafe { _mm_storeu_si128(dst.cast(), first) };
    }
    // SAFETY: the first 32 bytes of 32 or 48, as the caller states.
    unsafe { _mm256_storeu_si256(dst.cast(), low) };
    if B == 3 {
        let last = _mm512_extracti32x4_epi32::<2>(bytes);
        // SAFETY: inside of the 48 bytes that the caller states.
        let to = unsafe { dst.add(32) };
        // SAFETY: the last 16 of them.
        unsafe { _mm_storeu_si128(to.cast(), last) };
    }
}
