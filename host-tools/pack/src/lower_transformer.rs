//! Integer nodes of transformers: 16-bit sums, layer normalisation, attention, softmax, means over tokens.
//!
//! What each parameter is, and the limits that keep sums inside 32 bits, is stated at `pinhole_runtime::kernel`'s structs;
//! a node that a limit excludes is refused with it.

use pinhole_graph::op::Activation;
use pinhole_graph::{Node, ValueId};
use pinhole_runtime::kernel::attention_s8_scratch_bytes;
use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::kernel::row_scale::FRACTION_BITS;
use pinhole_runtime::kernel::softmax::ScoreScale;
use pinhole_runtime::kernel::transformer::{MAX_HEAD_WIDTH, MAX_KEYS};
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{
    AddS16Params, AttentionS8Params, EmbeddingS8Params, LayerNormS16Params, MeanParams, OpKind,
    RescaleS16Params, SoftmaxS8Params,
};
use zerocopy::IntoBytes;

use crate::lower::{Lowering, Place, Reason};
use crate::lower_int::{ActivationQuant, activation_quant, clamp, push, push_lowered};
use crate::weights::{i8_bytes, i16_bytes, i32_bytes};

/// Shift of 8-bit inputs of 16-bit sums, as a factor.
const BYTE_FACTOR: f64 = 128.0;

/// Type, scale and zero point of a lowered value.
pub(crate) fn quant_of(state: &Lowering<'_>, lowered: usize) -> ActivationQuant {
    let value = &state.out.values[lowered];
    ActivationQuant {
        dtype: value.dtype,
        scale: value.scale,
        zero_point: value.zero_point,
    }
}

/// A sum of operands with these signs in 16 bits; either may be a constant, and one that is smaller repeats.
pub(crate) fn add(
    state: &mut Lowering<'_>,
    node: &Node,
    signs: [i32; 2],
    activation: Activation,
) -> Result<(), Reason> {
    let output = activation_quant(state, node.output)?;
    let mut operands = [0; 2];
    for (operand, &id) in operands.iter_mut().zip(&node.inputs) {
        *operand = term(state, id, node.output)?;
    }
    let factors = operands.map(|operand| factor(&quant_of(state, operand), &output));
    let (mut multiplier, shift) = common_shift(factors)?;
    multiplier
        .iter_mut()
        .zip(signs)
        .for_each(|(m, sign)| *m *= sign);
    let (clamp_min, clamp_max) = clamp(activation, &output);
    let params = AddS16Params {
        multiplier: multiplier.map(Into::into),
        shift: shift.into(),
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    };
    push_lowered(
        state,
        node,
        operands.to_vec(),
        OpKind::AddS16,
        params.as_bytes(),
    )
    .map(drop)
}

/// An operand of a sum: what was computed, or a constant in 16 bits with the output's shape.
fn term(state: &mut Lowering<'_>, id: ValueId, output: ValueId) -> Result<usize, Reason> {
    let graph = state.graph;
    let value = &graph.values[id];
    let Some(data) = value.constant.as_ref().and_then(|tensor| tensor.as_f32()) else {
        return state.computed(id);
    };
    let shape = &graph.values[output].shape;
    let len: usize = shape.iter().product();
    let padded = [
        vec![1; shape.len() - value.shape.len().min(shape.len())],
        value.shape.clone(),
    ]
    .concat();
    let repeats = padded.iter().zip(shape).skip_while(|(a, _)| **a == 1);
    if padded.len() != shape.len() || repeats.clone().any(|(a, b)| a != b) || data.is_empty() {
        return Err(format!(
            "adds a constant of shape {:?} to {shape:?}, expected its last dimensions",
            value.shape
        ));
    }
    let largest = data.iter().fold(0f32, |m, x| m.max(x.abs())).max(1e-12);
    let quant = ActivationQuant {
        dtype: DType::I16,
        scale: largest / 32767.0,
        zero_point: 0,
    };
    let repeated: Vec<f32> = data.iter().copied().cycle().take(len).collect();
    constant(state, id, &repeated, shape, quant)
}

