//! The operators of a [`pinhole_graph::Graph`] over batches.
//!
//! Pictures stay channels last, as the graph has them: a pointwise convolution is then a product of matrices, and so is
//! one whose windows hardly overlap, over patches; depthwise ones are in `network/window.rs`. The rest is transposed for Burn,
//! and all of it on another device than the CPU or in half precision.

use burn::tensor::activation::{gelu, gelu_approximate, hard_sigmoid, sigmoid, softmax, tanh};
use burn::tensor::module::{avg_pool2d, conv2d, layer_norm, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Int, Slice, Tensor, TensorData};
use pinhole_graph::op::{Activation, Binary, Reduce, Unary};
use pinhole_graph::{Node, Op};

use super::layers::{Limits, UNLIMITED, biased, depthwise, limited, patches, takes};
use super::window::Window;
use super::{Batch, RANK, Shapes, batched, widened};
use crate::TrainError;
use crate::loss::MASKED;

/// What `node` computes from `inputs`, which are those of the node in their order.
pub(super) fn apply(
    shapes: &Shapes<'_>,
    node: &Node,
    inputs: Vec<Batch>,
) -> Result<Batch, TrainError> {
    let shape = &shapes.of(node.output);
    // Dimension `d` of the graph's values, which may have fewer than five.
    let rank = shapes.of(node.inputs[0]).len();
    let dim = |d: usize| d + RANK - rank;
    // A constant may come first, as a class token does before patches.
    let batch = inputs.iter().map(|input| input.dims()[0]).max();
    let batch = batch.expect("operators have inputs");
    let mut inputs = inputs.into_iter();
    let x = inputs.next().expect("operators have inputs");
    let rest: Vec<Batch> = inputs.collect();
    let output = match &node.op {
        Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation,
        } => {
            let [.., kh, kw, _] = rest[0].dims();
            let window = Window {
                kernel: [kh, kw],
                stride: *stride,
                padding: *padding,
                dilation: *dilation,
            };
            let end = End {
                bias: rest.get(1),
                limits: limits(*activation),
            };
            conv(x, &rest[0], end, (window, *groups))
        }
        Op::Linear { activation } => {
            let end = End {
                bias: rest.get(1),
                limits: limits(*activation),
            };
            product(flat_rows(x), &rest[0], end).reshape(batched(batch, shape))
        }
        Op::MatMul { transpose_b: false } => x.matmul(rest[0].clone()),
        Op::MatMul { transpose_b: true } => x.matmul(rest[0].clone().swap_dims(RANK - 2, RANK - 1)),
        Op::Binary {
            function,
            activation,
        } => {
            let [a, b] = cut_to_tokens(shapes, node, [x, rest[0].clone()]);
            limited(binary(a, b, *function), limits(*activation))
        }
        Op::Unary { function } => unary(x, *function),
        Op::ChannelUnary { function } => unary(x * rest[0].clone(), *function) * rest[1].clone(),
        Op::AvgPool {
            kernel,
            stride,
            padding,
            count_include_pad,
        } => {
            let options = AvgPoolOptions {
                padding: pairs(*padding),
                count_include_pad: *count_include_pad,
                ..AvgPoolOptions::new(*kernel).with_stride(*stride)
            };
            channels_first(x, |x| avg_pool2d(x, options))
        }
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            let options = MaxPoolOptions {
                padding: pairs(*padding),
                ..MaxPoolOptions::new(*kernel).with_stride(*stride)
            };
            channels_first(x, |x| max_pool2d(x, options))
        }
        Op::GlobalAvgPool => x.mean_dims(&[RANK - 3, RANK - 2]),
        Op::Softmax { axis } => softmax(x, dim(*axis)),
        Op::LayerNorm { epsilon } => {
            let [gamma, beta] = [0, 1].map(|index: usize| flat(&rest[index]));
            layer_norm(x, gamma, Some(beta), f64::from(*epsilon))
        }
        Op::Attention {
            num_heads,
            scale,
            windows,
            causal,
        } => attention(x, &rest, *num_heads, *scale, (*windows, *causal)),
        Op::Reduce { function, axes, .. } => {
            let axes: Vec<usize> = axes.iter().map(|&axis| dim(axis)).collect();
            reduce(x, *function, &axes).reshape(batched(batch, shape))
        }
        Op::L2Normalize => {
            let length = x
                .clone()
                .square()
                .sum_dim(RANK - 1)
                .add_scalar(1e-12)
                .sqrt();
            x / length
        }
        Op::Reshape => x.reshape(batched(batch, shape)),
        Op::Transpose { permutation } => {
            let mut axes = std::array::from_fn(|d| d);
            let moved = permutation.iter().enumerate();
            moved.for_each(|(to, &from)| axes[dim(to)] = dim(from));
            x.permute(axes)
        }
        Op::Slice { starts, steps } => {
            let mut slices = [Slice::full(); RANK];
            for (d, (&start, &step)) in starts.iter().zip(steps).enumerate() {
                let start = match d == 0 && start > 0 && shapes.is_dynamic(node.inputs[0]) {
                    // Of a dynamic value: the last token.
                    true => shapes.of(node.inputs[0])[0] - 1,
                    false => start,
                };
                let end = start + (shape[d] - 1) * step + 1;
                slices[dim(d)] = Slice::new(start as isize, Some(end as isize), step as isize);
            }
            x.slice(slices)
        }
        Op::Concat { axis } => {
            let all = std::iter::once(x).chain(rest);
            let all = all.map(|part| match part.dims()[0] {
                1 if batch > 1 => part.repeat_dim(0, batch),
                _ => part,
            });
            Tensor::cat(all.collect(), dim(*axis))
        }
        Op::Pad {
            before,
            after,
            value,
        } => {
            let mut widths = [(0, 0); RANK];
            let given = before.iter().zip(after).enumerate();
            given.for_each(|(d, (&before, &after))| widths[dim(d)] = (before, after));
            x.pad(widths, PadMode::Constant(*value))
        }
        Op::NormalizeEmbedding => x,
        op @ (Op::BatchNorm { .. } | Op::Embedding) => {
            return Err(TrainError::Operator {
                node: node.name.clone(),
                op: op.name(),
            });
        }
    };
    Ok(output)
}

