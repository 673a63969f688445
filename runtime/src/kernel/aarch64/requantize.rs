//! Requantisation of vectors, to the bit what [`crate::kernel::requantize`] computes.
//!
//! `sqrdmulh` is the first rounding, its saturation too, so that no bound on the sums is needed. `srshl` rounds halves up;
//! adding −1 to negative numbers first (`ssra`) makes that halves away from zero where something is shifted out. The first
//! rounding never gives `i32::MIN`, so that this does not wrap: |multiplier| ≤ 2³¹ − 1 keeps it above, and a multiplier of
//! −2³¹ would give its saturated negative.

use super::neon::*;
use crate::kernel::requantize::{SHIFT_MAX, SHIFT_MIN};
use crate::kernel::{DstS8, Requantize};

/// How sums become outputs, the cheapest first; a dearer path is exact too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// [`Path::HalfUp`] with the smallest output for a zero point, and no limits but those of the type.
    Relu,
    /// No left shift, and negative results end at `clamp_min`: halves go up.
    HalfUp,
    /// Right shifts of at least 1, and no limits but those of the type: halves go away from zero.
    HalfAway,
    /// Any shift, any limits.
    Any,
}

impl Path {
    /// The cheapest path for all channels; `limits` are those of the outputs' type.
    pub(super) fn of(requantize: &Requantize<'_>, limits: [i32; 2]) -> Self {
        let &Requantize {
            zero_point,
            clamp_min,
            clamp_max,
            ..
        } = requantize;
        let largest = requantize.shift.iter().fold(i8::MIN, |a, &b| a.max(b));
        let unlimited = clamp_min <= limits[0] && clamp_max >= limits[1];
        match largest {
            ..=0 if zero_point == limits[0] && unlimited => Self::Relu,
            ..=0 if clamp_min >= zero_point => Self::HalfUp,
            ..=-1 if unlimited => Self::HalfAway,
            _ => Self::Any,
        }
    }
}

/// A path as a type, so that a function is compiled for it.
pub(super) trait By {
    const PATH: Path;
}

macro_rules! by {
    ($($path:ident)*) => {$(
        #[derive(Debug)]
        pub(in crate::kernel::aarch64) struct $path;

        impl By for $path {
            const PATH: Path = Path::$path;
        }
    )*};
}

/// The paths as types.
pub(super) mod by {
    use super::{By, Path};

    by!(Relu HalfUp HalfAway Any);
}

/// What four channels do with their sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    multiplier: int32x4_t,
    /// Right where negative.
    shift: int32x4_t,
}

impl Factor {
    /// Of channels with these multipliers and shifts.
    #[inline(always)]
    pub(super) fn new(multiplier: int32x4_t, shift: int32x4_t) -> Self {
        Self { multiplier, shift }
    }

    /// The same for all lanes.
    #[inline(always)]
    pub(super) fn uniform(multiplier: i32, shift: i32) -> Self {
        Self {
            multiplier: vdupq_n_s32(multiplier),
            shift: vdupq_n_s32(shift.clamp(SHIFT_MIN, SHIFT_MAX)),
        }
    }

    /// Requantises, without zero point and clamp; exact for channels that `path` is for.
    #[inline(always)]
    pub(super) fn apply(&self, path: Path, sums: int32x4_t) -> int32x4_t {
        match path {
            Path::Relu | Path::HalfUp => {
                vrshlq_s32(vqrdmulhq_s32(sums, self.multiplier), self.shift)
            }
            Path::HalfAway => {
                let product = vqrdmulhq_s32(sums, self.multiplier);
                vrshlq_s32(add_sign(product, product), self.shift)
            }
            Path::Any => {
                let zero = vdupq_n_s32(0);
                let shifted = vshlq_s32(sums, vmaxq_s32(self.shift, zero));
                let product = vqrdmulhq_s32(shifted, self.multiplier);
                let right = vminq_s32(self.shift, zero);
                // The sign of a number that is shifted to the right; none of others.
                let sign = vandq_s32(product, right);
                vrshlq_s32(add_sign(product, sign), right)
            }
        }
    }
}

/// Biases and factors of `NV` times four channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels<const NV: usize> {
    pub(super) bias: [int32x4_t; NV],
    pub(super) factor: [Factor; NV],
}

impl<const NV: usize> Channels<NV> {
    /// Biases and factors of 0.
    pub(super) fn none() -> Self {
        let zero = vdupq_n_s32(0);
        Self {
            bias: [zero; NV],
            factor: [Factor::new(zero, zero); NV],
        }
    }

