//! Attention in integers: every set against the scalar one, and that against real numbers in f64.

use alloc::vec::Vec;

use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::kernel::softmax::ScoreScale;
use pinhole_runtime::kernel::{
    AttentionS8, Columns, HeadScale, Kernels, Scalar, ScoreBias, attention_s8_scratch_bytes,
};

use crate::support::{FILLS, Fill, Guarded, Random, assert_same, fast_sets, words};

/// Sizes, operands and scales of an attention.
struct Case {
    windows: usize,
    queries: usize,
    keys: usize,
    heads: Vec<HeadScale>,
    head_width: usize,
    /// Fused: one value of 3 · width columns.
    fused: bool,
    bias: Vec<i16>,
    bias_window: [usize; 2],
    bias_shift: u32,
    causal_from: Option<usize>,
    q: Vec<i8>,
    k: Vec<i8>,
    v: Vec<i8>,
    zero_point: i32,
}

impl Case {
    fn width(&self) -> usize {
        self.heads.len() * self.head_width
    }
    fn columns<'a>(&'a self, own: &'a [i8], part: usize) -> Columns<'a> {
        if self.fused {
            Columns {
                data: &self.q,
                stride: 3 * self.width(),
                offset: part * self.width(),
            }
        } else {
            Columns {
                data: own,
                stride: self.width(),
                offset: 0,
            }
        }
    }
    fn bias(&self) -> ScoreBias<'_> {
        match (self.bias.is_empty(), self.bias_window) {
            (true, _) => ScoreBias::None,
            (_, [0, 0]) => ScoreBias::Full(&self.bias),
            (_, [height, width]) => ScoreBias::Relative {
                table: &self.bias,
                height,
                width,
            },
        }
    }
    fn run(&self, set: &dyn Kernels) -> Vec<i8> {
        let rows = self.windows * self.queries;
        let bytes = attention_s8_scratch_bytes(self.keys, self.head_width).unwrap();
        let mut scratch = Guarded::new(bytes / 4, 0x5A5A_5A5Ai32);
        let mut dst = Guarded::new(rows * self.width(), 85i8);
        set.attention_s8(AttentionS8 {
            windows: self.windows,
            queries: self.queries,
            keys: self.keys,
            head_width: self.head_width,
            heads: &self.heads,
            bias: self.bias(),
            bias_shift: self.bias_shift,
            causal_from: self.causal_from,
            q: self.columns(&self.q, 0),
            k: self.columns(&self.k, 1),
            v: self.columns(&self.v, 2),
            output_zero_point: self.zero_point,
            dst: dst.slice(),
            scratch: scratch.slice(),
        });
        scratch.contents();
        dst.contents().to_vec()
    }
}

fn head(random: &mut Random, any: bool, score: f64, output: f64) -> HeadScale {
    if any {
        return HeadScale {
            score_multiplier: random.within(1 << 15..=(1 << 16) - 1),
            score_shift: random.within(-15..=15),
            output_multiplier: random.within(1 << 30..=i32::MAX),
            output_shift: random.within(-7..=7),
        };
    }
    let (score_multiplier, score_shift) = ScoreScale::quantize(score).unwrap();
    let (output_multiplier, output_shift) = quantize_multiplier(output);
    HeadScale {
        score_multiplier,
        score_shift,
        output_multiplier,
        output_shift: output_shift.into(),
    }
}

