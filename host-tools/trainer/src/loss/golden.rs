//! Every loss beside PyTorch: values and gradients of `tests/trainer/losses.py`, kept in
//! `tests/golden/losses.safetensors`, and the same gradients beside finite differences. A loss without a case fails a
//! test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::model::elements;

/// Of the largest element: of a gradient, and of the loss.
const TOLERANCE: f32 = 1e-5;

static FILE: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/losses.safetensors"
));

/// One loss on one set of arguments.
#[derive(Default)]
struct Case {
    /// The function and its variant, without the shape.
    name: String,
    matrices: BTreeMap<String, Tensor<2>>,
    settings: BTreeMap<String, f32>,
    lists: BTreeMap<String, Vec<usize>>,
    gradients: BTreeMap<String, Vec<f32>>,
    loss: f64,
}

impl Case {
    fn matrix(&self, name: &str) -> Tensor<2> {
        let found = self.matrices.get(name);
        let found = found.unwrap_or_else(|| panic!("{} has no matrix {name}", self.name));
        found.clone()
    }

    fn setting(&self, name: &str) -> f32 {
        self.settings[name]
    }

    fn list(&self, name: &str) -> &[usize] {
        &self.lists[name]
    }

    fn towers(&self, prefix: &str) -> Towers {
        let matrix = |name: &str| self.matrix(&format!("{prefix}{name}"));
        Towers {
            images: matrix("images"),
            texts: matrix("texts"),
            logit_scale: matrix("logit_scale"),
        }
    }

    fn negatives(&self, kind: &str) -> Negatives {
        match kind {
            "in_batch" => Negatives::InBatch,
            "shared" => Negatives::Shared(self.matrix("negatives")),
            "own" => Negatives::Own(self.matrix("negatives")),
            _ => panic!("no negatives are {kind}"),
        }
    }

    fn score(&self, kind: &str) -> Score {
        match kind {
            "dot" => Score::Dot,
            "cosine" => Score::Cosine,
            "l1" => Score::L1,
            "l2" => Score::L2,
            "squared_l2" => Score::SquaredL2,
            "bilinear" => Score::Bilinear(Box::new(self.matrix("weight"))),
            _ => panic!("no score is {kind}"),
        }
    }

    fn caption_options(&self) -> CaptionOptions {
        CaptionOptions {
            padding: Some(self.setting("padding") as usize),
            label_smoothing: *self.settings.get("label_smoothing").unwrap_or(&0.0),
        }
    }

    fn energy_form(&self, kind: &str) -> EnergyForm {
        match kind {
            "perceptron" => EnergyForm::Perceptron,
            "log" => EnergyForm::Log,
            "hinge" => EnergyForm::Hinge {
                margin: self.setting("margin"),
            },
            "square_square" => EnergyForm::SquareSquare {
                margin: self.setting("margin"),
            },
            "free_energy" => EnergyForm::NegativeLogLikelihood {
                beta: self.setting("beta"),
            },
            _ => panic!("no energy loss is {kind}"),
        }
    }

