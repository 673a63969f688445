//! The integer operations of transformers: every set against the scalar one, and that against real numbers in f64.

use alloc::vec::Vec;

use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::kernel::softmax::ScoreScale;
use pinhole_runtime::kernel::{
    AddS16, DstS8, EmbeddingS8, Kernels, LayerNormS16, MeanS16, RescaleS16, Scalar, SoftmaxS8,
    SrcS16,
};

use crate::support::{FILLS, Fill, Guarded, Random, assert_same, fast_sets, size, words};

/// Numbers of 8 or 16 bits.
enum Source {
    Bytes(Vec<i8>),
    Words(Vec<i16>),
}

impl Source {
    fn new(random: &mut Random, len: usize, fill: Fill, wide: bool) -> Self {
        if wide {
            Self::Words(words(random, len, fill))
        } else {
            Self::Bytes(random.bytes(len, fill))
        }
    }
    fn view(&self) -> SrcS16<'_> {
        match self {
            Self::Bytes(data) => SrcS16::I8(data),
            Self::Words(data) => SrcS16::I16(data),
        }
    }
    fn real(&self, index: usize) -> f64 {
        match self {
            Self::Bytes(data) => data[index].into(),
            Self::Words(data) => data[index].into(),
        }
    }
}

/// Runs with a guarded output of 8 or 16 bits; gives it in 32.
fn guarded(len: usize, wide: bool, run: impl FnOnce(DstS8<'_>)) -> Vec<i32> {
    if wide {
        let mut dst = Guarded::new(len, 21845i16);
        run(DstS8::I16(dst.slice()));
        dst.contents().iter().map(|&x| x.into()).collect()
    } else {
        let mut dst = Guarded::new(len, 85i8);
        run(DstS8::I8(dst.slice()));
        dst.contents().iter().map(|&x| x.into()).collect()
    }
}

/// Two factors and a shift that the loader accepts.
fn factors(random: &mut Random, any: bool) -> ([i32; 2], u32) {
    if !any {
        return (
            [random.within(4000..=16384), random.within(100..=16384)],
            14,
        );
    }
    let shift = random.within(1..=30) as u32;
    let most = ((i64::from(i32::MAX) - (1i64 << (shift - 1))) >> 15) as i32;
    let first = random.within(0..=most.min(32767));
    ([first, random.within(0..=(most - first).min(32767))], shift)
}

#[cfg_attr(test, test)]
pub(crate) fn sums_in_16_bits_are_equal_and_exact() {
    let sets = fast_sets();
    let mut random = Random::new(20);
    for case in 0..800 {
        let len = if case % 10 == 0 {
            200 + random.below(700)
        } else {
            size(&mut random)
        };
        let fill = FILLS[case / 8 % 4];
        let wide = [case & 1 == 0, case & 2 == 0, case % 3 != 0];
        let lhs = Source::new(&mut random, len, fill, wide[0]);
        let rhs = Source::new(&mut random, len, fill, wide[1]);
        let zero =
            |random: &mut Random, wide: bool| if wide { 0 } else { random.within(-128..=127) };
        let input_zero_point = [zero(&mut random, wide[0]), zero(&mut random, wide[1])];
        let output_zero_point = zero(&mut random, wide[2]);
        let (mut multiplier, shift) = factors(&mut random, case % 4 == 3);
        // A difference.
        if case % 7 < 3 {
            multiplier[1] = -multiplier[1];
        }
        let limit = if wide[2] { 32767 } else { 127 };
        let clamp = if case % 5 == 0 {
            [random.within(-limit - 1..=0), random.within(0..=limit)]
        } else {
            [-limit - 1, limit]
        };
        let add = |set: &dyn Kernels| {
            guarded(len, wide[2], |dst| {
                set.add_s16(AddS16 {
                    lhs: lhs.view(),
                    rhs: rhs.view(),
                    input_zero_point,
                    multiplier,
                    shift,
                    output_zero_point,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst,
                });
            })
        };
        let rescale = |set: &dyn Kernels| {
            guarded(len, wide[2], |dst| {
                set.rescale_s16(RescaleS16 {
                    src: lhs.view(),
                    input_zero_point: input_zero_point[0],
                    multiplier: multiplier[0],
                    shift,
                    output_zero_point,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst,
                });
            })
        };
        let (sums, scaled) = (add(&Scalar), rescale(&Scalar));
        for &set in &sets {
            assert_same(
                &add(set),
                &sums,
                set,
                &format!("add_s16 case {case}, {len}"),
            );
            assert_same(
                &rescale(set),
                &scaled,
                set,
                &format!("rescale_s16 case {case}, {len}"),
            );
        }
        let term = |source: &Source, side: usize, index: usize| {
            let factor = f64::from(multiplier[side]) * if wide[side] { 1.0 } else { 128.0 };
            (source.real(index) - f64::from(input_zero_point[side])) * factor
        };
        let finish = |sum: f64| {
            let rounded = libm::floor(sum / f64::from(1u32 << shift) + 0.5);
            (rounded + f64::from(output_zero_point)).clamp(clamp[0].into(), clamp[1].into()) as i32
        };
        for index in 0..len {
            assert_eq!(
                sums[index],
                finish(term(&lhs, 0, index) + term(&rhs, 1, index))
            );
            assert_eq!(scaled[index], finish(term(&lhs, 0, index)));
        }
    }
}

/// A layer normalisation as the packer makes it, of real gammas and betas.
struct Norm {
    gamma: Vec<i16>,
    beta: Vec<i32>,
    real: Vec<[f64; 2]>,
    shift: u32,
    epsilon: u64,
}

impl Norm {
    fn new(random: &mut Random, n: usize, wide: bool, zero_point: i32) -> Self {
        let real: Vec<[f64; 2]> = (0..n)
            .map(|_| {
                [
                    0.1 + random.below(1000) as f64 / 500.0,
                    random.below(1000) as f64 / 500.0 - 1.0,
                ]
            })
            .collect();
        let scale = if wide { 8.0 / 32767.0 } else { 8.0 / 127.0 };
        let largest = real
            .iter()
            .map(|[gamma, _]| gamma / scale / 1024.0)
            .fold(0.0, f64::max);
        let shift = libm::floor(libm::log2(32767.0 / largest)).clamp(0.0, 20.0) as u32;
        let unit = f64::from(1u32 << shift);
        let half = if shift > 0 { 1 << (shift - 1) } else { 0 };
        Self {
            gamma: real
                .iter()
                .map(|[gamma, _]| libm::round(gamma / scale / 1024.0 * unit) as i16)
                .collect(),
            beta: real
                .iter()
                .map(|[_, beta]| {
                    libm::round((beta / scale + f64::from(zero_point)) * unit) as i32 + half
                })
                .collect(),
            real: real
                .iter()
                .map(|[gamma, beta]| [gamma / scale, beta / scale + f64::from(zero_point)])
                .collect(),
            shift,
            epsilon: (n * n) as u64,
        }
    }
    fn run(&self, set: &dyn Kernels, src: SrcS16<'_>, wide: bool) -> Vec<i32> {
        guarded(src.len(), wide, |dst| {
            set.layer_norm_s16(LayerNormS16 {
                gamma: &self.gamma,
                beta: &self.beta,
                epsilon: self.epsilon,
                shift: self.shift,
                src,
                dst,
            });
        })
    }
}

#[cfg_attr(test, test)]
pub(crate) fn layer_normalisation_is_equal_and_near_the_real_one() {
    let sets = fast_sets();
    let mut random = Random::new(21);
    let mut worst = [0f64; 2];
    for case in 0..500 {
        let n = match case % 10 {
            0 => [128, 160, 192, 256, 320, 384, 768, 1024][random.below(8)],
            _ => 1 + random.below(67),
        };
        let rows = 1 + random.below(4);
        let fill = if case < 250 {
            Fill::Random
        } else {
            FILLS[case % 4]
        };
        let wide = [case & 1 == 0, case & 2 == 0];
        let mut src = Source::new(&mut random, rows * n, fill, wide[0]);
        if let (Source::Words(words), true) = (&mut src, case % 3 == 0) {
            let shift = random.below(14);
            words.iter_mut().for_each(|x| *x >>= shift);
        }
        let norm = Norm::new(&mut random, n, wide[1], if wide[1] { 0 } else { -7 });
        let expected = norm.run(&Scalar, src.view(), wide[1]);
        for &set in &sets {
            let what = format!("layer_norm_s16 case {case}, {rows} rows of {n}");
            assert_same(&norm.run(set, src.view(), wide[1]), &expected, set, &what);
        }
        for row in 0..rows {
            let numbers: Vec<f64> = (0..n).map(|i| src.real(row * n + i)).collect();
            let mean = numbers.iter().sum::<f64>() / n as f64;
            let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
            for (i, x) in numbers.iter().enumerate() {
                let [gamma, beta] = norm.real[i];
                let normal = (x - mean) / libm::sqrt(variance + 1.0);
                let limit = if wide[1] { 32767.0 } else { 127.0 };
                let real = (gamma * normal + beta).clamp(-limit - 1.0, limit);
                let error = (f64::from(expected[row * n + i]) - real).abs();
                // In steps of the output: see docs/numerics.md.
                let bound = 0.51
                    + gamma * (0.76 / 1024.0 + normal.abs() / 32000.0)
                    + normal.abs() * 1024.0 / f64::from(1u32 << norm.shift);
                assert!(
                    error <= bound,
                    "case {case}, n {n}: off by {error}, {bound}"
                );
                worst[usize::from(wide[1])] = worst[usize::from(wide[1])].max(error);
            }
        }
    }
    println!(
        "layer_norm_s16: largest error {:.3} steps of int8, {:.1} of int16",
        worst[0], worst[1]
    );
}

#[cfg_attr(test, test)]
pub(crate) fn rows_of_a_table_are_equal_and_exact() {
    let mut random = Random::new(30);
    for case in 0..200 {
        let (width, rows, wide) = (size(&mut random), 1 + random.below(9), case % 2 == 0);
        let table = random.bytes(rows * width, FILLS[case % 4]);
        let multiplier: Vec<u16> = (0..rows).map(|_| random.next() as u16).collect();
        let shift = random.within(1..=30) as u32;
        let zero_point = if wide { 0 } else { random.within(-128..=127) };
        let ids: Vec<i32> = (0..random.below(12))
            .map(|_| random.within(-2..=rows as i32 + 1))
            .collect();
        let run = |set: &dyn Kernels| {
            guarded(ids.len() * width, wide, |dst| {
                set.embedding_s8(EmbeddingS8 {
                    width,
                    table: &table,
                    multiplier: &multiplier,
                    shift,
                    output_zero_point: zero_point,
                    ids: &ids,
                    dst,
                });
            })
        };
        let (lowest, highest) = if wide { (-32768, 32767) } else { (-128, 127) };
        let expected: Vec<i32> = ids
            .iter()
            .flat_map(|&id| {
                let row = if (0..rows as i32).contains(&id) {
                    id as usize
                } else {
                    0
                };
                let numbers = table[row * width..][..width].iter();
                let factor = i64::from(multiplier[row]);
                numbers.map(move |&q| {
                    let real = (i64::from(q) * factor) as f64 / f64::from(1u32 << shift);
                    // Halves up.
                    (libm::floor(real + 0.5) as i32 + zero_point).clamp(lowest, highest)
                })
            })
            .collect();
        assert_eq!(run(&Scalar), expected, "case {case}");
        for set in fast_sets() {
            assert_same(
                &run(set),
                &expected,
                set,
                &format!("embedding_s8 case {case}"),
            );
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn softmax_is_equal_and_within_a_step() {
    let sets = fast_sets();
    let mut random = Random::new(25);
    let mut worst = 0f64;
    for case in 0..300 {
        let columns = if case % 10 == 0 {
            1000
        } else {
            1 + random.below(67)
        };
        let rows = 1 + random.below(3);
        let scale = [0.01, 0.1, 0.5, 1.7][case % 4];
        let src = random.bytes(rows * columns, FILLS[case / 4 % 4]);
        let (score_multiplier, score_shift) = ScoreScale::quantize(scale).unwrap();
        let run = |set: &dyn Kernels, src: &[i8]| {
            let mut dst = Guarded::new(src.len(), 85i8);
            let dst_slice = dst.slice();
            set.softmax_s8(SoftmaxS8 {
                columns,
                score_multiplier,
                score_shift,
                src,
                dst: dst_slice,
            });
            dst.contents().to_vec()
        };
        let expected = run(&Scalar, &src);
        for &set in &sets {
            let what = format!("softmax_s8 case {case}, {rows} rows of {columns}");
            assert_same(&run(set, &src), &expected, set, &what);
            // From some number of elements on a set may look exponentials up.
            let many = 512usize.div_ceil(src.len());
            let found = run(set, &src.repeat(many));
            assert_same(&found, &expected.repeat(many), set, &what);
        }
        for (src, found) in src.chunks(columns).zip(expected.chunks(columns)) {
            let total: f64 = src.iter().map(|&x| libm::exp(scale * f64::from(x))).sum();
            for (&x, &found) in src.iter().zip(found) {
                let real =
                    (libm::exp(scale * f64::from(x)) / total * 256.0 - 128.0).clamp(-128.0, 127.0);
                worst = worst.max((f64::from(found) - real).abs());
            }
        }
    }
    println!("softmax_s8: largest error {worst:.3} steps");
    assert!(worst <= 1.0);
}

/// Every scale that the loader accepts, far beyond those of real nets.
#[cfg_attr(test, test)]
pub(crate) fn softmax_of_any_scale_is_equal() {
    let sets = fast_sets();
    let mut random = Random::new(28);
    for case in 0..400 {
        let columns = 1 + size(&mut random);
        let rows = 1 + random.below(3);
        let src = random.bytes(rows * columns, FILLS[case % 4]);
        let score_multiplier = random.within(1 << 15..=(1 << 16) - 1);
        let score_shift = random.within(-15..=15);
        let run = |set: &dyn Kernels| {
            let mut dst = Guarded::new(src.len(), 85i8);
            set.softmax_s8(SoftmaxS8 {
                columns,
                score_multiplier,
                score_shift,
                src: &src,
                dst: dst.slice(),
            });
            dst.contents().to_vec()
        };
        let expected = run(&Scalar);
        for &set in &sets {
            let what = format!("softmax_s8 of {columns}, {score_multiplier} >> {score_shift}");
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn means_in_16_bits_are_equal_and_near() {
    let sets = fast_sets();
    let mut random = Random::new(26);
    for case in 0..300 {
        let (rows, channels) = (1 + random.below(197), 1 + random.below(67));
        let src = words(&mut random, rows * channels, FILLS[case % 4]);
        let (multiplier, shift) = quantize_multiplier(0.9 / rows as f64);
        let (wide, zero_point) = (case % 2 == 0, if case % 2 == 0 { 0 } else { 3 });
        let limit = if wide { 32767 } else { 127 };
        let run = |set: &dyn Kernels| {
            guarded(channels, wide, |dst| {
                set.mean_s16(MeanS16 {
                    rows,
                    channels,
                    multiplier,
                    shift: shift.into(),
                    output_zero_point: zero_point,
                    clamp_min: -limit - 1,
                    clamp_max: limit,
                    src: &src,
                    dst,
                });
            })
        };
        let expected = run(&Scalar);
        for &set in &sets {
            assert_same(&run(set), &expected, set, &format!("mean_s16 case {case}"));
        }
        for (channel, &found) in expected.iter().enumerate() {
            let sum: f64 = (0..rows)
                .map(|row| f64::from(src[row * channels + channel]))
                .sum();
            let real = (sum * 0.9 / rows as f64 + f64::from(zero_point))
                .clamp(f64::from(-limit - 1), limit.into());
            assert!((f64::from(found) - real).abs() <= 1.01, "{found}, {real}");
        }
    }
}

/// The most rows that there may be, all of them extreme: sums just inside 32 bits.
#[test]
fn means_of_the_most_rows_are_equal() {
    let mut random = Random::new(29);
    let (rows, channels) = (65535, 19);
    let (multiplier, shift) = quantize_multiplier(1.0 / rows as f64);
    for value in [i16::MIN, i16::MAX] {
        let mut src = vec![value; rows * channels];
        for word in src.iter_mut().take(channels / 2) {
            *word = random.next() as i16;
        }
        let run = |set: &dyn Kernels| {
            guarded(channels, true, |dst| {
                set.mean_s16(MeanS16 {
                    rows,
                    channels,
                    multiplier,
                    shift: shift.into(),
                    output_zero_point: 0,
                    clamp_min: -32768,
                    clamp_max: 32767,
                    src: &src,
                    dst,
                });
            })
        };
        let expected = run(&Scalar);
        for set in fast_sets() {
            assert_same(&run(set), &expected, set, "mean_s16 of extremes");
        }
    }
}

/// Zeros, one magnitude throughout, and quotients that lie on a half or a step beside it.
#[test]
fn embeddings_at_the_edges_are_normalised_alike() {
    for set in fast_sets() {
        for largest in [
            0i16,
            1,
            2,
            126,
            127,
            128,
            254,
            255,
            16383,
            32766,
            32767,
            i16::MIN,
        ] {
            let words: Vec<i16> = (0..=127i32)
                .flat_map(|step| {
                    let magnitude = i32::from(largest).abs();
                    let half = (2 * step + 1) * magnitude / 254;
                    [half - 1, half, half + 1]
                })
                .map(|word| word.clamp(0, i32::from(largest).abs().min(32767)) as i16)
                .flat_map(|word| [word, -word])
                .chain([largest])
                .collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(words.len(), 85i8);
                set.normalize_s16(&words, dst.slice());
                dst.contents().to_vec()
            };
            let what = format!("normalize_s16 of at most {largest}");
            assert_same(&run(set), &run(&Scalar), set, &what);
        }
    }
}
