//! One step: GradCache over the towers, the norm of gradients, AdamW, the moving average.

use std::cell::RefCell;
use std::ops::Range;

use burn::tensor::Tensor;

use super::caption::{Captioner, asked};
use super::inputs::Inputs;
use super::learner::Learner;
use super::loss_scale::LossScale;
use super::objective::{Sum, Targets, sum};
use super::recipe::{CAPTION, FitRecipe, Loss};
use super::share::{self, add_up};
use super::text_tower::{Group, TextTower};
use crate::TrainError;
use crate::loss::{Leaf, LossError, Tower, add, grad_cache_through};
use crate::model::{elements, unit_rows};
use crate::optim::{Average, Moments, clip_by_global_norm, warm_cosine};
use pinhole_ranks::Ranks;

/// A loss, its parts and its gradients.
pub(super) struct Gradients {
    pub(super) loss: f32,
    /// In the order of [`Loss::weights`], unweighted.
    pub(super) parts: Vec<f32>,
    /// Of every parameter of the learner; `None` for what does not train.
    pub(super) gradients: Vec<Option<Vec<f32>>>,
}

/// Loss and gradients of the whole batch, of which `inputs` and the texts of `targets` that train are this rank's share,
/// `chunk` of them at a time. The way back is computed for `factor` times the loss.
///
/// # Errors
/// What the encoders and the losses return.
pub(super) fn gradients(
    learner: &mut Learner,
    (loss, factor): (&Loss, f32),
    (inputs, chunk): (&Inputs, usize),
    (targets, ranks): (&Targets, &Ranks),
) -> Result<Gradients, TrainError> {
    learner.image.tower.prepare()?;
    let batch = Step {
        learner,
        loss,
        factor,
        inputs,
        targets,
        ranks,
        asked: ranks.gather(asked(&targets.ids))?.into_iter().sum(),
    };
    let (mut found, captions) = match chunk >= batch.rows() {
        true => batch.whole()?,
        false => batch.chunked(chunk)?,
    };
    if factor != 1.0 {
        let gradients = found.gradients.iter_mut().flatten().flatten();
        gradients.for_each(|x| *x /= factor);
    }
    add_up(ranks, &mut found, batch.learner)?;
    batch.add_captions(&mut found, captions)?;
    Ok(found)
}

struct Step<'a> {
    learner: &'a Learner,
    loss: &'a Loss,
    /// Of the loss on the way back.
    factor: f32,
    inputs: &'a Inputs<'a>,
    targets: &'a Targets,
    ranks: &'a Ranks,
    /// Tokens that the decoder is asked for in the whole batch.
    asked: usize,
}

