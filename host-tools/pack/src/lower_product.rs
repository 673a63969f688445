//! Products by constant weights in integers: convolutions and linear layers, their weights, biases and requantisation.

use pinhole_graph::op::Activation;
use pinhole_graph::{Node, Tensor, TensorData};
use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::kernel::tile_scratch_bytes;
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{ConvParams, GemmParams, OpKind};
use zerocopy::IntoBytes;

use crate::lower::{Lowering, Reason};
use crate::lower_float::{WindowSizes, elements, grouped, weight_shape};
use crate::lower_int::{ActivationQuant, activation_quant, clamp, layer_input, push};
use crate::weights::{i8_bytes, i32_bytes, pack_s8};

/// Integer weights and what becomes of their sums.
struct Product {
    /// (n, k)
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
}

/// A layer's weights (n, k) and bias in integers, quantised with the scales of its input, weights and output where they are
/// not integers yet.
fn product(
    state: &Lowering<'_>,
    node: &Node,
    n: usize,
    k: usize,
    input: ActivationQuant,
) -> Result<Product, Reason> {
    let quant = state.graph.values[node.inputs[1]]
        .quant
        .as_ref()
        .ok_or("its weight has no scales")?;
    if quant.scales.len() != n && quant.scales.len() != 1 {
        return Err(format!(
            "weight has {} scales, expected {n}",
            quant.scales.len()
        ));
    }
    let scale = |channel: usize| quant.scales[channel.min(quant.scales.len() - 1)];
    let weights = integer_weights(state.constant(node, 1, "weight")?, k, scale)?;
    let biases = match node.inputs.len() {
        0..=2 => vec![0; n],
        _ => {
            let unit = |channel: usize| f64::from(input.scale) * f64::from(scale(channel));
            integer_biases(state.constant(node, 2, "bias")?, unit)?
        }
    };
    let output = activation_quant(state, node.output)?;
    let mut out = Product {
        weights,
        bias: vec![],
        multiplier: vec![],
        shift: vec![],
    };
    for (channel, bias) in biases.into_iter().enumerate() {
        let row = &out.weights[channel * k..(channel + 1) * k];
        let sum: i64 = row.iter().copied().map(i64::from).sum();
        let folded = bias - i64::from(input.zero_point) * sum;
        let largest = if input.dtype == DType::I16 {
            32_768
        } else {
            128
        };
        let limit = i64::from(i32::MAX) - (k as i64) * largest * 128;
        if folded.abs() > limit {
            return Err(format!(
                "bias of channel {channel} is {folded} in units of the sum; beyond ±{limit} the int32 sum of {k} products could overflow"
            ));
        }
        out.bias.push(folded as i32);
        let (multiplier, shift) = quantize_multiplier(
            f64::from(input.scale) * f64::from(scale(channel)) / f64::from(output.scale),
        );
        out.multiplier.push(multiplier);
        out.shift.push(shift);
    }
    Ok(out)
}

/// Weights in steps of their channel's scale, in rows of `k`.
fn integer_weights(
    tensor: &Tensor,
    k: usize,
    scale: impl Fn(usize) -> f32,
) -> Result<Vec<i8>, Reason> {
    match &tensor.data {
        TensorData::I8(weights) => Ok(weights.to_vec()),
        TensorData::F32(weights) => Ok(weights
            .chunks_exact(k)
            .enumerate()
            .flat_map(|(channel, row)| row.iter().map(move |w| (channel, w)))
            .map(|(channel, w)| (w / scale(channel)).round().clamp(-127.0, 127.0) as i8)
            .collect()),
        TensorData::I32(_) => Err("its weight holds int32, expected floats or int8".into()),
    }
}

/// Biases in units of the sum.
fn integer_biases(tensor: &Tensor, unit: impl Fn(usize) -> f64) -> Result<Vec<i64>, Reason> {
    match &tensor.data {
        TensorData::I32(biases) => Ok(biases.iter().copied().map(i64::from).collect()),
        TensorData::F32(biases) => Ok(biases
            .iter()
            .enumerate()
            .map(|(channel, &bias)| (f64::from(bias) / unit(channel)).round() as i64)
            .collect()),
        TensorData::I8(_) => Err("its bias holds int8, expected floats or int32".into()),
    }
}