    /// Of the channels from `channel` on; those beyond the last one have a bias and a factor of 0.
    #[inline(never)]
    pub(super) fn new(requantize: &Requantize<'_>, channel: usize) -> Self {
        let Requantize {
            bias,
            multiplier,
            shift,
            ..
        } = *requantize;
        if bias.len() >= channel + 4 * NV {
            return Self::load(&bias[channel..], &multiplier[channel..], &shift[channel..]);
        }
        let (mut biases, mut multipliers, mut shifts) = ([0; 16], [0; 16], [0; 16]);
        let len = bias.len() - channel;
        biases[..len].copy_from_slice(&bias[channel..]);
        multipliers[..len].copy_from_slice(&multiplier[channel..][..len]);
        shifts[..len].copy_from_slice(&shift[channel..][..len]);
        Self::load(&biases, &multipliers, &shifts)
    }

    #[inline(always)]
    fn load(bias: &[i32], multiplier: &[i32], shift: &[i8]) -> Self {
        let shifts = load_up_to_i8x16(&shift[..4 * NV]);
        let limits = [SHIFT_MIN, SHIFT_MAX].map(|limit| vdupq_n_s8(limit as i8));
        let shifts = vminq_s8(vmaxq_s8(shifts, limits[0]), limits[1]);
        let halves = [vmovl_s8(vget_low_s8(shifts)), vmovl_high_s8(shifts)];
        Self {
            bias: core::array::from_fn(|v| load_i32x4(&bias[4 * v..])),
            factor: core::array::from_fn(|v| {
                let half = halves[v / 2];
                let shift = if v % 2 == 0 {
                    vmovl_s16(vget_low_s16(half))
                } else {
                    vmovl_high_s16(half)
                };
                Factor::new(load_i32x4(&multiplier[4 * v..]), shift)
            }),
        }
    }
}

/// Zero point and clamp of 8-bit outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs8 {
    zero_point: int16x8_t,
    clamp_min: int8x16_t,
    clamp_max: int8x16_t,
}

impl Outputs8 {
    /// `None` when the zero point is no signed byte.
    pub(super) fn new(zero_point: i32, clamp_min: i32, clamp_max: i32) -> Option<Self> {
        let zero_point = i8::try_from(zero_point).ok()?;
        Some(Self {
            zero_point: vdupq_n_s16(zero_point.into()),
            clamp_min: vdupq_n_s8(clamp_min.clamp(-128, 127) as i8),
            clamp_max: vdupq_n_s8(clamp_max.clamp(-128, 127) as i8),
        })
    }

    /// Bytes of four vectors, in order; exact for channels that `path` is for.
    ///
    /// Both narrowings saturate, which changes nothing: the zero point moves a saturated value by at most 128, and what was
    /// outside 16 bits stays outside 8.
    #[inline(always)]
    pub(super) fn pack(&self, path: Path, values: [int32x4_t; 4]) -> int8x16_t {
        let low = vqmovn_high_s32(vqmovn_s32(values[0]), values[1]);
        let high = vqmovn_high_s32(vqmovn_s32(values[2]), values[3]);
        if path == Path::Relu {
            // Bytes without a sign, from which 128 is taken.
            let bytes = vqmovun_high_s16(vqmovun_s16(low), high);
            return veorq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8(i8::MIN));
        }
        let low = vqaddq_s16(low, self.zero_point);
        let high = vqaddq_s16(high, self.zero_point);
        let bytes = vqmovn_high_s16(vqmovn_s16(low), high);
        match path {
            Path::HalfAway => bytes,
            _ => vminq_s8(vmaxq_s8(bytes, self.clamp_min), self.clamp_max),
        }
    }
}

/// Limits of 16-bit outputs, whose zero point is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs16 {
    clamp_min: int16x8_t,
    clamp_max: int16x8_t,
}

impl Outputs16 {
    /// `None` for a zero point.
    pub(super) fn new(zero_point: i32, clamp_min: i32, clamp_max: i32) -> Option<Self> {
        let limit = |limit: i32| vdupq_n_s16(limit.clamp(-32768, 32767) as i16);
        (zero_point == 0).then(|| Self {
            clamp_min: limit(clamp_min),
            clamp_max: limit(clamp_max),
        })
    }

    /// Words of two vectors, in order; exact for channels that `path` is for.
    #[inline(always)]
    pub(super) fn pack(&self, path: Path, values: [int32x4_t; 2]) -> int16x8_t {
        let words = vqmovn_high_s32(vqmovn_s32(values[0]), values[1]);
        match path {
            Path::HalfAway => words,
            _ => vminq_s16(vmaxq_s16(words, self.clamp_min), self.clamp_max),
        }
    }
}

/// How the outputs of a product are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outputs {
    I8(Outputs8),
    I16(Outputs16),
}

