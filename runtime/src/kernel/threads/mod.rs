//! A kernel set that computes each large operation on several threads, with the bits of the set that it wraps.
//!
//! The output is cut into bands of rows, and every band is one call of the wrapped set, with scratch of its own:
//!
//! ```text
//! rows of a product, of a picture, of a norm:  | band 0 | band 1 | … |     one thread each, the last one on the caller's
//! ```
//!
//! Bands begin at multiples of [`TILE_ROWS`] where a kernel works in tiles, so that float products meet the same tiles, in
//! the same order, as on one thread. Integer operations have the same bits however they are cut. What is too small to gain,
//! or depends on where it stands in the whole (attention with a bias inside one window), stays on one thread.
//!
//! Every method of [`Kernels`] is here, so that none falls back to the scalar set unseen; a test compares the lists.
//!
//! The pool is `rayon`'s: its threads wait for work without sleeping between operators that follow each other closely, and
//! it lends borrowed slices to them safely. Run a whole inference inside [`Threads::install`], so that the calling thread is
//! one of them.

mod bands;
mod float;

use std::vec;

use half::f16;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::kernel::packing::WeightLayout;
use crate::kernel::resample::{ResampleColumnsU8, ResampleRowU8};
use crate::kernel::{
    AddS8, AddS16, AttentionF16, AttentionF32, AttentionS8, ConvF16, ConvF32, ConvS8,
    DepthwiseConvF16, DepthwiseConvF32, DepthwiseConvS8, DepthwiseConvS16, DotRowsS8, EmbeddingS8,
    GemmF16, GemmF32, GemmS8, Kernels, LayerNormS16, LutChannelsS16, LutS16, MatmulF16, MatmulF32,
    MeanS8, MeanS16, MulS8, PoolF16, PoolF32, PoolS8, RescaleS16, ScoreBias, SoftmaxS8, TILE_ROWS,
};
use crate::model::op::{BinaryKind, ReduceKind, UnaryKind};

/// Multiply-accumulates below which a product stays on one thread: about 10 µs of one.
const LEAST_MACS: usize = 1 << 18;
/// Elements below which an element-wise operation does.
const LEAST_ELEMENTS: usize = 1 << 14;
/// Element-wise bands begin at multiples of this: a cache line.
const ELEMENTS_UNIT: usize = 64;

/// A kernel set on several threads.
#[derive(Debug)]
pub struct Threads {
    inner: Inner,
    pool: ThreadPool,
    least_macs: usize,
    least_elements: usize,
}

