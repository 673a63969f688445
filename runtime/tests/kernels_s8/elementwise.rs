//! Operations without a window.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{
    AddS8, DstS8, Kernels, LUT_S16_ENTRIES, LutChannelsS16, LutS16, MulS8, Scalar,
};

use crate::support::{FILLS, Guarded, Random, assert_same, fast_sets, size};

#[cfg_attr(test, test)]
pub(crate) fn sums_and_products_of_tensors_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(10);
        for case in 0..600 {
            let len = if case % 10 == 0 {
                200 + random.below(300)
            } else {
                size(&mut random)
            };
            let any = case % 4 == 3;
            let fill = FILLS[case / 4 % 4];
            let lhs = random.bytes(len, fill);
            let rhs = random.bytes(len, fill);
            let factor = |random: &mut Random| random.within(1 << 30..=i32::MAX);
            let offset = |random: &mut Random| {
                if any {
                    random.next() as i32
                } else {
                    random.within(-127..=128)
                }
            };
            let left_shift = if any { random.within(0..=31) } else { 20 };
            let input_offset = [offset(&mut random), offset(&mut random)];
            let output_offset = if any {
                random.next() as i32
            } else {
                random.within(-128..=127)
            };
            let input_multiplier = [factor(&mut random), factor(&mut random)];
            let output_multiplier = factor(&mut random);
            let input_shift = [random.within(-31..=0), random.within(-9..=0)];
            let output_shift = if any {
                random.within(-31..=30)
            } else {
                random.within(-22..=-15)
            };
            let clamp = [random.within(-140..=0), random.within(0..=140)];
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.add_s8(AddS8 {
                    lhs: &lhs,
                    rhs: &rhs,
                    input_offset,
                    left_shift,
                    input_multiplier,
                    input_shift,
                    output_multiplier,
                    output_shift,
                    output_offset,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let what = format!("add case {case}, {len} elements");
            assert_same(&run(set), &run(&Scalar), set, &what);

            let divisors: Vec<usize> = (1..=len).filter(|d| len % d == 0).collect();
            let period = if divisors.is_empty() {
                0
            } else {
                divisors[random.below(divisors.len())]
            };
            let shift = if any {
                random.within(-31..=30)
            } else {
                random.within(-12..=1)
            };
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.mul_s8(MulS8 {
                    lhs: &lhs,
                    rhs: &rhs[..period],
                    input_offset,
                    multiplier: output_multiplier,
                    shift,
                    output_offset,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let what = format!("mul case {case}, {len} elements, period {period}, shift {shift}");
            assert_same(&run(set), &run(&Scalar), set, &what);
        }
    }
}

/// ADD against the real numbers that it stands for: at most one step off.
#[cfg_attr(test, test)]
pub(crate) fn scalar_add_is_the_sum_of_real_numbers() {
    use pinhole_runtime::kernel::requantize::quantize_multiplier;
    let scales = [0.05f64, 0.031, 0.07];
    let zero_points = [-3, 17, 5];
    let twice = 2.0 * scales[0].max(scales[1]);
    let (lhs_multiplier, lhs_shift) = quantize_multiplier(scales[0] / twice);
    let (rhs_multiplier, rhs_shift) = quantize_multiplier(scales[1] / twice);
    let (output_multiplier, output_shift) =
        quantize_multiplier(twice / (f64::from(1 << 20) * scales[2]));
    let lhs: Vec<i8> = (0..=65535u32).map(|i| (i >> 8) as u8 as i8).collect();
    let rhs: Vec<i8> = (0..=65535u32).map(|i| i as u8 as i8).collect();
    let mut dst = vec![0i8; lhs.len()];
    Scalar.add_s8(AddS8 {
        lhs: &lhs,
        rhs: &rhs,
        input_offset: [-zero_points[0], -zero_points[1]],
        left_shift: 20,
        input_multiplier: [lhs_multiplier, rhs_multiplier],
        input_shift: [lhs_shift.into(), rhs_shift.into()],
        output_multiplier,
        output_shift: output_shift.into(),
        output_offset: zero_points[2],
        clamp_min: -128,
        clamp_max: 127,
        dst: &mut dst,
    });
    for ((&lhs, &rhs), &found) in lhs.iter().zip(&rhs).zip(&dst) {
        let real = scales[0] * f64::from(i32::from(lhs) - zero_points[0])
            + scales[1] * f64::from(i32::from(rhs) - zero_points[1]);
        let expected = (real / scales[2] + f64::from(zero_points[2])).clamp(-128.0, 127.0);
        assert!(
            (expected - f64::from(found)).abs() <= 0.501,
            "{lhs} + {rhs}: {found}, {expected}"
        );
    }
}

#[cfg_attr(test, test)]
pub(crate) fn tables_dots_and_conversions_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(11);
        let table: [i8; 256] = std::array::from_fn(|_| random.next() as i8);
        for case in 0..400 {
            let len = if case % 10 == 0 {
                200 + random.below(2000)
            } else {
                size(&mut random)
            };
            let fill = FILLS[case % 4];
            let [lhs, rhs] = [random.bytes(len, fill), random.bytes(len, fill)];
            assert_eq!(
                set.dot_s8(&lhs, &rhs),
                Scalar.dot_s8(&lhs, &rhs),
                "{}",
                set.name()
            );

            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.lut_s8(&table, &lhs, dst.slice());
                dst.contents().to_vec()
            };
            assert_same(&run(set), &run(&Scalar), set, "lut");

            let scale = [0.037f32, 1.0, 0.5, 1e-30, 3e30][case % 5];
            let zero_point = [0, -128, 127, random.within(-128..=127)][case % 4];
            let floats: Vec<f32> = (0..len).map(|_| float(&mut random, scale)).collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.quantize_f32(&floats, scale, zero_point, dst.slice());
                dst.contents().to_vec()
            };
            let found = run(set);
            for (index, (&found, &expected)) in found.iter().zip(&run(&Scalar)).enumerate() {
                let what = floats[index];
                assert_eq!(
                    found,
                    expected,
                    "{}: {what:e} / {scale:e} + {zero_point}",
                    set.name()
                );
            }

            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85.0f32);
                set.dequantize_s8(&lhs, scale, zero_point, dst.slice());
                dst.contents()
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>()
            };
            assert_same(&run(set), &run(&Scalar), set, "dequantize");

            let wide: Vec<i16> = (0..len)
                .map(|_| random.next() as i16 >> random.below(16))
                .collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.normalize_s16(&wide, dst.slice());
                dst.contents().to_vec()
            };
            assert_same(&run(set), &run(&Scalar), set, "normalize");
        }
    }
}

