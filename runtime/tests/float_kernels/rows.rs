//! Softmax, layer normalisation, reductions.

use alloc::vec::Vec;

use pinhole_runtime::kernel::available;
use pinhole_runtime::model::op::ReduceKind;

use super::products::UNLIMITED;
use super::support::{Random, Sum, guarded};

pub(crate) fn softmax<T: Copy + Into<f64>>(row: &[T]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = row.iter().map(|x| libm::exp(x - largest)).collect();
    let total: f64 = exps.iter().sum();
    exps.iter().map(|x| x / total).collect()
}

#[cfg_attr(test, test)]
pub(crate) fn softmax_agrees_for_every_width_up_to_67_and_for_1000_classes() {
    let mut random = Random(30);
    for columns in (1..=67).chain([1000]) {
        let src: Vec<f32> = random
            .numbers(5 * columns)
            .iter()
            .map(|x| 30.0 * x)
            .collect();
        for kernels in available() {
            let found = guarded(src.len(), |dst| kernels.softmax_f32(columns, &src, dst));
            for (found, src) in found.chunks(columns).zip(src.chunks(columns)) {
                for (&x, y) in found.iter().zip(softmax(src)) {
                    assert!(
                        (f64::from(x) - y).abs() <= 5e-6 * y + 1e-12,
                        "{}: {x} {y}",
                        kernels.name()
                    );
                }
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn softmax_of_rows_with_infinity_and_nan_is_defined() {
    let columns = 19;
    for kernels in available() {
        let row = |change: &dyn Fn(&mut [f32])| {
            let mut src = vec![1.0; columns];
            change(&mut src);
            guarded(columns, |dst| kernels.softmax_f32(columns, &src, dst))
        };
        let name = kernels.name();
        assert_eq!(
            row(&|src| src.fill(f32::NEG_INFINITY)),
            vec![0.0; columns],
            "{name}"
        );
        assert_eq!(row(&|src| src.fill(f32::MAX))[18], 1.0 / 19.0, "{name}");
        let masked = row(&|src| src[..18].fill(f32::NEG_INFINITY));
        assert!(
            masked[..18].iter().all(|&x| x == 0.0) && masked[18] == 1.0,
            "{name} {masked:?}"
        );
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 18] {
                assert!(
                    row(&|src| src[at] = bad).iter().all(|x| x.is_nan()),
                    "{name} {bad} at {at}"
                );
            }
        }
    }
}

pub(crate) fn layer_norm(epsilon: f32, gamma: &[f32], beta: &[f32], row: &[f32]) -> Vec<f64> {
    let width = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width;
    let variance = row
        .iter()
        .map(|&x| (f64::from(x) - mean) * (f64::from(x) - mean))
        .sum::<f64>()
        / width;
    let reciprocal = 1.0 / libm::sqrt(variance + f64::from(epsilon));
    let each = row.iter().zip(gamma).zip(beta);
    each.map(|((&x, &g), &b)| (f64::from(x) - mean) * reciprocal * f64::from(g) + f64::from(b))
        .collect()
}

#[cfg_attr(test, test)]
pub(crate) fn layer_norm_agrees_for_every_width_up_to_67_and_real_ones() {
    let mut random = Random(31);
    for width in (1..=67).chain([384, 768]) {
        let (gamma, beta) = (random.numbers(width), random.numbers(width));
        // A mean far from 0 is where a one-pass variance fails.
        let src: Vec<f32> = random.numbers(3 * width).iter().map(|x| x + 10.0).collect();
        for kernels in available() {
            let found = guarded(src.len(), |dst| {
                kernels.layer_norm_f32(1e-12, &gamma, &beta, &src, dst)
            });
            for (found, src) in found.chunks(width).zip(src.chunks(width)) {
                for (&x, y) in found.iter().zip(layer_norm(1e-12, &gamma, &beta, src)) {
                    let tolerance = if width < 3 { 1.0 } else { 1e-4 };
                    assert!(
                        (f64::from(x) - y).abs() <= tolerance,
                        "{} width {width}: {x} {y}",
                        kernels.name()
                    );
                }
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn layer_norm_of_a_constant_row_is_beta_and_nan_stays_in_its_row() {
    let width = 37;
    let beta: Vec<f32> = (0..width).map(|i| i as f32).collect();
    let mut src = vec![2.0; 2 * width];
    src[width + 3] = f32::NAN;
    for kernels in available() {
        let found = guarded(src.len(), |dst| {
            kernels.layer_norm_f32(1e-5, &vec![1.0; width], &beta, &src, dst)
        });
        assert_eq!(found[..width], beta, "{}", kernels.name());
        assert!(
            found[width..].iter().all(|x| x.is_nan()),
            "{}",
            kernels.name()
        );
    }
}

const REDUCTIONS: [ReduceKind; 4] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Max,
    ReduceKind::L2,
];

#[cfg_attr(test, test)]
pub(crate) fn reductions_agree_for_every_size_up_to_67() {
    let mut random = Random(32);
    for step in 0..68 * 3 {
        let mut dims = [random.up_to(5), 1 + random.up_to(20), 1 + random.up_to(20)];
        dims[step % 3] = step / 3;
        dims[2] = [dims[2], 1][random.up_to(1)];
        let src = random.numbers(dims.iter().product());
        for kernels in available() {
            for function in REDUCTIONS {
                let found = guarded(dims[0] * dims[2], |dst| {
                    kernels.reduce_f32(function, dims, &src, dst)
                });
                check_reduction(function, dims, &src, &found, kernels.name());
            }
        }
    }
}

fn check_reduction(
    function: ReduceKind,
    [_, middle, inner]: [usize; 3],
    src: &[f32],
    found: &[f32],
    name: &str,
) {
    for (i, &x) in found.iter().enumerate() {
        let values =
            (0..middle).map(|m| f64::from(src[(i / inner * middle + m) * inner + i % inner]));
        let (mut sum, mut squares) = (Sum::default(), Sum::default());
        values.clone().for_each(|x| sum.add(x));
        values.clone().for_each(|x| squares.add(x * x));
        let what = || format!("{name} {function:?} {middle} {inner} element {i}");
        match function {
            ReduceKind::Sum => sum.check(x, UNLIMITED, what),
            ReduceKind::Max => assert_eq!(
                f64::from(x),
                values.fold(f64::NEG_INFINITY, f64::max),
                "{}",
                what()
            ),
            ReduceKind::Mean if middle == 0 => assert!(x.is_nan(), "{}", what()),
            ReduceKind::Mean => {
                let count = middle as f64;
                let mean = Sum {
                    value: sum.value / count,
                    magnitude: sum.magnitude / count,
                    ..sum
                };
                mean.check(x, UNLIMITED, what);
            }
            ReduceKind::L2 => {
                let norm = libm::sqrt(squares.value);
                Sum {
                    value: norm,
                    magnitude: norm,
                    ..squares
                }
                .check(x, UNLIMITED, what);
            }
        }
    }
}
