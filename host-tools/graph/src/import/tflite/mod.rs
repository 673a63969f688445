//! TFLite files (<https://ai.google.dev/edge/litert>) as graphs: floats, and full integer quantisation to int8.
//!
//! Tensors are NHWC there as here, and scales, zero points and integer constants are kept as they are, so that a
//! quantised graph needs no calibration and gives LiteRT's bits ([`IntegerRules::LiteRt`]). Unsigned bytes become
//! signed ones: every zero point and every element less 128. A QUANTIZE of an input becomes the input's type. Weights
//! that are stored in fewer bits below float activations become f32. Not here: several subgraphs, batches, strings,
//! control flow, and integers other than those of the quantisation specification.

mod build;
mod flatbuffer;
mod layers;
mod lower;
mod metadata;
mod schema;

use std::path::Path;

use sha2::{Digest, Sha256};

use self::build::{Builder, Refusal, activation_quant};
use self::flatbuffer::Fault;
pub(crate) use self::layers::same_padding;
pub(crate) use self::schema::code;
use self::schema::{Model, Operator, operator_name};
use super::checkpoint::{hex, read_file};
use super::{ImportError, UnsupportedNodes};
use crate::{Graph, IntegerRules, ModelKind, Op, PictureGeometry, QuantDType, QuantParams, pass};

/// FlatBuffers hold no more than 2 GiB; larger TFLite files are language models.
const MAX_FILE_BYTES: u64 = (2 << 30) - 1;
/// Bytes that a graph may take for each byte of the file: int8 weights below float activations become f32.
const GROWTH: usize = 8;
/// Bytes that any graph may take.
const SMALLEST_BUDGET: usize = 1 << 20;

/// Where the graph ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Where the file ends.
    #[default]
    Whole,
    /// In front of the last fully connected layer or convolution: the pooled features of a classifier, as an embedding.
    Features,
    /// At the tensor of this name.
    Tensor(String),
}

/// What a TFLite file leaves open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Where the graph ends.
    pub output: Output,
    /// How a picture becomes the input; without it the file's metadata says so, or it is assumed (see [`load`]).
    pub geometry: Option<PictureGeometry>,
}

/// Reads a TFLite file into a graph.
///
/// A file with one input (1, height, width, 3) takes pictures. How they are normalised is told by the file's metadata;
/// where there is none, bytes are taken as they are by a quantised input, and scaled to ±1 by a float input, which
/// `meta.source["assumed"]` says.
///
/// # Errors
/// When the file cannot be read or is malformed, when [`Options::output`] is not in it, and with every operator that
/// cannot be expressed.
pub fn load(path: impl AsRef<Path>, options: &Options) -> Result<Graph, ImportError> {
    let path = path.as_ref();
    parse(path, &read_file(path, MAX_FILE_BYTES)?, options)
}

/// [`load`] over bytes; `path` serves messages.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, bytes: &[u8], options: &Options) -> Result<Graph, ImportError> {
    let malformed = |what: Fault| ImportError::malformed(path, what);
    let model = Model::open(bytes).map_err(|what| malformed(format!("no TFLite file: {what}")))?;
    let mut import = Import::new(&model, bytes.len()).map_err(malformed)?;
    import.find_outputs(&options.output).map_err(malformed)?;
    import.find_needed();
    let mut unsupported = UnsupportedNodes::default();
    import.inputs(&mut unsupported).map_err(malformed)?;
    import.operators(&mut unsupported).map_err(malformed)?;
    unsupported.into_result()?;
    let embedding = options.output == Output::Features;
    import.outputs(embedding).map_err(malformed)?;
    let mut graph = import.builder.graph;
    if graph.is_quantized() {
        graph.meta.integer_rules = IntegerRules::LiteRt;
    }
    metadata::describe_pictures(&mut graph, &model, options).map_err(malformed)?;
    pass::standard(&mut graph).map_err(|faults| ImportError::Graph {
        path: path.to_owned(),
        faults,
    })?;
    let source = &mut graph.meta.source;
    source.insert("format".into(), "tflite".into());
    source.insert("file_sha256".into(), hex(&Sha256::digest(bytes)));
    Ok(graph)
}

