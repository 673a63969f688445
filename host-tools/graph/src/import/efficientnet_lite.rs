//! EfficientNet-Lite0 to Lite4 from a PyTorch checkpoint.
//!
//! Tan and Le, "EfficientNet", 2019 (<https://arxiv.org/abs/1905.11946>), with the changes of Lite: no squeeze and
//! excitation, ReLU6 for swish, stem and head of fixed width. Keys are those of `efficientnet_lite_pytorch`. Convolutions
//! pad as TensorFlow's SAME: the odd row and column go behind. Which variant a file holds is told from its tensors.

use std::collections::BTreeSet;

use super::ImportError;
use super::checkpoint::{Checkpoint, Weights};
use super::layout::channels_last;
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, ModelKind, Op, PictureGeometry, ValueId};

/// Where the graph ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// (1, 1280): the features after global average pooling.
    Features,
    /// (1, classes): the logits of the head.
    Logits,
}

/// One member of the family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Lite…
    pub number: usize,
    /// Width over that of Lite0.
    pub width: f64,
    /// Depth over that of Lite0.
    pub depth: f64,
    /// Pixels.
    pub side: usize,
}

/// The family.
pub const VARIANTS: [Variant; 5] = [
    Variant {
        number: 0,
        width: 1.0,
        depth: 1.0,
        side: 224,
    },
    Variant {
        number: 1,
        width: 1.0,
        depth: 1.1,
        side: 240,
    },
    Variant {
        number: 2,
        width: 1.1,
        depth: 1.2,
        side: 260,
    },
    Variant {
        number: 3,
        width: 1.2,
        depth: 1.4,
        side: 280,
    },
    Variant {
        number: 4,
        width: 1.4,
        depth: 1.8,
        side: 300,
    },
];

/// One stage of Lite0.
struct Stage {
    repeats: usize,
    kernel: usize,
    stride: usize,
    expand: usize,
    output: usize,
}

/// Stem width, fixed over the family.
const STEM: usize = 32;
/// Feature width, fixed over the family.
const FEATURES: usize = 1280;
/// Of every batch normalisation.
const EPSILON: f32 = 1e-3;
/// What the packages' weights were trained with: (pixel − 127) / 128.
const MEAN: f32 = 127.0 / 255.0;
/// See [`MEAN`].
const STD: f32 = 128.0 / 255.0;

const STAGES: [Stage; 7] = [
    Stage {
        repeats: 1,
        kernel: 3,
        stride: 1,
        expand: 1,
        output: 16,
    },
    Stage {
        repeats: 2,
        kernel: 3,
        stride: 2,
        expand: 6,
        output: 24,
    },
    Stage {
        repeats: 2,
        kernel: 5,
        stride: 2,
        expand: 6,
        output: 40,
    },
    Stage {
        repeats: 3,
        kernel: 3,
        stride: 2,
        expand: 6,
        output: 80,
    },
    Stage {
        repeats: 3,
        kernel: 5,
        stride: 1,
        expand: 6,
        output: 112,
    },
    Stage {
        repeats: 4,
        kernel: 5,
        stride: 2,
        expand: 6,
        output: 192,
    },
    Stage {
        repeats: 1,
        kernel: 3,
        stride: 1,
        expand: 6,
        output: 320,
    },
];

impl Variant {
    /// Channels of a stage: multiples of 8, never more than a tenth below the exact width.
    fn channels(&self, base: usize) -> usize {
        let exact = base as f64 * self.width;
        let rounded = (((exact + 4.0) / 8.0) as usize * 8).max(8);
        if (rounded as f64) < 0.9 * exact {
            rounded + 8
        } else {
            rounded
        }
    }

    /// Blocks of a stage; the first and the last are not deepened.
    fn repeats(&self, stage: usize) -> usize {
        let base = STAGES[stage].repeats;
        if stage == 0 || stage == STAGES.len() - 1 {
            base
        } else {
            (base as f64 * self.depth).ceil() as usize
        }
    }

    fn blocks(&self) -> usize {
        (0..STAGES.len()).map(|stage| self.repeats(stage)).sum()
    }

    /// `efficientnet-lite0` and so on.
    pub fn name(&self) -> String {
        format!("efficientnet-lite{}", self.number)
    }
}