/// The wrapped set; a trait object has no `Debug` of its own.
struct Inner(&'static dyn Kernels);

impl core::fmt::Debug for Inner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Threads {
    /// `inner` on `threads` threads; 0 counts as 1.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub fn new(inner: &'static dyn Kernels, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| std::format!("pinhole-{index}"))
            .build()?;
        Ok(Self {
            inner: Inner(inner),
            pool,
            least_macs: LEAST_MACS,
            least_elements: LEAST_ELEMENTS,
        })
    }

    /// Cuts everything that can be cut, however small: for tests.
    #[must_use]
    pub fn cutting_everything(self) -> Self {
        Self {
            least_macs: 0,
            least_elements: 0,
            ..self
        }
    }

    /// Threads of the pool.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on a thread of the pool. Operations inside of it start their bands without a detour.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

impl Kernels for Threads {
    fn name(&self) -> &'static str {
        self.inner.0.name()
    }

    fn reads(&self, layout: WeightLayout) -> bool {
        self.inner.0.reads(layout)
    }

    fn gemm_s8(&self, args: GemmS8<'_>) {
        if !self.cuts_product(args.rows, args.rows * args.k * args.n) {
            return self.inner.0.gemm_s8(args);
        }
        let scratch_bytes = args.scratch.len();
        self.bands(args.rows, TILE_ROWS, args.n, args.dst, |rows, dst| {
            self.inner.0.gemm_s8(GemmS8 {
                rows: rows.len(),
                lhs: &args.lhs[rows.start * args.k..rows.end * args.k],
                scratch: &mut vec![0; scratch_bytes],
                dst,
                ..args
            });
        });
    }

    fn conv_s8(&self, args: ConvS8<'_>) {
        let macs = args.window.taps() * args.in_channels * args.out_channels;
        if !self.cuts_window(&args.window, macs) {
            return self.inner.0.conv_s8(args);
        }
        let per_row = args.window.output[1] * args.out_channels;
        let scratch_bytes = args.scratch.len();
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            self.inner.0.conv_s8(ConvS8 {
                window,
                src: &args.src[first * window.input[1] * args.in_channels..],
                scratch: &mut vec![0; scratch_bytes],
                dst,
                ..args
            });
        });
    }

    fn depthwise_conv_s8(&self, args: DepthwiseConvS8<'_>) {
        if !self.cuts_window(&args.window, args.window.taps() * args.channels) {
            return self.inner.0.depthwise_conv_s8(args);
        }
        let per_row = args.window.output[1] * args.channels;
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            self.inner.0.depthwise_conv_s8(DepthwiseConvS8 {
                window,
                src: &args.src[first * window.input[1] * args.channels..],
                dst,
                ..args
            });
        });
    }

    fn depthwise_conv_s16(&self, args: DepthwiseConvS16<'_>) {
        if !self.cuts_window(&args.window, args.window.taps() * args.channels) {
            return self.inner.0.depthwise_conv_s16(args);
        }
        let per_row = args.window.output[1] * args.channels;
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            self.inner.0.depthwise_conv_s16(DepthwiseConvS16 {
                window,
                src: &args.src[first * window.input[1] * args.channels..],
                dst,
                ..args
            });
        });
    }

    fn add_s8(&self, args: AddS8<'_>) {
        if !self.cuts_elements(args.lhs.len()) {
            return self.inner.0.add_s8(args);
        }
        self.bands(args.lhs.len(), ELEMENTS_UNIT, 1, args.dst, |range, dst| {
            self.inner.0.add_s8(AddS8 {
                lhs: &args.lhs[range.clone()],
                rhs: &args.rhs[range],
                dst,
                ..args
            });
        });
    }

    fn mul_s8(&self, args: MulS8<'_>) {
        if !self.cuts_elements(args.lhs.len()) || args.rhs.is_empty() {
            return self.inner.0.mul_s8(args);
        }
        // The second operand repeats, or is as long as the first: then it is cut alike.
        let repeats = args.rhs.len() < args.lhs.len();
        let period = if repeats { args.rhs.len() } else { 1 };
        self.bands(args.lhs.len() / period, 1, period, args.dst, |rows, dst| {
            let range = rows.start * period..rows.end * period;
            self.inner.0.mul_s8(MulS8 {
                lhs: &args.lhs[range.clone()],
                rhs: if repeats { args.rhs } else { &args.rhs[range] },
                dst,
                ..args
            });
        });
    }

    fn avg_pool_s8(&self, args: PoolS8<'_>) {
        self.pool_s8(args, |args| self.inner.0.avg_pool_s8(args));
    }

    fn max_pool_s8(&self, args: PoolS8<'_>) {
        self.pool_s8(args, |args| self.inner.0.max_pool_s8(args));
    }

    fn mean_s8(&self, args: MeanS8<'_>) {
        self.inner.0.mean_s8(args);
    }

    fn lut_s8(&self, table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
        if !self.cuts_elements(src.len()) {
            return self.inner.0.lut_s8(table, src, dst);
        }
        self.bands(src.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            self.inner.0.lut_s8(table, &src[range], dst);
        });
    }

    fn lut_s16(&self, args: LutS16<'_>) {
        if !self.cuts_elements(args.src.len()) {
            return self.inner.0.lut_s16(args);
        }
        // Every field by name: rustc 1.95 does not compile `..args` of arrays whose length is a constant in a closure.
        let LutS16 {
            outer,
            inner,
            inner_shift,
            src,
            dst,
        } = args;
        self.bands(src.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            self.inner.0.lut_s16(LutS16 {
                outer,
                inner,
                inner_shift,
                src: &src[range],
                dst,
            });
        });
    }

    fn lut_channels_s16(&self, args: LutChannelsS16<'_>) {
        let channels = args.index.len().max(1);
        let rows = args.src.len() / channels;
        if !self.cuts_rows(rows, args.src.len()) {
            return self.inner.0.lut_channels_s16(args);
        }
        let LutChannelsS16 {
            tables,
            index,
            inner_shifts,
            src,
            dst,
        } = args;
        self.bands(rows, 1, channels, dst, |rows, dst| {
            self.inner.0.lut_channels_s16(LutChannelsS16 {
                tables,
                index,
                inner_shifts,
                src: &src[rows.start * channels..][..dst.len()],
                dst,
            });
        });
    }

    fn lut_channels_s8(&self, tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
        let channels = index.len().max(1);
        let rows = src.len() / channels;
        if !self.cuts_rows(rows, src.len()) {
            return self.inner.0.lut_channels_s8(tables, index, src, dst);
        }
        self.bands(rows, 1, channels, dst, |rows, dst| {
            let src = &src[rows.start * channels..][..dst.len()];
            self.inner.0.lut_channels_s8(tables, index, src, dst);
        });
    }

    fn normalize_s16(&self, src: &[i16], dst: &mut [i8]) {
        self.inner.0.normalize_s16(src, dst);
    }

    fn add_s16(&self, args: AddS16<'_>) {
        if !self.cuts_elements(args.lhs.len()) {
            return self.inner.0.add_s16(args);
        }
        self.bands(args.lhs.len(), ELEMENTS_UNIT, 1, args.dst, |range, dst| {
            self.inner.0.add_s16(AddS16 {
                lhs: args.lhs.part(range.clone()),
                rhs: args.rhs.part(range),
                dst,
                ..args
            });
        });
    }

    fn rescale_s16(&self, args: RescaleS16<'_>) {
        if !self.cuts_elements(args.src.len()) {
            return self.inner.0.rescale_s16(args);
        }
        self.bands(args.src.len(), ELEMENTS_UNIT, 1, args.dst, |range, dst| {
            self.inner.0.rescale_s16(RescaleS16 {
                src: args.src.part(range),
                dst,
                ..args
            });
        });
    }

    fn layer_norm_s16(&self, args: LayerNormS16<'_>) {
        let n = args.gamma.len().max(1);
        let rows = args.src.len() / n;
        if !self.cuts_rows(rows, args.src.len()) {
            return self.inner.0.layer_norm_s16(args);
        }
        self.bands(rows, 1, n, args.dst, |rows, dst| {
            self.inner.0.layer_norm_s16(LayerNormS16 {
                src: args.src.part(rows.start * n..rows.end * n),
                dst,
                ..args
            });
        });
    }

    fn attention_s8(&self, args: AttentionS8<'_>) {
        let width = args.heads.len() * args.head_width;
        let macs = 2 * args.windows * args.queries * args.keys * width;
        if !self.cuts_rows(2, macs) || macs < self.least_macs {
            return self.inner.0.attention_s8(args);
        }
        let words = args.scratch.len();
        if args.windows > 1 {
            let per_window = args.queries * width;
            return self.bands(args.windows, 1, per_window, args.dst, |windows, dst| {
                self.inner.0.attention_s8(AttentionS8 {
                    windows: windows.len(),
                    q: args.q.rows(&windows, args.queries),
                    k: args.k.rows(&windows, args.keys),
                    v: args.v.rows(&windows, args.keys),
                    scratch: &mut vec![0; words],
                    dst,
                    ..args
                });
            });
        }
        if !matches!(args.bias, ScoreBias::None) || args.queries < 2 * TILE_ROWS {
            return self.inner.0.attention_s8(args);
        }
        self.bands(args.queries, TILE_ROWS, width, args.dst, |rows, dst| {
            self.inner.0.attention_s8(AttentionS8 {
                queries: rows.len(),
                causal_from: args.causal_from.map(|first| first + rows.start),
                q: args.q.rows(&rows, 1),
                scratch: &mut vec![0; words],
                dst,
                ..args
            });
        });
    }

    fn softmax_s8(&self, args: SoftmaxS8<'_>) {
        let columns = args.columns.max(1);
        let rows = args.src.len() / columns;
        if !self.cuts_rows(rows, args.src.len()) {
            return self.inner.0.softmax_s8(args);
        }
        self.bands(rows, 1, columns, args.dst, |rows, dst| {
            self.inner.0.softmax_s8(SoftmaxS8 {
                src: &args.src[rows.start * columns..rows.end * columns],
                dst,
                ..args
            });
        });
    }

    fn embedding_s8(&self, args: EmbeddingS8<'_>) {
        self.inner.0.embedding_s8(args);
    }

    fn mean_s16(&self, args: MeanS16<'_>) {
        self.inner.0.mean_s16(args);
    }

    fn dot_s8(&self, lhs: &[i8], rhs: &[i8]) -> i32 {
        self.inner.0.dot_s8(lhs, rhs)
    }

    fn dot_rows_s8(&self, args: DotRowsS8<'_>) {
        self.inner.0.dot_rows_s8(args);
    }

    fn lut_rgb_u8(&self, tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
        self.inner.0.lut_rgb_u8(tables, src, dst);
    }

    fn resample_row_u8(&self, args: ResampleRowU8<'_>) {
        self.inner.0.resample_row_u8(args);
    }

    fn resample_columns_u8(&self, args: ResampleColumnsU8<'_>) {
        self.inner.0.resample_columns_u8(args);
    }

    fn add_weighted_u8(&self, weight: i32, src: &[u8], sums: &mut [i32]) {
        self.inner.0.add_weighted_u8(weight, src, sums);
    }

    fn clip_sums_u8(&self, sums: &[i32], dst: &mut [u8]) {
        self.inner.0.clip_sums_u8(sums, dst);
    }

    fn quantize_f32(&self, src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
        if !self.cuts_elements(src.len()) {
            return self.inner.0.quantize_f32(src, scale, zero_point, dst);
        }
        self.bands(src.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            self.inner
                .0
                .quantize_f32(&src[range], scale, zero_point, dst);
        });
    }

    fn dequantize_s8(&self, src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
        if !self.cuts_elements(src.len()) {
            return self.inner.0.dequantize_s8(src, scale, zero_point, dst);
        }
        self.bands(src.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            self.inner
                .0
                .dequantize_s8(&src[range], scale, zero_point, dst);
        });
    }

    fn gemm_f32(&self, args: GemmF32<'_>) {
        self.gemm(args);
    }

    fn conv_f32(&self, args: ConvF32<'_>) {
        self.conv(args);
    }

    fn depthwise_conv_f32(&self, args: DepthwiseConvF32<'_>) {
        self.depthwise_conv(args);
    }

    fn matmul_f32(&self, args: MatmulF32<'_>) {
        self.matmul(args);
    }

    fn attention_f32(&self, args: AttentionF32<'_>) {
        self.inner.0.attention_f32(args);
    }

    fn avg_pool_f32(&self, args: PoolF32<'_>) {
        self.inner.0.avg_pool_f32(args);
    }

    fn max_pool_f32(&self, args: PoolF32<'_>) {
        self.inner.0.max_pool_f32(args);
    }

    fn unary_f32(&self, function: UnaryKind, constants: [f32; 2], src: &[f32], dst: &mut [f32]) {
        self.unary(function, constants, src, dst);
    }

    fn binary_f32(&self, function: BinaryKind, lhs: &[f32], rhs: &[f32], dst: &mut [f32]) {
        self.binary(function, lhs, rhs, dst);
    }

    fn softmax_f32(&self, columns: usize, src: &[f32], dst: &mut [f32]) {
        self.softmax(columns, src, dst);
    }

    fn layer_norm_f32(
        &self,
        epsilon: f32,
        gamma: &[f32],
        beta: &[f32],
        src: &[f32],
        dst: &mut [f32],
    ) {
        self.layer_norm(epsilon, gamma, beta, src, dst);
    }

    fn reduce_f32(&self, function: ReduceKind, dims: [usize; 3], src: &[f32], dst: &mut [f32]) {
        self.inner.0.reduce_f32(function, dims, src, dst);
    }

    fn widen_f16(&self, src: &[f16], dst: &mut [f32]) {
        self.inner.0.widen_f16(src, dst);
    }

    fn narrow_f32(&self, src: &[f32], dst: &mut [f16]) {
        self.inner.0.narrow_f32(src, dst);
    }

    fn gemm_f16(&self, args: GemmF16<'_>) {
        self.gemm(args);
    }

    fn conv_f16(&self, args: ConvF16<'_>) {
        self.conv(args);
    }

    fn depthwise_conv_f16(&self, args: DepthwiseConvF16<'_>) {
        self.depthwise_conv(args);
    }

    fn matmul_f16(&self, args: MatmulF16<'_>) {
        self.matmul(args);
    }

    fn attention_f16(&self, args: AttentionF16<'_>) {
        self.inner.0.attention_f16(args);
    }

    fn avg_pool_f16(&self, args: PoolF16<'_>) {
        self.inner.0.avg_pool_f16(args);
    }

    fn max_pool_f16(&self, args: PoolF16<'_>) {
        self.inner.0.max_pool_f16(args);
    }

    fn unary_f16(&self, function: UnaryKind, constants: [f32; 2], src: &[f16], dst: &mut [f16]) {
        self.unary(function, constants, src, dst);
    }

    fn binary_f16(&self, function: BinaryKind, lhs: &[f16], rhs: &[f16], dst: &mut [f16]) {
        self.binary(function, lhs, rhs, dst);
    }

    fn softmax_f16(&self, columns: usize, src: &[f16], dst: &mut [f16]) {
        self.softmax(columns, src, dst);
    }

    fn layer_norm_f16(
        &self,
        epsilon: f32,
        gamma: &[f32],
        beta: &[f32],
        src: &[f16],
        dst: &mut [f16],
    ) {
        self.layer_norm(epsilon, gamma, beta, src, dst);
    }

    fn reduce_f16(&self, function: ReduceKind, dims: [usize; 3], src: &[f16], dst: &mut [f16]) {
        self.inner.0.reduce_f16(function, dims, src, dst);
    }
}

impl Threads {
    fn pool_s8(&self, args: PoolS8<'_>, body: impl Fn(PoolS8<'_>) + Sync) {
        if !self.cuts_window(&args.window, args.window.taps() * args.channels) {
            return body(args);
        }
        let per_row = args.window.output[1] * args.channels;
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            body(PoolS8 {
                window,
                src: &args.src[first * window.input[1] * args.channels..],
                dst,
                ..args
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    /// Names of the methods in the text of a source file, indented once.
    fn methods(text: &str) -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("    fn "));
        let mut names: Vec<&str> = lines.filter_map(|line| line.split('(').next()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_operation_is_forwarded() {
        let between = |text: &'static str, start: &str, end: &str| {
            let from = text.find(start).expect("the start");
            let len = text[from..].find(end).expect("the end");
            methods(&text[from..from + len])
        };
        let all = between(include_str!("../mod.rs"), "pub trait Kernels", "\n}\n");
        let forwarded = between(include_str!("mod.rs"), "impl Kernels for Threads", "\n}\n");
        assert!(all.len() > 30, "{all:?}");
        assert_eq!(all, forwarded);
    }
}
