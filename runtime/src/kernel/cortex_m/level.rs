//! What the shared kernels of this folder leave to the instructions of a set.

use crate::kernel::DstS8;
use crate::kernel::requantize::multiply_by_quantized_multiplier;

/// Sums that a shared kernel keeps before it hands them to its [`Level`].
pub(super) const CHUNK: usize = 64;

/// A level of instructions.
pub(super) trait Level {
    /// `dst[i] = scale(sums[i])` of a usual scale; sums are below 2³⁰ in magnitude.
    fn requantize_i8(scale: &Scale, sums: &[i32], dst: &mut [i8]);
    /// The same with 16 bits.
    fn requantize_i16(scale: &Scale, sums: &[i32], dst: &mut [i16]);
    /// `sums[i] = left[lhs[i]] + right[rhs[i]]`, tables by unsigned bytes, of at most CHUNK bytes.
    fn sum_tables(tables: [&[i32; 256]; 2], inputs: [&[i8]; 2], sums: &mut [i32; CHUNK]);
    /// Adds `len` ≤ CHUNK channels of `pixels` pixels, `stride` bytes from one to the next, to sums of 16 bits, two in a word.
    /// The last pixel ends with `src`.
    fn add_pixels(sums: &mut [u32; CHUNK / 2], src: &[i8], len: usize, stride: usize);
    /// The four sums of two words.
    fn unpack(words: [u32; 2]) -> [i16; 4];
    /// `dst[i] = max(dst[i], src[i])`.
    fn max_bytes(dst: &mut [i8], src: &[i8]);
}

/// A requantisation that many sums share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) multiplier: i32,
    pub(super) shift: i32,
    pub(super) zero_point: i32,
    /// Smallest and largest output, within the type of the output.
    pub(super) clamp: [i32; 2],
}

impl Scale {
    /// The factor, and what follows it for 8-bit outputs.
    pub(super) fn new_i8(factor: [i32; 2], zero_point: i32, clamp: [i32; 2]) -> Self {
        let [multiplier, shift] = factor;
        Self {
            multiplier,
            shift,
            zero_point,
            clamp: clamp.map(|limit| limit.clamp(-128, 127)),
        }
    }

    /// The same for 16-bit outputs.
    pub(super) fn new_i16(factor: [i32; 2], zero_point: i32, clamp: [i32; 2]) -> Self {
        Self {
            clamp: clamp.map(|limit| limit.clamp(-32768, 32767)),
            ..Self::new_i8(factor, zero_point, clamp)
        }
    }

    /// Whether it is what a quantiser makes: a shift to the right, and a zero point with which nothing overflows. A level
    /// takes no other.
    pub(super) fn is_usual(&self) -> bool {
        (-31..0).contains(&self.shift)
            && self.multiplier >= 0
            && self.zero_point.unsigned_abs() <= 1 << 16
    }

    /// One output, for every scale and sum.
    pub(super) fn apply(&self, sum: i32) -> i32 {
        multiply_by_quantized_multiplier(sum, self.multiplier, self.shift)
            .saturating_add(self.zero_point)
            .max(self.clamp[0])
            .min(self.clamp[1])
    }

    /// Requantises `sums`, below 2³⁰ in magnitude, to `dst` from `place` on.
    #[inline]
    pub(super) fn write<L: Level>(&self, sums: &[i32], dst: &mut DstS8<'_>, place: usize) {
        match dst {
            DstS8::I8(dst) => self.write_i8::<L>(sums, &mut dst[place..][..sums.len()]),
            DstS8::I16(dst) if self.is_usual() => {
                L::requantize_i16(self, sums, &mut dst[place..][..sums.len()]);
            }
            DstS8::I16(dst) => {
                for (dst, &sum) in dst[place..].iter_mut().zip(sums) {
                    *dst = self.apply(sum) as i16;
                }
            }
        }
    }

    /// The same to bytes.
    #[inline]
    pub(super) fn write_i8<L: Level>(&self, sums: &[i32], dst: &mut [i8]) {
        if self.is_usual() {
            return L::requantize_i8(self, sums, dst);
        }
        for (dst, &sum) in dst.iter_mut().zip(sums) {
            *dst = self.apply(sum) as i8;
        }
    }
}
