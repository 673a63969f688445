//! TinyViT as timm names its keys: convolutions, then attention in windows, each pair of pixels with a bias by how far
//! they are apart.
//!
//! Wu et al., "TinyViT", 2022 (<https://arxiv.org/abs/2207.10666>).

use super::network::{Network, Size};
use crate::import::checkpoint::Checkpoint;
use crate::import::fold::{fitting, reals};
use crate::op::Unary;
use crate::{Op, ValueId};

/// Keys that every checkpoint of the family has.
pub(super) const MARKERS: &[&str] = &[
    "patch_embed.conv1.conv.weight",
    "stages.0.blocks.0.conv1.conv.weight",
    "stages.1.blocks.0.attn.attention_biases",
    "stages.1.blocks.0.local_conv.conv.weight",
    "head.norm.weight",
];
/// Rows of pixels behind one of the last map.
const REDUCTION: usize = 32;
/// Most pixels of a side of a window: those of the network for 512 pixels.
const MAX_WINDOW: usize = 32;
const GELU: Option<Unary> = Some(Unary::Gelu);

/// Pixels of a side for which one window covers the last map, if the checkpoint has that window.
pub(super) fn side(checkpoint: &Checkpoint, stages: usize) -> Option<usize> {
    let last = stages.checked_sub(1)?;
    let shape = checkpoint.shape(&biases(&format!("stages.{last}.blocks.0")))?;
    Some(shape.get(1)?.isqrt() * REDUCTION)
}

/// Whether windows cover the maps of a picture of `side` exactly.
///
/// # Errors
/// With the sentence for it, when they do not, or are larger than any of the family.
pub(super) fn fits(checkpoint: &Checkpoint, side: usize) -> Result<(), String> {
    for (key, tensor) in &checkpoint.tensors {
        let stage = key
            .strip_prefix("stages.")
            .filter(|_| key.ends_with(".attention_biases"))
            .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        let (Some(stage), &[_, pixels]) = (stage, tensor.shape.as_slice()) else {
            continue;
        };
        let window = pixels.isqrt();
        let map = side.checked_shr(stage + 2).unwrap_or(0);
        let square = window * window == pixels && (1..=MAX_WINDOW).contains(&window);
        if !square || map == 0 || !map.is_multiple_of(window) {
            return Err(format!(
                "{key} has windows of {pixels} pixels, expected squares that cover {map} × {map} pixels, which a picture \
                 with a side of {side} has there"
            ));
        }
    }
    Ok(())
}

/// The features of a picture: (1, channels).
pub(super) fn features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let square = Size::Square(3);
    let x = layer(net, "patch_embed.conv1", square, 2, GELU, image);
    let mut x = layer(net, "patch_embed.conv2", square, 2, None, x);
    for (stage, &count) in blocks.iter().enumerate() {
        if stage > 0 {
            let name = |number| format!("stages.{stage}.downsample.conv{number}");
            x = layer(net, &name(1), Size::Pixel, 1, GELU, x);
            x = layer(net, &name(2), Size::Depthwise, 2, GELU, x);
            x = layer(net, &name(3), Size::Pixel, 1, None, x);
        }
        for number in 0..count {
            let prefix = format!("stages.{stage}.blocks.{number}");
            x = match stage {
                0 => convolutions(net, &prefix, x),
                _ => transformer(net, &prefix, x),
            };
        }
    }
    let mean = net.pooled("head.global_pool", x);
    let width = net.channels(mean);
    let row = net.reshaped("head.flatten", &[1, width], mean);
    net.layer_norm("head.norm", row)
}

/// `{name}.conv` and `{name}.bn`.
fn layer(
    net: &mut Network<'_>,
    name: &str,
    size: Size,
    stride: usize,
    activation: Option<Unary>,
    x: ValueId,
) -> ValueId {
    net.conv_in(name, ["conv", "bn"], size, stride, activation, x)
}

/// An inverted residual, with an activation behind the sum.
fn convolutions(net: &mut Network<'_>, prefix: &str, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{prefix}.{part}");
    let y = layer(net, &name("conv1"), Size::Pixel, 1, GELU, x);
    let y = layer(net, &name("conv2"), Size::Depthwise, 1, GELU, y);
    let y = layer(net, &name("conv3"), Size::Pixel, 1, None, y);
    let sum = net.add(&name("add"), x, y);
    net.activated(&name("act"), Unary::Gelu, sum)
}