fn case(random: &mut Random, number: usize, score: f64, output: f64) -> Case {
    let any = number % 4 == 3;
    let num_heads = 1 + random.below(3);
    let head_width = if number.is_multiple_of(2) {
        [8, 16, 32, 64][random.below(4)]
    } else {
        1 + random.below(67)
    };
    let (mut queries, mut keys) = (1 + random.below(67), 1 + random.below(67));
    let windows = 1 + random.below(3) * usize::from(number.is_multiple_of(3));
    let fused = number % 5 < 2;
    let kind = random.below(3);
    let mut bias_window = [0, 0];
    if fused || kind == 2 {
        keys = queries;
    }
    if kind == 2 {
        bias_window = [1 + random.below(8), 1 + random.below(8)];
        queries = bias_window[0] * bias_window[1];
        keys = queries;
    }
    let fill = FILLS[number / 4 % 4];
    let bias_len = match kind {
        0 => 0,
        1 => num_heads * queries * keys,
        _ => num_heads * (2 * bias_window[0] - 1) * (2 * bias_window[1] - 1),
    };
    let width = num_heads * head_width;
    let bias_shift = if any && bias_len > 0 {
        random.within(0..=14) as u32
    } else {
        0
    };
    Case {
        windows,
        queries,
        keys,
        heads: (0..num_heads)
            .map(|_| head(random, any, score, output))
            .collect(),
        head_width,
        fused,
        bias: words(random, bias_len, Fill::Random)
            .iter()
            .map(|x| if any { *x } else { x >> 3 })
            .collect(),
        bias_window,
        bias_shift,
        causal_from: None,
        q: random.bytes(windows * queries * width * if fused { 3 } else { 1 }, fill),
        k: random.bytes(windows * keys * width, fill),
        v: random.bytes(windows * keys * width, fill),
        zero_point: random.within(-128..=127),
    }
}

#[cfg_attr(test, test)]
pub(crate) fn attention_is_equal_in_every_set() {
    let sets = fast_sets();
    let mut random = Random::new(22);
    for number in 0..240 {
        let score = [1e-4, 5e-4, 3e-3][number % 3];
        let case = case(&mut random, number, score, 0.7);
        let expected = case.run(&Scalar);
        for &set in &sets {
            let what = format!(
                "attention_s8 case {number}: {} windows of {} by {}, {} heads of {}",
                case.windows,
                case.queries,
                case.keys,
                case.heads.len(),
                case.head_width
            );
            assert_same(&case.run(set), &expected, set, &what);
        }
    }
}

/// From the first query on as in a whole text, or from a later one as a band of its rows has it.
#[cfg_attr(test, test)]
pub(crate) fn causal_attention_is_equal_and_does_not_see_what_follows() {
    let sets = fast_sets();
    let mut random = Random::new(29);
    for number in 0..120 {
        let mut case = case(&mut random, number, [1e-4, 5e-4, 3e-3][number % 3], 0.7);
        let first = match case.keys.checked_sub(case.queries) {
            Some(room) if number % 2 == 1 => random.below(room + 1),
            _ => 0,
        };
        case.causal_from = Some(first);
        let expected = case.run(&Scalar);
        for &set in &sets {
            let what = format!("causal case {number}: {} of {}", case.queries, case.keys);
            assert_same(&case.run(set), &expected, set, &what);
        }
        if case.fused || case.windows > 1 || case.keys < 2 {
            continue;
        }
        // Other numbers behind the keys that the first query sees leave its output as it is.
        let seen = (first + 1).min(case.keys) * case.width();
        for numbers in [&mut case.k, &mut case.v] {
            numbers[seen..].iter_mut().for_each(|x| *x = !*x);
        }
        let width = case.width();
        assert_eq!(case.run(&Scalar)[..width], expected[..width]);
    }
}

/// 197 and 257 tokens as in ViTs of 224 pixels, and the most keys that there may be, all of them extreme.
#[cfg_attr(test, test)]
pub(crate) fn attention_over_real_shapes_and_extremes_is_equal() {
    let sets = fast_sets();
    let mut random = Random::new(23);
    for (tokens, head_width, num_heads) in [
        (197, 64, 2),
        (257, 64, 1),
        (49, 32, 4),
        (50, 64, 1),
        (1024, 16, 1),
    ] {
        for fill in FILLS {
            let width = num_heads * head_width;
            let queries = tokens.min(64);
            let case = Case {
                windows: 1,
                queries,
                keys: tokens,
                heads: vec![head(&mut random, false, 2e-4, 1.0); num_heads],
                head_width,
                fused: false,
                bias: Vec::new(),
                bias_window: [0, 0],
                bias_shift: 0,
                causal_from: None,
                q: random.bytes(queries * width, fill),
                k: random.bytes(tokens * width, fill),
                v: random.bytes(tokens * width, fill),
                zero_point: 0,
            };
            let expected = case.run(&Scalar);
            if let Fill::Constant(value) = fill {
                assert!(
                    expected.iter().all(|&x| x == value),
                    "an average of {value} is another number"
                );
            }
            for &set in &sets {
                assert_same(
                    &case.run(set),
                    &expected,
                    set,
                    &format!("{tokens} tokens, {fill:?}"),
                );
            }
        }
    }
}

