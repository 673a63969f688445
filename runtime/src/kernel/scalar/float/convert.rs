//! Between f32 and IEEE half.

use half::f16;

/// `dst[i] = src[i]`, exactly.
pub fn widen_f16(src: &[f16], dst: &mut [f32]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = src.to_f32();
    }
}

/// The nearest half of each number, ties to even; what is too large becomes an infinity.
pub fn narrow_f32(src: &[f32], dst: &mut [f16]) {
    for (&src, dst) in src.iter().zip(dst) {
        *dst = f16::from_f32(src);
    }
}
