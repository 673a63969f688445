//! Integer matrix product by `sdot`: 4 rows by 16 channels of sums in registers, layout `generic`.
//!
//! ```text
//! for 4 rows: for 16 channels: sums = bias
//!     for each group of 4 inputs: sums[row] += weights · lhs[row]     a vector has 4 channels of the group, and
//!     dst = requantize(sums)                                          four bytes of a row meet all of them
//! ```
//!
//! 16 inputs of a row are loaded at once; four lanes of that vector are four groups.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use super::conv_s8::{for_each_tile, is_pointwise, product_of};
use super::level::Level;
use super::neon::*;
use super::requantize::{Channels, Outputs, Path, Write};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS, WeightLayout, packed_bytes_s8};
use crate::kernel::{ConvS8, DstS8, GemmS8, Requantize, TILE_ROWS, scalar};

/// Rows of a tile.
const ROWS: usize = 4;
/// Blocks of channels whose requantisation is kept on the stack at once.
const CHUNK_BLOCKS: usize = 16;
/// Groups of inputs that one load of a row covers.
const GROUPS: usize = 4;

/// See [`GemmS8`].
pub(super) fn gemm_s8<L: Level>(level: L, mut args: GemmS8<'_>) {
    let product = Product::new(
        level,
        [args.k, args.n],
        args.weights,
        args.layout,
        args.requantize,
        &args.dst,
    );
    let Some(product) = product else {
        return scalar::gemm_s8(args);
    };
    let (k, rows) = (args.k, args.rows);
    let pitch = k.next_multiple_of(GROUP_INPUTS);
    if pitch == k {
        let lhs = &args.lhs[..rows * k];
        return product.for_each_chunk(|chunk| {
            product.rows(chunk, lhs, &mut args.dst, 0);
        });
    }
    let scratch = as_i8(&mut args.scratch[..TILE_ROWS * pitch]);
    product.for_each_chunk(|chunk| {
        for row in (0..rows).step_by(TILE_ROWS) {
            let count = (rows - row).min(TILE_ROWS);
            let from = args.lhs[row * k..].chunks_exact(k);
            for (to, from) in scratch.chunks_exact_mut(pitch).zip(from).take(count) {
                to[..k].copy_from_slice(from);
                to[k..].fill(0);
            }
            product.rows(chunk, &scratch[..count * pitch], &mut args.dst, row);
        }
    });
}

/// See [`ConvS8`].
pub(super) fn conv_s8<L: Level>(level: L, mut args: ConvS8<'_>) {
    if is_pointwise(&args) {
        return gemm_s8(level, product_of(args));
    }
    let k = args.window.kernel[0] * args.window.kernel[1] * args.in_channels;
    let mut dst = core::mem::take(&mut args.dst);
    let (weights, layout, requantize) = (args.weights, args.layout, args.requantize);
    let size = [k, args.out_channels];
    let Some(product) = Product::new(level, size, weights, layout, requantize, &dst) else {
        args.dst = dst;
        return scalar::conv_s8(args);
    };
    let pitch = k.next_multiple_of(GROUP_INPUTS);
    product.for_each_chunk(|chunk| {
        for_each_tile::<TILE_ROWS>(&mut args, pitch, |patches, row| {
            product.rows(chunk, patches, &mut dst, row);
        });
    });
}

/// Scratch as signed bytes.
pub(super) fn as_i8(scratch: &mut [u8]) -> &mut [i8] {
    // SAFETY: i8 has the size, the alignment and the valid values of u8, and the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), scratch.len()) }
}

/// Biases and factors of up to [`CHUNK_BLOCKS`] blocks of channels.
struct Chunk {
    channel: usize,
    len: usize,
    blocks: [Channels<4>; CHUNK_BLOCKS],
}

/// A matrix of weights and what becomes of the sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a, L> {
    level: L,
    k: usize,
    n: usize,
    weights: &'a [i8],
    requantize: Requantize<'a>,
    path: Path,
    outputs: Outputs,
}

impl<'a, L: Level> Product<'a, L> {
    /// `None` for an empty product, another layout, and a zero point that the vectors do not handle.
    pub(super) fn new(
        level: L,
        [k, n]: [usize; 2],
        weights: &'a [i8],
        layout: WeightLayout,
        requantize: Requantize<'a>,
        dst: &DstS8<'_>,
    ) -> Option<Self> {
        let sound = k > 0
            && n > 0
            && layout == WeightLayout::Generic
            && packed_bytes_s8(n, k).is_some_and(|bytes| bytes <= weights.len())
            && requantize.bias.len() == n;
        let outputs = Outputs::new(&requantize, dst).filter(|_| sound)?;
        Some(Self {
            level,
            k,
            n,
            weights,
            requantize,
            path: Path::of(&requantize, outputs.limits()),
            outputs,
        })
    }

