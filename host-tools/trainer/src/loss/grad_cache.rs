//! GradCache (Gao et al., 2021, arXiv 2101.06983): the gradients of a loss over a whole batch in the memory of one
//! chunk of it.
//!
//! A contrastive loss needs all embeddings `E = f(x)` of a batch at once, but `f` does not: with `u = ∂L/∂E`,
//!
//! ```text
//! 1. E_c = f(x_c) for every chunk c, without keeping what the encoder computed on the way
//! 2. L(E) and u, whose graph is the loss alone
//! 3. f(x_c) again with its graph; ∂L/∂θ += ∂⟨E_c, u_c⟩/∂θ, and the graph is dropped
//! ```
//!
//! The gradient is exact, not that of smaller batches. Cost: every forward pass twice. What stays in memory is one
//! chunk's graph, `E` and `u`. An encoder must give a chunk the same embeddings in both passes, which is checked:
//! whatever is random in it, such as dropout, is to be seeded by the chunk.

use std::ops::Range;

use burn::tensor::{Gradients, Tensor};

use super::error::{Inputs, LossError};
use crate::TrainError;
use crate::model::elements;

/// A tensor that trains, of any rank.
pub trait Leaf {
    /// Its gradient in `gradients`, row-major, if it has one.
    fn gradient(&self, gradients: &Gradients) -> Option<Vec<f32>>;

    /// A number that depends on it.
    fn touch(&self) -> Tensor<1>;
}

impl<const D: usize> Leaf for Tensor<D> {
    fn gradient(&self, gradients: &Gradients) -> Option<Vec<f32>> {
        self.grad(gradients).map(elements)
    }

    fn touch(&self) -> Tensor<1> {
        self.clone().sum()
    }
}

/// An encoder over a batch.
pub struct Tower<'a> {
    /// The embeddings `[range.len(), dim]` of the rows `range` of the batch, with their graph.
    pub encode: &'a dyn Fn(Range<usize>) -> Result<Tensor<2>, TrainError>,
    /// Rows of the batch.
    pub rows: usize,
    /// Rows of a chunk, at least 1; the last one may be shorter.
    pub chunk: usize,
}

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The loss of the whole batch.
    pub loss: f32,
    /// The gradient of each leaf, row-major; `None` for one that the loss does not depend on.
    pub gradients: Vec<Option<Vec<f32>>>,
}

/// The loss of the embeddings that `towers` give, and its gradients by `leaves`, chunk by chunk.
///
/// `loss` is given the embeddings `[rows, dim]` of every tower, and may depend on leaves of its own, such as a logit
/// scale.
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use pinhole_trainer::loss::{Leaf, Tower, clip_loss, grad_cache};
///
/// let device = Device::flex().autodiff();
/// let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);
/// let (pictures, texts) = (random([10, 6]), random([10, 4]));
/// let (weight, scale) = (random([6, 4]).require_grad(), random([1, 1]).require_grad());
/// let image = |rows: std::ops::Range<usize>| {
///     let chunk = pictures.clone().slice([rows]);
///     Ok(chunk.matmul(weight.clone()))
/// };
/// let text = |rows: std::ops::Range<usize>| Ok(texts.clone().slice([rows]));
/// let towers = [
///     Tower { encode: &image, rows: 10, chunk: 4 },
///     Tower { encode: &text, rows: 10, chunk: 10 },
/// ];
/// let leaves: [&dyn Leaf; 2] = [&weight, &scale];
/// let cached = grad_cache(towers, |[x, y]| clip_loss(x, y, scale.clone()), &leaves)?;
/// assert_eq!(cached.gradients[0].as_ref().map(Vec::len), Some(6 * 4));
/// # Ok::<(), pinhole_trainer::TrainError>(())
/// ```
///
/// # Errors
/// What the encoders and the loss return; a tower without rows or with chunks of 0; embeddings of another number of
/// rows than asked for, or that differ between the two passes.
pub fn grad_cache<const N: usize>(
    towers: [Tower; N],
    loss: impl FnOnce([Tensor<2>; N]) -> Result<Tensor<1>, LossError>,
    leaves: &[&dyn Leaf],
) -> Result<Cached, TrainError> {
    grad_cache_through(towers, |embeddings| Ok(loss(embeddings)?), leaves)
}

