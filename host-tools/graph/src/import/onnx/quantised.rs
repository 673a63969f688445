//! QuantizeLinear and DequantizeLinear (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>): between the two, a
//! value has the steps that they name.
//!
//! The pair becomes the parameters of the value in front of it, and weights get the scales of DequantizeLinear. Both are
//! set when the passes are done, which know floats alone. Weights and biases stay floats that packing rounds to the
//! file's integers; where it would round to others, the integers are kept. Bytes without a sign become
//! signed ones, their zero points less 128. Layers whose input and output are quantised and whose weights are not stay floats.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::attributes::axis;
use super::constant::{Constant, Elements};
use super::headroom::Layer;
use super::lower::Call;
use super::view::View;
use super::{Builder, Known, Refusal, centred, refuse, rounding, scaled};
use crate::op::Unary;
use crate::{Graph, Node, Op, QuantDType, QuantParams, Tensor, ValueId, pass};

/// Distance of the zero points of uint8 and int8.
const UNSIGNED_OFFSET: i64 = 128;
/// Units of a bias may be off by this much of themselves: files hold them as floats.
const UNIT_TOLERANCE: f32 = 1e-3;
/// Below this, a bias as a float is rounded to the same integer again.
const EXACT_BIASES: u32 = 1 << 22;
/// Of an embedding: its largest coordinate is 127.
const DIRECTION_SCALE: f32 = 1.0 / 127.0;

/// The function that changes the parameters alone.
const SAME: Op = Op::Unary {
    function: Unary::Affine {
        alpha: 1.0,
        beta: 0.0,
    },
};

/// Integers behind a constant, less their zero point, and what a step of each is.
#[derive(Clone, Debug)]
struct Steps {
    integers: Constant,
    /// One, or one for each index of `axis`.
    scales: Vec<f32>,
    axis: usize,
}

/// What is known of quantisation: by names, since passes renumber values.
#[derive(Debug, Default)]
pub(super) struct Quantised {
    /// Types of the file's tensors.
    types: HashMap<String, DataType>,
    /// How many nodes of the file read a value.
    readers: HashMap<String, usize>,
    /// Behind constants of the file.
    steps: HashMap<String, Steps>,
    /// Of the node that is being expressed.
    unnamed: Option<Steps>,
    /// Values of the graph that QuantizeLinear reads.
    rounded: HashSet<String>,
    /// Of values of the graph: those, and what they are reshapes of.
    values: HashMap<String, QuantParams>,
    /// Of weights of the graph, in their order.
    weights: HashMap<String, (Vec<i8>, Vec<f32>)>,
    /// Of biases of the graph: steps and their units.
    biases: HashMap<String, (Vec<i32>, Vec<f32>)>,
}

impl Quantised {
    pub(super) fn of(source: &pb::GraphProto) -> Self {
        let mut quantised = Self::default();
        for tensor in &source.initializer {
            if let Ok(data_type) = DataType::try_from(tensor.data_type) {
                quantised.types.insert(tensor.name.clone(), data_type);
            }
        }
        let constants = source.node.iter().filter(|node| node.op_type == "Constant");
        for node in constants {
            let value = node
                .attribute
                .iter()
                .find_map(|attribute| attribute.t.as_ref());
            let data_type = value.and_then(|tensor| DataType::try_from(tensor.data_type).ok());
            if let (Some(data_type), Some(name)) = (data_type, node.output.first()) {
                quantised.types.insert(name.clone(), data_type);
            }
        }
        for name in source.node.iter().flat_map(|node| &node.input) {
            *quantised.readers.entry(name.clone()).or_default() += 1;
        }
        for output in &source.output {
            *quantised.readers.entry(output.name.clone()).or_default() += 1;
        }
        quantised
    }

    /// The node that was just expressed has this output.
    pub(super) fn name_steps(&mut self, output: Option<&String>) {
        match (self.unnamed.take(), output) {
            (Some(steps), Some(output)) => {
                self.steps.insert(output.clone(), steps);
            }
            (None, Some(output)) => {
                self.steps.remove(output);
            }
            (_, None) => {}
        }
    }

    /// The type of a constant of the file.
    pub(super) fn type_of(&self, name: &str) -> Option<DataType> {
        self.types.get(name).copied()
    }

    /// Only QuantizeLinear reads the value, which the file does not name.
    pub(super) fn read_once(&mut self, name: &str) {
        self.readers.insert(name.to_owned(), 1);
    }