    /// Calls `compute` with all channels, so many at a time.
    fn for_each_chunk(&self, mut compute: impl FnMut(&Chunk)) {
        for channel in (0..self.n).step_by(CHUNK_BLOCKS * BLOCK_CHANNELS) {
            let len = (self.n - channel)
                .div_ceil(BLOCK_CHANNELS)
                .min(CHUNK_BLOCKS);
            let mut blocks = [Channels::none(); CHUNK_BLOCKS];
            for (index, block) in blocks[..len].iter_mut().enumerate() {
                *block = Channels::new(&self.requantize, channel + index * BLOCK_CHANNELS);
            }
            compute(&Chunk {
                channel,
                len,
                blocks,
            });
        }
    }

    /// Computes rows of `dst` from `row` on in the channels of `chunk`; `lhs` is (rows, k rounded up to whole groups).
    fn rows(&self, chunk: &Chunk, lhs: &[i8], dst: &mut DstS8<'_>, row: usize) {
        let pitch = self.k.next_multiple_of(GROUP_INPUTS);
        let count = lhs.len() / pitch;
        let mut done = 0;
        while done < count {
            let lhs = &lhs[done * pitch..];
            let first = row + done;
            done += match count - done {
                ROWS.. => self.row_tile::<ROWS>(chunk, lhs, dst, first),
                2.. => self.row_tile::<2>(chunk, lhs, dst, first),
                _ => self.row_tile::<1>(chunk, lhs, dst, first),
            };
        }
    }

    /// `R` rows; returns `R`.
    #[inline(always)]
    fn row_tile<const R: usize>(
        &self,
        chunk: &Chunk,
        lhs: &[i8],
        dst: &mut DstS8<'_>,
        row: usize,
    ) -> usize {
        match (&self.outputs, dst) {
            (Outputs::I8(outputs), DstS8::I8(dst)) => {
                self.row_tile_of::<R, _>(chunk, lhs, outputs, dst, row);
            }
            (Outputs::I16(outputs), DstS8::I16(dst)) => {
                self.row_tile_of::<R, _>(chunk, lhs, outputs, dst, row);
            }
            _ => unreachable!("outputs are made for dst"),
        }
        R
    }

    /// `R` rows of outputs of one type.
    #[inline(never)]
    fn row_tile_of<const R: usize, O: Write>(
        &self,
        chunk: &Chunk,
        lhs: &[i8],
        outputs: &O,
        dst: &mut [O::Output],
        row: usize,
    ) {
        let pitch = self.k.next_multiple_of(GROUP_INPUTS);
        let lhs = &lhs[..R * pitch];
        let whole = ((self.n - chunk.channel) / BLOCK_CHANNELS).min(chunk.len);
        let weights = &self.weights[chunk.channel * pitch..];
        let dst = &mut dst[row * self.n + chunk.channel..][..R * self.n - chunk.channel];
        let blocks = weights.chunks_exact(BLOCK_CHANNELS * pitch);
        for (index, (weights, channels)) in blocks.zip(&chunk.blocks[..whole]).enumerate() {
            let dst = &mut dst[index * BLOCK_CHANNELS..];
            self.tile::<R, 4, O>(lhs, weights, channels, outputs, dst, BLOCK_CHANNELS);
        }
        if whole < chunk.len {
            let channels = &chunk.blocks[whole];
            let weights = &weights[whole * BLOCK_CHANNELS * pitch..];
            let dst = &mut dst[whole * BLOCK_CHANNELS..];
            let width = self.n - chunk.channel - whole * BLOCK_CHANNELS;
            match width {
                13.. => self.tile::<R, 4, O>(lhs, weights, channels, outputs, dst, width),
                9.. => self.tile::<R, 3, O>(lhs, weights, channels, outputs, dst, width),
                5.. => self.tile::<R, 2, O>(lhs, weights, channels, outputs, dst, width),
                _ => self.tile::<R, 1, O>(lhs, weights, channels, outputs, dst, width),
            }
        }
    }

    /// `R` rows by `NV` times four channels.
    #[inline(always)]
    fn tile<const R: usize, const NV: usize, O: Write>(
        &self,
        lhs: &[i8],
        weights: &[i8],
        channels: &Channels<4>,
        outputs: &O,
        dst: &mut [O::Output],
        width: usize,
    ) {
        let mut sums = [[vdupq_n_s32(0); NV]; R];
        for r in 0..R {
            for v in 0..NV {
                sums[r][v] = channels.bias[v];
            }
        }
        dot_tile::<L, R, NV>(self.level, lhs, weights, &mut sums);
        // The branch is outside of the loops, so that their bodies stay straight.
        let to = [self.n, width];
        match self.path {
            Path::Relu => finish(Path::Relu, channels, &mut sums, outputs, dst, to),
            Path::HalfUp => finish(Path::HalfUp, channels, &mut sums, outputs, dst, to),
            Path::HalfAway => finish(Path::HalfAway, channels, &mut sums, outputs, dst, to),
            Path::Any => finish(Path::Any, channels, &mut sums, outputs, dst, to),
        }
    }
}

