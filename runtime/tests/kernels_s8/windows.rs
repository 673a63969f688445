//! Convolutions and pooling.

use alloc::vec::Vec;

use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::kernel::{
    ConvS8, DepthwiseConvS8, DepthwiseConvS16, DstS8, Kernels, MeanS8, PoolS8, Requantize, Scalar,
    Window, tile_scratch_bytes,
};

use crate::support::{
    Channels, FILLS, Fill, Guarded, Random, SCALES, Scales, assert_same, fast_sets, layouts, pack,
    plain_requantize, same_window, size, window,
};

fn check_conv(
    set: &dyn Kernels,
    random: &mut Random,
    window: Window,
    [c, n]: [usize; 2],
    case: usize,
) {
    let k = window.kernel[0] * window.kernel[1] * c;
    let fill = FILLS[case % FILLS.len()];
    let scales = SCALES[case % SCALES.len()];
    let src = random.bytes(window.input[0] * window.input[1] * c, fill);
    let unpacked = random.bytes(n * k, fill);
    let channels = Channels::new(random, n, k, scales);
    let input_zero_point = [-128, 127, -1, 5][random.below(4)];
    let run = |set: &dyn Kernels, layout: WeightLayout, requantize: Requantize, dst: DstS8| {
        let weights = pack(layout, n, k, &unpacked);
        let mut scratch = Guarded::new(tile_scratch_bytes(k, 1).unwrap(), 170u8);
        set.conv_s8(ConvS8 {
            window,
            in_channels: c,
            out_channels: n,
            input_zero_point,
            src: &src,
            weights: &weights,
            layout,
            requantize,
            dst,
            scratch: scratch.slice(),
        });
        scratch.contents();
    };
    let outputs = window.output[0] * window.output[1] * n;
    let bytes = |set: &dyn Kernels, layout| {
        let mut dst = Guarded::new(outputs, 85i8);
        run(set, layout, channels.requantize(), DstS8::I8(dst.slice()));
        dst.contents().to_vec()
    };
    let words = |set: &dyn Kernels, layout| {
        let mut dst = Guarded::new(outputs, 0x5555i16);
        let wide = of_16_bits(channels.requantize());
        run(set, layout, wide, DstS8::I16(dst.slice()));
        dst.contents().to_vec()
    };
    let expected = bytes(&Scalar, WeightLayout::Generic);
    let expected_words = words(&Scalar, WeightLayout::Generic);
    for layout in layouts(set) {
        let what = format!("{window:?} {c} {n} {fill:?} {scales:?} {}", layout.name());
        assert_same(&bytes(set, layout), &expected, set, &what);
        assert_same(&words(set, layout), &expected_words, set, &what);
    }
}

/// The same factors for outputs of 16 bits, from −20000 on.
fn of_16_bits(requantize: Requantize<'_>) -> Requantize<'_> {
    Requantize {
        zero_point: 0,
        clamp_min: -20_000,
        clamp_max: 32_767,
        ..requantize
    }
}

#[cfg_attr(test, test)]
pub(crate) fn convolutions_of_all_windows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(4);
        for case in 0..150 {
            let window = window(&mut random);
            let channels = [1 + random.below(24), 1 + random.below(40)];
            check_conv(set, &mut random, window, channels, case);
        }
        check_conv(set, &mut random, same_window(64, 3, 2), [3, 32], 0);
        check_conv(set, &mut random, same_window(9, 3, 1), [67, 67], 1);
    }
}

fn check_depthwise(set: &dyn Kernels, random: &mut Random, window: Window, c: usize, case: usize) {
    let fill = FILLS[case % FILLS.len()];
    let scales = SCALES[case % SCALES.len()];
    let taps = window.kernel[0] * window.kernel[1];
    let src = random.bytes(window.input[0] * window.input[1] * c, fill);
    let weights = random.bytes(taps * c, fill);
    let channels = Channels::new(random, c, taps, scales);
    let input_zero_point = [-128, 127, -1, 5][random.below(4)];
    let run = |set: &dyn Kernels| {
        let mut dst = Guarded::new(window.output[0] * window.output[1] * c, 85i8);
        set.depthwise_conv_s8(DepthwiseConvS8 {
            window,
            channels: c,
            input_zero_point,
            src: &src,
            weights: &weights,
            requantize: channels.requantize(),
            dst: dst.slice(),
        });
        dst.contents().to_vec()
    };
    assert_same(
        &run(set),
        &run(&Scalar),
        set,
        &format!("{window:?} {c} {fill:?} {scales:?}"),
    );
}

#[cfg_attr(test, test)]
pub(crate) fn depthwise_convolutions_of_all_windows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(5);
        for case in 0..400 {
            let window = window(&mut random);
            let channels = if case % 8 == 0 {
                60 + random.below(90)
            } else {
                size(&mut random)
            };
            check_depthwise(set, &mut random, window, channels, case);
        }
    }
}

