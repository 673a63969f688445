//! The 16-bit residual stream, 8 numbers at a time: sums, changes of scale, means, layer normalisation.

use super::level::Level;
use super::neon::*;
use super::requantize::{Factor, Outputs8, Outputs16, Path, Write};
use crate::kernel::row_scale::RowScale;
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, LayerNormS16, MeanS16, RescaleS16, SrcS16, scalar};

/// Numbers at a time.
const CHUNK: usize = 8;

/// Numbers of 8 or 16 bits.
trait Number: Copy {
    /// Up to 8 of them as they are, then zeros.
    fn load(src: &[Self]) -> int16x8_t;
    /// [`Number::load`] for sums: bytes are shifted left, and `zero_point`, shifted too, is taken off.
    fn load_wide(src: &[Self], zero_point: int16x8_t) -> int16x8_t;
}

impl Number for i8 {
    #[inline(always)]
    fn load(src: &[i8]) -> int16x8_t {
        vmovl_s8(load_up_to_i8x8(src))
    }
    #[inline(always)]
    fn load_wide(src: &[i8], zero_point: int16x8_t) -> int16x8_t {
        vsubq_s16(
            shift_left_long::<{ BYTE_SHIFT as i32 }>(load_up_to_i8x8(src)),
            zero_point,
        )
    }
}

impl Number for i16 {
    #[inline(always)]
    fn load(src: &[i16]) -> int16x8_t {
        load_up_to_i16x8(src)
    }
    #[inline(always)]
    fn load_wide(src: &[i16], _: int16x8_t) -> int16x8_t {
        load_up_to_i16x8(src)
    }
}

/// Calls `$body` with `$src` as a slice of its own type.
macro_rules! each_type {
    ($enumeration:ident, $src:ident => $body:expr) => {
        match $src {
            $enumeration::I8($src) => $body,
            $enumeration::I16($src) => $body,
        }
    };
}

/// Whether one input is in 16 bits after its shift, and its product in 31 with the others.
fn bounded(zero_points: &[i32], multipliers: &[i32], shift: u32) -> bool {
    let sum: i64 = multipliers.iter().map(|&m| i64::from(m).abs() << 15).sum();
    zero_points.iter().all(|z| (-128..=127).contains(z))
        && multipliers.iter().all(|m| (-32767..=32767).contains(m))
        && (1..=30).contains(&shift)
        && sum + (1 << (shift - 1)) < 1 << 31
}

/// How the numbers of one input are scaled.
#[derive(Clone, Copy)]
struct Side {
    zero_point: int16x8_t,
    multiplier: int16x8_t,
}

impl Side {
    /// Of a zero point and a multiplier that are `bounded`.
    fn new(zero_point: i32, multiplier: i32) -> Self {
        Self {
            zero_point: vdupq_n_s16((zero_point << BYTE_SHIFT) as i16),
            multiplier: vdupq_n_s16(multiplier as i16),
        }
    }

    /// Adds the scaled numbers to `sums`.
    #[inline(always)]
    fn add<T: Number>(&self, sums: [int32x4_t; 2], src: &[T]) -> [int32x4_t; 2] {
        let numbers = T::load_wide(src, self.zero_point);
        multiply_add(sums, numbers, self.multiplier)
    }
}

/// `sums + a · b`.
#[inline(always)]
fn multiply_add([low, high]: [int32x4_t; 2], a: int16x8_t, b: int16x8_t) -> [int32x4_t; 2] {
    [
        vmlal_s16(low, vget_low_s16(a), vget_low_s16(b)),
        vmlal_high_s16(high, a, b),
    ]
}

/// See [`AddS16`]. Arguments whose sums may wrap are left to the scalar kernel.
pub(super) fn add_s16<L: Level>(_: L, args: AddS16<'_>) {
    let outputs8 = Outputs8::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let outputs16 = Outputs16::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    if !bounded(&args.input_zero_point, &args.multiplier, args.shift) {
        return scalar::add_s16(args);
    }
    let sides = [0, 1].map(|side| Side::new(args.input_zero_point[side], args.multiplier[side]));
    let shift = -(args.shift as i32);
    let (lhs, rhs) = (args.lhs, args.rhs);
    match (args.dst, outputs8, outputs16) {
        (DstS8::I8(dst), Some(outputs), _) => {
            each_type!(SrcS16, lhs => each_type!(SrcS16, rhs => add(sides, shift, lhs, rhs, &outputs, dst)))
        }
        (DstS8::I16(dst), _, Some(outputs)) => {
            each_type!(SrcS16, lhs => each_type!(SrcS16, rhs => add(sides, shift, lhs, rhs, &outputs, dst)))
        }
        (dst, ..) => scalar::add_s16(AddS16 {
            lhs,
            rhs,
            dst,
            ..args
        }),
    }
}

