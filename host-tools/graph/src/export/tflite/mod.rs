//! TFLite files (<https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec>) of quantised
//! graphs, and of those in f32.
//!
//! Pictures are NHWC there as here. A node is written in int8 where quantisation gave its output and all that it
//! reads parameters, the graph does not keep it in floats and TFLite has the operator in int8; else in f32, between DEQUANTIZE and QUANTIZE. Weights that
//! are floats yet are rounded as packing rounds them, integers stay as they are. An embedding of 16 bits, which only
//! [`Op::NormalizeEmbedding`] reads, is written in 8 and not normalised: its direction is the embedding. Not here:
//! other values of 16 bits, numbers of tokens that are open, and what has no operator of its own, such as attention.

mod flatbuffer;
mod layers;
mod metadata;
mod moves;
mod operator;
mod tensor;
mod wide;

use std::collections::{HashMap, HashSet};

use self::flatbuffer::{Field, Table};
use self::tensor::{Elements, Held, Written};
use super::{ExportError, most_bytes};
use crate::import::UnsupportedNodes;
use crate::{Graph, Node, Op, QuantParams, ValueId};

/// Of every TFLite file.
const IDENTIFIER: &[u8; 4] = b"TFL3";
/// The only version of the schema in use.
const SCHEMA_VERSION: u32 = 3;
/// Operators up to this number have it in a byte of its own too, for old readers; the others have this.
const LARGEST_OLD_CODE: i32 = 127;

/// A file, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tflite {
    /// The file.
    pub bytes: Vec<u8>,
    /// Operators of TFLite.
    pub operators: usize,
    /// Nodes that are written in f32, by name.
    pub float_nodes: Vec<String>,
}

/// Why a node is refused, and what to do.
struct Refusal {
    reason: String,
    advice: &'static str,
}

fn refuse(reason: impl Into<String>, advice: &'static str) -> Refusal {
    Refusal {
        reason: reason.into(),
        advice,
    }
}

/// What to do about operators that TFLite does not have.
const WRITE_ONNX: &str = "ONNX can express it: write to a file that ends in .onnx";

/// The file that computes what the graph computes.
///
/// # Errors
/// With every node that TFLite cannot express, and when the file is larger than 2 GiB.
pub fn tflite(graph: &Graph) -> Result<Tflite, ExportError> {
    let mut exporter = Exporter::new(graph);
    let mut refused = UnsupportedNodes::default();
    for &id in &graph.inputs {
        let value = &graph.values[id];
        if let Err(refusal) = exporter.input(id) {
            refused.push(&value.name, "input", refusal.reason, refusal.advice);
        }
    }
    for node in &graph.nodes {
        if let Err(refusal) = exporter.node(node) {
            refused.push(&node.name, node.op.name(), refusal.reason, refusal.advice);
            exporter.stand_in(node.output);
        }
    }
    refused.into_result()?;
    exporter.finish()
}

/// An operator of the file.
struct Call {
    /// Number and version of the operator.
    kind: (i32, i32),
    /// Number and fields of its options.
    options: Option<(u8, Table)>,
}

impl Call {
    /// An operator without options.
    fn plain(code: i32, version: i32) -> Self {
        Self {
            kind: (code, version),
            options: None,
        }
    }

    fn with(
        code: i32,
        version: i32,
        options: u8,
        fields: impl IntoIterator<Item = (usize, Field)>,
    ) -> Self {
        Self {
            kind: (code, version),
            options: Some((options, Table::of(fields))),
        }
    }
}

/// In which numbers a node is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Integers,
    Floats,
}

impl Numbers {
    /// The version of most operators: those in int8 came second.
    fn version(self) -> i32 {
        match self {
            Self::Integers => 2,
            Self::Floats => 1,
        }
    }
}

/// A file in the making.
struct Exporter<'a> {
    graph: &'a Graph,
    /// Of each value, as the file has it: none has 16 bits.
    quants: Vec<Option<QuantParams>>,
    tensors: Vec<Written>,
    /// Elements of constants; the first buffer is empty by definition.
    buffers: Vec<Vec<u8>>,
    operators: Vec<Table>,
    codes: Vec<(i32, i32)>,
    /// As which tensors each value exists.
    held: Vec<Held>,
    /// Lists of settings that exist.
    lists: HashMap<Vec<i32>, i32>,
    /// Names of tensors.
    taken: HashSet<String>,
    /// The node of the graph that is being written.
    current: String,
    float_nodes: Vec<String>,
}