/// A constant in the type, scale and zero point of `quant`.
pub(crate) fn constant(
    state: &mut Lowering<'_>,
    id: ValueId,
    data: &[f32],
    shape: &[usize],
    quant: ActivationQuant,
) -> Result<usize, Reason> {
    let quantised = data.iter().map(|x| {
        let scaled = f64::from(*x) / f64::from(quant.scale);
        scaled.round() as i64 + i64::from(quant.zero_point)
    });
    let bytes = match quant.dtype {
        DType::I16 => i16_bytes(
            &quantised
                .map(|q| q.clamp(-32768, 32767) as i16)
                .collect::<Vec<_>>(),
        ),
        _ => i8_bytes(
            &quantised
                .map(|q| q.clamp(-128, 127) as i8)
                .collect::<Vec<_>>(),
        ),
    };
    let name = format!("{}.quantized", state.graph.values[id].name);
    let index = state.add_value(name, quant.dtype, shape, Place::Data(bytes))?;
    let value = &mut state.out.values[index];
    (value.scale, value.zero_point) = (quant.scale, quant.zero_point);
    Ok(index)
}

/// Steps of the output in a step of an input, as a 16-bit sum sees it.
fn factor(input: &ActivationQuant, output: &ActivationQuant) -> f64 {
    let bytes = if input.dtype == DType::I8 {
        BYTE_FACTOR
    } else {
        1.0
    };
    f64::from(input.scale) / (f64::from(output.scale) * bytes)
}

/// The largest shift for which the multipliers of both inputs are in range.
fn common_shift(factors: [f64; 2]) -> Result<([i32; 2], i32), Reason> {
    for shift in (1..=30).rev() {
        let multiplier = factors.map(|factor| (factor * f64::from(1u32 << shift)).round());
        let most = (f64::from(i32::MAX) - f64::from(1u32 << (shift - 1))) / 32768.0;
        let fits = multiplier.iter().all(|&m| m <= 32767.0)
            && multiplier[0] + multiplier[1] <= most.floor();
        if fits {
            return Ok((multiplier.map(|m| m as i32), shift));
        }
    }
    Err(format!(
        "steps of its inputs are {:.0} and {:.0} steps of its output, at most 16383 fit",
        factors[0], factors[1]
    ))
}

/// The same value in another type or on another scale, as a new value beside it.
pub(crate) fn rescaled(
    state: &mut Lowering<'_>,
    source: usize,
    target: ActivationQuant,
) -> Result<usize, Reason> {
    let value = state.out.values[source].clone();
    let (multiplier, shift) = common_shift([factor(&quant_of(state, source), &target), 0.0])?;
    let (clamp_min, clamp_max) = clamp(Activation::None, &target);
    let index = state.add_value(
        format!("{}.rescaled", value.name),
        target.dtype,
        &value.shape,
        Place::Arena,
    )?;
    let added = &mut state.out.values[index];
    (added.dynamic, added.scale, added.zero_point) =
        (value.dynamic, target.scale, target.zero_point);
    state
        .push(value.name, OpKind::RescaleS16, vec![source], index)
        .params = RescaleS16Params {
        multiplier: multiplier[0].into(),
        shift: shift.into(),
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    }
    .as_bytes()
    .to_vec();
    Ok(index)
}

/// A computed value in 16 bits with zero point 0: itself, or all its bits and 7 more.
pub(crate) fn wide(state: &mut Lowering<'_>, id: ValueId) -> Result<usize, Reason> {
    let source = state.computed(id)?;
    let quant = quant_of(state, source);
    if quant.dtype == DType::I16 {
        return Ok(source);
    }
    let target = ActivationQuant {
        dtype: DType::I16,
        scale: (f64::from(quant.scale) / BYTE_FACTOR) as f32,
        zero_point: 0,
    };
    rescaled(state, source, target)
}

