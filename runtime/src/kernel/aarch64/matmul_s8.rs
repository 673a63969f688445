//! Integer matrix product by `smmla`: 8 rows by 8 channels of sums in registers, layout `aarch64`.
//!
//! ```text
//! for 256 channels: for 8 rows: lay 8 inputs of rows 0 and 1, of rows 2 and 3, … side by side in scratch
//!     for 8 channels: sums = bias
//!         for each group of 8 inputs: sums[pair of rows][pair of channels] += 2×8 bytes · 8×2 bytes
//!         dst = requantize(sums)
//! ```
#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use super::I8mm;
use super::conv_s8::{for_each_tile, is_pointwise, product_of};
use super::gemm_s8::{as_i8, load_vectors};
use super::neon::*;
use super::requantize::{Channels, Factor, Outputs, Path, Write};
use crate::kernel::packing::WeightLayout;
use crate::kernel::packing::aarch64::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::{ConvS8, DstS8, GemmS8, Requantize, TILE_ROWS, scalar};

/// Bytes of a group of inputs of a block of channels.
const BLOCK_BYTES: usize = BLOCK_CHANNELS * GROUP_INPUTS;
/// Pairs of channels of a block.
const PAIRS: usize = BLOCK_CHANNELS / 2;
/// Blocks of channels whose requantisation is kept on the stack at once.
const CHUNK_BLOCKS: usize = 32;

/// See [`GemmS8`].
pub(super) fn gemm_s8(level: &I8mm, mut args: GemmS8<'_>) {
    if args.layout != WeightLayout::Aarch64 {
        return super::gemm_s8::gemm_s8(level, args);
    }
    let size = [args.k, args.n];
    let product = Product::new(level, size, args.weights, args.requantize, &args.dst);
    let Some(product) = product else {
        return scalar::gemm_s8(args);
    };
    let (k, rows) = (args.k, args.rows);
    let lhs = &args.lhs[..rows * k];
    let packed = as_i8(&mut args.scratch[..TILE_ROWS * product.pitch()]);
    product.for_each_chunk(|chunk| {
        for row in (0..rows).step_by(TILE_ROWS) {
            let count = (rows - row).min(TILE_ROWS);
            let lhs = &lhs[row * k..][..count * k];
            product.rows(chunk, lhs, packed, &mut args.dst, row);
        }
    });
}

/// See [`ConvS8`].
pub(super) fn conv_s8(level: &I8mm, mut args: ConvS8<'_>) {
    if args.layout != WeightLayout::Aarch64 {
        return super::gemm_s8::conv_s8(level, args);
    }
    if is_pointwise(&args) {
        return gemm_s8(level, product_of(args));
    }
    let k = args.window.kernel[0] * args.window.kernel[1] * args.in_channels;
    let mut dst = DstS8::I8(core::mem::take(&mut args.dst));
    let size = [k, args.out_channels];
    let product = Product::new(level, size, args.weights, args.requantize, &dst);
    let Some(product) = product else {
        if let DstS8::I8(dst) = dst {
            args.dst = dst;
        }
        return scalar::conv_s8(args);
    };
    // Four patches as they are, and four packed.
    let half = TILE_ROWS / 2 * product.pitch();
    let (patches, packed) = core::mem::take(&mut args.scratch)[..2 * half].split_at_mut(half);
    let (mut patches, packed) = (patches, as_i8(packed));
    product.for_each_chunk(|chunk| {
        args.scratch = core::mem::take(&mut patches);
        for_each_tile::<{ TILE_ROWS / 2 }>(&mut args, k, |patches, row| {
            product.rows(chunk, patches, packed, &mut dst, row);
        });
        patches = core::mem::take(&mut args.scratch);
    });
}

/// A matrix of weights and what becomes of the sums.
#[derive(Clone, Copy, Debug)]
struct Product<'a> {
    level: &'a I8mm,
    k: usize,
    n: usize,
    weights: &'a [i8],
    requantize: Requantize<'a>,
    path: Path,
    outputs: Outputs,
}

/// Biases and factors of a block of channels. A vector is for two rows: channels c, c + 1, c, c + 1.
#[derive(Clone, Copy, Debug)]
struct Block {
    bias: [int32x4_t; PAIRS],
    factor: [Factor; PAIRS],
}

/// Up to [`CHUNK_BLOCKS`] blocks.
struct Chunk {
    channel: usize,
    len: usize,
    blocks: [Block; CHUNK_BLOCKS],
}

