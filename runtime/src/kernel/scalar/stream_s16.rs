//! The 16-bit residual stream: sums, changes of scale, means, layer normalisation.

use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::row_scale::RowScale;
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, LayerNormS16, MeanS16, RescaleS16, SrcS16};

/// Both inputs times their multipliers, one rounding shift.
pub fn add_s16(args: AddS16<'_>) {
    let AddS16 {
        lhs,
        rhs,
        input_zero_point: [lhs_zero_point, rhs_zero_point],
        multiplier: [lhs_multiplier, rhs_multiplier],
        shift,
        ..
    } = args;
    let half = 1 << (shift - 1);
    fill(args.dst, |index| {
        let lhs = wide(lhs, index, lhs_zero_point).wrapping_mul(lhs_multiplier);
        let rhs = wide(rhs, index, rhs_zero_point).wrapping_mul(rhs_multiplier);
        (lhs.wrapping_add(rhs).wrapping_add(half) >> shift)
            .saturating_add(args.output_zero_point)
            .max(args.clamp_min)
            .min(args.clamp_max)
    });
}

/// The input times its multiplier, one rounding shift.
pub fn rescale_s16(args: RescaleS16<'_>) {
    let half = 1 << (args.shift - 1);
    fill(args.dst, |index| {
        let product = wide(args.src, index, args.input_zero_point).wrapping_mul(args.multiplier);
        (product.wrapping_add(half) >> args.shift)
            .saturating_add(args.output_zero_point)
            .max(args.clamp_min)
            .min(args.clamp_max)
    });
}

/// Sums of each row, its scale, and one multiply-add a number and parameter.
pub fn layer_norm_s16(args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    let mut row = usize::MAX;
    let mut scale = None;
    fill(args.dst, |index| {
        let number = |index| match args.src {
            SrcS16::I8(src) => i32::from(src[index]),
            SrcS16::I16(src) => i32::from(src[index]),
        };
        if index / n != row {
            row = index / n;
            let numbers = || (row * n..(row + 1) * n).map(number);
            let squares = numbers().map(|x| i64::from(x) * i64::from(x)).sum::<i64>();
            scale = Some(RowScale::new(
                n,
                numbers().sum(),
                squares as u64,
                args.epsilon,
            ));
        }
        let normal = scale.map_or(0, |scale| scale.apply(number(index)));
        let channel = index % n;
        let product = normal.wrapping_mul(args.gamma[channel].into());
        product.wrapping_add(args.beta[channel]) >> args.shift
    });
}

/// See [`MeanS16`].
pub fn mean_s16(args: MeanS16<'_>) {
    let MeanS16 { rows, channels, .. } = args;
    fill(args.dst, |channel| {
        let sum = (0..rows).fold(0i32, |sum, row| {
            sum.wrapping_add(args.src[row * channels + channel].into())
        });
        multiply_by_quantized_multiplier(sum, args.multiplier, args.shift)
            .saturating_add(args.output_zero_point)
            .max(args.clamp_min)
            .min(args.clamp_max)
    });
}

/// Element `index` in 16 bits.
fn wide(src: SrcS16<'_>, index: usize, zero_point: i32) -> i32 {
    match src {
        SrcS16::I8(src) => i32::from(src[index]).wrapping_sub(zero_point) << BYTE_SHIFT,
        SrcS16::I16(src) => src[index].into(),
    }
}

/// Writes each element, limited to the type of the output.
fn fill(dst: DstS8<'_>, mut element: impl FnMut(usize) -> i32) {
    match dst {
        DstS8::I8(dst) => {
            for (index, dst) in dst.iter_mut().enumerate() {
                *dst = element(index).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            for (index, dst) in dst.iter_mut().enumerate() {
                *dst = element(index).clamp(-32768, 32767) as i16;
            }
        }
    }
}
