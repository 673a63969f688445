//! Operators that move numbers and change none.

use super::flatbuffer::Field;
use super::layers::int;
use super::tensor::{Elements, Scales, quantised};
use super::{Call, Exporter, Numbers, Refusal, WRITE_ONNX, refuse};
use crate::import::tflite::code;
use crate::{Node, QuantParams, ValueId};

/// Numbers of options.
const CONCATENATION_OPTIONS: u8 = 10;
const RESHAPE_OPTIONS: u8 = 17;
const PAD_OPTIONS: u8 = 22;
const TRANSPOSE_OPTIONS: u8 = 26;
const STRIDED_SLICE_OPTIONS: u8 = 32;
const PADV2_OPTIONS: u8 = 43;

/// What a window finds outside a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// Zeros, as good as nothing.
    Zero,
    /// Zeros that an average counts.
    Counted,
    /// What is no larger than anything.
    Least,
    /// Nothing.
    None,
}

impl Exporter<'_> {
    /// An operand of an operator that moves numbers: in integers with the parameters of its output.
    fn moved(&mut self, id: ValueId, node: &Node, numbers: Numbers) -> Result<i32, Refusal> {
        match (numbers, self.quants[node.output].clone()) {
            (Numbers::Integers, Some(quant)) => self.operand_in(id, &quant),
            _ => self.operand(id, numbers),
        }
    }

    pub(super) fn reshape(
        &mut self,
        node: &Node,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let x = self.moved(node.inputs[0], node, numbers)?;
        let shape = &self.graph.values[node.output].shape;
        let sizes: Vec<i32> = shape.iter().map(|&size| size as i32).collect();
        let list = self.list(shape);
        let call = Call::with(code::RESHAPE, 1, RESHAPE_OPTIONS, [(0, Field::I32s(sizes))]);
        self.operator(call, &[x, list], output);
        Ok(())
    }

    pub(super) fn transpose(
        &mut self,
        node: &Node,
        permutation: &[usize],
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let x = self.moved(node.inputs[0], node, numbers)?;
        let order = self.list(permutation);
        let call = Call::with(code::TRANSPOSE, numbers.version(), TRANSPOSE_OPTIONS, []);
        self.operator(call, &[x, order], output);
        Ok(())
    }

    pub(super) fn slice(
        &mut self,
        node: &Node,
        starts: &[usize],
        steps: &[usize],
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let x = self.moved(node.inputs[0], node, numbers)?;
        let shape = &self.graph.values[node.output].shape;
        let ends: Vec<usize> = (0..starts.len())
            .map(|d| starts[d] + (shape[d] - 1) * steps[d] + 1)
            .collect();
        let lists = [starts, &ends, steps].map(|list| self.list(list));
        let call = Call::with(
            code::STRIDED_SLICE,
            numbers.version(),
            STRIDED_SLICE_OPTIONS,
            [],
        );
        self.operator(call, &[x, lists[0], lists[1], lists[2]], output);
        Ok(())
    }

    pub(super) fn concat(
        &mut self,
        node: &Node,
        axis: usize,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let parts = node.inputs.iter().map(|&id| self.moved(id, node, numbers));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let call = Call::with(
            code::CONCATENATION,
            numbers.version(),
            CONCATENATION_OPTIONS,
            [(0, int(axis))],
        );
        self.operator(call, &parts, output);
        Ok(())
    }

    pub(super) fn pad(
        &mut self,
        node: &Node,
        sides: [&[usize]; 2],
        value: f32,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let x = self.moved(node.inputs[0], node, numbers)?;
        let quant = match numbers {
            Numbers::Integers => self.quants[node.output].clone(),
            Numbers::Floats => None,
        };
        let filled = (value != 0.0).then_some(value);
        self.write_pad(x, sides, filled, quant.as_ref(), output);
        Ok(())
    }

    /// PAD where the zero point fills, else PADV2.
    fn write_pad(
        &mut self,
        x: i32,
        [before, after]: [&[usize]; 2],
        value: Option<f32>,
        quant: Option<&QuantParams>,
        output: i32,
    ) {
        let pairs = before.iter().zip(after).flat_map(|(&b, &a)| [b, a]);
        let pairs: Vec<i32> = pairs.map(|size| size as i32).collect();
        let sizes = self.settings(pairs, &[before.len(), 2]);
        let version = if quant.is_some() { 2 } else { 1 };
        let Some(value) = value else {
            let call = Call::with(code::PAD, version, PAD_OPTIONS, []);
            return self.operator(call, &[x, sizes], output);
        };
        let elements = match quant {
            Some(quant) => Elements::I8(quantised(&[value], quant)),
            None => Elements::F32(vec![value]),
        };
        let name = format!("{}.filling", self.current);
        let filling = self.constant(&name, &[1], elements, quant.map(Scales::from));
        let call = Call::with(code::PADV2, version, PADV2_OPTIONS, []);
        self.operator(call, &[x, sizes, filling], output);
    }

    /// Pads a picture in front of a window.
    pub(super) fn padded_apart(
        &mut self,
        id: ValueId,
        x: i32,
        numbers: Numbers,
        sides: [[usize; 4]; 2],
        filling: Filling,
    ) -> Result<i32, Refusal> {
        let quant = match numbers {
            Numbers::Integers => self.quants[id].clone(),
            Numbers::Floats => None,
        };
        let value = match (filling, &quant) {
            (Filling::Zero | Filling::Counted, _) => None,
            (Filling::Least, Some(quant)) if quant.zero_point == -128 => None,
            (Filling::Least, Some(quant)) => {
                Some(quant.scales[0] * (-128 - quant.zero_point) as f32)
            }
            (Filling::Least, None) => Some(f32::MIN),
            (Filling::None, _) => {
                let [[_, top, left, _], [_, bottom, right, _]] = sides;
                let reason = format!(
                    "its padding is {top}, {left}, {bottom}, {right} (top, left, bottom, right), which it does not \
                     count: TFLite has none but SAME"
                );
                return Err(refuse(reason, WRITE_ONNX));
            }
        };
        let shape = &self.graph.values[id].shape;
        let shape: Vec<usize> = (0..4)
            .map(|d| shape[d] + sides[0][d] + sides[1][d])
            .collect();
        let padded = self.part("padded", &shape, quant.as_ref());
        self.write_pad(x, [&sides[0], &sides[1]], value, quant.as_ref(), padded);
        Ok(padded)
    }
}
