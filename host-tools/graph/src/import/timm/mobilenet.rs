//! MobileNets as timm names their keys: inverted residuals (V2), with squeeze and excitation and hard activations (V3),
//! universal ones with two optional depthwise convolutions (V4).
//!
//! Sandler et al., "MobileNetV2", 2018 (<https://arxiv.org/abs/1801.04381>); Howard et al., "Searching for
//! MobileNetV3", 2019 (<https://arxiv.org/abs/1905.02244>); Qin et al., "MobileNetV4", 2024
//! (<https://arxiv.org/abs/2404.10518>).

use super::network::{Network, RELU, RELU6, Size};
use crate::ValueId;
use crate::op::Unary;

/// Keys that every V2 has.
pub(super) const V2_MARKERS: &[&str] = &[
    "conv_stem.weight",
    "blocks.0.0.conv_dw.weight",
    "blocks.6.0.conv_pwl.weight",
    "conv_head.weight",
    "bn2.weight",
];
/// Keys that every V3 has.
pub(super) const V3_MARKERS: &[&str] = &[
    "conv_stem.weight",
    "blocks.0.0.conv_dw.weight",
    "blocks.1.0.conv_pwl.weight",
    "conv_head.weight",
    "conv_head.bias",
];
/// Keys that every V4 has.
pub(super) const V4_MARKERS: &[&str] = &[
    "conv_stem.weight",
    "blocks.3.0.pw_exp.conv.weight",
    "conv_head.weight",
    "norm_head.weight",
];
/// Stages of V2.
pub(super) const V2_STRIDES: &[usize] = &[1, 2, 2, 2, 1, 2, 1];
/// Stages of V3 large.
pub(super) const V3_LARGE_STRIDES: &[usize] = &[1, 2, 2, 2, 1, 2, 1];
/// Stages of V3 small.
pub(super) const V3_SMALL_STRIDES: &[usize] = &[2, 2, 2, 1, 2, 1];
/// Stages of V4.
pub(super) const V4_STRIDES: &[usize] = &[2, 2, 2, 2, 1];
/// Of squeeze and excitation in V3.
const GATE: Unary = Unary::HardSigmoid {
    alpha: 1.0 / 6.0,
    beta: 0.5,
};

/// The features of a picture by V2: (1, channels).
pub(super) fn v2_features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let stem = ["conv_stem", "bn1"];
    let x = net.conv(stem, Size::Square(3), 2, Some(RELU6), image);
    let x = stages(net, blocks, V2_STRIDES, x, |net, _, prefix, stride, x| {
        residual(net, prefix, stride, RELU6, x)
    });
    let x = net.conv(["conv_head", "bn2"], Size::Pixel, 1, Some(RELU6), x);
    let x = net.pooled("global_pool", x);
    flattened(net, x)
}

/// The features of a picture by V3: (1, channels).
pub(super) fn v3_features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let large = blocks.len() == V3_LARGE_STRIDES.len();
    let (strides, relus) = match large {
        true => (V3_LARGE_STRIDES, 3),
        false => (V3_SMALL_STRIDES, 2),
    };
    // The "minimal" ones have neither squeeze and excitation nor hard swish.
    let full = ["conv_reduce", "conv_expand"]
        .iter()
        .any(|part| net.weights.has(&format!("blocks.2.0.se.{part}.weight")));
    let late = if full { Unary::HardSwish } else { RELU };
    let stem = ["conv_stem", "bn1"];
    let x = net.conv(stem, Size::Square(3), 2, Some(late), image);
    let x = stages(net, blocks, strides, x, |net, stage, prefix, stride, x| {
        if stage + 1 == strides.len() {
            return plain(net, prefix, stride, late, x);
        }
        let function = if stage < relus { RELU } else { late };
        residual(net, prefix, stride, function, x)
    });
    let x = net.pooled("global_pool", x);
    let kernel = net.biased("conv_head", Size::Pixel, x);
    let x = net.convolved(&kernel, "conv_head", 1, Some(late), x);
    flattened(net, x)
}

/// The features of a picture by V4: (1, channels).
pub(super) fn v4_features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let stem = ["conv_stem", "bn1"];
    let x = net.conv(stem, Size::Square(3), 2, Some(RELU), image);
    let x = stages(net, blocks, V4_STRIDES, x, |net, _, prefix, stride, x| {
        let has = |part: &str| net.weights.has(&format!("{prefix}.{part}.weight"));
        if has("conv_exp") || has("conv_pwl") {
            edge(net, prefix, stride, x)
        } else if has("conv") || has("bn1") {
            plain(net, prefix, stride, RELU, x)
        } else {
            universal(net, prefix, stride, x)
        }
    });
    let x = net.pooled("global_pool", x);
    let head = ["conv_head", "norm_head"];
    let x = net.conv(head, Size::Pixel, 1, Some(RELU), x);
    flattened(net, x)
}

