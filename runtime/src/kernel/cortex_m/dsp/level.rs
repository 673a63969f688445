//! What the shared kernels take from the DSP extension.

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

    fn add_pixels(sums: &mut [u32; CHUNK / 2], src: &[i8], len: usize, stride: usize) {
        let word = |bytes: &[i8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(word.map(|byte| byte as u8))
        };
        for (start, [even, odd]) in (0..len).step_by(4).zip(sums.as_chunks_mut::<2>().0) {
            let mut rest = &src[start..];
            let mut add = |word| {
                *even = sxtab16(*even, word);
                *odd = sxtab16_odd(*odd, word);
            };
            if len - start < 4 {
                src[start..]
                    .chunks(stride)
                    .for_each(|pixel| add(word(&pixel[..len - start])));
                continue;
            }
            while let Some((&four, _)) = rest.split_first_chunk::<4>() {
                add(u32::from_le_bytes(four.map(|byte| byte as u8)));
                rest = rest.get(stride..).unwrap_or_default();
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