    /// Makes outputs of the values that are rounded, so that no pass joins what is before and behind one. What is moved
    /// about has its parameters too: a pass may leave no other value of them.
    pub(super) fn expose(&mut self, graph: &mut Graph) {
        for node in graph.nodes.iter().filter(|node| moves(node)) {
            let name = |id: ValueId| &graph.values[id].name;
            if let Some(quant) = self.values.get(name(node.inputs[0])).cloned() {
                let moved = name(node.output).clone();
                self.values.entry(moved).or_insert(quant);
            }
        }
        for node in &graph.nodes {
            let rounded = self.rounded.contains(&graph.values[node.output].name);
            if rounded && !graph.outputs.contains(&node.output) {
                graph.outputs.push(node.output);
            }
        }
    }

    /// Sets parameters and integers of a graph that the passes are done with.
    pub(super) fn apply(self, graph: &mut Graph) {
        for value in &mut graph.values {
            if value.constant.is_none() {
                value.quant = self.values.get(&value.name).cloned();
            }
        }
        if self.values.is_empty() {
            return;
        }
        // What was an output for the passes alone.
        pass::remove_dead(graph);
        carry(graph);
        scaled::join(graph);
        centred::centre(graph);
        for index in 0..graph.nodes.len() {
            let node = graph.nodes[index].clone();
            let quant = |id: ValueId| graph.values[id].quant.clone();
            let input = node.inputs.first().and_then(|&id| quant(id));
            match node.op {
                Op::NormalizeEmbedding if input.is_some() => {
                    graph.values[node.output].quant = Some(QuantParams {
                        dtype: QuantDType::I8,
                        scales: vec![DIRECTION_SCALE],
                        zero_point: 0,
                    });
                }
                Op::Conv2d { .. } | Op::Linear { .. } if quant(node.output).is_some() => {
                    if let Some(input) = input {
                        self.parameters(graph, &node.inputs, input.scales[0]);
                    }
                    if graph.values[node.inputs[1]].quant.is_none() {
                        graph.meta.float_nodes.insert(node.name);
                    }
                }
                _ => {}
            }
        }
    }

    /// The integers of a layer.
    fn parameters(&self, graph: &mut Graph, inputs: &[ValueId], input: f32) {
        let value = &graph.values[inputs[1]];
        let Some((steps, scales)) = self.weights.get(&value.name) else {
            return;
        };
        // A pass may have made another constant of them.
        if steps.len() != value.shape.iter().product::<usize>() {
            return;
        }
        let mut layer = Layer {
            weights: steps.clone(),
            scales: scales.clone(),
            biases: Vec::new(),
        };
        let bias = inputs.get(2).copied();
        if let Some(biases) = bias.and_then(|id| self.exact_biases(graph, id, input, scales)) {
            layer.biases = biases;
        }
        let moved = layer.make_room();
        let value = &mut graph.values[inputs[1]];
        if moved || steps.contains(&i8::MIN) {
            value.constant = Some(Tensor::i8(&value.shape, layer.weights));
        }
        value.quant = Some(QuantParams {
            dtype: QuantDType::I8,
            scales: layer.scales,
            zero_point: 0,
        });
        if let (Some(id), false) = (bias, layer.biases.is_empty()) {
            let value = &mut graph.values[id];
            value.constant = Some(Tensor::i32(&value.shape, layer.biases));
        }
    }

    /// The integers of a bias, where they are in units of the sums and would not come out of floats again.
    fn exact_biases(
        &self,
        graph: &Graph,
        id: ValueId,
        input: f32,
        scales: &[f32],
    ) -> Option<Vec<i32>> {
        let value = &graph.values[id];
        let (steps, units) = self.biases.get(&value.name)?;
        let exact = steps.iter().all(|step| step.unsigned_abs() < EXACT_BIASES);
        let fits = |channel: usize| {
            let unit = input * scales[channel.min(scales.len() - 1)];
            (units[channel.min(units.len() - 1)] / unit - 1.0).abs() <= UNIT_TOLERANCE
        };
        let kept = !exact && value.shape == [steps.len()] && (0..steps.len()).all(fits);
        kept.then(|| steps.clone())
    }
}

/// Whether a node makes of a value the same numbers.
pub(super) fn moves(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. }
    )
}

/// Gives what is moved about the parameters that it has before or behind the move: rounding is the same on both sides.
fn carry(graph: &mut Graph) {
    let consumers = graph.consumers();
    for index in (0..graph.nodes.len())
        .rev()
        .filter(|&i| moves(&graph.nodes[i]))
    {
        let (input, output) = (graph.nodes[index].inputs[0], graph.nodes[index].output);
        let alone = consumers[input].len() == 1 && !graph.outputs.contains(&input);
        let value = &graph.values[input];
        if alone && value.quant.is_none() && value.constant.is_none() {
            graph.values[input].quant = graph.values[output].quant.clone();
        }
    }
    for index in (0..graph.nodes.len()).filter(|&i| moves(&graph.nodes[i])) {
        let (input, output) = (graph.nodes[index].inputs[0], graph.nodes[index].output);
        if graph.values[output].quant.is_none() {
            graph.values[output].quant = graph.values[input].quant.clone();
        }
    }
}