/// Halves and their neighbours, huge ones, infinities, NaN, and ordinary numbers.
fn float(random: &mut Random, scale: f32) -> f32 {
    let half = (random.within(-140..=140) as f32 + 0.5) * scale;
    match random.below(8) {
        0 => half,
        1 => half.next_up(),
        2 => half.next_down(),
        3 => [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            1e30,
            -1e30,
        ][random.below(6)],
        _ => random.within(-30_000..=30_000) as f32 / 100.0 * scale,
    }
}

#[cfg_attr(test, test)]
pub(crate) fn scalar_conversions_are_what_they_say() {
    let mut bytes = [0i8; 9];
    let floats = [
        0.5,
        -0.5,
        1.5,
        -1.5,
        0.49,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1000.0,
    ];
    Scalar.quantize_f32(&floats, 1.0, 3, &mut bytes);
    assert_eq!(bytes, [4, 2, 5, 1, 3, 3, 127, -128, 127]);
    let mut normal = [0i8; 4];
    Scalar.normalize_s16(&[-32768, 32767, 129, -130], &mut normal);
    // 129 · 127 / 32768 is 0.49997, 130 · 127 / 32768 is 0.504.
    assert_eq!(normal, [-127, 127, 0, -1]);
    Scalar.normalize_s16(&[0; 4], &mut normal);
    assert_eq!(normal, [0; 4]);
}

