//! Attention, sixteen queries at a time. The queries lie in the lanes, so that nothing is ever added across a register:
//!
//! ```text
//! for a head, for 16 queries
//!   queries(width, 16) = (q · scale)ᵀ                      halves
//!   scores(keys, 16) = k · queries                       the register tile
//!   scores = exp(scores − their largest of each lane)      halves, and their sums in f32
//!   dst(16, width) = scoresᵀ · v / sums                    eight queries by 16 columns, chunks as in `tile`
//! ```
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use core::arch::aarch64::*;
use core::arch::asm;

use half::f16;
use zerocopy::{FromBytes, IntoBytes};

use super::super::Neon;
use super::math::exp;
use super::products::Rows;
use super::tile::{CHUNK, Columns, Layout, Product, UNLIMITED, added, chunk_len, scaled};
use super::vector::{LANES, fma_lane, load, load_from, splat, store, store_up_to, widen};
use crate::kernel::packing::BLOCK_CHANNELS;
use crate::kernel::{AttentionF16, Kernels};

/// Queries of a group: two registers. Scratch has room for the scores of so many, as [`AttentionF16`] says.
const QUERIES: usize = 2 * LANES;

/// See [`AttentionF16`]. Heads wider than a chunk are left to NEON.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn attention_f16(args: AttentionF16<'_>) {
    let head_width = args.width / args.num_heads;
    if head_width > CHUNK {
        return Neon(()).attention_f16(args);
    }
    let AttentionF16 {
        queries: query_count,
        keys,
        width,
        num_heads,
        scale,
        causal,
        q,
        k,
        v,
        dst,
        scratch,
    } = args;
    let scores = <[f16]>::mut_from_bytes(scratch.as_mut_bytes()).unwrap_or_default();
    let mut queries = [f16::ZERO; CHUNK * QUERIES];
    for head in 0..num_heads {
        let column = head * head_width;
        for first in (0..query_count).step_by(QUERIES) {
            let count = QUERIES.min(query_count - first);
            let lanes = count.next_multiple_of(LANES);
            let scores = &mut scores[..keys * lanes]; // (keys, lanes)
            let rows = Rows {
                data: &q[first * width + column..],
                stride: width,
                count,
                len: head_width,
            };
            rows.transpose(lanes, f16::from_f32(scale), &mut queries);
            Product {
                rows: keys,
                k: head_width,
                n: lanes,
                lhs: &k[column..],
                lhs_stride: width,
                rhs: &queries[..head_width * lanes],
                layout: Layout::Packed,
                bias: &[],
                factor: 1.0,
                clamp: UNLIMITED,
                dst: scores,
                dst_stride: lanes,
            }
            .run();
            if causal {
                hide_later_keys(&mut scores[first * lanes..], lanes);
            }
            for lane in (0..count).step_by(LANES) {
                let sums = exponentials(&mut scores[lane..], lanes);
                Weighted {
                    keys,
                    scores: &scores[lane..],
                    lanes,
                    values: &v[column..],
                    width,
                    reciprocals: sums.map(|sum| if sum == 0.0 { 0.0 } else { 1.0 / sum }),
                    count: LANES.min(count - lane),
                }
                .run(head_width, &mut dst[(first + lane) * width + column..]);
            }
        }
    }
}

/// Sets the scores of keys behind their query to −∞. `scores` begins at the key that is the first query.
fn hide_later_keys(scores: &mut [f16], lanes: usize) {
    for (key, row) in scores.chunks_mut(lanes).enumerate() {
        row[..key.min(lanes)].fill(f16::NEG_INFINITY);
    }
}

