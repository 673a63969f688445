//! Float operations in bands, once over f32 and halves.

use std::vec;

use super::{ELEMENTS_UNIT, Threads};
use crate::kernel::{ConvFloat, DepthwiseConvFloat, Float, GemmFloat, MatmulFloat, TILE_ROWS};
use crate::model::op::{BinaryKind, UnaryKind};

impl Threads {
    pub(super) fn gemm<T: Float>(&self, args: GemmFloat<'_, T>) {
        if !self.cuts_product(args.rows, args.rows * args.k * args.n) {
            return T::gemm(self.inner.0, args);
        }
        let scratch_len = args.scratch.len();
        let weights = args.weights;
        self.bands(args.rows, TILE_ROWS, args.n, args.dst, |rows, dst| {
            T::gemm(
                self.inner.0,
                GemmFloat {
                    rows: rows.len(),
                    lhs: &args.lhs[rows.start * args.k..rows.end * args.k],
                    weights: T::reborrow(weights),
                    scratch: &mut vec![0.0; scratch_len],
                    dst,
                    ..args
                },
            );
        });
    }

    pub(super) fn conv<T: Float>(&self, args: ConvFloat<'_, T>) {
        let macs = args.window.taps() * args.in_channels * args.out_channels;
        if !self.cuts_window(&args.window, macs) {
            return T::conv(self.inner.0, args);
        }
        let per_row = args.window.output[1] * args.out_channels;
        let scratch_len = args.scratch.len();
        let weights = args.weights;
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            T::conv(
                self.inner.0,
                ConvFloat {
                    window,
                    src: &args.src[first * window.input[1] * args.in_channels..],
                    scratch: &mut vec![0.0; scratch_len],
                    weights: T::reborrow(weights),
                    dst,
                    ..args
                },
            );
        });
    }

    pub(super) fn depthwise_conv<T: Float>(&self, args: DepthwiseConvFloat<'_, T>) {
        if !self.cuts_window(&args.window, args.window.taps() * args.channels) {
            return T::depthwise_conv(self.inner.0, args);
        }
        let per_row = args.window.output[1] * args.channels;
        self.bands(args.window.output[0], 1, per_row, args.dst, |rows, dst| {
            let (window, first) = args.window.band(rows);
            T::depthwise_conv(
                self.inner.0,
                DepthwiseConvFloat {
                    window,
                    src: &args.src[first * window.input[1] * args.channels..],
                    dst,
                    ..args
                },
            );
        });
    }

    pub(super) fn matmul<T: Float>(&self, args: MatmulFloat<'_, T>) {
        if !self.cuts_product(args.m, args.m * args.k * args.n) {
            return T::matmul(self.inner.0, args);
        }
        self.bands(args.m, TILE_ROWS, args.n, args.dst, |rows, dst| {
            T::matmul(
                self.inner.0,
                MatmulFloat {
                    m: rows.len(),
                    lhs: &args.lhs[rows.start * args.k..rows.end * args.k],
                    dst,
                    ..args
                },
            );
        });
    }

    pub(super) fn unary<T: Float>(
        &self,
        function: UnaryKind,
        constants: [f32; 2],
        src: &[T],
        dst: &mut [T],
    ) {
        if !self.cuts_elements(src.len()) {
            return T::unary(self.inner.0, function, constants, src, dst);
        }
        self.bands(src.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            T::unary(self.inner.0, function, constants, &src[range], dst);
        });
    }

    pub(super) fn binary<T: Float>(
        &self,
        function: BinaryKind,
        lhs: &[T],
        rhs: &[T],
        dst: &mut [T],
    ) {
        if !self.cuts_elements(lhs.len()) {
            return T::binary(self.inner.0, function, lhs, rhs, dst);
        }
        self.bands(lhs.len(), ELEMENTS_UNIT, 1, dst, |range, dst| {
            T::binary(
                self.inner.0,
                function,
                &lhs[range.clone()],
                &rhs[range],
                dst,
            );
        });
    }

    pub(super) fn softmax<T: Float>(&self, columns: usize, src: &[T], dst: &mut [T]) {
        let rows = src.len() / columns.max(1);
        if !self.cuts_rows(rows, src.len()) {
            return T::softmax(self.inner.0, columns, src, dst);
        }
        self.bands(rows, 1, columns, dst, |rows, dst| {
            let src = &src[rows.start * columns..rows.end * columns];
            T::softmax(self.inner.0, columns, src, dst);
        });
    }

    pub(super) fn layer_norm<T: Float>(
        &self,
        epsilon: f32,
        gamma: &[f32],
        beta: &[f32],
        src: &[T],
        dst: &mut [T],
    ) {
        let n = gamma.len().max(1);
        let rows = src.len() / n;
        if !self.cuts_rows(rows, src.len()) {
            return T::layer_norm(self.inner.0, epsilon, gamma, beta, src, dst);
        }
        self.bands(rows, 1, n, dst, |rows, dst| {
            let src = &src[rows.start * n..rows.end * n];
            T::layer_norm(self.inner.0, epsilon, gamma, beta, src, dst);
        });
    }
}
