//! Nodes in floats: f32, or IEEE halves when asked for.
//!
//! Kinds of operators are named by their form over f32; [`Lowering::float_kind`] turns them.

use pinhole_graph::op::{Activation, Binary, Reduce, Unary};
use pinhole_graph::{Node, Op, ValueId};
use pinhole_runtime::kernel::{attention_scratch_bytes, tile_scratch_bytes};
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{
    AttentionParams, BinaryKind, BinaryParams, ConcatParams, ConvF32Params, EmbeddingParams,
    GemmF32Params, LayerNormParams, MatmulParams, OpKind, PadParams, PoolParams, ReduceKind,
    ReduceParams, SliceParams, UnaryKind, UnaryParams, WindowRecord,
};
use zerocopy::IntoBytes;

use crate::lower::{Lowering, Place, Reason};
use crate::lower_windows;
use crate::weights::{f32_bytes, pack_float, pack_table};

/// Adds the operators that compute `node` in f32.
pub(crate) fn lower(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    match &node.op {
        Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation,
        } => conv(
            state,
            node,
            window([0, 0], *stride, *padding, *dilation),
            *groups,
            *activation,
        ),
        Op::Linear { activation } => linear(state, node, *activation),
        Op::MatMul { transpose_b } => matmul(state, node, *transpose_b),
        Op::Binary {
            function,
            activation,
        } => binary(state, node, *function, *activation),
        Op::Unary { function } => unary(state, node, *function),
        Op::ChannelUnary { function } => channel_unary(state, node, *function),
        Op::AvgPool {
            kernel,
            stride,
            padding,
            count_include_pad,
        } => {
            if *count_include_pad && padding.iter().any(|&p| p > 0) {
                return Err(
                    "counts padding in its average; import rewrites that as a pad and a pool"
                        .into(),
                );
            }
            pool(
                state,
                node,
                OpKind::AvgPoolF32,
                window(*kernel, *stride, *padding, [1, 1]),
            )
        }
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => pool(
            state,
            node,
            OpKind::MaxPoolF32,
            window(*kernel, *stride, *padding, [1, 1]),
        ),
        Op::GlobalAvgPool => {
            let shape = &state.graph.values[node.inputs[0]].shape;
            let &[_, height, width, _] = &shape[..] else {
                return Err(format!("input has shape {shape:?}, expected (1, H, W, C)"));
            };
            pool(
                state,
                node,
                OpKind::AvgPoolF32,
                window([height, width], [1, 1], [0; 4], [1, 1]),
            )
        }
        Op::Softmax { axis } => {
            let rank = state.graph.values[node.inputs[0]].shape.len();
            if axis + 1 != rank {
                return Err(format!(
                    "softmax over dimension {axis} of {rank}; only the last one is supported, transpose first"
                ));
            }
            simple(state, node, OpKind::SoftmaxF32, &[])
        }
        Op::LayerNorm { epsilon } => {
            let gamma = f32_bytes(state.constant_f32(node, 1, "gamma")?);
            let beta = f32_bytes(state.constant_f32(node, 2, "beta")?);
            simple_inputs(
                state,
                node,
                OpKind::LayerNormF32,
                1,
                LayerNormParams {
                    epsilon: (*epsilon).into(),
                }
                .as_bytes(),
            )?;
            data(state, vec![Some(gamma), Some(beta)]);
            Ok(())
        }
        Op::Attention {
            num_heads,
            scale,
            windows,
            causal,
        } => {
            if *windows == 1 && node.inputs.len() == 3 {
                attention(state, node, *num_heads, *scale, *causal)
            } else if *causal {
                Err("causal attention over windows or with a bias has no kernel".into())
            } else {
                lower_windows::attention(state, node, *num_heads, *scale, *windows)
            }
        }
        Op::Embedding => embedding(state, node),
        Op::Reduce { function, axes, .. } => reduce(state, node, *function, axes),
        Op::L2Normalize => simple(state, node, OpKind::L2NormalizeF32, &[]),
        Op::Transpose { permutation } => transpose(state, node, permutation),
        Op::Slice { starts, steps } => slice(state, node, starts, steps),
        Op::Concat { axis } => concat(state, node, *axis),
        Op::Pad {
            before,
            after,
            value,
        } => {
            let fill = match state.float_type() {
                DType::F16 => half::f16::from_f32(*value).to_bits().into(),
                _ => value.to_bits(),
            };
            pad(state, node, before, after, fill)
        }
        Op::Reshape | Op::NormalizeEmbedding | Op::BatchNorm { .. } => {
            Err("has no float operator".into())
        }
    }
}

