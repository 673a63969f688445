//! The 16-bit residual stream, 16 elements at a time: sums, changes of scale, means, layer normalisation.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i16x16, load_i32x8, store_i8x16, store_i16x16};
use super::requantize::{Channels, sum_lanes};
use crate::kernel::row_scale::RowScale;
use crate::kernel::transformer::BYTE_SHIFT;
use crate::kernel::{AddS16, DstS8, LayerNormS16, MeanS16, RescaleS16, SrcS16, scalar};

/// See [`AddS16`].
#[target_feature(enable = "avx2")]
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
    for_each_16(&mut args.dst, |index, len| {
        outputs.finish(factors.apply(lhs.load(index, len), rhs.load(index, len)))
    });
}

/// See [`RescaleS16`].
#[target_feature(enable = "avx2")]
pub(crate) fn rescale_s16(mut args: RescaleS16<'_>) {
    let src = Source::new(args.src, args.input_zero_point);
    let clamp = [args.clamp_min, args.clamp_max];
    let factors = Factors::new([args.multiplier, 0], args.shift);
    let outputs = Outputs::new(args.output_zero_point, clamp, &args.dst);
    let (Some(src), Some(factors), Some(outputs)) = (src, factors, outputs) else {
        return scalar::rescale_s16(args);
    };
    for_each_16(&mut args.dst, |index, len| {
        outputs.finish(factors.apply(src.load(index, len), _mm256_setzero_si256()))
    });
}

/// Numbers in 16 bits, of whatever width they are stored in.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    src: SrcS16<'a>,
    zero_point: __m256i,
}

impl<'a> Source<'a> {
    /// `None` for a zero point that takes bytes out of 16 bits.
    #[target_feature(enable = "avx2")]
    fn new(src: SrcS16<'a>, zero_point: i32) -> Option<Self> {
        let zero_point = i8::try_from(zero_point).ok()?;
        let zero_point = _mm256_set1_epi16(zero_point.into());
        Some(Self { src, zero_point })
    }

    /// `len` elements from `index` on.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self, index: usize, len: usize) -> __m256i {
        let words = load_words(self.src, index, len);
        match self.src {
            SrcS16::I8(_) => {
                _mm256_slli_epi16::<{ BYTE_SHIFT as i32 }>(_mm256_sub_epi16(words, self.zero_point))
            }
            SrcS16::I16(_) => words,
        }
    }
}

/// `len` elements from `index` on, widened to 16 bits; zeros beyond them.
#[inline]
#[target_feature(enable = "avx2")]
fn load_words(src: SrcS16<'_>, index: usize, len: usize) -> __m256i {
    match src {
        SrcS16::I8(src) => _mm256_cvtepi8_epi16(load_i8x16(&src[index..][..len])),
        SrcS16::I16(src) => load_i16x16(&src[index..][..len]),
    }
}

/// Two multipliers and a rounding shift.
#[derive(Clone, Copy, Debug)]
struct Factors {
    /// Both, side by side.
    multipliers: __m256i,
    half: __m256i,
    shift: __m128i,
}

impl Factors {
    /// `None` for multipliers that are no 16-bit numbers.
    #[target_feature(enable = "avx2")]
    fn new(multipliers: [i32; 2], shift: u32) -> Option<Self> {
        let legal = multipliers
            .iter()
            .all(|multiplier| (-32767..=32767).contains(multiplier));
        let [lhs, rhs] = multipliers;
        legal.then(|| Self {
            multipliers: _mm256_set1_epi32(rhs << 16 | lhs & 0xFFFF),
            half: _mm256_set1_epi32(1 << (shift - 1)),
            shift: _mm_cvtsi32_si128(shift as i32),
        })
    }