impl<'a> Product<'a> {
    /// `None` for an empty product, and for a zero point that the vectors do not handle.
    fn new(
        level: &'a I8mm,
        [k, n]: [usize; 2],
        weights: &'a [i8],
        requantize: Requantize<'a>,
        dst: &DstS8<'_>,
    ) -> Option<Self> {
        let bytes = WeightLayout::Aarch64.packed_bytes_s8(n, k)?;
        let sound = k > 0 && n > 0 && bytes <= weights.len() && requantize.bias.len() == n;
        let outputs = Outputs::new(&requantize, dst).filter(|_| sound)?;
        let path = Path::of(&requantize);
        Some(Self {
            level,
            k,
            n,
            weights,
            requantize,
            path,
            outputs,
        })
    }

    /// Bytes of a packed row.
    fn pitch(&self) -> usize {
        self.k.next_multiple_of(GROUP_INPUTS)
    }

    /// Calls `compute` with all channels, so many at a time.
    fn for_each_chunk(&self, mut compute: impl FnMut(&Chunk)) {
        let zero = vdupq_n_s32(0);
        let none = Block {
            bias: [zero; PAIRS],
            factor: [Factor::new(zero, zero); PAIRS],
        };
        for channel in (0..self.n).step_by(CHUNK_BLOCKS * BLOCK_CHANNELS) {
            let len = (self.n - channel)
                .div_ceil(BLOCK_CHANNELS)
                .min(CHUNK_BLOCKS);
            let mut blocks = [none; CHUNK_BLOCKS];
            for (index, block) in blocks[..len].iter_mut().enumerate() {
                let channel = channel + index * BLOCK_CHANNELS;
                let channels = Channels::<2>::new(&self.requantize, channel);
                *block = Block {
                    bias: core::array::from_fn(|q| twice(channels.bias[q / 2], q % 2)),
                    factor: core::array::from_fn(|q| {
                        channels.factor[q / 2].map(|vector| twice(vector, q % 2))
                    }),
                };
            }
            compute(&Chunk {
                channel,
                len,
                blocks,
            });
        }
    }

    /// Packs up to [`TILE_ROWS`] rows of `k` bytes, and computes their outputs of a chunk; `row` is the first.
    fn rows(&self, chunk: &Chunk, lhs: &[i8], packed: &mut [i8], dst: &mut DstS8<'_>, row: usize) {
        match (&self.outputs, dst) {
            (Outputs::I8(outputs), DstS8::I8(dst)) => {
                self.rows_of(chunk, lhs, packed, outputs, dst, row);
            }
            (Outputs::I16(outputs), DstS8::I16(dst)) => {
                self.rows_of(chunk, lhs, packed, outputs, dst, row);
            }
            _ => unreachable!("outputs are made for dst"),
        }
    }