/// The work in progress.
struct Import<'a> {
    model: &'a Model<'a>,
    builder: Builder<'a>,
    operators: Vec<Operator<'a>>,
    /// For each tensor, the operator that computes it.
    producers: Vec<Option<usize>>,
    /// Tensors where the graph ends.
    ends: Vec<usize>,
    /// For each operator, whether an end depends on it.
    needed: Vec<bool>,
}

impl<'a> Import<'a> {
    fn new(model: &'a Model<'a>, file_bytes: usize) -> Result<Self, Fault> {
        let name = match model.name()? {
            "" => "tflite",
            name => name,
        };
        let budget = file_bytes.saturating_mul(GROWTH).max(SMALLEST_BUDGET);
        let mut builder = Builder::new(model, name, budget);
        let mut operators = Vec::with_capacity(model.operator_count());
        let mut producers = vec![None; model.tensor_count()];
        for index in 0..model.operator_count() {
            let operator = model
                .operator(index)
                .map_err(|what| format!("operator {index}: {what}"))?;
            builder
                .spend(size_of_val(&operator.inputs[..]) + size_of_val(&operator.outputs[..]))?;
            for &output in &operator.outputs {
                producers[output as usize] = Some(index);
            }
            operators.push(operator);
        }
        Ok(Self {
            model,
            needed: vec![false; operators.len()],
            builder,
            operators,
            producers,
            ends: Vec::new(),
        })
    }

    fn find_outputs(&mut self, output: &Output) -> Result<(), Fault> {
        self.ends = match output {
            Output::Whole => self.model.outputs()?,
            Output::Features => vec![self.features()?],
            Output::Tensor(name) => vec![self.tensor_named(name)?],
        };
        Ok(())
    }

    fn tensor_named(&self, name: &str) -> Result<usize, Fault> {
        let mut computed = Vec::new();
        for tensor in 0..self.model.tensor_count() {
            if self.producers[tensor].is_none() {
                continue;
            }
            let found = self.model.tensor(tensor)?.name;
            if found == name {
                return Ok(tensor);
            }
            computed.push(found);
        }
        let last: Vec<&str> = computed.iter().rev().take(8).copied().collect();
        Err(format!(
            "no operator computes a tensor {name}; the last ones that are computed are {}",
            last.join(", ")
        ))
    }

    /// What the layer reads that the classes come from.
    fn features(&self) -> Result<usize, Fault> {
        let behind = [
            code::SOFTMAX,
            code::LOGISTIC,
            code::QUANTIZE,
            code::DEQUANTIZE,
            code::RESHAPE,
            code::SQUEEZE,
        ];
        let outputs = self.model.outputs()?;
        let mut tensor = *outputs.first().ok_or("it has no outputs")?;
        // No longer than the operators are many, whatever their order.
        for _ in 0..self.operators.len() {
            let Some(operator) = self.producers[tensor].map(|index| &self.operators[index]) else {
                break;
            };
            let input = operator
                .inputs
                .first()
                .and_then(|&i| usize::try_from(i).ok());
            match (operator.code, input) {
                (code::FULLY_CONNECTED | code::CONV_2D, Some(input)) => return Ok(input),
                (other, Some(input)) if behind.contains(&other) => tensor = input,
                _ => break,
            }
        }
        Err(format!(
            "its output {} comes from no fully connected layer or convolution; its features are not known",
            self.model.tensor(outputs[0])?.name
        ))
    }

    fn find_needed(&mut self) {
        let mut open = self.ends.clone();
        while let Some(tensor) = open.pop() {
            let Some(index) = self.producers[tensor] else {
                continue;
            };
            if !std::mem::replace(&mut self.needed[index], true) {
                let inputs = self.operators[index].inputs.iter();
                open.extend(inputs.filter_map(|&input| usize::try_from(input).ok()));
            }
        }
    }

