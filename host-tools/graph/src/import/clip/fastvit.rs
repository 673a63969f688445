//! MobileCLIP-S's image tower, a FastViT as timm names its keys: convolutions, in the last stages attention, and no positions.
//!
//! Vasu et al., "FastViT", 2023 (<https://arxiv.org/abs/2303.14189>) and "MobileCLIP", 2024
//! (<https://arxiv.org/abs/2311.17049>).
//!
//! ```text
//! stem ─ stages of ([halve the size] ─ [positions] ─ blocks) ─ convolution ─ mean ─ projection ─ embedding
//! ```
//!
//! The branches that training keeps apart are folded into one convolution each ([`crate::import::fold`]); a checkpoint that was saved
//! behind that (`reparam_conv`) is read too.

use super::blocks::Builder;
use super::keys::Side;
use super::{Config, Keys, image_encoder};
use crate::import::ImportError;
use crate::import::checkpoint::Checkpoint;
use crate::import::fold::{ByChannel, Kernel, fitting, reals, reorder};
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, Op, Tensor, ValueId};

/// The first convolution, before and behind folding.
pub(super) const STEM: [&str; 2] = [
    "visual.trunk.stem.0.conv_kxk.0.conv.weight",
    "visual.trunk.stem.0.reparam_conv.weight",
];
/// Keys that every such tower has before folding.
pub(super) const MARKERS: [&str; 4] = [
    STEM[0],
    "visual.trunk.stages.0.blocks.0.mlp.conv.conv.weight",
    "visual.trunk.final_conv.se.fc1.weight",
    "visual.trunk.head.fc.weight",
];
/// Where a configuration does not say how many pixels a side has.
pub(super) const SIDE: usize = 256;
/// Most of them.
const MAX_SIDE: usize = 4096;
/// Of attention.
const HEAD_WIDTH: usize = 32;
/// Strides of the stem.
const STEM_STRIDES: [usize; 3] = [2, 2, 1];
/// Of a convolution between stages.
const HALVING: usize = 2;

/// Builds the graph: input `image` (1, side, side, 3), normalised, output `embedding` (1, width of the shared space).
///
/// # Errors
/// When keys are missing, left over or of another shape, or the configuration names another network or a size that is none.
pub(super) fn import(checkpoint: &Checkpoint, config: &Config) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    if let Some(name) = config.trunk.as_ref().filter(|name| !is_known(name)) {
        return Err(fault(format!(
            "its image tower is timm's {name}, expected fastvit_mci0 to fastvit_mci4"
        )));
    }
    config.gathers_by("avg").map_err(fault)?;
    let side = config.image_size.unwrap_or(SIDE);
    if !(1..=MAX_SIDE).contains(&side) {
        return Err(fault(format!(
            "image_size is {side}, expected 1 to {MAX_SIDE}"
        )));
    }
    let stages = (0..).take_while(|stage| has_any(checkpoint, &format!("stages.{stage}.")));
    let layers: Vec<usize> = stages.map(|stage| blocks(checkpoint, stage)).collect();
    let mut tower = Builder {
        weights: checkpoint.weights(format!("a FastViT of {layers:?} blocks")),
        graph: Graph::empty(format!("fastvit-{side}-l{}", layers.iter().sum::<usize>())),
        checkpoint,
        config: &config.image,
        width: 0,
        head_width: HEAD_WIDTH,
        causal: false,
    };
    let image = tower.graph.add_value("image", &[1, side, side, 3]);
    tower.graph.inputs.push(image);
    let mut x = image;
    let scaled = has_any(checkpoint, "stem.0.conv_scale.");
    for (number, stride) in STEM_STRIDES.into_iter().enumerate() {
        let name = key(&format!("stem.{number}"));
        x = mobile_one(&mut tower, &name, stride, scaled, x);
        x = activated(&mut tower, &name, x);
    }
    for (stage, &count) in layers.iter().enumerate() {
        x = entered(&mut tower, stage, x);
        for block in 0..count {
            x = block_of(&mut tower, &format!("stages.{stage}.blocks.{block}"), x);
        }
    }
    let name = key("final_conv");
    let kernel = mobile_one_kernel(&mut tower, &name, 1, true, x);
    let (x, multiple) = widened(&mut tower, &name, &kernel, 1, x);
    let x = squeezed(&mut tower, &name, multiple, x);
    let x = activated(&mut tower, &name, x);
    let embedding = head(&mut tower, multiple, x);
    tower.graph.outputs.push(embedding);
    let Builder { weights, graph, .. } = tower;
    weights.finish(|key| {
        key.ends_with("num_batches_tracked")
            || Keys::OpenClipFastVit.side(key).may_stay(Side::Image)
    })?;
    Ok(image_encoder(graph, checkpoint, config, side))
}