/// Replaces scores by eˢ⁻ᵐᵃˣ, for the eight queries at the front of each row of `lanes`; returns the sum of each query.
#[target_feature(enable = "neon,fp16")]
fn exponentials(scores: &mut [f16], lanes: usize) -> [f32; LANES] {
    let low = splat(f16::NEG_INFINITY);
    let mut largest = low;
    for row in scores.chunks(lanes) {
        largest = vmaxq_f16(largest, load(row));
    }
    // A query that sees nothing but −inf: its exponentials are to be 0 and not NaN.
    let largest = vbslq_f16(vceqq_f16(largest, low), splat(f16::ZERO), largest);
    let mut sums = [vdupq_n_f32(0.0); 2];
    for row in scores.chunks_mut(lanes) {
        let power = exp(vsubq_f16(load(row), largest));
        store(power, row);
        let [low, high] = widen(power);
        sums = [vaddq_f32(sums[0], low), vaddq_f32(sums[1], high)];
    }
    let mut lanes = [0.0; LANES];
    let (quads, _) = lanes.as_chunks_mut::<4>();
    for (quad, sums) in quads.iter_mut().zip(sums) {
        // SAFETY: `quad` are the four numbers that are written.
        unsafe { vst1q_f32(quad.as_mut_ptr(), sums) };
    }
    lanes
}

/// The product of the exponentials of eight queries with the values of a head.
struct Weighted<'a> {
    keys: usize,
    /// (keys, lanes), of which the first eight are meant.
    scores: &'a [f16],
    lanes: usize,
    /// (keys, head_width), rows at a distance of `width`.
    values: &'a [f16],
    width: usize,
    /// Of the sums of the exponentials.
    reciprocals: [f32; LANES],
    /// Queries that there are, at most eight.
    count: usize,
}

impl Weighted<'_> {
    /// Writes (count, head_width), rows at a distance of `width`.
    #[target_feature(enable = "neon,fp16")]
    fn run(&self, head_width: usize, dst: &mut [f16]) {
        for column in (0..head_width).step_by(BLOCK_CHANNELS) {
            let count = BLOCK_CHANNELS.min(head_width - column);
            if count > LANES {
                self.columns::<2>(column, count, dst);
            } else {
                self.columns::<1>(column, count, dst);
            }
        }
    }

    /// `count` columns from `column` on, `NV` registers.
    #[target_feature(enable = "neon,fp16")]
    fn columns<const NV: usize>(&self, column: usize, count: usize, dst: &mut [f16]) {
        let values = Columns {
            data: &self.values[column..],
            stride: self.width,
        };
        let mut totals = [[[vdupq_n_f32(0.0); 2]; NV]; LANES];
        let len = chunk_len(self.keys);
        for first in (0..self.keys).step_by(len) {
            let end = self.keys.min(first + len);
            // SAFETY: The CPU has FEAT_FP16, as here.
            let sums = unsafe { self.accumulate::<NV>(first, end, values) };
            for r in 0..LANES {
                for j in 0..NV {
                    totals[r][j] = added(totals[r][j], sums[r][j]);
                }
            }
        }
        for r in 0..self.count {
            let dst = &mut dst[r * self.width + column..][..count];
            for (&totals, dst) in totals[r].iter().zip(dst.chunks_mut(LANES)) {
                store_up_to(scaled(totals, self.reciprocals[r]), dst);
            }
        }
    }

    /// Products of the tokens `first..end`.
    ///
    /// # Safety
    /// The CPU has FEAT_FP16.
    #[inline(always)]
    unsafe fn accumulate<const NV: usize>(
        &self,
        first: usize,
        end: usize,
        values: Columns<'_>,
    ) -> [[float16x8_t; NV]; LANES] {
        let whole = values.whole_rows(end, NV * LANES).max(first);
        let scores = &self.scores[..(end - 1) * self.lanes + LANES];
        // SAFETY: The caller vouches for FEAT_FP16.
        let mut sums = [[unsafe { splat(f16::ZERO) }; NV]; LANES];
        macro_rules! add {
            ($token:expr, $row:expr, $($lane:literal)*) => {
                // SAFETY: The token is less than `end`, to the last of which the scores were cut.
                let scores = unsafe { load_from(scores.as_ptr().add($token * self.lanes)) };
                $(for j in 0..NV {
                    // SAFETY: The caller vouches for FEAT_FP16.
                    sums[$lane][j] = unsafe { fma_lane::<$lane>(sums[$lane][j], $row[j], scores) };
                })*
            };
        }
        let mut first = first;
        if NV == 2 && first < whole {
            let values_from = values.data[first * values.stride..].as_ptr();
            let scores_from = scores[first * self.lanes..].as_ptr();
            let strides = [self.lanes, values.stride];
            // SAFETY: whole − first tokens have 8 scores, and their rows 16 columns inside the data.
            unsafe { accumulate_full(&mut sums, scores_from, values_from, strides, whole - first) };
            first = whole;
        }
        for token in first..whole {
            // SAFETY: token < whole ≤ values.whole_rows(), so that the row has `NV` registers inside the data.
            let row = unsafe { values.row::<NV>(token, values.stride) };
            add!(token, row, 0 1 2 3 4 5 6 7);
        }
        for token in whole..end {
            // SAFETY: The caller vouches for FEAT_FP16.
            let row = unsafe { values.padded::<NV>(token) };
            add!(token, row, 0 1 2 3 4 5 6 7);
        }
        sums
    }
}

