//! CLIP's residual network: three convolutions in the stem, an average in front of each stride, and a pool by attention whose
//! query is the mean of the picture.
//!
//! Radford et al. 2021, section 2.4, over He et al., "Deep Residual Learning", 2015 (<https://arxiv.org/abs/1512.03385>).

use super::blocks::{Builder, size};
use super::keys::Side;
use super::{Config, Keys, image_encoder};
use crate::import::ImportError;
use crate::import::checkpoint::Checkpoint;
use crate::import::layout::channels_last;
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Op, ValueId};

/// Rows and columns of pixels behind one of the last map.
const REDUCTION: usize = 32;
/// Of batch normalisation.
const EPSILON: f32 = 1e-5;
/// Of attention.
const HEAD_WIDTH: usize = 64;
/// Key of the positions of the pool.
pub(super) const POSITIONS: &str = "visual.attnpool.positional_embedding";

/// Builds the graph: input `image` (1, side, side, 3), normalised, output `embedding` (1, width of the shared space).
///
/// # Errors
/// When keys are missing, left over or of another shape, or positions are no square.
pub(super) fn import(checkpoint: &Checkpoint, config: &Config) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    let [tokens, width] = [0, 1].map(|d| size(checkpoint, POSITIONS, d));
    let grid = tokens.saturating_sub(1).isqrt();
    if grid == 0 || grid * grid + 1 != tokens || width == 0 || !width.is_multiple_of(HEAD_WIDTH) {
        return Err(fault(format!(
            "{POSITIONS} is ({tokens}, {width}), expected a square of tokens and one, and heads of {HEAD_WIDTH} columns"
        )));
    }
    let side = grid * REDUCTION;
    let layers: Vec<usize> = (1..=4).map(|layer| blocks(checkpoint, layer)).collect();
    let mut tower = Builder {
        weights: checkpoint.weights(format!("a CLIP ResNet of {layers:?} blocks")),
        graph: Graph::empty(format!("clip-resnet-{side}-w{width}")),
        checkpoint,
        config: &config.image,
        width,
        head_width: HEAD_WIDTH,
        causal: false,
    };
    let mut x = tower.graph.add_value("image", &[1, side, side, 3]);
    tower.graph.inputs.push(x);
    for (number, stride) in [(1, 2), (2, 1), (3, 1)] {
        let [conv, norm] = ["conv", "bn"].map(|part| format!("visual.{part}{number}"));
        x = convolution(&mut tower, &conv, &norm, stride, x);
        x = relu(&mut tower, &norm, x);
    }
    x = average(&mut tower, "visual.avgpool", x);
    for (layer, &count) in (1..).zip(&layers) {
        for block in 0..count {
            let stride = if block == 0 && layer > 1 { 2 } else { 1 };
            x = bottleneck(
                &mut tower,
                &format!("visual.layer{layer}.{block}"),
                stride,
                x,
            );
        }
    }
    let embedding = pooled(&mut tower, grid, x);
    let space = tower.columns(embedding);
    let embedding = tower.sequence("embedding", Op::NormalizeEmbedding, &[embedding], space);
    tower.graph.outputs.push(embedding);
    let Builder { weights, graph, .. } = tower;
    weights.finish(|key| {
        key.ends_with("num_batches_tracked") || Keys::OpenClip.side(key).may_stay(Side::Image)
    })?;
    Ok(image_encoder(graph, checkpoint, config, side))
}

/// Blocks of a layer.
fn blocks(checkpoint: &Checkpoint, layer: usize) -> usize {
    let has = |block: &usize| {
        let key = format!("visual.layer{layer}.{block}.conv1.weight");
        checkpoint.tensors.contains_key(&key)
    };
    (0..).take_while(has).count()
}

