//! Quantised values: QuantizeLinear and DequantizeLinear around them
//! (<https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html>), from which engines make integer
//! operators.
//!
//! Weights are int8 with a scale for each output channel, biases int32 in units of the sums, activations int8 with one
//! scale and one zero point; those of a residual stream int16 with zero point 0.

use super::{Exporter, proto};
use crate::{Node, Op, QuantDType, QuantParams, Tensor, TensorData, ValueId};

/// The domain whose operators take 16 bits. Those of ONNX do since operator set 21, in which ONNX Runtime 1.32 refuses
/// graphs of int8 that it has rewritten itself.
pub(super) const OF_16_BITS: &str = "com.microsoft";

/// The elements of a constant in steps of its scales, which lie along dimension 0; floats as packing rounds them.
pub(super) fn steps(tensor: &Tensor, quant: &QuantParams) -> Tensor {
    let TensorData::F32(data) = &tensor.data else {
        return tensor.clone();
    };
    let row = (data.len() / quant.scales.len()).max(1);
    let limit = |index: usize, real: f32| {
        let scale = quant.scales[(index / row).min(quant.scales.len() - 1)];
        let steps = (real / scale).round() + quant.zero_point as f32;
        // Weights are symmetric; another zero point makes use of the whole range.
        let least = if quant.zero_point == 0 {
            -127.0
        } else {
            -128.0
        };
        steps.clamp(least, 127.0) as i8
    };
    let data = data
        .iter()
        .enumerate()
        .map(|(index, &real)| limit(index, real));
    Tensor::i8(&tensor.shape, data.collect())
}

impl<'a> Exporter<'a> {
    /// How a computed value is rounded. An embedding keeps its direction alone, so that no scale fits it.
    pub(super) fn rounding(&self, id: ValueId) -> Option<&'a QuantParams> {
        let graph = self.graph;
        let normalises = |node: &Node| node.output == id && node.op == Op::NormalizeEmbedding;
        let quant = graph.values[id].quant.as_ref();
        quant.filter(|_| !graph.nodes.iter().any(normalises))
    }

    /// What was moved about of a value that is rounded, rounded again: a part of the current node.
    pub(super) fn kept(&mut self, moved: String, id: ValueId) -> String {
        match self.rounding(id) {
            Some(quant) => {
                let to = self.unique(&format!("{moved}.kept"));
                self.rounded(&moved, quant, &moved, to)
            }
            None => moved,
        }
    }

    /// Rounds what is called `from` to the steps of `quant`: `to` is the name of the result, `name` that of the value.
    pub(super) fn rounded(
        &mut self,
        from: &str,
        quant: &QuantParams,
        name: &str,
        to: String,
    ) -> String {
        let [scale, zero_point] = self.parameters(quant, name);
        let steps = self.unique(&format!("{name}.steps"));
        let inputs = [from, &scale, &zero_point];
        let mut round = proto::node("QuantizeLinear", &inputs, &steps, Vec::new());
        let inputs = [steps.as_str(), &scale, &zero_point];
        let mut back = proto::node("DequantizeLinear", &inputs, &to, Vec::new());
        back.name = self.unique(&format!("{name}.real"));
        if quant.dtype == QuantDType::I16 {
            round.domain = OF_16_BITS.into();
            back.domain = OF_16_BITS.into();
        }
        self.nodes.extend([round, back]);
        to
    }

    /// Writes a constant in steps, and what makes real numbers called `name` of it.
    pub(super) fn dequantized(
        &mut self,
        steps: &Tensor,
        quant: &QuantParams,
        axis: usize,
        name: &str,
    ) {
        let [scale, zero_point] = self.parameters(quant, name);
        let held = self.unique(&format!("{name}.steps"));
        self.initializers.push(proto::tensor(&held, steps));
        let attributes = match quant.scales.len() {
            1 => Vec::new(),
            _ => vec![proto::int("axis", axis as i64)],
        };
        let inputs = [held.as_str(), &scale, &zero_point];
        self.nodes
            .push(proto::node("DequantizeLinear", &inputs, name, attributes));
    }

    /// The names of the scales and zero points of `name`.
    fn parameters(&mut self, quant: &QuantParams, name: &str) -> [String; 2] {
        let names = ["scale", "zero_point"].map(|part| self.unique(&format!("{name}.{part}")));
        let count = quant.scales.len();
        let shape: &[usize] = if count == 1 { &[] } else { &[count] };
        let scales = Tensor::f32(shape, quant.scales.clone());
        self.initializers.push(proto::tensor(&names[0], &scales));
        let wide = quant.dtype == QuantDType::I16;
        self.initializers
            .push(proto::zero_points(&names[1], wide, quant.zero_point, count));
        names
    }

    /// The name of a layer's bias, where it has one: int32 in units of the sums when input and weights are quantised.
    pub(super) fn bias(&mut self, node: &Node) -> Result<Option<String>, String> {
        let Some(&bias) = node.inputs.get(2) else {
            return Ok(None);
        };
        let quant = |index: usize| self.graph.values[node.inputs[index]].quant.as_ref();
        let value = &self.graph.values[bias];
        let (Some(input), Some(weight), Some(constant)) = (quant(0), quant(1), &value.constant)
        else {
            return Ok(Some(self.plain(bias)));
        };
        let units: Vec<f64> = weight
            .scales
            .iter()
            .map(|&scale| f64::from(input.scales[0]) * f64::from(scale))
            .collect();
        let unit = |channel: usize| units[channel.min(units.len() - 1)];
        let steps: Vec<i32> = match &constant.data {
            TensorData::I32(data) => data.to_vec(),
            TensorData::F32(data) => {
                let data = data.iter().enumerate();
                data.map(|(channel, &real)| (f64::from(real) / unit(channel)).round() as i32)
                    .collect()
            }
            TensorData::I8(_) => return Err("a bias in int8, expected floats or int32".into()),
        };
        let scales: Vec<f32> = (0..steps.len())
            .map(|channel| unit(channel) as f32)
            .collect();
        let name = self.unique(&format!("{}.of.{}", value.name, node.name));
        let [held, scale] = ["steps", "scale"].map(|part| self.unique(&format!("{name}.{part}")));
        self.initializers.push(proto::biases(&held, &steps));
        let scales = Tensor::f32(&[scales.len()], scales);
        self.initializers.push(proto::tensor(&scale, &scales));
        let axis = vec![proto::int("axis", 0)];
        let inputs = [held.as_str(), &scale];
        self.nodes
            .push(proto::node("DequantizeLinear", &inputs, &name, axis));
        Ok(Some(name))
    }
}