/// Instructions for a query, the lane `$lane` of the scores, and 16 columns.
macro_rules! fmla_query {
    ($sums:literal, $lane:literal) => {
        concat!(
            "fmla {",
            $sums,
            "0:v}.8h, v1.8h, v0.h[",
            $lane,
            "]\n",
            "fmla {",
            $sums,
            "1:v}.8h, v2.8h, v0.h[",
            $lane,
            "]\n",
        )
    };
}

/// Adds the products of the scores of eight queries with 16 columns of the values, over `count` tokens.
///
/// # Safety
/// The CPU has FEAT_FP16. `count` is not 0; 8 halves can be read from `scores` on and 16 from `values` on, and as many at each
/// of the `count` − 1 next multiples of their stride.
#[inline(always)]
unsafe fn accumulate_full<const NV: usize>(
    sums: &mut [[float16x8_t; NV]; LANES],
    scores: *const f16,
    values: *const f16,
    strides: [usize; 2],
    count: usize,
) {
    let [
        a0,
        a1,
        b0,
        b1,
        c0,
        c1,
        d0,
        d1,
        e0,
        e1,
        f0,
        f1,
        g0,
        g1,
        h0,
        h1,
    ] = sums.as_flattened_mut()
    else {
        return;
    };
    let [scores_bytes, values_bytes] = strides.map(|stride| stride * size_of::<f16>());
    // SAFETY: The caller vouches for the instructions and for what is read.
    unsafe {
        asm!(
            ".arch_extension fp16",
            "2:",
            "ld1 {{v0.8h}}, [{scores}], {scores_bytes}",
            "ld1 {{v1.8h, v2.8h}}, [{values}], {values_bytes}",
            "subs {count}, {count}, #1",
            fmla_query!("a", 0),
            fmla_query!("b", 1),
            fmla_query!("c", 2),
            fmla_query!("d", 3),
            fmla_query!("e", 4),
            fmla_query!("f", 5),
            fmla_query!("g", 6),
            fmla_query!("h", 7),
            "b.ne 2b",
            scores = inout(reg) scores => _, values = inout(reg) values => _,
            scores_bytes = in(reg) scores_bytes, values_bytes = in(reg) values_bytes,
            count = inout(reg) count => _,
            a0 = inout(vreg) *a0, a1 = inout(vreg) *a1, b0 = inout(vreg) *b0, b1 = inout(vreg) *b1,
            c0 = inout(vreg) *c0, c1 = inout(vreg) *c1, d0 = inout(vreg) *d0, d1 = inout(vreg) *d1,
            e0 = inout(vreg) *e0, e1 = inout(vreg) *e1, f0 = inout(vreg) *f0, f1 = inout(vreg) *f1,
            g0 = inout(vreg) *g0, g1 = inout(vreg) *g1, h0 = inout(vreg) *h0, h1 = inout(vreg) *h1,
            out("v0") _, out("v1") _, out("v2") _,
            options(readonly, nostack)
        );
    }
}
