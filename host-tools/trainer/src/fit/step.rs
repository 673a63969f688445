//! One step: GradCache over the student, the norm of gradients, AdamW, the moving average.

use std::cell::RefCell;
use std::ops::Range;

use burn::tensor::Tensor;

use super::extras::Extras;
use super::objective::{Targets, sum};
use super::recipe::{FitRecipe, Loss};
use super::share::{add_up, whole};
use super::student::Student;
use crate::TrainError;
use crate::loss::{Leaf, Tower, grad_cache_through};
use crate::model::elements;
use crate::optim::{Average, Moments, clip_by_global_norm, layer_rates, warm_cosine};
use crate::ranks::Ranks;

/// A loss, its parts and its gradients.
pub(super) struct Gradients {
    pub(super) loss: f32,
    /// In the order of [`Loss::weights`], unweighted.
    pub(super) parts: Vec<f32>,
    /// Of the student's leaves and then the extras; `None` for what does not train.
    pub(super) gradients: Vec<Option<Vec<f32>>>,
}

/// Loss and gradients of the whole batch, of which the blocks of `pictures`, one behind the other, are this rank's share,
/// `chunk` of them at a time.
///
/// # Errors
/// What the encoder and the losses return.
pub(super) fn gradients(
    student: &mut Student,
    extras: &Extras,
    loss: &Loss,
    (pictures, chunk): (&[&[f32]], usize),
    (targets, ranks): (&Targets, &Ranks),
) -> Result<Gradients, TrainError> {
    student.prepare()?;
    let student = &*student;
    let len = student.picture_len();
    let rows = pictures.iter().map(|block| block.len()).sum::<usize>() / len;
    let encode =
        |rows: Range<usize>| student.embed(&cut(pictures, rows.start * len..rows.end * len));
    let trains = (0..student.leaves.len())
        .map(|index| student.leaves[index].trains.then(|| student.tensor(index)));
    let all: Vec<Option<&Tensor<1>>> = trains
        .chain(extras.0.iter().map(|extra| Some(&extra.tensor)))
        .collect();
    let lens: Vec<usize> = extras.0.iter().map(|extra| extra.data.len()).collect();
    if chunk >= rows {
        let embeddings = whole(ranks, encode(0..rows)?, targets.blocks())?;
        let sum = sum(loss, embeddings, targets, extras)?;
        let value = elements(sum.loss.clone())[0];
        let found = sum.loss.is_tracked().then(|| sum.loss.backward());
        let of = |leaf: &Tensor<1>| found.as_ref().and_then(|found| leaf.gradient(found));
        let mut found = Gradients {
            loss: value,
            parts: sum.parts,
            gradients: all.into_iter().map(|leaf| leaf.and_then(of)).collect(),
        };
        add_up(ranks, &mut found, student, &lens)?;
        return Ok(found);
    }
    let leaves: Vec<&dyn Leaf> = all
        .iter()
        .flatten()
        .map(|leaf| *leaf as &dyn Leaf)
        .collect();
    let parts = RefCell::new(Vec::new());
    let of_batch = |[embeddings]: [Tensor<2>; 1]| {
        let embeddings = whole(ranks, embeddings, targets.blocks())?;
        let sum = sum(loss, embeddings, targets, extras)?;
        *parts.borrow_mut() = sum.parts;
        Ok(sum.loss)
    };
    let tower = Tower {
        encode: &encode,
        rows,
        chunk,
    };
    let cached = grad_cache_through([tower], of_batch, &leaves)?;
    let mut of_leaves = cached.gradients.into_iter();
    let mut found = Gradients {
        loss: cached.loss,
        parts: parts.into_inner(),
        gradients: all
            .iter()
            .map(|leaf| leaf.and_then(|_| of_leaves.next().flatten()))
            .collect(),
    };
    add_up(ranks, &mut found, student, &lens)?;
    Ok(found)
}

/// The numbers `range` of `blocks`, which are one behind the other.
fn cut(blocks: &[&[f32]], range: Range<usize>) -> Vec<f32> {
    let (mut found, mut start) = (Vec::with_capacity(range.len()), 0);
    for block in blocks {
        let place = |number: usize| number.clamp(start, start + block.len()) - start;
        found.extend_from_slice(&block[place(range.start)..place(range.end)]);
        start += block.len();
    }
    found
}