/// 1 × 1, 3 × 3, 1 × 1, and a way around them that is averaged and widened where the shape changes.
fn bottleneck(tower: &mut Builder<'_>, prefix: &str, stride: usize, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{prefix}.{part}");
    let mut y = x;
    for number in 1..=2 {
        let [conv, norm] = ["conv", "bn"].map(|part| name(&format!("{part}{number}")));
        y = convolution(tower, &conv, &norm, 1, y);
        y = relu(tower, &norm, y);
    }
    if stride > 1 {
        y = average(tower, &name("avgpool"), y);
    }
    y = convolution(tower, &name("conv3"), &name("bn3"), 1, y);
    let mut around = x;
    if tower.weights.has(&name("downsample.0.weight")) {
        if stride > 1 {
            around = average(tower, &name("downsample.-1"), around);
        }
        around = convolution(
            tower,
            &name("downsample.0"),
            &name("downsample.1"),
            1,
            around,
        );
    }
    let shape = tower.graph.values[y].shape.clone();
    let op = Op::Binary {
        function: Binary::Add,
        activation: Activation::Relu,
    };
    tower.graph.add_node(name("add"), op, &[y, around], &shape)
}

/// A convolution of odd size, padded to keep the size at stride 1, and the batch normalisation behind it.
fn convolution(
    tower: &mut Builder<'_>,
    conv: &str,
    norm: &str,
    stride: usize,
    x: ValueId,
) -> ValueId {
    let &[_, height, width, input] = tower.graph.values[x].shape.as_slice() else {
        return x;
    };
    let key = format!("{conv}.weight");
    let [output, kernel] = [0, 2].map(|d| tower.size(&key, d));
    let weight = tower.weights.take(&key, &[output, input, kernel, kernel]);
    let weight = tower.graph.add_constant(key, channels_last(&weight));
    let shape = [1, height.div_ceil(stride), width.div_ceil(stride), output];
    let op = Op::Conv2d {
        stride: [stride; 2],
        padding: [kernel / 2; 4],
        dilation: [1; 2],
        groups: 1,
        activation: Activation::None,
    };
    let y = tower.graph.add_node(conv, op, &[x, weight], &shape);
    let mut inputs = vec![y];
    for part in ["weight", "bias", "running_mean", "running_var"] {
        inputs.push(tower.constant(&format!("{norm}.{part}"), &[output]));
    }
    let op = Op::BatchNorm { epsilon: EPSILON };
    tower.graph.add_node(norm, op, &inputs, &shape)
}

fn relu(tower: &mut Builder<'_>, norm: &str, x: ValueId) -> ValueId {
    let shape = tower.graph.values[x].shape.clone();
    let function = Unary::Clip {
        min: 0.0,
        max: f32::INFINITY,
    };
    let name = format!("{norm}.relu");
    tower
        .graph
        .add_node(name, Op::Unary { function }, &[x], &shape)
}

/// The mean of every 2 × 2 pixels.
fn average(tower: &mut Builder<'_>, name: &str, x: ValueId) -> ValueId {
    let &[_, height, width, channels] = tower.graph.values[x].shape.as_slice() else {
        return x;
    };
    let op = Op::AvgPool {
        kernel: [2; 2],
        stride: [2; 2],
        padding: [0; 4],
        count_include_pad: false,
    };
    let shape = [1, height / 2, width / 2, channels];
    tower.graph.add_node(name, op, &[x], &shape)
}

/// The mean of the picture, in front of its pixels and each with its position, attends to all of them: (1, n).
fn pooled(tower: &mut Builder<'_>, grid: usize, x: ValueId) -> ValueId {
    let (tokens, width) = (grid * grid, tower.width);
    let key = |part: &str| format!("visual.attnpool.{part}");
    let rows = tower
        .graph
        .add_node(key("rows"), Op::Reshape, &[x], &[tokens, width]);
    let op = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let mean = tower.graph.add_node(key("mean"), op, &[rows], &[1, width]);
    let op = Op::Concat { axis: 0 };
    let shape = [tokens + 1, width];
    let all = tower
        .graph
        .add_node(key("tokens"), op, &[mean, rows], &shape);
    let positions = tower.constant(POSITIONS, &shape);
    let all = tower.add(&key("add"), all, positions);
    let query = tower.row(&key("query"), 0, all);
    let heads = [("q_proj", query), ("k_proj", all), ("v_proj", all)]
        .map(|(part, x)| tower.linear(&key(part), x));
    let mixed = tower.attention(&key("attention"), heads);
    tower.linear(&key("c_proj"), mixed)
}
