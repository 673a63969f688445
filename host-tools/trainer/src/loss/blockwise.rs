//! Distances of all pairs of a batch with gradients, in the memory of one block of rows: the trick of GradCache (Gao et
//! al., 2021, arXiv 2101.06983), one level further down.
//!
//! The distances of `n` by `m` rows of width `d` are sums over `n·m·d` differences, which Burn keeps until the backward
//! pass. With `S = s(A, B)`, any loss `L(S)`, and `G = ∂L/∂S`,
//!
//! ```text
//! 1. S block by block without a graph; L(S) and G, whose graph is the loss alone
//! 2. for each block of rows: its scores again with their graph; ∂A and ∂B += ∂⟨S_block, G_block⟩, the graph is dropped
//! 3. the result is L + ⟨∂A, A − A'⟩ + ⟨∂B, B − B'⟩, where A' and B' are A and B as constants
//! ```
//!
//! whose value is `L` and whose gradient is that of `L`. Gradients of gradients are lost.

use burn::tensor::{GradientCheckpointingStrategy, Tensor};

use super::error::LossError;
use super::score::{BLOCK_ELEMENTS, Score};

/// The `loss` of the scores `[n, m]` of rows of `a` `[n, dim]` and `b` `[m, dim]`, and of `others`, such as a logit
/// scale.
///
/// Scores that are matrix products have no differences to save, and are computed at once. What `loss` depends on beside
/// its arguments gets no gradient.
///
/// # Errors
/// As [`Score::pairs`], and what `loss` returns.
pub fn blockwise<const N: usize>(
    a: Tensor<2>,
    b: Tensor<2>,
    score: &Score,
    others: [Tensor<2>; N],
    loss: impl FnOnce(Tensor<2>, [Tensor<2>; N]) -> Result<Tensor<1>, LossError>,
) -> Result<Tensor<1>, LossError> {
    let is_distance = matches!(score, Score::L1 | Score::L2 | Score::SquaredL2);
    let strategy = a.gradient_checkpointing_strategy();
    let Some(strategy) = strategy.filter(|_| is_distance) else {
        return loss(score.pairs(a, b)?, others);
    };
    // Outside autodiff altogether: Burn keeps the inputs even of operations over constants until the next backward
    // pass.
    let scores = score.pairs(a.clone().inner(), b.clone().inner())?;
    let leaf = |x: &Tensor<2>| leaf(x, strategy);
    let scores = leaf(&scores);
    let copies = others.each_ref().map(leaf);
    let found = loss(scores.clone(), copies.clone())?;
    if !found.is_tracked() {
        return Ok(found);
    }
    let mut gradients = found.backward();
    let mut result = found.detach();
    for (other, copy) in others.into_iter().zip(copies) {
        if let Some(gradient) = copy.grad_remove(&mut gradients) {
            result = result + along(other, gradient);
        }
    }
    let Some(of_scores) = scores.grad_remove(&mut gradients) else {
        return Ok(result);
    };
    let [of_a, of_b] = by_blocks(&a, &b, score, of_scores, leaf)?;
    Ok(result + along(a, of_a) + along(b, of_b))
}

/// The gradients of `⟨score(a, b), of_scores⟩` by `a` and by `b`.
fn by_blocks(
    a: &Tensor<2>,
    b: &Tensor<2>,
    score: &Score,
    of_scores: Tensor<2>,
    leaf: impl Fn(&Tensor<2>) -> Tensor<2>,
) -> Result<[Tensor<2>; 2], LossError> {
    let ([rows, _], [columns, width]) = (a.dims(), b.dims());
    let block = (BLOCK_ELEMENTS / (columns * width)).max(1);
    let b = leaf(b);
    let (mut of_a, mut of_b) = (Vec::new(), b.clone().inner().zeros_like());
    for start in (0..rows).step_by(block) {
        let count = block.min(rows - start);
        let part = leaf(&a.clone().narrow(0, start, count));
        let scores = score.pairs(part.clone(), b.clone())?;
        let weighted = scores * of_scores.clone().narrow(0, start, count);
        let gradients = weighted.sum().backward();
        let gradient = |of: &Tensor<2>| of.grad(&gradients).unwrap_or_else(|| of.zeros_like());
        of_a.push(gradient(&part));
        of_b = of_b + gradient(&b);
    }
    Ok([Tensor::cat(of_a, 0), of_b])
}

/// The same numbers as a leaf of a graph of their own.
fn leaf(x: &Tensor<2>, strategy: GradientCheckpointingStrategy) -> Tensor<2> {
    let x = x.clone().inner().autodiff();
    x.with_gradient_checkpointing_strategy(strategy)
        .require_grad()
}

