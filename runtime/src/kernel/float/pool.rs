//! Average and maximum over windows, a vector of channels at a time.

use super::depthwise::taps_inside;
use super::lanes::Lanes;
use crate::kernel::PoolF32;

/// See [`crate::kernel::scalar::avg_pool_float`].
#[inline(always)]
pub(crate) fn avg_pool_f32<V: Lanes>(v: V, args: PoolF32<'_>) {
    pool::<V, false>(v, args);
}

/// See [`crate::kernel::scalar::max_pool_float`].
#[inline(always)]
pub(crate) fn max_pool_f32<V: Lanes>(v: V, args: PoolF32<'_>) {
    pool::<V, true>(v, args);
}

/// The maximum of each window, or its mean.
#[inline(always)]
fn pool<V: Lanes, const MAX: bool>(v: V, args: PoolF32<'_>) {
    let PoolF32 {
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
                        let tap = v.load_up_to(&src[offset..][..dst.len()]);
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
                v.store_up_to(state, dst);
            }
        }
    }
}
