//! Scores of one embedding against a class bank: cosines, logits, the best classes, and whether it belongs to none.
//!
//! Logits are `logit_scale * cosine + logit_bias`, as in CLIP (Radford et al. 2021, "Learning transferable visual models
//! from natural language supervision") and SigLIP. What is in no class is rejected by the energy score of Liu et al. 2020,
//! "Energy-based out-of-distribution detection": `E = -T * ln(sum(exp(logit / T)))`, rejected above a threshold.
//!
//! Dot products and squared lengths are exact integers. What follows is IEEE f32 addition, multiplication, division and
//! square root, and `expf` and `logf` of `libm`, in one fixed order; so that a host and a board give the same bits.
//!
//! No score can be NaN or infinite. [`ClassBank::load`] has proved that each class has length 1 within 0.001, so that a
//! cosine is within ±1.01; that `logit_scale` and `|logit_bias|` are at most 1e4 and the temperature is at least 1e-3, so
//! that a logit over the temperature is within ±2.1e7. Exponents have the maximum subtracted, so that their sum is
//! between 1 and the number of classes.

use crate::bank::ClassBank;
use crate::kernel::{DotRowsS8, Kernels};

/// Classes whose dot products are computed before they are ranked.
const BLOCK: usize = 32;

/// A term of e^x for x below this is less than 2⁻²⁴ and leaves a sum of 1 or more as it is, whatever the rounding.
const NEGLIGIBLE_EXPONENT: f32 = -17.0;

/// Why an embedding cannot be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScoreError {
    /// The embedding does not have the dimension of the bank.
    Dimension {
        /// Dimension of the bank.
        expected: usize,
        /// Elements given.
        found: usize,
    },
}

impl core::fmt::Display for ScoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Dimension { expected, found } => {
                write!(
                    f,
                    "embedding has {found} elements, the class bank expects {expected}"
                )
            }
        }
    }
}

impl core::error::Error for ScoreError {}

/// One class in the ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ranked {
    /// Index of the class in the bank.
    pub class_index: u32,
    /// Cosine of picture and class.
    pub cosine: f32,
    /// Softmax of the logits over all classes of the bank.
    pub probability: f32,
}

/// What the bank says about one embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The class with the largest cosine; of equal ones the first in the bank.
    pub best: Ranked,
    /// Entries of `top` that were written: its length or the number of classes, whichever is less.
    pub ranked: usize,
    /// Energy of the logits; the lower, the surer that the picture is in one of the classes.
    pub energy: f32,
    /// True when the energy is above the bank's threshold, and for an embedding of zeros, which has no direction.
    pub rejected: bool,
}

/// Scores a symmetrically quantised embedding; its scale does not matter, since a cosine has none.
///
/// Fills `top` with the best classes in falling order of cosine, equal ones by index. Takes `class_count * dim` products and
/// at most `class_count * top.len()` moves.
///
/// # Errors
/// [`ScoreError::Dimension`] when the embedding does not have [`ClassBank::dim`] elements.
pub fn score(
    kernels: &dyn Kernels,
    bank: &ClassBank<'_>,
    embedding: &[i8],
    top: &mut [Ranked],
) -> Result<Verdict, ScoreError> {
    score_with_zero_point(kernels, bank, embedding, 0, top)
}