/// Every query of whole nets, the three parts side by side as one product writes them; rows that are no multiple of a tile.
#[cfg_attr(test, test)]
pub(crate) fn attention_over_fused_projections_of_real_shapes_is_equal() {
    let sets = fast_sets();
    let mut random = Random::new(27);
    for (tokens, head_width, num_heads) in [(50, 64, 3), (197, 64, 2), (257, 32, 2), (197, 32, 1)] {
        for fill in [Fill::Random, Fill::Extremes] {
            let width = num_heads * head_width;
            let case = Case {
                windows: 1,
                queries: tokens,
                keys: tokens,
                heads: (0..num_heads)
                    .map(|_| head(&mut random, false, 3e-4, 0.9))
                    .collect(),
                head_width,
                fused: true,
                bias: Vec::new(),
                bias_window: [0, 0],
                bias_shift: 0,
                causal_from: None,
                q: random.bytes(tokens * 3 * width, fill),
                k: Vec::new(),
                v: Vec::new(),
                zero_point: random.within(-128..=127),
            };
            let expected = case.run(&Scalar);
            for &set in &sets {
                let what = format!("{tokens} fused tokens of {num_heads} · {head_width}, {fill:?}");
                assert_same(&case.run(set), &expected, set, &what);
            }
        }
    }
}

/// Scores in f64 of the same integers: how far the exponentials, their sum and the rounding take the output.
#[cfg_attr(test, test)]
pub(crate) fn scalar_attention_is_near_the_real_one() {
    let mut random = Random::new(24);
    let mut worst = 0f64;
    for number in 0..120 {
        let (score, output) = ([3e-5, 1e-4, 5e-4, 3e-3][number % 4], 0.83);
        let case = case(&mut random, number & !3, score, output);
        let found = case.run(&Scalar);
        let (width, d) = (case.width(), case.head_width);
        let (q, k, v) = (
            case.columns(&case.q, 0),
            case.columns(&case.k, 1),
            case.columns(&case.v, 2),
        );
        for (index, found) in found.chunks_exact(d).enumerate() {
            let (row, number) = (index / (width / d), index % (width / d));
            let (window, query) = (row / case.queries, row % case.queries);
            let keys = window * case.keys..(window + 1) * case.keys;
            let scores: Vec<f64> = keys
                .clone()
                .map(|key| {
                    let q = q.row(row, number * d, d);
                    let pairs = q.iter().zip(k.row(key, number * d, d));
                    let product: i32 = pairs.map(|(&q, &k)| i32::from(q) * i32::from(k)).sum();
                    let bias =
                        case.bias()
                            .at(number, query, key - keys.start, [case.queries, case.keys]);
                    (f64::from(product) + f64::from(bias)) * score
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| libm::exp(s - largest)).collect();
            let total: f64 = weights.iter().sum();
            for (column, &found) in (number * d..).zip(found) {
                let mean: f64 = weights
                    .iter()
                    .zip(keys.clone())
                    .map(|(weight, key)| weight * f64::from(v.row(key, column, 1)[0]))
                    .sum::<f64>()
                    / total;
                let real = (mean * output + f64::from(case.zero_point)).clamp(-128.0, 127.0);
                let error = (f64::from(found) - real).abs();
                let bound =
                    0.51 + 255.0 * output * (1.5e-3 + case.keys as f64 * 0.75 / 16383.0 / total);
                assert!(error <= bound, "{error} steps, {bound} allowed");
                worst = worst.max(error);
            }
        }
    }
    println!("attention_s8: largest error {worst:.3} steps of the output");
}