/// Whether timm's name is that of a tower whose activations are as here.
fn is_known(name: &str) -> bool {
    let variant = name.split('.').next().unwrap_or(name);
    ["0", "1", "2", "3", "4"]
        .iter()
        .any(|number| variant.strip_prefix("fastvit_mci") == Some(*number))
}

/// A key of the tower.
fn key(part: &str) -> String {
    format!("visual.trunk.{part}")
}

/// Whether a checkpoint has a key of the tower that begins so.
fn has_any(checkpoint: &Checkpoint, prefix: &str) -> bool {
    let prefix = key(prefix);
    let next = checkpoint.tensors.range(prefix.clone()..).next();
    next.is_some_and(|(key, _)| key.starts_with(&prefix))
}

/// Blocks of a stage.
fn blocks(checkpoint: &Checkpoint, stage: usize) -> usize {
    let has = |block: &usize| has_any(checkpoint, &format!("stages.{stage}.blocks.{block}."));
    (0..).take_while(has).count()
}

/// One convolution of the branches of a MobileOne block: one of its size, one of single pixels, and the input itself where the
/// shape stays. `scaled`: a larger one has the branch of single pixels.
fn mobile_one(
    tower: &mut Builder<'_>,
    name: &str,
    stride: usize,
    scaled: bool,
    x: ValueId,
) -> ValueId {
    let kernel = mobile_one_kernel(tower, name, stride, scaled, x);
    kernel.node(&mut tower.graph, name, stride, Activation::None, x)
}

/// See [`mobile_one`].
fn mobile_one_kernel(
    tower: &mut Builder<'_>,
    name: &str,
    stride: usize,
    scaled: bool,
    x: ValueId,
) -> Kernel {
    let folded = format!("{name}.reparam_conv");
    if tower.weights.has(&format!("{folded}.weight")) {
        return Kernel::biased(&mut tower.weights, &folded);
    }
    let mut kernel = Kernel::normed(&mut tower.weights, &format!("{name}.conv_kxk.0"));
    let scale = format!("{name}.conv_scale");
    if scaled && (kernel.rows() > 1 || tower.weights.has(&format!("{scale}.conv.weight"))) {
        let other = Kernel::normed(&mut tower.weights, &scale);
        kernel.add(&other);
    }
    let channels = tower.columns(x);
    if stride == 1 && kernel.outputs() == channels {
        let norm = ByChannel::batch_norm(&mut tower.weights, &format!("{name}.identity"), channels);
        kernel.add_by_channel(&norm, 1.0);
    }
    kernel
}

/// A convolution of one or more outputs a channel, and how many: the channels come out as [`Kernel::depthwise`] says.
fn widened(
    tower: &mut Builder<'_>,
    name: &str,
    kernel: &Kernel,
    stride: usize,
    x: ValueId,
) -> (ValueId, usize) {
    let multiple = kernel.multiple(tower.columns(x));
    if multiple == 1 {
        return (
            kernel.node(&mut tower.graph, name, stride, Activation::None, x),
            1,
        );
    }
    let mut parts = Vec::new();
    for (number, part) in kernel.depthwise(multiple).iter().enumerate() {
        let name = format!("{name}.{number}");
        parts.push(part.node(&mut tower.graph, &name, stride, Activation::None, x));
    }
    let mut shape = tower.graph.values[parts[0]].shape.clone();
    shape[3] *= multiple;
    let op = Op::Concat { axis: 3 };
    (tower.graph.add_node(name, op, &parts, &shape), multiple)
}