impl<'a> Exporter<'a> {
    fn new(graph: &'a Graph) -> Self {
        let computed = graph.values.iter().filter(|v| v.constant.is_none());
        let names = computed.map(|value| value.name.clone());
        Self {
            graph,
            quants: wide::narrowed(graph),
            tensors: Vec::new(),
            buffers: vec![Vec::new()],
            operators: Vec::new(),
            codes: Vec::new(),
            held: vec![Held::default(); graph.values.len()],
            lists: HashMap::new(),
            taken: names.collect(),
            current: String::new(),
            float_nodes: Vec::new(),
        }
    }

    fn input(&mut self, id: ValueId) -> Result<(), Refusal> {
        let value = &self.graph.values[id];
        if value.is_ids || value.dynamic {
            return Err(refuse(
                "it is a sequence of tokens, whose number is open",
                WRITE_ONNX,
            ));
        }
        let numbers = match self.quants[id] {
            Some(_) => Numbers::Integers,
            None => Numbers::Floats,
        };
        let tensor = self.value_tensor(id, numbers)?;
        self.held[id].set(numbers, tensor);
        Ok(())
    }

    /// Whether a node can be written in integers.
    fn numbers(&self, node: &Node) -> Numbers {
        let graph = self.graph;
        let computed = |id: &&ValueId| graph.values[**id].constant.is_none();
        let quantised = |&id: &ValueId| self.quants[id].is_some();
        let all = quantised(&node.output) && node.inputs.iter().filter(computed).all(quantised);
        let stays_float = graph.meta.float_nodes.contains(&node.name);
        if all && !stays_float && operator::has_integer_form(graph, node) {
            Numbers::Integers
        } else {
            Numbers::Floats
        }
    }

    fn node(&mut self, node: &Node) -> Result<(), Refusal> {
        self.current.clone_from(&node.name);
        let value = &self.graph.values[node.output];
        if value.dynamic {
            return Err(refuse("its number of tokens is open", WRITE_ONNX));
        }
        if wide::is_wide(self.quants[node.output].as_ref()) {
            return Err(refuse(
                "its output has 16 bits, which no operator of TFLite makes of 8",
                WRITE_ONNX,
            ));
        }
        if node.op == Op::NormalizeEmbedding {
            return self.embedding(node);
        }
        let numbers = self.numbers(node);
        if numbers == Numbers::Floats && self.graph.is_quantized() {
            self.float_nodes.push(node.name.clone());
        }
        let output = self.output_tensor(node.output, numbers)?;
        self.write_node(node, numbers, output)?;
        self.held[node.output].set(numbers, output);
        if numbers == Numbers::Floats && self.quants[node.output].is_some() {
            let quantised = self.value_tensor(node.output, Numbers::Integers)?;
            self.quantize(output, quantised, 1);
            self.held[node.output] = Held::default();
            self.held[node.output].set(Numbers::Integers, quantised);
        }
        Ok(())
    }

    /// The direction of its input is what an embedding is.
    fn embedding(&mut self, node: &Node) -> Result<(), Refusal> {
        let held = self.held[node.inputs[0]].clone();
        if self.graph.outputs.contains(&node.output)
            && let Some(tensor) = held.any()
        {
            let name = &self.graph.values[node.output].name;
            self.tensors[tensor as usize].name.clone_from(name);
        }
        self.held[node.output] = held;
        self.quants[node.output] = self.quants[node.inputs[0]].clone();
        Ok(())
    }

    /// After a refusal: a tensor to go on with, so that later nodes are judged too.
    fn stand_in(&mut self, id: ValueId) {
        if wide::is_wide(self.quants[id].as_ref()) {
            self.quants[id] = None;
        }
        self.held[id].set(Numbers::Floats, 0);
        self.held[id].set(Numbers::Integers, 0);
    }