/// Layer normalisation with the output's scale in gamma and beta.
pub(crate) fn layer_norm(
    state: &mut Lowering<'_>,
    node: &Node,
    epsilon: f32,
) -> Result<(), Reason> {
    let (gamma, beta) = (
        state.constant_f32(node, 1, "gamma")?,
        state.constant_f32(node, 2, "beta")?,
    );
    let source = state.computed(node.inputs[0])?;
    let (input, output) = (
        quant_of(state, source),
        activation_quant(state, node.output)?,
    );
    let n = gamma.len() as f64;
    let step = f64::from(input.scale).max(f64::MIN_POSITIVE);
    let epsilon = (f64::from(epsilon) / (step * step) * n * n).round();
    if epsilon > (1u64 << 60) as f64 {
        return Err(format!(
            "its epsilon is {epsilon:.3e} in units of the sum of squares, at most 2^60 fits"
        ));
    }
    let scale = f64::from(output.scale);
    let unit = f64::from(1u32 << FRACTION_BITS);
    let real_gamma: Vec<f64> = gamma.iter().map(|g| f64::from(*g) / scale / unit).collect();
    let real_beta: Vec<f64> = beta
        .iter()
        .map(|b| f64::from(*b) / scale + f64::from(output.zero_point))
        .collect();
    let largest = |data: &[f64]| data.iter().fold(0f64, |m, x| m.max(x.abs()));
    let (most_gamma, most_beta) = (largest(&real_gamma), largest(&real_beta) + 0.5);
    let shift = (0..=30)
        .rev()
        .find(|&shift| {
            let factor = f64::from(1u32 << shift);
            most_gamma * factor <= 32766.0 && most_beta * factor <= f64::from((1 << 30) - 2)
        })
        .ok_or_else(|| {
            format!("its gamma is {most_gamma:.0} steps of the output, at most 32766 fit")
        })?;
    let factor = f64::from(1u32 << shift);
    let half = if shift > 0 { factor / 2.0 } else { 0.0 };
    let gamma: Vec<i16> = real_gamma
        .iter()
        .map(|g| (g * factor).round() as i16)
        .collect();
    let beta: Vec<i32> = real_beta
        .iter()
        .map(|b| (b * factor + half).round() as i32)
        .collect();
    let params = LayerNormS16Params {
        epsilon: (epsilon as u64).into(),
        shift: shift.into(),
    };
    let index = push_lowered(
        state,
        node,
        vec![source],
        OpKind::LayerNormS16,
        params.as_bytes(),
    )?;
    state.out.ops[index].data = vec![Some(i16_bytes(&gamma)), Some(i32_bytes(&beta))];
    Ok(())
}

/// What was computed, or a constant in 8 bits with zero point 0.
fn operand(state: &mut Lowering<'_>, id: ValueId) -> Result<usize, Reason> {
    let value = &state.graph.values[id];
    let Some(data) = value.constant.as_ref().and_then(|tensor| tensor.as_f32()) else {
        return state.computed(id);
    };
    let largest = data.iter().fold(0f32, |m, x| m.max(x.abs())).max(1e-12);
    let quant = ActivationQuant {
        dtype: DType::I8,
        scale: largest / 127.0,
        zero_point: 0,
    };
    constant(state, id, data, &value.shape, quant)
}

/// Attention over windows.
pub(crate) fn attention(
    state: &mut Lowering<'_>,
    node: &Node,
    [num_heads, windows]: [usize; 2],
    scale: f32,
    causal: bool,
) -> Result<(), Reason> {
    let graph = state.graph;
    let shape = |input: usize| &graph.values[node.inputs[input]].shape;
    let width = graph.values[node.output].shape.last().copied().unwrap_or(0);
    let rows = |input: usize| shape(input).iter().product::<usize>() / width.max(1);
    if num_heads == 0 || windows == 0 || width % num_heads != 0 || rows(0) % windows != 0 {
        return Err(format!(
            "{num_heads} heads and {windows} windows do not divide {:?}",
            shape(0)
        ));
    }
    let (queries, keys, head_width) = (rows(0) / windows, rows(1) / windows, width / num_heads);
    if keys > MAX_KEYS || head_width > MAX_HEAD_WIDTH {
        return Err(format!(
            "{keys} keys and heads of {head_width} columns; beyond {MAX_KEYS} and {MAX_HEAD_WIDTH} its int32 sums could overflow"
        ));
    }
    let mut inputs = Vec::new();
    for &id in &node.inputs[..3] {
        let source = operand(state, id)?;
        let quant = quant_of(state, source);
        if quant.dtype != DType::I8 || quant.zero_point != 0 {
            return Err(format!(
                "{} has zero point {}, expected int8 with 0",
                graph.values[id].name, quant.zero_point
            ));
        }
        inputs.push(source);
    }
    let [q, k, v] = [0, 1, 2].map(|input: usize| f64::from(quant_of(state, inputs[input]).scale));
    let output = activation_quant(state, node.output)?;
    let score = q * k * f64::from(scale);
    let (score_multiplier, score_shift) = ScoreScale::quantize(score)
        .ok_or_else(|| format!("a step of its scores is {score:e}, out of range"))?;
    let (output_multiplier, output_shift) = quantize_multiplier(v / f64::from(output.scale));
    if !(-7..=7).contains(&output_shift) {
        return Err(format!(
            "a step of its values is {} steps of its output",
            v / f64::from(output.scale)
        ));
    }
    let head = [
        score_multiplier,
        score_shift,
        output_multiplier,
        output_shift.into(),
    ];
    let heads: Vec<i32> = head.iter().copied().cycle().take(4 * num_heads).collect();
    let bias = if node.inputs.len() > 3 {
        let data = state.constant_f32(node, 3, "bias")?;
        Some(bias(data, [num_heads, queries, keys], score)?)
    } else {
        None
    };
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let params = AttentionS8Params {
        num_heads: small(num_heads).into(),
        windows: small(windows).into(),
        offset: [0.into(); 3],
        bias_window: bias
            .as_ref()
            .map_or([0; 2], |bias| bias.window)
            .map(Into::into),
        bias_shift: bias.as_ref().map_or(0, |bias| bias.shift).into(),
        causal: u32::from(causal).into(),
    };
    let index = push_lowered(state, node, inputs, OpKind::AttentionS8, params.as_bytes())?;
    let op = &mut state.out.ops[index];
    op.data = vec![
        Some(i32_bytes(&heads)),
        bias.map(|bias| i16_bytes(&bias.table)),
    ];
    op.scratch_bytes =
        attention_s8_scratch_bytes(keys, head_width).ok_or("its scratch overflows")?;
    op.macs = 2 * (windows * queries * keys * width) as u64;
    Ok(())
}