/// Whether values of half the width are widened before `op`, because it sums many of them or leaves their range. Products,
/// convolutions and averages over windows accumulate in f32 by themselves; so does the softmax of [`attention`].
pub(super) fn is_wide(op: &Op) -> bool {
    let leaves_range = |function: &Unary| {
        use Unary::{Exp, Log, Reciprocal, Sqrt, Square};
        matches!(function, Exp | Log | Reciprocal | Sqrt | Square)
    };
    match op {
        Op::GlobalAvgPool
        | Op::Softmax { .. }
        | Op::LayerNorm { .. }
        | Op::L2Normalize
        | Op::Reduce { .. } => true,
        Op::Unary { function } | Op::ChannelUnary { function } => leaves_range(function),
        Op::Binary { function, .. } => matches!(function, Binary::Div | Binary::Pow),
        _ => false,
    }
}

/// Rows of `table` `[1, …, rows, width]` for ids `[batch, tokens]`: `[batch, …, tokens, width]`.
pub(super) fn embedding(ids: &Tensor<2, Int>, table: Batch) -> Batch {
    let [batch, tokens] = ids.dims();
    let [.., rows, width] = table.dims();
    let table: Tensor<2> = table.reshape([rows, width]);
    let found = table.select(0, ids.clone().reshape([batch * tokens]));
    found.reshape(batched(batch, &[tokens, width]))
}

/// A constant that has a row for every token that a run could have, as positions are, beside a value of fewer.
fn cut_to_tokens(shapes: &Shapes<'_>, node: &Node, inputs: [Batch; 2]) -> [Batch; 2] {
    if !shapes.is_dynamic(node.output) {
        return inputs;
    }
    let shape = shapes.of(node.output);
    let first = RANK - shape.len();
    inputs.map(|input| match input.dims()[first] > shape[0] {
        true => input.narrow(first, 0, shape[0]),
        false => input,
    })
}