/// A window record; its `record` refuses what does not fit.
#[derive(Clone, Copy)]
pub(crate) struct WindowSizes {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

pub(crate) fn window(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
) -> WindowSizes {
    WindowSizes {
        kernel,
        stride,
        padding,
        dilation,
    }
}

impl WindowSizes {
    pub(crate) fn with_kernel(self, kernel: [usize; 2]) -> Self {
        Self { kernel, ..self }
    }

    /// One tap, no step, no border: a product of matrices.
    pub(crate) fn is_pointwise(self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0; 4]
    }

    /// The record, when every number fits a byte.
    pub(crate) fn record(self) -> Result<WindowRecord, Reason> {
        let byte = |what: &str, n: usize| {
            u8::try_from(n).map_err(|_| format!("{what} is {n}, at most 255 fits"))
        };
        let pair =
            |what: &str, [a, b]: [usize; 2]| Ok::<_, Reason>([byte(what, a)?, byte(what, b)?]);
        let [top, left, bottom, right] = self.padding;
        let ([top, left], [bottom, right]) = (
            pair("padding", [top, left])?,
            pair("padding", [bottom, right])?,
        );
        Ok(WindowRecord {
            kernel: pair("kernel", self.kernel)?,
            stride: pair("stride", self.stride)?,
            padding: [top, left, bottom, right],
            dilation: pair("dilation", self.dilation)?,
            reserved: [0; 2],
        })
    }
}

/// Shape (O, kh, kw, I) of a convolution's weights.
pub(crate) fn weight_shape(state: &Lowering<'_>, node: &Node) -> Result<[usize; 4], Reason> {
    let shape = &state.constant(node, 1, "weight")?.shape;
    shape[..]
        .try_into()
        .map_err(|_| format!("weight has shape {shape:?}, expected (out, kh, kw, in)"))
}

/// Elements of a value of the graph.
pub(crate) fn elements(state: &Lowering<'_>, id: ValueId) -> usize {
    state.graph.values[id].shape.iter().product()
}

fn bias(state: &Lowering<'_>, node: &Node) -> Result<Option<Vec<u8>>, Reason> {
    match node.inputs.len() {
        0..=2 => Ok(None),
        _ => Ok(Some(f32_bytes(state.constant_f32(node, 2, "bias")?))),
    }
}

fn conv(
    state: &mut Lowering<'_>,
    node: &Node,
    sizes: WindowSizes,
    groups: usize,
    activation: Activation,
) -> Result<(), Reason> {
    let [n, kernel_h, kernel_w, per_group] = weight_shape(state, node)?;
    let weights = state.constant_f32(node, 1, "weight")?;
    let sizes = sizes.with_kernel([kernel_h, kernel_w]);
    let (clamp_min, clamp_max) = activation.range();
    let taps = kernel_h * kernel_w;
    let pixels = (elements(state, node.output) / n) as u64;
    let bias = bias(state, node)?;
    let storage = if groups == 1 {
        state.float_weights()
    } else {
        state.float_dense()
    };
    let params = ConvF32Params {
        window: sizes.record()?,
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
        weights: storage as u8,
        reserved: [0; 3],
    };
    if groups == 1 {
        let k = taps * per_group;
        let (packed, scales) = pack_float(weights, n, k, storage);
        if sizes.is_pointwise() {
            let params = GemmF32Params {
                clamp_min: params.clamp_min,
                clamp_max: params.clamp_max,
                weights: storage as u8,
                reserved: [0; 3],
            };
            simple_inputs(state, node, OpKind::GemmF32, 1, params.as_bytes())?;
            gemm_scratch(state, k)?;
        } else {
            simple_inputs(state, node, OpKind::ConvF32, 1, params.as_bytes())?;
            scratch(state, tile_scratch_bytes(k, 4))?;
        }
        data(state, vec![Some(packed), bias, scales]);
        macs(state, pixels * (n * k) as u64);
    } else if groups == n && per_group == 1 {
        let mut by_tap = vec![0f32; taps * n];
        for channel in 0..n {
            for tap in 0..taps {
                by_tap[tap * n + channel] = weights[channel * taps + tap];
            }
        }
        simple_inputs(state, node, OpKind::DepthwiseConvF32, 1, params.as_bytes())?;
        let by_tap = state.float_bytes(&by_tap);
        data(state, vec![Some(by_tap), bias]);
        macs(state, pixels * (n * taps) as u64);
    } else {
        return Err(grouped(groups, n));
    }
    Ok(())
}

/// Neither dense nor depthwise.
pub(crate) fn grouped(groups: usize, n: usize) -> Reason {
    format!(
        "has {groups} groups and {n} output channels; supported are 1 group, or as many groups as input and output channels"
    )
}