#[inline(never)]
fn add<A: Number, B: Number, O: Write>(
    sides: [Side; 2],
    shift: i32,
    lhs: &[A],
    rhs: &[B],
    outputs: &O,
    dst: &mut [O::Output],
) {
    let shift = vdupq_n_s32(shift);
    let (dst, last_dst) = dst.as_chunks_mut::<CHUNK>();
    let ((lhs, last_lhs), (rhs, last_rhs)) = (lhs.as_chunks::<CHUNK>(), rhs.as_chunks::<CHUNK>());
    for ((dst, lhs), rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
        let sums = sides[1].add(sides[0].add([vdupq_n_s32(0); 2], lhs), rhs);
        outputs.write_eight(sums.map(|sum| vrshlq_s32(sum, shift)), dst);
    }
    let sums = sides[1].add(sides[0].add([vdupq_n_s32(0); 2], last_lhs), last_rhs);
    outputs.write_eight(sums.map(|sum| vrshlq_s32(sum, shift)), last_dst);
}

/// See [`RescaleS16`]. Arguments whose products may wrap are left to the scalar kernel.
pub(super) fn rescale_s16<L: Level>(_: L, args: RescaleS16<'_>) {
    let outputs8 = Outputs8::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let outputs16 = Outputs16::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    if !bounded(&[args.input_zero_point], &[args.multiplier], args.shift) {
        return scalar::rescale_s16(args);
    }
    let side = Side::new(args.input_zero_point, args.multiplier);
    let (src, shift) = (args.src, -(args.shift as i32));
    match (args.dst, outputs8, outputs16) {
        (DstS8::I8(dst), Some(outputs), _) => {
            each_type!(SrcS16, src => rescale(side, shift, src, &outputs, dst));
        }
        (DstS8::I16(dst), _, Some(outputs)) => {
            each_type!(SrcS16, src => rescale(side, shift, src, &outputs, dst));
        }
        (dst, ..) => scalar::rescale_s16(RescaleS16 { src, dst, ..args }),
    }
}

#[inline(never)]
fn rescale<T: Number, O: Write>(
    side: Side,
    shift: i32,
    src: &[T],
    outputs: &O,
    dst: &mut [O::Output],
) {
    let shift = vdupq_n_s32(shift);
    for (dst, src) in dst.chunks_mut(CHUNK).zip(src.chunks(CHUNK)) {
        let sums = side.add([vdupq_n_s32(0); 2], src);
        outputs.write_eight(sums.map(|sum| vrshlq_s32(sum, shift)), dst);
    }
}

/// See [`LayerNormS16`].
pub(super) fn layer_norm_s16<L: Level>(_: L, args: LayerNormS16<'_>) {
    let limits = [i32::MIN, i32::MAX];
    let (Some(outputs8), Some(outputs16)) = (
        Outputs8::new(0, limits[0], limits[1]),
        Outputs16::new(0, limits[0], limits[1]),
    ) else {
        return scalar::layer_norm_s16(args);
    };
    let LayerNormS16 {
        gamma,
        beta,
        epsilon,
        shift,
        src,
        dst,
    } = args;
    let norm = Norm {
        gamma,
        beta,
        epsilon,
        shift,
    };
    match dst {
        DstS8::I8(dst) => each_type!(SrcS16, src => norm.run(src, &outputs8, dst)),
        DstS8::I16(dst) => each_type!(SrcS16, src => norm.run(src, &outputs16, dst)),
    }
}

/// Parameters of a layer normalisation.
struct Norm<'a> {
    gamma: &'a [i16],
    beta: &'a [i32],
    epsilon: u64,
    shift: u32,
}

