//! Functions of one or two numbers, element by element.

use super::math::{erf, exp, sigmoid, tanh};
use super::select::{clamp, max, min};
use super::{FloatLevel, Number};
use crate::kernel::scalar;
use crate::model::op::{BinaryKind, UnaryKind};

/// See [`scalar::unary_float`], which the logarithm is left to.
pub(crate) fn unary<L: FloatLevel, T: Number>(
    function: UnaryKind,
    constants: [f32; 2],
    src: &[T],
    dst: &mut [T],
) {
    let [alpha, beta] = constants;
    match function {
        UnaryKind::Clip => T::map::<L>(src, dst, |x| clamp(x, constants)),
        UnaryKind::HardSwish => {
            T::map::<L>(src, dst, |x| x * clamp(x + 3.0, [0.0, 6.0]) * (1.0 / 6.0))
        }
        UnaryKind::HardSigmoid => {
            T::map::<L>(src, dst, |x| clamp(alpha * x + beta, [0.0, 1.0]));
        }
        UnaryKind::Sigmoid => T::map::<L>(src, dst, sigmoid::<L>),
        UnaryKind::Silu => T::map::<L>(src, dst, |x| x * sigmoid::<L>(x)),
        UnaryKind::Tanh => T::map::<L>(src, dst, tanh::<L>),
        UnaryKind::Gelu => T::map::<L>(src, dst, |x| {
            0.5 * x * (1.0 + erf::<L>(x * core::f32::consts::FRAC_1_SQRT_2))
        }),
        UnaryKind::GeluTanh => T::map::<L>(src, dst, |x| {
            let cubic = 0.044_715 * x * x + 1.0;
            0.5 * x * (1.0 + tanh::<L>(0.797_884_6 * x * cubic))
        }),
        UnaryKind::QuickGelu => T::map::<L>(src, dst, |x| x * sigmoid::<L>(1.702 * x)),
        UnaryKind::Erf => T::map::<L>(src, dst, erf::<L>),
        UnaryKind::Exp => T::map::<L>(src, dst, exp),
        UnaryKind::Log => scalar::unary_float(function, constants, src, dst),
        UnaryKind::Sqrt => T::map::<L>(src, dst, L::sqrt),
        UnaryKind::Reciprocal => T::map::<L>(src, dst, |x| 1.0 / x),
        UnaryKind::Neg => T::map::<L>(src, dst, |x| -x),
        UnaryKind::Abs => T::map::<L>(src, dst, f32::abs),
        UnaryKind::LeakyRelu => {
            T::map::<L>(src, dst, |x| if x < 0.0 { alpha * x } else { x });
        }
        UnaryKind::Square => T::map::<L>(src, dst, |x| x * x),
        UnaryKind::Affine => T::map::<L>(src, dst, |x| alpha * x + beta),
    }
}

/// See [`scalar::binary_float`], which powers are left to.
pub(crate) fn binary<L: FloatLevel, T: Number>(
    function: BinaryKind,
    lhs: &[T],
    rhs: &[T],
    dst: &mut [T],
) {
    if T::binary::<L>(function, lhs, rhs, dst) {
        return;
    }
    match function {
        BinaryKind::Add => T::zip::<L>(lhs, rhs, dst, |a, b| a + b),
        BinaryKind::Sub => T::zip::<L>(lhs, rhs, dst, |a, b| a - b),
        BinaryKind::Mul => T::zip::<L>(lhs, rhs, dst, |a, b| a * b),
        BinaryKind::Div => T::zip::<L>(lhs, rhs, dst, |a, b| a / b),
        BinaryKind::Pow => scalar::binary_float(function, lhs, rhs, dst),
        BinaryKind::Max => T::zip::<L>(lhs, rhs, dst, max),
        BinaryKind::Min => T::zip::<L>(lhs, rhs, dst, min),
    }
}
