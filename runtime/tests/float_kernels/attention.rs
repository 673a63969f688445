//! `attention_f32`.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{AttentionF32, Kernels, attention_scratch_bytes, available};

use super::rows::softmax;
use super::support::{Random, Sum, UNIT, guarded, whole};

/// Random q, k and v; causal when there are as many keys as queries and their number is odd.
pub(crate) struct Case {
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) width: usize,
    pub(crate) num_heads: usize,
    pub(crate) qkv: [Vec<f32>; 3],
}

impl Case {
    pub(crate) fn random(
        random: &mut Random,
        tokens: usize,
        head_width: usize,
        num_heads: usize,
    ) -> Self {
        Self::of_two(random, [tokens; 2], head_width, num_heads)
    }

    /// Attention of one sequence to another.
    pub(crate) fn of_two(
        random: &mut Random,
        [queries, keys]: [usize; 2],
        head_width: usize,
        num_heads: usize,
    ) -> Self {
        let width = head_width * num_heads;
        let qkv = [queries, keys, keys].map(|tokens| {
            random
                .numbers(tokens * width)
                .iter()
                .map(|x| 3.0 * x)
                .collect()
        });
        Self {
            queries,
            keys,
            width,
            num_heads,
            qkv,
        }
    }

    fn causal(&self) -> bool {
        self.queries == self.keys && self.keys % 2 == 1
    }

    fn scale(&self) -> f32 {
        1.0 / libm::sqrtf(((self.width / self.num_heads) as f32).max(1.0))
    }

    pub(crate) fn run(&self, kernels: &dyn Kernels) -> Vec<f32> {
        let mut scratch = vec![f32::NAN; attention_scratch_bytes(self.keys).unwrap() / 4];
        guarded(self.queries * self.width, |dst| {
            kernels.attention_f32(AttentionF32 {
                queries: self.queries,
                keys: self.keys,
                width: self.width,
                num_heads: self.num_heads,
                scale: self.scale(),
                causal: self.causal(),
                q: &self.qkv[0],
                k: &self.qkv[1],
                v: &self.qkv[2],
                dst,
                scratch: &mut scratch,
            });
        })
    }

    pub(crate) fn expected(&self) -> Vec<f64> {
        let (width, head_width) = (self.width, self.width / self.num_heads);
        let [q, k] = [0, 1].map(|matrix| whole(&self.qkv[matrix]));
        let mut dst = vec![0.0; self.queries * width];
        for query in 0..self.queries {
            for head in 0..self.num_heads {
                let first = head * head_width;
                let score = |key| {
                    let [query, key] = [query, key].map(|token| token * width + first);
                    let mut dot = Sum::default();
                    dot.add_products(
                        &q[query..][..head_width],
                        &k[key..][..head_width],
                        UNIT * UNIT,
                    );
                    dot.value * f64::from(self.scale())
                };
                let keys = if self.causal() { query + 1 } else { self.keys };
                let probabilities = softmax(&(0..keys).map(score).collect::<Vec<_>>());
                for column in first..first + head_width {
                    let weighted = |(key, p)| p * f64::from(self.qkv[2][key * width + column]);
                    dst[query * width + column] =
                        probabilities.iter().enumerate().map(weighted).sum();
                }
            }
        }
        dst
    }
}

#[cfg_attr(test, test)]
pub(crate) fn attention_agrees_for_every_number_of_tokens_up_to_67() {
    let mut random = Random(20);
    for tokens in 0..=67 {
        let (head_width, num_heads) = (1 + random.up_to(40), 1 + random.up_to(3));
        check(&Case::random(&mut random, tokens, head_width, num_heads));
    }
}

#[cfg_attr(test, test)]
pub(crate) fn attention_agrees_for_minilm_and_clip() {
    let mut random = Random(21);
    for (tokens, head_width, num_heads) in [(16, 32, 12), (128, 32, 12), (77, 64, 8)] {
        check(&Case::random(&mut random, tokens, head_width, num_heads));
    }
}

#[cfg_attr(test, test)]
pub(crate) fn attention_of_one_sequence_to_another_agrees() {
    let mut random = Random(23);
    for keys in (1..=20).chain([50, 64, 67, 77]) {
        for queries in [1, 2, 7, 8, 9, 17, 40] {
            let (head_width, num_heads) = (1 + random.up_to(40), 1 + random.up_to(3));
            let case = Case::of_two(&mut random, [queries, keys], head_width, num_heads);
            check(&case);
        }
    }
    check(&Case::of_two(&mut random, [1, 77], 64, 8));
}

fn check(case: &Case) {
    let expected = case.expected();
    for kernels in available() {
        for (i, (&x, y)) in case.run(kernels).iter().zip(&expected).enumerate() {
            let error = (f64::from(x) - y).abs();
            assert!(
                error <= 2e-5,
                "{} queries {} keys {} element {i}: found {x}, expected {y}",
                kernels.name(),
                case.queries,
                case.keys
            );
        }
    }
}

#[cfg_attr(test, test)]
pub(crate) fn nan_in_a_query_stays_in_its_token_and_head() {
    let mut random = Random(22);
    let mut case = Case::random(&mut random, 11, 10, 3);
    case.qkv[0][4 * 30 + 12] = f32::NAN;
    for kernels in available() {
        for (i, x) in case.run(kernels).iter().enumerate() {
            let touched = i / 30 == 4 && (10..20).contains(&(i % 30));
            assert_eq!(x.is_nan(), touched, "{} element {i}: {x}", kernels.name());
        }
    }
}
