//! The 16-bit residual stream, 32 elements at a time: sums, changes of scale, means, layer normalisation.

use core::arch::x86_64::*;

use super::memory::{
    load_i8x16, load_i8x32, load_i16, load_i16x16, load_i32, store_i8x16, store_i8x32, store_i16,
    store_i16x16,
};
use super::requantize::Channels;
use crate::kernel::row_scale::RowScale;
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, LayerNormS16, MeanS16, RescaleS16, SrcS16, scalar};

/// See [`AddS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn add_s16(mut args: AddS16<'_>) {
    let sources = [
        Source::new(args.lhs, args.input_zero_point[0]),
        Source::new(args.rhs, args.input_zero_point[1]),
    ];
    let clamp = [args.clamp_min, args.clamp_max];
    let factors = Factors::new(args.multiplier, args.shift);
    let outputs = Outputs::new(args.output_zero_point, clamp, &args.dst);
    let ([Some(lhs), Some(rhs)], Some(factors), Some(outputs)) = (sources, factors, outputs) else {
        return scalar::add_s16(args);
    };
    for_each_32(&mut args.dst, &outputs, |index, len| {
        factors.apply(lhs.load(index, len), rhs.load(index, len))
    });
}

/// See [`RescaleS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn rescale_s16(mut args: RescaleS16<'_>) {
    let src = Source::new(args.src, args.input_zero_point);
    let clamp = [args.clamp_min, args.clamp_max];
    let factors = Factors::new([args.multiplier, 0], args.shift);
    let outputs = Outputs::new(args.output_zero_point, clamp, &args.dst);
    let (Some(src), Some(factors), Some(outputs)) = (src, factors, outputs) else {
        return scalar::rescale_s16(args);
    };
    for_each_32(&mut args.dst, &outputs, |index, len| {
        factors.apply(src.load(index, len), _mm512_setzero_si512())
    });
}

/// Numbers in 16 bits, of whatever width they are stored in.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    src: SrcS16<'a>,
    zero_point: __m512i,
}

impl<'a> Source<'a> {
    /// `None` for a zero point that takes bytes out of 16 bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(src: SrcS16<'a>, zero_point: i32) -> Option<Self> {
        let zero_point = i8::try_from(zero_point).ok()?;
        let zero_point = _mm512_set1_epi16(zero_point.into());
        Some(Self { src, zero_point })
    }

    /// `len` elements from `index` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn load(&self, index: usize, len: usize) -> __m512i {
        match self.src {
            SrcS16::I8(src) => {
                let words = _mm512_cvtepi8_epi16(load_i8x32(&src[index..][..len]));
                _mm512_slli_epi16::<BYTE_SHIFT>(_mm512_sub_epi16(words, self.zero_point))
            }
            SrcS16::I16(src) => load_i16(&src[index..][..len]),
        }
    }
}

/// Two multipliers and a rounding shift.
#[derive(Clone, Copy, Debug)]
struct Factors {
    /// Both, side by side.
    multipliers: __m512i,
    half: __m512i,
    shift: __m128i,
}

impl Factors {
    /// `None` for multipliers that are no 16-bit numbers.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(multipliers: [i32; 2], shift: u32) -> Option<Self> {
        let legal = multipliers
            .iter()
            .all(|multiplier| (-32767..=32767).contains(multiplier));
        let [lhs, rhs] = multipliers;
        legal.then(|| Self {
            multipliers: _mm512_set1_epi32(rhs << 16 | lhs & 0xFFFF),
            half: _mm512_set1_epi32(1 << (shift - 1)),
            shift: _mm_cvtsi32_si128(shift as i32),
        })
    }

    /// 32 weighted sums, limited to 16 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn apply(&self, lhs: __m512i, rhs: __m512i) -> __m512i {
        let pairs = [
            _mm512_unpacklo_epi16(lhs, rhs),
            _mm512_unpackhi_epi16(lhs, rhs),
        ];
        let [low, high] = pairs.map(|pairs| {
            let sum = _mm512_madd_epi16(pairs, self.multipliers);
            _mm512_sra_epi32(_mm512_add_epi32(sum, self.half), self.shift)
        });
        _mm512_packs_epi32(low, high)
    }
}

/// Zero point and clamp of outputs of 8 or 16 bits.
///
/// What comes in is limited to 16 bits, which changes nothing: only bytes have a zero point, and it moves a limited value
/// by at most 128, so that what was outside 16 bits stays outside 8.
#[derive(Clone, Copy, Debug)]
struct Outputs {
    zero_point: __m512i,
    clamp_min: __m512i,
    clamp_max: __m512i,
}

impl Outputs {
    /// `None` for a zero point that is no signed byte, or one of 16-bit outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(zero_point: i32, clamp: [i32; 2], dst: &DstS8<'_>) -> Option<Self> {
        let limit = match dst {
            DstS8::I8(_) => 127,
            DstS8::I16(_) if zero_point == 0 => 32767,
            DstS8::I16(_) => return None,
        };
        let zero_point = i8::try_from(zero_point).ok()?;
        let [min, max] = clamp.map(|bound| bound.clamp(-limit - 1, limit) as i16);
        Some(Self {
            zero_point: _mm512_set1_epi16(zero_point.into()),
            clamp_min: _mm512_set1_epi16(min),
            clamp_max: _mm512_set1_epi16(max),
        })
    }

    /// Clamped values with the zero point.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn finish(&self, values: __m512i) -> __m512i {
        let values = _mm512_adds_epi16(values, self.zero_point);
        _mm512_min_epi16(_mm512_max_epi16(values, self.clamp_min), self.clamp_max)
    }
}

