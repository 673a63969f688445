//! RepViT as timm names its keys. What training keeps apart, three branches of each depthwise convolution, is folded
//! into one; a checkpoint that was folded before (`fuse()`) is read too.
//!
//! Wang et al., "RepViT: Revisiting Mobile CNN From ViT Perspective", 2023 (<https://arxiv.org/abs/2307.09283>).

use super::network::{Network, Size};
use crate::ValueId;
use crate::import::fold::{ByChannel, Kernel, reals};
use crate::op::Unary;

/// Keys that every checkpoint of the family has before folding.
pub(super) const MARKERS: &[&str] = &[
    "stem.conv1.c.weight",
    "stages.0.blocks.0.token_mixer.conv.c.weight",
    "stages.0.blocks.0.channel_mixer.conv1.c.weight",
    "stages.1.downsample.spatial_downsample.c.weight",
];
/// Keys that every checkpoint of the family has behind folding.
pub(super) const FOLDED_MARKERS: &[&str] = &[
    "stem.conv1.weight",
    "stages.0.blocks.0.token_mixer.weight",
    "stages.1.downsample.spatial_downsample.weight",
];

/// The features of a picture: (1, channels).
pub(super) fn features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let gelu = Some(Unary::Gelu);
    let x = layer(net, "stem.conv1", Size::Square(3), 2, gelu, image);
    let mut x = layer(net, "stem.conv2", Size::Square(3), 2, None, x);
    for (stage, &count) in blocks.iter().enumerate() {
        if stage > 0 {
            x = halved(net, &format!("stages.{stage}.downsample"), x);
        }
        for number in 0..count {
            x = block(net, &format!("stages.{stage}.blocks.{number}"), x);
        }
    }
    let mean = net.pooled("global_pool", x);
    let width = net.channels(mean);
    net.reshaped("features", &[1, width], mean)
}

/// The logits of features: batch normalisation and a product, the mean of two where the network was distilled.
pub(super) fn logits(net: &mut Network<'_>, x: ValueId) -> ValueId {
    let heads = ["head.head", "head.head_dist"];
    let heads = heads.map(|name| {
        let folded = net.weights.has(&format!("{name}.weight"));
        let there = folded || net.weights.has(&format!("{name}.l.weight"));
        there.then(|| head(net, name, folded, x))
    });
    let product = match heads {
        [Some(product), None] => product,
        [Some([weight, bias]), Some(other)] => {
            let mean = |one: Vec<f64>, other: &[f64]| -> Vec<f64> {
                one.iter().zip(other).map(|(a, b)| (a + b) / 2.0).collect()
            };
            [mean(weight, &other[0]), mean(bias, &other[1])]
        }
        [None, _] => head(net, "head.head", false, x),
    };
    let classes = product[1].len();
    net.product("logits", product, classes, x)
}

/// Weight and bias of one head.
fn head(net: &mut Network<'_>, name: &str, folded: bool, x: ValueId) -> [Vec<f64>; 2] {
    let width = net.channels(x);
    let linear = if folded {
        name.to_owned()
    } else {
        format!("{name}.l")
    };
    let [weight_key, bias_key] = ["weight", "bias"].map(|part| format!("{linear}.{part}"));
    let classes = net.weights.size(&bias_key, 0);
    let mut weight = reals(&net.weights.take(&weight_key, &[classes, width]));
    let mut bias = reals(&net.weights.take(&bias_key, &[classes]));
    if !folded {
        let norm = format!("{name}.bn");
        let norm = ByChannel::batch_norm_of(&mut net.weights, &norm, width, net.epsilon);
        for (row, bias) in weight.chunks_exact_mut(width.max(1)).zip(&mut bias) {
            for ((weight, alpha), beta) in row.iter_mut().zip(&norm.alpha).zip(&norm.beta) {
                *bias += *weight * beta;
                *weight *= alpha;
            }
        }
    }
    [weight, bias]
}

/// A convolution with its batch normalisation, or folded.
fn layer(
    net: &mut Network<'_>,
    name: &str,
    size: Size,
    stride: usize,
    activation: Option<Unary>,
    x: ValueId,
) -> ValueId {
    let kernel = normed(net, name, size, x);
    net.convolved(&kernel, name, stride, activation, x)
}

/// See [`layer`].
fn normed(net: &mut Network<'_>, name: &str, size: Size, x: ValueId) -> Kernel {
    if net.weights.has(&format!("{name}.weight")) {
        return net.biased(name, size, x);
    }
    net.kernel([&format!("{name}.c"), &format!("{name}.bn")], size, x)
}

/// Pixels are mixed, channels weighted where the block has squeeze and excitation, and then channels mixed.
fn block(net: &mut Network<'_>, prefix: &str, x: ValueId) -> ValueId {
    let name = format!("{prefix}.token_mixer");
    let kernel = pixels_mixed(net, &name, x);
    let mut x = net.convolved(&kernel, &name, 1, None, x);
    let [reduce, expand] = ["fc1", "fc2"].map(|part| format!("{prefix}.se.{part}"));
    if net.weights.has(&format!("{reduce}.weight")) {
        x = net.squeezed([&reduce, &expand], Unary::Sigmoid, x);
    }
    channels_mixed(net, &format!("{prefix}.channel_mixer"), x)
}

/// A depthwise convolution, one of single pixels and the input itself: their sum, normed again in all but the older
/// networks.
fn pixels_mixed(net: &mut Network<'_>, name: &str, x: ValueId) -> Kernel {
    if net.weights.has(&format!("{name}.weight")) {
        return net.biased(name, Size::Depthwise, x);
    }
    let mut kernel = normed(net, &format!("{name}.conv"), Size::Depthwise, x);
    let single = format!("{name}.conv1");
    let older = net.weights.has(&format!("{single}.c.weight"));
    let other = if older {
        normed(net, &single, Size::Depthwise, x)
    } else {
        net.biased(&single, Size::Depthwise, x)
    };
    kernel.add(&other);
    let channels = net.channels(x);
    kernel.add_by_channel(&ByChannel::identity(channels), 1.0);
    if !older {
        let norm = format!("{name}.bn");
        let norm = ByChannel::batch_norm_of(&mut net.weights, &norm, channels, net.epsilon);
        kernel.then(&norm);
    }
    kernel
}

/// x + two convolutions of single pixels.
fn channels_mixed(net: &mut Network<'_>, name: &str, x: ValueId) -> ValueId {
    let part = |part: &str| format!("{name}.{part}");
    let y = layer(net, &part("conv1"), Size::Pixel, 1, Some(Unary::Gelu), x);
    let y = layer(net, &part("conv2"), Size::Pixel, 1, None, y);
    net.add(&part("add"), x, y)
}

/// Half the size, and more channels.
fn halved(net: &mut Network<'_>, prefix: &str, x: ValueId) -> ValueId {
    let name = |part: &str| format!("{prefix}.{part}");
    let x = block(net, &name("pre_block"), x);
    let spatial = name("spatial_downsample");
    let x = layer(net, &spatial, Size::Depthwise, 2, None, x);
    let channel = name("channel_downsample");
    let x = layer(net, &channel, Size::Pixel, 1, None, x);
    channels_mixed(net, &name("ffn"), x)
}
