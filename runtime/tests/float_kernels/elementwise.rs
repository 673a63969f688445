//! Functions of one and two numbers.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::model::op::{BinaryKind, UnaryKind};

use super::support::{Random, guarded};

/// Points of the grid between two integers: fewer on an emulated board, which computes f64 in software.
const GRID_POINTS: i32 = if cfg!(test) { 10_000 } else { 100 };

/// A grid over [−20, 20], numbers near the limits of the functions, and the special ones.
pub(crate) fn grid() -> Vec<f32> {
    let mut xs: Vec<f32> = (-20 * GRID_POINTS..=20 * GRID_POINTS)
        .map(|i| (f64::from(i) / f64::from(GRID_POINTS)) as f32)
        .collect();
    for x in [
        0.0,
        1e-45,
        1e-38,
        1e-30,
        1e-10,
        3.9193,
        9.0,
        87.3,
        88.72,
        88.8,
        103.9,
        104.1,
        1e5,
        1e30,
        f32::INFINITY,
    ] {
        xs.extend([x, -x]);
    }
    xs.push(f32::NAN);
    xs
}

/// alpha and beta that mean something for `function`.
pub(crate) fn constants(function: UnaryKind) -> [f32; 2] {
    match function {
        UnaryKind::Clip => [-1.5, 6.0],
        UnaryKind::HardSigmoid => [0.2, 0.5],
        UnaryKind::LeakyRelu => [0.01, 0.0],
        UnaryKind::Affine => [-0.75, 0.3],
        _ => [0.0; 2],
    }
}

/// The function in f64.
pub(crate) fn exact(function: UnaryKind, x: f64) -> f64 {
    let [alpha, beta] = constants(function).map(f64::from);
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    match function {
        UnaryKind::Clip => x.clamp(alpha, beta),
        UnaryKind::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        UnaryKind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
        UnaryKind::Sigmoid => sigmoid(x),
        UnaryKind::Silu => x * sigmoid(x),
        UnaryKind::Tanh => libm::tanh(x),
        UnaryKind::Gelu => 0.5 * x * (1.0 + libm::erf(x * core::f64::consts::FRAC_1_SQRT_2)),
        UnaryKind::GeluTanh => {
            let argument = libm::sqrt(2.0 / core::f64::consts::PI) * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + libm::tanh(argument))
        }
        UnaryKind::QuickGelu => x * sigmoid(f64::from(1.702_f32) * x),
        UnaryKind::Erf => libm::erf(x),
        UnaryKind::Exp => libm::exp(x),
        UnaryKind::Log => libm::log(x),
        UnaryKind::Sqrt => libm::sqrt(x),
        UnaryKind::Reciprocal => 1.0 / x,
        UnaryKind::Neg => -x,
        UnaryKind::Abs => x.abs(),
        UnaryKind::LeakyRelu => {
            if x >= 0.0 || x.is_nan() {
                x
            } else {
                alpha * x
            }
        }
        UnaryKind::Square => x * x,
        UnaryKind::Affine => alpha * x + beta,
    }
}

/// What an error of `function` at `x` is measured by: the tolerances below are multiples of it.
pub(crate) fn measure(function: UnaryKind, x: f64, y: f64) -> f64 {
    match function {
        // Left of 0 these multiply a small difference of numbers near 1 by x.
        UnaryKind::Gelu | UnaryKind::GeluTanh | UnaryKind::QuickGelu => x.abs().max(1e-30),
        UnaryKind::HardSwish | UnaryKind::HardSigmoid | UnaryKind::Affine => 1.0 + x.abs(),
        // Sums of f32 near 1, or subnormal results.
        UnaryKind::Sigmoid | UnaryKind::Silu => y.abs().max(1e-30),
        UnaryKind::Log => y.abs().max(1e-3),
        _ => y.abs().max(1.2e-38),
    }
}

/// Largest error of every set, as a multiple of [`measure`].
pub(crate) fn tolerance(function: UnaryKind) -> f64 {
    match function {
        UnaryKind::Clip | UnaryKind::Neg | UnaryKind::Abs => 0.0,
        UnaryKind::Sqrt | UnaryKind::Reciprocal | UnaryKind::Square | UnaryKind::LeakyRelu => {
            1.2e-7
        }
        UnaryKind::HardSwish | UnaryKind::HardSigmoid | UnaryKind::Affine => 4e-7,
        _ => 5e-7,
    }
}

