//! Integer operations without a window, 16 elements at a time.

use super::level::Level;
use super::neon::*;
use super::requantize::{Factor, Outputs8, Path};
use crate::kernel::{AddS8, MulS8, scalar};

/// Elements at a time.
const CHUNK: usize = 16;

/// A function of two bytes, 16 of them at a time.
trait Binary {
    /// The outputs of 16 elements.
    fn chunk(&self, lhs: int8x16_t, rhs: int8x16_t) -> int8x16_t;

    /// The outputs of all elements.
    #[inline(always)]
    fn run(&self, lhs: &[i8], rhs: &[i8], dst: &mut [i8]) {
        let (dst, last_dst) = dst.as_chunks_mut::<CHUNK>();
        let ((lhs, last_lhs), (rhs, last_rhs)) = (lhs.as_chunks(), rhs.as_chunks());
        for ((dst, lhs), rhs) in dst.iter_mut().zip(lhs).zip(rhs) {
            let lhs: &[i8; CHUNK] = lhs;
            let rhs: &[i8; CHUNK] = rhs;
            store_i8x16(dst, self.chunk(load_i8x16(lhs), load_i8x16(rhs)));
        }
        let (lhs, rhs) = (load_up_to_i8x16(last_lhs), load_up_to_i8x16(last_rhs));
        store_up_to_i8x16(last_dst, self.chunk(lhs, rhs));
    }
}

/// The cheapest path for these shifts, whatever the clamp.
fn path(shifts: &[i32]) -> Path {
    if shifts.iter().all(|&shift| shift < 0) {
        Path::HalfAway
    } else {
        Path::Any
    }
}

/// See [`AddS8`]. Everything wraps where the scalar kernel wraps.
pub(super) fn add_s8<L: Level>(_: L, args: AddS8<'_>) {
    let shifts = [args.input_shift[0], args.input_shift[1], args.output_shift];
    let outputs = Outputs8::new(args.output_offset, args.clamp_min, args.clamp_max);
    let Some(outputs) = outputs.filter(|_| (0..32).contains(&args.left_shift)) else {
        return scalar::add_s8(args);
    };
    let add = |path| Add {
        path,
        inputs: [0, 1]
            .map(|side| Factor::uniform(args.input_multiplier[side], args.input_shift[side])),
        output: Factor::uniform(args.output_multiplier, args.output_shift),
        offsets: args.input_offset.map(vdupq_n_s32),
        left_shift: vdupq_n_s32(args.left_shift),
        outputs,
    };
    match path(&shifts) {
        Path::Any => add(Path::Any).run(args.lhs, args.rhs, args.dst),
        path => add(path).run(args.lhs, args.rhs, args.dst),
    }
}

/// A sum of two bytes.
struct Add {
    path: Path,
    inputs: [Factor; 2],
    output: Factor,
    offsets: [int32x4_t; 2],
    left_shift: int32x4_t,
    outputs: Outputs8,
}

impl Binary for Add {
    #[inline(always)]
    fn chunk(&self, lhs: int8x16_t, rhs: int8x16_t) -> int8x16_t {
        let sides = [widen(lhs), widen(rhs)];
        let mut sums = [vdupq_n_s32(0); 4];
        for (part, sum) in sums.iter_mut().enumerate() {
            let common = |side: usize| {
                let value = vaddq_s32(sides[side][part], self.offsets[side]);
                self.inputs[side].apply(self.path, vshlq_s32(value, self.left_shift))
            };
            *sum = self
                .output
                .apply(self.path, vaddq_s32(common(0), common(1)));
        }
        self.outputs.pack(Path::Any, sums)
    }
}

/// See [`MulS8`]. Everything wraps where the scalar kernel wraps.
pub(super) fn mul_s8<L: Level>(_: L, args: MulS8<'_>) {
    let outputs = Outputs8::new(args.output_offset, args.clamp_min, args.clamp_max);
    let Some(outputs) = outputs.filter(|_| !args.rhs.is_empty()) else {
        return scalar::mul_s8(args);
    };
    let mul = Mul {
        path: path(&[args.shift]),
        factor: Factor::uniform(args.multiplier, args.shift),
        offsets: args.input_offset.map(vdupq_n_s32),
        outputs,
    };
    let period = args.rhs.len();
    for (dst, lhs) in args.dst.chunks_mut(period).zip(args.lhs.chunks(period)) {
        mul.run(lhs, &args.rhs[..lhs.len()], dst);
    }
}

/// A product of two bytes.
struct Mul {
    path: Path,
    factor: Factor,
    offsets: [int32x4_t; 2],
    outputs: Outputs8,
}

