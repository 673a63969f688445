//! What the ranks of a run make of their shares of a batch: data parallelism of a loss over the whole batch.
//!
//! Every rank embeds its own samples and gathers the embeddings of the others, takes the loss `L` of all of them, and
//! goes back through its own rows alone. With `E_r` the rows of rank `r`,
//!
//! ```text
//! ∂L/∂θ = Σ_r ∂⟨E_r, ∂L/∂E_r⟩/∂θ
//! ```
//!
//! so that the sum over the ranks is the gradient that one process has. What the loss itself trains (`extras`) has its
//! whole gradient on every rank; that of the first one counts.

#[cfg(test)]
mod tests;

use burn::tensor::Tensor;

use super::learner::Learner;
use super::step::Gradients;
use crate::TrainError;
use crate::device::Place;
use crate::model::elements;
use pinhole_ranks::Ranks;

/// The embeddings of the whole batch, of which this rank's `own` keep their graph. Rows come in `blocks`, views and
/// turned pictures, one behind the other; in each block the ranks' samples do.
///
/// # Errors
/// A rank that is gone.
pub(super) fn whole(
    (ranks, place): (&Ranks, &Place),
    own: Tensor<2>,
    blocks: usize,
) -> Result<Tensor<2>, TrainError> {
    if ranks.count() == 1 {
        return Ok(own);
    }
    let width = own.dims()[1];
    let parts = ranks.gather_floats(elements(own.clone().detach()))?;
    let mut all = Vec::with_capacity(blocks * parts.len());
    for block in 0..blocks {
        for (rank, part) in parts.iter().enumerate() {
            let len = part.len() / blocks;
            all.push(match rank == ranks.rank() {
                true => own.clone().narrow(0, block * len / width, len / width),
                false => place.rows(part[block * len..(block + 1) * len].to_vec(), width),
            });
        }
    }
    Ok(Tensor::cat(all, 0))
}

/// Sums what every rank `found`: the gradients of the towers and of the captioner, whose loss every rank takes of its own
/// samples; the loss, its parts and the gradients of what the loss itself trains are those of the first rank.
///
/// # Errors
/// A rank that is gone.
pub(super) fn add_up(
    ranks: &Ranks,
    found: &mut Gradients,
    learner: &Learner,
) -> Result<(), TrainError> {
    if ranks.count() == 1 {
        return Ok(());
    }
    if !ranks.is_first() {
        found.loss = 0.0;
        found.parts.fill(0.0);
        for (index, gradient) in found.gradients.iter_mut().enumerate() {
            if let Some(gradient) = gradient
                && learner.is_of_loss(index)
            {
                gradient.fill(0.0);
            }
        }
    }
    let mut numbers = vec![found.loss];
    numbers.append(&mut found.parts);
    ranks.sum(&mut numbers)?;
    found.loss = numbers[0];
    found.parts = numbers.split_off(1);
    let present: Vec<bool> = found.gradients.iter().map(Option::is_some).collect();
    let present = ranks.gather(present)?;
    for (index, gradient) in found.gradients.iter_mut().enumerate() {
        if present.iter().any(|of_rank| of_rank[index]) {
            let zeros = || vec![0.0; learner.data(index).len()];
            ranks.sum(gradient.get_or_insert_with(zeros))?;
        }
    }
    Ok(())
}
