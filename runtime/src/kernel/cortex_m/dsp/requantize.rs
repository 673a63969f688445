//! Requantisation in eight instructions, equal to [`crate::kernel::requantize`] where [`Outputs::new`] says so.
//!
//! For |sum| < 2³⁰ and a shift of −e < 0 the two roundings are, with m the multiplier:
//! `h = ⌊(sum · m + 2³⁰) / 2³¹⌋ = ⌊(2 · sum · m + 2³¹) / 2³²⌋`, which `smmlar` computes and adds to a third number, and
//! `h / 2ᵉ`, halves away from zero, which is `(h − [h < 0] + 2ᵉ⁻¹) >> e`. The sign of the sum may stand for the sign of h: they
//! differ only for h = 0, and there both `2ᵉ⁻¹ >> e` and `(2ᵉ⁻¹ − 1) >> e` are 0. A shift of 0, which a channel of almost no
//! spread has, takes neither: the sign that counts is that of the sum and of the shift.

use super::instruction::{smmlar, ssat8};
use crate::kernel::Requantize;
use crate::kernel::cortex_m::level::Scale;

/// Zero point and clamp of 8-bit outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs {
    zero_point: i32,
    min: i32,
    max: i32,
}

/// Factor of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    multiplier: i32,
    half: i32,
    shift: i32,
    exponent: u32,
}

impl Outputs {
    /// `None` where a channel of sums of `k` products may leave the range that the module states.
    pub(super) fn new(requantize: &Requantize<'_>, k: usize) -> Option<Self> {
        if k > 60_000 || requantize.zero_point.unsigned_abs() > 1 << 16 {
            return None;
        }
        let limit = (1u32 << 30) - ((k as u32) << 14);
        let small = requantize
            .bias
            .iter()
            .all(|bias| bias.unsigned_abs() < limit);
        let right = requantize
            .shift
            .iter()
            .all(|&shift| (-31..=0).contains(&shift));
        let positive = requantize
            .multiplier
            .iter()
            .all(|&multiplier| multiplier >= 0);
        if !(small && right && positive) {
            return None;
        }
        Some(Self {
            zero_point: requantize.zero_point,
            min: requantize.clamp_min.clamp(-128, 127),
            max: requantize.clamp_max.clamp(-128, 127),
        })
    }

    /// Of a usual scale.
    pub(super) fn of(scale: &Scale) -> Self {
        let [min, max] = scale.clamp;
        Self {
            zero_point: scale.zero_point,
            min,
            max,
        }
    }

    /// The output of a sum, the bias in it.
    #[inline(always)]
    pub(super) fn apply(self, channel: Channel, sum: i32) -> i8 {
        let value = ssat8(channel.scale(sum) + self.zero_point);
        // Most layers use the whole range.
        if self.min > -128 || self.max < 127 {
            return value.max(self.min).min(self.max) as i8;
        }
        value as i8
    }
}

impl Channel {
    /// Channel `index`, whose shift [`Outputs::new`] has seen.
    #[inline(always)]
    pub(super) fn new(requantize: &Requantize<'_>, index: usize) -> Self {
        Self::of(
            requantize.multiplier[index],
            i32::from(requantize.shift[index]),
        )
    }

    /// With a shift in −31..=0.
    #[inline(always)]
    pub(super) fn of(multiplier: i32, shift: i32) -> Self {
        let exponent = shift.unsigned_abs() & 31;
        Self {
            multiplier,
            half: (1u32 << exponent >> 1) as i32,
            shift,
            exponent,
        }
    }

    /// Both roundings.
    #[inline(always)]
    pub(super) fn scale(self, sum: i32) -> i32 {
        let addend = self.half + ((sum & self.shift) >> 31);
        smmlar(sum << 1, self.multiplier, addend) >> self.exponent
    }
}
