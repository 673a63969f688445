//! Resampling of the rows and columns of pictures.

use alloc::vec::Vec;

use pinhole_runtime::kernel::resample::{
    MAX_WEIGHT, ROUNDING, ResampleColumnsU8, ResampleRowU8, WEIGHT_BITS,
};
use pinhole_runtime::kernel::{Kernels, Scalar};

use crate::support::{Guarded, Random, assert_same, fast_sets, size};

/// The sample of a weighted sum, computed in 64 bits and wrapped to 32.
fn plain(products: impl Iterator<Item = (i32, u8)>) -> u8 {
    let products = products.map(|(weight, sample)| i64::from(weight) * i64::from(sample));
    let sum = (i64::from(ROUNDING) + products.sum::<i64>()) as i32;
    sum.div_euclid(1 << WEIGHT_BITS).clamp(0, 255) as u8
}

/// Weights as a filter has them, or any, the largest among them.
fn weights(random: &mut Random, len: usize) -> Vec<i32> {
    let any = random.below(3) == 0;
    (0..len)
        .map(|_| match (any, random.below(4)) {
            (true, 0) => [MAX_WEIGHT, -MAX_WEIGHT, 0, 1][random.below(4)],
            (true, _) => random.within(-MAX_WEIGHT..=MAX_WEIGHT),
            (false, _) => random.within(-400_000..=1_400_000),
        })
        .collect()
}

fn samples(random: &mut Random, len: usize) -> Vec<u8> {
    let constant = [None, None, Some(255), Some(0)][random.below(4)];
    (0..len)
        .map(|_| constant.unwrap_or(random.next() as u8))
        .collect()
}

#[cfg_attr(test, test)]
pub(crate) fn resampled_rows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(31);
        for case in 0..400 {
            let columns = size(&mut random);
            let taps = 1 + random.below(if case % 8 == 0 { 90 } else { 14 });
            let pixels = taps + random.below(120);
            let first = [0, 1, 70_000][random.below(3)] as u32;
            let src = samples(&mut random, pixels * 3);
            let mut weights = weights(&mut random, columns * taps);
            let spans: Vec<[u32; 2]> = weights
                .chunks_mut(taps)
                .map(|weights| {
                    let len = random.below(taps + 1).max(random.below(taps + 1));
                    weights[len..].fill(0);
                    // Often at the end of the row.
                    let start = random.below(2 * (pixels - len) + 1).min(pixels - len);
                    [first + start as u32, len as u32]
                })
                .collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(columns * 3, 85u8);
                set.resample_row_u8(ResampleRowU8 {
                    src: &src,
                    first,
                    spans: &spans,
                    taps,
                    weights: &weights,
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let expected: Vec<u8> = (0..columns * 3)
                .map(|sample| {
                    let (column, channel) = (sample / 3, sample % 3);
                    let [start, len] = spans[column].map(|x| x as usize);
                    let pixels = src[(start - first as usize) * 3..].chunks_exact(3);
                    let samples = pixels.take(len).map(|pixel| pixel[channel]);
                    plain(weights[column * taps..].iter().copied().zip(samples))
                })
                .collect();
            let what = format!("case {case}, {columns} columns of {taps} taps");
            assert_same(&run(&Scalar), &expected, &Scalar, &what);
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn resampled_columns_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(32);
        for case in 0..300 {
            let len = match case % 6 {
                0 => 100 + random.below(200),
                _ => size(&mut random),
            };
            let slots = 1 + random.below(if case % 8 == 0 { 80 } else { 14 });
            let first = random.below(slots);
            let ring = samples(&mut random, slots * len);
            let count = random.below(slots + 1).max(random.below(slots + 1));
            let weights = weights(&mut random, count);
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85u8);
                set.resample_columns_u8(ResampleColumnsU8 {
                    ring: &ring,
                    first,
                    weights: &weights,
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let expected: Vec<u8> = (0..len)
                .map(|place| {
                    let sample = |row: usize| ring[(first + row) % slots * len + place];
                    plain((0..count).map(|row| (weights[row], sample(row))))
                })
                .collect();
            let what = format!("case {case}, {len} samples, {count} of {slots} rows");
            assert_same(&run(&Scalar), &expected, &Scalar, &what);
            assert_same(&run(set), &expected, set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn weighted_sums_of_rows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(33);
        for case in 0..300 {
            let len = match case % 6 {
                0 => 100 + random.below(200),
                _ => size(&mut random),
            };
            let src = samples(&mut random, len);
            let start: Vec<i32> = match case % 2 {
                0 => (0..len).map(|_| random.next() as i32).collect(),
                _ => vec![ROUNDING; len],
            };
            let weight = weights(&mut random, 1)[0];
            let run = |set: &dyn Kernels| {
                let (mut sums, mut dst) = (Guarded::new(len, 85i32), Guarded::new(len, 85u8));
                sums.slice().copy_from_slice(&start);
                set.add_weighted_u8(weight, &src, sums.slice());
                set.clip_sums_u8(sums.contents(), dst.slice());
                (sums.contents().to_vec(), dst.contents().to_vec())
            };
            let sum = |(&start, &sample): (&i32, &u8)| {
                (i64::from(start) + i64::from(weight) * i64::from(sample)) as i32
            };
            let sums: Vec<i32> = start.iter().zip(&src).map(sum).collect();
            let clip = |&sum: &i32| (sum >> WEIGHT_BITS).clamp(0, 255) as u8;
            let clipped: Vec<u8> = sums.iter().map(clip).collect();
            let what = format!("case {case}, {len} samples times {weight}");
            for set in [&Scalar, set] {
                let found = run(set);
                assert_same(&found.0, &sums, set, &what);
                assert_same(&found.1, &clipped, set, &what);
            }
        }
    }
}
