//! Tensors of the file as values of the graph.

use std::collections::HashSet;

use half::f16;

use super::flatbuffer::Fault;
use super::schema::{ElementType, Model, Operator, TensorInfo};
use crate::{Graph, Node, Op, QuantDType, QuantParams, Tensor, ValueId, pass};

/// Distance of the zero points of uint8 and int8: one is the other with its highest bit turned.
const UNSIGNED_OFFSET: i64 = 128;

/// Most elements of a tensor that is computed.
const MAX_ELEMENTS: usize = 1 << 31;

/// Why an operator is not imported.
pub(super) enum Refusal {
    /// The file contradicts itself.
    Malformed(Fault),
    /// The graph cannot express it.
    Unsupported {
        reason: String,
        advice: &'static str,
    },
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault)
    }
}

/// A [`Refusal::Unsupported`].
pub(super) fn refuse(reason: impl Into<String>, advice: &'static str) -> Refusal {
    Refusal::Unsupported {
        reason: reason.into(),
        advice,
    }
}

/// What to do about integers that TFLite's quantisation specification does not have.
const QUANTISE_AGAIN: &str = "convert the model again with full integer quantisation to int8";

/// The graph while it grows.
pub(super) struct Builder<'a> {
    pub(super) model: &'a Model<'a>,
    pub(super) graph: Graph,
    /// For each tensor, its value once it has one.
    pub(super) values: Vec<Option<ValueId>>,
    /// For each tensor, whether the caller supplies it.
    pub(super) is_input: Vec<bool>,
    taken: HashSet<String>,
    /// Bytes that may still be copied out of the file: vectors and buffers may lie over each other, so that a small
    /// file could stand for any amount.
    budget: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(model: &'a Model<'a>, name: &str, budget: usize) -> Self {
        Self {
            model,
            graph: Graph::empty(name),
            values: vec![None; model.tensor_count()],
            is_input: vec![false; model.tensor_count()],
            taken: HashSet::new(),
            budget,
        }
    }

    /// Takes `bytes` off what may be copied.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or("its names, operands and constants take many times the bytes of the file")?;
        Ok(())
    }

    /// A name that no value has yet.
    fn fresh_name(&mut self, wanted: &str) -> Result<String, Fault> {
        self.spend(wanted.len() + size_of::<Node>())?;
        let wanted = if wanted.is_empty() { "tensor" } else { wanted };
        let mut name = wanted.to_owned();
        let mut number = self.graph.values.len();
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        Ok(name)
    }

    /// A value without a constant.
    fn add_value(
        &mut self,
        name: &str,
        shape: &[usize],
        quant: Option<QuantParams>,
    ) -> Result<ValueId, Fault> {
        let elements = shape
            .iter()
            .try_fold(1_usize, |count, &size| count.checked_mul(size));
        if elements.is_none_or(|count| count == 0 || count > MAX_ELEMENTS) {
            return Err(format!(
                "tensor {name} has shape {shape:?}, expected 1 to {MAX_ELEMENTS} elements"
            ));
        }
        let name = self.fresh_name(name)?;
        let id = self.graph.add_value(name, shape);
        self.graph.values[id].quant = quant;
        Ok(id)
    }

    /// A constant.
    pub(super) fn add_constant(
        &mut self,
        name: &str,
        tensor: Tensor,
        quant: Option<QuantParams>,
    ) -> Result<ValueId, Fault> {
        let name = self.fresh_name(name)?;
        let id = self.graph.add_constant(name, tensor);
        self.graph.values[id].quant = quant;
        Ok(id)
    }

    /// An input of the whole.
    pub(super) fn add_input(&mut self, tensor: usize) -> Result<(), Refusal> {
        let info = self.model.tensor(tensor)?;
        let quant = activation_quant(&info)?;
        let id = self.add_value(info.name, &info.shape, quant)?;
        self.graph.inputs.push(id);
        self.values[tensor] = Some(id);
        self.is_input[tensor] = true;
        Ok(())
    }

    /// Whether a tensor has elements in the file.
    pub(super) fn is_constant(&self, tensor: usize) -> Result<bool, Fault> {
        let computed =
            self.values[tensor].is_some_and(|value| self.graph.values[value].constant.is_none());
        Ok(!computed && !self.is_input[tensor] && self.constant_info(tensor)?.is_some())
    }

    fn constant_info(&self, tensor: usize) -> Result<Option<TensorInfo<'a>>, Fault> {
        let info = self.model.tensor(tensor)?;
        Ok((!info.data.is_empty()).then_some(info))
    }

    /// The value of a tensor that was computed or is a constant.
    pub(super) fn value(&mut self, tensor: usize) -> Result<ValueId, Refusal> {
        if let Some(value) = self.values[tensor] {
            return Ok(value);
        }
        let info = self.model.tensor(tensor)?;
        if info.data.is_empty() {
            let fault = format!("reads {} before it is computed", info.name);
            return Err(Refusal::Malformed(fault));
        }
        let quant = activation_quant(&info)?;
        let elements = self.elements(&info)?;
        let value = self.add_constant(info.name, elements, quant)?;
        self.values[tensor] = Some(value);
        Ok(value)
    }

    /// The elements of a constant: floats as f32, uint8 as int8, wider integers as int32.
    pub(super) fn elements(&mut self, info: &TensorInfo<'a>) -> Result<Tensor, Refusal> {
        let count = info
            .shape
            .iter()
            .try_fold(1_usize, |count, &size| count.checked_mul(size));
        let width = match info.element {
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::F16 => 2,
            ElementType::I64 => 8,
            ElementType::I8 | ElementType::U8 => 1,
            ElementType::Other(_) => return Err(foreign_type(info)),
        };
        let found = info.data.len();
        if count.and_then(|count| count.checked_mul(width)) != Some(found) {
            let fault = format!(
                "constant {} of shape {:?} has {found} bytes, expected {width} for each element",
                info.name, info.shape
            );
            return Err(Refusal::Malformed(fault));
        }
        self.spend(found.div_ceil(width) * size_of::<f32>())?;
        let (shape, data) = (info.shape.as_slice(), info.data);
        Ok(match info.element {
            ElementType::F32 => Tensor::f32(shape, chunks(data).map(f32::from_le_bytes).collect()),
            ElementType::F16 => Tensor::f32(
                shape,
                chunks(data)
                    .map(|b| f16::from_le_bytes(b).to_f32())
                    .collect(),
            ),
            ElementType::I32 => Tensor::i32(shape, chunks(data).map(i32::from_le_bytes).collect()),
            ElementType::I64 => Tensor::i32(shape, narrowed(info.name, data)?),
            ElementType::U8 => Tensor::i8(shape, data.iter().map(|&b| (b ^ 0x80) as i8).collect()),
            _ => Tensor::i8(shape, data.iter().map(|&b| b as i8).collect()),
        })
    }

    /// Integers that configure an operator: sizes, axes, permutations.
    pub(super) fn settings(&mut self, tensor: usize, role: &str) -> Result<Vec<i32>, Refusal> {
        if !self.is_constant(tensor)? {
            return Err(refuse(
                format!("its {role} is computed while the network runs"),
                "convert the model with fixed sizes",
            ));
        }
        let info = self.model.tensor(tensor)?;
        let elements = self.elements(&info)?;
        elements.as_i32().map(<[i32]>::to_vec).ok_or_else(|| {
            Refusal::Malformed(format!("its {role} holds no integers of 32 or 64 bits"))
        })
    }

    /// Adds a node that computes a tensor of the file, whose shape must be the one that follows from the inputs.
    pub(super) fn emit(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        tensor: usize,
    ) -> Result<(), Refusal> {
        let info = self.model.tensor(tensor)?;
        let quant = activation_quant(&info)?;
        let output = self.emit_part(info.name, op, inputs, &info.shape, quant)?;
        self.define(tensor, output)
    }

    /// Lets `value` stand for a tensor of the file.
    pub(super) fn define(&mut self, tensor: usize, value: ValueId) -> Result<(), Refusal> {
        if self.values[tensor].is_some() {
            let fault = format!("writes tensor {tensor}, which has a value already");
            return Err(Refusal::Malformed(fault));
        }
        self.values[tensor] = Some(value);
        Ok(())
    }

    /// Adds a node with an output of this name, shape and quantisation.
    pub(super) fn emit_part(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        shape: &[usize],
        quant: Option<QuantParams>,
    ) -> Result<ValueId, Refusal> {
        let output = self.add_value(name, shape, quant)?;
        let node = Node {
            name: self.graph.values[output].name.clone(),
            op,
            inputs: inputs.to_vec(),
            output,
        };
        let inferred = pass::node_shape(&self.graph, &node)?;
        if inferred != shape {
            let fault = format!("has output shape {shape:?}, expected {inferred:?}");
            return Err(Refusal::Malformed(fault));
        }
        self.graph.nodes.push(node);
        Ok(output)
    }

    /// After a refusal: values to go on with, so that later operators are judged too.
    pub(super) fn stand_in(&mut self, operator: &Operator<'_>) -> Result<(), Fault> {
        for tensor in operator.outputs.iter().map(|&output| output as usize) {
            if self.values[tensor].is_none() {
                let info = self.model.tensor(tensor)?;
                let quant = activation_quant(&info).ok().flatten();
                let value = self.add_value(info.name, &info.shape, quant)?;
                self.values[tensor] = Some(value);
            }
        }
        Ok(())
    }
}