/// Whether a checkpoint has the keys of this family.
pub fn recognises(checkpoint: &Checkpoint) -> bool {
    MARKERS
        .iter()
        .all(|key| checkpoint.tensors.contains_key(*key))
}

/// Keys that every checkpoint of the family has.
pub(super) const MARKERS: [&str; 3] = [
    "_conv_stem.weight",
    "_blocks.0._depthwise_conv.weight",
    "_conv_head.weight",
];

/// The variant whose number of blocks and width before the head a checkpoint has.
///
/// # Errors
/// When none has.
pub fn variant_of(checkpoint: &Checkpoint) -> Result<Variant, ImportError> {
    let blocks: BTreeSet<&str> = checkpoint
        .tensors
        .keys()
        .filter_map(|key| key.strip_prefix("_blocks.")?.split('.').next())
        .collect();
    let head = checkpoint.shape("_conv_head.weight").unwrap_or_default();
    VARIANTS
        .into_iter()
        .find(|variant| {
            blocks.len() == variant.blocks() && head == [FEATURES, variant.channels(320), 1, 1]
        })
        .ok_or_else(|| {
            let known: Vec<String> = VARIANTS
                .iter()
                .map(|v| format!("lite{}: {} and {}", v.number, v.blocks(), v.channels(320)))
                .collect();
            ImportError::malformed(
                &checkpoint.path,
                format!(
                    "no EfficientNet-Lite: {} blocks and a head convolution of {head:?}; expected blocks and head inputs of {}",
                    blocks.len(),
                    known.join(", ")
                ),
            )
        })
}

/// Builds the graph: input `image` (1, side, side, 3), normalised, batch normalisation as nodes.
///
/// # Errors
/// When the checkpoint is of no variant, or its keys do not fit.
pub fn import(checkpoint: &Checkpoint, output: Output) -> Result<Graph, ImportError> {
    let variant = variant_of(checkpoint)?;
    let mut builder = Builder {
        weights: checkpoint.weights(variant.name()),
        graph: Graph::empty(variant.name()),
    };
    let side = variant.side;
    let image = builder.graph.add_value("image", &[1, side, side, 3]);
    builder.graph.inputs.push(image);
    let features = builder.features(&variant, image);
    let end = match output {
        Output::Features => features,
        Output::Logits => builder.head(checkpoint, features),
    };
    builder.graph.outputs.push(end);
    let has_head = output == Output::Logits;
    builder.weights.finish(|key| {
        key.ends_with("num_batches_tracked") || (!has_head && key.starts_with("_fc."))
    })?;
    let mut graph = builder.graph;
    graph.meta.kind = if has_head {
        ModelKind::Other
    } else {
        ModelKind::ImageEncoder
    };
    graph.meta.geometry = Some(PictureGeometry {
        width: side,
        height: side,
        resize_shorter: side,
        mean: [MEAN; 3],
        std: [STD; 3],
    });
    graph
        .meta
        .source
        .insert("architecture".into(), variant.name());
    graph
        .meta
        .source
        .insert("checkpoint_sha256".into(), checkpoint.sha256.clone());
    Ok(graph)
}

struct Builder<'a> {
    weights: Weights<'a>,
    graph: Graph,
}

