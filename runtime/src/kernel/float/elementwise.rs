//! Functions of one or two numbers, a vector at a time.

use super::lanes::{Lanes, Number};
use super::math::{erf, exp, sigmoid, tanh};
use crate::kernel::scalar;
use crate::model::op::{BinaryKind, UnaryKind};

/// See [`scalar::unary_float`]. The logarithm has no vector form here: no model of ours computes many.
#[inline(always)]
pub(crate) fn unary_float<V: Lanes, E: Number>(
    v: V,
    function: UnaryKind,
    constants: [f32; 2],
    src: &[E],
    dst: &mut [E],
) {
    if function == UnaryKind::Log {
        return scalar::unary_float(function, constants, src, dst);
    }
    let count = src.len().min(dst.len());
    let (src, dst) = (&src[..count], &mut dst[..count]);
    for (src, dst) in src.chunks(V::LANES).zip(dst.chunks_mut(V::LANES)) {
        let y = unary(v, function, constants, E::load_up_to(v, src));
        E::store_up_to(v, y, dst);
    }
}

/// One vector of a unary function; the branch is the same every time and costs little beside the function.
#[inline(always)]
fn unary<V: Lanes>(v: V, function: UnaryKind, [alpha, beta]: [f32; 2], x: V::F32) -> V::F32 {
    let one = v.splat(1.0);
    match function {
        UnaryKind::Clip => v.clamp(x, [alpha, beta]),
        UnaryKind::HardSwish => {
            let gate = v.clamp(v.add(x, v.splat(3.0)), [0.0, 6.0]);
            v.div(v.mul(x, gate), v.splat(6.0))
        }
        UnaryKind::HardSigmoid => v.clamp(v.mul_add(v.splat(alpha), x, v.splat(beta)), [0.0, 1.0]),
        UnaryKind::Sigmoid => sigmoid(v, x),
        UnaryKind::Silu => v.mul(x, sigmoid(v, x)),
        UnaryKind::Tanh => tanh(v, x),
        UnaryKind::Gelu => {
            let gate = v.add(
                one,
                erf(v, v.mul(x, v.splat(core::f32::consts::FRAC_1_SQRT_2))),
            );
            v.mul(v.mul(v.splat(0.5), x), gate)
        }
        UnaryKind::GeluTanh => {
            let cubic = v.mul_add(v.mul(v.splat(0.044_715), x), x, one);
            let gate = v.add(one, tanh(v, v.mul(v.mul(v.splat(0.797_884_6), x), cubic)));
            v.mul(v.mul(v.splat(0.5), x), gate)
        }
        UnaryKind::QuickGelu => v.mul(x, sigmoid(v, v.mul(v.splat(1.702), x))),
        UnaryKind::Erf => erf(v, x),
        UnaryKind::Exp => exp(v, x),
        UnaryKind::Log => x,
        UnaryKind::Sqrt => v.sqrt(x),
        UnaryKind::Reciprocal => v.div(one, x),
        UnaryKind::Neg => v.neg(x),
        UnaryKind::Abs => v.abs(x),
        UnaryKind::LeakyRelu => v.select_less(x, v.splat(0.0), v.mul(v.splat(alpha), x), x),
        UnaryKind::Square => v.mul(x, x),
        UnaryKind::Affine => v.mul_add(v.splat(alpha), x, v.splat(beta)),
    }
}

/// See [`scalar::binary_float`]; powers are left to it.
#[inline(always)]
pub(crate) fn binary_float<V: Lanes, E: Number>(
    v: V,
    function: BinaryKind,
    lhs: &[E],
    rhs: &[E],
    dst: &mut [E],
) {
    if function == BinaryKind::Pow {
        return scalar::binary_float(function, lhs, rhs, dst);
    }
    let count = lhs.len().min(rhs.len()).min(dst.len());
    let (lhs, rhs, dst) = (&lhs[..count], &rhs[..count], &mut dst[..count]);
    for ((lhs, rhs), dst) in lhs
        .chunks(V::LANES)
        .zip(rhs.chunks(V::LANES))
        .zip(dst.chunks_mut(V::LANES))
    {
        let (a, b) = (E::load_up_to(v, lhs), E::load_up_to(v, rhs));
        let y = match function {
            BinaryKind::Add => v.add(a, b),
            BinaryKind::Sub => v.sub(a, b),
            BinaryKind::Mul => v.mul(a, b),
            BinaryKind::Div => v.div(a, b),
            BinaryKind::Max => v.max_nan(a, b),
            BinaryKind::Min => v.min_nan(a, b),
            BinaryKind::Pow => a,
        };
        E::store_up_to(v, y, dst);
    }
}