impl Step<'_> {
    /// The text tower, where it trains and the batch has texts.
    fn texts(&self) -> Option<&TextTower> {
        let text = self.learner.text.as_ref();
        text.filter(|_| !self.targets.ids.is_empty())
    }

    /// Rows of this rank's pictures.
    fn rows(&self) -> usize {
        self.inputs.rows(self.learner.image.picture_len())
    }

    /// This rank's pictures `rows`, one behind the other.
    fn inputs(&self, rows: Range<usize>) -> Result<Vec<f32>, TrainError> {
        self.inputs.cut(rows, self.learner.image.picture_len())
    }

    /// The sum over the embeddings of all ranks, of which `images` and `texts` are this one's.
    fn sum(&self, images: Tensor<2>, texts: Option<Tensor<2>>) -> Result<Sum, TrainError> {
        let at = (self.ranks, &self.learner.image.tower.place);
        let images = share::whole(at, images, self.targets.blocks())?;
        let (loss, extras) = (self.loss, &self.learner.extras);
        let Some(texts) = texts else {
            return Ok(sum(loss, images, self.targets, extras)?);
        };
        let targets = Targets {
            texts: Some(unit_rows(share::whole(at, texts, 1)?)),
            ..self.targets.clone()
        };
        Ok(sum(loss, images, &targets, extras)?)
    }

    /// What the way back begins with.
    fn scaled(&self, loss: Tensor<1>) -> Tensor<1> {
        match self.factor {
            1.0 => loss,
            factor => loss.mul_scalar(factor),
        }
    }

    /// Adds the caption loss, of which every rank has found its share.
    fn add_captions(&self, found: &mut Gradients, share: f32) -> Result<(), TrainError> {
        if self.learner.captioner.is_none() {
            return Ok(());
        }
        let mut sum = vec![share];
        self.ranks.sum(&mut sum)?;
        found.loss += self.loss.caption * sum[0];
        self.loss.note(&mut found.parts, sum[0]);
        Ok(())
    }

    fn leaves(&self) -> Vec<Option<&Tensor<1>>> {
        (0..self.learner.len())
            .map(|index| self.learner.tensor(index))
            .collect()
    }

    /// The caption loss of the samples `rows` as their share of the batch's, from what the towers gave.
    fn captions(
        &self,
        captioner: &Captioner,
        pictures: Option<Tensor<3>>,
        groups: &[Group],
        rows: Range<usize>,
    ) -> Result<Tensor<1>, TrainError> {
        let ids = &self.targets.ids;
        let pictures = pictures.ok_or(LossError::Empty {
            loss: CAPTION,
            input: "tokens of pictures",
        })?;
        // Of several views the first is captioned.
        let pictures = pictures.narrow(0, 0, rows.len());
        captioner.share(
            &self.learner.extras,
            pictures,
            groups,
            &ids[rows],
            self.asked,
        )
    }

    /// What of the text tower is needed: its output, and the tokens that captions are made of.
    fn wanted(&self, text: &TextTower) -> Vec<usize> {
        let tokens = self.learner.captioner.map(|captioner| captioner.text);
        text.tower.graph.outputs[..1]
            .iter()
            .copied()
            .chain(tokens)
            .collect()
    }

    /// All rows at once; and the share of the caption loss, which the loss does not count.
    fn whole(&self) -> Result<(Gradients, f32), TrainError> {
        let (learner, ids) = (self.learner, &self.targets.ids);
        let captioner = learner.captioner.as_ref();
        let tokens = captioner.map(|captioner| captioner.image);
        let (images, tokens) = learner.image.see(&self.inputs(0..self.rows())?, tokens)?;
        let groups = match self.texts() {
            Some(text) => text.run(ids, &self.wanted(text))?,
            None => Vec::new(),
        };
        let texts = self.texts().map(|text| text.embeddings(&groups));
        let Sum { mut loss, parts } = self.sum(images, texts)?;
        let value = elements(loss.clone())[0];
        let mut captions = 0.0;
        if let Some(captioner) = captioner {
            let part = self.captions(captioner, tokens, &groups, 0..ids.len())?;
            captions = elements(part.clone())[0];
            loss = loss + part.mul_scalar(self.loss.caption);
        }
        let found = loss.is_tracked().then(|| self.scaled(loss).backward());
        let of = |leaf: &Tensor<1>| found.as_ref().and_then(|found| leaf.gradient(found));
        let leaves = self.leaves().into_iter();
        let found = Gradients {
            loss: value,
            parts,
            gradients: leaves.map(|leaf| leaf.and_then(of)).collect(),
        };
        Ok((found, captions))
    }

    /// Losses of the batch by GradCache, that of captions as a sum over chunks.
    fn chunked(&self, chunk: usize) -> Result<(Gradients, f32), TrainError> {
        let (learner, ids) = (self.learner, &self.targets.ids);
        let place = &learner.image.tower.place;
        let images = |rows: Range<usize>| learner.image.embed(&self.inputs(rows)?);
        let texts = |rows: Range<usize>| match self.texts() {
            Some(text) => text.embed(&ids[rows]),
            None => Ok(Tensor::zeros([rows.len(), 1], place.device())),
        };
        let all = self.leaves();
        let leaves: Vec<&dyn Leaf> = all
            .iter()
            .flatten()
            .map(|leaf| *leaf as &dyn Leaf)
            .collect();
        let parts = RefCell::new(Vec::new());
        let of_batch = |images: Tensor<2>, texts: Option<Tensor<2>>| {
            let sum = self.sum(images, texts)?;
            *parts.borrow_mut() = sum.parts;
            Ok(self.scaled(sum.loss))
        };
        let image = Tower {
            encode: &images,
            rows: self.rows(),
            chunk,
        };
        let text = Tower {
            encode: &texts,
            rows: ids.len(),
            chunk,
        };
        let mut cached = match self.texts() {
            Some(_) => grad_cache_through(
                [image, text],
                |[images, texts]| of_batch(images, Some(texts)),
                &leaves,
            )?,
            None => grad_cache_through([image], |[images]| of_batch(images, None), &leaves)?,
        };
        let mut captions = 0.0;
        if let (Some(captioner), Some(text)) = (&learner.captioner, self.texts()) {
            for start in (0..ids.len()).step_by(chunk) {
                let rows = start..ids.len().min(start + chunk);
                let inputs = self.inputs(rows.clone())?;
                let (_, tokens) = learner.image.see(&inputs, Some(captioner.image))?;
                let groups = text.run(&ids[rows.clone()], &self.wanted(text))?;
                let part = self.captions(captioner, tokens, &groups, rows)?;
                captions += elements(part.clone())[0];
                let found = part.mul_scalar(self.factor * self.loss.caption).backward();
                add(&mut cached.gradients, &leaves, &found);
            }
        }
        let mut found = cached.gradients.into_iter();
        let of_leaf = |leaf: &Option<&Tensor<1>>| leaf.and_then(|_| found.next().flatten());
        let found = Gradients {
            loss: cached.loss / self.factor,
            parts: parts.into_inner(),
            gradients: all.iter().map(of_leaf).collect(),
        };
        Ok((found, captions))
    }
}

