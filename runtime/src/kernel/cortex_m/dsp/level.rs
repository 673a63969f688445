//! What the shared kernels take from the DSP extension.

use core::arch::asm;

use super::Dsp;
use super::instruction::{max_bytes, sxtab16, sxtab16_odd};
use super::requantize::{Channel, Outputs};
use crate::kernel::cortex_m::level::{CHUNK, Level, Scale};

impl Level for Dsp {
    fn requantize_i8(scale: &Scale, sums: &[i32], dst: &mut [i8]) {
        let (outputs, channel) = (
            Outputs::of(scale),
            Channel::of(scale.multiplier, scale.shift),
        );
        for (dst, &sum) in dst.iter_mut().zip(sums) {
            *dst = outputs.apply(channel, sum);
        }
    }

    fn requantize_i16(scale: &Scale, sums: &[i32], dst: &mut [i16]) {
        let channel = Channel::of(scale.multiplier, scale.shift);
        for (dst, &sum) in dst.iter_mut().zip(sums) {
            let value = channel.scale(sum) + scale.zero_point;
            *dst = value.max(scale.clamp[0]).min(scale.clamp[1]) as i16;
        }
    }

    fn sum_tables(
        [left, right]: [&[i32; 256]; 2],
        [lhs, rhs]: [&[i8]; 2],
        sums: &mut [i32; CHUNK],
    ) {
        for ((sum, &lhs), &rhs) in sums.iter_mut().zip(lhs).zip(rhs) {
            *sum = left[usize::from(lhs as u8)] + right[usize::from(rhs as u8)];
        }
    }

    fn add_pixels(sums: &mut [u32; CHUNK / 2], src: &[i8], len: usize, stride: usize) {
        let pixels = 1 + (src.len() - len) / stride;
        let whole = len / 4 * 4;
        for (start, sums) in (0..whole).step_by(4).zip(sums.as_chunks_mut::<2>().0) {
            // SAFETY: The last pixel has `len` ≥ start + 4 bytes from (pixels − 1) · stride on, which is at most src.len() − len.
            unsafe { add_words(sums, src[start..].as_ptr(), pixels, stride) };
        }
        if whole < len {
            let [even, odd] = &mut sums.as_chunks_mut::<2>().0[whole / 4];
            for pixel in src.chunks(stride) {
                let mut word = [0; 4];
                word[..len - whole].copy_from_slice(&pixel[whole..len]);
                let word = u32::from_le_bytes(word.map(|byte| byte as u8));
                (*even, *odd) = (sxtab16(*even, word), sxtab16_odd(*odd, word));
            }
        }
    }

    fn unpack([even, odd]: [u32; 2]) -> [i16; 4] {
        [even, odd, even >> 16, odd >> 16].map(|half| half as i16)
    }

    fn max_bytes(dst: &mut [i8], src: &[i8]) {
        let (words, rest) = dst.as_chunks_mut::<4>();
        let (src, src_rest) = src.as_chunks::<4>();
        for (dst, src) in words.iter_mut().zip(src) {
            let [a, b] = [*dst, *src].map(|word| u32::from_le_bytes(word.map(|byte| byte as u8)));
            *dst = max_bytes(a, b).to_le_bytes().map(|byte| byte as i8);
        }
        for (dst, &src) in rest.iter_mut().zip(src_rest) {
            *dst = src.max(*dst);
        }
    }
}

/// Adds a word of each pixel: 6 instructions.
///
/// # Safety
/// `pixels` is not 0; `src` has 4 bytes every `stride` bytes, as many times.
#[inline(always)]
unsafe fn add_words([even, odd]: &mut [u32; 2], src: *const i8, pixels: usize, stride: usize) {
    // SAFETY: Reads what the caller vouches for.
    unsafe {
        asm!(
            "2:",
            "ldr {word}, [{src}]",
            "add {src}, {src}, {stride}",
            "subs {pixels}, {pixels}, #1",
            "sxtab16 {even}, {even}, {word}",
            "sxtab16 {odd}, {odd}, {word}, ror #8",
            "bne 2b",
            even = inout(reg) *even, odd = inout(reg) *odd,
            src = inout(reg) src => _, pixels = inout(reg) pixels => _,
            stride = in(reg) stride, word = out(reg) _,
            options(nostack, readonly)
        );
    }
}
