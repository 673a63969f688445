//! The operations over halves, against f64 over the same halves, within the tolerances of `docs/numerics.md`.

use alloc::string::String;
use alloc::vec::Vec;

use half::f16;
use pinhole_runtime::kernel::{
    ConvF16, DepthwiseConvF16, GemmF16, Kernels, MatmulF16, PoolF16, Window, available, packing,
    tile_scratch_bytes,
};
use pinhole_runtime::model::op::{BinaryKind, ReduceKind, UnaryKind};

use super::elementwise::{constants, exact, measure, tolerance};
use super::products::UNLIMITED;
use super::support::{Random, Sum, UNIT};
use super::windows::{for_each_tap, random_window, square};

/// 2⁻¹¹: the largest relative error of rounding to a half.
pub(crate) const HALF_UNIT: f64 = 1.0 / 2048.0;
/// Half the smallest half: the largest error of rounding to a subnormal one.
pub(crate) const HALF_FLOOR: f64 = 1.0 / 33_554_432.0;

/// The largest error of a function in units of 2⁻¹¹ · |x|, beside that of f32 and the rounding of the result, where a
/// set has a form of its own for halves.
fn units_of_x(kernels: &dyn Kernels, function: UnaryKind) -> f64 {
    match function {
        UnaryKind::Gelu if has_fp16(kernels) => 0.2,
        UnaryKind::QuickGelu if has_fp16(kernels) => 3.0,
        _ => 0.0,
    }
}

const GUARD: usize = 32;
const GUARD_BITS: u16 = 0x7dea;

/// Runs `write` on a buffer of `len` between guards, checks the guards, returns what was written.
pub(crate) fn guarded(len: usize, write: impl FnOnce(&mut [f16])) -> Vec<f16> {
    let mut buffer = vec![f16::from_bits(GUARD_BITS); len + 2 * GUARD];
    write(&mut buffer[GUARD..GUARD + len]);
    let guards = buffer[..GUARD].iter().chain(&buffer[GUARD + len..]);
    assert!(
        guards.into_iter().all(|x| x.to_bits() == GUARD_BITS),
        "wrote outside dst"
    );
    buffer[GUARD..GUARD + len].to_vec()
}

fn halves(random: &mut Random, len: usize) -> Vec<f16> {
    (0..len).map(|_| f16::from_f32(random.number())).collect()
}

/// How a set adds products: in f32, or so many of them in halves.
pub(crate) fn halves_added(kernels: &dyn Kernels, terms: usize, limit: usize) -> usize {
    match kernels.name() {
        "cortex_m-helium" => terms.min(limit),
        // A sum begins with the bias, rounded.
        _ if has_fp16(kernels) => terms.min(limit) + 1,
        _ => 0,
    }
}

/// Whether a set of 64-bit ARM computes with halves on this CPU, instead of with the f32 that they stand for.
pub(crate) fn has_fp16(kernels: &dyn Kernels) -> bool {
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("fp16");
    #[cfg(not(target_arch = "aarch64"))]
    let found = false;
    found && matches!(kernels.name(), "aarch64-dotprod" | "aarch64-i8mm")
}

/// What `run` gives with every set of this CPU. Where there are threads, they must not change a bit of it.
pub(crate) fn each_set(
    run: impl Fn(&dyn Kernels) -> Vec<f16>,
) -> impl Iterator<Item = (&'static dyn Kernels, Vec<f16>)> {
    available().map(move |kernels| {
        let found = run(kernels);
        #[cfg(test)]
        {
            let same = found.iter().map(|x| x.to_bits());
            let threaded = run(super::threads::of(kernels));
            let same = same.eq(threaded.iter().map(|x| x.to_bits()));
            assert!(same, "{} with three threads", kernels.name());
        }
        (kernels, found)
    })
}

/// The largest error of a sum of `sum.terms` products, `added` of them in halves before they meet in f32, whose result
/// is rounded to a half.
fn bound(sum: &Sum, added: usize) -> f64 {
    let single = (sum.terms + 4) as f64 * UNIT * sum.magnitude;
    let half = added as f64 * HALF_UNIT * sum.magnitude;
    let subnormal = if added > 0 { sum.terms as f64 } else { 0.0 } * HALF_FLOOR;
    let before = single + half + subnormal;
    before + HALF_UNIT * (sum.value.abs() + before) + HALF_FLOOR
}

