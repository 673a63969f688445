//! Matrix products and their requantisation.

use alloc::vec::Vec;

use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::kernel::requantize::multiply_by_quantized_multiplier;
use pinhole_runtime::kernel::{
    DotRowsS8, DstS8, GemmS8, Kernels, Requantize, Scalar, tile_scratch_bytes,
};

use crate::support::{
    Channels, FILLS, Fill, Guarded, Random, SCALES, Scales, assert_same, fast_sets, layouts, pack,
    plain_requantize, size,
};

struct Gemm {
    rows: usize,
    k: usize,
    n: usize,
    lhs: Vec<i8>,
    unpacked: Vec<i8>,
    channels: Channels,
}

impl Gemm {
    fn new(random: &mut Random, dims: [usize; 3], fill: Fill, scales: Scales) -> Self {
        let [rows, k, n] = dims;
        let channels = Channels::new(random, n, k, scales);
        let lhs = random.bytes(rows * k, fill);
        let unpacked = random.bytes(n * k, fill);
        Self {
            rows,
            k,
            n,
            lhs,
            unpacked,
            channels,
        }
    }
    fn run(&self, set: &dyn Kernels, layout: WeightLayout) -> Vec<i8> {
        let mut dst = Guarded::new(self.rows * self.n, 85);
        let mut scratch = Guarded::new(tile_scratch_bytes(self.k, 1).unwrap(), 170);
        let weights = pack(layout, self.n, self.k, &self.unpacked);
        let dst_s8 = DstS8::I8(dst.slice());
        set.gemm_s8(self.args(layout, &weights, dst_s8, scratch.slice()));
        scratch.contents();
        dst.contents().to_vec()
    }
    fn run_i16(&self, set: &dyn Kernels, layout: WeightLayout) -> Vec<i16> {
        let mut dst = Guarded::new(self.rows * self.n, 0x5555);
        let mut scratch = Guarded::new(tile_scratch_bytes(self.k, 1).unwrap(), 170);
        let weights = pack(layout, self.n, self.k, &self.unpacked);
        let dst_s16 = DstS8::I16(dst.slice());
        let mut args = self.args(layout, &weights, dst_s16, scratch.slice());
        args.requantize.zero_point = 0;
        args.requantize.clamp_min = -32768;
        args.requantize.clamp_max = 32767;
        set.gemm_s8(args);
        scratch.contents();
        dst.contents().to_vec()
    }
    fn args<'a>(
        &'a self,
        layout: WeightLayout,
        weights: &'a [i8],
        dst: DstS8<'a>,
        scratch: &'a mut [u8],
    ) -> GemmS8<'a> {
        GemmS8 {
            rows: self.rows,
            k: self.k,
            n: self.n,
            lhs: &self.lhs,
            weights,
            layout,
            requantize: self.channels.requantize(),
            dst,
            scratch,
        }
    }
    fn check(&self, set: &dyn Kernels, what: &str) {
        let generic = WeightLayout::Generic;
        let (expected, expected_i16) = (self.run(&Scalar, generic), self.run_i16(&Scalar, generic));
        for layout in layouts(set) {
            let what = format!("{what} {}", layout.name());
            assert_same(&self.run(set, layout), &expected, set, &what);
            assert_same(&self.run_i16(set, layout), &expected_i16, set, &what);
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn requantisation_equals_the_golden_values() {
    let golden = include_str!("../golden/requantize.txt");
    let mut count = 0;
    for line in golden.lines() {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let &[x, multiplier, shift, expected] = &numbers[..] else {
            panic!("{line}")
        };
        let found = multiply_by_quantized_multiplier(x as i32, multiplier as i32, shift as i32);
        assert_eq!(i64::from(found), expected, "{line}");
        count += 1;
    }
    assert!(count > 500, "{count} golden values");
}

/// Requantisation through every path of every set: sums of exactly the golden values, by a product with k = 1.
#[cfg_attr(test, test)]
pub(crate) fn every_set_requantises_golden_values() {
    for set in fast_sets() {
        for line in include_str!("../golden/requantize.txt").lines() {
            let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            for clamp_min in [-32768, 0] {
                let mut dst = vec![0i16; 8];
                set.gemm_s8(GemmS8 {
                    rows: 8,
                    k: 1,
                    n: 1,
                    lhs: &[0; 8],
                    weights: &[0; 16],
                    layout: WeightLayout::Generic,
                    requantize: Requantize {
                        bias: &[numbers[0] as i32],
                        multiplier: &[numbers[1] as i32],
                        shift: &[numbers[2] as i8],
                        zero_point: 0,
                        clamp_min,
                        clamp_max: 32767,
                    },
                    dst: DstS8::I16(&mut dst),
                    scratch: &mut [0; 512],
                });
                let expected = numbers[3].clamp(clamp_min.into(), 32767) as i16;
                assert_eq!(dst, [expected; 8], "{}: {line}", set.name());
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn scalar_product_equals_a_plain_loop() {
    let mut random = Random::new(1);
    for _ in 0..60 {
        let [rows, k, n] = [size(&mut random), size(&mut random), size(&mut random)];
        let lhs = random.bytes(rows * k, Fill::Random);
        let unpacked = random.bytes(n * k, Fill::Random);
        let channels = Channels::new(&mut random, n, k, Scales::Usual(false));
        let gemm = Gemm {
            rows,
            k,
            n,
            lhs,
            unpacked: unpacked.clone(),
            channels,
        };
        let found = gemm.run(&Scalar, WeightLayout::Generic);
        for row in 0..rows {
            for channel in 0..n {
                let sum: i64 = (0..k)
                    .map(|i| {
                        i64::from(gemm.lhs[row * k + i]) * i64::from(unpacked[channel * k + i])
                    })
                    .sum();
                let expected = plain_requantize(&gemm.channels, channel, sum);
                assert_eq!(
                    i64::from(found[row * n + channel]),
                    expected,
                    "{rows}x{k}x{n}"
                );
            }
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn products_of_all_sizes_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(2);
        for case in 0..700 {
            let dims = [size(&mut random), size(&mut random), size(&mut random)];
            let fill = FILLS[case % FILLS.len()];
            let scales = SCALES[case % SCALES.len()];
            let gemm = Gemm::new(&mut random, dims, fill, scales);
            gemm.check(set, &format!("{dims:?} {fill:?} {scales:?}"));
        }
    }
}

/// Rows and channels around the tiles of the sets, and inputs around their groups, for every way from sums to outputs: a ReLU
/// with the smallest zero point, the same with a limit of its own, no limits, and limits with any shift.
#[cfg_attr(test, test)]
pub(crate) fn products_around_tiles_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(4);
        for rows in 1..=13 {
            for (case, (k, n)) in [
                (1, 8),
                (8, 16),
                (9, 23),
                (23, 9),
                (40, 7),
                (56, 24),
                (65, 1),
            ]
            .into_iter()
            .enumerate()
            {
                let way = (rows + case) % 4;
                let scales = if way == 3 {
                    Scales::Any
                } else {
                    Scales::Usual(false)
                };
                let mut gemm = Gemm::new(&mut random, [rows, k, n], Fill::Random, scales);
                if way < 2 {
                    gemm.channels.zero_point = -128;
                    gemm.channels.clamp = [-128, [127, 100][way]];
                }
                if way < 3 {
                    // Right shifts, so that no channel takes the others off the short way.
                    for shift in &mut gemm.channels.shift {
                        *shift = (*shift).min(-1);
                    }
                }
                gemm.check(set, &format!("{rows}x{k}x{n}, way {way}"));
            }
        }
    }
}

/// The scalar set reads every layout, so that a file for another CPU can be checked anywhere.
#[cfg_attr(test, test)]
pub(crate) fn scalar_products_are_equal_in_every_layout() {
    let mut random = Random::new(12);
    for case in 0..100 {
        let dims = [size(&mut random), size(&mut random), size(&mut random)];
        let gemm = Gemm::new(&mut random, dims, Fill::Random, SCALES[case % SCALES.len()]);
        gemm.check(&Scalar, &format!("{dims:?}"));
    }
    assert_eq!(layouts(&Scalar).count(), WeightLayout::ALL.len());
}

#[cfg_attr(test, test)]
pub(crate) fn products_of_real_layers_are_equal() {
    const LAYERS: [[usize; 3]; 10] = [
        [50, 32, 16],
        [50, 16, 96],
        [40, 144, 24],
        [33, 240, 40],
        [49, 112, 672],
        [19, 672, 192],
        [25, 1152, 320],
        [9, 320, 1280],
        [1, 1280, 1000],
        [3, 1280, 256],
    ];
    for set in fast_sets() {
        let mut random = Random::new(3);
        for dims in LAYERS {
            for (fill, scales) in FILLS.into_iter().zip(SCALES.into_iter().cycle()) {
                let gemm = Gemm::new(&mut random, dims, fill, scales);
                gemm.check(set, &format!("{dims:?} {fill:?} {scales:?}"));
            }
        }
    }
}

/// One vector with rows that lie apart, as the classes of a bank do; the last row may be the end of the bytes.
#[cfg_attr(test, test)]
pub(crate) fn dots_with_many_rows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(14);
        for case in 0..400 {
            let (count, k) = match case % 10 {
                0 => (1 + random.below(40), 200 + random.below(400)),
                _ => (size(&mut random), size(&mut random)),
            };
            let stride = k + random.below(3) * random.below(40);
            let fill = FILLS[case / 2 % FILLS.len()];
            let lhs = random.bytes(k, FILLS[case % FILLS.len()]);
            let bytes = (count.max(1) - 1) * stride + k;
            let behind = random.below(2) * 9;
            let rows = random.bytes(bytes + behind, fill);
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(count, 85i32);
                set.dot_rows_s8(DotRowsS8 {
                    lhs: &lhs,
                    rows: &rows,
                    stride,
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let expected: Vec<i32> = (0..count)
                .map(|row| {
                    let row = &rows[row * stride..][..k];
                    let products = lhs.iter().zip(row);
                    products.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
                })
                .collect();
            let what = format!("{count} rows of {k}, {stride} apart");
            assert_same(&run(&Scalar), &expected, &Scalar, &what);
            assert_same(&run(set), &expected, set, &what);
        }
    }
}
