//! One way to read a case: some inputs are computed, the others are weights.
//!
//! A computed input arrives as a list of its elements, and an output leaves as one, both reshaped in the model. So a
//! case may have any batch, and the order of elements is that of the file whatever the graph holds pictures as. An
//! output is negated twice, so that something is left to compute behind an operator that only renames. When nothing
//! is computed, zeros that are an input are added to the outputs, since a network has an input.

use std::error::Error;
use std::fs;
use std::path::Path;

use pinhole_graph::import::ImportError;
use pinhole_graph::import::onnx::{Options, load};
use pinhole_graph::{Graph, Tensor, pass};
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

use crate::case::{Case, elements, is_float, len};

/// A model made of a case, what it is fed and what must come out.
pub(crate) struct Reading {
    model: ModelProto,
    feeds: Vec<Tensor>,
    expected: Vec<Expected>,
}

struct Expected {
    /// Why they cannot be read, when they are of a type that has to be refused.
    data: Result<Vec<f32>, String>,
    tolerance: Tolerance,
}

/// |found − expected| ≤ absolute + relative · |expected|
#[derive(Clone, Copy)]
struct Tolerance {
    absolute: f32,
    relative: f32,
}

/// What a reading came to.
pub(crate) enum Outcome {
    /// The outputs are as stored; of the runtime too, or why it does not run there.
    Matched(Result<(), String>),
    /// The import says no.
    Refused(String),
    /// Other outputs, or an error that is no refusal.
    Failed(Failure),
}

/// Which output differs, and how.
pub(crate) struct Failure {
    pub(crate) what: String,
}

impl Reading {
    /// # Errors
    /// When an input or output is no tensor, or one without elements is computed.
    pub(crate) fn new(case: &Case, computed: &[usize]) -> Result<Self, String> {
        let mut model = case.model.clone();
        let mut graph = model.graph.take().unwrap_or_default();
        let mut head = Vec::new();
        let mut feeds = Vec::new();
        let mut inputs = Vec::new();
        for (index, info) in std::mem::take(&mut graph.input).into_iter().enumerate() {
            let tensor = case.inputs[index]
                .as_ref()
                .ok_or_else(|| format!("input {} is no tensor", info.name))?;
            if computed.contains(&index) {
                has_elements(&info.name, tensor)?;
                let feed = feed(tensor)?;
                let flat = format!("case.in.{index}");
                inputs.push(list_info(&flat, tensor.data_type, feed.len()));
                head.push(reshape(&mut graph, &flat, &tensor.dims, &info.name));
                feeds.push(feed);
            } else {
                graph.initializer.push(TensorProto {
                    name: info.name,
                    ..tensor.clone()
                });
            }
        }
        graph.input = inputs;
        graph.node.splice(0..0, head);
        let mut expected = Vec::new();
        for (index, info) in std::mem::take(&mut graph.output).into_iter().enumerate() {
            let tensor = case.outputs[index]
                .as_ref()
                .ok_or_else(|| format!("output {} is no tensor", info.name))?;
            let len = has_elements(&info.name, tensor)?;
            let flat = format!("case.out.{index}");
            let node = reshape(&mut graph, &info.name, &[-1], &flat);
            graph.node.push(node);
            let name = if computed.is_empty() {
                feeds.push(Tensor::f32(&[len], vec![0.0; len]));
                added_to_zeros(&mut graph, &flat, len)
            } else {
                negated(&mut graph, &flat)
            };
            graph.output.push(ValueInfoProto {
                name,
                ..ValueInfoProto::default()
            });
            expected.push(Expected {
                data: elements(tensor),
                tolerance: tolerance(case, tensor.data_type),
            });
        }
        model.graph = Some(graph);
        Ok(Self {
            model,
            feeds,
            expected,
        })
    }

