//! Values of the graph as tensors of the file.

use super::flatbuffer::{Field, Table};
use super::{Call, Exporter, Numbers, Refusal, refuse};
use crate::import::tflite::code;
use crate::{QuantDType, QuantParams, Tensor, TensorData, ValueId, names};

/// Types of elements, by their numbers in the schema.
const FLOAT32: u8 = 0;
const INT32: u8 = 2;
const INT8: u8 = 9;
/// Number of the options of QUANTIZE and DEQUANTIZE.
const QUANTIZE_OPTIONS: u8 = 89;
const DEQUANTIZE_OPTIONS: u8 = 38;
/// Steps of a range of 8 bits.
const STEPS: f32 = 255.0;

/// Elements of a constant.
pub(super) enum Elements {
    F32(Vec<f32>),
    I32(Vec<i32>),
    I8(Vec<i8>),
}

impl Elements {
    fn kind(&self) -> u8 {
        match self {
            Self::F32(_) => FLOAT32,
            Self::I32(_) => INT32,
            Self::I8(_) => INT8,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::I32(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::I8(data) => data.iter().map(|&v| v as u8).collect(),
        }
    }
}

/// A tensor of the file.
pub(super) struct Written {
    pub(super) name: String,
    shape: Vec<usize>,
    kind: u8,
    buffer: u32,
    /// Scales along a dimension, and the zero point of all.
    quant: Option<Scales>,
}

/// Scales of a tensor, one or one for each index of a dimension.
#[derive(Clone)]
pub(super) struct Scales {
    pub(super) scales: Vec<f32>,
    pub(super) zero_point: i32,
    pub(super) dimension: usize,
}

impl From<&QuantParams> for Scales {
    fn from(quant: &QuantParams) -> Self {
        Self {
            scales: quant.scales.clone(),
            zero_point: quant.zero_point,
            dimension: 0,
        }
    }
}

impl Written {
    pub(super) fn table(self) -> Table {
        let shape = self.shape.iter().map(|&size| size as i32).collect();
        let table = Table::of([
            (0, Field::I32s(shape)),
            (1, Field::U8(self.kind)),
            (2, Field::U32(self.buffer)),
            (3, Field::Text(self.name)),
        ]);
        let Some(quant) = self.quant else {
            return table;
        };
        let zero_points = vec![i64::from(quant.zero_point); quant.scales.len()];
        let quant = Table::of([
            (2, Field::F32s(quant.scales)),
            (3, Field::I64s(zero_points)),
            (6, Field::I32(quant.dimension as i32)),
        ]);
        table.with(4, Field::Table(quant))
    }
}

/// The tensors of a value, in int8 and in f32.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    integers: Option<i32>,
    floats: Option<i32>,
}

impl Held {
    pub(super) fn set(&mut self, numbers: Numbers, tensor: i32) {
        match numbers {
            Numbers::Integers => self.integers = Some(tensor),
            Numbers::Floats => self.floats = Some(tensor),
        }
    }

    pub(super) fn any(&self) -> Option<i32> {
        self.integers.or(self.floats)
    }

    fn of(&self, numbers: Numbers) -> Option<i32> {
        match numbers {
            Numbers::Integers => self.integers,
            Numbers::Floats => self.floats,
        }
    }
}

