//! The weighted sum of a recipe's losses over the embeddings of a batch.
//!
//! Rows of the student are views, one behind the other, and behind them the turned pictures where there are some.
//! Losses between pictures and texts, and those against teachers, are averaged over views. Shares of teachers sum to 1.

use burn::tensor::Tensor;

use super::extras::Extras;
use super::recipe::{CAPTION, Distance, Loss};
use crate::loss::{
    FeatureDistance, LossError, Mining, Negatives, PositiveSum, Score, Towers, Transform,
    affinity_loss, clip_loss, contrastive_distill_loss, feature_loss, interactive_loss,
    logit_distill_loss, relation_loss, siglip_loss, sup_con_loss, transform_loss,
    triplet_loss_in_batch,
};
use crate::model::{elements, unit_rows};

/// What the embeddings of a batch of `n` samples are compared with.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    /// Samples.
    pub(super) samples: usize,
    pub(super) views: usize,
    /// Unit rows of the texts, `[n, width]`.
    pub(super) texts: Option<Tensor<2>>,
    /// Token ids of this rank's texts, for a text tower that trains and gives `texts`; else none.
    pub(super) ids: Vec<Vec<u32>>,
    /// Unit rows of the classes, `[classes, width]`.
    pub(super) classes: Option<Tensor<2>>,
    pub(super) labels: Vec<Option<usize>>,
    pub(super) teachers: Vec<Opinion>,
    pub(super) transforms: Vec<Transform>,
}

impl Targets {
    /// Rows of the student for each sample: views, and the turned picture where there is one.
    pub(super) fn blocks(&self) -> usize {
        self.views + usize::from(!self.transforms.is_empty())
    }
}

/// What a teacher says of a batch.
#[derive(Clone, Debug)]
pub(super) struct Opinion {
    /// Unit rows of each view, `[n, its width]`.
    pub(super) images: Vec<Tensor<2>>,
    /// Unit rows of the texts in its space, `[n, its width]`.
    pub(super) texts: Option<Tensor<2>>,
    /// Unit rows of the classes in its space, `[classes, its width]`.
    pub(super) classes: Option<Tensor<2>>,
    pub(super) logit_scale: f32,
    /// Its share.
    pub(super) weight: f32,
}

/// A sum and its parts.
pub(super) struct Sum {
    pub(super) loss: Tensor<1>,
    /// In the order of [`Loss::weights`], unweighted; 0 where the weight is.
    pub(super) parts: Vec<f32>,
}

/// The sum over raw embeddings `[rows, width]` of the student.
///
/// # Errors
/// Targets that a loss does not take.
pub(super) fn sum(
    loss: &Loss,
    embeddings: Tensor<2>,
    targets: &Targets,
    extras: &Extras,
) -> Result<Sum, LossError> {
    let device = embeddings.device();
    let batch = Rows {
        loss,
        unit: unit_rows(embeddings.clone()),
        raw: embeddings,
        targets,
        extras,
    };
    let mut total: Option<Tensor<1>> = None;
    let mut parts = Vec::new();
    for (name, weight) in loss.weights() {
        if weight == 0.0 {
            parts.push(0.0);
            continue;
        }
        let Some(part) = batch.part(name)? else {
            parts.push(0.0);
            continue;
        };
        parts.push(elements(part.clone())[0]);
        let part = part.mul_scalar(weight);
        total = Some(match total {
            Some(total) => total + part,
            None => part,
        });
    }
    Ok(Sum {
        loss: total.unwrap_or_else(|| Tensor::zeros([1], &device)),
        parts,
    })
}

struct Rows<'a> {
    loss: &'a Loss,
    unit: Tensor<2>,
    raw: Tensor<2>,
    targets: &'a Targets,
    extras: &'a Extras,
}

