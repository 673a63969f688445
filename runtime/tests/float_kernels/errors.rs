//! The largest errors of every set, printed: the numbers of the table in `docs/numerics.md`.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::model::op::UnaryKind;

use super::support::{Random, STORAGES, UNIT};
use super::{attention, elementwise, products, rows};

/// `cargo test -p pinhole-runtime --features std --test float_kernels measured_errors -- --nocapture`
#[cfg_attr(test, test)]
pub(crate) fn measured_errors() {
    for kernels in available() {
        println!("{}", kernels.name());
        for storage in STORAGES {
            let (largest, terms) = gemm_error(kernels, storage);
            println!(
                "  gemm_f32, {storage} weights: {largest:.1} units of 2^-24 sum|lhs*rhs|, {terms} terms"
            );
            assert!(largest <= (terms + 4) as f64);
        }
        println!("  attention_f32: {:.1e} absolute", attention_error(kernels));
        println!("  softmax_f32: {:.1e} relative", softmax_error(kernels));
        println!(
            "  layer_norm_f32: {:.1e} absolute",
            layer_norm_error(kernels)
        );
        for function in UnaryKind::ALL {
            let error = unary_error(kernels, function);
            if error > UNIT {
                println!("  unary_f32 {function:?}: {error:.1e}");
            }
            assert!(error <= elementwise::tolerance(function));
        }
    }
}

fn gemm_error(kernels: &dyn Kernels, storage: &str) -> (f64, usize) {
    let mut case = products::Case::random(&mut Random(50), storage, [8, 1536, 384]);
    case.clamp = products::UNLIMITED;
    let expected = case.expected();
    let errors = case
        .run(kernels)
        .into_iter()
        .zip(&expected)
        .map(|(x, sum)| sum.error(x, case.clamp));
    (errors.fold(0.0, f64::max), expected[0].terms)
}

fn attention_error(kernels: &dyn Kernels) -> f64 {
    let case = attention::Case::random(&mut Random(51), 64, 32, 12);
    largest_difference(&case.run(kernels), &case.expected())
}

fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    found
        .iter()
        .zip(expected)
        .map(|(&x, y)| (f64::from(x) - y).abs())
        .fold(0.0, f64::max)
}

fn softmax_error(kernels: &dyn Kernels) -> f64 {
    let src: Vec<f32> = Random(52).numbers(1000).iter().map(|x| 30.0 * x).collect();
    let mut found = vec![0.0; src.len()];
    kernels.softmax_f32(src.len(), &src, &mut found);
    let errors = found
        .iter()
        .zip(rows::softmax(&src))
        .map(|(&x, y)| (f64::from(x) / y - 1.0).abs());
    errors.fold(0.0, f64::max)
}

fn layer_norm_error(kernels: &dyn Kernels) -> f64 {
    let mut random = Random(53);
    let [src, gamma, beta] = [(); 3].map(|()| random.numbers(384));
    let mut found = vec![0.0; 384];
    kernels.layer_norm_f32(1e-12, &gamma, &beta, &src, &mut found);
    largest_difference(&found, &rows::layer_norm(1e-12, &gamma, &beta, &src))
}

fn unary_error(kernels: &dyn Kernels, function: UnaryKind) -> f64 {
    let xs = elementwise::grid();
    let mut found = vec![0.0; xs.len()];
    kernels.unary_f32(function, elementwise::constants(function), &xs, &mut found);
    let mut largest: f64 = 0.0;
    for (&x, &y) in xs.iter().zip(&found) {
        let (x, exact) = (f64::from(x), elementwise::exact(function, f64::from(x)));
        if (exact as f32).is_finite() {
            let error = (f64::from(y) - exact).abs() - elementwise::flushed(kernels, x as f32);
            largest = largest.max(error / elementwise::measure(function, x, exact));
        }
    }
    largest
}