/// What is lost at `x` where vectors flush subnormal f32 to zero, be it a factor of `x`: in the sets for a Cortex-M
/// with Helium.
pub(crate) fn flushed(kernels: &dyn Kernels, x: f32) -> f64 {
    match kernels.name().starts_with("cortex_m-") && x.is_finite() {
        true => f64::from(f32::MIN_POSITIVE) * f64::from(x.abs().max(1.0)),
        false => 0.0,
    }
}

#[cfg_attr(test, test)]
pub(crate) fn unary_functions_keep_their_stated_errors() {
    let xs = grid();
    for kernels in available() {
        for function in UnaryKind::ALL {
            let found = guarded(xs.len(), |dst| {
                kernels.unary_f32(function, constants(function), &xs, dst)
            });
            for (&x, &y) in xs.iter().zip(&found) {
                let what = format!("{} {function:?}({x:e}): found {y:e}", kernels.name());
                check(function, x, y, flushed(kernels, x), &what);
            }
        }
    }
}

fn check(function: UnaryKind, x: f32, y: f32, floor: f64, what: &str) {
    let exact = exact(function, f64::from(x));
    let rounded = exact as f32;
    if rounded.is_nan() || rounded.is_infinite() {
        // 0 · inf at −inf: NaN in f64 too, or the function is its limit 0.
        assert!(
            y.to_bits() == rounded.to_bits() || (y.is_nan() && rounded.is_nan()),
            "{what}, expected {rounded}"
        );
        return;
    }
    let error = (f64::from(y) - exact).abs();
    assert!(
        error <= tolerance(function) * measure(function, f64::from(x), exact) + floor,
        "{what}, expected {exact:e}"
    );
}

#[cfg_attr(test, test)]
pub(crate) fn unary_functions_write_every_length_up_to_67() {
    let mut random = Random(40);
    for len in 0..=67 {
        let xs = random.numbers(len);
        for kernels in available() {
            for function in UnaryKind::ALL {
                let found = guarded(len, |dst| {
                    kernels.unary_f32(function, constants(function), &xs, dst)
                });
                for (&x, &y) in xs.iter().zip(&found) {
                    check(
                        function,
                        x,
                        y,
                        flushed(kernels, x),
                        &format!("{} {function:?}({x:e}): found {y:e}", kernels.name()),
                    );
                }
            }
        }
    }
}

const BINARY: [BinaryKind; 7] = [
    BinaryKind::Add,
    BinaryKind::Sub,
    BinaryKind::Mul,
    BinaryKind::Div,
    BinaryKind::Pow,
    BinaryKind::Max,
    BinaryKind::Min,
];

#[cfg_attr(test, test)]
pub(crate) fn binary_functions_are_exactly_the_scalar_ones_for_every_length() {
    let mut random = Random(41);
    for len in 0..=67 {
        let (mut lhs, mut rhs) = (random.numbers(len), random.numbers(len));
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
            if len > 0 {
                lhs[random.up_to(len - 1)] = x;
                rhs[random.up_to(len - 1)] = x;
            }
        }
        for function in BINARY {
            for kernels in available() {
                let found = guarded(len, |dst| kernels.binary_f32(function, &lhs, &rhs, dst));
                for i in 0..len {
                    let expected = binary(function, lhs[i], rhs[i]);
                    let same = found[i] == expected || (found[i].is_nan() && expected.is_nan());
                    let what = format!("{} {function:?}({}, {})", kernels.name(), lhs[i], rhs[i]);
                    assert!(same, "{what}: found {}, expected {expected}", found[i]);
                }
            }
        }
    }
}

fn binary(function: BinaryKind, a: f32, b: f32) -> f32 {
    match function {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Pow => libm::powf(a, b),
        _ if a.is_nan() || b.is_nan() => f32::NAN,
        BinaryKind::Max => a.max(b),
        BinaryKind::Min => a.min(b),
    }
}
