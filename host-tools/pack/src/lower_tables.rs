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
    let (tables, inner_shift) = values_s16(function, quant, [1.0; 2]);
    let params = LutS16Params {
        inner_shift: u32::from(inner_shift).into(),
    };
    let input = &node.inputs[..1];
    let op = push(state, node, input, OpKind::LutS16, params.as_bytes())?;
    state.out.ops[op].data = tables.iter().map(|table| Some(i16_bytes(table))).collect();
    Ok(())
}

/// `function(x · before) · after` in an outer and an inner table, in steps of the output, or in 256ths of the steps of 8
/// bits, the zero point in them; and the shift of the inner one.
fn values_s16(
    function: Unary,
    [input, output]: [ActivationQuant; 2],
    [before, after]: [f32; 2],
) -> ([[i16; LUT_S16_ENTRIES]; 2], u8) {
    let (kind, alpha, beta) = unary_kind(function);
    let step = input.scale * before;
    let covers = |shift: &u8| (256 << shift) as f32 * step >= BENT;
    let inner_shift = (0..7).find(covers).unwrap_or(7);
    let parts = if output.dtype == DType::I8 {
        256.0
    } else {
        1.0
    };
    let tables = [7, inner_shift].map(|shift| {
        let real: [f32; LUT_S16_ENTRIES] =
            std::array::from_fn(|entry| ((entry as i32 - 256) << shift) as f32 * step);
        let mut result = [0f32; LUT_S16_ENTRIES];
        Scalar.unary_f32(kind, [alpha, beta], &real, &mut result);
        let steps = |real: f32| real * after / output.scale + output.zero_point as f32;
        // The cast saturates.
        result.map(|real| (steps(real) * parts).round() as i16)
    });
    (tables, inner_shift)
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
    let params = LutChannelsParams {
        tables: (pairs.len() as u32).into(),
    };
    let (kind, data) = if quant[0].dtype == DType::I16 {
        let found = pairs.iter().map(|&pair| values_s16(function, quant, pair));
        let (tables, shifts): (Vec<_>, Vec<u8>) = found.unzip();
        let tables = i16_bytes(tables.as_flattened().as_flattened());
        let data = vec![Some(tables), Some(index), Some(shifts)];
        (OpKind::LutChannelsS16, data)
    } else {
        let tables = pairs.iter().flat_map(|&pair| values(function, quant, pair));
        let tables = i8_bytes(&tables.collect::<Vec<_>>());
        (OpKind::LutChannelsS8, vec![Some(tables), Some(index)])
    };
    let op = push(state, node, &node.inputs[..1], kind, params.as_bytes())?;
    state.out.ops[op].data = data;
    Ok(())
}
