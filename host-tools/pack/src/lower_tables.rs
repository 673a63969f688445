//! Functions in integers: tables that the scalar kernels evaluate in floats, so that every host writes the same bytes.

use pinhole_graph::op::Unary;
use pinhole_graph::{IntegerRules, Node};
use pinhole_runtime::kernel::{Kernels, LUT_S16_ENTRIES, Scalar};
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{LutChannelsParams, LutS16Params, OpKind};
use zerocopy::IntoBytes;

use crate::litert;
use crate::lower::{Lowering, Reason};
use crate::lower_float::unary_kind;
use crate::lower_int::{ActivationQuant, activation_quant, layer_input, push};
use crate::weights::{i8_bytes, i16_bytes};

/// A table of all 256 inputs; two tables where they have 16 bits.
pub(crate) fn one(state: &mut Lowering<'_>, node: &Node, function: Unary) -> Result<(), Reason> {
    let quant = [
        layer_input(state, node)?,
        activation_quant(state, node.output)?,
    ];
    if quant[0].dtype == DType::I16 {
        return wide(state, node, function, quant);
    }
    let table = match state.integer_rules() {
        IntegerRules::LiteRt => litert::table(function, quant),
        IntegerRules::Own => None,
    };
    let table = table.unwrap_or_else(|| values(function, quant, [1.0; 2]));
    let index = push(state, node, &node.inputs[..1], OpKind::LutS8, &[])?;
    state.out.ops[index].data = vec![Some(i8_bytes(&table))];
    Ok(())
}

/// `function(x · before) · after` of all 256 inputs.
fn values(
    function: Unary,
    [input, output]: [ActivationQuant; 2],
    [before, after]: [f32; 2],
) -> [i8; 256] {
    let (kind, alpha, beta) = unary_kind(function);
    let quantized: Vec<i8> = (-128..=127i8).collect();
    let (mut real, mut result, mut table) = ([0f32; 256], [0f32; 256], [0i8; 256]);
    Scalar.dequantize_s8(
        &quantized,
        input.scale * before,
        input.zero_point,
        &mut real,
    );
    Scalar.unary_f32(kind, [alpha, beta], &real, &mut result);
    Scalar.quantize_f32(&result, output.scale / after, output.zero_point, &mut table);
    table
}

/// Largest magnitude at which functions still bend.
const BENT: f32 = 8.0;

/// Two tables: of all inputs of 16 bits, and of those near 0.
fn wide(
    state: &mut Lowering<'_>,
    node: &Node,
    function: Unary,
    quant: [ActivationQuant; 2],
) -> Result<(), Reason> {
    let covers = |shift: &u32| (256 << shift) as f32 * quant[0].scale >= BENT;
    let inner_shift = (0..7).find(covers).unwrap_or(7);
    let params = LutS16Params {
        inner_shift: inner_shift.into(),
    };
    let input = &node.inputs[..1];
    let op = push(state, node, input, OpKind::LutS16, params.as_bytes())?;
    let tables = [7, inner_shift].map(|shift| Some(i16_bytes(&values_s16(function, quant, shift))));
    state.out.ops[op].data = tables.to_vec();
    Ok(())
}

/// `function` at every 2^`shift`-th input around 0, in steps of the output, or in 256ths of the steps of 8 bits, the
/// zero point in them.
fn values_s16(
    function: Unary,
    [input, output]: [ActivationQuant; 2],
    shift: u32,
) -> [i16; LUT_S16_ENTRIES] {
    let (kind, alpha, beta) = unary_kind(function);
    let real: [f32; LUT_S16_ENTRIES] =
        std::array::from_fn(|entry| ((entry as i32 - 256) << shift) as f32 * input.scale);
    let mut result = [0f32; LUT_S16_ENTRIES];
    Scalar.unary_f32(kind, [alpha, beta], &real, &mut result);
    let parts = if output.dtype == DType::I8 {
        256.0
    } else {
        1.0
    };
    // The cast saturates.
    result.map(|real| ((real / output.scale + output.zero_point as f32) * parts).round() as i16)
}

/// A table for each pair of factors that occurs.
pub(crate) fn by_channel(
    state: &mut Lowering<'_>,
    node: &Node,
    function: Unary,
) -> Result<(), Reason> {
    let quant = [
        layer_input(state, node)?,
        activation_quant(state, node.output)?,
    ];
    let before = state.constant_f32(node, 1, "factor")?;
    let after = state.constant_f32(node, 2, "factor")?;
    let (mut pairs, mut index) = (Vec::new(), Vec::new());
    for pair in before.iter().zip(after).map(|(&a, &b)| [a, b]) {
        let place = pairs.iter().position(|other| *other == pair);
        let place = place.unwrap_or_else(|| {
            pairs.push(pair);
            pairs.len() - 1
        });
        index.push(u8::try_from(place).map_err(|_| "has more than 256 pairs of factors")?);
    }
    let tables: Vec<i8> = pairs
        .iter()
        .flat_map(|&pair| values(function, quant, pair))
        .collect();
    let params = LutChannelsParams {
        tables: (pairs.len() as u32).into(),
    };
    let op = push(
        state,
        node,
        &node.inputs[..1],
        OpKind::LutChannelsS8,
        params.as_bytes(),
    )?;
    state.out.ops[op].data = vec![Some(i8_bytes(&tables)), Some(index)];
    Ok(())
}