/// Scale and zero point of what flows along an edge, none for floats.
pub(super) fn activation_quant(info: &TensorInfo<'_>) -> Result<Option<QuantParams>, Refusal> {
    let offset = match info.element {
        ElementType::F32 => return Ok(None),
        ElementType::F16 if !info.data.is_empty() => return Ok(None),
        ElementType::I8 => 0,
        ElementType::U8 => UNSIGNED_OFFSET,
        _ => return Err(foreign_type(info)),
    };
    let ([scale], [zero_point]) = (info.scales, info.zero_points) else {
        return Err(refuse(
            format!(
                "{} has {} scales and {} zero points, expected one of each",
                info.name,
                info.scales.len(),
                info.zero_points.len()
            ),
            QUANTISE_AGAIN,
        ));
    };
    let scale = positive(info.name, *scale)?;
    let zero_point = i64::from_le_bytes(*zero_point).saturating_sub(offset);
    let zero_point = i8::try_from(zero_point).map_err(|_| {
        Refusal::Malformed(format!("{} has a zero point outside its type", info.name))
    })?;
    Ok(Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale],
        zero_point: zero_point.into(),
    }))
}

/// Scales of weights, along `dimension` where there are several.
pub(super) fn weight_quant(
    info: &TensorInfo<'_>,
    dimension: usize,
    channels: usize,
) -> Result<QuantParams, Refusal> {
    let offset = if info.element == ElementType::U8 {
        UNSIGNED_OFFSET
    } else {
        0
    };
    let count = info.scales.len();
    if count != 1 && (count != channels || info.dimension != dimension) {
        let fault = format!(
            "{} has {count} scales along dimension {}, expected {channels} along {dimension}",
            info.name, info.dimension
        );
        return Err(Refusal::Malformed(fault));
    }
    let symmetric = |&zero: &[u8; 8]| i64::from_le_bytes(zero) == offset;
    if !info.zero_points.iter().all(symmetric) || info.zero_points.is_empty() && offset != 0 {
        return Err(refuse(
            format!("{} has a zero point that is not 0", info.name),
            QUANTISE_AGAIN,
        ));
    }
    let scales = info
        .scales
        .iter()
        .map(|&scale| positive(info.name, scale))
        .collect::<Result<_, _>>()?;
    Ok(QuantParams {
        dtype: QuantDType::I8,
        scales,
        zero_point: 0,
    })
}