/// Requantises a tile and writes `width` channels of it, rows `pitch` apart.
#[inline(always)]
fn finish<const R: usize, const NV: usize, O: Write>(
    path: Path,
    channels: &Channels<4>,
    sums: &mut [[int32x4_t; NV]; R],
    outputs: &O,
    dst: &mut [O::Output],
    [pitch, width]: [usize; 2],
) {
    for r in 0..R {
        for v in 0..NV {
            sums[r][v] = channels.factor[v].apply(path, sums[r][v]);
        }
    }
    outputs.write_rows(path, sums, dst, pitch, width);
}

/// Adds to `sums` `R` rows of `lhs` times `NV` times four channels: (R, groups · 4) and (groups, NV · 4, 4).
#[inline(always)]
pub(super) fn dot_tile<L: Level, const R: usize, const NV: usize>(
    level: L,
    lhs: &[i8],
    weights: &[i8],
    sums: &mut [[int32x4_t; NV]; R],
) {
    let pitch = lhs.len() / R;
    let groups = pitch / GROUP_INPUTS;
    assert!(weights.len() >= groups * NV * 16);
    // The first group that is left.
    let mut group = 0;
    let mut rows = [vdupq_n_s8(0); R];
    // The groups from `group` on that stand in lanes `$lane` of what was loaded of the rows.
    macro_rules! lanes {
        ($($lane:literal)*) => {$({
            // SAFETY: The weights have `NV` vectors for each group, asserted above, and the group is one of them.
            let weights = unsafe { load_vectors::<NV>(weights, (group + $lane) * NV * 16) };
            for r in 0..R {
                for v in 0..NV {
                    sums[r][v] = level.dot_lane::<$lane>(sums[r][v], weights[v], rows[r]);
                }
            }
        })*};
    }
    let whole = groups / GROUPS;
    if R == 4 && NV == 4 && whole > 0 {
        let mut tile = [[vdupq_n_s32(0); 4]; 4];
        let mut from = [lhs.as_ptr(); 4];
        for r in 0..4.min(R) {
            from[r] = lhs.as_ptr().wrapping_add(r * pitch);
            for v in 0..4.min(NV) {
                tile[r][v] = sums[r][v];
            }
        }
        // SAFETY: A row has 16 bytes for each of `whole` times four groups, and the weights `NV` vectors for each group,
        // asserted above.
        unsafe { level.dot_rows(&mut tile, from, weights.as_ptr(), whole) };
        for r in 0..4.min(R) {
            for v in 0..4.min(NV) {
                sums[r][v] = tile[r][v];
            }
        }
        group = whole * GROUPS;
    }
    while group + GROUPS <= groups {
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: Four whole groups, 16 bytes, are left of every row.
            *row = unsafe { load(lhs, r * pitch + group * GROUP_INPUTS) };
        }
        lanes!(0 1 2 3);
        group += GROUPS;
    }
    if groups % GROUPS >= 2 {
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: Two whole groups, 8 bytes, are left of every row.
            *row = unsafe { load_low(lhs, r * pitch + group * GROUP_INPUTS) };
        }
        lanes!(0 1);
        group += 2;
    }
    if groups % 2 == 1 {
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: 4 bytes of a group are left of row r.
            let from = unsafe { lhs.as_ptr().add(r * pitch + group * GROUP_INPUTS) };
            // SAFETY: as above; any bytes are an i32.
            let four = unsafe { from.cast::<i32>().read_unaligned() };
            *row = vreinterpretq_s8_s32(vdupq_n_s32(four));
        }
        lanes!(0);
    }
}

/// 16 bytes.
///
/// # Safety
/// `src` has them from `at` on.
#[inline(always)]
pub(super) unsafe fn load(src: &[i8], at: usize) -> int8x16_t {
    // SAFETY: the caller vouches for the place.
    let from = unsafe { src.as_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 16 bytes.
    unsafe { core::arch::aarch64::vld1q_s8(from) }
}

/// 8 bytes in the low half of a vector.
///
/// # Safety
/// `src` has them from `at` on.
#[inline(always)]
pub(super) unsafe fn load_low(src: &[i8], at: usize) -> int8x16_t {
    // SAFETY: the caller vouches for the place.
    let from = unsafe { src.as_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 8 bytes.
    let bytes = unsafe { core::arch::aarch64::vld1_s8(from) };
    vcombine_s8(bytes, vget_low_s8(vdupq_n_s8(0)))
}

/// `NV` vectors of 16 bytes.
///
/// # Safety
/// `src` has them from `at` on.
#[inline(always)]
pub(super) unsafe fn load_vectors<const NV: usize>(src: &[i8], at: usize) -> [int8x16_t; NV] {
    let mut vectors = [vdupq_n_s8(0); NV];
    for (v, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller vouches for `NV` vectors, and `v` is below that.
        *vector = unsafe { load(src, at + v * 16) };
    }
    vectors
}
