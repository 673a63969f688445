//! What LiteRT's reference kernels do where the quantisation specification leaves the rounding open.
//!
//! Source: `reference_ops.h` and the preparation of the operators in TFLite. Everything here becomes parameters and
//! tables of a packed model, so that the runtime need not know of it.

use pinhole_graph::op::Unary;
use pinhole_runtime::kernel::requantize::{
    multiply_by_quantized_multiplier, quantize_multiplier, rounding_divide_by_pot,
};

use crate::lower_int::ActivationQuant;

/// Smallest multiplier that an operator takes.
const SMALLEST_MULTIPLIER: i64 = 1 << 30;

/// The factor of `MUL`, which is computed in floats.
pub(crate) fn mul_factor([a, b]: [f32; 2], output: f32) -> f64 {
    f64::from(a * b / output)
}

/// Multiplier and shift of `MEAN` over `pixels`: the multiplier of the scales, shifted up as far as it goes, and
/// divided by the pixels in integers. One below 2³⁰, which no operator takes, is doubled.
pub(crate) fn mean_factor(scales: f64, pixels: usize) -> (i32, i32) {
    let (multiplier, shift) = quantize_multiplier(scales);
    let raised = (pixels.max(1).ilog2() as i32).min(31 + i32::from(shift));
    let multiplier = (i64::from(multiplier) << raised) / pixels.max(1) as i64;
    let shift = i32::from(shift) - raised;
    if multiplier < SMALLEST_MULTIPLIER {
        (2 * multiplier as i32, shift - 1)
    } else {
        (multiplier as i32, shift)
    }
}

/// The table of a function, `None` where it is that of the real function: `LOGISTIC` is.
pub(crate) fn table(function: Unary, [input, output]: [ActivationQuant; 2]) -> Option<[i8; 256]> {
    let (min, max) = match function {
        Unary::HardSwish => return Some(hard_swish(input, output)),
        Unary::Clip { min, max } => (min, max),
        Unary::Affine {
            alpha: 1.0,
            beta: 0.0,
        } => (f32::NEG_INFINITY, f32::INFINITY),
        _ => return None,
    };
    let (multiplier, shift) = quantize_multiplier(f64::from(input.scale) / f64::from(output.scale));
    let limit = |real: f32, otherwise: i32| {
        if real.is_finite() {
            ((real / output.scale).round() as i32).saturating_add(output.zero_point)
        } else {
            otherwise
        }
    };
    let (least, most) = (limit(min, -128).max(-128), limit(max, 127).min(127));
    Some(std::array::from_fn(|index| {
        let q = index as i32 - 128 - input.zero_point;
        let scaled = multiply_by_quantized_multiplier(q, multiplier, shift.into());
        (scaled + output.zero_point).min(most).max(least) as i8
    }))
}

/// `HARD_SWISH`, in 16-bit fixed point: x on the scale of the output, times (x / 3 clamped to ±1, plus 1) / 2.
fn hard_swish(input: ActivationQuant, output: ActivationQuant) -> [i8; 256] {
    let fine = input.scale / 128.0;
    let (multiplier, shift) = half_multiplier(fine / output.scale);
    let (gate_multiplier, gate_shift) = half_multiplier(fine / (3.0 / 32_768.0));
    std::array::from_fn(|index| {
        let x = (index as i32 - 128 - input.zero_point) * 128;
        let mut gate = x;
        if gate_shift > 0 {
            gate = saturated(i64::from(gate) << (gate_shift - 1));
        }
        gate = rounded_high_product(gate, gate_multiplier);
        if gate_shift > 0 {
            gate = saturated(i64::from(gate) * 2);
        } else {
            gate = rounding_divide_by_pot(gate, gate_shift.unsigned_abs());
        }
        gate = (gate + (1 << 15)) >> 1;
        let product = gate * rounded_high_product(x, multiplier) / (1 << 15);
        let scaled = rounding_divide_by_pot(product, (-shift).max(0) as u32);
        (scaled + output.zero_point).clamp(-128, 127) as i8
    })
}

/// The multiplier of a factor in 16 bits, and its shift.
fn half_multiplier(factor: f32) -> (i32, i32) {
    let (multiplier, shift) = quantize_multiplier(factor.into());
    let rounding = 1 << 15;
    let half = if multiplier >= i32::MAX - rounding {
        i16::MAX.into()
    } else {
        (multiplier + rounding) >> 16
    };
    (half, shift.into())
}

/// The high half of `2 · a · b` of 16-bit numbers, halves away from zero.
fn rounded_high_product(a: i32, b: i32) -> i32 {
    let product = a * b;
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    saturated(i64::from((product + nudge) / (1 << 15)))
}

fn saturated(x: i64) -> i32 {
    x.clamp(i16::MIN.into(), i16::MAX.into()) as i32
}
