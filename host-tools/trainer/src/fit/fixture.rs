//! A folder with small encoders, pictures and a recipe, for tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use image::{Rgb, RgbImage};
use pinhole_graph::op::Reduce;
use pinhole_graph::{Graph, ModelKind, Op, Tensor};

use crate::network::fixture::encoder;
use crate::rng::Rng;
use crate::{FitReport, TrainError, TrainOptions, fit};

/// Words of the text encoder.
pub(super) const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\nof\nred\ngreen\nblue\n.\n";
/// Tokens of every text.
const TOKENS: usize = 8;
/// Numbers of an embedding.
pub(super) const WIDTH: usize = 6;
/// Pictures in all.
pub(super) const PICTURES: usize = 18;

/// Every loss of pictures and texts.
pub(super) const LOSSES: [&str; 11] = [
    "clip",
    "siglip",
    "sup_con",
    "triplet",
    "feature",
    "affinity",
    "interactive",
    "contrastive_distill",
    "relation",
    "logits",
    "transform",
];

pub(super) struct Fixture(tempfile::TempDir);

impl Fixture {
    /// `image.phg`, `teacher.phg`, `text.phg`, and pictures in three classes, `pictures` and `held` apart.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        encoder().save(path("image.phg")).unwrap();
        disturbed().save(path("teacher.phg")).unwrap();
        text().save(path("text.phg")).unwrap();
        let mut rng = Rng::new(4);
        for (class, name) in ["red", "green", "blue"].into_iter().enumerate() {
            for (set, count) in [("pictures", PICTURES / 3), ("held", 2)] {
                std::fs::create_dir_all(path(set).join(name)).unwrap();
                for number in 0..count {
                    let file = path(set).join(name).join(format!("{number}.png"));
                    picture(class, &mut rng).save(file).unwrap();
                }
            }
        }
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The rows of `log.csv`, NaN where a cell is empty.
    pub(super) fn log(&self) -> Vec<Vec<f32>> {
        let text = String::from_utf8(self.bytes("out/log.csv")).unwrap();
        let cell = |cell: &str| cell.parse().unwrap_or(f32::NAN);
        let rows = text.lines().skip(1);
        rows.map(|line| line.split(',').map(cell).collect())
            .collect()
    }

    /// Writes `recipe.toml`: the `sections` and those that every recipe has.
    pub(super) fn recipe(&self, sections: &str) -> PathBuf {
        let mut text = String::from("version = 2\nname = \"small\"\nseed = 7\n");
        let defaults = [
            ("[image]", "[image]\ngraph = \"image.phg\"\n"),
            (
                "[[data.train]]",
                "[[data.train]]\nkind = \"folder\"\npath = \"pictures\"\nclasses = true\n",
            ),
            (
                "[optimiser]",
                "[optimiser]\nsteps = 6\nbatch = 6\nlearning_rate = 3e-3\n",
            ),
            (
                "[output]",
                "[output]\nfolder = \"out\"\ncheckpoint_every = 1\nlog_every = 1\nevaluate_every = 3\n",
            ),
        ];
        for (head, default) in defaults {
            if !sections.contains(head) {
                text += default;
            }
        }
        let path = self.path("recipe.toml");
        std::fs::write(&path, text + sections).unwrap();
        path
    }

    /// Runs the recipe with `sections`, from its start.
    pub(super) fn fit(&self, sections: &str) -> Result<FitReport, TrainError> {
        fit(&self.recipe(sections), options())
    }

    /// Runs the recipe with `sections`, stopped after every step and resumed: the steps that it stopped at.
    pub(super) fn fit_in_pieces(&self, sections: &str) -> Vec<usize> {
        let recipe = self.recipe(sections);
        let stopping = || TrainOptions {
            resume: true,
            stop: Some(Arc::new(AtomicBool::new(true))),
            ..options()
        };
        let mut stops = Vec::new();
        while let Err(error) = fit(&recipe, stopping()) {
            let TrainError::Interrupted { step, .. } = error else {
                panic!("{error}");
            };
            stops.push(step);
            assert!(!self.path("out/image.phg").exists());
        }
        stops
    }

    /// That a run in `other` has the bytes of this one in `products`, and a report, a log and weights as every run.
    pub(super) fn same_products(&self, other: &Self, products: &[&str]) {
        for name in ["image.phg", "log.csv", "report.json"]
            .iter()
            .chain(products)
        {
            let name = format!("out/{name}");
            let (own, others) = (self.bytes(&name), other.bytes(&name));
            assert!(own == others, "{name} differs");
        }
    }

    /// That every recipe is refused with all of its parts.
    pub(super) fn refuses(&self, cases: &[(String, &[&str])]) {
        for (sections, expected) in cases {
            let message = self.refused(sections);
            for part in *expected {
                assert!(
                    message.contains(part),
                    "{sections}\n{message}\nlacks {part}"
                );
            }
        }
    }

    /// What a wrong recipe is told.
    pub(super) fn refused(&self, sections: &str) -> String {
        self.fit(sections).expect_err("it is wrong").to_string()
    }
}

/// The largest difference of two logs, absolute for numbers below 1.
pub(super) fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b));
    pairs.fold(0.0, |worst, (a, b)| {
        assert_eq!(a.is_nan(), b.is_nan());
        match a.is_nan() {
            true => worst,
            false => worst.max((a - b).abs() / a.abs().max(1.0)),
        }
    })
}

pub(super) fn options() -> TrainOptions {
    TrainOptions {
        quiet: true,
        ..TrainOptions::default()
    }
}

/// The encoder with other weights.
pub(super) fn disturbed() -> Graph {
    let (mut graph, mut rng) = (encoder(), Rng::new(8));
    for value in &mut graph.values {
        if let Some(constant) = &mut value.constant {
            let data = constant.as_f32().unwrap().iter();
            let data = data.map(|x| x * (0.6 + 0.8 * rng.unit())).collect();
            *constant = Tensor::f32(&constant.shape, data);
        }
    }
    graph
}

/// The mean of the rows of a text's tokens.
fn text() -> Graph {
    let mut graph = Graph::empty("text");
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.vocabulary = Some(WORDS.to_owned());
    graph.meta.max_tokens = Some(TOKENS);
    let ids = graph.add_value("ids", &[TOKENS]);
    graph.values[ids].is_ids = true;
    graph.inputs.push(ids);
    let (rows, mut rng) = (WORDS.lines().count(), Rng::new(2));
    let data = (0..rows * WIDTH).map(|_| 2.0 * rng.unit() - 1.0).collect();
    let table = graph.add_constant("table", Tensor::f32(&[rows, WIDTH], data));
    let x = graph.add_node("words", Op::Embedding, &[ids, table], &[TOKENS, WIDTH]);
    let mean = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let x = graph.add_node("mean", mean, &[x], &[1, WIDTH]);
    graph.outputs.push(x);
    graph
}

fn picture(class: usize, rng: &mut Rng) -> RgbImage {
    RgbImage::from_fn(18, 15, |_, _| {
        let mut pixel = [0u8; 3].map(|_| (90.0 * rng.unit()) as u8);
        pixel[class] += 120;
        Rgb(pixel)
    })
}