/// What comes behind the products of a layer.
struct End<'a> {
    /// `[…, o]`
    bias: Option<&'a Batch>,
    limits: Limits,
}

impl End<'_> {
    fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self.bias {
            Some(bias) => biased(x, flat(bias), self.limits),
            None => limited(x, self.limits),
        }
    }
}

/// x `[batch, 1, 1, h, w, c]`, weight `[1, 1, o, kh, kw, c / groups]`.
fn conv(x: Batch, weight: &Batch, end: End<'_>, (window, groups): (Window, usize)) -> Batch {
    let [.., outputs, kh, kw, per_group] = weight.dims();
    let [batch, .., h, w, channels] = x.dims();
    let [rows, columns] = window.output([h, w]);
    let dims = [batch, 1, 1, rows, columns, outputs];
    if [kh, kw] == [1, 1] && groups == 1 && window.padding == [0; 4] {
        let x = match window.stride {
            [1, 1] => x,
            [rows, columns] => x.slice([
                Slice::full(),
                Slice::full(),
                Slice::full(),
                Slice::new(0, None, rows as isize),
                Slice::new(0, None, columns as isize),
            ]),
        };
        return product(flat_rows(x), weight, end).reshape(dims);
    }
    let own = takes(&x);
    if own && groups == channels && outputs == channels {
        let weight: Tensor<2> = weight.clone().reshape([channels, kh * kw]);
        return end.of(depthwise(x, weight.transpose(), window));
    }
    if own && groups == 1 && window.area() <= REPEATED * window.stride[0] * window.stride[1] {
        return product(patches(x, window), weight, end).reshape(dims);
    }
    let weight = weight.clone().reshape([outputs, kh, kw, per_group]);
    let options = ConvOptions {
        stride: window.stride,
        padding: pairs(window.padding),
        dilation: window.dilation,
        groups,
    };
    let convolved = |bias| {
        channels_first(x, |x| {
            conv2d(x, weight.permute([0, 3, 1, 2]), bias, options)
        })
    };
    if own {
        return end.of(convolved(None));
    }
    limited(convolved(end.bias.map(flat)), end.limits)
}

/// How often patches may repeat a pixel, about; they are kept for the gradient of the weight.
const REPEATED: usize = 4;

/// x `[rows, k]`, weight `[…, n, …]` of k elements for each n → `[rows, n]`.
fn product(x: Tensor<2>, weight: &Batch, end: End<'_>) -> Tensor<2> {
    let [_, inputs] = x.dims();
    let outputs = weight.shape().num_elements() / inputs;
    let weight = weight.clone().reshape([outputs, inputs]).transpose();
    if takes(&x) {
        return end.of(x.matmul(weight));
    }
    limited(linear(x, weight, end.bias.map(flat)), end.limits)
}

/// x `[…, k]` → `[rows, k]`.
fn flat_rows(x: Batch) -> Tensor<2> {
    let [.., inputs] = x.dims();
    let rows = x.shape().num_elements() / inputs;
    x.reshape([rows, inputs])
}

fn flat(x: &Batch) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.clone().reshape([count])
}

fn pairs([top, left, bottom, right]: [usize; 4]) -> [(usize, usize); 2] {
    [(top, bottom), (left, right)]
}

/// A function of pictures `[batch, c, h, w]` on `[batch, 1, 1, h, w, c]`.
fn channels_first(x: Batch, function: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Batch {
    let [batch, .., h, w, c] = x.dims();
    let y = function(x.reshape([batch, h, w, c]).permute([0, 3, 1, 2]));
    let [_, c, h, w] = y.dims();
    y.permute([0, 2, 3, 1]).reshape([batch, 1, 1, h, w, c])
}

fn limits(activation: Activation) -> Limits {
    match activation {
        Activation::None => UNLIMITED,
        Activation::Relu => [0.0, f32::INFINITY],
        Activation::Relu6 => [0.0, 6.0],
    }
}

fn binary(a: Batch, b: Batch, function: Binary) -> Batch {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Max => a.max_pair(b),
        Binary::Min => a.min_pair(b),
    }
}