/// As [`score`], for an embedding that stands for `scale * (element - zero_point)`.
///
/// # Errors
/// [`ScoreError::Dimension`] when the embedding does not have [`ClassBank::dim`] elements.
pub fn score_with_zero_point(
    kernels: &dyn Kernels,
    bank: &ClassBank<'_>,
    embedding: &[i8], // (dim)
    zero_point: i8,
    top: &mut [Ranked],
) -> Result<Verdict, ScoreError> {
    if embedding.len() != bank.dim() {
        return Err(ScoreError::Dimension {
            expected: bank.dim(),
            found: embedding.len(),
        });
    }
    let length = length(embedding, zero_point);
    let temperature = bank.temperature();
    let to_logit = |cosine: f32| bank.logit_scale() * cosine + bank.logit_bias();
    let mut best = Ranked::default();
    let mut ranked = 0;
    let mut logits = LogSumExp::EMPTY;
    let mut tempered_logits = LogSumExp::EMPTY;
    let mut dots = [0; BLOCK];
    for first in (0..bank.class_count()).step_by(BLOCK) {
        let count = (bank.class_count() - first).min(BLOCK);
        let dots = dots.get_mut(..count).unwrap_or_default();
        dot_classes(kernels, bank, embedding, zero_point, first, dots);
        for (class, dot) in (first..).zip(dots) {
            let cosine = if length > 0.0 {
                *dot as f32 * bank.scale(class) / length
            } else {
                0.0
            };
            let entry = Ranked {
                class_index: class as u32,
                cosine,
                probability: 0.0,
            };
            if class == 0 || cosine > best.cosine {
                best = entry;
            }
            ranked = insert(top, ranked, entry);
            logits.add(to_logit(cosine));
            tempered_logits.add(to_logit(cosine) / temperature);
        }
    }
    for entry in top.iter_mut().take(ranked).chain([&mut best]) {
        entry.probability = logits.softmax(to_logit(entry.cosine));
    }
    let energy = -temperature * tempered_logits.value();
    Ok(Verdict {
        best,
        ranked,
        energy,
        rejected: energy > bank.reject_threshold() || length == 0.0,
    })
}

/// Puts `entry` behind the entries of `top[..ranked]` that are as good or better; returns how many entries there are then.
fn insert(top: &mut [Ranked], ranked: usize, entry: Ranked) -> usize {
    let is_full = ranked == top.len();
    if is_full && top.last().is_none_or(|last| entry.cosine <= last.cosine) {
        return ranked;
    }
    let ranked_now = top.len().min(ranked + 1);
    let mut carried = entry;
    for place in top.iter_mut().take(ranked) {
        // What is pushed out of its place has no more than the cosine behind which it belongs.
        if carried.cosine > place.cosine
            || (carried.cosine == place.cosine && carried.class_index < place.class_index)
        {
            core::mem::swap(place, &mut carried);
        }
    }
    if ranked_now > ranked
        && let Some(place) = top.get_mut(ranked)
    {
        *place = carried;
    }
    ranked_now
}

/// Σ (embedding − zero point) · class of the classes from `first` on, as many as `dots` has places.
///
/// Exact: 65,535 products of two bytes, and as many of a byte and the zero point, stay below 2³⁰ each.
fn dot_classes(
    kernels: &dyn Kernels,
    bank: &ClassBank<'_>,
    embedding: &[i8], // (dim)
    zero_point: i8,
    first: usize,
    dots: &mut [i32],
) {
    let (embeddings, stride) = bank.embeddings();
    let rows = embeddings.get(first * stride..).unwrap_or_default();
    kernels.dot_rows_s8(DotRowsS8 {
        lhs: embedding,
        rows,
        stride,
        dst: dots,
    });
    if zero_point != 0 {
        for (dot, row) in dots.iter_mut().zip(rows.chunks(stride)) {
            let sum: i32 = row.iter().take(bank.dim()).map(|&x| i32::from(x)).sum();
            *dot -= i32::from(zero_point) * sum;
        }
    }
}

/// Length of the integers; the sum is exact, as 65,535 squares of 255 stay below 2^32.
fn length(embedding: &[i8], zero_point: i8) -> f32 {
    let squares = embedding
        .iter()
        .map(|q| u32::from(q.abs_diff(zero_point)).pow(2));
    libm::sqrtf(squares.fold(0, u32::wrapping_add) as f32)
}

/// `ln(sum(exp(x)))` in one pass without storing the terms: `max + ln(sum)`, where `sum` is of `exp(x - max)`.
#[derive(Clone, Copy, Debug)]
struct LogSumExp {
    max: f32,
    /// 0 while empty, then between 1 and the number of terms.
    sum: f32,
}