/// A convolution and the batch normalisation behind it.
struct ConvSpec<'a> {
    conv: &'a str,
    norm: &'a str,
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl Builder<'_> {
    fn features(&mut self, variant: &Variant, image: ValueId) -> ValueId {
        let mut x = self.conv_bn(
            image,
            &ConvSpec {
                conv: "_conv_stem",
                norm: "_bn0",
                input: 3,
                output: STEM,
                kernel: 3,
                stride: 2,
                groups: 1,
            },
        );
        x = self.relu6("_relu0", x);
        let mut input = STEM;
        let mut block = 0;
        for (index, stage) in STAGES.iter().enumerate() {
            let output = variant.channels(stage.output);
            for repeat in 0..variant.repeats(index) {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                x = self.block(x, block, stage, input, output, stride);
                input = output;
                block += 1;
            }
        }
        x = self.conv_bn(
            x,
            &ConvSpec {
                conv: "_conv_head",
                norm: "_bn1",
                input,
                output: FEATURES,
                kernel: 1,
                stride: 1,
                groups: 1,
            },
        );
        x = self.relu6("_relu1", x);
        x = self.graph.add_node(
            "_avg_pooling",
            Op::GlobalAvgPool,
            &[x],
            &[1, 1, 1, FEATURES],
        );
        self.graph
            .add_node("features", Op::Reshape, &[x], &[1, FEATURES])
    }

    /// Inverted bottleneck: expand, depthwise, project; a skip where the shape stays.
    fn block(
        &mut self,
        x: ValueId,
        block: usize,
        stage: &Stage,
        input: usize,
        output: usize,
        stride: usize,
    ) -> ValueId {
        let wide = input * stage.expand;
        let name = |part: &str| format!("_blocks.{block}.{part}");
        let mut y = x;
        if stage.expand != 1 {
            y = self.conv_bn(
                y,
                &ConvSpec {
                    conv: &name("_expand_conv"),
                    norm: &name("_bn0"),
                    input,
                    output: wide,
                    kernel: 1,
                    stride: 1,
                    groups: 1,
                },
            );
            y = self.relu6(&name("_relu0"), y);
        }
        y = self.conv_bn(
            y,
            &ConvSpec {
                conv: &name("_depthwise_conv"),
                norm: &name("_bn1"),
                input: wide,
                output: wide,
                kernel: stage.kernel,
                stride,
                groups: wide,
            },
        );
        y = self.relu6(&name("_relu1"), y);
        y = self.conv_bn(
            y,
            &ConvSpec {
                conv: &name("_project_conv"),
                norm: &name("_bn2"),
                input: wide,
                output,
                kernel: 1,
                stride: 1,
                groups: 1,
            },
        );
        if stride == 1 && input == output {
            let op = Op::Binary {
                function: Binary::Add,
                activation: Activation::None,
            };
            let shape = self.graph.values[y].shape.clone();
            y = self.graph.add_node(name("_skip"), op, &[y, x], &shape);
        }
        y
    }

    fn conv_bn(&mut self, x: ValueId, spec: &ConvSpec<'_>) -> ValueId {
        let per_group = spec.input / spec.groups;
        let weight = self.weights.take(
            &format!("{}.weight", spec.conv),
            &[spec.output, per_group, spec.kernel, spec.kernel],
        );
        let weight = self
            .graph
            .add_constant(format!("{}.weight", spec.conv), channels_last(&weight));
        let in_shape = self.graph.values[x].shape.clone();
        let (top, bottom) = same_padding(in_shape[1], spec.kernel, spec.stride);
        let (left, right) = same_padding(in_shape[2], spec.kernel, spec.stride);
        let shape = [
            1,
            in_shape[1].div_ceil(spec.stride),
            in_shape[2].div_ceil(spec.stride),
            spec.output,
        ];
        let op = Op::Conv2d {
            stride: [spec.stride; 2],
            padding: [top, left, bottom, right],
            dilation: [1, 1],
            groups: spec.groups,
            activation: Activation::None,
        };
        let y = self.graph.add_node(spec.conv, op, &[x, weight], &shape);
        let mut inputs = vec![y];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let key = format!("{}.{part}", spec.norm);
            let tensor = self.weights.take(&key, &[spec.output]);
            inputs.push(self.graph.add_constant(key, tensor));
        }
        self.graph.add_node(
            spec.norm,
            Op::BatchNorm { epsilon: EPSILON },
            &inputs,
            &shape,
        )
    }

    fn relu6(&mut self, name: &str, x: ValueId) -> ValueId {
        let shape = self.graph.values[x].shape.clone();
        let function = Unary::Clip { min: 0.0, max: 6.0 };
        self.graph
            .add_node(name, Op::Unary { function }, &[x], &shape)
    }

    fn head(&mut self, checkpoint: &Checkpoint, features: ValueId) -> ValueId {
        let classes = checkpoint
            .shape("_fc.bias")
            .map_or(1000, |shape| shape.iter().product());
        let weight = self.weights.take("_fc.weight", &[classes, FEATURES]);
        let bias = self.weights.take("_fc.bias", &[classes]);
        let weight = self.graph.add_constant("_fc.weight", weight);
        let bias = self.graph.add_constant("_fc.bias", bias);
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.graph
            .add_node("logits", op, &[features, weight, bias], &[1, classes])
    }
}

/// Padding before and behind, as TensorFlow's SAME.
pub(super) fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let covered = (size.div_ceil(stride) - 1) * stride + kernel;
    let total = covered.saturating_sub(size);
    (total / 2, total - total / 2)
}