/// 0, with this `gradient` by `x`.
fn along(x: Tensor<2>, gradient: Tensor<2>) -> Tensor<1> {
    let zero = x.clone() - x.detach();
    (zero * gradient.detach()).sum()
}

#[cfg(test)]
mod tests {
    use super::blockwise;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{LossError, Negatives, Score, info_nce, info_nce_loss};
    use crate::model::elements;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    fn random(rows: usize, columns: usize, seed: u64) -> Tensor<2> {
        let mut rng = Rng::new(seed);
        let data: Vec<f32> = (0..rows * columns).map(|_| rng.unit() - 0.5).collect();
        let device = Device::flex().autodiff();
        Tensor::from_data(TensorData::new(data, [rows, columns]), &device).require_grad()
    }

    fn in_batch(scores: Tensor<2>, [scale]: [Tensor<2>; 1]) -> Result<Tensor<1>, LossError> {
        let identity = Tensor::<2>::eye(scores.dims()[0], &scores.device());
        info_nce(scores * scale, identity)
    }

    #[test]
    fn many_blocks_give_the_loss_and_the_gradients_of_one_graph() {
        // 40 by 40 rows of width 2000 are four blocks, the last one shorter.
        let (a, b, scale) = (random(40, 2000, 1), random(40, 2000, 2), random(1, 1, 3));
        let leaves = [&a, &b, &scale];
        for score in [Score::L1, Score::L2, Score::SquaredL2] {
            let blocks = blockwise(a.clone(), b.clone(), &score, [scale.clone()], in_batch);
            let (queries, keys) = (a.clone(), b.clone());
            let whole = info_nce_loss(queries, keys, Negatives::InBatch, &score, scale.clone());
            let both = [blocks.unwrap(), whole.unwrap()].map(|loss| {
                let gradients = loss.backward();
                let of_leaves = leaves.map(|leaf| elements(leaf.grad(&gradients).unwrap()));
                (elements(loss)[0], of_leaves)
            });
            let [(loss, blocks), (expected, whole)] = both;
            assert!(
                (loss - expected).abs() < 1e-5 * expected,
                "{loss}, {expected}"
            );
            for (blocks, whole) in blocks.iter().zip(&whole) {
                let largest = whole.iter().fold(0f32, |a, b| a.max(b.abs()));
                for (x, y) in blocks.iter().zip(whole) {
                    assert!((x - y).abs() <= 2e-5 * largest, "{score:?}: {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences_behind_other_operations() {
        let b = [[0.2f32, 0.9], [-0.7, 0.3]];
        assert_gradient_matches_differences([[0.8, 0.1], [0.4, -0.5]], |x| {
            let (a, scale) = (x.tanh(), matrix([[2.0f32]]));
            blockwise(a, matrix(b), &Score::L1, [scale], in_batch).unwrap()
        });
    }

    #[test]
    fn one_side_may_be_a_constant_without_autodiff() {
        let plain = Tensor::<2>::from_data([[0.6f32, 0.8], [0.0, 1.0]], &Device::flex());
        let a = matrix([[1.0f32, 0.1], [0.2, 1.0]]).require_grad();
        let scale = || [Tensor::full([1, 1], 3.0, &Device::flex())];
        let ways = [(a.clone(), plain.clone()), (plain, a.clone())];
        for (left, right) in ways {
            let loss = blockwise(left, right, &Score::L1, scale(), in_batch).unwrap();
            let gradient = elements(a.grad(&loss.backward()).unwrap());
            assert!(gradient.iter().any(|&x| x != 0.0), "{gradient:?}");
        }
    }

    #[test]
    fn products_and_tensors_without_gradients_are_computed_at_once() {
        let plain = Device::flex();
        let rows = |data: [[f32; 2]; 2]| Tensor::<2>::from_data(data, &plain);
        let (a, b) = (
            rows([[1.0, 0.0], [0.0, 1.0]]),
            rows([[0.6, 0.8], [0.0, 1.0]]),
        );
        for score in [Score::Dot, Score::L1] {
            let scale = Tensor::full([1, 1], 3.0, &plain);
            let found = blockwise(a.clone(), b.clone(), &score, [scale.clone()], in_batch);
            let (a, b) = (a.clone(), b.clone());
            let whole = info_nce_loss(a, b, Negatives::InBatch, &score, scale).unwrap();
            assert!((elements(found.unwrap())[0] - elements(whole)[0]).abs() < 1e-6);
        }
    }
}
