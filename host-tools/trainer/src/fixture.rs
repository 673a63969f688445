//! Small made-up inputs for the tests: six classes, two groups, two related groups.

use crate::recipe::Inputs;
use crate::rng::Rng;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::path::{Path, PathBuf};

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// The three feature files and `recipe.toml` in a folder that goes away with the fixture.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut rng = Rng::new(5);
        let mut floats = |count: usize| bytes((0..count).map(|_| 2.0 * rng.unit() - 1.0));
        let (weight, bias, pictures) = (floats(6 * 8), floats(6), floats(20 * 8));
        let sentences = floats(20 * 4);
        let (seen, head) = (floats(20 * 3), floats(6 * 3));
        let (photos, opinions) = (floats(6 * 8), bytes((0..18).map(|_| 1.0 / 6.0)));
        let group: Vec<i32> = (0..20).map(|n| n % 10).collect();
        let path = |name: &str| folder.path().join(name);
        write_tensors(
            &path("prototypes.safetensors"),
            &[
                ("weight", Dtype::F32, &[6, 8], &weight),
                ("bias", Dtype::F32, &[6], &bias),
            ],
        );
        write_tensors(
            &path("pictures.safetensors"),
            &[("features", Dtype::F32, &[20, 8], &pictures)],
        );
        write_tensors(
            &path("teacher.safetensors"),
            &[
                ("features", Dtype::F32, &[20, 3], &seen),
                ("weight", Dtype::F32, &[6, 3], &head),
                ("bias", Dtype::F32, &[6], &bias),
            ],
        );
        write_tensors(
            &path("photos.safetensors"),
            &[
                ("features", Dtype::F32, &[6, 8], &photos),
                ("posteriors", Dtype::F32, &[3, 6], &opinions),
            ],
        );
        write_tensors(
            &path("texts.safetensors"),
            &[
                ("features", Dtype::F32, &[20, 4], &sentences),
                ("group", Dtype::I32, &[20], &integers(&group)),
                (
                    "group_offsets",
                    Dtype::I32,
                    &[11],
                    &integers(&[0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 14]),
                ),
                (
                    "group_members",
                    Dtype::I32,
                    &[14],
                    &integers(&[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 4, 5, 0]),
                ),
                (
                    "group_related",
                    Dtype::I32,
                    &[10],
                    &integers(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
                ),
            ],
        );
        std::fs::write(path("recipe.toml"), RECIPE).expect("a recipe");
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn recipe(&self) -> PathBuf {
        self.folder.path().join("recipe.toml")
    }

    pub(crate) fn inputs(&self) -> Inputs {
        Inputs {
            prototypes: "prototypes.safetensors".into(),
            texts: "texts.safetensors".into(),
            pictures: "pictures.safetensors".into(),
            teachers: vec!["teacher.safetensors".into()],
            neighbourhood: None,
            photos: Some("photos.safetensors".into()),
        }
    }
}

const RECIPE: &str = r#"version = 1
name = "fixture"
seed = 3

[inputs]
prototypes = "prototypes.safetensors"
texts = "texts.safetensors"
pictures = "pictures.safetensors"
teachers = ["teacher.safetensors"]
photos = "photos.safetensors"

[model]
embedding = 4
shared_centre = true

[start]
ridge = 0.3
groups = 0.3

[teacher]
neighbours = 3
prior = 0.5

[loss]
clip = 1.0
pictures = 1.0
groups = 1.0
related = 0.5

[optimiser]
steps = 24
learning_rate = 1e-2
warmup = 4
weight_decay = 0.01
anchor = 0.1
text_rate = 0.5
pictures = 7
photos = 3
blend = 0.75
classes = 5
groups = 2

[output]
folder = "out"
checkpoint_every = 5
log_every = 2
"#;

fn bytes(numbers: impl Iterator<Item = f32>) -> Vec<u8> {
    numbers.flat_map(f32::to_le_bytes).collect()
}

fn integers(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

pub(crate) fn write_tensors(path: &Path, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
    let views = tensors.iter().map(|&(name, dtype, shape, data)| {
        (
            name,
            TensorView::new(dtype, shape.to_vec(), data).expect("shape and data agree"),
        )
    });
    std::fs::write(path, serialize(views, None).expect("distinct names")).expect("a feature file");
}
