//! Functions of one or two numbers, element by element.

use crate::kernel::Element;

use super::{clamp_f32, max_f32, min_f32};
use crate::model::op::{BinaryKind, UnaryKind};

/// `dst[i] = function(src[i])`; the constants are [alpha, beta] of [`UnaryKind`].
pub fn unary_float<T: Element>(function: UnaryKind, constants: [f32; 2], src: &[T], dst: &mut [T]) {
    for (&x, dst) in src.iter().zip(dst) {
        *dst = T::narrow(unary(function, constants, x.widen()));
    }
}

/// `dst[i] = function(lhs[i], rhs[i])`.
pub fn binary_float<T: Element>(function: BinaryKind, lhs: &[T], rhs: &[T], dst: &mut [T]) {
    for ((&a, &b), dst) in lhs.iter().zip(rhs).zip(dst) {
        let (a, b) = (a.widen(), b.widen());
        *dst = T::narrow(match function {
            BinaryKind::Add => a + b,
            BinaryKind::Sub => a - b,
            BinaryKind::Mul => a * b,
            BinaryKind::Div => a / b,
            BinaryKind::Pow => libm::powf(a, b),
            BinaryKind::Max => max_f32(a, b),
            BinaryKind::Min => min_f32(a, b),
        });
    }
}

/// One value of a unary function. SiLU, the GELUs and hard swish of −inf are NaN (0 · inf), as in PyTorch.
pub(crate) fn unary(function: UnaryKind, [alpha, beta]: [f32; 2], x: f32) -> f32 {
    match function {
        UnaryKind::Clip => clamp_f32(x, [alpha, beta]),
        UnaryKind::HardSwish => x * clamp_f32(x + 3.0, [0.0, 6.0]) / 6.0,
        UnaryKind::HardSigmoid => clamp_f32(alpha * x + beta, [0.0, 1.0]),
        UnaryKind::Sigmoid => sigmoid(x),
        UnaryKind::Silu => x * sigmoid(x),
        UnaryKind::Tanh => libm::tanhf(x),
        UnaryKind::Gelu => 0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2)),
        UnaryKind::GeluTanh => 0.5 * x * (1.0 + libm::tanhf(gelu_tanh_argument(x))),
        UnaryKind::QuickGelu => x * sigmoid(1.702 * x),
        UnaryKind::Erf => libm::erff(x),
        UnaryKind::Exp => libm::expf(x),
        UnaryKind::Log => libm::logf(x),
        UnaryKind::Sqrt => libm::sqrtf(x),
        UnaryKind::Reciprocal => 1.0 / x,
        UnaryKind::Neg => -x,
        UnaryKind::Abs => x.abs(),
        UnaryKind::LeakyRelu => {
            if x < 0.0 {
                alpha * x
            } else {
                x
            }
        }
        UnaryKind::Square => x * x,
        UnaryKind::Affine => alpha * x + beta,
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// √(2/π) · (x + 0.044715 x³), factored so that it overflows no sooner than it must.
fn gelu_tanh_argument(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    SQRT_2_OVER_PI * x * (1.0 + 0.044_715 * x * x)
}