fn linear(state: &mut Lowering<'_>, node: &Node, activation: Activation) -> Result<(), Reason> {
    let shape = &state.constant(node, 1, "weight")?.shape;
    let &[n, k] = &shape[..] else {
        return Err(format!("weight has shape {shape:?}, expected (out, in)"));
    };
    let storage = state.float_weights();
    let (packed, scales) = pack_float(state.constant_f32(node, 1, "weight")?, n, k, storage);
    let bias = bias(state, node)?;
    let (clamp_min, clamp_max) = activation.range();
    let params = GemmF32Params {
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
        weights: storage as u8,
        reserved: [0; 3],
    };
    simple_inputs(state, node, OpKind::GemmF32, 1, params.as_bytes())?;
    gemm_scratch(state, k)?;
    data(state, vec![Some(packed), bias, scales]);
    macs(state, (elements(state, node.output) * k) as u64);
    Ok(())
}

fn matmul(state: &mut Lowering<'_>, node: &Node, transpose_b: bool) -> Result<(), Reason> {
    let params = MatmulParams {
        transpose_rhs: transpose_b.into(),
        reserved: [0; 3],
        scale: 1.0.into(),
    };
    simple_inputs(state, node, OpKind::MatmulF32, 2, params.as_bytes())?;
    let k = state.graph.values[node.inputs[0]]
        .shape
        .last()
        .copied()
        .unwrap_or(1);
    macs(state, (elements(state, node.output) * k) as u64);
    Ok(())
}

fn binary(
    state: &mut Lowering<'_>,
    node: &Node,
    function: Binary,
    activation: Activation,
) -> Result<(), Reason> {
    let kind = match function {
        Binary::Add => BinaryKind::Add,
        Binary::Sub => BinaryKind::Sub,
        Binary::Mul => BinaryKind::Mul,
        Binary::Div => BinaryKind::Div,
        Binary::Pow => BinaryKind::Pow,
        Binary::Max => BinaryKind::Max,
        Binary::Min => BinaryKind::Min,
    };
    let (clamp_min, clamp_max) = activation.range();
    let params = BinaryParams {
        function: kind as u8,
        reserved: [0; 3],
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    };
    simple_inputs(state, node, OpKind::BinaryF32, 2, params.as_bytes())
}

/// The runtime's function and constants.
pub(crate) fn unary_kind(function: Unary) -> (UnaryKind, f32, f32) {
    match function {
        Unary::Clip { min, max } => (UnaryKind::Clip, min, max),
        Unary::HardSwish => (UnaryKind::HardSwish, 0.0, 0.0),
        Unary::HardSigmoid { alpha, beta } => (UnaryKind::HardSigmoid, alpha, beta),
        Unary::Sigmoid => (UnaryKind::Sigmoid, 0.0, 0.0),
        Unary::Silu => (UnaryKind::Silu, 0.0, 0.0),
        Unary::Tanh => (UnaryKind::Tanh, 0.0, 0.0),
        Unary::Gelu => (UnaryKind::Gelu, 0.0, 0.0),
        Unary::GeluTanh => (UnaryKind::GeluTanh, 0.0, 0.0),
        Unary::QuickGelu => (UnaryKind::QuickGelu, 0.0, 0.0),
        Unary::Erf => (UnaryKind::Erf, 0.0, 0.0),
        Unary::Exp => (UnaryKind::Exp, 0.0, 0.0),
        Unary::Log => (UnaryKind::Log, 0.0, 0.0),
        Unary::Sqrt => (UnaryKind::Sqrt, 0.0, 0.0),
        Unary::Reciprocal => (UnaryKind::Reciprocal, 0.0, 0.0),
        Unary::Neg => (UnaryKind::Neg, 0.0, 0.0),
        Unary::Abs => (UnaryKind::Abs, 0.0, 0.0),
        Unary::LeakyRelu { alpha } => (UnaryKind::LeakyRelu, alpha, 0.0),
        Unary::Square => (UnaryKind::Square, 0.0, 0.0),
        Unary::Affine { alpha, beta } => (UnaryKind::Affine, alpha, beta),
    }
}

fn unary(state: &mut Lowering<'_>, node: &Node, function: Unary) -> Result<(), Reason> {
    let (kind, alpha, beta) = unary_kind(function);
    let params = UnaryParams {
        function: kind as u8,
        reserved: [0; 3],
        alpha: alpha.into(),
        beta: beta.into(),
    };
    simple(state, node, OpKind::UnaryF32, params.as_bytes())
}