    fn inputs(&mut self, unsupported: &mut UnsupportedNodes) -> Result<(), Fault> {
        for tensor in self.model.inputs()? {
            if self.builder.values[tensor].is_some() {
                return Err(format!("tensor {tensor} is an input twice"));
            }
            match self.builder.add_input(tensor) {
                Ok(()) => {}
                Err(Refusal::Malformed(what)) => return Err(what),
                Err(Refusal::Unsupported { reason, advice }) => {
                    unsupported.push(self.model.tensor(tensor)?.name, "input", reason, advice);
                }
            }
        }
        self.quantize_inputs()
    }

    /// Gives a float input the type of the QUANTIZE that alone reads it.
    fn quantize_inputs(&mut self) -> Result<(), Fault> {
        let mut readers = vec![0; self.model.tensor_count()];
        let needed = |index: &usize| self.needed[*index];
        let indices: Vec<usize> = (0..self.operators.len()).filter(needed).collect();
        let read = indices
            .iter()
            .flat_map(|&index| &self.operators[index].inputs);
        for tensor in read.filter_map(|&input| usize::try_from(input).ok()) {
            readers[tensor] += 1;
        }
        for index in indices {
            let operator = &self.operators[index];
            let (code::QUANTIZE, &[input], &[output]) =
                (operator.code, &operator.inputs[..], &operator.outputs[..])
            else {
                continue;
            };
            let (Ok(input), output) = (usize::try_from(input), output as usize) else {
                continue;
            };
            let alone =
                self.builder.is_input[input] && readers[input] == 1 && !self.ends.contains(&input);
            let Some(value) = self.builder.values[input].filter(|_| alone) else {
                continue;
            };
            let quant = activation_quant(&self.model.tensor(output)?).ok().flatten();
            let value = &mut self.builder.graph.values[value];
            if value.quant.is_none() && value.shape == self.model.tensor(output)?.shape {
                value.quant = quant;
            }
        }
        Ok(())
    }

    fn operators(&mut self, unsupported: &mut UnsupportedNodes) -> Result<(), Fault> {
        for (index, operator) in self.operators.iter().enumerate() {
            if !self.needed[index] {
                continue;
            }
            let name = match operator.outputs.first() {
                Some(&output) => self.model.tensor(output as usize)?.name,
                None => "",
            };
            match lower::lower(&mut self.builder, operator) {
                Ok(()) => {}
                Err(Refusal::Malformed(what)) => {
                    let op = operator_name(operator.code);
                    return Err(format!("operator {index} ({op}, {name}) {what}"));
                }
                Err(Refusal::Unsupported { reason, advice }) => {
                    unsupported.push(name, operator_name(operator.code), reason, advice);
                    self.builder.stand_in(operator)?;
                }
            }
        }
        Ok(())
    }

    fn outputs(&mut self, embedding: bool) -> Result<(), Fault> {
        let plain = |refusal| match refusal {
            Refusal::Malformed(what) => what,
            Refusal::Unsupported { reason, .. } => reason,
        };
        for index in 0..self.ends.len() {
            let value = self.builder.value(self.ends[index]).map_err(plain)?;
            self.builder.graph.outputs.push(value);
        }
        if let (true, &[features]) = (embedding, &self.builder.graph.outputs[..]) {
            let features = &self.builder.graph.values[features];
            let quant = features.quant.as_ref().map(|_| QuantParams {
                dtype: QuantDType::I8,
                scales: vec![1.0 / 127.0],
                zero_point: 0,
            });
            let shape = features.shape.clone();
            let inputs = self.builder.graph.outputs.clone();
            let output = self
                .builder
                .emit_part("embedding", Op::NormalizeEmbedding, &inputs, &shape, quant)
                .map_err(plain)?;
            self.builder.graph.outputs = vec![output];
        }
        Ok(())
    }
}