/// Channels alike in a row, mixed, and with more tables than are looked up at once; the last row may be cut short.
#[cfg_attr(test, test)]
pub(crate) fn tables_of_channels_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(15);
        let tables: Vec<[i8; 256]> = (0..20)
            .map(|_| core::array::from_fn(|_| random.next() as i8))
            .collect();
        for case in 0..300 {
            let channels = match case % 6 {
                0 => 100 + random.below(200),
                _ => size(&mut random),
            };
            let rows = random.below(5);
            let len = rows * channels + random.below(channels + 1);
            let kinds = 1 + random.below([1, 3, 20][case % 3]);
            let alike = [1, 3, 64][random.below(3)];
            let mut table = 0;
            let index: Vec<u8> = (0..channels)
                .map(|channel| {
                    if channel % alike == 0 {
                        table = random.below(kinds);
                    }
                    table as u8
                })
                .collect();
            let src = random.bytes(len, FILLS[case % 4]);
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.lut_channels_s8(&tables[..kinds], &index, &src, dst.slice());
                dst.contents().to_vec()
            };
            let entry = |i: usize| tables[usize::from(index[i % channels])];
            let expected: Vec<i8> = (0..len)
                .map(|i| entry(i)[(i32::from(src[i]) + 128) as usize])
                .collect();
            let what =
                format!("case {case}, {len} elements of {channels} channels, {kinds} tables");
            assert_same(&run(&Scalar), &expected, &Scalar, &what);
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn tables_of_pixels_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(16);
        for case in 0..200 {
            let pixels = match case % 4 {
                0 => 60 + random.below(300),
                _ => size(&mut random),
            };
            let tables: [[i8; 256]; 3] =
                core::array::from_fn(|_| core::array::from_fn(|_| random.next() as i8));
            let bytes = random.bytes(3 * pixels, FILLS[case % 4]);
            let src: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(3 * pixels, 85i8);
                set.lut_rgb_u8(&tables, &src, dst.slice());
                dst.contents().to_vec()
            };
            let expected: Vec<i8> = (0..3 * pixels)
                .map(|i| tables[i % 3][usize::from(src[i])])
                .collect();
            let what = format!("case {case}, {pixels} pixels");
            assert_same(&run(&Scalar), &expected, &Scalar, &what);
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

/// Every input through any tables, into both types.
#[cfg_attr(test, test)]
pub(crate) fn tables_of_16_bits_are_equal() {
    let mut random = Random::new(17);
    let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    let lens: Vec<usize> = (0..=67).chain([all.len()]).collect();
    for inner_shift in 0..=7 {
        let identity = |step: i32| -> [i16; LUT_S16_ENTRIES] {
            core::array::from_fn(|entry| ((entry as i32 - 256) * step).min(32767) as i16)
        };
        let mut any =
            || -> [i16; LUT_S16_ENTRIES] { core::array::from_fn(|_| random.next() as i16) };
        let steep = core::array::from_fn(|entry| [i16::MIN, i16::MAX][entry % 2]);
        let tables = [
            [any(), any()],
            [steep; 2],
            [identity(128), identity(1 << inner_shift)],
        ];
        for (case, [outer, inner]) in tables.iter().enumerate() {
            for &len in &lens {
                let src = &all[random.below(all.len() - len + 1)..][..len];
                let run = |set: &dyn Kernels, dst: DstS8| {
                    set.lut_s16(LutS16 {
                        outer,
                        inner,
                        inner_shift,
                        src,
                        dst,
                    });
                };
                let words = |set: &dyn Kernels| {
                    let mut dst = Guarded::new(len, 0x5555i16);
                    run(set, DstS8::I16(dst.slice()));
                    dst.contents().to_vec()
                };
                let bytes = |set: &dyn Kernels| {
                    let mut dst = Guarded::new(len, 85i8);
                    run(set, DstS8::I8(dst.slice()));
                    dst.contents().to_vec()
                };
                for set in fast_sets() {
                    let what = format!("tables {case}, {inner_shift}, {len} elements");
                    assert_same(&words(set), &words(&Scalar), set, &what);
                    assert_same(&bytes(set), &bytes(&Scalar), set, &what);
                }
                if case == 2 {
                    // The last entry of all is short of 2¹⁵ by one.
                    let below = src.iter().filter(|q| **q < 32_640);
                    for ((&q, word), byte) in below.zip(words(&Scalar)).zip(bytes(&Scalar)) {
                        let rounded = ((i32::from(q) + 128) >> 8).min(127) as i8;
                        assert_eq!((word, byte), (q, rounded));
                    }
                }
            }
        }
    }
}