    /// Writes an operator.
    fn operator(&mut self, call: Call, inputs: &[i32], output: i32) {
        let known = self.codes.iter().position(|&code| code == call.kind);
        let code = known.unwrap_or_else(|| {
            self.codes.push(call.kind);
            self.codes.len() - 1
        });
        let mut table = Table::of([
            (0, Field::U32(code as u32)),
            (1, Field::I32s(inputs.to_vec())),
            (2, Field::I32s(vec![output])),
        ]);
        if let Some((kind, options)) = call.options {
            table = table
                .with(3, Field::U8(kind))
                .with(4, Field::Table(options));
        }
        self.operators.push(table);
    }

    fn finish(mut self) -> Result<Tflite, ExportError> {
        let mut outputs = Vec::new();
        for &id in &self.graph.outputs {
            let numbers = match self.quants[id] {
                Some(_) => Numbers::Integers,
                None => Numbers::Floats,
            };
            let operand = self.operand(id, numbers);
            outputs.push(operand.map_err(|refusal| ExportError::Node {
                node: self.graph.values[id].name.clone(),
                what: refusal.reason,
            })?);
        }
        let held = |&id: &ValueId| self.held[id].any();
        let inputs = self.graph.inputs.iter().filter_map(held).collect();
        let mut pieces = Vec::new();
        if let Some(bytes) = metadata::describe(self.graph) {
            let buffer = self.buffer(bytes);
            let name = Field::Text(metadata::NAME.into());
            pieces.push(Table::of([(0, name), (1, Field::U32(buffer))]));
        }
        let operators = self.operators.len();
        let needed: usize = self.buffers.iter().map(Vec::len).sum();
        if needed > most_bytes() {
            return Err(ExportError::TooLarge { bytes: needed });
        }
        let float_nodes = std::mem::take(&mut self.float_nodes);
        let bytes = flatbuffer::write(self.model(inputs, outputs, pieces), IDENTIFIER);
        if bytes.len() > most_bytes() {
            return Err(ExportError::TooLarge { bytes: bytes.len() });
        }
        Ok(Tflite {
            bytes,
            operators,
            float_nodes,
        })
    }

    fn model(self, inputs: Vec<i32>, outputs: Vec<i32>, pieces: Vec<Table>) -> Table {
        let codes = self.codes.iter().map(|&(code, version)| {
            Table::of([
                (0, Field::U8(code.min(LARGEST_OLD_CODE) as u8)),
                (2, Field::I32(version)),
                (3, Field::I32(code)),
            ])
        });
        let codes = codes.collect();
        let buffers = self.buffers.into_iter().map(|bytes| match bytes.len() {
            0 => Table::default(),
            _ => Table::of([(0, Field::Bytes(bytes))]),
        });
        let subgraph = Table::of([
            (
                0,
                Field::Tables(self.tensors.into_iter().map(Written::table).collect()),
            ),
            (1, Field::I32s(inputs)),
            (2, Field::I32s(outputs)),
            (3, Field::Tables(self.operators)),
            (4, Field::Text(self.graph.name.clone())),
        ]);
        Table::of([
            (0, Field::U32(SCHEMA_VERSION)),
            (1, Field::Tables(codes)),
            (2, Field::Tables(vec![subgraph])),
            (
                3,
                Field::Text(concat!("pinhole ", env!("CARGO_PKG_VERSION")).into()),
            ),
            (4, Field::Tables(buffers.collect())),
            (6, Field::Tables(pieces)),
        ])
    }

    /// A list of settings as a tensor.
    fn list(&mut self, settings: &[usize]) -> i32 {
        let numbers: Vec<i32> = settings.iter().map(|&setting| setting as i32).collect();
        let shape = [numbers.len()];
        self.settings(numbers, &shape)
    }

    /// Settings of a shape; the same ones are written once.
    fn settings(&mut self, numbers: Vec<i32>, shape: &[usize]) -> i32 {
        let key: Vec<i32> = std::iter::once(shape.len() as i32)
            .chain(numbers.iter().copied())
            .collect();
        if let Some(&known) = self.lists.get(&key) {
            return known;
        }
        let name = format!("{}.settings", self.current);
        let tensor = self.constant(&name, shape, Elements::I32(numbers), None);
        self.lists.insert(key, tensor);
        tensor
    }
}

#[cfg(test)]
mod tests;