/// What a stage begins with: half the size, and positions, each where the stage has it.
fn entered(tower: &mut Builder<'_>, stage: usize, mut x: ValueId) -> ValueId {
    let stage = format!("stages.{stage}");
    if has_any(tower.checkpoint, &format!("{stage}.downsample.")) {
        let name = key(&format!("{stage}.downsample.proj.0"));
        let folded = format!("{name}.reparam_conv");
        let kernel = if tower.weights.has(&format!("{folded}.weight")) {
            Kernel::biased(&mut tower.weights, &folded)
        } else {
            let mut large = Kernel::normed(&mut tower.weights, &format!("{name}.large_conv"));
            let small = Kernel::normed(&mut tower.weights, &format!("{name}.small_conv"));
            large.add(&small);
            large
        };
        let (wide, multiple) = widened(tower, &name, &kernel, HALVING, x);
        x = wide;
        if has_any(tower.checkpoint, &format!("{stage}.downsample.proj.0.se.")) {
            x = squeezed(tower, &name, multiple, x);
        }
        x = activated(tower, &name, x);
        let name = key(&format!("{stage}.downsample.proj.1"));
        let mut kernel = mobile_one_kernel(tower, &name, 1, true, x);
        kernel.reorder_inputs(multiple);
        x = kernel.node(&mut tower.graph, &name, 1, Activation::None, x);
        x = activated(tower, &name, x);
    }
    if has_any(tower.checkpoint, &format!("{stage}.pos_emb.")) {
        let name = key(&format!("{stage}.pos_emb"));
        let folded = format!("{name}.reparam_conv");
        let kernel = if tower.weights.has(&format!("{folded}.weight")) {
            Kernel::biased(&mut tower.weights, &folded)
        } else {
            let mut kernel = Kernel::biased(&mut tower.weights, &format!("{name}.pos_enc"));
            kernel.add_by_channel(&ByChannel::identity(tower.columns(x)), 1.0);
            kernel
        };
        x = kernel.node(&mut tower.graph, &name, 1, Activation::None, x);
    }
    x
}

/// A block that mixes pixels by convolution or by attention, and then channels.
fn block_of(tower: &mut Builder<'_>, block: &str, x: ValueId) -> ValueId {
    let attends = ["qkv", "proj"].map(|part| format!("{block}.token_mixer.{part}.weight"));
    let attends = attends.iter().any(|part| tower.weights.has(&key(part)));
    let name = key(block);
    if attends {
        let x = attended(tower, &name, x);
        channels_mixed(tower, &name, "layer_scale_2", x)
    } else {
        let x = pixels_mixed(tower, &name, x);
        channels_mixed(tower, &name, "layer_scale", x)
    }
}

/// RepMixer: x + γ · (convolution of x − norm of x), one convolution.
fn pixels_mixed(tower: &mut Builder<'_>, block: &str, x: ValueId) -> ValueId {
    let name = format!("{block}.token_mixer");
    let folded = format!("{name}.reparam_conv");
    let kernel = if tower.weights.has(&format!("{folded}.weight")) {
        Kernel::biased(&mut tower.weights, &folded)
    } else {
        let mut kernel = mobile_one_kernel(tower, &format!("{name}.mixer"), 1, true, x);
        let channels = tower.columns(x);
        let norm = ByChannel::batch_norm(
            &mut tower.weights,
            &format!("{name}.norm.identity"),
            channels,
        );
        kernel.add_by_channel(&norm, -1.0);
        kernel.scale(&layer_scale(tower, &format!("{name}.layer_scale"), x));
        kernel.add_by_channel(&ByChannel::identity(channels), 1.0);
        kernel
    };
    kernel.node(&mut tower.graph, &name, 1, Activation::None, x)
}