/// Writes what `values` gives for each stretch of up to 32 elements, from its first index and its length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn for_each_32(dst: &mut DstS8<'_>, outputs: &Outputs, values: impl Fn(usize, usize) -> __m512i) {
    match dst {
        DstS8::I8(dst) => {
            for (index, dst) in dst.chunks_mut(32).enumerate() {
                let values = outputs.finish(values(index * 32, dst.len()));
                store_i8x32(dst, _mm512_cvtepi16_epi8(values));
            }
        }
        DstS8::I16(dst) => {
            for (index, dst) in dst.chunks_mut(32).enumerate() {
                let values = outputs.finish(values(index * 32, dst.len()));
                store_i16(dst, values);
            }
        }
    }
}

/// See [`LayerNormS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn layer_norm_s16(mut args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    let len = match &args.dst {
        DstS8::I8(dst) => dst.len(),
        DstS8::I16(dst) => dst.len(),
    };
    let shift = _mm_cvtsi32_si128(args.shift as i32);
    for start in (0..len).step_by(n.max(1)) {
        let (sum, squares) = row_sums(args.src, start, n);
        let scale = RowScale::new(n, sum, squares, args.epsilon);
        let row = Row::new(&scale);
        for index in (0..n).step_by(16) {
            let len = (n - index).min(16);
            let numbers = match args.src {
                SrcS16::I8(src) => _mm512_cvtepi8_epi32(load_i8x16(&src[start + index..][..len])),
                SrcS16::I16(src) => {
                    _mm512_cvtepi16_epi32(load_i16x16(&src[start + index..][..len]))
                }
            };
            // The upper half of gamma is 0, so that the product of pairs is that of the lower halves.
            let gamma = _mm512_cvtepu16_epi32(load_i16x16(&args.gamma[index..][..len]));
            let product = _mm512_madd_epi16(row.normalize(numbers), gamma);
            let sum = _mm512_add_epi32(product, load_i32(&args.beta[index..][..len]));
            let values = _mm512_sra_epi32(sum, shift);
            match &mut args.dst {
                DstS8::I8(dst) => {
                    store_i8x16(
                        &mut dst[start + index..][..len],
                        _mm512_cvtsepi32_epi8(values),
                    );
                }
                DstS8::I16(dst) => {
                    store_i16x16(
                        &mut dst[start + index..][..len],
                        _mm512_cvtsepi32_epi16(values),
                    );
                }
            }
        }
    }
}

/// A [`RowScale`] in vectors.
#[derive(Clone, Copy, Debug)]
struct Row {
    multiplier: __m512i,
    offset: __m512i,
    shift: __m128i,
}

impl Row {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(scale: &RowScale) -> Self {
        Self {
            multiplier: _mm512_set1_epi32(scale.multiplier),
            offset: _mm512_set1_epi32(scale.offset),
            shift: _mm_cvtsi32_si128(scale.shift as i32),
        }
    }

    /// [`RowScale::apply`] to 16 numbers of 16 bits; the multiplier has 15 bits, so that its upper half is 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn normalize(&self, numbers: __m512i) -> __m512i {
        let product = _mm512_madd_epi16(numbers, self.multiplier);
        let shifted = _mm512_sra_epi32(_mm512_add_epi32(product, self.offset), self.shift);
        let limited = _mm512_min_epi32(shifted, _mm512_set1_epi32(i16::MAX.into()));
        _mm512_max_epi32(limited, _mm512_set1_epi32(i16::MIN.into()))
    }
}

/// Sum and sum of squares of the `n` numbers from `start` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn row_sums(src: SrcS16<'_>, start: usize, n: usize) -> (i32, u64) {
    let mut sums = _mm512_setzero_si512();
    let mut squares = [_mm512_setzero_si512(); 2];
    for index in (0..n).step_by(32) {
        let len = (n - index).min(32);
        let words = match src {
            SrcS16::I8(src) => _mm512_cvtepi8_epi16(load_i8x32(&src[start + index..][..len])),
            SrcS16::I16(src) => load_i16(&src[start + index..][..len]),
        };
        sums = _mm512_add_epi32(sums, _mm512_madd_epi16(words, _mm512_set1_epi16(1)));
        // Two squares of −2¹⁵ are 2³¹, a number without a sign.
        let pairs = _mm512_madd_epi16(words, words);
        let even = _mm512_and_si512(pairs, _mm512_set1_epi64(0xFFFF_FFFF));
        squares[0] = _mm512_add_epi64(squares[0], even);
        squares[1] = _mm512_add_epi64(squares[1], _mm512_srli_epi64::<32>(pairs));
    }
    let squares = _mm512_reduce_add_epi64(_mm512_add_epi64(squares[0], squares[1]));
    (_mm512_reduce_add_epi32(sums), squares as u64)
}

/// See [`MeanS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn mean_s16(mut args: MeanS16<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let Some(outputs) = Outputs::new(args.output_zero_point, clamp, &args.dst) else {
        return scalar::mean_s16(args);
    };
    let factor = Channels::uniform(args.multiplier, args.shift);
    for_each_32(&mut args.dst, &outputs, |channel, len| {
        let mut sums = [_mm512_setzero_si512(); 2];
        for row in 0..args.rows {
            let words = load_i16(&args.src[row * args.channels + channel..][..len]);
            let halves = [
                _mm512_castsi512_si256(words),
                _mm512_extracti64x4_epi64::<1>(words),
            ];
            for (sum, half) in sums.iter_mut().zip(halves) {
                *sum = _mm512_add_epi32(*sum, _mm512_cvtepi16_epi32(half));
            }
        }
        let [low, high] = sums.map(|sum| _mm512_cvtsepi32_epi16(factor.any(sum)));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    });
}
