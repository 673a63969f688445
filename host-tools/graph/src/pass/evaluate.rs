//! What the operators mean, in plain loops with f64 sums.
//!
//! It folds constants and is what rewrites are tested against. It does not run models: the runtime is the one executor.

use std::collections::HashMap;

use super::shape::{count, infer_node};
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, Op, Tensor, Value, ValueId};

/// Runs a whole graph; `inputs` in the order of its inputs, dynamic ones with any number of tokens up to the largest.
///
/// # Errors
/// When an input does not fit, or a node cannot be computed, with its name.
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    if inputs.len() != graph.inputs.len() {
        return Err(format!(
            "{} inputs, expected {}",
            inputs.len(),
            graph.inputs.len()
        ));
    }
    let mut tensors: HashMap<ValueId, Tensor> = HashMap::new();
    for (&id, tensor) in graph.inputs.iter().zip(inputs) {
        tensors.insert(id, tensor.clone());
    }
    let mut last_use = vec![0; graph.values.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&input| last_use[input] = id);
    }
    graph
        .outputs
        .iter()
        .for_each(|&output| last_use[output] = usize::MAX);
    let constant = |id: ValueId| graph.values[id].constant.clone();
    for (id, node) in graph.nodes.iter().enumerate() {
        let arguments: Vec<Tensor> = node
            .inputs
            .iter()
            .map(|input| tensors.get(input).cloned().or_else(|| constant(*input)))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("{}: an input has no value", node.name))?;
        let result = evaluate_node(graph, node, &arguments)
            .map_err(|what| format!("{}: {what}", node.name))?;
        tensors.insert(node.output, result);
        tensors.retain(|&value, _| last_use[value] > id || value == node.output);
    }
    let output = |id: &ValueId| tensors.get(id).cloned().or_else(|| constant(*id));
    graph
        .outputs
        .iter()
        .map(|id| output(id).ok_or_else(|| format!("{}: no value", graph.values[*id].name)))
        .collect()
}

/// Computes one node over the values of its inputs.
///
/// # Errors
/// When the inputs do not fit the operator.
pub fn evaluate_node(graph: &Graph, node: &Node, inputs: &[Tensor]) -> Result<Tensor, String> {
    let shape = actual_shape(graph, node, inputs)?;
    let out = Out {
        shape: &shape,
        count: count(&shape).ok_or("too large")?,
    };
    if let Some(moved) = moves(&node.op, inputs, &out)? {
        return Ok(moved);
    }
    let x = floats(&inputs[0]);
    if let Op::Embedding = node.op {
        return embedding(&inputs[0], &inputs[1], &shape);
    }
    let (x, x_shape) = (x?, inputs[0].shape.as_slice());
    let data = match &node.op {
        Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation,
        } => {
            let geometry = Window {
                stride: *stride,
                padding: *padding,
                dilation: *dilation,
            };
            conv(x, x_shape, inputs, &out, &geometry, *groups, *activation)?
        }
        Op::Linear { activation } => linear(x, inputs, &out, *activation)?,
        Op::MatMul { transpose_b } => matmul(inputs, &out, *transpose_b)?,
        Op::Binary {
            function,
            activation,
        } => binary(inputs, &out, *function, *activation)?,
        Op::Unary { function } => x
            .iter()
            .map(|&value| unary(*function, f64::from(value)) as f32)
            .collect(),
        Op::ChannelUnary { function } => {
            let factors = floats(&inputs[1])?.iter().zip(floats(&inputs[2])?);
            let one = |(&value, (&before, &after)): (&f32, (&f32, &f32))| {
                let result = unary(*function, f64::from(value) * f64::from(before));
                (result * f64::from(after)) as f32
            };
            x.iter().zip(factors.cycle()).map(one).collect()
        }
        Op::AvgPool {
            kernel,
            stride,
            padding,
            count_include_pad,
        } => {
            let geometry = Window {
                stride: *stride,
                padding: *padding,
                dilation: [1, 1],
            };
            pool(
                x,
                x_shape,
                &out,
                *kernel,
                &geometry,
                Pool::Mean {
                    whole: *count_include_pad,
                },
            )
        }
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            let geometry = Window {
                stride: *stride,
                padding: *padding,
                dilation: [1, 1],
            };
            pool(x, x_shape, &out, *kernel, &geometry, Pool::Max)
        }
        Op::GlobalAvgPool => reduce(x, x_shape, &out, &[1, 2], Reduce::Mean),
        Op::Softmax { axis } => softmax(x, x_shape, *axis),
        Op::LayerNorm { epsilon } => layer_norm(x, inputs, *epsilon)?,
        Op::BatchNorm { epsilon } => batch_norm(x, inputs, *epsilon)?,
        Op::Attention {
            num_heads,
            scale,
            windows,
            causal,
        } => attention(inputs, *num_heads, f64::from(*scale), *windows, *causal)?,
        Op::Reduce { function, axes, .. } => reduce(x, x_shape, &out, axes, *function),
        Op::L2Normalize => l2_normalize(x, x_shape),
        Op::NormalizeEmbedding | Op::Reshape => x.to_vec(),
        other => return Err(format!("{} is not computed here", other.name())),
    };
    if data.len() != out.count {
        return Err(format!(
            "made {} elements, expected shape {shape:?}",
            data.len()
        ));
    }
    Ok(Tensor::f32(&shape, data))
}