impl Rows<'_> {
    /// One loss; `None` where the batch has nothing for it.
    fn part(&self, name: &str) -> Result<Option<Tensor<1>>, LossError> {
        match name {
            // No loss of embeddings: the step adds it.
            CAPTION => Ok(None),
            "clip" => self.of_views(|rows| self.with_texts(rows, clip_loss)),
            "siglip" => self.of_views(|rows| {
                self.with_texts(rows, |rows, texts, scale| {
                    siglip_loss(rows, texts, scale, self.extras.logit_bias())
                })
            }),
            "sup_con" => self.sup_con(),
            "triplet" => self.triplet(),
            "transform" => self.transform(),
            _ => self.of_teachers(name),
        }
    }

    /// The unit rows of a view.
    fn view(&self, of: &Tensor<2>, view: usize) -> Tensor<2> {
        let samples = self.targets.samples;
        of.clone().narrow(0, view * samples, samples)
    }

    fn of_views(
        &self,
        part: impl Fn(Tensor<2>) -> Result<Option<Tensor<1>>, LossError>,
    ) -> Result<Option<Tensor<1>>, LossError> {
        let views = self.targets.views;
        let parts: Result<Vec<_>, _> = (0..views)
            .map(|view| part(self.view(&self.unit, view)))
            .collect();
        let parts: Option<Vec<_>> = parts?.into_iter().collect();
        let sum = parts.and_then(|parts| parts.into_iter().reduce(|a, b| a + b));
        Ok(sum.map(|sum| sum.div_scalar(views as f32)))
    }

    fn with_texts(
        &self,
        rows: Tensor<2>,
        part: impl Fn(Tensor<2>, Tensor<2>, Tensor<2>) -> Result<Tensor<1>, LossError>,
    ) -> Result<Option<Tensor<1>>, LossError> {
        let texts = self.targets.texts.clone();
        texts
            .map(|texts| part(rows, texts, self.extras.logit_scale()))
            .transpose()
    }

    /// The rows that have a label, or, where none has, all, each labelled by its sample.
    fn labelled(&self) -> (Tensor<2>, Vec<usize>) {
        let Targets {
            samples,
            views,
            labels,
            ..
        } = self.targets;
        let unlabelled = labels.iter().all(Option::is_none);
        let label = |sample: usize| {
            if unlabelled {
                Some(sample)
            } else {
                labels[sample]
            }
        };
        let all = (0..views * samples).filter_map(|row| Some((row, label(row % samples)?)));
        let (rows, labels): (Vec<usize>, Vec<usize>) = all.unzip();
        let parts = rows
            .iter()
            .map(|&row| self.unit.clone().narrow(0, row, 1))
            .collect::<Vec<_>>();
        let rows = match parts.len() == views * samples {
            true => self.unit.clone().narrow(0, 0, views * samples),
            false => Tensor::cat(parts, 0),
        };
        (rows, labels)
    }

    fn sup_con(&self) -> Result<Option<Tensor<1>>, LossError> {
        let (rows, labels) = self.labelled();
        if !has_pair(&labels) {
            return Ok(None);
        }
        let scale = Tensor::full([1, 1], self.loss.sup_con_scale, &self.raw.device());
        sup_con_loss(rows, &labels, &Score::Dot, scale, PositiveSum::Outside).map(Some)
    }

    fn triplet(&self) -> Result<Option<Tensor<1>>, LossError> {
        let (rows, labels) = self.labelled();
        if !has_pair(&labels) || labels.iter().all(|label| *label == labels[0]) {
            return Ok(None);
        }
        triplet_loss_in_batch(
            rows,
            &labels,
            self.loss.margin,
            &Score::Dot,
            Mining::SemiHard,
        )
        .map(Some)
    }

    fn transform(&self) -> Result<Option<Tensor<1>>, LossError> {
        let Some(head) = self.extras.transform_head() else {
            return Ok(None);
        };
        let transforms = &self.targets.transforms;
        let turned = self.view(&self.unit, self.targets.views);
        transform_loss(self.view(&self.unit, 0), turned, &head, transforms).map(Some)
    }

    /// A loss against every teacher, by their shares.
    fn of_teachers(&self, name: &str) -> Result<Option<Tensor<1>>, LossError> {
        let teachers = &self.targets.teachers;
        let all: f32 = teachers.iter().map(|teacher| teacher.weight).sum();
        let mut total: Option<Tensor<1>> = None;
        for (index, teacher) in teachers.iter().enumerate() {
            for (view, images) in teacher.images.iter().enumerate() {
                let part = self.of_teacher(name, (index, teacher), view, images.clone())?;
                let share = teacher.weight / all / teacher.images.len() as f32;
                let part = part.mul_scalar(share);
                total = Some(match total {
                    Some(total) => total + part,
                    None => part,
                });
            }
        }
        Ok(total)
    }

    fn of_teacher(
        &self,
        name: &str,
        (index, teacher): (usize, &Opinion),
        view: usize,
        images: Tensor<2>,
    ) -> Result<Tensor<1>, LossError> {
        let student = self.view(&self.unit, view);
        // A linear map is applied before rows get length 1.
        let mapped = || match self.extras.projection(index) {
            Some(projection) => unit_rows(self.view(&self.raw, view).matmul(projection)),
            None => student.clone(),
        };
        let constant = |value: f32| Tensor::full([1, 1], value, &self.raw.device());
        let missing = |input| LossError::Empty {
            loss: "a loss against a teacher",
            input,
        };
        let towers = || -> Result<[Towers; 2], LossError> {
            let (Some(own), Some(texts)) = (&self.targets.texts, &teacher.texts) else {
                return Err(missing("texts"));
            };
            let own = Towers {
                images: student.clone(),
                texts: own.clone(),
                logit_scale: self.extras.logit_scale(),
            };
            let others = Towers {
                images: images.clone(),
                texts: texts.clone(),
                logit_scale: constant(teacher.logit_scale),
            };
            Ok([own, others])
        };
        match name {
            "feature" => {
                let distance = match self.loss.feature_distance {
                    Distance::Cosine => FeatureDistance::Cosine,
                    Distance::MeanSquared => FeatureDistance::MeanSquared,
                };
                feature_loss(mapped(), images, None, distance)
            }
            "affinity" => towers().and_then(|[own, others]| affinity_loss(own, others)),
            "interactive" => towers().and_then(|[own, others]| interactive_loss(own, others)),
            "contrastive_distill" => {
                let scale = constant(self.loss.contrastive_scale);
                contrastive_distill_loss(mapped(), images, Negatives::InBatch, scale)
            }
            "relation" => relation_loss(student, images),
            _ => {
                let (Some(own), Some(classes)) = (&self.targets.classes, &teacher.classes) else {
                    return Err(missing("classes"));
                };
                let logits = student.matmul(own.clone().transpose()) * self.extras.logit_scale();
                let wanted = images
                    .matmul(classes.clone().transpose())
                    .mul_scalar(teacher.logit_scale);
                logit_distill_loss(logits, &[wanted], self.loss.temperature)
            }
        }
    }
}

fn has_pair(labels: &[usize]) -> bool {
    let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
    distinct.len() < labels.len()
}