/// Panics when `x` is outside the stated tolerance; returns its error as a share of it.
fn check(sum: &Sum, x: f16, clamp: [f32; 2], added: usize, what: impl FnOnce() -> String) -> f64 {
    let value = sum.value.clamp(f64::from(clamp[0]), f64::from(clamp[1]));
    let share = (x.to_f64() - value).abs() / bound(sum, added);
    assert!(share <= 1.0, "{}: found {x}, expected {value}", what());
    share
}

pub(crate) struct Product {
    shape: [usize; 3],
    lhs: Vec<f16>,
    /// (n, k)
    matrix: Vec<f16>,
    packed: Vec<f16>,
    bias: Vec<f32>,
    pub(crate) clamp: [f32; 2],
}

impl Product {
    pub(crate) fn random(random: &mut Random, shape: [usize; 3]) -> Self {
        let [rows, k, n] = shape;
        let matrix = halves(random, n * k);
        let mut packed = vec![f16::ZERO; n * k];
        for (channel, inputs) in matrix.chunks_exact(k.max(1)).enumerate() {
            for (input, weight) in inputs.iter().enumerate() {
                packed[packing::offset_float(n, k, channel, input)] = *weight;
            }
        }
        let with_bias = random.up_to(2) > 0;
        Self {
            shape,
            lhs: halves(random, rows * k),
            matrix,
            packed,
            bias: random.numbers(if with_bias { n } else { 0 }),
            clamp: [UNLIMITED, [0.0, f32::INFINITY], [-0.1, 0.3]][random.up_to(2)],
        }
    }

    pub(crate) fn run(&self, kernels: &dyn Kernels) -> Vec<f16> {
        let [rows, k, n] = self.shape;
        let mut scratch = vec![f32::NAN; tile_scratch_bytes(k, 4).unwrap() / 4];
        guarded(rows * n, |dst| {
            kernels.gemm_f16(GemmF16 {
                rows,
                k,
                n,
                lhs: &self.lhs,
                weights: &self.packed,
                bias: &self.bias,
                clamp: self.clamp,
                dst,
                scratch: &mut scratch,
            });
        })
    }

    /// Of output `i`.
    pub(crate) fn sum(&self, i: usize) -> Sum {
        let [_, k, n] = self.shape;
        let (row, channel) = (&self.lhs[i / n * k..][..k], i % n);
        let mut sum = Sum::default();
        for (x, weight) in row.iter().zip(&self.matrix[channel * k..]) {
            sum.add(x.to_f64() * weight.to_f64());
        }
        sum.add(self.bias.get(channel).copied().unwrap_or(0.0).into());
        sum
    }

    /// Checks every set; returns the largest error of each as a share of what is stated.
    pub(crate) fn check(&self) -> Vec<(&'static str, f64)> {
        let shares = each_set(|kernels| self.run(kernels))
            .map(|(kernels, found)| (kernels.name(), self.share(kernels, &found)));
        shares.collect()
    }

    /// The largest error of the product that a set found, as a share of what is stated.
    fn share(&self, kernels: &dyn Kernels, found: &[f16]) -> f64 {
        let [_, k, _] = self.shape;
        let mut largest: f64 = 0.0;
        for (i, &x) in found.iter().enumerate() {
            let sum = self.sum(i);
            let added = halves_added(kernels, k, 128);
            let what = || {
                format!(
                    "{} rows, k, n = {:?}, element {i}",
                    kernels.name(),
                    self.shape
                )
            };
            largest = largest.max(check(&sum, x, self.clamp, added, what));
        }
        largest
    }
}