/// x + attention, a depthwise convolution, and x + MLP.
fn transformer(net: &mut Network<'_>, prefix: &str, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{prefix}.{part}");
    let attended = attention(net, prefix, x);
    let x = net.add(&name("attn.add"), x, attended);
    let x = layer(net, &name("local_conv"), Size::Depthwise, 1, None, x);
    let shape = net.graph.values[x].shape.clone();
    let channels = net.channels(x);
    let pixels = shape[1] * shape[2];
    let rows = net.reshaped(&name("mlp.rows"), &[pixels, channels], x);
    let y = net.layer_norm(&name("mlp.norm"), rows);
    let y = net.linear(&name("mlp.fc1"), None, y);
    let y = net.activated(&name("mlp.act"), Unary::Gelu, y);
    let y = net.linear(&name("mlp.fc2"), Some(channels), y);
    let sum = net.add(&name("mlp.add"), rows, y);
    net.reshaped(&name("mlp.picture"), &shape, sum)
}

/// Attention of the pixels of each window.
fn attention(net: &mut Network<'_>, prefix: &str, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{prefix}.attn.{part}");
    let shape = net.graph.values[x].shape.clone();
    let &[_, height, width, channels] = shape.as_slice() else {
        return x;
    };
    let [num_heads, pixels] = [0, 1].map(|d| net.weights.size(&biases(prefix), d));
    let window = pixels.isqrt().max(1);
    let [down, across] = [height / window, width / window];
    let rows = [height * width, channels];
    let mut y = if down * across == 1 {
        net.reshaped(&name("rows"), &rows, x)
    } else {
        let shape = [down, window, across, window * channels];
        turned(net, &name("windows"), shape, &rows, x)
    };
    y = net.layer_norm(&name("norm"), y);
    let heads = queries_keys_values(net, &name("qkv"), num_heads.max(1), y);
    let bias = bias(net, prefix, [num_heads, window, pixels]);
    let head_width = channels.checked_div(num_heads).unwrap_or(1);
    let op = Op::Attention {
        num_heads,
        scale: (head_width as f32).sqrt().recip(),
        windows: down * across,
        causal: false,
    };
    let inputs = [heads[0], heads[1], heads[2], bias];
    y = net.graph.add_node(name("mixed"), op, &inputs, &rows);
    y = net.linear(&name("proj"), Some(channels), y);
    if down * across == 1 {
        return net.reshaped(&name("picture"), &shape, y);
    }
    let windows = [down, across, window, window * channels];
    turned(net, &name("picture"), windows, &shape, y)
}

/// The elements as `from`, its two middle dimensions exchanged, as `to`.
fn turned(
    net: &mut Network<'_>,
    name: &str,
    from: [usize; 4],
    to: &[usize],
    x: ValueId,
) -> ValueId {
    let x = net.reshaped(&format!("{name}.from"), &from, x);
    let op = Op::Transpose {
        permutation: vec![0, 2, 1, 3],
    };
    let [a, b, c, d] = from;
    let x = net
        .graph
        .add_node(format!("{name}.turned"), op, &[x], &[a, c, b, d]);
    net.reshaped(name, to, x)
}

/// The three products of a matrix whose rows are queries, keys and values of the first head, of the second, …
fn queries_keys_values(
    net: &mut Network<'_>,
    name: &str,
    num_heads: usize,
    x: ValueId,
) -> [ValueId; 3] {
    let width = net.channels(x);
    let weight = net
        .weights
        .take(&format!("{name}.weight"), &[3 * width, width]);
    let bias = net.weights.take(&format!("{name}.bias"), &[3 * width]);
    let parts = [&weight, &bias].map(reals);
    [("q", 0), ("k", 1), ("v", 2)].map(|(part, index)| {
        let of_part = |numbers: &Vec<f64>| -> Vec<f64> {
            let run = (numbers.len() / (3 * num_heads)).max(1);
            let runs = numbers.chunks(run).skip(index).step_by(3);
            runs.flatten().copied().collect()
        };
        let product = [of_part(&parts[0]), of_part(&parts[1])];
        net.product(&format!("{name}.{part}"), product, width, x)
    })
}

/// The bias of each pair of pixels: (num_heads, pixels, pixels), from one number for each distance down and across.
fn bias(net: &mut Network<'_>, prefix: &str, [num_heads, window, pixels]: [usize; 3]) -> ValueId {
    let key = biases(prefix);
    let by_distance = net.weights.take(&key, &[num_heads, window * window]);
    let mut pairs = Vec::with_capacity(num_heads * pixels * pixels);
    for head in by_distance
        .as_f32()
        .unwrap_or_default()
        .chunks_exact((window * window).max(1))
    {
        for query in 0..pixels {
            pairs.extend((0..pixels).map(|other| {
                let down = (query / window).abs_diff(other / window);
                let across = (query % window).abs_diff(other % window);
                head[down * window + across]
            }));
        }
    }
    let tensor = fitting(&[num_heads, pixels, pixels], pairs);
    net.graph.add_constant(key, tensor)
}

fn biases(prefix: &str) -> String {
    format!("{prefix}.attn.attention_biases")
}