impl Binary for Mul {
    #[inline(always)]
    fn chunk(&self, lhs: int8x16_t, rhs: int8x16_t) -> int8x16_t {
        let [lhs, rhs] = [widen(lhs), widen(rhs)];
        let mut products = [vdupq_n_s32(0); 4];
        for (part, product) in products.iter_mut().enumerate() {
            let lhs = vaddq_s32(lhs[part], self.offsets[0]);
            let rhs = vaddq_s32(rhs[part], self.offsets[1]);
            *product = self.factor.apply(self.path, vmulq_s32(lhs, rhs));
        }
        self.outputs.pack(Path::Any, products)
    }
}

/// 16 bytes to four vectors, in order.
#[inline(always)]
pub(super) fn widen(bytes: int8x16_t) -> [int32x4_t; 4] {
    let [low, high] = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)];
    [
        vmovl_s16(vget_low_s16(low)),
        vmovl_high_s16(low),
        vmovl_s16(vget_low_s16(high)),
        vmovl_high_s16(high),
    ]
}

/// Exact sum of products.
pub(super) fn dot_s8<L: Level>(level: L, lhs: &[i8], rhs: &[i8]) -> i32 {
    let len = lhs.len().min(rhs.len());
    // Four sums, so that one product need not wait for the one before.
    let mut sums = [vdupq_n_s32(0); 4];
    let wide = lhs[..len]
        .chunks(4 * CHUNK)
        .zip(rhs[..len].chunks(4 * CHUNK));
    for (lhs, rhs) in wide {
        let chunks = lhs.chunks(CHUNK).zip(rhs.chunks(CHUNK));
        for (sum, (lhs, rhs)) in sums.iter_mut().zip(chunks) {
            *sum = level.dot(*sum, load_up_to_i8x16(lhs), load_up_to_i8x16(rhs));
        }
    }
    let [a, b, c, d] = sums;
    vaddvq_s32(vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d)))
}

/// `clamp(round(src / scale) + zero_point, −128, 127)`: the conversion rounds halves away from zero, takes NaN to 0 and
/// saturates, and so do the sum and the narrowing.
pub(super) fn quantize_f32<L: Level>(
    _: L,
    src: &[f32],
    scale: f32,
    zero_point: i32,
    dst: &mut [i8],
) {
    let scale = vdupq_n_f32(scale);
    let zero_point = vdupq_n_s32(zero_point);
    for (dst, src) in dst.chunks_mut(CHUNK).zip(src.chunks(CHUNK)) {
        let mut parts = [vdupq_n_s32(0); 4];
        for (part, src) in parts.iter_mut().zip(src.chunks(4)) {
            let value = vdivq_f32(load_up_to_f32x4(src), scale);
            *part = vqaddq_s32(vcvtaq_s32_f32(value), zero_point);
        }
        let [low, high] = [
            vqmovn_high_s32(vqmovn_s32(parts[0]), parts[1]),
            vqmovn_high_s32(vqmovn_s32(parts[2]), parts[3]),
        ];
        store_up_to_i8x16(dst, vqmovn_high_s16(vqmovn_s16(low), high));
    }
}

/// `scale · (src − zero_point)`.
pub(super) fn dequantize_s8<L: Level>(
    _: L,
    src: &[i8],
    scale: f32,
    zero_point: i32,
    dst: &mut [f32],
) {
    let zero_point = vdupq_n_s32(zero_point);
    let scale = vdupq_n_f32(scale);
    for (dst, src) in dst.chunks_mut(CHUNK).zip(src.chunks(CHUNK)) {
        let parts = widen(load_up_to_i8x16(src));
        for (dst, part) in dst.chunks_mut(4).zip(parts) {
            let value = vcvtq_f32_s32(vsubq_s32(part, zero_point));
            store_up_to_f32x4(dst, vmulq_f32(value, scale));
        }
    }
}

/// `dst[i] = src[i] · 127 / max |src|`, halves away from zero; the division is done once, by a reciprocal that gives every
/// quotient exactly.
pub(super) fn normalize_s16<L: Level>(_: L, src: &[i16], dst: &mut [i8]) {
    let largest = src
        .iter()
        .fold(0, |largest: u16, value| largest.max(value.unsigned_abs()));
    if largest == 0 {
        return dst.fill(0);
    }
    let largest = u64::from(largest);
    // (2 · 127 · |x| + largest) / (2 · largest), with numerators below 2²⁴ and divisors of at most 2¹⁶: a reciprocal rounded up
    // with 40 bits is exact.
    let reciprocal = (1u64 << 40) / (2 * largest) + 1;
    for (dst, &src) in dst.iter_mut().zip(src) {
        let numerator = 254 * u64::from(src.unsigned_abs()) + largest;
        let rounded = ((numerator * reciprocal) >> 40) as i8;
        *dst = if src < 0 { -rounded } else { rounded };
    }
}
