//! The intrinsics of NEON that the kernels use, as safe functions.
//!
//! An intrinsic is unsafe to call because a CPU might lack its instruction. This folder is compiled only for targets that have
//! NEON (the `cfg` on `kernel::aarch64`), so that the one proof below holds for every function here that touches values alone.
//! Functions that touch memory check their slice.

pub(super) use core::arch::aarch64::{
    float32x4_t, int8x8_t, int8x16_t, int8x16x3_t, int8x16x4_t, int16x4_t, int16x8_t, int32x4_t,
    int64x2_t, uint8x8_t, uint8x16_t, uint16x4_t, uint16x8_t, uint32x4_t,
};

/// Safe functions of the same names and types as the intrinsics.
macro_rules! values {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[inline(always)]
        pub(in crate::kernel::aarch64) fn $name($($arg: $type),*) -> $result {
            // SAFETY: The target has NEON, which is all that the intrinsic asks for: its operands are values.
            unsafe { core::arch::aarch64::$name($($arg),*) }
        }
    )*};
}

values! {
    vdupq_n_s8(x: i8) -> int8x16_t;
    vdupq_n_s16(x: i16) -> int16x8_t;
    vdupq_n_s32(x: i32) -> int32x4_t;
    vreinterpretq_s32_s8(x: int8x16_t) -> int32x4_t;
    vreinterpretq_s64_s8(x: int8x16_t) -> int64x2_t;
    vreinterpretq_s8_s64(x: int64x2_t) -> int8x16_t;
    vreinterpretq_s8_s32(x: int32x4_t) -> int8x16_t;
    vreinterpretq_s64_s32(x: int32x4_t) -> int64x2_t;
    vreinterpretq_s32_s64(x: int64x2_t) -> int32x4_t;
    vreinterpretq_s32_s16(x: int16x8_t) -> int32x4_t;
    vreinterpretq_s16_s32(x: int32x4_t) -> int16x8_t;
    vreinterpretq_s16_s8(x: int8x16_t) -> int16x8_t;
    vreinterpretq_s8_s16(x: int16x8_t) -> int8x16_t;
    vget_low_s8(x: int8x16_t) -> int8x8_t;
    vget_high_s8(x: int8x16_t) -> int8x8_t;
    vcombine_s8(low: int8x8_t, high: int8x8_t) -> int8x16_t;
    vget_low_s16(x: int16x8_t) -> int16x4_t;
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vaddvq_s32(x: int32x4_t) -> i32;
    vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vandq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vshlq_s32(x: int32x4_t, by: int32x4_t) -> int32x4_t;
    vrshlq_s32(x: int32x4_t, by: int32x4_t) -> int32x4_t;
    vqrdmulhq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vminq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vmaxq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vmovl_s8(x: int8x8_t) -> int16x8_t;
    vmovl_high_s8(x: int8x16_t) -> int16x8_t;
    vmovl_s16(x: int16x4_t) -> int32x4_t;
    vmovl_high_s16(x: int16x8_t) -> int32x4_t;
    vmull_s8(a: int8x8_t, b: int8x8_t) -> int16x8_t;
    vmull_high_s8(a: int8x16_t, b: int8x16_t) -> int16x8_t;
    vpaddlq_s16(x: int16x8_t) -> int32x4_t;
    vaddw_s16(a: int32x4_t, b: int16x4_t) -> int32x4_t;
    vaddw_high_s16(a: int32x4_t, b: int16x8_t) -> int32x4_t;
    vqmovn_s32(x: int32x4_t) -> int16x4_t;
    vqmovn_high_s32(low: int16x4_t, x: int32x4_t) -> int16x8_t;
    vqmovn_s16(x: int16x8_t) -> int8x8_t;
    vqmovun_s16(x: int16x8_t) -> uint8x8_t;
    vqmovun_high_s16(low: uint8x8_t, x: int16x8_t) -> uint8x16_t;
    vreinterpretq_s8_u8(x: uint8x16_t) -> int8x16_t;
    vqmovn_high_s16(low: int8x8_t, x: int16x8_t) -> int8x16_t;
    vqaddq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vmaxq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vminq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vmaxq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vminq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vzip1q_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vzip2q_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vzip1q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vzip2q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vuzp1q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vuzp2q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vuzp1q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vuzp2q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip1q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip2q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip1q_s64(a: int64x2_t, b: int64x2_t) -> int64x2_t;
    vzip2q_s64(a: int64x2_t, b: int64x2_t) -> int64x2_t;
    vsubq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vqrdmulhq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vandq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vnegq_s16(x: int16x8_t) -> int16x8_t;
    vshlq_s16(x: int16x8_t, by: int16x8_t) -> int16x8_t;
    vrshlq_s16(x: int16x8_t, by: int16x8_t) -> int16x8_t;
    vmull_s16(a: int16x4_t, b: int16x4_t) -> int32x4_t;
    vmull_high_s16(a: int16x8_t, b: int16x8_t) -> int32x4_t;
    vmlal_s16(sums: int32x4_t, a: int16x4_t, b: int16x4_t) -> int32x4_t;
    vmlal_high_s16(sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t;
    vpadalq_s16(sums: int32x4_t, x: int16x8_t) -> int32x4_t;
    vpadalq_s32(sums: int64x2_t, x: int32x4_t) -> int64x2_t;
    vaddq_s64(a: int64x2_t, b: int64x2_t) -> int64x2_t;
    vaddvq_s64(x: int64x2_t) -> i64;
    vdupq_n_s64(x: i64) -> int64x2_t;
    vmaxvq_s32(x: int32x4_t) -> i32;
    vreinterpretq_u32_s32(x: int32x4_t) -> uint32x4_t;
    vreinterpretq_s16_u16(x: uint16x8_t) -> int16x8_t;
    vshlq_u32(x: uint32x4_t, by: int32x4_t) -> uint32x4_t;
    vqmovn_u32(x: uint32x4_t) -> uint16x4_t;
    vqmovn_high_u32(low: uint16x4_t, x: uint32x4_t) -> uint16x8_t;
    vget_low_u16(x: uint16x8_t) -> uint16x4_t;
    vdupq_n_u16(x: u16) -> uint16x8_t;
    vmull_u16(a: uint16x4_t, b: uint16x4_t) -> uint32x4_t;
    vmull_high_u16(a: uint16x8_t, b: uint16x8_t) -> uint32x4_t;
    vreinterpretq_u16_u32(x: uint32x4_t) -> uint16x8_t;
    vuzp2q_u16(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t;
    vshlq_u16(x: uint16x8_t, by: int16x8_t) -> uint16x8_t;
    vmovn_s16(x: int16x8_t) -> int8x8_t;
    vmulq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vsubq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vqaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vsubq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    veorq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vreinterpretq_u8_s8(x: int8x16_t) -> uint8x16_t;
    vqtbl1q_s8(table: int8x16_t, index: uint8x16_t) -> int8x16_t;
    vqmovun_s32(x: int32x4_t) -> uint16x4_t;
    vcombine_u16(low: uint16x4_t, high: uint16x4_t) -> uint16x8_t;
    vqmovn_u16(x: uint16x8_t) -> uint8x8_t;
    vbslq_s8(mask: uint8x16_t, a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vceqq_s8(a: int8x16_t, b: int8x16_t) -> uint8x16_t;
    vqtbl4q_s8(table: int8x16x4_t, index: uint8x16_t) -> int8x16_t;
    vqtbx4q_s8(fallback: int8x16_t, table: int8x16x4_t, index: uint8x16_t) -> int8x16_t;
    vdupq_n_f32(x: f32) -> float32x4_t;
    vdivq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vcvtaq_s32_f32(x: float32x4_t) -> int32x4_t;
    vcvtq_f32_s32(x: int32x4_t) -> float32x4_t;
}

/// `a + (x >> 31)`: one lower where `x` is negative.
#[inline(always)]
pub(super) fn add_sign(a: int32x4_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: The target has NEON, and the operands are values.
    unsafe { core::arch::aarch64::vsraq_n_s32::<31>(a, x) }
}

/// `x · 2^SHIFT` in 16 bits.
#[inline(always)]
pub(super) fn shift_left_long<const SHIFT: i32>(x: int8x8_t) -> int16x8_t {
    // SAFETY: The target has NEON, and the operand is a value.
    unsafe { core::arch::aarch64::vshll_n_s8::<SHIFT>(x) }
}

/// `x / 2^SHIFT`, rounded down.
#[inline(always)]
pub(super) fn shift_right<const SHIFT: i32>(x: int32x4_t) -> int32x4_t {
    // SAFETY: The target has NEON, and the operand is a value.
    unsafe { core::arch::aarch64::vshrq_n_s32::<SHIFT>(x) }
}

/// `sums + x · by[LANE]`, wrapping.
#[inline(always)]
pub(super) fn multiply_add_lane<const LANE: i32>(
    sums: int32x4_t,
    x: int32x4_t,
    by: int32x4_t,
) -> int32x4_t {
    // SAFETY: The target has NEON, and the operands are values.
    unsafe { core::arch::aarch64::vmlaq_laneq_s32::<LANE>(sums, x, by) }
}

/// The first four bytes.
#[inline(always)]
pub(super) fn lowest_four(x: uint8x8_t) -> [u8; 4] {
    // SAFETY: The target has NEON, and the operand is a value.
    let pair = unsafe { core::arch::aarch64::vreinterpret_u32_u8(x) };
    // SAFETY: as above.
    unsafe { core::arch::aarch64::vget_lane_u32::<0>(pair) }.to_le_bytes()
}

/// 16 pixels of three bytes, a channel in each vector.
#[inline(always)]
pub(super) fn load_rgb(src: &[u8; 48]) -> int8x16x3_t {
    // SAFETY: The target has NEON, and `src` has the bytes of three vectors.
    unsafe { core::arch::aarch64::vld3q_s8(src.as_ptr().cast()) }
}

/// Writes 16 pixels of three bytes, a channel in each vector.
#[inline(always)]
pub(super) fn store_rgb(dst: &mut [i8; 48], x: int8x16x3_t) {
    // SAFETY: The target has NEON, and `dst` has the bytes of three vectors.
    unsafe { core::arch::aarch64::vst3q_s8(dst.as_mut_ptr(), x) }
}

/// 16 bytes without a sign; panics when the slice is shorter.
#[inline(always)]
pub(super) fn load_u8x16(src: &[u8]) -> int8x16_t {
    let src = &src[..16];
    // SAFETY: The target has NEON, and `src` was just cut to what is read.
    unsafe { core::arch::aarch64::vld1q_s8(src.as_ptr().cast()) }
}

/// Loads a vector from the start of a slice, stores one there; panics when the slice is shorter.
macro_rules! memory {
    ($($load:ident, $store:ident, $element:ty, $vector:ty, $len:literal: $vld:ident, $vst:ident;)*) => {$(
        #[inline(always)]
        pub(super) fn $load(src: &[$element]) -> $vector {
            let src = &src[..$len];
            // SAFETY: The target has NEON, and `src` was just cut to what is read.
            unsafe { core::arch::aarch64::$vld(src.as_ptr()) }
        }
        #[inline(always)]
        pub(super) fn $store(dst: &mut [$element], x: $vector) {
            let dst = &mut dst[..$len];
            // SAFETY: The target has NEON, and `dst` was just cut to what is written.
            unsafe { core::arch::aarch64::$vst(dst.as_mut_ptr(), x) }
        }
    )*};
}

memory! {
    load_i8x16, store_i8x16, i8, int8x16_t, 16: vld1q_s8, vst1q_s8;
    load_i8x8, store_i8x8, i8, int8x8_t, 8: vld1_s8, vst1_s8;
    load_i16x8, store_i16x8, i16, int16x8_t, 8: vld1q_s16, vst1q_s16;
    load_f32x4, store_f32x4, f32, float32x4_t, 4: vld1q_f32, vst1q_f32;
    load_i32x4, store_i32x4, i32, int32x4_t, 4: vld1q_s32, vst1q_s32;
}

/// Four times two numbers, each pair twice: numbers 0, 1, 0, 1, then 2, 3, 2, 3, and so on.
#[inline(always)]
pub(super) fn load_twice_i32x8(src: &[i32; 8]) -> [int32x4_t; 4] {
    // SAFETY: The target has NEON. Reads 32 bytes, which `src` has; `ld4r` asks for no alignment.
    let pairs = unsafe { core::arch::aarch64::vld4q_dup_s64(src.as_ptr().cast()) };
    [pairs.0, pairs.1, pairs.2, pairs.3].map(vreinterpretq_s32_s64)
}

/// Up to 16 bytes, then zeros.
#[inline(always)]
pub(super) fn load_up_to_i8x16(src: &[i8]) -> int8x16_t {
    if src.len() >= 16 {
        return load_i8x16(src);
    }
    let mut bytes = [0; 16];
    bytes[..src.len()].copy_from_slice(src);
    load_i8x16(&bytes)
}

/// Up to 16 bytes without a sign, then zeros.
#[inline(always)]
pub(super) fn load_up_to_u8x16(src: &[u8]) -> int8x16_t {
    if src.len() >= 16 {
        return load_u8x16(src);
    }
    let mut bytes = [0; 16];
    bytes[..src.len()].copy_from_slice(src);
    load_u8x16(&bytes)
}

/// Up to 8 bytes, then zeros.
#[inline(always)]
pub(super) fn load_up_to_i8x8(src: &[i8]) -> int8x8_t {
    if src.len() >= 8 {
        return load_i8x8(src);
    }
    let mut bytes = [0; 8];
    bytes[..src.len()].copy_from_slice(src);
    load_i8x8(&bytes)
}

/// Up to 8 words, then zeros.
#[inline(always)]
pub(super) fn load_up_to_i16x8(src: &[i16]) -> int16x8_t {
    if src.len() >= 8 {
        return load_i16x8(src);
    }
    let mut words = [0; 8];
    words[..src.len()].copy_from_slice(src);
    load_i16x8(&words)
}

/// Up to 8 numbers, then zeros.
#[inline(always)]
pub(super) fn load_up_to_i32x8(src: &[i32]) -> [int32x4_t; 2] {
    if src.len() >= 8 {
        return [load_i32x4(src), load_i32x4(&src[4..])];
    }
    let mut numbers = [0; 8];
    numbers[..src.len()].copy_from_slice(src);
    [load_i32x4(&numbers), load_i32x4(&numbers[4..])]
}

/// Fills `dst`, at most 16 bytes.
#[inline(always)]
pub(super) fn store_up_to_i8x16(dst: &mut [i8], x: int8x16_t) {
    match dst.len() {
        16 => store_i8x16(dst, x),
        8 => store_i8x8(dst, vget_low_s8(x)),
        len => {
            let mut bytes = [0; 16];
            store_i8x16(&mut bytes, x);
            dst.copy_from_slice(&bytes[..len]);
        }
    }
}

/// Fills `dst`, at most 8 elements.
#[inline(always)]
pub(super) fn store_up_to_i16x8(dst: &mut [i16], x: int16x8_t) {
    if dst.len() >= 8 {
        return store_i16x8(dst, x);
    }
    let mut words = [0; 8];
    store_i16x8(&mut words, x);
    let len = dst.len();
    dst.copy_from_slice(&words[..len]);
}

/// Up to 4 numbers, then zeros.
#[inline(always)]
pub(super) fn load_up_to_f32x4(src: &[f32]) -> float32x4_t {
    if src.len() >= 4 {
        return load_f32x4(src);
    }
    let mut numbers = [0.0; 4];
    numbers[..src.len()].copy_from_slice(src);
    load_f32x4(&numbers)
}

/// Fills `dst`, at most 4 numbers.
#[inline(always)]
pub(super) fn store_up_to_f32x4(dst: &mut [f32], x: float32x4_t) {
    if dst.len() >= 4 {
        return store_f32x4(dst, x);
    }
    let mut numbers = [0.0; 4];
    store_f32x4(&mut numbers, x);
    let len = dst.len();
    dst.copy_from_slice(&numbers[..len]);
}