impl LogSumExp {
    const EMPTY: Self = Self {
        max: f32::MIN,
        sum: 0.0,
    };

    fn add(&mut self, x: f32) {
        if x > self.max {
            self.sum = self.sum * libm::expf(self.max - x) + 1.0;
            self.max = x;
        } else if x - self.max > NEGLIGIBLE_EXPONENT {
            self.sum += libm::expf(x - self.max);
        }
    }

    fn value(&self) -> f32 {
        self.max + libm::logf(self.sum)
    }

    fn softmax(&self, x: f32) -> f32 {
        libm::expf(x - self.max) / self.sum
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::bank::{BankSpec, ClassSpec};
    use crate::kernel::{Scalar, available};
    use proptest::prelude::*;
    use std::format;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    struct Parameters {
        logit_scale: f32,
        logit_bias: f32,
        temperature: f32,
        reject_threshold: f32,
    }

    const PLAIN: Parameters = Parameters {
        logit_scale: 100.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
    };

    fn bank(embeddings: &[Vec<f32>], parameters: Parameters) -> Vec<u8> {
        let names: Vec<String> = (0..embeddings.len())
            .map(|index| format!("{index}"))
            .collect();
        let classes: Vec<ClassSpec<'_>> = names
            .iter()
            .zip(embeddings)
            .map(|(name, embedding)| ClassSpec { name, embedding })
            .collect();
        let spec = BankSpec {
            embedding_space_id: [7; 16],
            dim: embeddings[0].len() as u16,
            classes: &classes,
            logit_scale: parameters.logit_scale,
            logit_bias: parameters.logit_bias,
            temperature: parameters.temperature,
            reject_threshold: parameters.reject_threshold,
            templates: "{}",
            page_bytes: 0,
            spare_slots: 0,
        };
        let mut bytes = vec![0; spec.bytes_len().unwrap()];
        spec.write_into(&mut bytes).unwrap();
        bytes
    }

    fn four_directions() -> Vec<Vec<f32>> {
        vec![
            vec![1.0, 0.0],
            vec![0.0, 1.0],
            vec![1.0, 1.0],
            vec![-1.0, 0.0],
        ]
    }

    #[test]
    fn cosines_probabilities_and_energy_equal_the_formulas() {
        let parameters = Parameters {
            logit_scale: 3.0,
            logit_bias: 0.25,
            temperature: 2.0,
            reject_threshold: 0.0,
        };
        let bytes = bank(&four_directions(), parameters);
        let bank = ClassBank::load(&bytes).unwrap();
        let mut top = [Ranked::default(); 3];
        let verdict = score(&Scalar, &bank, &[60, 80], &mut top).unwrap();

        let cosines = [0.6f64, 0.8, 1.4 / 2f64.sqrt(), -0.6];
        let logits = cosines.map(|cosine| 3.0 * cosine + 0.25);
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let energy = -2.0
            * logits
                .iter()
                .map(|logit| (logit / 2.0).exp())
                .sum::<f64>()
                .ln();
        assert_eq!(top.map(|entry| entry.class_index), [2, 1, 0]);
        for entry in top {
            let class = entry.class_index as usize;
            assert!((f64::from(entry.cosine) - cosines[class]).abs() < 1e-6);
            assert!((f64::from(entry.probability) - logits[class].exp() / sum).abs() < 1e-6);
        }
        assert_eq!((verdict.best, verdict.ranked), (top[0], 3));
        assert!((f64::from(verdict.energy) - energy).abs() < 1e-5);
        assert!(!verdict.rejected);
    }

    #[test]
    fn energy_above_the_threshold_is_rejected() {
        // The energy of the class itself is close to -10, that of the opposite direction close to 10.
        let parameters = Parameters {
            logit_scale: 10.0,
            reject_threshold: 0.0,
            ..PLAIN
        };
        let bytes = bank(&[vec![1.0, 0.0]], parameters);
        let bank = ClassBank::load(&bytes).unwrap();
        let verdict = |embedding: [i8; 2]| score(&Scalar, &bank, &embedding, &mut []).unwrap();
        assert_eq!(
            (verdict([5, 0]).energy, verdict([5, 0]).rejected),
            (-10.0, false)
        );
        assert_eq!(
            (verdict([-5, 0]).energy, verdict([-5, 0]).rejected),
            (10.0, true)
        );
        assert_eq!(verdict([5, 0]).best.probability, 1.0);
    }

    #[test]
    fn an_embedding_of_zeros_is_rejected_and_ranks_by_index() {
        let bytes = bank(&four_directions(), PLAIN);
        let bank = ClassBank::load(&bytes).unwrap();
        let mut top = [Ranked::default(); 6];
        for zero_point in [0, -128, 127] {
            let verdict =
                score_with_zero_point(&Scalar, &bank, &[zero_point; 2], zero_point, &mut top)
                    .unwrap();
            assert!(verdict.rejected);
            assert_eq!((verdict.ranked, verdict.best.class_index), (4, 0));
            for (index, entry) in top[..4].iter().enumerate() {
                assert_eq!(
                    (entry.class_index as usize, entry.cosine, entry.probability),
                    (index, 0.0, 0.25)
                );
            }
        }
    }

    #[test]
    fn a_zero_point_shifts_every_element() {
        let bytes = bank(&four_directions(), PLAIN);
        let bank = ClassBank::load(&bytes).unwrap();
        let (mut shifted, mut plain) = ([Ranked::default(); 4], [Ranked::default(); 4]);
        let a = score_with_zero_point(&Scalar, &bank, &[-50, 70], -60, &mut shifted).unwrap();
        let b = score(&Scalar, &bank, &[1, 13], &mut plain).unwrap();
        assert_eq!((a.best.class_index, b.best.class_index), (1, 1));
        let c = score_with_zero_point(&Scalar, &bank, &[-59, -47], -60, &mut shifted).unwrap();
        assert_eq!((c, shifted), (b, plain));
    }

    #[test]
    fn a_wrong_dimension_is_refused() {
        let bytes = bank(&four_directions(), PLAIN);
        let bank = ClassBank::load(&bytes).unwrap();
        let error = ScoreError::Dimension {
            expected: 2,
            found: 3,
        };
        assert_eq!(score(&Scalar, &bank, &[1, 2, 3], &mut []), Err(error));
    }

    #[test]
    fn integers_are_exact_at_the_largest_dimension_and_values() {
        const DIM: usize = 65_535;
        // The writer makes ±127 of the largest magnitude.
        let bytes = bank(&[vec![-1.0; DIM], vec![1.0; DIM]], PLAIN);
        let bank = ClassBank::load(&bytes).unwrap();
        for set in available() {
            for (element, zero_point, expected) in [(-128, 127, 255i64), (127, -128, -255)] {
                let mut dots = [0; 2];
                dot_classes(set, &bank, &[element; DIM], zero_point, 0, &mut dots);
                let expected = expected * 127 * DIM as i64;
                assert_eq!(dots.map(i64::from), [expected, -expected], "{}", set.name());
            }
        }
        assert_eq!(
            length(&[-128; DIM], 127),
            ((255u32 * 255 * 65_535) as f32).sqrt()
        );
    }

    #[test]
    fn a_sum_without_negligible_terms_has_the_same_bits() {
        let whole = |terms: &[f32]| {
            let mut sum = LogSumExp::EMPTY;
            for &x in terms {
                if x > sum.max {
                    sum.sum = sum.sum * libm::expf(sum.max - x) + 1.0;
                    sum.max = x;
                } else {
                    sum.sum += libm::expf(x - sum.max);
                }
            }
            (sum.max, sum.sum)
        };
        let mut state = 1u32;
        for spread in [1.0f32, 20.0, 40.0, 1e6] {
            let terms: Vec<f32> = (0..2000)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1u32 << 24) as f32 * spread
                })
                .chain([
                    spread - 17.0,
                    (spread - 17.0).next_up(),
                    (spread - 17.0).next_down(),
                ])
                .collect();
            let mut sum = LogSumExp::EMPTY;
            terms.iter().for_each(|&x| sum.add(x));
            assert_eq!((sum.max, sum.sum), whole(&terms), "{spread}");
        }
        // The bound itself: half of the distance from 1 to the next float.
        assert!(libm::expf(NEGLIGIBLE_EXPONENT) < f32::EPSILON / 2.0);
    }

    #[test]
    fn every_set_gives_the_same_scores() {
        for (classes, dim) in [(1, 1), (3, 5), (33, 67), (70, 256), (131, 63)] {
            let element = |class: usize, k: usize| ((class * 131 + k * 37) % 255) as f32 - 127.0;
            let embeddings: Vec<Vec<f32>> = (0..classes)
                .map(|class| (0..dim).map(|k| element(class, k) + 0.5).collect())
                .collect();
            let bytes = bank(&embeddings, PLAIN);
            let bank = ClassBank::load(&bytes).unwrap();
            let embedding: Vec<i8> = (0..dim).map(|k| (k * 91 % 256) as u8 as i8).collect();
            for zero_point in [0, -128, 5] {
                let run = |set: &dyn Kernels| {
                    let mut top = [Ranked::default(); 5];
                    let verdict =
                        score_with_zero_point(set, &bank, &embedding, zero_point, &mut top);
                    (verdict.unwrap(), top)
                };
                for set in available() {
                    assert_eq!(run(set), run(&Scalar), "{} {classes} {dim}", set.name());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn scores_are_finite_and_the_ranking_is_a_stable_sort(
            embeddings in prop::collection::vec(prop::collection::vec(-3i8..=3, 3), 1..12),
            embedding in prop::collection::vec(any::<i8>(), 3),
            zero_point: i8,
            slots in 0usize..14,
            logit_scale in prop::sample::select(vec![f32::MIN_POSITIVE, 1.0, 100.0, 1e4]),
            logit_bias in prop::sample::select(vec![-1e4, 0.0, 1e4]),
            temperature in prop::sample::select(vec![1e-3f32, 1.0, 1e4]),
        ) {
            let embeddings: Vec<Vec<f32>> = embeddings
                .iter()
                .map(|row| row.iter().map(|x| f32::from(*x) + 0.5).collect())
                .collect();
            let bytes = bank(&embeddings, Parameters { logit_scale, logit_bias, temperature, ..PLAIN });
            let bank = ClassBank::load(&bytes).unwrap();
            let mut all = vec![Ranked::default(); embeddings.len()];
            let verdict = score_with_zero_point(&Scalar, &bank, &embedding, zero_point, &mut all).unwrap();
            prop_assert!(verdict.energy.is_finite());
            for entry in &all {
                prop_assert!(entry.cosine.abs() < 1.01 && (0.0..=1.0).contains(&entry.probability));
            }
            let mut sorted = all.clone();
            sorted.sort_by_key(|entry| entry.class_index);
            prop_assert!(sorted.iter().zip(0..).all(|(entry, index)| entry.class_index == index));
            sorted.sort_by(|a, b| b.cosine.partial_cmp(&a.cosine).unwrap());
            prop_assert_eq!(&sorted, &all);
            prop_assert!((all.iter().map(|entry| entry.probability).sum::<f32>() - 1.0).abs() < 1e-4);

            let mut top = vec![Ranked::default(); slots];
            let fewer = score_with_zero_point(&Scalar, &bank, &embedding, zero_point, &mut top).unwrap();
            prop_assert_eq!(fewer.ranked, slots.min(embeddings.len()));
            prop_assert_eq!(&top[..fewer.ranked], &all[..fewer.ranked]);
            prop_assert_eq!(fewer.best, all[0]);
        }
    }
}
