//! `gemm_f32` and `matmul_f32`.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{GemmF32, Kernels, MatmulF32, WeightsF32, available, packing};

use super::support::{Random, STORAGES, Sum, UNIT, Weights, guarded, whole};

pub(crate) const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// A product of random operands.
pub(crate) struct Case {
    pub(crate) shape: [usize; 3],
    pub(crate) lhs: Vec<f32>,
    pub(crate) weights: Weights,
    pub(crate) bias: Vec<f32>,
    pub(crate) clamp: [f32; 2],
}

impl Case {
    pub(crate) fn random(random: &mut Random, storage: &str, shape: [usize; 3]) -> Self {
        let [rows, k, n] = shape;
        let with_bias = random.up_to(2) > 0;
        Self {
            shape,
            lhs: random.numbers(rows * k),
            weights: Weights::random(random, storage, n, k),
            bias: random.numbers(if with_bias { n } else { 0 }),
            clamp: [UNLIMITED, [0.0, f32::INFINITY], [0.0, 0.5]][random.up_to(2)],
        }
    }

    pub(crate) fn run(&self, kernels: &dyn Kernels) -> Vec<f32> {
        let [rows, k, n] = self.shape;
        guarded(rows * n, |dst| {
            kernels.gemm_f32(GemmF32 {
                rows,
                k,
                n,
                lhs: &self.lhs,
                weights: self.weights.as_args(),
                bias: &self.bias,
                clamp: self.clamp,
                dst,
                scratch: &mut [],
            });
        })
    }

    /// (rows, n)
    pub(crate) fn expected(&self) -> Vec<Sum> {
        let [rows, k, n] = self.shape;
        let lhs = whole(&self.lhs);
        let mut sums = vec![Sum::default(); rows * n];
        for (i, sum) in sums.iter_mut().enumerate() {
            let (row, channel) = (i / n, i % n);
            let weights = &self.weights.whole[channel * k..][..k];
            let unit = UNIT * self.weights.units[channel];
            sum.add_products(&lhs[row * k..][..k], weights, unit);
            sum.add(f64::from(self.bias.get(channel).copied().unwrap_or(0.0)));
        }
        sums
    }

    fn check(&self, storage: &str) {
        let expected = self.expected();
        for kernels in available() {
            for (i, (&x, sum)) in self.run(kernels).iter().zip(&expected).enumerate() {
                sum.check(x, self.clamp, || {
                    format!(
                        "{} {storage} rows, k, n = {:?}, element {i}",
                        kernels.name(),
                        self.shape
                    )
                });
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn gemm_agrees_for_every_size_up_to_67() {
    let mut random = Random(1);
    for storage in STORAGES {
        for size in 0..=67 {
            let [rows, other] = [random.up_to(20), random.up_to(67)];
            Case::random(&mut random, storage, [rows, size, other]).check(storage);
            Case::random(&mut random, storage, [rows, other, size]).check(storage);
            Case::random(&mut random, storage, [size, 1 + other / 4, 33]).check(storage);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn gemm_agrees_for_the_shapes_of_minilm_and_efficientnet() {
    let mut random = Random(2);
    for storage in STORAGES {
        for shape in [
            [16, 384, 384],
            [9, 384, 1536],
            [5, 1536, 384],
            [196, 40, 240],
            [49, 672, 112],
            [1, 1280, 400],
        ] {
            Case::random(&mut random, storage, shape).check(storage);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn gemm_uses_every_panel_of_a_tall_product() {
    let mut random = Random(3);
    Case::random(&mut random, "f32", [2000, 96, 24]).check("f32");
}

#[cfg_attr(test, test)]
pub(crate) fn nan_in_a_row_of_a_product_stays_in_its_row() {
    let mut random = Random(4);
    let mut case = Case::random(&mut random, "f16", [11, 19, 41]);
    case.clamp = [0.0, 6.0];
    case.lhs[3 * 19 + 7] = f32::NAN;
    for kernels in available() {
        for (i, x) in case.run(kernels).iter().enumerate() {
            assert_eq!(
                x.is_nan(),
                i / 41 == 3,
                "{} element {i}: {x}",
                kernels.name()
            );
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn nan_and_infinity_in_a_channel_stay_in_their_channel() {
    let [rows, k, n] = [7, 5, 27];
    let lhs = vec![1.0; rows * k];
    for (bad, channel) in [(f32::NAN, 3), (f32::INFINITY, 16), (f32::NEG_INFINITY, 26)] {
        let mut weights = vec![1.0; n * k];
        weights[packing::offset_float(n, k, channel, 2)] = bad;
        for kernels in available() {
            let dst = guarded(rows * n, |dst| {
                let weights = WeightsF32::F32(&weights);
                kernels.gemm_f32(GemmF32 {
                    rows,
                    k,
                    n,
                    lhs: &lhs,
                    weights,
                    bias: &[],
                    clamp: UNLIMITED,
                    dst,
                    scratch: &mut [],
                });
            });
            for (i, x) in dst.iter().enumerate() {
                let expected = if i % n == channel { bad } else { 5.0 };
                assert!(
                    x.to_bits() == expected.to_bits() || (x.is_nan() && expected.is_nan()),
                    "{x} {expected}"
                );
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn matmul_agrees_with_and_without_transposition() {
    let mut random = Random(5);
    for step in 0..136 {
        let (size, transpose_rhs) = (step / 2, step % 2 == 0);
        let mut dims = [random.up_to(20), random.up_to(40), random.up_to(40)];
        dims[random.up_to(2)] = size;
        check_matmul(&mut random, dims, transpose_rhs);
    }
    check_matmul(&mut random, [77, 64, 77], true);
    check_matmul(&mut random, [77, 77, 64], false);
}

fn check_matmul(random: &mut Random, [m, k, n]: [usize; 3], transpose_rhs: bool) {
    let (lhs, rhs, scale) = (random.numbers(m * k), random.numbers(k * n), 0.125);
    for kernels in available() {
        let found = guarded(m * n, |dst| {
            kernels.matmul_f32(MatmulF32 {
                m,
                k,
                n,
                lhs: &lhs,
                rhs: &rhs,
                transpose_rhs,
                scale,
                dst,
            });
        });
        for (i, &x) in found.iter().enumerate() {
            let (row, column) = (i / n, i % n);
            let mut sum = Sum::default();
            for inner in 0..k {
                let y = rhs[if transpose_rhs {
                    column * k + inner
                } else {
                    inner * n + column
                }];
                sum.add(f64::from(lhs[row * k + inner]) * f64::from(y) * f64::from(scale));
            }
            let what = || {
                format!(
                    "{} m, k, n = {m} {k} {n} {transpose_rhs} element {i}",
                    kernels.name()
                )
            };
            sum.check(x, UNLIMITED, what);
        }
    }
}