    /// Imports, evaluates and runs it; `work` is a folder for its file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn outcome(&self, work: &Path) -> Result<Outcome, Box<dyn Error>> {
        let path = work.join("case.onnx");
        fs::write(&path, self.model.encode_to_vec())?;
        let graph = match load(&path, &Options::default()) {
            Ok(graph) => graph,
            Err(error) => return Ok(Outcome::Refused(reason(&path, &error))),
        };
        let failed = |what: String| Ok(Outcome::Failed(Failure { what }));
        let outputs = match pass::evaluate(&graph, &self.feeds) {
            Ok(outputs) => outputs,
            Err(what) => return failed(format!("evaluator: {what}")),
        };
        let outputs: Vec<&[f32]> = outputs
            .iter()
            .map(|tensor| tensor.as_f32().unwrap_or_default())
            .collect();
        if let Some(what) = self.difference(&outputs) {
            return failed(format!("evaluator: {what}"));
        }
        match pack(&graph, &PackOptions::default()) {
            Err(error) => Ok(Outcome::Matched(Err(error.to_string()))),
            Ok(packed) => match self.run(&graph, &packed.bytes) {
                Ok(()) => Ok(Outcome::Matched(Ok(()))),
                Err(what) => failed(format!("runtime: {what}")),
            },
        }
    }

    fn run(&self, graph: &Graph, bytes: &[u8]) -> Result<(), String> {
        let bytes = AlignedBytes::from_slice(bytes);
        let model = Model::load(&bytes).map_err(|error| error.to_string())?;
        let mut arena = AlignedBytes::zeroed(model.arena_bytes());
        let mut interpreter = Interpreter::new(&model, &mut arena, kernel::detect())
            .map_err(|error| error.to_string())?;
        for (index, feed) in self.feeds.iter().enumerate() {
            match (feed.as_f32(), feed.as_i32()) {
                (Some(floats), _) => interpreter
                    .input_f32_mut(index)
                    .map_err(|error| error.to_string())?
                    .copy_from_slice(floats),
                (None, ids) => interpreter
                    .input_i32_mut(index)
                    .map_err(|error| error.to_string())?
                    .copy_from_slice(ids.unwrap_or_default()),
            }
        }
        interpreter.run();
        let outputs = (0..graph.outputs.len())
            .map(|index| interpreter.output_f32(index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        self.difference(&outputs).map_or(Ok(()), Err)
    }

    /// The first element that is too far from what is stored.
    fn difference(&self, outputs: &[&[f32]]) -> Option<String> {
        outputs
            .iter()
            .zip(&self.expected)
            .enumerate()
            .find_map(|(index, (found, expected))| {
                let Expected { data, tolerance } = expected;
                let data = match data {
                    Ok(data) => data,
                    Err(what) => {
                        return Some(format!("output {index} is {what}, and was imported"));
                    }
                };
                if found.len() != data.len() {
                    return Some(format!(
                        "output {index} has {} elements, expected {}",
                        found.len(),
                        data.len()
                    ));
                }
                let pairs = found.iter().zip(data).enumerate();
                pairs
                    .filter(|(_, (found, expected))| !tolerance.admits(**found, **expected))
                    .map(|(at, (found, expected))| {
                        format!("element {at} of output {index} is {found}, expected {expected}")
                    })
                    .next()
            })
    }
}

impl Tolerance {
    fn admits(self, found: f32, expected: f32) -> bool {
        found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// That of onnx's own runner, but one step of the output's type: we compute in f32 and do not round to it.
fn tolerance(case: &Case, data_type: i32) -> Tolerance {
    let inputs = case.inputs.iter().flatten().map(|tensor| tensor.data_type);
    let narrow = |kind: DataType| {
        inputs
            .clone()
            .chain([data_type])
            .any(|own| own == kind as i32)
    };
    let (absolute, relative) = if narrow(DataType::Bfloat16) {
        (1e-2, 1e-2)
    } else if narrow(DataType::Float16) {
        (2e-3, 2e-3)
    } else {
        (1e-7, 1e-3)
    };
    Tolerance { absolute, relative }
}

/// How many, when there are any: a network computes something.
fn has_elements(name: &str, tensor: &TensorProto) -> Result<usize, String> {
    match len(tensor) {
        0 => Err(format!("{name} has no elements")),
        len => Ok(len),
    }
}

fn feed(tensor: &TensorProto) -> Result<Tensor, String> {
    let floats = elements(tensor)?;
    let shape = [floats.len()];
    Ok(if is_float(tensor.data_type) {
        Tensor::f32(&shape, floats)
    } else {
        Tensor::i32(&shape, floats.iter().map(|&value| value as i32).collect())
    })
}

/// Why a file is not imported, without its path.
fn reason(path: &Path, error: &ImportError) -> String {
    match error {
        ImportError::Unsupported(nodes) => match nodes.0.first() {
            Some(node) => node.reason.clone(),
            None => error.to_string(),
        },
        other => other
            .to_string()
            .replace(&format!("{}: ", path.display()), ""),
    }
}

/// A node that reshapes `from` into `to`; its sizes become an initializer.
fn reshape(graph: &mut GraphProto, from: &str, sizes: &[i64], to: &str) -> NodeProto {
    let name = format!("{to}.sizes");
    graph.initializer.push(TensorProto {
        dims: vec![sizes.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: sizes.to_vec(),
        name: name.clone(),
        ..TensorProto::default()
    });
    node("Reshape", &[from, &name], to)
}

/// The same numbers, computed.
fn negated(graph: &mut GraphProto, list: &str) -> String {
    let (once, twice) = (format!("{list}.negated"), format!("{list}.same"));
    graph
        .node
        .extend([node("Neg", &[list], &once), node("Neg", &[&once], &twice)]);
    twice
}

/// The sum of a list and an input of as many zeros, in floats.
fn added_to_zeros(graph: &mut GraphProto, list: &str, len: usize) -> String {
    let (zeros, floats, sum) = (
        format!("{list}.zeros"),
        format!("{list}.floats"),
        format!("{list}.sum"),
    );
    graph
        .input
        .push(list_info(&zeros, DataType::Float as i32, len));
    let mut cast = node("Cast", &[list], &floats);
    cast.attribute.push(AttributeProto {
        name: "to".into(),
        r#type: AttributeType::Int as i32,
        i: DataType::Float as i64,
        ..AttributeProto::default()
    });
    graph
        .node
        .extend([cast, node("Add", &[&zeros, &floats], &sum)]);
    sum
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn list_info(name: &str, elem_type: i32, len: usize) -> ValueInfoProto {
    let dimension = Dimension {
        value: Some(dimension::Value::DimValue(len as i64)),
        ..Dimension::default()
    };
    let shape = TensorShapeProto {
        dim: vec![dimension],
    };
    let tensor = type_proto::Tensor {
        elem_type,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
