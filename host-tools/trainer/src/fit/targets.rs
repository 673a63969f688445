//! What the embeddings of a batch are compared with, and what of it is computed before the first step.
//!
//! The caches of teachers are the first rank's: it alone opens their files. What is missing in them all ranks compute,
//! each a share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::objective::{Opinion, Targets};
use super::run::{CHECKPOINT, Run, bar};
use super::teacher_cache::CHUNK;
use super::texts::FrozenTexts;
use crate::TrainError;
use crate::data::{Batch, Source};
use crate::loss::Transform;
use crate::output::{floats, to_floats};
use pinhole_ranks::{Ranks, RanksError};

/// What a rank tells of its share of a batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Samples {
    indices: Vec<usize>,
    labels: Vec<Option<usize>>,
    /// Quarters of a turn, and whether it is flipped, of each turned picture.
    transforms: Vec<(usize, bool)>,
}

impl Samples {
    /// Of the whole batch.
    fn of(batch: &Batch, ranks: &Ranks) -> Result<Self, TrainError> {
        let transforms = batch.transformed.iter().flat_map(|x| &x.transforms);
        let own = Self {
            indices: batch.indices.clone(),
            labels: batch.labels.clone(),
            transforms: transforms.map(|x| (x.quarters, x.flipped)).collect(),
        };
        let mut all = Self::default();
        for mut share in ranks.gather(own)? {
            all.indices.append(&mut share.indices);
            all.labels.append(&mut share.labels);
            all.transforms.append(&mut share.transforms);
        }
        Ok(all)
    }

    fn transforms(&self) -> Vec<Transform> {
        let transform = |&(quarters, flipped): &(usize, bool)| Transform { quarters, flipped };
        self.transforms.iter().map(transform).collect()
    }
}

/// Embeddings that a cache lacks: its number among `Setup::caches`, an epoch of augmentation, a view, samples.
type Job = (usize, usize, usize, Vec<usize>);

impl Run {
    /// What the embeddings of the whole batch are compared with, of which `batch` is this rank's share.
    pub(super) fn targets(&mut self, batch: &Batch) -> Result<Targets, TrainError> {
        let (setup, ranks) = (&mut self.setup, &self.ranks);
        let place = setup.place.clone();
        let samples = Samples::of(batch, ranks)?;
        let captions: Vec<&str> = batch
            .captions
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        // Either all samples have a text or none is asked for.
        let said = |texts: &mut FrozenTexts| -> Result<Option<Tensor<2>>, TrainError> {
            let width = texts.width();
            if captions.is_empty() {
                return Ok(None);
            }
            let own = ranks.agree(texts.rows(&captions))?;
            Ok(Some(place.rows(ranks.gather_floats(own)?.concat(), width)))
        };
        let texts = match &mut setup.texts {
            Some(texts) => said(texts)?,
            None => None,
        };
        // Each rank's own: its tower embeds them.
        let ids = match &self.state.learner.text {
            Some(text) => captions.iter().map(|caption| text.ids(caption)).collect(),
            None => Vec::new(),
        };
        let views = setup.options.views;
        let mut teachers = Vec::new();
        for teacher in &mut setup.teachers {
            let (cache, averaged) = (&mut teacher.cache, &teacher.averaged);
            let width = cache.encoder.width;
            let images = (0..views).map(|view| {
                let found = ranks.broadcast::<TrainError>(|| {
                    let found = match averaged {
                        Some(means) => {
                            let means = samples.indices.iter().map(|&index| means.row(index));
                            means.collect::<Vec<_>>().concat()
                        }
                        None => cache.rows(batch.position.epoch, view, &samples.indices)?,
                    };
                    Ok(floats(&found))
                });
                Ok(place.rows(to_floats(&found?), width))
            });
            teachers.push(Opinion {
                images: images.collect::<Result<_, TrainError>>()?,
                texts: match &mut teacher.texts {
                    Some(texts) => said(texts)?,
                    None => texts.clone(),
                },
                classes: teacher.classes.clone(),
                logit_scale: teacher.logit_scale,
                weight: teacher.weight,
            });
        }
        Ok(Targets {
            samples: samples.indices.len(),
            views,
            texts,
            ids,
            classes: setup.classes.clone(),
            transforms: samples.transforms(),
            labels: samples.labels,
            teachers,
        })
    }