impl Loss {
    /// Puts the caption loss among the parts of the others.
    fn note(&self, parts: &mut [f32], found: f32) {
        let place = self.weights().iter().position(|(name, _)| *name == CAPTION);
        if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
            *part = found;
        }
    }
}

/// The optimiser between two steps.
pub(super) struct Optimiser {
    /// Of every parameter of the learner; empty for what does not train.
    pub(super) moments: Vec<Moments>,
    /// Of every parameter of the learner.
    pub(super) average: Option<Average>,
    pub(super) loss_scale: LossScale,
    /// Factors of the learning rate, and whether weight decay applies.
    rates: Vec<(f32, bool)>,
}

impl Optimiser {
    pub(super) fn new(recipe: &FitRecipe, learner: &Learner) -> Self {
        let len = |index: usize| match learner.trains(index) {
            true => learner.data(index).len(),
            false => 0,
        };
        Self {
            moments: (0..learner.len())
                .map(|index| Moments::zero(len(index)))
                .collect(),
            average: recipe
                .optimiser
                .ema
                .map(|decay| Average::new(learner.values(), decay)),
            loss_scale: LossScale::new(recipe.optimiser.precision),
            rates: learner.rates(recipe),
        }
    }

    /// Moves the learner against `gradients`; the norm that all of them had, which is not finite where one is not, and
    /// then nothing moves.
    pub(super) fn step(
        &mut self,
        recipe: &super::recipe::Optimiser,
        (step, steps): (usize, usize),
        learner: &mut Learner,
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
        let top = warm_cosine(recipe.learning_rate, recipe.warmup, steps, step);
        for (index, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else {
                continue;
            };
            let mut data = learner.data(index).to_vec();
            let (rate, decays) = self.rates[index];
            let decay = if decays { recipe.weight_decay } else { 0.0 };
            self.moments[index].update(&mut data, gradient, step + 1, top * rate, decay);
            learner.set(index, data);
        }
        if let Some(average) = &mut self.average {
            let trains = (0..learner.len()).filter(|&index| learner.trains(index));
            trains.for_each(|index| average.update(index, learner.data(index)));
        }
        norm
    }

    /// The parameters that are written and measured: the averages where there are some.
    pub(super) fn products(&self, learner: &Learner) -> Vec<Vec<f32>> {
        match &self.average {
            Some(average) => average.values().to_vec(),
            None => learner.values(),
        }
    }
}