fn unary(x: Batch, function: Unary) -> Batch {
    match function {
        Unary::Clip { min, max } => limited(x, [min, max]),
        Unary::HardSwish => x.clone() * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Unary::HardSigmoid { alpha, beta } => hard_sigmoid(x, f64::from(alpha), f64::from(beta)),
        Unary::Sigmoid => sigmoid(x),
        Unary::Silu => x.clone() * sigmoid(x),
        Unary::Tanh => tanh(x),
        Unary::Gelu => gelu(x),
        Unary::GeluTanh => gelu_approximate(x),
        Unary::QuickGelu => x.clone() * sigmoid(x.mul_scalar(1.702)),
        Unary::Erf => x.erf(),
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => x.recip(),
        Unary::Neg => x.neg(),
        Unary::Abs => x.abs(),
        Unary::LeakyRelu { alpha } => burn::tensor::activation::leaky_relu(x, f64::from(alpha)),
        Unary::Square => x.square(),
        Unary::Affine { alpha, beta } => x.mul_scalar(alpha).add_scalar(beta),
    }
}

fn reduce(x: Batch, function: Reduce, axes: &[usize]) -> Batch {
    match function {
        Reduce::Sum => x.sum_dims(axes),
        Reduce::Mean => x.mean_dims(axes),
        Reduce::L2 => x.square().sum_dims(axes).add_scalar(1e-12).sqrt(),
        Reduce::Max => axes.iter().fold(x, |x, &axis| x.max_dim(axis)),
    }
}

/// q `[batch, 1, 1, 1, windows · queries, width]`, `others` k, v and perhaps a bias (heads, queries, keys). A batch of one,
/// as a class token is before it met pictures or texts, is that of every row.
fn attention(
    q: Batch,
    others: &[Batch],
    num_heads: usize,
    scale: f32,
    (windows, causal): (usize, bool),
) -> Batch {
    let batches = [&q, &others[0], &others[1]].map(|x| x.dims()[0]);
    let batch = batches.into_iter().max().unwrap_or(1);
    let [.., queries, width] = q.dims();
    let heads = |x: Batch| {
        let x = match x.dims()[0] {
            1 if batch > 1 => x.repeat_dim(0, batch),
            _ => x,
        };
        let tokens = x.dims()[RANK - 2] / windows;
        let split: Tensor<5> = x.reshape([batch, windows, tokens, num_heads, width / num_heads]);
        split.swap_dims(2, 3)
    };
    let [k, v] = [0, 1].map(|index: usize| heads(others[index].clone()));
    // Where values have half the width, their exponentials are summed in f32.
    let mut scores = widened(heads(q).matmul(k.swap_dims(3, 4))).mul_scalar(scale);
    if let Some(bias) = others.get(2) {
        let [.., heads, queries, keys] = bias.dims();
        scores = scores + widened(bias.clone()).reshape([1, 1, heads, queries, keys]);
    }
    if causal {
        let [.., queries, keys] = scores.dims();
        let mask = hidden([queries, keys], &scores.device());
        scores = scores + mask.reshape([1, 1, 1, queries, keys]);
    }
    let weights = softmax(scores, 4).cast(v.dtype());
    let mixed = weights.matmul(v).swap_dims(2, 3);
    mixed.reshape(batched(batch, &[queries, width]))
}

/// What hides later keys from each query: 0, and behind the query's own place [`MASKED`], `[queries, keys]`.
pub(crate) fn hidden([queries, keys]: [usize; 2], device: &Device) -> Tensor<2> {
    let of = |at: usize| if at % keys > at / keys { MASKED } else { 0.0 };
    let data: Vec<f32> = (0..queries * keys).map(of).collect();
    Tensor::from_data(TensorData::new(data, [queries, keys]), device)
}
