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
use super::gemm_s8::{as_i8, load};
use super::neon::*;
use super::requantize::{By, Factor, Outputs, Path, Write, by};
use crate::kernel::packing::WeightLayout;
use crate::kernel::packing::aarch64::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::requantize::{SHIFT_MAX, SHIFT_MIN};
use crate::kernel::{ConvS8, DstS8, GemmS8, Requantize, TILE_ROWS, scalar};

/// Bytes of a group of inputs of a block of channels.
const BLOCK_BYTES: usize = BLOCK_CHANNELS * GROUP_INPUTS;
/// Pairs of channels of a block.
const PAIRS: usize = BLOCK_CHANNELS / 2;
/// Blocks of channels whose requantisation is kept on the stack at once.
const CHUNK_BLOCKS: usize = 64;

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
            let lhs = Lhs::new(&lhs[row * k..][..count * k], k);
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
    let mut dst = core::mem::take(&mut args.dst);
    let size = [k, args.out_channels];
    let product = Product::new(level, size, args.weights, args.requantize, &dst);
    let Some(product) = product else {
        args.dst = dst;
        return scalar::conv_s8(args);
    };
    // Half of the scratch for patches as they are, half for packed ones: eight of each, or four of long ones.
    let pitch = product.pitch();
    let half = TILE_ROWS / 2 * pitch;
    let whole_tiles = args.scratch.len() >= 4 * half;
    let half = if whole_tiles { 2 * half } else { half };
    let (mut patches, packed) = core::mem::take(&mut args.scratch)[..2 * half].split_at_mut(half);
    let packed = as_i8(packed);
    product.for_each_chunk(|chunk| {
        args.scratch = core::mem::take(&mut patches);
        let mut compute = |patches: &[i8], row| {
            let lhs = Lhs::new(patches, pitch);
            product.rows(chunk, lhs, packed, &mut dst, row);
        };
        if whole_tiles {
            for_each_tile::<TILE_ROWS>(&mut args, pitch, &mut compute);
        } else {
            for_each_tile::<{ TILE_ROWS / 2 }>(&mut args, pitch, &mut compute);
        }
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

/// What becomes of the sums of a block of channels; zeros for those beyond the last one.
#[derive(Clone, Copy, Debug)]
struct Block {
    bias: [i32; BLOCK_CHANNELS],
    multiplier: [i32; BLOCK_CHANNELS],
    shift: [i32; BLOCK_CHANNELS],
}

impl Block {
    const NONE: Self = Self {
        bias: [0; BLOCK_CHANNELS],
        multiplier: [0; BLOCK_CHANNELS],
        shift: [0; BLOCK_CHANNELS],
    };

    /// The block that begins at `channel`.
    fn new(requantize: &Requantize<'_>, channel: usize) -> Self {
        let mut block = Self::NONE;
        let len = (requantize.bias.len() - channel).min(BLOCK_CHANNELS);
        block.bias[..len].copy_from_slice(&requantize.bias[channel..][..len]);
        block.multiplier[..len].copy_from_slice(&requantize.multiplier[channel..][..len]);
        let shifts = &requantize.shift[channel..][..len];
        for (to, &from) in block.shift.iter_mut().zip(shifts) {
            *to = i32::from(from).clamp(SHIFT_MIN, SHIFT_MAX);
        }
        block
    }

    /// Requantises a tile.
    #[inline(always)]
    fn outputs<const P: usize, O: Write>(
        &self,
        path: Path,
        outputs: &O,
        sums: &[[int32x4_t; PAIRS]; P],
    ) -> [O::Pair; P] {
        let multiplier = load_twice_i32x8(&self.multiplier);
        let shift = load_twice_i32x8(&self.shift);
        let mut pairs = [O::none(); P];
        for p in 0..P {
            let mut values = sums[p];
            for q in 0..PAIRS {
                values[q] = Factor::new(multiplier[q], shift[q]).apply(path, values[q]);
            }
            pairs[p] = outputs.pair(path, values);
        }
        pairs
    }
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
        let path = Path::of(&requantize, outputs.limits());
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
        for channel in (0..self.n).step_by(CHUNK_BLOCKS * BLOCK_CHANNELS) {
            let len = (self.n - channel)
                .div_ceil(BLOCK_CHANNELS)
                .min(CHUNK_BLOCKS);
            let mut blocks = [Block::NONE; CHUNK_BLOCKS];
            for (index, block) in blocks[..len].iter_mut().enumerate() {
                *block = Block::new(&self.requantize, channel + index * BLOCK_CHANNELS);
            }
            compute(&Chunk {
                channel,
                len,
                blocks,
            });
        }
    }

    /// Packs up to [`TILE_ROWS`] rows, and computes their outputs of a chunk; `row` is the first.
    fn rows(
        &self,
        chunk: &Chunk,
        lhs: Lhs<'_>,
        packed: &mut [i8],
        dst: &mut DstS8<'_>,
        row: usize,
    ) {
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
        lhs: Lhs<'_>,
        packed: &mut [i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        match self.path {
            Path::Relu => self.rows_by::<by::Relu, O>(chunk, lhs, packed, outputs, dst, row),
            Path::HalfUp => self.rows_by::<by::HalfUp, O>(chunk, lhs, packed, outputs, dst, row),
            Path::HalfAway => {
                self.rows_by::<by::HalfAway, O>(chunk, lhs, packed, outputs, dst, row)
            }
            Path::Any => self.rows_by::<by::Any, O>(chunk, lhs, packed, outputs, dst, row),
        }
    }

    /// [`Self::rows_of`] by one path.
    fn rows_by<B: By, O: Write>(
        &self,
        chunk: &Chunk,
        lhs: Lhs<'_>,
        packed: &mut [i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        match lhs.count {
            7.. => self.row_tile::<4, B, O>(chunk, lhs, packed, outputs, dst, row),
            5.. => self.row_tile::<3, B, O>(chunk, lhs, packed, outputs, dst, row),
            3.. => self.row_tile::<2, B, O>(chunk, lhs, packed, outputs, dst, row),
            _ => self.row_tile::<1, B, O>(chunk, lhs, packed, outputs, dst, row),
        }
    }

    /// Up to `P` pairs of rows.
    #[inline(never)]
    fn row_tile<const P: usize, B: By, O: Write>(
        &self,
        chunk: &Chunk,
        lhs: Lhs<'_>,
        packed: &mut [i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        let pitch = self.pitch();
        let count = lhs.count;
        let packed = &mut packed[..2 * P * pitch];
        lhs.pack::<P>(packed);
        let weights = self.weights[chunk.channel * pitch..].chunks_exact(BLOCK_CHANNELS * pitch);
        let dst = &mut dst[row * self.n + chunk.channel..];
        let dst = &mut dst[..count * self.n - chunk.channel];
        // Blocks that are written two at a time: all of their rows and channels are there.
        let whole = if count == 2 * P {
            ((self.n - chunk.channel) / BLOCK_CHANNELS).min(chunk.len) / 2 * 2
        } else {
            0
        };
        let mut before = [O::none(); P];
        for (index, (block, weights)) in chunk.blocks[..chunk.len].iter().zip(weights).enumerate() {
            let sums = self.sums::<P>(block, packed, weights);
            let block = block.outputs(B::PATH, outputs, &sums);
            let channel = index * BLOCK_CHANNELS;
            if index >= whole {
                let left = self.n - chunk.channel - channel;
                let part = [count, left.min(BLOCK_CHANNELS)];
                O::write_part(block, part, &mut dst[channel..], self.n);
            } else if index % 2 == 1 {
                let dst = &mut dst[channel - BLOCK_CHANNELS..];
                O::write_blocks([before, block], dst, self.n);
            } else {
                before = block;
            }
        }
    }

    /// Sums of `P` pairs of rows and a block of channels.
    #[inline(always)]
    fn sums<const P: usize>(
        &self,
        block: &Block,
        packed: &[i8],
        weights: &[i8],
    ) -> [[int32x4_t; PAIRS]; P] {
        let groups = packed.len() / (P * 16);
        assert!(weights.len() >= groups * BLOCK_BYTES);
        // SAFETY: The rows have 16 · `P` bytes for each group, and the weights have a block, asserted above.
        unsafe {
            self.level
                .matmul_tile::<P>(&block.bias, packed.as_ptr(), weights.as_ptr(), groups)
        }
    }
}

/// Rows of bytes, one after the other.
#[derive(Clone, Copy, Debug)]
struct Lhs<'a> {
    bytes: &'a [i8],
    /// Bytes of a row.
    width: usize,
    /// Number of rows.
    count: usize,
}

impl<'a> Lhs<'a> {
    /// As many rows of `width` bytes as there are.
    fn new(bytes: &'a [i8], width: usize) -> Self {
        Self {
            bytes,
            width,
            count: bytes.len() / width,
        }
    }

    /// Rows as `packed`: (groups, `P` pairs, 2 rows, 8 inputs). Missing rows repeat the last, and what stands beyond a row is
    /// any bytes, which meet weights of 0.
    #[inline(never)]
    fn pack<const P: usize>(&self, packed: &mut [i8]) {
        let rows: [[&[i8]; 2]; P] = core::array::from_fn(|pair| {
            [2 * pair, 2 * pair + 1].map(|row| {
                let bytes = &self.bytes[row.min(self.count - 1) * self.width..];
                assert!(bytes.len() >= self.width);
                bytes
            })
        });
        let whole = self.width / 16 * 16;
        let (packed, last) = packed.split_at_mut(2 * P * whole);
        for (at, packed) in (0..whole)
            .step_by(16)
            .zip(packed.chunks_exact_mut(2 * P * 16))
        {
            for (pair, rows) in rows.iter().enumerate() {
                let [first, second] = rows.map(|row| {
                    // SAFETY: `at` is a multiple of 16 below `whole`, and a row has `whole` bytes, asserted above.
                    vreinterpretq_s64_s8(unsafe { load(row, at) })
                });
                let low = vreinterpretq_s8_s64(vzip1q_s64(first, second));
                let high = vreinterpretq_s8_s64(vzip2q_s64(first, second));
                store_i8x16(&mut packed[pair * 16..], low);
                store_i8x16(&mut packed[(P + pair) * 16..], high);
            }
        }
        // One or two groups are left.
        let groups = (whole..self.width).step_by(GROUP_INPUTS);
        for (at, packed) in groups.zip(last.chunks_exact_mut(P * 16)) {
            for (pair, rows) in rows.iter().enumerate() {
                let [first, second] = rows.map(|row| load_up_to_i8x8(&row[at..]));
                store_i8x16(&mut packed[pair * 16..], vcombine_s8(first, second));
            }
        }
    }
}