/// [`grad_cache`] of a loss that may fail otherwise than on its inputs, as one that asks other processes.
pub(crate) fn grad_cache_through<const N: usize>(
    towers: [Tower; N],
    loss: impl FnOnce([Tensor<2>; N]) -> Result<Tensor<1>, TrainError>,
    leaves: &[&dyn Leaf],
) -> Result<Cached, TrainError> {
    let mut caches = Vec::with_capacity(N);
    for tower in &towers {
        tower.check()?;
        caches.push(tower.embed(leaves)?);
    }
    let of_batch: [Tensor<2>; N] = std::array::from_fn(|tower| caches[tower].0.clone());
    let loss = loss(of_batch)?;
    if !loss.is_tracked() {
        return Ok(Cached {
            loss: elements(loss)[0],
            gradients: vec![None; leaves.len()],
        });
    }
    let mut found = loss.backward();
    let mut gradients: Vec<Option<Vec<f32>>> =
        leaves.iter().map(|leaf| leaf.gradient(&found)).collect();
    for (index, (tower, (cache, learns))) in towers.iter().zip(caches).enumerate() {
        let of_embeddings = cache.grad_remove(&mut found).filter(|_| learns);
        let Some(of_embeddings) = of_embeddings else {
            continue;
        };
        for range in tower.chunks() {
            let chunk = tower.chunk(range.clone(), Some(cache.dims()[1]))?;
            if !chunk.is_tracked() {
                continue;
            }
            let rows = |of: &Tensor<2>| of.clone().narrow(0, range.start, range.len());
            check_repeats(index, &range, &chunk, rows(&cache.clone().detach()))?;
            let of_chunk = (chunk * rows(&of_embeddings)).sum().backward();
            add(&mut gradients, leaves, &of_chunk);
        }
    }
    Ok(Cached {
        loss: elements(loss)[0],
        gradients,
    })
}

impl Tower<'_> {
    fn check(&self) -> Result<(), LossError> {
        let loss = "grad_cache";
        let empty = |input| Err(LossError::Empty { loss, input });
        match (self.rows, self.chunk) {
            (0, _) => empty("rows of a tower"),
            (_, 0) => empty("chunk of a tower"),
            _ => Ok(()),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let (rows, chunk) = (self.rows, self.chunk);
        (0..rows)
            .step_by(chunk)
            .map(move |start| start..rows.min(start + chunk))
    }

    /// The embeddings of the rows `range`, of the `width` that those of others have.
    fn chunk(&self, range: Range<usize>, width: Option<usize>) -> Result<Tensor<2>, TrainError> {
        let rows = range.len();
        let embeddings = (self.encode)(range)?;
        let [_, found] = embeddings.dims();
        let expected = [rows, width.unwrap_or(found)];
        Inputs("grad_cache").shape("the encoder's output", &embeddings, expected)?;
        Ok(embeddings)
    }

    /// The embeddings of all rows as a leaf of a graph of their own, and whether they depend on another; those of a
    /// frozen tower do not.
    fn embed(&self, leaves: &[&dyn Leaf]) -> Result<(Tensor<2>, bool), TrainError> {
        let (mut chunks, mut learns) = (Vec::new(), false);
        for range in self.chunks() {
            let width = chunks.first().map(|chunk: &Tensor<2>| chunk.dims()[1]);
            let chunk = self.chunk(range, width)?;
            learns |= chunk.is_tracked();
            chunks.push(chunk.detach());
            forget(leaves);
        }
        let all = Tensor::cat(chunks, 0).autodiff().detach();
        Ok((all.require_grad(), learns))
    }
}

/// Drops the graphs over `leaves` that no tensor refers to any more. Burn does that in a backward pass only, so one
/// of a sum of the leaves is made.
fn forget(leaves: &[&dyn Leaf]) {
    let sum = leaves.iter().map(|leaf| leaf.touch());
    if let Some(sum) = sum.reduce(|a, b| a + b)
        && sum.is_tracked()
    {
        sum.backward();
    }
}

/// Adds the `gradients` of `leaves` to those that were found before.
pub(crate) fn add(to: &mut [Option<Vec<f32>>], leaves: &[&dyn Leaf], gradients: &Gradients) {
    for (sum, leaf) in to.iter_mut().zip(leaves) {
        match (sum.as_mut(), leaf.gradient(gradients)) {
            (Some(sum), Some(more)) => sum.iter_mut().zip(more).for_each(|(x, y)| *x += y),
            (None, Some(more)) => *sum = Some(more),
            (_, None) => {}
        }
    }
}

/// Largest difference between two passes, of the largest magnitude of an embedding's elements.
const REPEAT_TOLERANCE: f32 = 1e-5;

