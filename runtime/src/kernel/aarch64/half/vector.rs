//! Registers of eight halves: loads and stores with their checks, and the way to f32 and back.

use core::arch::aarch64::*;

use half::f16;

/// Halves of a register.
pub(super) const LANES: usize = 8;

/// The first 8 of `src`; panics when there are fewer.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn load(src: &[f16]) -> float16x8_t {
    let src = &src[..LANES];
    // SAFETY: `src` was just cut to the 16 bytes that are read.
    vreinterpretq_f16_u16(unsafe { vld1q_u16(src.as_ptr().cast()) })
}

/// All of `src`, at most 8, then zeros.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn load_up_to(src: &[f16]) -> float16x8_t {
    if src.len() >= LANES {
        return load(src);
    }
    let mut padded = [f16::ZERO; LANES];
    padded[..src.len()].copy_from_slice(src);
    load(&padded)
}

/// Eight halves from `src` on.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) unsafe fn load_from(src: *const f16) -> float16x8_t {
    // SAFETY: The caller vouches for the 16 bytes.
    vreinterpretq_f16_u16(unsafe { vld1q_u16(src.cast()) })
}

/// Eight halves to `dst`.
///
/// # Safety
/// They can be written.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) unsafe fn store_to(x: float16x8_t, dst: *mut f16) {
    let bits = vreinterpretq_u16_f16(x);
    // SAFETY: The caller vouches for the 16 bytes.
    unsafe { vst1q_u16(dst.cast(), bits) }
}

/// The first numbers of `src`, at most 8, then zeros.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn load_wide(src: &[f32]) -> [float32x4_t; 2] {
    let mut padded = [0.0; LANES];
    let count = src.len().min(LANES);
    padded[..count].copy_from_slice(&src[..count]);
    let from = padded.as_ptr();
    // SAFETY: `padded` are eight numbers, of which the first four are read.
    let low = unsafe { vld1q_f32(from) };
    // SAFETY: The other four are.
    let high = unsafe { vld1q_f32(from.wrapping_add(4)) };
    [low, high]
}

/// Fills `dst`, at most 8.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn store_up_to(x: float16x8_t, dst: &mut [f16]) {
    if dst.len() >= LANES {
        return store(x, dst);
    }
    let mut padded = [f16::ZERO; LANES];
    store(x, &mut padded);
    let count = dst.len();
    dst.copy_from_slice(&padded[..count]);
}

/// Into the first 8 of `dst`; panics when there are fewer.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn store(x: float16x8_t, dst: &mut [f16]) {
    let dst = &mut dst[..LANES];
    let bits = vreinterpretq_u16_f16(x);
    // SAFETY: `dst` was just cut to the 16 bytes that are written.
    unsafe { vst1q_u16(dst.as_mut_ptr().cast(), bits) }
}

/// `x` in every lane.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn splat(x: f16) -> float16x8_t {
    vreinterpretq_f16_u16(vdupq_n_u16(x.to_bits()))
}

/// The half at `src` in every lane.
///
/// # Safety
/// It can be read.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) unsafe fn splat_from(src: *const f16) -> float16x8_t {
    // SAFETY: The caller vouches for the two bytes.
    vreinterpretq_f16_u16(unsafe { vld1q_dup_u16(src.cast()) })
}

/// `sums + a · b`.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn fma(sums: float16x8_t, a: float16x8_t, b: float16x8_t) -> float16x8_t {
    vfmaq_f16(sums, a, b)
}

/// `sums + a · b[LANE]`.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn fma_lane<const LANE: i32>(
    sums: float16x8_t,
    a: float16x8_t,
    b: float16x8_t,
) -> float16x8_t {
    vfmaq_laneq_f16::<LANE>(sums, a, b)
}

/// Exactly the numbers.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn widen(x: float16x8_t) -> [float32x4_t; 2] {
    [vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)]
}

/// The nearest halves.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn narrow(x: [float32x4_t; 2]) -> float16x8_t {
    vcvt_high_f16_f32(vcvt_f16_f32(x[0]), x[1])
}

/// The matrix of eight registers, its rows and columns exchanged.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn transpose(rows: [float16x8_t; LANES]) -> [float16x8_t; LANES] {
    let mut pairs = rows.map(|row| vreinterpretq_u32_f16(row));
    for i in [0, 2, 4, 6] {
        pairs[i] = vreinterpretq_u32_f16(vtrn1q_f16(rows[i], rows[i + 1]));
        pairs[i + 1] = vreinterpretq_u32_f16(vtrn2q_f16(rows[i], rows[i + 1]));
    }
    let mut quads = pairs.map(|pair| vreinterpretq_u64_u32(pair));
    for i in [0, 1, 4, 5] {
        quads[i] = vreinterpretq_u64_u32(vtrn1q_u32(pairs[i], pairs[i + 2]));
        quads[i + 2] = vreinterpretq_u64_u32(vtrn2q_u32(pairs[i], pairs[i + 2]));
    }
    let mut columns = rows;
    for i in 0..4 {
        columns[i] = vreinterpretq_f16_u64(vtrn1q_u64(quads[i], quads[i + 4]));
        columns[i + 4] = vreinterpretq_f16_u64(vtrn2q_u64(quads[i], quads[i + 4]));
    }
    columns
}