    /// Computes what the teachers have not yet said of the pictures to come.
    pub(super) fn reinforce(&mut self, quiet: bool, stop: &AtomicBool) -> Result<(), TrainError> {
        if self.setup.teachers.is_empty() {
            return Ok(());
        }
        let jobs = self.missing()?;
        let count: usize = jobs.iter().map(|(.., missing)| missing.len()).sum();
        let template = "teachers {bar:24} {pos}/{len} views  {per_sec}  {eta} left";
        let progress = bar(quiet || count == 0, template, count);
        let mut done = 0;
        for (cache, epoch, view, missing) in jobs {
            for chunk in missing.chunks(CHUNK * self.ranks.count()) {
                self.embed(cache, (epoch, view), chunk)?;
                done += chunk.len();
                progress.inc(chunk.len() as u64);
                // What was computed is on the disk.
                if done < count && self.ranks.any(stop.load(Ordering::Relaxed))? {
                    progress.abandon();
                    return Err(TrainError::Interrupted {
                        step: self.state.step,
                        checkpoint: self.folder.join(CHECKPOINT),
                    });
                }
            }
        }
        progress.finish();
        Ok(())
    }

    /// What the first rank does not find in its caches.
    fn missing(&mut self) -> Result<Vec<Job>, TrainError> {
        let asked = self.samples_to_come();
        let setup = &mut self.setup;
        let views = match setup.loaded.recipe.reinforced.plain {
            true => 1,
            false => setup.options.views,
        };
        let found = self.ranks.broadcast::<TrainError>(|| {
            let mut jobs: Vec<Job> = Vec::new();
            // A teacher may say itself which pictures are alike.
            let mut asked_already = BTreeSet::new();
            for (index, cache) in setup.caches().enumerate() {
                if !asked_already.insert(cache.key.clone()) {
                    continue;
                }
                for (&epoch, samples) in &asked {
                    for view in 0..views {
                        let missing = cache.missing(epoch, view, samples)?;
                        jobs.push((index, epoch, view, missing));
                    }
                }
            }
            serde_json::to_vec(&jobs).map_err(unreadable)
        });
        serde_json::from_slice(&found?).map_err(unreadable)
    }

    /// Lets every rank embed its part of the samples `chunk`, and the first keep all.
    fn embed(
        &mut self,
        cache: usize,
        (epoch, view): (usize, usize),
        chunk: &[usize],
    ) -> Result<(), TrainError> {
        let ranks = &self.ranks;
        let cache = self.setup.caches().nth(cache);
        let cache = cache.expect("the job is one of a cache");
        let own = ranks.agree(cache.embed(epoch, view, ranks.part(chunk)))?;
        let (indices, embeddings): (Vec<usize>, Vec<Vec<f32>>) = own.into_iter().unzip();
        let indices = ranks.gather(indices)?.concat();
        let embeddings = ranks.gather_floats(embeddings.concat())?.concat();
        let kept = match ranks.is_first() {
            true => {
                let embeddings = embeddings.chunks_exact(cache.encoder.width);
                let rows = embeddings.map(<[f32]>::to_vec);
                let rows: Vec<_> = indices.into_iter().zip(rows).collect();
                cache.keep(epoch, view, &rows)
            }
            false => Ok(()),
        };
        ranks.agree(kept)
    }

    /// The samples of each epoch of augmentation that steps to come ask for.
    fn samples_to_come(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let recipe = &self.setup.loaded.recipe;
        if recipe.neighbourhood.is_some() {
            // A mean may ask for any of them.
            let all = (0..self.setup.source.samples().len()).collect();
            return BTreeMap::from([(0, all)]);
        }
        let epochs = match recipe.reinforced.plain {
            true => 1,
            false => recipe.reinforced.epochs,
        };
        let (per_epoch, batch) = (self.setup.plan.steps(), self.setup.options.batch);
        let mut asked: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut step = self.state.step;
        while step < self.steps {
            let (epoch, first) = (step / per_epoch, step % per_epoch);
            let last = per_epoch.min(first + self.steps - step);
            let samples = &self.setup.plan.epoch(epoch)[first * batch..last * batch];
            asked.entry(epoch % epochs).or_default().extend(samples);
            step += last - first;
        }
        asked
    }
}

fn unreadable(error: serde_json::Error) -> TrainError {
    RanksError(format!("what teachers have not said: {error}")).into()
}