impl Norm<'_> {
    #[inline(never)]
    fn run<T: Number, O: Write>(&self, src: &[T], outputs: &O, dst: &mut [O::Output]) {
        let n = self.gamma.len();
        if n == 0 {
            return;
        }
        let last_shift = vdupq_n_s32(-(self.shift as i32));
        for (src, dst) in src.chunks_exact(n).zip(dst.chunks_exact_mut(n)) {
            let (sum, squares) = sums(src);
            let scale = RowScale::new(n, sum, squares, self.epsilon);
            let offset = [vdupq_n_s32(scale.offset); 2];
            let multiplier = vdupq_n_s16(scale.multiplier as i16);
            let shift = vdupq_n_s32(-(scale.shift as i32));
            let normalize = Normalize {
                offset,
                multiplier,
                shift,
                last_shift,
            };
            let (gamma, last_gamma) = self.gamma.as_chunks::<CHUNK>();
            let (beta, last_beta) = self.beta.as_chunks::<CHUNK>();
            let (src, last_src) = src.as_chunks::<CHUNK>();
            let (dst, last_dst) = dst.as_chunks_mut::<CHUNK>();
            let parameters = gamma.iter().zip(beta);
            for ((src, dst), (gamma, beta)) in src.iter().zip(dst).zip(parameters) {
                outputs.write_eight(normalize.eight(src, gamma, beta), dst);
            }
            let last = normalize.eight(last_src, last_gamma, last_beta);
            outputs.write_eight(last, last_dst);
        }
    }
}

/// What is done to the numbers of one row.
struct Normalize {
    offset: [int32x4_t; 2],
    multiplier: int16x8_t,
    /// Right, so negative, as the next one.
    shift: int32x4_t,
    last_shift: int32x4_t,
}

impl Normalize {
    /// Up to 8 numbers.
    #[inline(always)]
    fn eight<T: Number>(&self, src: &[T], gamma: &[i16], beta: &[i32]) -> [int32x4_t; 2] {
        let [low, high] = multiply_add(self.offset, T::load(src), self.multiplier);
        let low = vqmovn_s32(vshlq_s32(low, self.shift));
        let normal = vqmovn_high_s32(low, vshlq_s32(high, self.shift));
        multiply_add(load_up_to_i32x8(beta), normal, load_up_to_i16x8(gamma))
            .map(|sum| vshlq_s32(sum, self.last_shift))
    }
}

/// Sum of a row, and sum of its squares.
#[inline(always)]
fn sums<T: Number>(row: &[T]) -> (i32, u64) {
    let mut sums = Sums {
        sum: vdupq_n_s32(0),
        squares: [vdupq_n_s64(0); 2],
    };
    let (chunks, last) = row.as_chunks::<CHUNK>();
    for chunk in chunks {
        sums.add(T::load(chunk));
    }
    sums.add(T::load(last));
    let squares = vaddvq_s64(vaddq_s64(sums.squares[0], sums.squares[1]));
    (vaddvq_s32(sums.sum), squares as u64)
}

/// See [`sums`].
struct Sums {
    sum: int32x4_t,
    squares: [int64x2_t; 2],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, numbers: int16x8_t) {
        self.sum = vpadalq_s16(self.sum, numbers);
        let low = vmull_s16(vget_low_s16(numbers), vget_low_s16(numbers));
        let high = vmull_high_s16(numbers, numbers);
        self.squares = [
            vpadalq_s32(self.squares[0], low),
            vpadalq_s32(self.squares[1], high),
        ];
    }
}

/// See [`MeanS16`].
pub(super) fn mean_s16<L: Level>(_: L, args: MeanS16<'_>) {
    let outputs8 = Outputs8::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let outputs16 = Outputs16::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let factor = Factor::uniform(args.multiplier, args.shift);
    let MeanS16 {
        rows,
        channels,
        src,
        ..
    } = args;
    match (args.dst, outputs8, outputs16) {
        (DstS8::I8(dst), Some(outputs), _) => mean([rows, channels], factor, src, &outputs, dst),
        (DstS8::I16(dst), _, Some(outputs)) => mean([rows, channels], factor, src, &outputs, dst),
        (dst, ..) => scalar::mean_s16(MeanS16 { dst, ..args }),
    }
}

fn mean<O: Write>(
    [rows, channels]: [usize; 2],
    factor: Factor,
    src: &[i16],
    outputs: &O,
    dst: &mut [O::Output],
) {
    for (block, dst) in dst.chunks_mut(CHUNK).enumerate() {
        let mut sums = [vdupq_n_s32(0); 2];
        for row in 0..rows {
            let numbers = load_up_to_i16x8(&src[row * channels + block * CHUNK..][..dst.len()]);
            sums[0] = vaddw_s16(sums[0], vget_low_s16(numbers));
            sums[1] = vaddw_high_s16(sums[1], numbers);
        }
        outputs.write_eight(sums.map(|sum| factor.apply(Path::Any, sum)), dst);
    }
}