impl Outputs {
    /// `None` for a zero point outside what the vectors handle.
    pub(super) fn new(requantize: &Requantize<'_>, dst: &DstS8<'_>) -> Option<Self> {
        let &Requantize {
            zero_point,
            clamp_min,
            clamp_max,
            ..
        } = requantize;
        match dst {
            DstS8::I8(_) => Outputs8::new(zero_point, clamp_min, clamp_max).map(Self::I8),
            DstS8::I16(_) => Outputs16::new(zero_point, clamp_min, clamp_max).map(Self::I16),
        }
    }

    /// Smallest and largest output of the type.
    pub(super) fn limits(&self) -> [i32; 2] {
        match self {
            Self::I8(_) => [i8::MIN.into(), i8::MAX.into()],
            Self::I16(_) => [i16::MIN.into(), i16::MAX.into()],
        }
    }
}

/// Writes outputs of one type.
pub(super) trait Write: Copy {
    /// i8 or i16.
    type Output;
    /// Outputs of two rows by 8 channels.
    type Pair: Copy;

    /// Outputs that are not there yet.
    fn none() -> Self::Pair;

    /// Writes up to 8 outputs, as many as `dst` holds.
    fn write_eight(&self, values: [int32x4_t; 2], dst: &mut [Self::Output]);

    /// Writes `width` channels of `R` rows that lie `pitch` apart; `dst` begins and ends with them.
    fn write_rows<const R: usize, const NV: usize>(
        &self,
        path: Path,
        values: &[[int32x4_t; NV]; R],
        dst: &mut [Self::Output],
        pitch: usize,
        width: usize,
    );

    /// Outputs of two rows: channels c, c + 1 of the first and of the second, and so on.
    fn pair(&self, path: Path, values: [int32x4_t; 4]) -> Self::Pair;

    /// Writes 16 channels of `P` pairs of rows that lie `pitch` apart. `dst` begins with them.
    fn write_blocks<const P: usize>(
        blocks: [[Self::Pair; P]; 2],
        dst: &mut [Self::Output],
        pitch: usize,
    );

    /// Writes up to 8 channels of up to `P` pairs of rows that lie `pitch` apart. `dst` begins with them.
    fn write_part<const P: usize>(
        block: [Self::Pair; P],
        part: [usize; 2],
        dst: &mut [Self::Output],
        pitch: usize,
    );
}

impl Write for Outputs8 {
    type Output = i8;
    /// A lane has two channels of a row; even ones are of the first row.
    type Pair = int16x8_t;

    #[inline(always)]
    fn none() -> int16x8_t {
        vdupq_n_s16(0)
    }

    #[inline(always)]
    fn write_eight(&self, [low, high]: [int32x4_t; 2], dst: &mut [i8]) {
        let words = vqmovn_high_s32(vqmovn_s32(low), high);
        let words = vqaddq_s16(words, self.zero_point);
        let bytes = vqmovn_high_s16(vqmovn_s16(words), words);
        let bytes = vminq_s8(vmaxq_s8(bytes, self.clamp_min), self.clamp_max);
        store_up_to_i8x16(dst, bytes);
    }

    #[inline(always)]
    fn write_rows<const R: usize, const NV: usize>(
        &self,
        path: Path,
        values: &[[int32x4_t; NV]; R],
        dst: &mut [i8],
        pitch: usize,
        width: usize,
    ) {
        let zero = vdupq_n_s32(0);
        let row = |r: usize| {
            let mut four = [zero; 4];
            four[..NV].copy_from_slice(&values[r]);
            self.pack(path, four)
        };
        if width == 16 && NV == 4 {
            assert!(dst.len() >= (R - 1) * pitch + 16);
            for r in 0..R {
                // SAFETY: 16 bytes of the last row are within `dst`, asserted above, and rows ascend.
                unsafe { store(dst, r * pitch, row(r)) };
            }
            return;
        }
        for r in 0..R {
            store_up_to_i8x16(&mut dst[r * pitch..][..width], row(r));
        }
    }

    #[inline(always)]
    fn pair(&self, path: Path, values: [int32x4_t; 4]) -> int16x8_t {
        vreinterpretq_s16_s8(self.pack(path, values))
    }

    #[inline(always)]
    fn write_blocks<const P: usize>(blocks: [[int16x8_t; P]; 2], dst: &mut [i8], pitch: usize) {
        assert!(dst.len() >= (2 * P - 1) * pitch + 16);
        for (p, (&low, &high)) in blocks[0].iter().zip(&blocks[1]).enumerate() {
            let rows = [vuzp1q_s16(low, high), vuzp2q_s16(low, high)].map(vreinterpretq_s8_s16);
            // SAFETY: 16 bytes of the last row are within `dst`, asserted above, and rows ascend.
            unsafe { store(dst, 2 * p * pitch, rows[0]) };
            // SAFETY: as above.
            unsafe { store(dst, (2 * p + 1) * pitch, rows[1]) };
        }
    }