/// A bias in units of the scores.
struct Bias {
    table: Vec<i16>,
    shift: u32,
    /// Height and width of the window whose distances index the table; zeros for one number a pair.
    window: [u16; 2],
}

/// Quantises a bias (heads, queries, keys) of which a step of the scores is `score`.
fn bias(data: &[f32], [heads, queries, keys]: [usize; 3], score: f64) -> Result<Bias, Reason> {
    if data.len() != heads * queries * keys {
        return Err(format!(
            "its bias has {} elements, expected ({heads}, {queries}, {keys})",
            data.len()
        ));
    }
    let steps = data.iter().fold(0f64, |m, x| m.max(f64::from(x.abs()))) / score;
    let shift = (0..=14)
        .find(|&shift| steps / f64::from(1u32 << shift) <= 32767.0)
        .ok_or_else(|| format!("its bias is {steps:.0} steps of the scores, at most 2^29 fit"))?;
    let unit = score * f64::from(1u32 << shift);
    let (window, data) =
        by_distance(data, [heads, queries, keys]).unwrap_or_else(|| ([0, 0], data.to_vec()));
    Ok(Bias {
        table: data
            .iter()
            .map(|x| (f64::from(*x) / unit).round() as i16)
            .collect(),
        shift,
        window,
    })
}

/// The bias of every distance inside a window, when nothing else decides it; square windows are tried first.
fn by_distance(data: &[f32], [heads, queries, keys]: [usize; 3]) -> Option<([u16; 2], Vec<f32>)> {
    if queries != keys || queries < 4 {
        return None;
    }
    let mut heights: Vec<usize> = (2..queries).filter(|h| queries % h == 0).collect();
    heights.sort_by_key(|h| h.abs_diff(queries / h));
    heights.into_iter().find_map(|height| {
        let width = queries / height;
        let (rows, columns) = (2 * height - 1, 2 * width - 1);
        let mut table = vec![None; heads * rows * columns];
        for (index, &x) in data.iter().enumerate() {
            let (head, query, key) = (
                index / (queries * keys),
                index / keys % queries,
                index % keys,
            );
            let row = key / width + height - 1 - query / width;
            let column = key % width + width - 1 - query % width;
            let place = &mut table[(head * rows + row) * columns + column];
            if *place.get_or_insert(x) != x {
                return None;
            }
        }
        let window = [u16::try_from(height).ok()?, u16::try_from(width).ok()?];
        Some((window, table.into_iter().collect::<Option<Vec<f32>>>()?))
    })
}