pub(crate) fn conv(
    state: &mut Lowering<'_>,
    node: &Node,
    sizes: WindowSizes,
    groups: usize,
    activation: Activation,
) -> Result<(), Reason> {
    let [n, kernel_h, kernel_w, per_group] = weight_shape(state, node)?;
    let sizes = sizes.with_kernel([kernel_h, kernel_w]);
    let taps = kernel_h * kernel_w;
    let k = taps * per_group;
    let product = product(state, node, n, k, layer_input(state, node)?)?;
    let (clamp_min, clamp_max) = clamp(activation, &activation_quant(state, node.output)?);
    let (clamp_min, clamp_max) = (clamp_min.into(), clamp_max.into());
    let macs = (elements(state, node.output) * k) as u64;
    let params = ConvParams {
        window: sizes.record()?,
        clamp_min,
        clamp_max,
    };
    if groups == 1 && sizes.is_pointwise() {
        return gemm(
            state,
            node,
            product,
            n,
            k,
            GemmParams {
                clamp_min,
                clamp_max,
            },
        );
    }
    let (kind, weights, scratch) = if groups == 1 {
        (
            OpKind::ConvS8,
            pack_s8(state.options.layout, &product.weights, n, k),
            tile_scratch_bytes(k, 1).ok_or("its scratch overflows")?,
        )
    } else if groups == n && per_group == 1 {
        (
            match layer_input(state, node)?.dtype {
                DType::I16 => OpKind::DepthwiseConvS16,
                _ => OpKind::DepthwiseConvS8,
            },
            i8_bytes(&by_tap(&product.weights, n, taps)),
            0,
        )
    } else {
        return Err(grouped(groups, n));
    };
    let index = push(state, node, &node.inputs[..1], kind, params.as_bytes())?;
    let op = &mut state.out.ops[index];
    op.data = product_data(weights, product);
    op.scratch_bytes = scratch;
    op.macs = macs;
    Ok(())
}

/// (n, taps) → (taps, n).
fn by_tap(weights: &[i8], n: usize, taps: usize) -> Vec<i8> {
    (0..taps * n)
        .map(|index| weights[index % n * taps + index / n])
        .collect()
}

fn product_data(weights: Vec<u8>, product: Product) -> Vec<Option<Vec<u8>>> {
    vec![
        Some(weights),
        Some(i32_bytes(&product.bias)),
        Some(i32_bytes(&product.multiplier)),
        Some(i8_bytes(&product.shift)),
    ]
}

pub(crate) fn linear(
    state: &mut Lowering<'_>,
    node: &Node,
    activation: Activation,
) -> Result<(), Reason> {
    let shape = &state.constant(node, 1, "weight")?.shape;
    let &[n, k] = &shape[..] else {
        return Err(format!("weight has shape {shape:?}, expected (out, in)"));
    };
    let product = product(state, node, n, k, layer_input(state, node)?)?;
    let (clamp_min, clamp_max) = clamp(activation, &activation_quant(state, node.output)?);
    gemm(
        state,
        node,
        product,
        n,
        k,
        GemmParams {
            clamp_min: clamp_min.into(),
            clamp_max: clamp_max.into(),
        },
    )
}

fn gemm(
    state: &mut Lowering<'_>,
    node: &Node,
    product: Product,
    n: usize,
    k: usize,
    params: GemmParams,
) -> Result<(), Reason> {
    let macs = (elements(state, node.output) * k) as u64;
    let index = push(
        state,
        node,
        &node.inputs[..1],
        OpKind::GemmS8,
        params.as_bytes(),
    )?;
    let op = &mut state.out.ops[index];
    op.data = product_data(
        pack_s8(state.options.layout, &product.weights, n, k),
        product,
    );
    op.scratch_bytes = tile_scratch_bytes(k, 1).ok_or("its scratch overflows")?;
    op.macs = macs;
    Ok(())
}
