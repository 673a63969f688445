//! ONNX files (<https://onnx.ai/onnx/intro/>, opset 20) of graphs in f32 and of quantised ones.
//!
//! The graph holds pictures as (1, H, W, C), ONNX computes on (1, C, H, W). A value is written in the layout in which
//! an operator makes it, and transposed when a reader wants the other: so a convolutional network has one transpose,
//! behind its input. Inputs and outputs have the layout of the graph, token ids are (1, tokens). Nodes keep their
//! names; one that needs several operators gives its name to the last. Of a quantised graph (see [`qdq`]) every
//! quantised value passes QuantizeLinear and DequantizeLinear. Not here: what the graph is for.

mod layout;
mod operator;
mod proto;
mod qdq;

use std::collections::{HashMap, HashSet};

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};

use self::layout::{Held, Layout};
use super::{ExportError, most_bytes};
use crate::{Graph, Tensor, ValueId, names};

/// The operator set of exported files, the first with `Gelu`.
pub const OPSET: i64 = 20;
/// The version of the format that came with it.
const IR_VERSION: i64 = 9;

/// The bytes of an ONNX file that computes what the graph computes, between the quantised values in f32.
///
/// # Errors
/// When an input that must be a constant is computed, or the file is larger than 2 GiB.
pub fn onnx(graph: &Graph) -> Result<Vec<u8>, ExportError> {
    let mut exporter = Exporter::new(graph);
    exporter.inputs();
    for node in &graph.nodes {
        exporter.node(node).map_err(|what| ExportError::Node {
            node: node.name.clone(),
            what,
        })?;
    }
    exporter.outputs();
    let bytes = exporter.model().encode_to_vec();
    match bytes.len() {
        len if len > most_bytes() => Err(ExportError::TooLarge { bytes: len }),
        _ => Ok(bytes),
    }
}

/// A file in the making.
struct Exporter<'a> {
    graph: &'a Graph,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Under which names each computed value exists.
    held: Vec<Held>,
    /// Names of constants that exist, by value and what was done to them.
    constants: HashMap<(ValueId, &'static str), String>,
    /// Names of values and nodes.
    taken: HashSet<String>,
    /// The node of the graph that is being written.
    current: String,
}

impl<'a> Exporter<'a> {
    fn new(graph: &'a Graph) -> Self {
        let names = graph.values.iter().map(|value| &value.name);
        let names = names.chain(graph.nodes.iter().map(|node| &node.name));
        Self {
            graph,
            nodes: Vec::new(),
            initializers: Vec::new(),
            held: vec![Held::default(); graph.values.len()],
            constants: HashMap::new(),
            taken: names.cloned().collect(),
            current: String::new(),
        }
    }

    fn inputs(&mut self) {
        for &id in &self.graph.inputs {
            let value = &self.graph.values[id];
            self.current.clone_from(&value.name);
            let name = if value.is_ids {
                let axes = self.list(&[0]);
                self.part("Squeeze", &[&value.name, &axes], Vec::new())
            } else {
                value.name.clone()
            };
            let name = match &value.quant {
                Some(quant) => {
                    let base = format!("{}.rounded", value.name);
                    let to = self.unique(&base);
                    self.rounded(&name, quant, &value.name, to)
                }
                None => name,
            };
            self.held[id].set(Layout::Plain, name);
        }
    }

    /// Outputs lie as the graph holds them and have their names, which `node` sees to but for inputs and constants.
    fn outputs(&mut self) {
        for &id in &self.graph.outputs {
            let value = &self.graph.values[id];
            self.current.clone_from(&value.name);
            let found = self.plain(id);
            if found != value.name {
                self.nodes
                    .push(proto::node("Identity", &[&found], &value.name, Vec::new()));
            }
        }
    }

    fn model(self) -> ModelProto {
        let mut domains = vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }];
        if self.nodes.iter().any(|node| node.domain == qdq::OF_16_BITS) {
            domains.push(OperatorSetIdProto {
                domain: qdq::OF_16_BITS.into(),
                version: 1,
            });
        }
        let infos = |ids: &[ValueId]| {
            let values = ids.iter().map(|&id| &self.graph.values[id]);
            values.map(proto::value_info).collect()
        };
        let graph = GraphProto {
            name: self.graph.name.clone(),
            input: infos(&self.graph.inputs),
            output: infos(&self.graph.outputs),
            node: self.nodes,
            initializer: self.initializers,
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "pinhole".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            opset_import: domains,
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    /// A name that nothing has yet.
    fn unique(&mut self, name: &str) -> String {
        names::unique(&mut self.taken, name)
    }

    /// Writes an operator that is a part of the current node; the name of its output.
    fn part(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("{}.{}", self.current, op.to_lowercase());
        let name = self.unique(&name);
        self.nodes.push(proto::node(op, inputs, &name, attributes));
        name
    }

    /// A list of integers as an input of the current node.
    fn list(&mut self, values: &[i64]) -> String {
        let name = format!("{}.list", self.current);
        let name = self.unique(&name);
        self.initializers.push(proto::list(&name, values));
        name
    }

    /// A list of sizes or places.
    fn sizes(&mut self, values: &[usize]) -> String {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        self.list(&values)
    }

    /// A tensor as an input of the current node.
    fn tensor(&mut self, tensor: &Tensor) -> String {
        let name = format!("{}.constant", self.current);
        let name = self.unique(&name);
        self.initializers.push(proto::tensor(&name, tensor));
        name
    }

    /// One number as an input of the current node.
    fn scalar(&mut self, value: f32) -> String {
        self.tensor(&Tensor::f32(&[], vec![value]))
    }
}

#[cfg(test)]
mod tests;