/// x + γ · attention of the normed pixels.
fn attended(tower: &mut Builder<'_>, block: &str, x: ValueId) -> ValueId {
    let shape = tower.graph.values[x].shape.clone();
    let &[_, height, width, channels] = shape.as_slice() else {
        return x;
    };
    let name = |part: &str| format!("{block}.{part}");
    let tokens = [height * width, channels];
    let mut rows = tower
        .graph
        .add_node(name("rows"), Op::Reshape, &[x], &tokens);
    let norm = name("norm");
    // Batch normalisation goes into the products behind it.
    let before = if tower.weights.has(&format!("{norm}.running_mean")) {
        ByChannel::batch_norm(&mut tower.weights, &norm, channels)
    } else {
        rows = tower.layer_norm(&norm, rows);
        ByChannel::identity(channels)
    };
    let heads = queries_keys_values(tower, &name("token_mixer.qkv"), &before, rows);
    let mixed = tower.attention(&name("token_mixer"), heads);
    let product = name("token_mixer.proj");
    let gamma = layer_scale(tower, &name("layer_scale_1"), x);
    let weight = tower
        .weights
        .take(&format!("{product}.weight"), &[channels; 2]);
    let bias = tower.weights.take(&format!("{product}.bias"), &[channels]);
    let [weight, bias] = [weight, bias].map(|tensor| scaled_rows(&tensor, &gamma));
    let mixed = tower.product(&product, mixed, weight, Some(bias), channels);
    let mixed = tower
        .graph
        .add_node(name("picture"), Op::Reshape, &[mixed], &shape);
    added(tower, &name("token_mixer.add"), x, mixed)
}

/// The three products of the rows of a matrix (3 · width, width), of alpha · x + beta: the function goes into weight and bias.
fn queries_keys_values(
    tower: &mut Builder<'_>,
    name: &str,
    before: &ByChannel,
    x: ValueId,
) -> [ValueId; 3] {
    let width = tower.columns(x);
    let weight_key = format!("{name}.weight");
    let weight = reals(&tower.weights.take(&weight_key, &[3 * width, width]));
    let bias_key = format!("{name}.bias");
    let bias = if tower.weights.has(&bias_key) {
        reals(&tower.weights.take(&bias_key, &[3 * width]))
    } else {
        vec![0.0; 3 * width]
    };
    let mut folded = Vec::with_capacity(weight.len());
    let mut offsets = Vec::with_capacity(bias.len());
    for (row, bias) in weight.chunks_exact(width.max(1)).zip(&bias) {
        folded.extend(row.iter().zip(&before.alpha).map(|(w, a)| (w * a) as f32));
        let offset: f64 = row.iter().zip(&before.beta).map(|(w, b)| w * b).sum();
        offsets.push((bias + offset) as f32);
    }
    [("q", 0), ("k", 1), ("v", 2)].map(|(part, index)| {
        let rows = folded.get(index * width * width..(index + 1) * width * width);
        let weight = fitting(&[width; 2], rows.unwrap_or_default().to_vec());
        let rows = offsets.get(index * width..(index + 1) * width);
        let bias = fitting(&[width], rows.unwrap_or_default().to_vec());
        tower.product(&format!("{name}.{part}"), x, weight, Some(bias), width)
    })
}

/// x + γ · MLP of the convolved pixels.
fn channels_mixed(tower: &mut Builder<'_>, block: &str, scale: &str, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{block}.mlp.{part}");
    let kernel = Kernel::normed(&mut tower.weights, &name("conv"));
    let y = kernel.node(&mut tower.graph, &name("conv"), 1, Activation::None, x);
    let kernel = Kernel::biased(&mut tower.weights, &name("fc1"));
    let y = kernel.node(&mut tower.graph, &name("fc1"), 1, Activation::None, y);
    let y = activated(tower, &name("fc1"), y);
    let mut kernel = Kernel::biased(&mut tower.weights, &name("fc2"));
    kernel.scale(&layer_scale(tower, &format!("{block}.{scale}"), x));
    let y = kernel.node(&mut tower.graph, &name("fc2"), 1, Activation::None, y);
    added(tower, &name("add"), x, y)
}

