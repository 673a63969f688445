//! The 16-bit residual stream: loops that the compiler turns into vectors where there are any, one for each pair of types.

use super::level::{CHUNK, Level, Scale};
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, MeanS16, RescaleS16, SrcS16, scalar};

/// A factor for every input, and what all of them add: a rounding shift by `shift` of the sum is the output, before it is
/// limited.
#[derive(Clone, Copy)]
struct Sum {
    factors: [i32; 2],
    offset: i32,
    shift: u32,
}

impl Sum {
    /// Zero points, the half for rounding and the shift of bytes are folded in, modulo 2³² where they leave it: the result is the
    /// same. That of the output is, too, unless the sum could leave 32 bits with it: `None`.
    fn new(
        wide: [bool; 2],
        zero_points: [i32; 2],
        multipliers: [i32; 2],
        shift: u32,
        output_zero_point: i32,
    ) -> Option<Self> {
        let half = 1i64 << (shift - 1);
        let output = i64::from(output_zero_point) << shift;
        let mut largest = half + output.abs();
        let mut offset = (half + output) as i32;
        let mut factors = multipliers;
        for side in 0..2 {
            let zero_point = zero_points[side];
            if !wide[side] {
                factors[side] = factors[side].wrapping_shl(BYTE_SHIFT);
                offset = offset.wrapping_sub(zero_point.wrapping_mul(factors[side]));
            }
            let number = if wide[side] {
                1 << 15
            } else {
                (128 + i64::from(zero_point).abs()) << BYTE_SHIFT
            };
            largest += i64::from(multipliers[side]).abs() * number;
        }
        let fits = output_zero_point.unsigned_abs() < 1 << 16 && largest <= i32::MAX.into();
        fits.then_some(Self {
            factors,
            offset,
            shift,
        })
    }

    #[inline(always)]
    fn of(&self, numbers: [i32; 2]) -> i32 {
        let [a, b] = [0, 1].map(|side| numbers[side].wrapping_mul(self.factors[side]));
        a.wrapping_add(b).wrapping_add(self.offset) >> self.shift
    }
}

/// See [`AddS16`].
pub(super) fn add_s16(mut args: AddS16<'_>) {
    let wide = [args.lhs, args.rhs].map(|src| matches!(src, SrcS16::I16(_)));
    let sum = Sum::new(
        wide,
        args.input_zero_point,
        args.multiplier,
        args.shift,
        args.output_zero_point,
    );
    let Some(sum) = sum else {
        return scalar::add_s16(args);
    };
    match (args.lhs, args.rhs) {
        (SrcS16::I8(lhs), SrcS16::I8(rhs)) => write(&mut args.dst, lhs, rhs, sum),
        (SrcS16::I16(lhs), SrcS16::I16(rhs)) => write(&mut args.dst, lhs, rhs, sum),
        (SrcS16::I16(lhs), SrcS16::I8(rhs)) => write(&mut args.dst, lhs, rhs, sum),
        (SrcS16::I8(lhs), SrcS16::I16(rhs)) => {
            let [first, second] = sum.factors;
            let factors = [second, first];
            write(&mut args.dst, rhs, lhs, Sum { factors, ..sum });
        }
    }
    limit(&mut args.dst, [args.clamp_min, args.clamp_max]);
}

/// See [`RescaleS16`].
pub(super) fn rescale_s16(mut args: RescaleS16<'_>) {
    let wide = [matches!(args.src, SrcS16::I16(_)), true];
    let sum = Sum::new(
        wide,
        [args.input_zero_point, 0],
        [args.multiplier, 0],
        args.shift,
        args.output_zero_point,
    );
    let Some(sum) = sum else {
        return scalar::rescale_s16(args);
    };
    match args.src {
        SrcS16::I8(src) => rewrite(&mut args.dst, src, sum),
        SrcS16::I16(src) => rewrite(&mut args.dst, src, sum),
    }
    limit(&mut args.dst, [args.clamp_min, args.clamp_max]);
}

/// Outputs of two inputs, limited to the type alone.
fn write<L: Copy + Into<i32>, R: Copy + Into<i32>>(
    dst: &mut DstS8<'_>,
    lhs: &[L],
    rhs: &[R],
    sum: Sum,
) {
    match dst {
        DstS8::I8(dst) => {
            for ((dst, &lhs), &rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
                *dst = sum.of([lhs.into(), rhs.into()]).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            for ((dst, &lhs), &rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
                *dst = sum.of([lhs.into(), rhs.into()]).clamp(-32768, 32767) as i16;
            }
        }
    }
}

/// The same of one input.
fn rewrite<T: Copy + Into<i32>>(dst: &mut DstS8<'_>, src: &[T], sum: Sum) {
    match dst {
        DstS8::I8(dst) => {
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = sum.of([src.into(), 0]).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = sum.of([src.into(), 0]).clamp(-32768, 32767) as i16;
            }
        }
    }
}

/// A second pass for limits narrower than the type, which few layers have.
fn limit(dst: &mut DstS8<'_>, [min, max]: [i32; 2]) {
    match dst {
        DstS8::I8(_) if min <= -128 && max >= 127 => {}
        DstS8::I16(_) if min <= -32768 && max >= 32767 => {}
        DstS8::I8(dst) => {
            let [min, max] = [min, max].map(|limit| limit.clamp(-128, 127) as i8);
            dst.iter_mut().for_each(|x| *x = (*x).max(min).min(max));
        }
        DstS8::I16(dst) => {
            let [min, max] = [min, max].map(|limit| limit.clamp(-32768, 32767) as i16);
            dst.iter_mut().for_each(|x| *x = (*x).max(min).min(max));
        }
    }
}

/// See [`MeanS16`].
pub(super) fn mean_s16<L: Level>(mut args: MeanS16<'_>) {
    let (rows, channels) = (args.rows, args.channels);
    // 2¹⁵ numbers of 16 bits stay below 2³⁰.
    if rows >= 1 << 15 {
        return scalar::mean_s16(args);
    }
    let factor = [args.multiplier, args.shift];
    let clamp = [args.clamp_min, args.clamp_max];
    let scale = match args.dst {
        DstS8::I8(_) => Scale::new_i8(factor, args.output_zero_point, clamp),
        DstS8::I16(_) => Scale::new_i16(factor, args.output_zero_point, clamp),
    };
    for start in (0..channels).step_by(CHUNK) {
        let len = (channels - start).min(CHUNK);
        let mut sums = [0; CHUNK];
        for row in 0..rows {
            let src = &args.src[row * channels + start..][..len];
            for (sum, &src) in sums.iter_mut().zip(src) {
                *sum += i32::from(src);
            }
        }
        scale.write::<L>(&sums[..len], &mut args.dst, start);
    }
}
