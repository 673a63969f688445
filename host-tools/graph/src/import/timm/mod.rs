//! The networks that students are usually made of, from checkpoints with the keys of timm: ResNet, MobileNetV2 to V4,
//! RepViT and TinyViT; ResNet, MobileNetV2 and V3 with those of torchvision too.
//!
//! Sizes come from tensors; strides, activations and padding from the architecture's name, or they are the family's.
//! [`config_beside`] finds the name, [`import`] builds the graph with batch normalisation folded in. Not here: the
//! image towers of open_clip that timm makes, which [`super::clip`] reads.

mod architecture;
mod config;
mod mobilenet;
mod network;
mod repvit;
mod resnet;
mod tiny_vit;
mod torchvision;

use super::ImportError;
use super::checkpoint::Checkpoint;
use super::efficientnet_lite::Output;
use super::fold::EPSILON;
use crate::{Graph, ModelKind, PictureGeometry, ValueId};
use network::{Network, Padding};

pub use architecture::{Architecture, Family};
pub use config::{Config, config_beside};

/// Of batch normalisation in TensorFlow, and in torchvision's MobileNetV3.
const TENSORFLOW_EPSILON: f64 = 1e-3;

/// Whose keys a checkpoint has, if it is of a family here.
pub fn recognises(checkpoint: &Checkpoint) -> Option<Family> {
    let mut families = architecture::FAMILIES.into_iter();
    families
        .find(|family| family.has_keys(checkpoint))
        .or_else(|| torchvision::family(checkpoint))
}

/// Names of networks, for `--arch`.
pub fn names() -> impl Iterator<Item = &'static str> {
    architecture::ARCHITECTURES.iter().map(|known| known.name)
}

/// Keys that every checkpoint of a family has, and what messages call the family.
pub(super) fn markers() -> Vec<(&'static str, Vec<String>)> {
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let families = architecture::FAMILIES.iter();
    let torchvision = torchvision::MARKERS.into_iter();
    families
        .map(|family| (family.name(), owned(family.markers())))
        .chain(torchvision.map(|(name, _, keys)| (name, owned(keys))))
        .collect()
}

/// Builds the graph: input `image` (1, side, side, 3), normalised; output the features behind global pooling (1, n),
/// with what timm has between them and the classifier, or the logits.
///
/// # Errors
/// When the number of blocks is of no such network, or keys are missing, left over or of another shape.
pub fn import(
    checkpoint: &Checkpoint,
    config: &Config,
    output: Output,
) -> Result<Graph, ImportError> {
    if !config.torchvision {
        return built(checkpoint, config, output);
    }
    let layers = torchvision::Layers::of(checkpoint, config.family)
        .map_err(|what| ImportError::malformed(&checkpoint.path, what))?;
    built(&layers.renamed(checkpoint), config, output).map_err(|error| match error {
        ImportError::Keys(faults) => ImportError::Keys(layers.named_back(faults)),
        other => other,
    })
}

/// [`import`] of a checkpoint with timm's keys.
fn built(checkpoint: &Checkpoint, config: &Config, output: Output) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    let family = config.family;
    let blocks = stages(checkpoint, family);
    check_blocks(config, &blocks).map_err(fault)?;
    if family == Family::TinyVit {
        tiny_vit::fits(checkpoint, config.side).map_err(fault)?;
    }
    let name = match config.architecture {
        Some(architecture) => architecture.name.to_owned(),
        None => format!("{}-{}", family.name(), joined(&blocks, "-")),
    };
    let tensorflow = config.architecture.is_some_and(|known| known.tensorflow);
    let padding = match tensorflow {
        true => Padding::Same,
        false => Padding::Symmetric,
    };
    let epsilon = match tensorflow || config.torchvision && family == Family::MobileNetV3 {
        true => TENSORFLOW_EPSILON,
        false => EPSILON,
    };
    let mut net = Network {
        weights: checkpoint.weights(name.clone()),
        graph: Graph::empty(name),
        padding,
        epsilon,
    };
    let side = config.side;
    let image = net.graph.add_value("image", &[1, side, side, 3]);
    net.graph.inputs.push(image);
    let mut end = features(&mut net, family, &blocks, image);
    if output == Output::Logits {
        end = logits(&mut net, family, end);
    }
    net.graph.outputs.push(end);
    let Network { weights, graph, .. } = net;
    let classifier = format!("{}.", family.classifier());
    weights.finish(|key| {
        key.ends_with("num_batches_tracked")
            || output == Output::Features && key.starts_with(&classifier)
    })?;
    Ok(described(graph, checkpoint, config, output))
}