/// All blocks; the first of a stage has its stride. `block`: the number of the stage, the prefix of keys, stride and
/// input.
fn stages(
    net: &mut Network<'_>,
    blocks: &[usize],
    strides: &[usize],
    mut x: ValueId,
    block: impl Fn(&mut Network<'_>, usize, &str, usize, ValueId) -> ValueId,
) -> ValueId {
    for (stage, (&count, &stride)) in blocks.iter().zip(strides).enumerate() {
        for number in 0..count {
            let stride = if number == 0 { stride } else { 1 };
            let prefix = format!("blocks.{stage}.{number}");
            x = block(net, stage, &prefix, stride, x);
        }
    }
    x
}

/// A depthwise convolution between one that widens and one that narrows; without the first where the checkpoint has
/// two.
fn residual(
    net: &mut Network<'_>,
    prefix: &str,
    stride: usize,
    function: Unary,
    x: ValueId,
) -> ValueId {
    let widens = ["conv_pwl", "bn3"]
        .iter()
        .any(|part| net.weights.has(&format!("{prefix}.{part}.weight")));
    let function = Some(function);
    let mut y = x;
    let (depthwise, last) = if widens {
        let keys = ["conv_pw", "bn1"];
        y = net.conv_in(prefix, keys, Size::Pixel, 1, function, y);
        (["conv_dw", "bn2"], ["conv_pwl", "bn3"])
    } else {
        (["conv_dw", "bn1"], ["conv_pw", "bn2"])
    };
    y = net.conv_in(prefix, depthwise, Size::Depthwise, stride, function, y);
    let [reduce, expand] = ["conv_reduce", "conv_expand"].map(|part| format!("{prefix}.se.{part}"));
    if net.weights.has(&format!("{reduce}.weight")) {
        y = net.squeezed([&reduce, &expand], GATE, y);
    }
    y = net.conv_in(prefix, last, Size::Pixel, 1, None, y);
    skipped(net, prefix, stride, x, y)
}

/// One convolution.
fn plain(
    net: &mut Network<'_>,
    prefix: &str,
    stride: usize,
    function: Unary,
    x: ValueId,
) -> ValueId {
    let keys = ["conv", "bn1"];
    net.conv_in(prefix, keys, Size::AnySquare, stride, Some(function), x)
}

/// A convolution of all channels that widens, and one that narrows.
fn edge(net: &mut Network<'_>, prefix: &str, stride: usize, x: ValueId) -> ValueId {
    let keys = ["conv_exp", "bn1"];
    let y = net.conv_in(prefix, keys, Size::AnySquare, stride, Some(RELU), x);
    let y = net.conv_in(prefix, ["conv_pwl", "bn2"], Size::Pixel, 1, None, y);
    skipped(net, prefix, stride, x, y)
}

/// An inverted residual whose depthwise convolutions, in front of it and inside, are optional; the stride is in the
/// last of them.
fn universal(net: &mut Network<'_>, prefix: &str, stride: usize, x: ValueId) -> ValueId {
    let has = |part: &str| net.weights.has(&format!("{prefix}.{part}.conv.weight"));
    let (start, middle) = (has("dw_start"), has("dw_mid"));
    let mut layer = |part: &str, size, stride, function, x| {
        let prefix = format!("{prefix}.{part}");
        net.conv_in(&prefix, ["conv", "bn"], size, stride, function, x)
    };
    let mut y = x;
    if start {
        let stride = if middle { 1 } else { stride };
        y = layer("dw_start", Size::Depthwise, stride, None, y);
    }
    y = layer("pw_exp", Size::Pixel, 1, Some(RELU), y);
    if middle {
        y = layer("dw_mid", Size::Depthwise, stride, Some(RELU), y);
    }
    y = layer("pw_proj", Size::Pixel, 1, None, y);
    skipped(net, prefix, stride, x, y)
}

/// x + y where the shape stays.
fn skipped(net: &mut Network<'_>, prefix: &str, stride: usize, x: ValueId, y: ValueId) -> ValueId {
    if stride == 1 && net.channels(x) == net.channels(y) {
        return net.add(&format!("{prefix}.add"), x, y);
    }
    y
}

fn flattened(net: &mut Network<'_>, x: ValueId) -> ValueId {
    let width = net.channels(x);
    net.reshaped("features", &[1, width], x)
}