/// Rows of a table in bytes. A row's factor has 16 bits, and its bytes are rounded in steps of just that factor.
pub(crate) fn embedding(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let shape = &state.constant(node, 1, "table")?.shape;
    let &[rows, width] = &shape[..] else {
        return Err(format!(
            "table has shape {shape:?}, expected (vocabulary, width)"
        ));
    };
    let table = state.constant_f32(node, 1, "table")?;
    let quant = state.graph.values[node.inputs[1]].quant.as_ref();
    let scales = quant.map_or(&[][..], |quant| &quant.scales);
    if scales.len() != rows {
        return Err(format!(
            "table has {} scales, expected {rows}",
            scales.len()
        ));
    }
    let step = f64::from(activation_quant(state, node.output)?.scale);
    let factors = scales.iter().map(|&scale| f64::from(scale) / step);
    let most = factors.clone().fold(0f64, f64::max);
    let shift = (1..=30)
        .rev()
        .find(|&shift| most * f64::from(1u32 << shift) <= 65_535.0)
        .ok_or_else(|| {
            format!("a step of its table is {most:.0} steps of its output, at most 32767 fit")
        })?;
    let unit = f64::from(1u32 << shift);
    // Rounded up, so that the largest number of a row stays within its bytes.
    let multiplier: Vec<u16> = factors
        .map(|factor| (factor * unit).ceil().clamp(1.0, 65_535.0) as u16)
        .collect();
    let bytes: Vec<i8> = table
        .chunks_exact(width.max(1))
        .zip(&multiplier)
        .flat_map(|(row, &multiplier)| {
            let scale = f64::from(multiplier) / unit * step;
            let quantised =
                move |x: &f32| (f64::from(*x) / scale).round().clamp(-128.0, 127.0) as i8;
            row.iter().map(quantised)
        })
        .collect();
    let params = EmbeddingS8Params {
        rows: u32::try_from(rows)
            .map_err(|_| format!("table has {rows} rows"))?
            .into(),
        shift: shift.into(),
    };
    let index = push(
        state,
        node,
        &node.inputs[..1],
        OpKind::EmbeddingS8,
        params.as_bytes(),
    )?;
    let multiplier = multiplier.iter().flat_map(|m| m.to_le_bytes()).collect();
    state.out.ops[index].data = vec![Some(i8_bytes(&bytes)), Some(multiplier)];
    Ok(())
}

/// Softmax over the last dimension.
pub(crate) fn softmax(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let source = state.computed(node.inputs[0])?;
    let step = f64::from(quant_of(state, source).scale);
    let (score_multiplier, score_shift) = ScoreScale::quantize(step)
        .ok_or_else(|| format!("a step of its input is {step:e}, out of range"))?;
    let params = SoftmaxS8Params {
        score_multiplier: score_multiplier.into(),
        score_shift: score_shift.into(),
    };
    push(
        state,
        node,
        &node.inputs[..1],
        OpKind::SoftmaxS8,
        params.as_bytes(),
    )
    .map(drop)
}

/// Mean over all but the last dimension.
pub(crate) fn mean(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let source = wide(state, node.inputs[0])?;
    let value = &state.out.values[source];
    let rows = value.len() / value.shape.last().copied().unwrap_or(1).max(1);
    // A run divides by the tokens that it has.
    let divisor = if value.dynamic { 1 } else { rows };
    let (input, output) = (
        quant_of(state, source),
        activation_quant(state, node.output)?,
    );
    let real = f64::from(input.scale) / (f64::from(output.scale) * divisor as f64);
    let (mut multiplier, mut shift) = quantize_multiplier(real);
    if real == 1.0 {
        // What `quantize_multiplier` writes as half of 2.
        (multiplier, shift) = (i32::MAX, 0);
    }
    if rows > 65_535 || shift > 0 {
        return Err(format!(
            "averages {rows} rows with a factor of {real}; at most 65535 and 1 fit 32 bits"
        ));
    }
    let (clamp_min, clamp_max) = clamp(Activation::None, &output);
    let params = MeanParams {
        multiplier: multiplier.into(),
        shift: i32::from(shift).into(),
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    };
    push_lowered(
        state,
        node,
        vec![source],
        OpKind::MeanS16,
        params.as_bytes(),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_by_distance_becomes_a_small_table() {
        let (heads, height, width) = (2, 3, 4);
        let tokens = height * width;
        let distance = |head: usize, query: usize, key: usize| {
            let dy = (key / width) as f32 - (query / width) as f32;
            let dx = (key % width) as f32 - (query % width) as f32;
            dy * 10.0 + dx + head as f32 * 100.0
        };
        let mut data = Vec::new();
        for head in 0..heads {
            for query in 0..tokens {
                data.extend((0..tokens).map(|key| distance(head, query, key)));
            }
        }
        let found = bias(&data, [heads, tokens, tokens], 1.0).unwrap();
        assert_eq!(found.window, [3, 4]);
        assert_eq!((found.table.len(), found.shift), (heads * 5 * 7, 0));
        assert_eq!(found.table[2 * 7 + 3], 0);
        assert_eq!(found.table[35 + 4 * 7 + 6], 123);
        data[5] += 1.0;
        assert_eq!(
            bias(&data, [heads, tokens, tokens], 1e-3).unwrap().window,
            [0, 0]
        );
    }

    #[test]
    fn sums_take_the_largest_shift_that_fits() {
        assert_eq!(common_shift([1.0, 1.0]).unwrap(), ([16384, 16384], 14));
        let ([a, b], shift) = common_shift([1.0, 0.003]).unwrap();
        assert_eq!((a, b, shift), (16384, 49, 14));
        assert!(common_shift([20_000.0, 1.0]).is_err());
    }
}