/// Tables for channels beside a table for each channel alone.
#[cfg_attr(test, test)]
pub(crate) fn tables_of_channels_of_16_bits_are_equal() {
    let mut random = Random::new(18);
    for case in 0..24 {
        let (channels, rows) = (size(&mut random), random.below(5));
        let kinds = 1 + random.below(3);
        let tables: Vec<[[i16; LUT_S16_ENTRIES]; 2]> = (0..kinds)
            .map(|_| [(); 2].map(|()| core::array::from_fn(|_| random.next() as i16)))
            .collect();
        let inner_shifts: Vec<u8> = (0..kinds).map(|_| random.below(8) as u8).collect();
        let index: Vec<u8> = (0..channels).map(|_| random.below(kinds) as u8).collect();
        let len = rows * channels;
        let src: Vec<i16> = (0..len).map(|_| random.next() as i16).collect();
        let expected: Vec<i16> = (0..len)
            .map(|i| {
                let table = usize::from(index[i % channels]);
                let [outer, inner] = &tables[table];
                let mut found = [0i16];
                Scalar.lut_s16(LutS16 {
                    outer,
                    inner,
                    inner_shift: inner_shifts[table].into(),
                    src: &src[i..=i],
                    dst: DstS8::I16(&mut found),
                });
                found[0]
            })
            .collect();
        let run = |set: &dyn Kernels| {
            let mut dst = Guarded::new(len, 0x5555i16);
            set.lut_channels_s16(LutChannelsS16 {
                tables: &tables,
                index: &index,
                inner_shifts: &inner_shifts,
                src: &src,
                dst: dst.slice(),
            });
            dst.contents().to_vec()
        };
        let what = format!("case {case}, {rows} rows of {channels} channels, {kinds} tables");
        assert_same(&run(&Scalar), &expected, &Scalar, &what);
        for set in fast_sets() {
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

type Function = fn(f64) -> f64;

/// Functions against f64, within the bound of `docs/numerics.md`, where inputs reach ±128 and the inner table ±8.
#[cfg_attr(test, test)]
pub(crate) fn functions_of_16_bits_are_near_the_real_ones() {
    // With the largest second derivative of each, and the change of its slope at corners.
    let functions: [(&str, Function, [f64; 2]); 4] = [
        (
            "hard-swish",
            |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            [0.334, 0.5],
        ),
        ("SiLU", |x| x / (1.0 + libm::exp(-x)), [0.5, 0.0]),
        ("sigmoid", |x| 1.0 / (1.0 + libm::exp(-x)), [0.097, 0.0]),
        (
            "GELU",
            |x| x * 0.5 * (1.0 + libm::erf(x / core::f64::consts::SQRT_2)),
            [0.8, 0.0],
        ),
    ];
    let (input_scale, inner_shift) = (1.0 / 256.0, 3);
    let src: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    for (name, function, [bend, corner]) in functions {
        for (parts, scale, zero_point) in [(1.0, 1.0 / 250.0, 0.0), (256.0, 0.5, -100.0)] {
            let table = |shift: i32| -> [i16; LUT_S16_ENTRIES] {
                core::array::from_fn(|entry| {
                    let x = f64::from((entry as i32 - 256) << shift) * input_scale;
                    let entry = (function(x) / scale + zero_point) * parts;
                    libm::round(entry.clamp(-32768.0, 32767.0)) as i16
                })
            };
            let (outer, inner) = (table(7), table(inner_shift));
            let mut found: Vec<f64> = Vec::new();
            let args = |dst| LutS16 {
                outer: &outer,
                inner: &inner,
                inner_shift: inner_shift as u32,
                src: &src,
                dst,
            };
            let (mut words, mut bytes) = (vec![0i16; src.len()], vec![0i8; src.len()]);
            if parts == 1.0 {
                Scalar.lut_s16(args(DstS8::I16(&mut words)));
                found.extend(words.iter().map(|&q| f64::from(q)));
            } else {
                Scalar.lut_s16(args(DstS8::I8(&mut bytes)));
                found.extend(bytes.iter().map(|&q| f64::from(q)));
            }
            let h = f64::from(1 << inner_shift) * input_scale;
            let bound = (h * h / 8.0 * bend + h / 4.0 * corner) / scale + 0.5 + 0.5 / parts;
            let mut largest = 0f64;
            for (&q, found) in src.iter().zip(found) {
                let exact = function(f64::from(q) * input_scale) / scale + zero_point;
                let highest = if parts == 1.0 { 32_766.0 } else { 126.0 };
                if exact < highest - 128.0 * input_scale / scale {
                    largest = largest.max((found - exact).abs());
                }
            }
            println!("{name}, steps of {scale}: error {largest:.3} of {bound:.3} steps");
            assert!(largest <= bound, "{name}: {largest} of {bound}");
        }
    }
}