    #[inline(never)]
    fn write_part<const P: usize>(
        block: [int16x8_t; P],
        [rows, width]: [usize; 2],
        dst: &mut [i8],
        pitch: usize,
    ) {
        for (r, dst) in dst.chunks_mut(pitch).take(rows).enumerate() {
            let pair = block[r / 2];
            let row = [vuzp1q_s16(pair, pair), vuzp2q_s16(pair, pair)][r % 2];
            store_up_to_i8x16(&mut dst[..width], vreinterpretq_s8_s16(row));
        }
    }
}

impl Write for Outputs16 {
    type Output = i16;
    /// 8 channels of each row.
    type Pair = [int16x8_t; 2];

    #[inline(always)]
    fn none() -> [int16x8_t; 2] {
        [vdupq_n_s16(0); 2]
    }

    #[inline(always)]
    fn write_eight(&self, values: [int32x4_t; 2], dst: &mut [i16]) {
        store_up_to_i16x8(dst, self.pack(Path::Any, values));
    }

    #[inline(always)]
    fn write_rows<const R: usize, const NV: usize>(
        &self,
        path: Path,
        values: &[[int32x4_t; NV]; R],
        dst: &mut [i16],
        pitch: usize,
        width: usize,
    ) {
        let zero = vdupq_n_s32(0);
        for (r, values) in values.iter().enumerate() {
            let dst = &mut dst[r * pitch..][..width];
            for (dst, pair) in dst.chunks_mut(8).zip(values.chunks(2)) {
                let high = pair.get(1).copied().unwrap_or(zero);
                store_up_to_i16x8(dst, self.pack(path, [pair[0], high]));
            }
        }
    }

    #[inline(always)]
    fn pair(&self, path: Path, values: [int32x4_t; 4]) -> [int16x8_t; 2] {
        let low = vreinterpretq_s32_s16(self.pack(path, [values[0], values[1]]));
        let high = vreinterpretq_s32_s16(self.pack(path, [values[2], values[3]]));
        [vuzp1q_s32(low, high), vuzp2q_s32(low, high)].map(vreinterpretq_s16_s32)
    }

    #[inline(always)]
    fn write_blocks<const P: usize>(
        blocks: [[[int16x8_t; 2]; P]; 2],
        dst: &mut [i16],
        pitch: usize,
    ) {
        assert!(dst.len() >= (2 * P - 1) * pitch + 16);
        for (index, block) in blocks.iter().enumerate() {
            for (r, &row) in block.as_flattened().iter().enumerate() {
                // SAFETY: 16 words of the last row are within `dst`, asserted above, and rows ascend.
                unsafe { store_words(dst, r * pitch + 8 * index, row) };
            }
        }
    }

    #[inline(never)]
    fn write_part<const P: usize>(
        block: [[int16x8_t; 2]; P],
        [rows, width]: [usize; 2],
        dst: &mut [i16],
        pitch: usize,
    ) {
        let block = block.as_flattened();
        for (row, dst) in block.iter().zip(dst.chunks_mut(pitch)).take(rows) {
            store_up_to_i16x8(&mut dst[..width], *row);
        }
    }
}

/// The low half of a vector.
///
/// # Safety
/// `dst` has 8 bytes from `at` on.
#[inline(always)]
pub(super) unsafe fn store_low(dst: &mut [i8], at: usize, x: int8x16_t) {
    // SAFETY: the caller vouches for the place.
    let to = unsafe { dst.as_mut_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 8 bytes.
    unsafe { core::arch::aarch64::vst1_s8(to, vget_low_s8(x)) }
}

/// The high half of a vector.
///
/// # Safety
/// `dst` has 8 bytes from `at` on.
#[inline(always)]
pub(super) unsafe fn store_high(dst: &mut [i8], at: usize, x: int8x16_t) {
    // SAFETY: the caller vouches for the place.
    let to = unsafe { dst.as_mut_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 8 bytes.
    unsafe { core::arch::aarch64::vst1_s8(to, vget_high_s8(x)) }
}

/// A whole vector.
///
/// # Safety
/// `dst` has 16 bytes from `at` on.
#[inline(always)]
unsafe fn store(dst: &mut [i8], at: usize, x: int8x16_t) {
    // SAFETY: the caller vouches for the place.
    let to = unsafe { dst.as_mut_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 16 bytes.
    unsafe { core::arch::aarch64::vst1q_s8(to, x) }
}

/// 8 words.
///
/// # Safety
/// `dst` has them from `at` on.
#[inline(always)]
unsafe fn store_words(dst: &mut [i16], at: usize, x: int16x8_t) {
    // SAFETY: the caller vouches for the place.
    let to = unsafe { dst.as_mut_ptr().add(at) };
    // SAFETY: The target has NEON, and the caller vouches for 8 words.
    unsafe { core::arch::aarch64::vst1q_s16(to, x) }
}
