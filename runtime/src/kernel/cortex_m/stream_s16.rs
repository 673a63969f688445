//! The 16-bit residual stream: loops that the compiler turns into vectors where there are any, one for each pair of types.

use super::level::{CHUNK, Level, Scale};
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, MeanS16, RescaleS16, SrcS16, scalar};

/// A number of the stream.
trait Number: Copy {
    /// In 16 bits; only bytes have a zero point.
    fn wide(self, zero_point: i32) -> i32;
}

impl Number for i8 {
    #[inline(always)]
    fn wide(self, zero_point: i32) -> i32 {
        i32::from(self).wrapping_sub(zero_point) << BYTE_SHIFT
    }
}

impl Number for i16 {
    #[inline(always)]
    fn wide(self, _: i32) -> i32 {
        self.into()
    }
}

/// From a product to an output: a rounding shift, a zero point, limits.
#[derive(Clone, Copy)]
struct Finish {
    half: i32,
    shift: u32,
    zero_point: i32,
    clamp: [i32; 2],
}

impl Finish {
    fn new(shift: u32, zero_point: i32, clamp: [i32; 2]) -> Self {
        Self {
            half: 1 << (shift - 1),
            shift,
            zero_point,
            clamp,
        }
    }

    #[inline(always)]
    fn apply(&self, product: i32) -> i32 {
        (product.wrapping_add(self.half) >> self.shift)
            .saturating_add(self.zero_point)
            .max(self.clamp[0])
            .min(self.clamp[1])
    }
}

/// See [`AddS16`].
pub(super) fn add_s16(mut args: AddS16<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let finish = Finish::new(args.shift, args.output_zero_point, clamp);
    let (zero_point, multiplier) = (args.input_zero_point, args.multiplier);
    macro_rules! sum {
        ($lhs:expr, $rhs:expr) => {
            write2(&mut args.dst, $lhs, $rhs, |lhs, rhs| {
                let lhs = lhs.wide(zero_point[0]).wrapping_mul(multiplier[0]);
                let rhs = rhs.wide(zero_point[1]).wrapping_mul(multiplier[1]);
                finish.apply(lhs.wrapping_add(rhs))
            })
        };
    }
    match (args.lhs, args.rhs) {
        (SrcS16::I8(lhs), SrcS16::I8(rhs)) => sum!(lhs, rhs),
        (SrcS16::I8(lhs), SrcS16::I16(rhs)) => sum!(lhs, rhs),
        (SrcS16::I16(lhs), SrcS16::I8(rhs)) => sum!(lhs, rhs),
        (SrcS16::I16(lhs), SrcS16::I16(rhs)) => sum!(lhs, rhs),
    }
}

/// See [`RescaleS16`].
pub(super) fn rescale_s16(mut args: RescaleS16<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let finish = Finish::new(args.shift, args.output_zero_point, clamp);
    let (zero_point, multiplier) = (args.input_zero_point, args.multiplier);
    macro_rules! rescale {
        ($src:expr) => {
            write1(&mut args.dst, $src, |src| {
                finish.apply(src.wide(zero_point).wrapping_mul(multiplier))
            })
        };
    }
    match args.src {
        SrcS16::I8(src) => rescale!(src),
        SrcS16::I16(src) => rescale!(src),
    }
}

#[inline(always)]
fn write1<T: Copy>(dst: &mut DstS8<'_>, src: &[T], element: impl Fn(T) -> i32) {
    match dst {
        DstS8::I8(dst) => {
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = element(src).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = element(src).clamp(-32768, 32767) as i16;
            }
        }
    }
}

#[inline(always)]
fn write2<L: Copy, R: Copy>(
    dst: &mut DstS8<'_>,
    lhs: &[L],
    rhs: &[R],
    element: impl Fn(L, R) -> i32,
) {
    match dst {
        DstS8::I8(dst) => {
            for ((dst, &lhs), &rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
                *dst = element(lhs, rhs).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            for ((dst, &lhs), &rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
                *dst = element(lhs, rhs).clamp(-32768, 32767) as i16;
            }
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