/// The real numbers that quantised elements stand for; floats stay.
pub(super) fn dequantized(info: &TensorInfo<'_>, elements: &Tensor) -> Result<Tensor, Refusal> {
    let Some(bytes) = elements.as_i8() else {
        return Ok(elements.clone());
    };
    let (channels, inner) = match info.scales.len() {
        0 | 1 => (1, 1),
        _ => {
            let behind = info.shape.get(info.dimension..).unwrap_or_default();
            let (size, behind) = behind.split_first().unwrap_or((&0, &[]));
            (*size, behind.iter().product())
        }
    };
    if info.scales.len() != channels || info.zero_points.len() > channels {
        let fault = format!(
            "{} has {} scales, expected {channels}",
            info.name,
            info.scales.len()
        );
        return Err(Refusal::Malformed(fault));
    }
    let offset = if info.element == ElementType::U8 {
        UNSIGNED_OFFSET
    } else {
        0
    };
    let steps = (0..channels)
        .map(|channel| {
            let zero = info
                .zero_points
                .get(channel)
                .map_or(0, |&b| i64::from_le_bytes(b));
            Ok((
                positive(info.name, info.scales[channel])?,
                zero.saturating_sub(offset),
            ))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    let real = |(index, &q): (usize, &i8)| {
        let (scale, zero) = steps[index / inner.max(1) % channels];
        scale * i64::from(q).saturating_sub(zero) as f32
    };
    let data = bytes.iter().enumerate().map(real).collect();
    Ok(Tensor::f32(&elements.shape, data))
}

fn positive(name: &str, scale: [u8; 4]) -> Result<f32, Refusal> {
    let scale = f32::from_le_bytes(scale);
    if scale.is_finite() && scale > 0.0 {
        return Ok(scale);
    }
    Err(Refusal::Malformed(format!(
        "{name} has the scale {scale}, expected a positive number"
    )))
}

fn foreign_type(info: &TensorInfo<'_>) -> Refusal {
    refuse(
        format!(
            "{} has elements of type {:?}, expected F32, I8 or U8",
            info.name, info.element
        ),
        QUANTISE_AGAIN,
    )
}

fn narrowed(name: &str, data: &[u8]) -> Result<Vec<i32>, Refusal> {
    chunks(data)
        .map(|b| {
            let number = i64::from_le_bytes(b);
            i32::try_from(number)
                .map_err(|_| Refusal::Malformed(format!("{name} holds {number}, expected 32 bits")))
        })
        .collect()
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
