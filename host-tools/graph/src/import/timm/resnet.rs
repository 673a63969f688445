//! ResNet as torchvision and timm name its keys, with blocks of two convolutions or of three (a bottleneck, whose
//! stride is in its 3 × 3).
//!
//! He et al., "Deep Residual Learning for Image Recognition", 2015 (<https://arxiv.org/abs/1512.03385>).

use super::network::{Network, RELU, Size};
use crate::{Op, ValueId};

/// Keys that every checkpoint of the family has.
pub(super) const MARKERS: &[&str] = &[
    "conv1.weight",
    "bn1.weight",
    "layer1.0.conv1.weight",
    "layer4.0.conv2.weight",
];

/// The features of a picture: (1, channels).
pub(super) fn features(net: &mut Network<'_>, blocks: &[usize], image: ValueId) -> ValueId {
    let mut x = net.conv(["conv1", "bn1"], Size::Square(7), 2, Some(RELU), image);
    x = max_pool(net, x);
    let bottleneck = ["conv3", "bn3"]
        .iter()
        .any(|part| net.weights.has(&format!("layer1.0.{part}.weight")));
    for (layer, &count) in (1..).zip(blocks) {
        for block in 0..count {
            let stride = if block == 0 && layer > 1 { 2 } else { 1 };
            x = residual(net, &format!("layer{layer}.{block}"), bottleneck, stride, x);
        }
    }
    let mean = net.pooled("global_pool", x);
    let width = net.channels(mean);
    net.reshaped("features", &[1, width], mean)
}

/// The largest of every 3 × 3 pixels, at every second.
fn max_pool(net: &mut Network<'_>, x: ValueId) -> ValueId {
    let &[_, height, width, channels] = net.graph.values[x].shape.as_slice() else {
        return x;
    };
    let op = Op::MaxPool {
        kernel: [3; 2],
        stride: [2; 2],
        padding: [1; 4],
    };
    let shape = [1, height.div_ceil(2), width.div_ceil(2), channels];
    net.graph.add_node("maxpool", op, &[x], &shape)
}

/// x, widened where the shape changes, + two or three convolutions of x.
fn residual(
    net: &mut Network<'_>,
    prefix: &str,
    bottleneck: bool,
    stride: usize,
    x: ValueId,
) -> ValueId {
    let name = |part: &str| format!("{prefix}.{part}");
    let square = Size::Square(3);
    let layers: &[_] = if bottleneck {
        &[
            (1, Size::Pixel, 1, Some(RELU)),
            (2, square, stride, Some(RELU)),
            (3, Size::Pixel, 1, None),
        ]
    } else {
        &[(1, square, stride, Some(RELU)), (2, square, 1, None)]
    };
    let mut y = x;
    for &(number, size, stride, activation) in layers {
        let [conv, norm] = ["conv", "bn"].map(|part| name(&format!("{part}{number}")));
        y = net.conv([&conv, &norm], size, stride, activation, y);
    }
    let mut around = x;
    if stride > 1 || net.channels(x) != net.channels(y) {
        let keys = [name("downsample.0"), name("downsample.1")];
        around = net.conv([&keys[0], &keys[1]], Size::Pixel, stride, None, x);
    }
    let sum = net.add(&name("add"), y, around);
    net.activated(&name("act"), RELU, sum)
}
