//! Pictures with labels, for `--max-drop`.

use std::path::Path;

use pinhole_data::{Cifar10, ImageFolder, load_picture};
use pinhole_graph::Graph;
use pinhole_quantize::{Input, Labelled};

use super::{Calibration, inputs};
use crate::encoder::ImageEncoder;
use crate::failure::{Failure, Outcome};
use crate::output::note;

/// Pictures of each class of CIFAR-10's training split.
const PICTURES_OF_A_CLASS: usize = 100;
/// Classes of CIFAR-10.
const CIFAR10_CLASSES: usize = 10;

/// The points and the pictures of `--max-drop` and `--labelled`, where they were given.
pub(super) fn load(
    graph: &Graph,
    name: &Path,
    choices: &Calibration,
) -> Outcome<Option<(f64, Labelled)>> {
    let (Some(points), Some(source)) = (choices.max_drop, &choices.labelled) else {
        return Ok(None);
    };
    let encoder = ImageEncoder::new(name.display(), inputs::loaded(graph, name)?)?;
    let classes = match source.strip_prefix("cifar10:") {
        Some(dir) => cifar10(&encoder, dir, choices)?,
        None if choices.calibrate.contains(source) => {
            return Err(Failure::new(format_args!(
                "{source}: found it as --calibrate and as --labelled, expected pictures apart"
            ))
            .help("keep some pictures of each class for --labelled"));
        }
        None => folders(&encoder, source)?,
    };
    let few = classes.iter().filter(|class| class.len() < 2).count();
    if few > 0 || classes.len() < 2 {
        return Err(Failure::new(format_args!(
            "{source}: found {} classes, {few} of them with fewer than 2 pictures, expected 2 or more of each",
            classes.len()
        ))
        .help("a folder with one folder of pictures for each class"));
    }
    Ok(Some((points, Labelled::halves(classes))))
}

/// The last pictures of each class of the training split, without those that calibrate.
fn cifar10(encoder: &ImageEncoder, dir: &str, choices: &Calibration) -> Outcome<Vec<Vec<Input>>> {
    let data = Cifar10::train_labelled(dir)?;
    let calibrating = inputs::cifar10_indices(data.len(), choices);
    let class = |class: usize| {
        let pictures = (0..data.len()).rev();
        let apart = pictures
            .filter(|&index| data.label(index) == Some(class) && !calibrating.contains(&index));
        let inputs = apart.take(PICTURES_OF_A_CLASS);
        inputs
            .map(|index| Ok(encoder.input_f32(&data.picture(index))?.into()))
            .collect()
    };
    (0..CIFAR10_CLASSES).map(class).collect()
}

fn folders(encoder: &ImageEncoder, source: &str) -> Outcome<Vec<Vec<Input>>> {
    let folder = ImageFolder::open(source)?;
    let mut classes = vec![Vec::new(); folder.classnames.len()];
    for sample in &folder.samples {
        match load_picture(&sample.path) {
            Ok(picture) => classes[sample.label].push(encoder.input_f32(&picture)?.into()),
            Err(error) => note!("left out: {error}"),
        }
    }
    Ok(classes)
}