    fn function(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    fn variant(&self) -> &str {
        self.name.split('/').nth(1).unwrap_or_default()
    }

    fn evaluate(&self) -> Tensor<1> {
        let found = self.contrast().or_else(|| self.distillation());
        let found = found.unwrap_or_else(|| panic!("nothing here computes {}", self.name));
        found.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The loss, if it compares samples with each other or with labels.
    fn contrast(&self) -> Option<Result<Tensor<1>, LossError>> {
        let matrix = |name| self.matrix(name);
        let scale = || self.matrix("logit_scale");
        Some(match self.function() {
            "contrastive_loss" => {
                let same: Vec<bool> = self.list("same").iter().map(|&same| same == 1).collect();
                contrastive_loss(matrix("a"), matrix("b"), &same, self.setting("margin"))
            }
            "triplet_loss" => {
                let three = ["anchors", "positives", "negatives"];
                let [a, p, n] = three.map(matrix);
                triplet_loss(a, p, n, self.setting("margin"), &self.score(self.variant()))
            }
            "triplet_loss_in_batch" => {
                let ways = [
                    ("all_", Mining::All),
                    ("semi_hard_", Mining::SemiHard),
                    ("hard_", Mining::Hard),
                ];
                let strip = |(way, mining)| Some((self.variant().strip_prefix(way)?, mining));
                let (kind, mining) = ways.into_iter().find_map(strip)?;
                let (labels, margin) = (self.list("labels"), self.setting("margin"));
                let score = self.score(kind);
                triplet_loss_in_batch(matrix("embeddings"), labels, margin, &score, mining)
            }
            "nce_loss" => {
                let scored = |of: &str| Scored {
                    scores: self.matrix(of),
                    log_noise: self.matrix(&format!("log_noise_of_{of}")),
                };
                nce_loss(scored("data"), scored("noise"), matrix("log_normaliser"))
            }
            "info_nce" => info_nce(matrix("logits"), matrix("targets")),
            "info_nce_loss" => {
                let (negatives, score) = match self.variant().strip_prefix("in_batch_") {
                    Some(kind) => (Negatives::InBatch, self.score(kind)),
                    None => (self.negatives(self.variant()), Score::Dot),
                };
                let (queries, positives) = (matrix("queries"), matrix("positives"));
                info_nce_loss(queries, positives, negatives, &score, scale())
            }
            "blockwise" => {
                let of_scores =
                    |scores: Tensor<2>, [scale]: [Tensor<2>; 1]| clip::symmetric(scores * scale);
                let (a, b, score) = (matrix("a"), matrix("b"), self.score(self.variant()));
                blockwise(a, b, &score, [scale()], of_scores)
            }
            "sup_con_loss" => {
                let sum = match self.variant() {
                    "outside" => PositiveSum::Outside,
                    _ => PositiveSum::Inside,
                };
                let labels = self.list("labels");
                sup_con_loss(matrix("embeddings"), labels, &Score::Dot, scale(), sum)
            }
            "clip_loss" => clip_loss(matrix("images"), matrix("texts"), scale()),
            "siglip_loss" => {
                let bias = matrix("logit_bias");
                siglip_loss(matrix("images"), matrix("texts"), scale(), bias)
            }
            "group_loss" => {
                let targets = matrix("targets");
                group_loss(matrix("images"), matrix("texts"), scale(), targets)
            }
            "energy_loss" => {
                let form = self.energy_form(self.variant());
                energy_loss(matrix("energies"), self.list("answers"), form)
            }
            "transform_loss" => {
                let parts = ["first", "first_bias", "second", "second_bias"].map(matrix);
                let [first, first_bias, second, second_bias] = parts;
                let head = TransformHead {
                    first,
                    first_bias,
                    second,
                    second_bias,
                };
                let both = self.list("quarters").iter().zip(self.list("flips"));
                let transform = |(&quarters, &flip): (&usize, &usize)| Transform {
                    quarters,
                    flipped: flip == 1,
                };
                let transforms: Vec<_> = both.map(transform).collect();
                let (x, y) = (matrix("originals"), matrix("transformed"));
                transform_loss(x, y, &head, &transforms)
            }
            "caption_loss" => caption_loss(
                matrix("logits"),
                self.list("targets"),
                self.caption_options(),
            ),
            "coca_loss" => {
                let weights = CocaWeights {
                    contrastive: self.setting("contrastive_weight"),
                    caption: self.setting("caption_weight"),
                };
                let (logits, targets) = (matrix("logits"), self.list("targets"));
                let options = self.caption_options();
                coca_loss(self.towers(""), logits, targets, options, weights)
            }
            _ => return None,
        })
    }

    /// The loss, if it compares a student with a teacher.
    fn distillation(&self) -> Option<Result<Tensor<1>, LossError>> {
        let matrix = |name| self.matrix(name);
        let both = || (self.towers(""), self.towers("t_"));
        Some(match self.function() {
            "feature_loss" => {
                let distance = match self.variant().starts_with("cosine") {
                    true => FeatureDistance::Cosine,
                    false => FeatureDistance::MeanSquared,
                };
                let projection = self.matrices.get("projection").cloned();
                feature_loss(matrix("student"), matrix("teacher"), projection, distance)
            }
            "affinity_loss" => affinity_loss(both().0, both().1),
            "interactive_loss" => interactive_loss(both().0, both().1),
            "relation_loss" => relation_loss(matrix("student"), matrix("teacher")),
            "clip_kd_loss" => {
                let weights = ClipKdWeights {
                    feature: self.setting("feature_weight"),
                    relational: self.setting("relational_weight"),
                    interactive: self.setting("interactive_weight"),
                };
                clip_kd_loss(both().0, both().1, weights)
            }
            "contrastive_distill_loss" => {
                let (student, teacher) = (matrix("student"), matrix("teacher"));
                let negatives = self.negatives(self.variant());
                contrastive_distill_loss(student, teacher, negatives, matrix("logit_scale"))
            }
            "crd_loss" => {
                let [student, teacher, negatives] = ["student", "teacher", "negatives"].map(matrix);
                let population = self.setting("population") as usize;
                crd_loss(
                    student,
                    teacher,
                    negatives,
                    population,
                    matrix("logit_scale"),
                )
            }
            "logit_distill_loss" => {
                let teachers = ["first", "second"].map(matrix);
                logit_distill_loss(matrix("student"), &teachers, self.setting("temperature"))
            }
            _ => return None,
        })
    }

    /// The loss with matrix `name` moved by `by`.
    fn moved(&self, name: &str, by: Tensor<2>) -> f32 {
        let mut matrices = self.matrices.clone();
        let there = self.matrix(name).detach() + by;
        matrices.insert(name.to_owned(), there);
        let case = Self {
            name: self.name.clone(),
            matrices,
            settings: self.settings.clone(),
            lists: self.lists.clone(),
            ..Self::default()
        };
        elements(case.evaluate())[0]
    }
}

fn cases() -> Vec<Case> {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let device = Device::flex().autodiff();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    let mut learned = BTreeSet::new();
    for (key, view) in file.tensors() {
        let (path, part) = key.split_once(':').unwrap();
        let case = cases.entry(path.to_owned()).or_default();
        case.name = path.rsplit_once('/').unwrap().0.to_owned();
        let words = || {
            view.data()
                .chunks_exact(4)
                .map(|word| word.try_into().unwrap())
        };
        let floats = || words().map(f32::from_le_bytes).collect::<Vec<f32>>();
        match (view.dtype(), view.shape()) {
            (Dtype::F64, _) => case.loss = f64::from_le_bytes(view.data().try_into().unwrap()),
            (Dtype::I32, _) => {
                let list = words().map(|word| i32::from_le_bytes(word) as usize);
                case.lists.insert(part.to_owned(), list.collect());
            }
            (_, &[rows, columns]) => match part.strip_prefix("d.") {
                Some(of) => {
                    case.gradients.insert(of.to_owned(), floats());
                    learned.insert((path.to_owned(), of.to_owned()));
                }
                None => {
                    let data = TensorData::new(floats(), [rows, columns]);
                    let matrix = Tensor::from_data(data, &device);
                    case.matrices.insert(part.to_owned(), matrix);
                }
            },
            _ => {
                case.settings.insert(part.to_owned(), floats()[0]);
            }
        }
    }
    for (path, of) in learned {
        let case = cases.get_mut(&path).unwrap();
        let leaf = case.matrix(&of).require_grad();
        case.matrices.insert(of, leaf);
    }
    cases.into_values().collect()
}

#[test]
fn values_and_gradients_are_those_of_torch() {
    for case in cases() {
        let shapes: Vec<_> = case.matrices.values().map(Tensor::dims).collect();
        let place = format!("{} of {shapes:?}", case.name);
        let loss = case.evaluate();
        let found = elements(loss.clone())[0];
        let expected = case.loss as f32;
        let tolerance = TOLERANCE * expected.abs().max(0.1);
        let message = format!("{place}: {found}, torch {expected}");
        assert!((found - expected).abs() <= tolerance, "{message}");
        let gradients = loss.backward();
        assert!(!case.gradients.is_empty(), "{place}: nothing is learned");
        for (name, expected) in &case.gradients {
            let found = case.matrix(name).grad(&gradients).map(elements);
            let found = found.unwrap_or_else(|| panic!("{place}: no gradient of {name}"));
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(0.01f32, |a, b| a.max(b.abs()));
            for (at, (a, b)) in found.iter().zip(expected).enumerate() {
                let message = format!("{place}: element {at} of {name} {a}, torch {b}");
                assert!((a - b).abs() <= TOLERANCE * largest, "{message}");
            }
        }
    }
}

/// Along the gradient, where the loss changes most for a step of its size; along ones where there is none.
#[test]
fn gradients_are_those_of_finite_differences() {
    for case in cases() {
        let gradients = case.evaluate().backward();
        for name in case.gradients.keys() {
            let gradient = case.matrix(name).grad(&gradients).unwrap();
            let slope = elements(gradient.clone().square().sum())[0].sqrt();
            let direction = match slope > 1e-4 {
                true => gradient.div_scalar(slope),
                false => gradient.ones_like(),
            };
            let step = 2e-3;
            let [up, down] =
                [step, -step].map(|by| case.moved(name, direction.clone().mul_scalar(by)));
            let difference = (up - down) / (2.0 * step);
            let message = format!("{}: {name}: {slope}, differences {difference}", case.name);
            assert!(
                (difference - slope).abs() <= 1e-2 * slope.max(0.05),
                "{message}"
            );
        }
    }
}

#[test]
fn every_loss_has_a_case() {
    let of_file: BTreeSet<String> = cases()
        .iter()
        .map(|case| case.function().to_owned())
        .collect();
    let mut of_sources = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/loss");
    for path in sources(&folder) {
        of_sources.extend(losses_of(&std::fs::read_to_string(path).unwrap()));
    }
    assert!(of_sources.contains("clip_loss"), "{of_sources:?}");
    assert_eq!(of_sources, of_file);
}

#[test]
fn losses_are_found_in_sources() {
    let source = "pub fn one(x: Tensor<2>) -> Result<Tensor<1>, LossError> {}\n\
                  pub fn none(x: Tensor<2>) -> Result<Tensor<2>, LossError> {}\n\
                  pub fn of(x: impl Fn() -> Result<Tensor<1>, LossError>) -> Tensor<1> {}\n\
                  pub(crate) fn inner() -> Result<Tensor<1>, LossError> {}\n";
    assert_eq!(losses_of(source).collect::<Vec<_>>(), ["one"]);
}

/// Names of the public functions that give a loss.
fn losses_of(source: &str) -> impl Iterator<Item = String> {
    let mut parts = source.split("\npub fn ");
    let head = parts.next().unwrap_or_default();
    let first = head.strip_prefix("pub fn ").into_iter();
    first.chain(parts).filter_map(|part| {
        let signature = part.split('{').next()?;
        let is_loss = signature
            .trim_end()
            .ends_with(") -> Result<Tensor<1>, LossError>");
        is_loss.then(|| {
            signature
                .split(['(', '<'])
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}