impl Exporter<'_> {
    pub(super) fn buffer(&mut self, bytes: Vec<u8>) -> u32 {
        self.buffers.push(bytes);
        self.buffers.len() as u32 - 1
    }

    /// A name that no tensor has yet.
    fn fresh(&mut self, name: &str) -> String {
        names::unique(&mut self.taken, name)
    }

    fn add(&mut self, tensor: Written) -> i32 {
        self.tensors.push(tensor);
        self.tensors.len() as i32 - 1
    }

    /// A tensor with elements.
    pub(super) fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        elements: Elements,
        quant: Option<Scales>,
    ) -> i32 {
        let (name, buffer) = (self.fresh(name), self.buffer(elements.bytes()));
        self.add(Written {
            name,
            shape: shape.to_vec(),
            kind: elements.kind(),
            buffer,
            quant,
        })
    }

    /// A tensor between two operators of the current node; quantised in int8.
    pub(super) fn part(&mut self, part: &str, shape: &[usize], quant: Option<&QuantParams>) -> i32 {
        let name = self.fresh(&format!("{}.{part}", self.current));
        self.add(Written {
            name,
            shape: shape.to_vec(),
            kind: if quant.is_some() { INT8 } else { FLOAT32 },
            buffer: 0,
            quant: quant.map(Scales::from),
        })
    }

    /// The tensor that has the name of a value.
    pub(super) fn value_tensor(&mut self, id: ValueId, numbers: Numbers) -> Result<i32, Refusal> {
        let value = &self.graph.values[id];
        let quant = match (numbers, &self.quants[id]) {
            (Numbers::Floats, _) => None,
            (Numbers::Integers, Some(quant)) if quant.scales.len() == 1 => Some(quant.into()),
            (Numbers::Integers, _) => {
                let reason = format!("{} has no single scale", value.name);
                return Err(refuse(reason, "quantise the graph again"));
            }
        };
        Ok(self.add(Written {
            name: value.name.clone(),
            shape: value.shape.clone(),
            kind: if quant.is_some() { INT8 } else { FLOAT32 },
            buffer: 0,
            quant,
        }))
    }

    /// Where a node writes: floats that become integers have a tensor in front of the value's.
    pub(super) fn output_tensor(&mut self, id: ValueId, numbers: Numbers) -> Result<i32, Refusal> {
        if numbers == Numbers::Floats && self.quants[id].is_some() {
            let shape = &self.graph.values[id].shape;
            return Ok(self.part("float", shape, None));
        }
        self.value_tensor(id, numbers)
    }

    /// A value as an operator reads it, converted where it exists otherwise.
    pub(super) fn operand(&mut self, id: ValueId, numbers: Numbers) -> Result<i32, Refusal> {
        if let Some(tensor) = self.held[id].of(numbers) {
            return Ok(tensor);
        }
        let value = &self.graph.values[id];
        let tensor = match (&value.constant, numbers) {
            (Some(constant), Numbers::Floats) => {
                let data = reals(constant, self.quants[id].as_ref())?;
                self.constant(&value.name, &value.shape, Elements::F32(data), None)
            }
            (Some(constant), Numbers::Integers) => self.integer_constant(id, constant, None)?,
            (None, Numbers::Floats) => {
                let Some(integers) = self.held[id].integers else {
                    return Err(unknown(&value.name));
                };
                let name = self.fresh(&format!("{}.float", value.name));
                let tensor = self.add(Written {
                    name,
                    shape: value.shape.clone(),
                    kind: FLOAT32,
                    buffer: 0,
                    quant: None,
                });
                let call = Call::with(code::DEQUANTIZE, 2, DEQUANTIZE_OPTIONS, []);
                self.operator(call, &[integers], tensor);
                tensor
            }
            (None, Numbers::Integers) => return Err(unknown(&value.name)),
        };
        self.held[id].set(numbers, tensor);
        Ok(tensor)
    }

    /// A value in int8 with these parameters, for operators that move numbers and do not change them.
    pub(super) fn operand_in(&mut self, id: ValueId, quant: &QuantParams) -> Result<i32, Refusal> {
        let value = &self.graph.values[id];
        if let (Some(constant), None) = (&value.constant, &self.quants[id]) {
            return self.integer_constant(id, constant, Some(quant));
        }
        let tensor = self.operand(id, Numbers::Integers)?;
        if self.quants[id].as_ref() == Some(quant) {
            return Ok(tensor);
        }
        let requantised = self.part("requantised", &value.shape, Some(quant));
        self.quantize(tensor, requantised, 2);
        Ok(requantised)
    }

    /// Writes a conversion to int8: of floats in version 1, of int8 with other parameters in version 2.
    pub(super) fn quantize(&mut self, from: i32, to: i32, version: i32) {
        let call = Call::with(code::QUANTIZE, version, QUANTIZE_OPTIONS, []);
        self.operator(call, &[from], to);
    }

    /// A constant operand in int8, quantised over its own range where nothing says how.
    fn integer_constant(
        &mut self,
        id: ValueId,
        constant: &Tensor,
        quant: Option<&QuantParams>,
    ) -> Result<i32, Refusal> {
        let value = &self.graph.values[id];
        let (data, quant) = match (&constant.data, &self.quants[id]) {
            (TensorData::I8(data), Some(known)) => (data.to_vec(), known.clone()),
            (TensorData::F32(data), known) => {
                let own = || range(data);
                let quant = quant.cloned().or_else(|| known.clone()).unwrap_or_else(own);
                (quantised(data, &quant), quant)
            }
            _ => return Err(refuse("it reads integers", super::WRITE_ONNX)),
        };
        let elements = Elements::I8(data);
        Ok(self.constant(
            &value.name,
            &value.shape,
            elements,
            Some(Scales::from(&quant)),
        ))
    }
}

fn unknown(name: &str) -> Refusal {
    refuse(
        format!("it reads {name} before it is computed"),
        "import the graph again",
    )
}

/// The real numbers of a constant, whose scales are along its first dimension.
fn reals(constant: &Tensor, quant: Option<&QuantParams>) -> Result<Vec<f32>, Refusal> {
    match (&constant.data, quant) {
        (TensorData::F32(data), _) => Ok(data.to_vec()),
        (TensorData::I8(data), Some(quant)) => {
            let row = (data.len() / quant.scales.len()).max(1);
            let real = |(index, &q): (usize, &i8)| {
                let scale = quant.scales[(index / row).min(quant.scales.len() - 1)];
                scale * (i32::from(q) - quant.zero_point) as f32
            };
            Ok(data.iter().enumerate().map(real).collect())
        }
        _ => Err(refuse(
            "it reads integers without a scale",
            super::WRITE_ONNX,
        )),
    }
}

/// Parameters for numbers that are all known.
fn range(data: &[f32]) -> QuantParams {
    let (min, max) = data
        .iter()
        .fold((0f32, 0f32), |(min, max), &x| (min.min(x), max.max(x)));
    let scale = ((max - min) / STEPS).max(f32::MIN_POSITIVE);
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale],
        zero_point: (-128.0 - min / scale).round() as i32,
    }
}

/// Real numbers in int8.
pub(super) fn quantised(data: &[f32], quant: &QuantParams) -> Vec<i8> {
    data.iter()
        .map(|&x| {
            let steps = (x / quant.scales[0]).round() + quant.zero_point as f32;
            steps.clamp(-128.0, 127.0) as i8
        })
        .collect()
}