    /// 16 weighted sums, limited to 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn apply(&self, lhs: __m256i, rhs: __m256i) -> __m256i {
        let pairs = [
            _mm256_unpacklo_epi16(lhs, rhs),
            _mm256_unpackhi_epi16(lhs, rhs),
        ];
        let [low, high] = pairs.map(|pairs| {
            let sum = _mm256_madd_epi16(pairs, self.multipliers);
            _mm256_sra_epi32(_mm256_add_epi32(sum, self.half), self.shift)
        });
        _mm256_packs_epi32(low, high)
    }
}

/// Zero point and clamp of outputs of 8 or 16 bits.
///
/// What comes in is limited to 16 bits, which changes nothing: only bytes have a zero point, and it moves a limited value
/// by at most 128, so that what was outside 16 bits stays outside 8.
#[derive(Clone, Copy, Debug)]
struct Outputs {
    zero_point: __m256i,
    clamp_min: __m256i,
    clamp_max: __m256i,
}

impl Outputs {
    /// `None` for a zero point that is no signed byte, or one of 16-bit outputs.
    #[target_feature(enable = "avx2")]
    fn new(zero_point: i32, clamp: [i32; 2], dst: &DstS8<'_>) -> Option<Self> {
        let limit = match dst {
            DstS8::I8(_) => 127,
            DstS8::I16(_) if zero_point == 0 => 32767,
            DstS8::I16(_) => return None,
        };
        let zero_point = i8::try_from(zero_point).ok()?;
        let [min, max] = clamp.map(|bound| bound.clamp(-limit - 1, limit) as i16);
        Some(Self {
            zero_point: _mm256_set1_epi16(zero_point.into()),
            clamp_min: _mm256_set1_epi16(min),
            clamp_max: _mm256_set1_epi16(max),
        })
    }

    /// Clamped values with the zero point.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(&self, values: __m256i) -> __m256i {
        let values = _mm256_adds_epi16(values, self.zero_point);
        _mm256_min_epi16(_mm256_max_epi16(values, self.clamp_min), self.clamp_max)
    }
}

/// Writes what `values` gives for each stretch of up to 16 elements, from its first index and its length; limited to 8 bits
/// where outputs have those.
#[inline]
#[target_feature(enable = "avx2")]
fn for_each_16(dst: &mut DstS8<'_>, values: impl Fn(usize, usize) -> __m256i) {
    match dst {
        DstS8::I8(dst) => {
            for (index, dst) in dst.chunks_mut(16).enumerate() {
                store_bytes(dst, values(index * 16, dst.len()));
            }
        }
        DstS8::I16(dst) => {
            for (index, dst) in dst.chunks_mut(16).enumerate() {
                store_i16x16(dst, values(index * 16, dst.len()));
            }
        }
    }
}

/// 16 words, limited to 8 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn store_bytes(dst: &mut [i8], words: __m256i) {
    let (low, high) = (
        _mm256_castsi256_si128(words),
        _mm256_extracti128_si256::<1>(words),
    );
    store_i8x16(dst, _mm_packs_epi16(low, high));
}

/// See [`LayerNormS16`].
#[target_feature(enable = "avx2")]
pub(crate) fn layer_norm_s16(mut args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    let len = match &args.dst {
        DstS8::I8(dst) => dst.len(),
        DstS8::I16(dst) => dst.len(),
    };
    for start in (0..len).step_by(n.max(1)) {
        let (sum, squares) = row_sums(args.src, start, n);
        let row = Row::new(&RowScale::new(n, sum, squares, args.epsilon));
        for index in (0..n).step_by(16) {
            let len = (n - index).min(16);
            let words = row.normalize(&args, start, index, len);
            match &mut args.dst {
                DstS8::I8(dst) => store_bytes(&mut dst[start + index..][..len], words),
                DstS8::I16(dst) => store_i16x16(&mut dst[start + index..][..len], words),
            }
        }
    }
}

/// A [`RowScale`] in vectors.
#[derive(Clone, Copy, Debug)]
struct Row {
    multiplier: __m256i,
    offset: __m256i,
    shift: __m128i,
}

