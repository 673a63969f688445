//! QuantizeLinear and DynamicQuantizeLinear of constants
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>): round to the nearest, halves to even, and saturate.

use tract_onnx::pb::tensor_proto::DataType;

use super::attributes::axis;
use super::constant::Constant;
use super::lower::Call;
use super::{Refusal, refuse};

/// Least and largest of a type that is rounded to.
fn limits(data_type: DataType) -> Result<(i64, i64), Refusal> {
    Ok(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Uint8 => (0, u8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Uint16 => (0, u16::MAX.into()),
        other => {
            return Err(refuse(
                format!(
                    "it rounds to {}, expected integers of 8 or 16 bits",
                    other.as_str_name()
                ),
                "store the constant in floats",
            ));
        }
    })
}

fn round(x: f32, scale: f32, zero_point: i64, (least, largest): (i64, i64)) -> i64 {
    let steps = (x / scale).round_ties_even();
    // Beyond 64 bits the cast saturates, and so does the sum.
    (steps as i64)
        .saturating_add(zero_point)
        .clamp(least, largest)
}

/// QuantizeLinear of a constant, to a type of the file.
pub(super) fn quantize(call: &Call<'_>, data_type: DataType) -> Result<Constant, Refusal> {
    let x = call.constant(0, "values")?;
    let scales = call.constant(1, "scales")?;
    let zeros = call.optional_constant(2, "zero points")?;
    let zeros = zeros.map_or(Ok(vec![0; scales.len()]), |zeros| {
        zeros.ints().map(<[i64]>::to_vec)
    })?;
    let along = match scales.len() {
        1 => 0,
        _ => axis(call.attributes.int("axis", 1), x.shape.len())?,
    };
    let size = x.shape.get(along).copied().unwrap_or(1).max(1);
    let fits = scales.len() == 1 || scales.len() == size;
    if !fits || zeros.len() != scales.len() || call.attributes.int("block_size", 0) != 0 {
        return Err(refuse(
            format!(
                "{} scales and {} zero points for {size} channels",
                scales.len(),
                zeros.len()
            ),
            "quantise each tensor or each channel, not blocks",
        ));
    }
    let limits = limits(data_type)?;
    let inner: usize = x.shape.iter().skip(along + 1).product();
    let steps = scales.to_floats();
    let channel = |index: usize| (index / inner.max(1) % size).min(steps.len() - 1);
    let data = x.to_floats();
    let rounded = data.iter().enumerate().map(|(index, &x)| {
        let channel = channel(index);
        round(x, steps[channel], zeros[channel], limits)
    });
    Ok(Constant::int(&x.shape, rounded.collect()))
}

/// DynamicQuantizeLinear of a constant: unsigned bytes over its own range, which holds 0; their scale and zero point.
pub(super) fn dynamic(x: &Constant) -> [Constant; 3] {
    let data = x.to_floats();
    let (least, largest) = data
        .iter()
        .fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
    let bytes = (0, i64::from(u8::MAX));
    let scale = (largest - least) / bytes.1 as f32;
    // Of nothing but zeros, any scale does.
    let divisor = if scale > 0.0 { scale } else { 1.0 };
    let zero_point = round(-least, divisor, 0, bytes);
    let rounded = data
        .iter()
        .map(|&x| round(x, divisor, zero_point, bytes))
        .collect();
    [
        Constant::int(&x.shape, rounded),
        Constant::float(&[], vec![scale]),
        Constant::int(&[], vec![zero_point]),
    ]
}
