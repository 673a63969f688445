//! Average and maximum over windows, a chunk of channels at a time.

use super::rows::fold;
use super::select::max;
use super::{CHUNK, FloatLevel, Number};
use crate::kernel::PoolFloat;

/// See [`crate::kernel::scalar::avg_pool_float`].
pub(crate) fn avg_pool<L: FloatLevel, T: Number>(args: PoolFloat<'_, T>) {
    pool::<L, T, false>(args);
}

/// See [`crate::kernel::scalar::max_pool_float`].
pub(crate) fn max_pool<L: FloatLevel, T: Number>(args: PoolFloat<'_, T>) {
    pool::<L, T, true>(args);
}

/// The maximum of each window, or its mean.
fn pool<L: FloatLevel, T: Number, const MAX: bool>(args: PoolFloat<'_, T>) {
    let PoolFloat {
        window,
        channels,
        src,
        dst,
    } = args;
    let width = window.kernel[1];
    let taps = window.kernel[0] * width;
    let mut state = [0.0; CHUNK];
    for (pixel, dst) in dst.chunks_exact_mut(channels.max(1)).enumerate() {
        let position = [pixel / window.output[1], pixel % window.output[1]];
        let inside = (0..taps).filter_map(|tap| window.pixel(position, [tap / width, tap % width]));
        let count = inside.clone().count().max(1) as f32;
        for (chunk, dst) in dst.chunks_mut(CHUNK).enumerate() {
            let first = chunk * CHUNK;
            let rows = inside
                .clone()
                .map(|pixel| &src[pixel * channels + first..][..dst.len()]);
            let state = &mut state[..dst.len()];
            if MAX {
                state.fill(f32::NEG_INFINITY);
                fold::<L, T>(rows, state, max);
            } else {
                state.fill(0.0);
                fold::<L, T>(rows, state, |sum, x| sum + x);
                let reciprocal = 1.0 / count;
                state.iter_mut().for_each(|sum| *sum *= reciprocal);
            }
            T::store::<L>(state, dst);
        }
    }
}