/// On bytes with zero point 0 the 16-bit convolution gives the 8-bit one's outputs, in both types; sets agree on all
/// 16 bits.
#[cfg_attr(test, test)]
pub(crate) fn depthwise_convolutions_of_16_bits_are_equal() {
    let mut random = Random::new(8);
    for case in 0..200 {
        let window = window(&mut random);
        let c = size(&mut random);
        let taps = window.kernel[0] * window.kernel[1];
        let bytes = random.bytes(
            window.input[0] * window.input[1] * c,
            FILLS[case % FILLS.len()],
        );
        let weights = random.bytes(taps * c, Fill::Random);
        let channels = Channels::new(&mut random, c, taps, SCALES[case % SCALES.len()]);
        let outputs = window.output[0] * window.output[1] * c;
        let run = |set: &dyn Kernels, src: &[i16], dst: DstS8| {
            set.depthwise_conv_s16(DepthwiseConvS16 {
                window,
                channels: c,
                src,
                weights: &weights,
                requantize: channels.requantize(),
                dst,
            });
        };
        let wide = |set: &dyn Kernels, src: &[i16]| {
            let mut dst = Guarded::new(outputs, 85i16);
            run(set, src, DstS8::I16(dst.slice()));
            dst.contents().to_vec()
        };
        let bytes_of = |set: &dyn Kernels, src: &[i16]| {
            let mut dst = Guarded::new(outputs, 85i8);
            run(set, src, DstS8::I8(dst.slice()));
            dst.contents().to_vec()
        };
        let mut narrow = Guarded::new(outputs, 85i8);
        Scalar.depthwise_conv_s8(DepthwiseConvS8 {
            window,
            channels: c,
            input_zero_point: 0,
            src: &bytes,
            weights: &weights,
            requantize: channels.requantize(),
            dst: narrow.slice(),
        });
        let src: Vec<i16> = bytes.iter().map(|&byte| byte.into()).collect();
        let narrowed: Vec<i8> = wide(&Scalar, &src)
            .iter()
            .map(|&q| q.clamp(-128, 127) as i8)
            .collect();
        assert_eq!(narrowed, narrow.contents(), "{window:?} {c}");
        assert_eq!(bytes_of(&Scalar, &src), narrowed, "{window:?} {c}");
        let src: Vec<i16> = src
            .iter()
            .map(|&q| q.wrapping_mul(256) | (q & 255))
            .collect();
        for set in fast_sets() {
            let what = format!("{window:?} {c} of 16 bits");
            assert_same(&wide(set, &src), &wide(&Scalar, &src), set, &what);
            let what = format!("{window:?} {c} of 16 bits into 8");
            assert_same(&bytes_of(set, &src), &bytes_of(&Scalar, &src), set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn depthwise_convolutions_of_real_layers_are_equal() {
    const LAYERS: [(usize, usize, usize, usize); 9] = [
        (56, 32, 3, 1),
        (56, 96, 3, 2),
        (28, 144, 5, 2),
        (28, 240, 5, 1),
        (28, 240, 3, 2),
        (14, 480, 3, 1),
        (14, 672, 5, 2),
        (7, 1152, 5, 1),
        (7, 1152, 3, 1),
    ];
    for set in fast_sets() {
        let mut random = Random::new(6);
        for (case, (side, channels, kernel, stride)) in LAYERS.into_iter().enumerate() {
            check_depthwise(
                set,
                &mut random,
                same_window(side, kernel, stride),
                channels,
                case,
            );
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn scalar_windows_equal_plain_loops() {
    let mut random = Random::new(7);
    for _ in 0..40 {
        let window = window(&mut random);
        let [c, n] = [1 + random.below(5), 1 + random.below(5)];
        let taps = window.kernel[0] * window.kernel[1];
        let src = random.bytes(window.input[0] * window.input[1] * c, Fill::Random);
        let zero_point = random.within(-128..=127) as i8;
        let unpacked = random.bytes(n * taps * c, Fill::Random);
        let depthwise = random.bytes(taps * c, Fill::Random);
        let channels = Channels::new(&mut random, n.max(c), taps * c, Scales::Usual(false));
        let [oh, ow] = window.output;
        let mut conv = vec![0i8; oh * ow * n];
        Scalar.conv_s8(ConvS8 {
            window,
            in_channels: c,
            out_channels: n,
            input_zero_point: zero_point,
            src: &src,
            weights: &pack(WeightLayout::Generic, n, taps * c, &unpacked),
            layout: WeightLayout::Generic,
            requantize: channels.requantize(),
            dst: DstS8::I8(&mut conv),
            scratch: &mut [],
        });
        let mut dw = vec![0i8; oh * ow * c];
        Scalar.depthwise_conv_s8(DepthwiseConvS8 {
            window,
            channels: c,
            input_zero_point: zero_point,
            src: &src,
            weights: &depthwise,
            requantize: channels.requantize(),
            dst: &mut dw,
        });
        // The padded picture, written out.
        let read = |y: i64, x: i64, channel: usize| -> i64 {
            let inside = (0..window.input[0] as i64).contains(&y)
                && (0..window.input[1] as i64).contains(&x);
            let at = || (y as usize * window.input[1] + x as usize) * c + channel;
            i64::from(if inside { src[at()] } else { zero_point })
        };
        for position in 0..oh * ow {
            let tap = |tap: usize, channel: usize| {
                let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
                let y = position / ow * window.stride[0] + ky * window.dilation[0];
                let x = position % ow * window.stride[1] + kx * window.dilation[1];
                let [top, left] = window.padding;
                read(y as i64 - top as i64, x as i64 - left as i64, channel)
            };
            for out in 0..n {
                let sum = (0..taps * c)
                    .map(|i| tap(i / c, i % c) * i64::from(unpacked[out * taps * c + i]))
                    .sum();
                let expected = plain_requantize(&channels, out, sum);
                assert_eq!(i64::from(conv[position * n + out]), expected, "{window:?}");
            }
            for channel in 0..c {
                let sum = (0..taps)
                    .map(|t| tap(t, channel) * i64::from(depthwise[t * c + channel]))
                    .sum();
                let expected = plain_requantize(&channels, channel, sum);
                assert_eq!(
                    i64::from(dw[position * c + channel]),
                    expected,
                    "{window:?}"
                );
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn pooling_is_equal_and_rounds_like_tflite() {
    for set in fast_sets() {
        let mut random = Random::new(8);
        for case in 0..200 {
            let mut window = window(&mut random);
            window.dilation = [1, 1];
            let c = size(&mut random);
            let src = random.bytes(window.input[0] * window.input[1] * c, FILLS[case % 4]);
            let run = |set: &dyn Kernels, largest: bool| {
                let mut dst = Guarded::new(window.output[0] * window.output[1] * c, 85i8);
                let args = PoolS8 {
                    window,
                    channels: c,
                    clamp_min: if case % 3 == 0 { -20 } else { -128 },
                    clamp_max: if case % 5 == 0 { 90 } else { 127 },
                    src: &src,
                    dst: dst.slice(),
                };
                if largest {
                    set.max_pool_s8(args)
                } else {
                    set.avg_pool_s8(args)
                }
                dst.contents().to_vec()
            };
            for largest in [false, true] {
                let what = format!("{window:?} {c} largest {largest}");
                assert_same(&run(set, largest), &run(&Scalar, largest), set, &what);
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn global_average_of_a_picture_is_equal() {
    for set in fast_sets() {
        let mut random = Random::new(9);
        for (side, c, fill) in [(7, 1280, Fill::Random), (65, 70, Fill::Constant(-128))] {
            let window = Window {
                kernel: [side; 2],
                padding: [0; 2],
                ..same_window(side, 1, side)
            };
            let src = random.bytes(side * side * c, fill);
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(c, 85i8);
                let dst_slice = dst.slice();
                let (clamp_min, clamp_max) = (-128, 127);
                set.avg_pool_s8(PoolS8 {
                    window,
                    channels: c,
                    clamp_min,
                    clamp_max,
                    src: &src,
                    dst: dst_slice,
                });
                dst.contents().to_vec()
            };
            let expected: Vec<i8> = (0..c)
                .map(|channel| {
                    let sum: i64 = src[channel..]
                        .iter()
                        .step_by(c)
                        .map(|&v| i64::from(v))
                        .sum();
                    {
                        let count = (side * side) as i64;
                        ((2 * sum.abs() + count) / (2 * count) * sum.signum()) as i8
                    }
                })
                .collect();
            assert_same(&run(&Scalar), &expected, &Scalar, "mean");
            assert_same(&run(set), &expected, set, "mean");
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn means_of_pictures_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(13);
        for case in 0..200 {
            let (pixels, channels) = (1 + random.below(100), size(&mut random));
            let any = case % 4 == 3;
            let src = random.bytes(pixels * channels, FILLS[case / 4 % 4]);
            let multiplier = random.within(1 << 30..=i32::MAX);
            let shift = if any {
                random.within(-31..=12)
            } else {
                random.within(-8..=-3)
            };
            let zero_points = [random.within(-128..=127), random.within(-128..=127)];
            let clamp = [random.within(-128..=0), random.within(0..=127)];
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(channels, 85i8);
                set.mean_s8(MeanS8 {
                    pixels,
                    channels,
                    input_zero_point: zero_points[0],
                    multiplier,
                    shift,
                    output_zero_point: zero_points[1],
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    src: &src,
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let what = format!("mean case {case}, {pixels} pixels of {channels}");
            assert_same(&run(set), &run(&Scalar), set, &what);
        }
    }
}