/// A product, the function and another product.
fn channel_unary(state: &mut Lowering<'_>, node: &Node, function: Unary) -> Result<(), Reason> {
    let (kind, alpha, beta) = unary_kind(function);
    let output = state.graph.values[node.output].clone();
    let step = |state: &mut Lowering<'_>, kind: OpKind, inputs: Vec<usize>, params: &[u8]| {
        let name = format!("{}.scaled", node.name);
        let index = state.add_value(name, state.float_type(), &output.shape, Place::Arena)?;
        let kind = state.float_kind(kind);
        state.out.values[index].dynamic = output.dynamic;
        state.push(node.name.clone(), kind, inputs, index).params = params.to_vec();
        Ok::<_, Reason>(index)
    };
    let product = BinaryParams {
        function: BinaryKind::Mul as u8,
        reserved: [0; 3],
        clamp_min: f32::NEG_INFINITY.into(),
        clamp_max: f32::INFINITY.into(),
    };
    let params = UnaryParams {
        function: kind as u8,
        reserved: [0; 3],
        alpha: alpha.into(),
        beta: beta.into(),
    };
    let x = state.float(node.inputs[0])?;
    let [before, after] = [state.float(node.inputs[1])?, state.float(node.inputs[2])?];
    let x = step(
        state,
        OpKind::BinaryF32,
        vec![x, before],
        product.as_bytes(),
    )?;
    let x = step(state, OpKind::UnaryF32, vec![x], params.as_bytes())?;
    let x = step(state, OpKind::BinaryF32, vec![x, after], product.as_bytes())?;
    state.out.values[x].name = output.name;
    state.out.value_map[node.output] = Some(x);
    Ok(())
}

fn pool(
    state: &mut Lowering<'_>,
    node: &Node,
    kind: OpKind,
    sizes: WindowSizes,
) -> Result<(), Reason> {
    let params = PoolParams {
        window: sizes.record()?,
        clamp_min: 0.into(),
        clamp_max: 0.into(),
    };
    simple(state, node, kind, params.as_bytes())
}

fn attention(
    state: &mut Lowering<'_>,
    node: &Node,
    num_heads: usize,
    scale: f32,
    causal: bool,
) -> Result<(), Reason> {
    let shape = |input: usize| &state.graph.values[node.inputs[input]].shape;
    let (&[queries, width], &[keys, _]) = (&shape(0)[..], &shape(1)[..]) else {
        return Err(format!(
            "its inputs have shapes {:?} and {:?}, expected (tokens, width)",
            shape(0),
            shape(1)
        ));
    };
    if num_heads == 0 || width % num_heads != 0 {
        return Err(format!(
            "{num_heads} heads do not divide a width of {width}"
        ));
    }
    let heads = u16::try_from(num_heads).map_err(|_| format!("{num_heads} heads"))?;
    simple_inputs(
        state,
        node,
        OpKind::AttentionF32,
        3,
        AttentionParams {
            num_heads: heads.into(),
            causal: causal.into(),
            reserved: 0,
            scale: scale.into(),
        }
        .as_bytes(),
    )?;
    scratch(state, attention_scratch_bytes(keys))?;
    macs(state, 2 * (queries * keys * width) as u64);
    Ok(())
}

fn embedding(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let shape = &state.constant(node, 1, "table")?.shape;
    let &[rows, width] = &shape[..] else {
        return Err(format!(
            "table has shape {shape:?}, expected (vocabulary, width)"
        ));
    };
    let storage = state.float_weights();
    let (table, scales) = pack_table(state.constant_f32(node, 1, "table")?, rows, width, storage);
    let rows = u32::try_from(rows).map_err(|_| format!("table has {rows} rows"))?;
    let ids = state.computed(node.inputs[0])?;
    let output = state.add_value_like(node.output, state.float_type())?;
    let kind = state.float_kind(OpKind::EmbeddingF32);
    let op = state.push(node.name.clone(), kind, vec![ids], output);
    op.params = EmbeddingParams {
        weights: storage as u8,
        reserved: [0; 3],
        rows: rows.into(),
    }
    .as_bytes()
    .to_vec();
    op.data = vec![Some(table), scales];
    Ok(())
}