/// The output shape for these inputs, whose dynamic ones may have fewer tokens than the graph says.
fn actual_shape(graph: &Graph, node: &Node, inputs: &[Tensor]) -> Result<Vec<usize>, String> {
    let expected = infer_node(graph, node)?;
    let mut tokens = None;
    for (&id, tensor) in node.inputs.iter().zip(inputs) {
        let value: &Value = &graph.values[id];
        let fits = tensor.shape.len() == value.shape.len()
            && (0..tensor.shape.len()).all(|d| {
                tensor.shape[d] == value.shape[d]
                    || (d == 0 && value.dynamic && (1..=value.shape[0]).contains(&tensor.shape[0]))
            });
        if !fits {
            return Err(format!(
                "{} has shape {:?}, expected {:?}",
                value.name, tensor.shape, value.shape
            ));
        }
        if value.dynamic && tokens.is_none() {
            tokens = Some(tensor.shape[0]);
        }
    }
    let mut shape = expected.shape;
    if let (true, Some(tokens)) = (expected.dynamic, tokens) {
        shape[0] = tokens;
    }
    Ok(shape)
}

struct Out<'a> {
    shape: &'a [usize],
    count: usize,
}

struct Window {
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

fn floats(tensor: &Tensor) -> Result<&[f32], String> {
    tensor
        .as_f32()
        .ok_or_else(|| "integers, expected floats".to_owned())
}

fn activate(activation: Activation, value: f64) -> f32 {
    let (min, max) = activation.range();
    (value as f32).clamp(min, max)
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// Calls with every index of a shape in row-major order.
fn each_index(shape: &[usize], mut call: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        call(&index);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

/// Operators that only move elements, of any type.
fn moves(op: &Op, inputs: &[Tensor], out: &Out<'_>) -> Result<Option<Tensor>, String> {
    let x = &inputs[0];
    let x_strides = strides(&x.shape);
    let at = |index: &mut dyn Iterator<Item = usize>| -> usize {
        index.zip(&x_strides).map(|(i, s)| i * s).sum()
    };
    let mut source: Vec<Option<(usize, usize)>> = Vec::with_capacity(out.count);
    match op {
        Op::Reshape => source.extend((0..out.count).map(|i| Some((0, i)))),
        Op::Transpose { permutation } => {
            let mut from = vec![0; permutation.len()];
            each_index(out.shape, |index| {
                permutation
                    .iter()
                    .zip(index)
                    .for_each(|(&d, &i)| from[d] = i);
                source.push(Some((0, at(&mut from.iter().copied()))));
            });
        }
        Op::Slice { starts, steps } => each_index(out.shape, |index| {
            source.push(Some((
                0,
                // The last row of the graph is that of a shorter run too.
                at(&mut (0..index.len())
                    .map(|d| (starts[d] + index[d] * steps[d]).min(x.shape[d] - 1))),
            )));
        }),
        Op::Pad { before, .. } => each_index(out.shape, |index| {
            let inside = (0..index.len())
                .all(|d| index[d] >= before[d] && index[d] - before[d] < x.shape[d]);
            source
                .push(inside.then(|| (0, at(&mut (0..index.len()).map(|d| index[d] - before[d])))));
        }),
        Op::Concat { axis } => each_index(out.shape, |index| {
            let (mut part, mut along) = (0, index[*axis]);
            while along >= inputs[part].shape[*axis] {
                along -= inputs[part].shape[*axis];
                part += 1;
            }
            let part_strides = strides(&inputs[part].shape);
            let flat = (0..index.len())
                .map(|d| part_strides[d] * if d == *axis { along } else { index[d] })
                .sum();
            source.push(Some((part, flat)));
        }),
        _ => return Ok(None),
    }
    let fill = if let Op::Pad { value, .. } = op {
        *value
    } else {
        0.0
    };
    if x.as_i32().is_some() {
        let parts: Option<Vec<_>> = inputs.iter().map(Tensor::as_i32).collect();
        let parts = parts.ok_or("integers beside floats")?;
        let data = source
            .iter()
            .map(|from| from.map_or(fill as i32, |(part, flat)| parts[part][flat]))
            .collect();
        return Ok(Some(Tensor::i32(out.shape, data)));
    }
    let parts: Vec<_> = inputs.iter().map(floats).collect::<Result<_, _>>()?;
    let data = source
        .iter()
        .map(|from| from.map_or(fill, |(part, flat)| parts[part][flat]))
        .collect();
    Ok(Some(Tensor::f32(out.shape, data)))
}

fn embedding(ids: &Tensor, table: &Tensor, shape: &[usize]) -> Result<Tensor, String> {
    let ids = ids.as_i32().ok_or("floats, expected token ids")?;
    let width = shape[1];
    let rows: Vec<&[f32]> = floats(table)?.chunks_exact(width).collect();
    let data = ids
        .iter()
        .flat_map(|&id| {
            rows[usize::try_from(id)
                .ok()
                .filter(|&id| id < rows.len())
                .unwrap_or(0)]
            .iter()
            .copied()
        })
        .collect();
    Ok(Tensor::f32(shape, data))
}

fn conv(
    x: &[f32],
    x_shape: &[usize],
    inputs: &[Tensor],
    out: &Out<'_>,
    geometry: &Window,
    groups: usize,
    activation: Activation,
) -> Result<Vec<f32>, String> {
    let weight = floats(&inputs[1])?;
    let bias = inputs.get(2).map(floats).transpose()?;
    let (h, w, c) = (x_shape[1], x_shape[2], x_shape[3]);
    let &[o, kh, kw, per_group] = inputs[1].shape.as_slice() else {
        return Err("weight is not 4-D".to_owned());
    };
    let out_per_group = o / groups;
    let mut result = Vec::with_capacity(out.count);
    let mut sums = vec![0.0_f64; o];
    for y in 0..out.shape[1] {
        for z in 0..out.shape[2] {
            for (channel, sum) in sums.iter_mut().enumerate() {
                *sum = bias.map_or(0.0, |bias| f64::from(bias[channel]));
            }
            for (tap, (i, j)) in (0..kh)
                .flat_map(|i| (0..kw).map(move |j| (i, j)))
                .enumerate()
            {
                let row = (y * geometry.stride[0] + i * geometry.dilation[0])
                    .wrapping_sub(geometry.padding[0]);
                let column = (z * geometry.stride[1] + j * geometry.dilation[1])
                    .wrapping_sub(geometry.padding[1]);
                if row >= h || column >= w {
                    continue;
                }
                let pixel = &x[(row * w + column) * c..][..c];
                for (channel, sum) in sums.iter_mut().enumerate() {
                    let from = &pixel[channel / out_per_group * per_group..][..per_group];
                    let taps = &weight[(channel * kh * kw + tap) * per_group..][..per_group];
                    *sum += dot(from, taps);
                }
            }
            result.extend(sums.iter().map(|&sum| activate(activation, sum)));
        }
    }
    Ok(result)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

fn linear(
    x: &[f32],
    inputs: &[Tensor],
    out: &Out<'_>,
    activation: Activation,
) -> Result<Vec<f32>, String> {
    let weight = floats(&inputs[1])?;
    let bias = inputs.get(2).map(floats).transpose()?;
    let k = inputs[1].shape[1];
    let mut result = Vec::with_capacity(out.count);
    for row in x.chunks_exact(k) {
        for (channel, taps) in weight.chunks_exact(k).enumerate() {
            let offset = bias.map_or(0.0, |bias| f64::from(bias[channel]));
            result.push(activate(activation, dot(row, taps) + offset));
        }
    }
    Ok(result)
}

fn matmul(inputs: &[Tensor], out: &Out<'_>, transpose_b: bool) -> Result<Vec<f32>, String> {
    let (a, b) = (floats(&inputs[0])?, floats(&inputs[1])?);
    let rank = out.shape.len();
    let (m, n) = (out.shape[rank - 2], out.shape[rank - 1]);
    let k = *inputs[0].shape.last().ok_or("a scalar")?;
    let mut result = Vec::with_capacity(out.count);
    each_index(&out.shape[..rank - 2], |batch| {
        let a = &a[broadcast_at(&inputs[0].shape[..inputs[0].shape.len() - 2], batch) * m * k..];
        let b = &b[broadcast_at(&inputs[1].shape[..inputs[1].shape.len() - 2], batch) * n * k..];
        for row in 0..m {
            for column in 0..n {
                let sum: f64 = (0..k)
                    .map(|i| {
                        let right = if transpose_b {
                            b[column * k + i]
                        } else {
                            b[i * n + column]
                        };
                        f64::from(a[row * k + i]) * f64::from(right)
                    })
                    .sum();
                result.push(sum as f32);
            }
        }
    });
    Ok(result)
}

/// Flat index into `shape` for an index of the shape that it broadcasts to.
fn broadcast_at(shape: &[usize], index: &[usize]) -> usize {
    let skipped = index.len() - shape.len();
    shape
        .iter()
        .zip(&index[skipped..])
        .fold(0, |flat, (&size, &i)| {
            flat * size + if size == 1 { 0 } else { i }
        })
}

fn binary(
    inputs: &[Tensor],
    out: &Out<'_>,
    function: Binary,
    activation: Activation,
) -> Result<Vec<f32>, String> {
    let (a, b) = (floats(&inputs[0])?, floats(&inputs[1])?);
    let mut result = Vec::with_capacity(out.count);
    each_index(out.shape, |index| {
        let a = f64::from(a[broadcast_at(&inputs[0].shape, index)]);
        let b = f64::from(b[broadcast_at(&inputs[1].shape, index)]);
        let value = match function {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
        };
        result.push(activate(activation, value));
    });
    Ok(result)
}

/// One element-wise function.
pub(super) fn unary(function: Unary, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match function {
        Unary::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
        Unary::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Unary::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Unary::Sigmoid => sigmoid(x),
        Unary::Silu => x * sigmoid(x),
        Unary::Tanh => x.tanh(),
        Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Unary::GeluTanh => {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Unary::QuickGelu => x * sigmoid(1.702 * x),
        Unary::Erf => libm::erf(x),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => x.recip(),
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::LeakyRelu { alpha } => {
            if x >= 0.0 {
                x
            } else {
                f64::from(alpha) * x
            }
        }
        Unary::Square => x * x,
        Unary::Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
    }
}

#[derive(Clone, Copy)]
enum Pool {
    Mean { whole: bool },
    Max,
}

fn pool(
    x: &[f32],
    x_shape: &[usize],
    out: &Out<'_>,
    kernel: [usize; 2],
    geometry: &Window,
    kind: Pool,
) -> Vec<f32> {
    let (h, w, c) = (x_shape[1], x_shape[2], x_shape[3]);
    let mut result = Vec::with_capacity(out.count);
    each_index(out.shape, |index| {
        let (mut sum, mut largest, mut seen) = (0.0_f64, f32::NEG_INFINITY, 0_usize);
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let row = (index[1] * geometry.stride[0] + i).wrapping_sub(geometry.padding[0]);
                let column = (index[2] * geometry.stride[1] + j).wrapping_sub(geometry.padding[1]);
                if row < h && column < w {
                    let value = x[(row * w + column) * c + index[3]];
                    sum += f64::from(value);
                    largest = largest.max(value);
                    seen += 1;
                }
            }
        }
        result.push(match kind {
            Pool::Mean { whole: true } => (sum / (kernel[0] * kernel[1]) as f64) as f32,
            Pool::Mean { whole: false } => (sum / seen.max(1) as f64) as f32,
            Pool::Max => largest,
        });
    });
    result
}

fn reduce(
    x: &[f32],
    x_shape: &[usize],
    out: &Out<'_>,
    axes: &[usize],
    function: Reduce,
) -> Vec<f32> {
    let start = if function == Reduce::Max {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let mut sums = vec![start; out.count];
    let kept: Vec<usize> = (0..x_shape.len())
        .map(|d| if axes.contains(&d) { 1 } else { x_shape[d] })
        .collect();
    let mut flat = 0;
    each_index(x_shape, |index| {
        let sum = &mut sums[broadcast_at(&kept, index)];
        let value = f64::from(x[flat]);
        match function {
            Reduce::Sum | Reduce::Mean => *sum += value,
            Reduce::Max => *sum = sum.max(value),
            Reduce::L2 => *sum += value * value,
        }
        flat += 1;
    });
    let reduced = x.len() / out.count.max(1);
    sums.into_iter()
        .map(|sum| match function {
            Reduce::Sum | Reduce::Max => sum as f32,
            Reduce::Mean => (sum / reduced as f64) as f32,
            Reduce::L2 => sum.sqrt() as f32,
        })
        .collect()
}

fn softmax(x: &[f32], x_shape: &[usize], axis: usize) -> Vec<f32> {
    let inner: usize = x_shape[axis + 1..].iter().product();
    let size = x_shape[axis];
    let mut result = vec![0.0; x.len()];
    for start in (0..x.len()).filter(|flat| (flat / inner).is_multiple_of(size)) {
        let at = |i: usize| start + i * inner;
        let largest = (0..size)
            .map(|i| x[at(i)])
            .fold(f32::NEG_INFINITY, f32::max);
        let exp = |i: usize| f64::from(x[at(i)] - largest).exp();
        let sum: f64 = (0..size).map(exp).sum();
        (0..size).for_each(|i| result[at(i)] = (exp(i) / sum) as f32);
    }
    result
}

fn layer_norm(x: &[f32], inputs: &[Tensor], epsilon: f32) -> Result<Vec<f32>, String> {
    let (gamma, beta) = (floats(&inputs[1])?, floats(&inputs[2])?);
    let c = gamma.len();
    let mut result = Vec::with_capacity(x.len());
    for row in x.chunks_exact(c) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / c as f64;
        let variance = row
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / c as f64;
        let factor = 1.0 / (variance + f64::from(epsilon)).sqrt();
        result.extend((0..c).map(|i| {
            ((f64::from(row[i]) - mean) * factor * f64::from(gamma[i]) + f64::from(beta[i])) as f32
        }));
    }
    Ok(result)
}

fn batch_norm(x: &[f32], inputs: &[Tensor], epsilon: f32) -> Result<Vec<f32>, String> {
    let [scale, offset, mean, variance] = [1, 2, 3, 4].map(|index: usize| floats(&inputs[index]));
    let (scale, offset, mean, variance) = (scale?, offset?, mean?, variance?);
    let normalise = |(flat, &value): (usize, &f32)| {
        let c = flat % scale.len();
        let deviation = (f64::from(variance[c]) + f64::from(epsilon)).sqrt();
        ((f64::from(value) - f64::from(mean[c])) / deviation * f64::from(scale[c])
            + f64::from(offset[c])) as f32
    };
    Ok(x.iter().enumerate().map(normalise).collect())
}

fn attention(
    inputs: &[Tensor],
    num_heads: usize,
    scale: f64,
    windows: usize,
    causal: bool,
) -> Result<Vec<f32>, String> {
    let (q, k, v) = (
        floats(&inputs[0])?,
        floats(&inputs[1])?,
        floats(&inputs[2])?,
    );
    let width = inputs[0].shape[1];
    let bias = inputs.get(3).map(floats).transpose()?;
    let (rows, d) = (inputs[0].shape[0], width / num_heads);
    let (queries, keys) = (rows / windows, inputs[1].shape[0] / windows);
    let mut result = vec![0.0; q.len()];
    for (head, query) in (0..num_heads).flat_map(|head| (0..rows).map(move |query| (head, query))) {
        let first = query / queries * keys;
        let offset = |key: usize| {
            let place = (head * queries + query % queries) * keys + key;
            bias.map_or(0.0, |bias| f64::from(bias[place]))
        };
        let part =
            |data: &[f32], row: usize| -> Vec<f32> { data[row * width + head * d..][..d].to_vec() };
        let keys = if causal { query % queries + 1 } else { keys };
        let scores: Vec<f64> = (0..keys)
            .map(|key| dot(&part(q, query), &part(k, first + key)) * scale + offset(key))
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..d {
            let value: f64 = (0..keys)
                .map(|key| weights[key] * f64::from(v[(first + key) * width + head * d + i]))
                .sum();
            result[query * width + head * d + i] = (value / sum) as f32;
        }
    }
    Ok(result)
}

fn l2_normalize(x: &[f32], x_shape: &[usize]) -> Vec<f32> {
    let c = x_shape.last().copied().unwrap_or(1).max(1);
    x.chunks_exact(c)
        .flat_map(|row| {
            let norm = dot(row, row).sqrt().max(1e-12);
            row.iter()
                .map(move |&value| (f64::from(value) / norm) as f32)
        })
        .collect()
}