/// The optimiser between two steps.
pub(super) struct Optimiser {
    /// Of the student's leaves and then the extras; empty for what does not train.
    pub(super) moments: Vec<Moments>,
    /// Of the student's leaves.
    pub(super) average: Option<Average>,
    /// Factors of the learning rate.
    rates: Vec<f32>,
    decays: Vec<bool>,
}

impl Optimiser {
    pub(super) fn new(recipe: &FitRecipe, student: &Student, extras: &Extras) -> Self {
        let of_layer = layer_rates(student.layers, recipe.optimiser.layer_decay);
        let range_rate = recipe
            .quantise
            .as_ref()
            .map_or(1.0, |quantise| quantise.range_rate);
        let leaves = || student.leaves.iter();
        let of_leaf = leaves().map(|leaf| {
            let rate = of_layer[leaf.layer];
            if leaf.is_range {
                rate * range_rate
            } else {
                rate
            }
        });
        let len = |index: usize| {
            if student.leaves[index].trains {
                student.data(index).len()
            } else {
                0
            }
        };
        let lens = (0..student.leaves.len()).map(len);
        let lens = lens.chain(extras.0.iter().map(|extra| extra.data.len()));
        Self {
            moments: lens.map(Moments::zero).collect(),
            average: recipe
                .optimiser
                .ema
                .map(|decay| Average::new(values(student), decay)),
            rates: of_leaf.chain(extras.0.iter().map(|_| 1.0)).collect(),
            decays: leaves()
                .map(|leaf| leaf.decays)
                .chain(extras.0.iter().map(|extra| extra.decays))
                .collect(),
        }
    }

    /// Moves student and extras against `gradients`; the norm that all of them had, which is not finite where one is
    /// not, and then nothing moves.
    pub(super) fn step(
        &mut self,
        recipe: &super::recipe::Optimiser,
        (step, steps): (usize, usize),
        (student, extras): (&mut Student, &mut Extras),
        gradients: &mut [Option<Vec<f32>>],
    ) -> f32 {
        let mut slices: Vec<&mut [f32]> = gradients
            .iter_mut()
            .flatten()
            .map(Vec::as_mut_slice)
            .collect();
        let norm = clip_by_global_norm(&mut slices, recipe.clip_norm.unwrap_or(f32::INFINITY));
        if !norm.is_finite() {
            return norm;
        }
        let rate = warm_cosine(recipe.learning_rate, recipe.warmup, steps, step);
        let of_student = student.leaves.len();
        for (index, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else {
                continue;
            };
            let mut data = match index.checked_sub(of_student) {
                None => student.data(index).to_vec(),
                Some(extra) => extras.0[extra].data.clone(),
            };
            let decay = if self.decays[index] {
                recipe.weight_decay
            } else {
                0.0
            };
            self.moments[index].update(
                &mut data,
                gradient,
                step + 1,
                rate * self.rates[index],
                decay,
            );
            match index.checked_sub(of_student) {
                None => student.set(index, data),
                Some(extra) => extras.set(extra, data),
            }
        }
        if let Some(average) = &mut self.average {
            let trains = (0..of_student).filter(|index| student.leaves[*index].trains);
            trains.for_each(|index| average.update(index, student.data(index)));
        }
        norm
    }

    /// What is written and measured: the average where there is one.
    pub(super) fn products(&self, student: &Student) -> Vec<Vec<f32>> {
        match &self.average {
            Some(average) => average.values().to_vec(),
            None => values(student),
        }
    }
}

fn values(student: &Student) -> Vec<Vec<f32>> {
    (0..student.leaves.len())
        .map(|index| student.data(index).to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn blocks_are_cut_as_if_they_were_one() {
        let blocks: [&[f32]; 4] = [&[0.0, 1.0], &[2.0], &[], &[3.0, 4.0, 5.0]];
        let whole = blocks.concat();
        for start in 0..=6 {
            for end in start..=6 {
                assert_eq!(cut(&blocks, start..end), whole[start..end]);
            }
        }
    }
}