fn reduce(
    state: &mut Lowering<'_>,
    node: &Node,
    function: Reduce,
    axes: &[usize],
) -> Result<(), Reason> {
    let kind = match function {
        Reduce::Sum => ReduceKind::Sum,
        Reduce::Mean => ReduceKind::Mean,
        Reduce::Max => ReduceKind::Max,
        Reduce::L2 => ReduceKind::L2,
    };
    let rank = state.graph.values[node.inputs[0]].shape.len();
    if rank > 4 || axes.iter().any(|&axis| axis >= rank) {
        return Err(format!("reduces dimensions {axes:?} of {rank}"));
    }
    let mask = axes.iter().fold(0u8, |mask, &axis| mask | 1 << axis);
    simple(
        state,
        node,
        OpKind::ReduceF32,
        ReduceParams {
            function: kind as u8,
            axes: mask,
            reserved: [0; 2],
        }
        .as_bytes(),
    )
}

/// Dimensions as the record wants them: `identity` beyond the rank.
fn four<T: Copy>(
    values: &[usize],
    convert: impl Fn(usize) -> T,
    beyond: impl Fn(usize) -> T,
) -> [T; 4] {
    std::array::from_fn(|d| {
        values
            .get(d)
            .map_or_else(|| beyond(d), |&value| convert(value))
    })
}

fn transpose(state: &mut Lowering<'_>, node: &Node, permutation: &[usize]) -> Result<(), Reason> {
    let source = state.float(node.inputs[0])?;
    state.transposed(node, permutation, source, state.float_type())
}

fn slice(
    state: &mut Lowering<'_>,
    node: &Node,
    starts: &[usize],
    steps: &[usize],
) -> Result<(), Reason> {
    let params = SliceParams {
        starts: four(starts, |v| (v as u32).into(), |_| 0.into()),
        steps: four(steps, |v| (v as u32).into(), |_| 1.into()),
    };
    moved(state, node, OpKind::Slice, params.as_bytes())
}

fn concat(state: &mut Lowering<'_>, node: &Node, axis: usize) -> Result<(), Reason> {
    if node.inputs.len() > 4 {
        return Err(format!(
            "joins {} values, at most 4 at once",
            node.inputs.len()
        ));
    }
    simple_inputs(
        state,
        node,
        OpKind::Concat,
        node.inputs.len(),
        ConcatParams {
            axis: axis as u8,
            reserved: [0; 3],
        }
        .as_bytes(),
    )
}

fn pad(
    state: &mut Lowering<'_>,
    node: &Node,
    before: &[usize],
    after: &[usize],
    fill: u32,
) -> Result<(), Reason> {
    let side = |side: &[usize]| four(side, |v| (v as u32).into(), |_| 0.into());
    moved(
        state,
        node,
        OpKind::Pad,
        PadParams {
            before: side(before),
            after: side(after),
            fill: fill.into(),
        }
        .as_bytes(),
    )
}

fn moved(state: &mut Lowering<'_>, node: &Node, kind: OpKind, params: &[u8]) -> Result<(), Reason> {
    simple(state, node, kind, params)
}

/// An operator of one float input.
fn simple(
    state: &mut Lowering<'_>,
    node: &Node,
    kind: OpKind,
    params: &[u8],
) -> Result<(), Reason> {
    simple_inputs(state, node, kind, 1, params)
}

/// An operator whose first `count` inputs are float values.
fn simple_inputs(
    state: &mut Lowering<'_>,
    node: &Node,
    kind: OpKind,
    count: usize,
    params: &[u8],
) -> Result<(), Reason> {
    if node.inputs.len() < count {
        return Err(format!(
            "has {} inputs, expected {count}",
            node.inputs.len()
        ));
    }
    let inputs = node.inputs[..count]
        .iter()
        .map(|&input| state.float(input))
        .collect::<Result<Vec<_>, _>>()?;
    let output = state.add_value_like(node.output, state.float_type())?;
    let kind = state.float_kind(kind);
    state.push(node.name.clone(), kind, inputs, output).params = params.to_vec();
    Ok(())
}

fn data(state: &mut Lowering<'_>, data: Vec<Option<Vec<u8>>>) {
    if let Some(op) = state.out.ops.last_mut() {
        op.data = data;
    }
}

fn macs(state: &mut Lowering<'_>, macs: u64) {
    if let Some(op) = state.out.ops.last_mut() {
        op.macs = macs;
    }
}

/// Only products of halves have scratch.
fn gemm_scratch(state: &mut Lowering<'_>, k: usize) -> Result<(), Reason> {
    match state.float_type() {
        DType::F16 => scratch(state, tile_scratch_bytes(k, 4)),
        _ => Ok(()),
    }
}

fn scratch(state: &mut Lowering<'_>, bytes: Option<usize>) -> Result<(), Reason> {
    let bytes = bytes.ok_or("its scratch overflows")?;
    if let Some(op) = state.out.ops.last_mut() {
        op.scratch_bytes = bytes;
    }
    Ok(())
}