fn check_repeats(
    tower: usize,
    range: &Range<usize>,
    chunk: &Tensor<2>,
    cached: Tensor<2>,
) -> Result<(), LossError> {
    let largest = |of: Tensor<2>| elements(of.abs().max())[0];
    let size = largest(cached.clone());
    let difference = largest(chunk.clone().detach() - cached);
    if difference > REPEAT_TOLERANCE * size {
        return Err(LossError::NotRepeatable {
            tower,
            start: range.start,
            end: range.end,
            difference,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ops::Range;

    use super::{Cached, Leaf, Tower, grad_cache};
    use crate::TrainError;
    use crate::loss::{LossError, PositiveSum, Score, clip_loss, siglip_loss, sup_con_loss};
    use crate::model::{elements, unit_rows};
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    const ROWS: usize = 11;
    const CHUNK: usize = 4;

    fn random(rows: usize, columns: usize, seed: u64) -> Tensor<2> {
        let mut rng = Rng::new(seed);
        let data: Vec<f32> = (0..rows * columns)
            .map(|_| 2.0 * rng.unit() - 1.0)
            .collect();
        Tensor::from_data(
            TensorData::new(data, [rows, columns]),
            &Device::flex().autodiff(),
        )
    }

    /// Two layers with a tanh between, unit rows.
    struct Encoder {
        inputs: Tensor<2>,
        first: Tensor<2>,
        second: Tensor<2>,
    }

    impl Encoder {
        fn new(seed: u64) -> Self {
            Self {
                inputs: random(ROWS, 7, seed),
                first: random(7, 9, seed + 1).require_grad(),
                second: random(9, 5, seed + 2).require_grad(),
            }
        }

        fn encode(&self, range: Range<usize>) -> Result<Tensor<2>, TrainError> {
            let inputs = self.inputs.clone().narrow(0, range.start, range.len());
            let hidden = inputs.matmul(self.first.clone()).tanh();
            Ok(unit_rows(hidden.matmul(self.second.clone())))
        }
    }

    fn assert_is_whole(cached: &Cached, whole: Tensor<1>, leaves: &[&dyn Leaf]) {
        let gradients = whole.backward();
        let value = elements(whole)[0];
        assert!((cached.loss / value - 1.0).abs() < 1e-5);
        for (found, leaf) in cached.gradients.iter().zip(leaves) {
            let (found, whole) = (found.as_ref().unwrap(), leaf.gradient(&gradients).unwrap());
            let largest = whole.iter().fold(0f32, |a, b| a.max(b.abs()));
            assert!(largest > 1e-3, "a gradient to compare");
            for (a, b) in found.iter().zip(&whole) {
                assert!((a - b).abs() <= 1e-5 * largest, "{a} is not {b}");
            }
        }
    }

    /// Compares a loss over chunks with the same over the whole batch, for two towers.
    fn compare(
        leaves: &[&dyn Leaf],
        [images, texts]: [&Encoder; 2],
        loss: impl Fn([Tensor<2>; 2]) -> Result<Tensor<1>, LossError>,
    ) {
        let encoders: [&dyn Fn(Range<usize>) -> _; 2] =
            [&|range| images.encode(range), &|range| texts.encode(range)];
        // Towers may be cut differently.
        let towers = [(encoders[0], CHUNK), (encoders[1], CHUNK + 1)];
        let towers = towers.map(|(encode, chunk)| Tower {
            encode,
            rows: ROWS,
            chunk,
        });
        let cached = grad_cache(towers, &loss, leaves).unwrap();
        let whole = encoders.map(|encode| encode(0..ROWS).unwrap());
        assert_is_whole(&cached, loss(whole).unwrap(), leaves);
    }

    #[test]
    fn chunks_give_clip_and_siglip_the_gradients_of_the_whole_batch() {
        let (images, texts) = (Encoder::new(1), Encoder::new(10));
        let scale = random(1, 1, 20).add_scalar(3.0).detach().require_grad();
        let bias = random(1, 1, 21).sub_scalar(3.0).detach().require_grad();
        let [a, b] = [&images, &texts];
        let shared: [&dyn Leaf; 5] = [&a.first, &a.second, &b.first, &b.second, &scale];
        compare(&shared, [a, b], |[x, y]| clip_loss(x, y, scale.clone()));
        let all: Vec<&dyn Leaf> = shared.into_iter().chain([&bias as &dyn Leaf]).collect();
        compare(&all, [a, b], |[x, y]| {
            siglip_loss(x, y, scale.clone(), bias.clone())
        });
    }

    #[test]
    fn chunks_of_one_tower_give_sup_con_the_gradients_of_the_whole_batch() {
        let encoder = Encoder::new(5);
        let labels: Vec<usize> = (0..ROWS).map(|row| row % 3).collect();
        let loss = |x: Tensor<2>| {
            let scale = random(1, 1, 3).add_scalar(4.0);
            sup_con_loss(x, &labels, &Score::Dot, scale, PositiveSum::Outside)
        };
        let leaves: [&dyn Leaf; 2] = [&encoder.first, &encoder.second];
        for chunk in [1, CHUNK, ROWS, 100] {
            let tower = Tower {
                encode: &|range| encoder.encode(range),
                rows: ROWS,
                chunk,
            };
            let cached = grad_cache([tower], |[x]| loss(x), &leaves).unwrap();
            let whole = loss(encoder.encode(0..ROWS).unwrap()).unwrap();
            assert_is_whole(&cached, whole, &leaves);
        }
    }

    #[test]
    fn an_encoder_that_changes_between_passes_is_refused() {
        let (encoder, calls) = (Encoder::new(5), Cell::new(0));
        let encode = |range| {
            calls.set(calls.get() + 1);
            Ok(encoder.encode(range)?.mul_scalar(calls.get()))
        };
        let tower = Tower {
            encode: &encode,
            rows: ROWS,
            chunk: CHUNK,
        };
        let leaves: [&dyn Leaf; 2] = [&encoder.first, &encoder.second];
        let error = grad_cache([tower], |[x]| Ok(x.square().sum()), &leaves).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("grad_cache: tower 0 gave rows 0 to 4"),
            "{message}"
        );
    }

    #[test]
    fn towers_without_rows_or_chunks_are_refused() {
        let encoder = Encoder::new(5);
        for (rows, chunk) in [(0, 1), (1, 0)] {
            let encode = &|range| encoder.encode(range);
            let tower = Tower {
                encode,
                rows,
                chunk,
            };
            let error = grad_cache([tower], |[x]| Ok(x.sum()), &[]).unwrap_err();
            assert!(matches!(error, TrainError::Loss(LossError::Empty { .. })));
        }
    }

    #[test]
    fn an_encoder_that_gives_other_shapes_than_asked_for_is_refused() {
        let encoder = Encoder::new(5);
        let rows_too_few = |_| encoder.encode(0..2);
        let narrower = |range: Range<usize>| {
            let width = if range.start == 0 { 5 } else { 4 };
            Ok(encoder.encode(range)?.narrow(1, 0, width))
        };
        let encoders: [&dyn Fn(Range<usize>) -> _; 2] = [&rows_too_few, &narrower];
        let messages = encoders.map(|encode| {
            let tower = Tower {
                encode,
                rows: ROWS,
                chunk: CHUNK,
            };
            let error = grad_cache([tower], |[x]| Ok(x.sum()), &[]).unwrap_err();
            error.to_string()
        });
        let begin = "grad_cache: `the encoder's output` is";
        let expected = ["2 by 5, expected 4 by 5", "4 by 4, expected 4 by 5"];
        assert_eq!(messages, expected.map(|rest| format!("{begin} {rest}")));
    }

    #[test]
    fn a_frozen_tower_is_passed_over_in_the_second_pass() {
        let (images, texts, calls) = (Encoder::new(1), Encoder::new(10), Cell::new(0));
        let frozen = |range| {
            calls.set(calls.get() + 1);
            Ok(images.encode(range)?.inner())
        };
        let encoders: [&dyn Fn(Range<usize>) -> _; 2] = [&frozen, &|range| texts.encode(range)];
        let towers = encoders.map(|encode| Tower {
            encode,
            rows: ROWS,
            chunk: CHUNK,
        });
        let scale = Tensor::full([1, 1], 5.0, &texts.first.device());
        let loss = |[x, y]: [Tensor<2>; 2]| clip_loss(x, y, scale);
        let leaves: [&dyn Leaf; 2] = [&texts.first, &images.first];
        let cached = grad_cache(towers, loss, &leaves).unwrap();
        assert_eq!(calls.get(), ROWS.div_ceil(CHUNK));
        assert!(cached.gradients[0].is_some() && cached.gradients[1].is_none());
    }

    #[test]
    fn a_loss_of_constants_has_a_value_and_no_gradients() {
        let encoder = Encoder::new(5);
        let tower = Tower {
            encode: &|range| encoder.encode(range),
            rows: ROWS,
            chunk: CHUNK,
        };
        let leaves: [&dyn Leaf; 1] = [&encoder.first];
        let cached = grad_cache([tower], |[x]| Ok(x.inner().zeros_like().sum()), &leaves).unwrap();
        assert_eq!((cached.loss, cached.gradients), (0.0, vec![None]));
    }

    #[test]
    fn a_leaf_that_the_loss_does_not_depend_on_has_no_gradient() {
        let (encoder, other) = (Encoder::new(5), random(2, 2, 1).require_grad());
        let tower = Tower {
            encode: &|range| encoder.encode(range),
            rows: ROWS,
            chunk: CHUNK,
        };
        let leaves: [&dyn Leaf; 2] = [&encoder.first, &other];
        let cached = grad_cache([tower], |[x]| Ok(x.square().sum()), &leaves).unwrap();
        assert!(cached.gradients[0].is_some() && cached.gradients[1].is_none());
    }
}