#[cfg_attr(test, test)]
pub(crate) fn products_of_halves_agree() {
    let mut random = Random(60);
    for size in 0..=67 {
        let [rows, other] = [random.up_to(9), random.up_to(67)];
        for shape in [
            [rows, size, other],
            [rows, other, size],
            [size, other / 4, 33],
        ] {
            Product::random(&mut random, shape).check();
        }
    }
    for shape in [[5, 384, 96], [49, 40, 240], [1, 1280, 100], [4, 1536, 20]] {
        for (name, share) in Product::random(&mut random, shape).check() {
            println!("{name}: {shape:?}, {share:.4} of the stated error");
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn special_halves_of_products_are_defined() {
    let mut random = Random(61);
    for kernels in available() {
        let mut case = Product::random(&mut random, [7, 70, 37]);
        case.clamp = [0.0, 6.0];
        case.lhs[2 * 70 + 5] = f16::NAN;
        for (i, x) in case.run(kernels).iter().enumerate() {
            assert_eq!(
                x.is_nan(),
                i / 37 == 2,
                "{} element {i}: {x}",
                kernels.name()
            );
        }
        // Sums beyond the largest half, an infinite input, and a subnormal sum, which is kept.
        let seven = f16::from_f32(7.0);
        for (input, weight, expected) in [
            (f16::from_f32(300.0), seven, f16::INFINITY),
            (f16::from_f32(-300.0), seven, f16::NEG_INFINITY),
            (f16::INFINITY, seven, f16::INFINITY),
            (f16::from_bits(3), f16::ONE, f16::from_bits(3 * 70)),
        ] {
            case.lhs.fill(input);
            case.packed.fill(weight);
            case.bias = vec![0.0; 37];
            case.clamp = UNLIMITED;
            for x in case.run(kernels) {
                assert_eq!(x, expected, "{} of {input}", kernels.name());
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn matrices_of_halves_agree() {
    let mut random = Random(62);
    for step in 0..136 {
        let (size, transpose_rhs) = (step / 2, step % 2 == 0);
        let mut dims = [random.up_to(9), random.up_to(40), random.up_to(40)];
        dims[random.up_to(2)] = size;
        check_matmul(&mut random, dims, transpose_rhs);
    }
    // Columns further apart than 16 bits reach.
    check_matmul(&mut random, [2, 9400, 9], true);
}

pub(crate) fn check_matmul(random: &mut Random, [m, k, n]: [usize; 3], transpose_rhs: bool) {
    let (lhs, rhs, scale) = (halves(random, m * k), halves(random, k * n), 0.125);
    let found = each_set(|kernels| {
        guarded(m * n, |dst| {
            kernels.matmul_f16(MatmulF16 {
                m,
                k,
                n,
                lhs: &lhs,
                rhs: &rhs,
                transpose_rhs,
                scale,
                dst,
            });
        })
    });
    for (kernels, found) in found {
        for (i, &x) in found.iter().enumerate() {
            let (row, column) = (i / n, i % n);
            let mut sum = Sum::default();
            for inner in 0..k {
                let place = match transpose_rhs {
                    true => column * k + inner,
                    false => inner * n + column,
                };
                let product = lhs[row * k + inner].to_f64() * rhs[place].to_f64();
                sum.add(product * f64::from(scale));
            }
            let what = || format!("{} {m} {k} {n} {transpose_rhs} {i}", kernels.name());
            check(&sum, x, UNLIMITED, halves_added(kernels, k, 128), what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn convolutions_of_halves_agree() {
    let mut random = Random(63);
    for _ in 0..100 {
        let window = random_window(&mut random);
        let (c, n) = (1 + random.up_to(18), 1 + random.up_to(36));
        check_conv(&mut random, window, [c, n]);
    }
    check_conv(&mut random, square(24, 3, 2), [3, 32]);
    check_conv(&mut random, square(9, 1, 1), [80, 24]);
    check_conv(&mut random, square(8, 3, 1), [32, 16]);
}

pub(crate) fn check_conv(random: &mut Random, window: Window, [c, n]: [usize; 2]) {
    let k = window.kernel[0] * window.kernel[1] * c;
    let pixels = window.output[0] * window.output[1];
    let src = halves(random, window.input[0] * window.input[1] * c);
    let Product { matrix, packed, .. } = Product::random(random, [0, k, n]);
    let bias = random.numbers(n);
    let clamp = [-0.5, 6.0];
    let found = each_set(|kernels| {
        let mut scratch = vec![f32::NAN; tile_scratch_bytes(k, 4).unwrap() / 4];
        guarded(pixels * n, |dst| {
            kernels.conv_f16(ConvF16 {
                window,
                in_channels: c,
                out_channels: n,
                src: &src,
                weights: &packed,
                bias: &bias,
                clamp,
                dst,
                scratch: &mut scratch,
            });
        })
    });
    for (kernels, found) in found {
        for (i, &x) in found.iter().enumerate() {
            let (pixel, channel) = (i / n, i % n);
            let position = [pixel / window.output[1], pixel % window.output[1]];
            let mut sum = Sum::default();
            for_each_tap(&window, position, |tap, at| {
                for input in 0..c {
                    let weight = matrix[channel * k + tap * c + input].to_f64();
                    sum.add(src[at * c + input].to_f64() * weight);
                }
            });
            sum.add(bias[channel].into());
            let what = || format!("{} {window:?} {c} {n} element {i}", kernels.name());
            check(&sum, x, clamp, halves_added(kernels, k, 128), what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn depthwise_convolutions_of_halves_agree() {
    let mut random = Random(64);
    for channels in 0..=67 {
        let window = random_window(&mut random);
        check_depthwise(&mut random, window, channels);
    }
    for kernel in [3, 5, 7, 9] {
        check_depthwise(&mut random, square(10, kernel, 1), 40);
        check_depthwise(&mut random, square(10, kernel, 2), 96);
    }
}

pub(crate) fn check_depthwise(random: &mut Random, window: Window, channels: usize) {
    let taps = window.kernel[0] * window.kernel[1];
    let src = halves(random, window.input[0] * window.input[1] * channels);
    let weights = halves(random, taps * channels);
    let with_bias = random.up_to(1);
    let bias = random.numbers(with_bias * channels);
    let clamp = [0.0, 6.0];
    let found = each_set(|kernels| {
        guarded(window.output[0] * window.output[1] * channels, |dst| {
            kernels.depthwise_conv_f16(DepthwiseConvF16 {
                window,
                channels,
                src: &src,
                weights: &weights,
                bias: &bias,
                clamp,
                dst,
            });
        })
    });
    for (kernels, found) in found {
        for (i, &x) in found.iter().enumerate() {
            let (pixel, channel) = (i / channels, i % channels);
            let position = [pixel / window.output[1], pixel % window.output[1]];
            let mut sum = Sum::default();
            for_each_tap(&window, position, |tap, at| {
                let weight = weights[tap * channels + channel].to_f64();
                sum.add(src[at * channels + channel].to_f64() * weight);
            });
            sum.add(bias.get(channel).copied().unwrap_or(0.0).into());
            let added = halves_added(kernels, taps + 1, 65);
            let what = || format!("{} {window:?} {channels} element {i}", kernels.name());
            check(&sum, x, clamp, added, what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn pools_of_halves_agree() {
    let mut random = Random(65);
    for channels in [1, 3, 8, 17, 64, 67] {
        let window = Window {
            dilation: [1; 2],
            ..random_window(&mut random)
        };
        let src = halves(&mut random, window.input[0] * window.input[1] * channels);
        let len = window.output[0] * window.output[1] * channels;
        for kernels in available() {
            let pool = |pool: fn(&dyn Kernels, PoolF16<'_>)| {
                guarded(len, |dst| {
                    pool(
                        kernels,
                        PoolF16 {
                            window,
                            channels,
                            src: &src,
                            dst,
                        },
                    );
                })
            };
            let means = pool(|kernels, args| kernels.avg_pool_f16(args));
            let maxima = pool(|kernels, args| kernels.max_pool_f16(args));
            for i in 0..len {
                let (pixel, channel) = (i / channels, i % channels);
                let position = [pixel / window.output[1], pixel % window.output[1]];
                let (mut sum, mut largest) = (Sum::default(), f16::NEG_INFINITY);
                for_each_tap(&window, position, |_, at| {
                    let x = src[at * channels + channel];
                    sum.add(x.to_f64());
                    largest = if x > largest { x } else { largest };
                });
                assert_eq!(maxima[i], largest, "{} {window:?}", kernels.name());
                let count = sum.terms.max(1) as f64;
                let mean = Sum {
                    value: sum.value / count,
                    magnitude: sum.magnitude / count,
                    ..sum
                };
                let what = || format!("{} {window:?} element {i}", kernels.name());
                check(&mean, means[i], UNLIMITED, 0, what);
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn halves_are_converted_exactly_and_to_the_nearest() {
    let every: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let mut random = Random(66);
    let mut numbers: Vec<f32> = (0..20_000)
        .map(|_| f32::from_bits(random.bits() as u32))
        .collect();
    // Every half, what lies halfway to the next one, and just beside that.
    for x in &every {
        let halfway = x.to_f32().to_bits() | 0x1000;
        numbers.extend([
            x.to_f32(),
            f32::from_bits(halfway),
            f32::from_bits(halfway + 1),
        ]);
    }
    for kernels in available() {
        let mut wide = vec![0.0; every.len()];
        kernels.widen_f16(&every, &mut wide);
        for (x, wide) in every.iter().zip(&wide) {
            let same = wide.to_bits() == x.to_f32().to_bits() || (wide.is_nan() && x.is_nan());
            assert!(same, "{}: {x:?} became {wide:e}", kernels.name());
        }
        let narrow = guarded(numbers.len(), |dst| kernels.narrow_f32(&numbers, dst));
        for (x, narrow) in numbers.iter().zip(&narrow) {
            let expected = f16::from_f32(*x);
            let same = narrow.to_bits() == expected.to_bits() || (narrow.is_nan() && x.is_nan());
            assert!(
                same,
                "{}: {x:e} became {narrow:?}, not {expected:?}",
                kernels.name()
            );
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn unary_functions_of_halves_keep_their_stated_errors() {
    // An emulated board computes f64 in software.
    let step = if cfg!(test) { 1 } else { 13 };
    let xs: Vec<f16> = (0..=u16::MAX).step_by(step).map(f16::from_bits).collect();
    for function in UnaryKind::ALL {
        let found = each_set(|kernels| {
            guarded(xs.len(), |dst| {
                kernels.unary_f16(function, constants(function), &xs, dst)
            })
        });
        for (kernels, found) in found {
            for (x, y) in xs.iter().zip(&found) {
                let exact = exact(function, x.to_f64());
                let what = || format!("{} {function:?}({x}): found {y}", kernels.name());
                let mut single = tolerance(function) * measure(function, x.to_f64(), exact) + UNIT;
                // An infinite x has an infinite result, or none.
                if x.is_finite() {
                    single += units_of_x(kernels, function) * HALF_UNIT * x.to_f64().abs();
                }
                let error = single + HALF_UNIT * (exact.abs() + single) + HALF_FLOOR;
                if exact.is_nan() || exact.is_infinite() || exact.abs() >= 65_520.0 + error {
                    let rounded = f16::from_f64(exact);
                    assert!(
                        *y == rounded || (y.is_nan() && rounded.is_nan()),
                        "{}",
                        what()
                    );
                } else if exact.abs() < 65_504.0 - error {
                    assert!(
                        (y.to_f64() - exact).abs() <= error,
                        "{}, expected {exact}",
                        what()
                    );
                }
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn binary_functions_of_halves_are_those_of_f32_rounded_once() {
    let mut random = Random(67);
    for len in (0..=67).chain([4000]) {
        let bits = |random: &mut Random| f16::from_bits(random.bits() as u16);
        let lhs: Vec<f16> = (0..len).map(|_| bits(&mut random)).collect();
        let rhs: Vec<f16> = (0..len).map(|_| bits(&mut random)).collect();
        for function in [
            BinaryKind::Add,
            BinaryKind::Sub,
            BinaryKind::Mul,
            BinaryKind::Div,
            BinaryKind::Max,
            BinaryKind::Min,
        ] {
            let found = each_set(|kernels| {
                guarded(len, |dst| kernels.binary_f16(function, &lhs, &rhs, dst))
            });
            for (kernels, found) in found {
                for i in 0..len {
                    let (a, b) = (lhs[i].to_f32(), rhs[i].to_f32());
                    let expected = f16::from_f32(match function {
                        BinaryKind::Add => a + b,
                        BinaryKind::Sub => a - b,
                        BinaryKind::Mul => a * b,
                        BinaryKind::Div => a / b,
                        _ if a.is_nan() || b.is_nan() => f32::NAN,
                        BinaryKind::Max => a.max(b),
                        _ => a.min(b),
                    });
                    let same = found[i] == expected || (found[i].is_nan() && expected.is_nan());
                    let what = format!("{} {function:?}({a:e}, {b:e})", kernels.name());
                    assert!(same, "{what}: found {}, expected {expected}", found[i]);
                }
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn rows_of_halves_agree() {
    let mut random = Random(68);
    for width in (1..=67).chain([384]) {
        let src: Vec<f16> = (0..3 * width)
            .map(|_| f16::from_f32(10.0 * random.number() + 1.0))
            .collect();
        let wide: Vec<f32> = src.iter().map(|x| x.to_f32()).collect();
        let (gamma, beta) = (random.numbers(width), random.numbers(width));
        let softmaxes =
            each_set(|kernels| guarded(src.len(), |dst| kernels.softmax_f16(width, &src, dst)));
        let normals = each_set(|kernels| {
            guarded(src.len(), |dst| {
                kernels.layer_norm_f16(1e-5, &gamma, &beta, &src, dst)
            })
        });
        for ((kernels, softmax), (_, normal)) in softmaxes.zip(normals) {
            for row in 0..3 {
                let row = row * width..(row + 1) * width;
                let exact = super::rows::softmax(&wide[row.clone()]);
                check_row(kernels, &softmax[row.clone()], &exact, 5e-6);
                let exact = super::rows::layer_norm(1e-5, &gamma, &beta, &wide[row.clone()]);
                check_row(kernels, &normal[row], &exact, 1e-4);
            }
            let sums = guarded(3, |dst| {
                kernels.reduce_f16(ReduceKind::Sum, [3, width, 1], &src, dst)
            });
            for (row, &found) in wide.chunks(width).zip(&sums) {
                let mut sum = Sum::default();
                row.iter().for_each(|&x| sum.add(x.into()));
                check(&sum, found, UNLIMITED, 0, || {
                    format!("{} sum of {width}", kernels.name())
                });
            }
            let largest = guarded(width, |dst| {
                kernels.reduce_f16(ReduceKind::Max, [1, 3, width], &src, dst)
            });
            for (column, found) in largest.iter().enumerate() {
                let column = (0..3).map(|row| wide[row * width + column]);
                assert_eq!(found.to_f32(), column.fold(f32::NEG_INFINITY, f32::max));
            }
        }
    }
}

/// `tolerance` is that of the operation in f32.
fn check_row(kernels: &dyn Kernels, found: &[f16], exact: &[f64], tolerance: f64) {
    for (x, y) in found.iter().zip(exact) {
        let error = (x.to_f64() - y).abs();
        let bound = tolerance + HALF_UNIT * (y.abs() + tolerance) + HALF_FLOOR;
        assert!(
            error <= bound,
            "{} width {}: {x} {y}",
            kernels.name(),
            found.len()
        );
    }
}

#[cfg_attr(test, test)]
pub(crate) fn softmax_of_masked_and_infinite_halves_is_defined() {
    let columns = 70;
    for kernels in available() {
        let row = |change: &dyn Fn(&mut [f16])| {
            let mut src = vec![f16::ONE; columns];
            change(&mut src);
            guarded(columns, |dst| kernels.softmax_f16(columns, &src, dst))
        };
        let masked = row(&|src| src.fill(f16::NEG_INFINITY));
        assert!(masked.iter().all(|&x| x == f16::ZERO), "{}", kernels.name());
        for bad in [f16::NAN, f16::INFINITY] {
            for at in [0, 69] {
                let found = row(&|src| src[at] = bad);
                assert!(found.iter().all(|x| x.is_nan()), "{}", kernels.name());
            }
        }
    }
}
