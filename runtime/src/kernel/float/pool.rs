//! Average and maximum over windows, a vector of channels at a time.

use super::depthwise::taps_inside;
use super::lanes::{Lanes, Number};
use crate::kernel::PoolFloat;

/// See [`crate::kernel::scalar::avg_pool_float`].
#[inline(always)]
pub(crate) fn avg_pool_float<V: Lanes, E: Number>(v: V, args: PoolFloat<'_, E>) {
    pool::<V, E, false>(v, args);
}

/// See [`crate::kernel::scalar::max_pool_float`].
#[inline(always)]
pub(crate) fn max_pool_float<V: Lanes, E: Number>(v: V, args: PoolFloat<'_, E>) {
    pool::<V, E, true>(v, args);
}

/// The maximum of each window, or its mean.
#[inline(always)]
fn pool<V: Lanes, E: Number, const MAX: bool>(v: V, args: PoolFloat<'_, E>) {
    let PoolFloat {
        window,
        channels,
        src,
        dst,
    } = args;
    let start = if MAX { f32::NEG_INFINITY } else { 0.0 };
    for y in 0..window.output[0] {
        let down = taps_inside(&window, 0, y);
        for x in 0..window.output[1] {
            let across = taps_inside(&window, 1, x);
            let taps = down.len() * across.len();
            let dst = &mut dst[(y * window.output[1] + x) * channels..][..channels];
            for (group, dst) in dst.chunks_mut(V::LANES).enumerate() {
                let mut state = v.splat(start);
                for ky in down.clone() {
                    let row = y * window.stride[0] + ky * window.dilation[0] - window.padding[0];
                    for kx in across.clone() {
                        let column =
                            x * window.stride[1] + kx * window.dilation[1] - window.padding[1];
                        let offset = (row * window.input[1] + column) * channels + group * V::LANES;
                        let tap = E::load_up_to(v, &src[offset..][..dst.len()]);
                        state = if MAX {
                            v.max_nan(state, tap)
                        } else {
                            v.add(state, tap)
                        };
                    }
                }
                if !MAX {
                    state = v.div(state, v.splat(taps.max(1) as f32));
                }
                E::store_up_to(v, state, dst);
            }
        }
    }
}