    /// [`Self::rows`] of outputs of one type.
    fn rows_of<O: Write>(
        &self,
        chunk: &Chunk,
        lhs: &[i8],
        packed: &mut [i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        match lhs.len() / self.k {
            5.. => self.row_tile::<4, O>(chunk, lhs, packed, outputs, dst, row),
            3.. => self.row_tile::<2, O>(chunk, lhs, packed, outputs, dst, row),
            _ => self.row_tile::<1, O>(chunk, lhs, packed, outputs, dst, row),
        }
    }

    /// Up to `P` pairs of rows.
    #[inline(never)]
    fn row_tile<const P: usize, O: Write>(
        &self,
        chunk: &Chunk,
        lhs: &[i8],
        packed: &mut [i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        let pitch = self.pitch();
        let count = lhs.len() / self.k;
        let packed = &mut packed[..2 * P * pitch];
        pack::<P>(lhs, self.k, count, packed);
        let weights = self.weights[chunk.channel * pitch..].chunks_exact(BLOCK_CHANNELS * pitch);
        let dst = &mut dst[row * self.n + chunk.channel..];
        let dst = &mut dst[..count * self.n - chunk.channel];
        let whole = ((self.n - chunk.channel) / BLOCK_CHANNELS).min(chunk.len);
        for (index, (block, weights)) in chunk.blocks[..chunk.len].iter().zip(weights).enumerate() {
            let mut sums = matmul_tile::<P>(self.level, packed, weights, &block.bias);
            match self.path {
                Path::HalfUp => apply(Path::HalfUp, block, &mut sums),
                Path::HalfAway => apply(Path::HalfAway, block, &mut sums),
                Path::Any => apply(Path::Any, block, &mut sums),
            }
            let dst = &mut dst[index * BLOCK_CHANNELS..];
            if index < whole && count == 2 * P {
                outputs.write_block(&sums, dst, self.n);
            } else {
                let left = self.n - chunk.channel - index * BLOCK_CHANNELS;
                outputs.write_part(sums, [count, left.min(BLOCK_CHANNELS)], dst, self.n);
            }
        }
    }
}

/// Two of four lanes, twice: the low half of `x`, or the high one.
#[inline(always)]
fn twice(x: int32x4_t, half: usize) -> int32x4_t {
    let x = vreinterpretq_s64_s32(x);
    vreinterpretq_s32_s64(if half == 0 {
        vzip1q_s64(x, x)
    } else {
        vzip2q_s64(x, x)
    })
}

/// Requantises a tile in place.
#[inline(always)]
fn apply<const P: usize>(path: Path, block: &Block, sums: &mut [[int32x4_t; PAIRS]; P]) {
    for p in 0..P {
        for q in 0..PAIRS {
            sums[p][q] = block.factor[q].apply(path, sums[p][q]);
        }
    }
}

/// `count` rows of `k` bytes as `packed`: (groups, `P` pairs, 2 rows, 8 inputs), zeros beyond `k`; missing rows repeat the last.
#[inline(always)]
fn pack<const P: usize>(lhs: &[i8], k: usize, count: usize, packed: &mut [i8]) {
    let rows: [[&[i8]; 2]; P] = core::array::from_fn(|pair| {
        [2 * pair, 2 * pair + 1].map(|row| &lhs[row.min(count - 1) * k..][..k])
    });
    let whole = k / 16 * 16;
    for (at, packed) in (0..whole)
        .step_by(16)
        .zip(packed.chunks_exact_mut(2 * P * 16))
    {
        for (pair, [first, second]) in rows.iter().enumerate() {
            let first = vreinterpretq_s64_s8(load_i8x16(&first[at..]));
            let second = vreinterpretq_s64_s8(load_i8x16(&second[at..]));
            let low = vreinterpretq_s8_s64(vzip1q_s64(first, second));
            let high = vreinterpretq_s8_s64(vzip2q_s64(first, second));
            store_i8x16(&mut packed[pair * 16..], low);
            store_i8x16(&mut packed[(P + pair) * 16..], high);
        }
    }
    // One or two groups are left.
    for (at, packed) in (whole..k)
        .step_by(GROUP_INPUTS)
        .zip(packed[2 * P * whole..].chunks_exact_mut(P * 16))
    {
        for (pair, [first, second]) in rows.iter().enumerate() {
            let bytes = [first, second].map(|row| load_up_to_i8x8(&row[at..]));
            store_i8x16(&mut packed[pair * 16..], vcombine_s8(bytes[0], bytes[1]));
        }
    }
}

/// `P` pairs of packed rows times a block of channels, onto `starts`.
#[inline(always)]
fn matmul_tile<const P: usize>(
    level: &I8mm,
    packed: &[i8],
    weights: &[i8],
    starts: &[int32x4_t; PAIRS],
) -> [[int32x4_t; PAIRS]; P] {
    let groups = packed.len() / (P * 16);
    assert!(weights.len() >= groups * BLOCK_BYTES);
    let mut sums = [*starts; P];
    if P == 4 && groups > 0 {
        let mut tile = [[vdupq_n_s32(0); PAIRS]; 4];
        for p in 0..4.min(P) {
            tile[p] = sums[p];
        }
        // SAFETY: Both have 64 bytes for each group: four pairs of rows, and four pairs of channels, asserted above.
        unsafe { level.matmul_rows(&mut tile, packed.as_ptr(), weights.as_ptr(), groups) };
        for p in 0..4.min(P) {
            sums[p] = tile[p];
        }
        return sums;
    }
    for group in 0..groups {
        // SAFETY: `group < groups`, and the weights have so many, asserted above.
        let weights = unsafe { load_vectors::<PAIRS>(weights, group * BLOCK_BYTES) };
        // SAFETY: `group < groups`, which is how many groups of `P` vectors the rows have.
        let rows = unsafe { load_vectors::<P>(packed, group * P * 16) };
        for p in 0..P {
            for q in 0..PAIRS {
                sums[p][q] = level.matmul(sums[p][q], rows[p], weights[q]);
            }
        }
    }
    sums
}