impl Builder<'_> {
    /// QuantizeLinear: the value has these steps from here on.
    pub(super) fn quantize(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        if call.input(0)?.constant().is_some() {
            let data_type = self.type_rounded_to(call);
            return rounding::quantize(call, data_type).map(Known::Constant);
        }
        let quant = self.parameters_of(call)?;
        let mut view = self.view(call.name(0), call.input(0)?)?;
        let known = self.quantised.values.get(&self.graph.values[view.id].name);
        let alone = self.quantised.readers.get(call.name(0)) == Some(&1);
        match known {
            Some(known) if *known == quant => self.note(view.id, &quant),
            None if alone => self.note(view.id, &quant),
            // Others read it as it was.
            _ => {
                let id = self.emit(SAME, &[view.id], &[])?;
                self.note(id, &quant);
                view = View { id, ..view };
            }
        }
        Ok(Known::Rounded { view, quant })
    }

    /// The value has these parameters, and so has what it is a reshape of, which readers in other shapes go back to.
    fn note(&mut self, id: ValueId, quant: &QuantParams) {
        let name = self.graph.values[id].name.clone();
        self.quantised.rounded.insert(name);
        let mut open = Some(id);
        while let Some(id) = open {
            let name = self.graph.values[id].name.clone();
            self.quantised
                .values
                .entry(name)
                .or_insert_with(|| quant.clone());
            open = self.reshaped_from.get(&id).copied().filter(|from| {
                let reads = |node: &&Node| node.inputs.contains(from);
                let mut readers = self.graph.nodes.iter().filter(reads);
                readers.all(|node| node.op == Op::Reshape)
            });
        }
    }

    /// The value that an operator made of integers of another, with the same parameters.
    pub(super) fn same_steps(&mut self, known: Known, quant: &QuantParams) -> Known {
        let Known::Computed(view) = known else {
            return known;
        };
        self.note(view.id, quant);
        let quant = quant.clone();
        Known::Rounded { view, quant }
    }

    /// DequantizeLinear: real numbers again.
    pub(super) fn dequantize(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        if let Known::Rounded { view, quant } = call.input(0)? {
            if self.parameters_of(call)? != *quant {
                return Err(refuse(
                    "its scale or zero point is not the one of QuantizeLinear before it",
                    "export the model as QDQ with the same parameters on both",
                ));
            }
            return Ok(Known::Computed(view.clone()));
        }
        let integers = call.constant(0, "integers")?;
        let scales = call.constant(1, "scales")?;
        let zero_points = call.optional_constant(2, "zero points")?;
        let along = match scales.len() {
            1 => 0,
            _ => axis(call.attributes.int("axis", 1), integers.shape.len())?,
        };
        let size = integers.shape.get(along).copied().unwrap_or(1);
        let fits = |count: usize| count == 1 || count == size;
        let scales = scales.to_floats().to_vec();
        let zeros = zero_points.map_or(Ok(vec![0]), |zeros| zeros.ints().map(<[i64]>::to_vec))?;
        if call.attributes.int("block_size", 0) != 0 || !fits(scales.len()) || !fits(zeros.len()) {
            return Err(refuse(
                format!(
                    "{} scales and {} zero points for {size} channels",
                    scales.len(),
                    zeros.len()
                ),
                "quantise each tensor or each channel, not blocks",
            ));
        }
        let unsound = |scale: &&f32| !(scale.is_finite() && **scale >= 0.0);
        if let Some(scale) = scales.iter().find(unsound) {
            return Err(refuse(
                format!("one of its scales is {scale}, expected a positive number"),
                "quantise the model again; its file is damaged, or calibration saw numbers that are not finite",
            ));
        }
        let inner: usize = integers.shape.iter().skip(along + 1).product();
        let channel = |index: usize| index / inner.max(1) % size.max(1);
        let of = |index: usize, count: usize| channel(index).min(count - 1);
        let data = integers.ints()?.iter().enumerate();
        let steps: Vec<i64> = data
            .map(|(index, &q)| q.saturating_sub(zeros[of(index, zeros.len())]))
            .collect();
        let real = steps.iter().enumerate();
        let real = real.map(|(index, &step)| scales[of(index, scales.len())] * step as f32);
        let real = Constant::float(&integers.shape, real.collect());
        // Weights of a channel that all are 0 may have steps of 0 too, which nothing can be divided by.
        let steps = steps.into_iter().enumerate();
        let steps = steps.map(|(index, step)| match scales[of(index, scales.len())] {
            0.0 => 0,
            _ => step,
        });
        let steps = steps.collect();
        let scales = scales.into_iter();
        let scales = scales.map(|scale| if scale == 0.0 { 1.0 } else { scale });
        self.quantised.unnamed = Some(Steps {
            integers: Constant {
                shape: integers.shape.clone(),
                elements: Elements::Int(Arc::new(steps)),
            },
            scales: scales.collect(),
            axis: along,
        });
        Ok(Known::Constant(real))
    }

    /// The type of the zero point; without one bytes have no sign, or are what the node says.
    fn type_rounded_to(&self, call: &Call<'_>) -> DataType {
        let named = i32::try_from(call.attributes.int("output_dtype", 0)).unwrap_or(0);
        match self.quantised.types.get(call.name(2)) {
            Some(data_type) => *data_type,
            None if call.optional(2).is_some() => DataType::Undefined,
            None if named == 0 => DataType::Uint8,
            None => DataType::try_from(named).unwrap_or(DataType::Undefined),
        }
    }

    /// Scale and zero point of activations, in the signed type.
    fn parameters_of(&self, call: &Call<'_>) -> Result<QuantParams, Refusal> {
        let scale = call.constant(1, "scale")?.scalar();
        let scale = scale.filter(|scale| scale.is_finite() && *scale > 0.0);
        let scale = scale.ok_or_else(|| {
            refuse(
                "its scale is not one positive number",
                "quantise activations with one scale for each tensor",
            )
        })?;
        let zero_point = match call.optional_constant(2, "zero point")? {
            None => 0,
            Some(zero) => zero.ints()?.first().copied().unwrap_or(0),
        };
        let (dtype, zero_point) = match self.type_rounded_to(call) {
            DataType::Int8 => (QuantDType::I8, zero_point),
            DataType::Uint8 => (QuantDType::I8, zero_point - UNSIGNED_OFFSET),
            DataType::Int16 if zero_point == 0 => (QuantDType::I16, 0),
            other => {
                return Err(refuse(
                    format!(
                        "it rounds to {} with zero point {zero_point}, expected int8, uint8, or int16 with 0",
                        other.as_str_name()
                    ),
                    "quantise activations to 8 bits",
                ));
            }
        };
        let zero_point = i8::try_from(zero_point)
            .map_err(|_| refuse("its zero point is outside its type", "check the file"))?;
        Ok(QuantParams {
            dtype,
            scales: vec![scale],
            zero_point: zero_point.into(),
        })
    }

    /// Keeps the integers of the weights called `name`, which have become a value of the graph with channels first.
    pub(super) fn keep_weights(
        &mut self,
        name: &str,
        id: ValueId,
        channels: usize,
        arrange: impl FnOnce(&Constant) -> Constant,
    ) -> Result<(), Refusal> {
        let Some(steps) = self.quantised.steps.get(name) else {
            return Ok(());
        };
        if steps.scales.len() > 1 && steps.axis != channels {
            return Err(refuse(
                format!(
                    "scales of its weights lie along dimension {}, expected {channels}",
                    steps.axis
                ),
                "quantise weights with a scale for each output channel",
            ));
        }
        let arranged = arrange(&steps.integers);
        let bytes: Result<Vec<i8>, _> = arranged
            .ints()?
            .iter()
            .map(|&step| i8::try_from(step))
            .collect();
        let bytes = bytes.map_err(|_| {
            refuse(
                "its weights are further than a byte from their zero point",
                "quantise weights symmetrically to int8",
            )
        })?;
        let scales = steps.scales.clone();
        let name = self.graph.values[id].name.clone();
        self.quantised.weights.insert(name, (bytes, scales));
        Ok(())
    }

    /// Keeps the integers of the biases called `name`, where they have 32 bits.
    pub(super) fn keep_biases(&mut self, name: &str, id: ValueId) {
        let Some(steps) = self.quantised.steps.get(name) else {
            return;
        };
        let Ok(integers) = steps.integers.ints() else {
            return;
        };
        let words: Result<Vec<i32>, _> = integers.iter().map(|&step| i32::try_from(step)).collect();
        if let Ok(words) = words {
            let name = self.graph.values[id].name.clone();
            let scales = steps.scales.clone();
            self.quantised.biases.insert(name, (words, scales));
        }
    }
}