impl Row {
    #[target_feature(enable = "avx2")]
    fn new(scale: &RowScale) -> Self {
        Self {
            multiplier: _mm256_set1_epi32(scale.multiplier),
            offset: _mm256_set1_epi32(scale.offset),
            shift: _mm_cvtsi32_si128(scale.shift as i32),
        }
    }

    /// The outputs of `len` numbers from `index` of the row that begins at `start`, limited to 16 bits.
    ///
    /// Numbers are widened to 32 bits, and a product of pairs is that of the lower halves, because the upper half of the
    /// other side is 0: the multiplier has 15 bits, gamma is widened without its sign.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn normalize(
        &self,
        args: &LayerNormS16<'_>,
        start: usize,
        index: usize,
        len: usize,
    ) -> __m256i {
        let numbers = load_words(args.src, start + index, len);
        let gamma = load_i16x16(&args.gamma[index..][..len]);
        let (beta, beta_high) = args.beta[index..][..len].split_at(len.min(8));
        let betas = [load_i32x8(beta), load_i32x8(beta_high)];
        let shift = _mm_cvtsi32_si128(args.shift as i32);
        let halves = |words: __m256i| {
            [
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            ]
        };
        let (numbers, gammas) = (halves(numbers), halves(gamma));
        let [low, high] = core::array::from_fn(|half| {
            let number = _mm256_cvtepi16_epi32(numbers[half]);
            let product = _mm256_madd_epi16(number, self.multiplier);
            let normal = _mm256_sra_epi32(_mm256_add_epi32(product, self.offset), self.shift);
            let normal = _mm256_min_epi32(normal, _mm256_set1_epi32(i16::MAX.into()));
            let normal = _mm256_max_epi32(normal, _mm256_set1_epi32(i16::MIN.into()));
            let product = _mm256_madd_epi16(normal, _mm256_cvtepu16_epi32(gammas[half]));
            _mm256_sra_epi32(_mm256_add_epi32(product, betas[half]), shift)
        });
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high))
    }
}

/// Sum and sum of squares of the `n` numbers from `start` on.
#[target_feature(enable = "avx2")]
fn row_sums(src: SrcS16<'_>, start: usize, n: usize) -> (i32, u64) {
    let mut sums = _mm256_setzero_si256();
    let mut squares = _mm256_setzero_si256();
    for index in (0..n).step_by(16) {
        let words = load_words(src, start + index, (n - index).min(16));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        // Two squares of −2¹⁵ are 2³¹, a number without a sign.
        let pairs = _mm256_madd_epi16(words, words);
        let even = _mm256_and_si256(pairs, _mm256_set1_epi64x(0xFFFF_FFFF));
        squares = _mm256_add_epi64(squares, even);
        squares = _mm256_add_epi64(squares, _mm256_srli_epi64::<32>(pairs));
    }
    let halves = _mm_add_epi64(
        _mm256_castsi256_si128(squares),
        _mm256_extracti128_si256::<1>(squares),
    );
    let total = _mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves));
    (sum_lanes(sums), _mm_cvtsi128_si64(total) as u64)
}

/// See [`MeanS16`].
#[target_feature(enable = "avx2")]
pub(crate) fn mean_s16(mut args: MeanS16<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let Some(outputs) = Outputs::new(args.output_zero_point, clamp, &args.dst) else {
        return scalar::mean_s16(args);
    };
    let factor = Channels::uniform(args.multiplier, args.shift);
    for_each_16(&mut args.dst, |channel, len| {
        let mut sums = [_mm256_setzero_si256(); 2];
        for row in 0..args.rows {
            let words = load_i16x16(&args.src[row * args.channels + channel..][..len]);
            let halves = [
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            ];
            for (sum, half) in sums.iter_mut().zip(halves) {
                *sum = _mm256_add_epi32(*sum, _mm256_cvtepi16_epi32(half));
            }
        }
        let [low, high] = sums.map(|sum| factor.apply(sum));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
        outputs.finish(words)
    });
}