/// Squeeze and excitation (Hu et al. 2017, <https://arxiv.org/abs/1709.01507>): each channel by a factor that the means of all
/// channels make. `multiple`: the order of the channels, see [`Kernel::depthwise`].
fn squeezed(tower: &mut Builder<'_>, block: &str, multiple: usize, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{block}.se.{part}");
    let channels = tower.columns(x);
    let shape = [1, 1, 1, channels];
    let mean = tower
        .graph
        .add_node(name("mean"), Op::GlobalAvgPool, &[x], &shape);
    let mut kernel = Kernel::biased(&mut tower.weights, &name("fc1"));
    kernel.reorder_inputs(multiple);
    let y = kernel.node(&mut tower.graph, &name("fc1"), 1, Activation::Relu, mean);
    let mut kernel = Kernel::biased(&mut tower.weights, &name("fc2"));
    kernel.reorder_outputs(multiple);
    let y = kernel.node(&mut tower.graph, &name("fc2"), 1, Activation::None, y);
    let function = Unary::Sigmoid;
    let factors = tower
        .graph
        .add_node(name("sigmoid"), Op::Unary { function }, &[y], &shape);
    binary(tower, &name("mul"), Binary::Mul, x, factors)
}

/// The mean over pixels, projected: (1, n). `multiple`: the order of the channels, see [`Kernel::depthwise`].
fn head(tower: &mut Builder<'_>, multiple: usize, x: ValueId) -> ValueId {
    let channels = tower.columns(x);
    let name = |part: &str| key(&format!("head.{part}"));
    let shape = [1, 1, 1, channels];
    let mean = tower
        .graph
        .add_node(name("mean"), Op::GlobalAvgPool, &[x], &shape);
    let row = tower
        .graph
        .add_node(name("row"), Op::Reshape, &[mean], &[1, channels]);
    let weight_key = name("fc.weight");
    let space = tower.size(&weight_key, 0);
    let mut weight = reals(&tower.weights.take(&weight_key, &[space, channels]));
    for row in weight.chunks_exact_mut(channels.max(1)) {
        reorder(row, 1, multiple);
    }
    let weight = weight.iter().map(|&weight| weight as f32).collect();
    let weight = fitting(&[space, channels], weight);
    let bias = tower.weights.take(&name("fc.bias"), &[space]);
    let projected = tower.product(&name("fc"), row, weight, Some(bias), space);
    tower.sequence("embedding", Op::NormalizeEmbedding, &[projected], space)
}

/// The factors of a branch, one a channel.
fn layer_scale(tower: &mut Builder<'_>, name: &str, x: ValueId) -> Vec<f64> {
    let shape = [tower.columns(x), 1, 1];
    reals(&tower.weights.take(&format!("{name}.gamma"), &shape))
}

/// A tensor whose rows are multiplied by one factor each; the stand-in for a fault stays one.
fn scaled_rows(tensor: &Tensor, factors: &[f64]) -> Tensor {
    let columns = tensor.len().checked_div(factors.len()).unwrap_or(0).max(1);
    let rows = tensor.as_f32().unwrap_or_default().chunks(columns);
    let scaled = rows
        .zip(factors)
        .flat_map(|(row, factor)| row.iter().map(move |&x| (f64::from(x) * factor) as f32))
        .collect();
    fitting(&tensor.shape, scaled)
}

fn activated(tower: &mut Builder<'_>, name: &str, x: ValueId) -> ValueId {
    let function = tower.config.activation;
    let shape = tower.graph.values[x].shape.clone();
    tower
        .graph
        .add_node(format!("{name}.act"), Op::Unary { function }, &[x], &shape)
}

fn added(tower: &mut Builder<'_>, name: &str, x: ValueId, y: ValueId) -> ValueId {
    binary(tower, name, Binary::Add, x, y)
}

fn binary(
    tower: &mut Builder<'_>,
    name: &str,
    function: Binary,
    x: ValueId,
    y: ValueId,
) -> ValueId {
    let op = Op::Binary {
        function,
        activation: Activation::None,
    };
    let shape = tower.graph.values[x].shape.clone();
    tower.graph.add_node(name, op, &[x, y], &shape)
}