fn features(net: &mut Network<'_>, family: Family, blocks: &[usize], image: ValueId) -> ValueId {
    match family {
        Family::ResNet => resnet::features(net, blocks, image),
        Family::MobileNetV2 => mobilenet::v2_features(net, blocks, image),
        Family::MobileNetV3 => mobilenet::v3_features(net, blocks, image),
        Family::MobileNetV4 => mobilenet::v4_features(net, blocks, image),
        Family::RepVit => repvit::features(net, blocks, image),
        Family::TinyVit => tiny_vit::features(net, blocks, image),
    }
}

fn logits(net: &mut Network<'_>, family: Family, features: ValueId) -> ValueId {
    match family {
        Family::RepVit => repvit::logits(net, features),
        _ => net.linear(family.classifier(), None, features),
    }
}

/// Blocks of each stage that a checkpoint has.
fn stages(checkpoint: &Checkpoint, family: Family) -> Vec<usize> {
    let has_any = |prefix: String| {
        let next = checkpoint.tensors.range(prefix.clone()..).next();
        next.is_some_and(|(key, _)| key.starts_with(&prefix))
    };
    let blocks = |stage: usize| {
        let stage = family.stage(stage);
        (0..)
            .take_while(|block| has_any(format!("{stage}.{block}.")))
            .count()
    };
    (0..).map(blocks).take_while(|&count| count > 0).collect()
}

/// Whether a network has these blocks.
fn check_blocks(config: &Config, found: &[usize]) -> Result<(), String> {
    let family = config.family;
    let known: Vec<&[usize]> = match config.architecture {
        Some(architecture) => vec![architecture.blocks],
        None => architecture::ARCHITECTURES
            .iter()
            .filter(|known| known.family == family)
            .map(|known| known.blocks)
            .collect(),
    };
    let fits = match config.architecture.is_some() || family.shares_keys() {
        true => known.contains(&found),
        false => known.iter().any(|known| known.len() == found.len()),
    };
    if fits {
        return Ok(());
    }
    let mut expected: Vec<String> = known.iter().map(|known| joined(known, ", ")).collect();
    expected.dedup();
    let name = config
        .architecture
        .map_or(family.name(), |known| known.name);
    Err(format!(
        "no {name}: found stages of {} blocks, expected {}; other networks with these keys come \
         as ONNX: pinhole import model.onnx",
        joined(found, ", "),
        expected.join(", or ")
    ))
}

fn joined(numbers: &[usize], between: &str) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    numbers.join(between)
}

/// The graph with what is not computation.
fn described(mut graph: Graph, checkpoint: &Checkpoint, config: &Config, output: Output) -> Graph {
    let meta = &mut graph.meta;
    meta.kind = match output {
        Output::Features => ModelKind::ImageEncoder,
        Output::Logits => ModelKind::Other,
    };
    meta.geometry = Some(PictureGeometry {
        width: config.side,
        height: config.side,
        resize_shorter: config.resize_shorter(),
        mean: config.mean,
        std: config.std,
    });
    let mut note = |key: &str, text: String| drop(meta.source.insert(key.to_owned(), text));
    note("architecture", graph.name.clone());
    note("checkpoint_sha256", checkpoint.sha256.clone());
    if let Some(interpolation) = &config.interpolation {
        note("interpolation", interpolation.clone());
    }
    if !config.assumed.is_empty() {
        note("assumed", config.assumed.join(", "));
    }
    graph
}
