//! Convolutions and pooling.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{
    ConvF32, DepthwiseConvF32, Kernels, PoolF32, Window, available, tile_scratch_bytes,
};

use super::products::UNLIMITED;
use super::support::{Random, STORAGES, Sum, UNIT, Weights, guarded, whole};

/// A window whose every dimension is drawn, the output size being what fits.
pub(crate) fn random_window(random: &mut Random) -> Window {
    let mut window = Window {
        input: [1 + random.up_to(11), 1 + random.up_to(14)],
        output: [0; 2],
        kernel: [1 + random.up_to(4), 1 + random.up_to(4)],
        stride: [1 + random.up_to(2), 1 + random.up_to(2)],
        padding: [0; 2],
        dilation: [1 + random.up_to(1), 1 + random.up_to(1)],
    };
    for axis in 0..2 {
        window.padding[axis] = random.up_to(window.kernel[axis] - 1);
        let behind = random.up_to(window.kernel[axis] - 1);
        let room = window.input[axis] + window.padding[axis] + behind;
        let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        window.output[axis] = room
            .checked_sub(span)
            .map_or(0, |rest| rest / window.stride[axis] + 1);
    }
    window
}

pub(crate) fn square(input: usize, kernel: usize, stride: usize) -> Window {
    Window {
        input: [input; 2],
        output: [input.div_ceil(stride); 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [(kernel - 1) / 2; 2],
        dilation: [1; 2],
    }
}

/// Calls `visit(tap, pixel)` for every tap of the output at (y, x) that lies inside the picture.
pub(crate) fn for_each_tap(
    window: &Window,
    [y, x]: [usize; 2],
    mut visit: impl FnMut(usize, usize),
) {
    for ky in 0..window.kernel[0] {
        for kx in 0..window.kernel[1] {
            let iy = (y * window.stride[0] + ky * window.dilation[0]) as isize
                - window.padding[0] as isize;
            let ix = (x * window.stride[1] + kx * window.dilation[1]) as isize
                - window.padding[1] as isize;
            let inside = (0..window.input[0] as isize).contains(&iy)
                && (0..window.input[1] as isize).contains(&ix);
            if inside {
                visit(
                    ky * window.kernel[1] + kx,
                    iy as usize * window.input[1] + ix as usize,
                );
            }
        }
    }
}

fn check_conv(
    random: &mut Random,
    storage: &str,
    window: Window,
    in_channels: usize,
    out_channels: usize,
) {
    let k = window.kernel[0] * window.kernel[1] * in_channels;
    let src = random.numbers(window.input[0] * window.input[1] * in_channels);
    let weights = Weights::random(random, storage, out_channels, k);
    let bias = random.numbers(out_channels);
    let clamp = [-0.5, 6.0];
    let pixels = window.output[0] * window.output[1];
    let whole_src = whole(&src);
    let expected: Vec<Sum> = (0..pixels * out_channels)
        .map(|i| {
            let (pixel, channel) = (i / out_channels, i % out_channels);
            let unit = UNIT * weights.units[channel];
            let mut sum = Sum::default();
            for_each_tap(
                &window,
                [pixel / window.output[1], pixel % window.output[1]],
                |tap, at| {
                    let inputs = &whole_src[at * in_channels..][..in_channels];
                    let weights = &weights.whole[channel * k + tap * in_channels..][..in_channels];
                    sum.add_products(inputs, weights, unit);
                },
            );
            sum.add(f64::from(bias[channel]));
            sum
        })
        .collect();
    for kernels in available() {
        let mut scratch = vec![f32::NAN; tile_scratch_bytes(k, 4).unwrap() / 4];
        let found = guarded(pixels * out_channels, |dst| {
            kernels.conv_f32(ConvF32 {
                window,
                in_channels,
                out_channels,
                src: &src,
                weights: weights.as_args(),
                bias: &bias,
                clamp,
                dst,
                scratch: &mut scratch,
            });
        });
        for (i, (&x, sum)) in found.iter().zip(&expected).enumerate() {
            sum.check(x, clamp, || {
                format!("{} {storage} {window:?} element {i}", kernels.name())
            });
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn conv_agrees_for_random_windows() {
    let mut random = Random(10);
    for step in 0..150 {
        let window = random_window(&mut random);
        let (c, n) = (1 + random.up_to(18), 1 + random.up_to(36));
        check_conv(&mut random, STORAGES[step % 3], window, c, n);
    }
}

#[cfg_attr(test, test)]
pub(crate) fn conv_agrees_for_the_stem_and_for_pointwise_layers() {
    let mut random = Random(11);
    for storage in STORAGES {
        check_conv(&mut random, storage, square(48, 3, 2), 3, 32);
        check_conv(&mut random, storage, square(14, 1, 1), 80, 24);
        check_conv(&mut random, storage, square(14, 1, 2), 20, 17);
    }
}

fn check_depthwise(random: &mut Random, window: Window, channels: usize) {
    let taps = window.kernel[0] * window.kernel[1];
    let src = random.numbers(window.input[0] * window.input[1] * channels);
    let weights = random.numbers(taps * channels);
    let with_bias = random.up_to(1);
    let bias = random.numbers(with_bias * channels);
    let clamp = [0.0, 6.0];
    for kernels in available() {
        let found = guarded(window.output[0] * window.output[1] * channels, |dst| {
            let (src, weights, bias) = (&src, &weights, &bias);
            kernels.depthwise_conv_f32(DepthwiseConvF32 {
                window,
                channels,
                src,
                weights,
                bias,
                clamp,
                dst,
            });
        });
        for (i, &x) in found.iter().enumerate() {
            let (pixel, channel) = (i / channels, i % channels);
            let mut sum = Sum::default();
            for_each_tap(
                &window,
                [pixel / window.output[1], pixel % window.output[1]],
                |tap, at| {
                    sum.add(
                        f64::from(src[at * channels + channel])
                            * f64::from(weights[tap * channels + channel]),
                    );
                },
            );
            sum.add(f64::from(bias.get(channel).copied().unwrap_or(0.0)));
            sum.check(x, clamp, || {
                format!("{} {window:?} c {channels} element {i}", kernels.name())
            });
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn depthwise_conv_agrees_for_random_windows_and_every_channel_count() {
    let mut random = Random(12);
    for channels in 0..=67 {
        for _ in 0..4 {
            let window = random_window(&mut random);
            check_depthwise(&mut random, window, channels);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn depthwise_conv_agrees_for_the_layers_of_efficientnet() {
    let mut random = Random(13);
    for (input, kernel, stride, channels) in [
        (28, 3, 1, 32),
        (28, 3, 2, 96),
        (28, 5, 2, 144),
        (14, 5, 1, 240),
    ] {
        check_depthwise(&mut random, square(input, kernel, stride), channels);
    }
}

type Pool = fn(&dyn Kernels, PoolF32<'_>);

const POOLS: [(&str, Pool); 2] = [
    ("avg", |kernels, args| kernels.avg_pool_f32(args)),
    ("max", |kernels, args| kernels.max_pool_f32(args)),
];

#[cfg_attr(test, test)]
pub(crate) fn pools_agree_for_random_windows_and_every_channel_count() {
    let mut random = Random(14);
    for channels in 0..=67 {
        let window = Window {
            dilation: [1; 2],
            ..random_window(&mut random)
        };
        check_pools(&mut random, window, channels);
    }
    check_pools(
        &mut random,
        Window {
            output: [1; 2],
            padding: [0; 2],
            ..square(7, 7, 1)
        },
        1280,
    );
}

fn check_pools(random: &mut Random, window: Window, channels: usize) {
    let src = random.numbers(window.input[0] * window.input[1] * channels);
    for kernels in available() {
        for (name, pool) in POOLS {
            let found = guarded(window.output[0] * window.output[1] * channels, |dst| {
                pool(
                    kernels,
                    PoolF32 {
                        window,
                        channels,
                        src: &src,
                        dst,
                    },
                );
            });
            for (i, &x) in found.iter().enumerate() {
                let (pixel, channel) = (i / channels, i % channels);
                let (mut sum, mut largest) = (Sum::default(), f32::NEG_INFINITY);
                for_each_tap(
                    &window,
                    [pixel / window.output[1], pixel % window.output[1]],
                    |_, at| {
                        sum.add(f64::from(src[at * channels + channel]));
                        largest = largest.max(src[at * channels + channel]);
                    },
                );
                if name == "max" {
                    assert_eq!(x, largest, "{} {window:?} element {i}", kernels.name());
                } else {
                    let count = sum.terms.max(1) as f64;
                    let mean = Sum {
                        value: sum.value / count,
                        magnitude: sum.magnitude / count,
                        ..sum
                    };
                    mean.check(x, UNLIMITED, || {
                        format!("{} {window:?} element {i}", kernels.name())
                    });
                }
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn nan_in_a_picture_reaches_the_windows_that_see_it_and_no_others() {
    let (window, channels) = (square(9, 3, 1), 21);
    let mut src = vec![1.0; 81 * channels];
    src[(4 * 9 + 4) * channels + 20] = f32::NAN;
    let weights = vec![1.0; 9 * channels];
    for kernels in available() {
        let depthwise = guarded(81 * channels, |dst| {
            let (src, weights) = (&src, &weights);
            let clamp = [0.0, 6.0];
            kernels.depthwise_conv_f32(DepthwiseConvF32 {
                window,
                channels,
                src,
                weights,
                bias: &[],
                clamp,
                dst,
            });
        });
        let pools = POOLS.map(|(_, pool)| {
            guarded(81 * channels, |dst| {
                pool(
                    kernels,
                    PoolF32 {
                        window,
                        channels,
                        src: &src,
                        dst,
                    },
                )
            })
        });
        for found in [&depthwise, &pools[0], &pools[1]] {
            for (i, x) in found.iter().enumerate() {
                let (y, column) = (i / channels / 9, i / channels % 9);
                let sees = (3..=5).contains(&y) && (3..=5).contains(&column) && i % channels == 20;
                assert_eq!(x.is_nan(), sees, "{} element {i}: {x}", kernels.name());
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn a_window_without_taps_is_0_on_average_and_minus_infinity_at_most() {
    let window = Window {
        padding: [3; 2],
        output: [1; 2],
        ..square(2, 2, 1)
    };
    for kernels in available() {
        let expected = [0.0, f32::NEG_INFINITY];
        for ((_, pool), expected) in POOLS.into_iter().zip(expected) {
            let found = guarded(5, |dst| {
                pool(
                    kernels,
                    PoolF32 {
                        window,
                        channels: 5,
                        src: &[1.0; 20],
                        dst,
                    },
                )
            });
            assert_eq!(found, [expected; 5], "{}", kernels.name());
        }
    }
}
