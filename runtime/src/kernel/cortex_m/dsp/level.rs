//! What the shared kernels take from the DSP extension.

use super::Dsp;
use super::instruction::{max_bytes, sxtab16, sxtab16_odd};
use super::requantize::{Channel, Outputs};
use crate::kernel::cortex_m::level::{CHUNK, Level, Scale};

impl Level for Dsp {
    const ORDER: [usize; 4] = [0, 2, 1, 3];

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

    fn add_bytes(sums: &mut [u32; CHUNK / 2], src: &[i8]) {
        let (sums, _) = sums.as_chunks_mut::<2>();
        let (words, rest) = src.as_chunks::<4>();
        let mut sums = sums.iter_mut();
        let add = |word: [i8; 4], sums: Option<&mut [u32; 2]>| {
            if let Some([even, odd]) = sums {
                let word = u32::from_le_bytes(word.map(|byte| byte as u8));
                (*even, *odd) = (sxtab16(*even, word), sxtab16_odd(*odd, word));
            }
        };
        for &word in words {
            add(word, sums.next());
        }
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            add(word, sums.next());
        }
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
