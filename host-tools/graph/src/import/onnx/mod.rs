//! ONNX files (<https://onnx.ai/onnx/intro/>, opset 7 to 26) as graphs.
//!
//! `tract-onnx` decodes the file; the nodes are walked here, so that every message can name a node of the file. What
//! depends on constants and shapes alone is computed on the way. Pictures become NHWC (see [`view`]). One picture or one
//! sequence at a time: dimension 0 of an input, where the file leaves it open, is 1, and a sequence has
//! [`Options::tokens`] tokens. Of the integer inputs of a text encoder the token ids stay an input; a mask is all ones,
//! since there is no padding, token types are 0 and positions count up. What a picture becomes is taken for an embedding
//! ([`Op::NormalizeEmbedding`]) unless it ends in probabilities. A sequence may be shorter than that when the graph of
//! a shorter one differs in nothing but sizes (see [`any_length`]). Simplification
//! is left to [`crate::pass::standard`]. Scales of QuantizeLinear and DequantizeLinear are kept (see [`quantised`]), and so
//! are those of operators over integers (see [`integers`]); scales that are chosen at run time are not (see [`dynamic`]).

mod any_length;
mod attributes;
mod centred;
mod constant;
mod dynamic;
mod element_wise;
mod file;
mod fold;
mod headroom;
mod input;
mod integers;
mod lower;
mod matrix;
mod picture;
mod quantised;
mod reach;
mod resize;
mod rounding;
mod scaled;
mod scan;
mod shape;
mod tensor;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb;

use self::attributes::Attributes;
use self::constant::Constant;
use self::dynamic::Pending;
use self::quantised::Quantised;
use self::view::{View, full_pattern};
use super::{ImportError, UnsupportedNodes};
use crate::{Graph, Node, Op, PictureGeometry, QuantParams, ValueId, names, pass};

/// What an ONNX file leaves open.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens of a sequence, where the file does not say.
    pub tokens: usize,
    /// Sizes of named dimensions (`dim_param` of the file), before any default.
    pub dimensions: BTreeMap<String, usize>,
    /// Inputs that become a constant, every element of this value, before any default.
    pub constants: BTreeMap<String, i64>,
    /// How a picture becomes the input; without it mean and deviation of ImageNet are assumed, or none of both when the
    /// graph begins with a normalisation.
    pub geometry: Option<PictureGeometry>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokens: super::bert::DEFAULT_MAX_TOKENS,
            dimensions: BTreeMap::new(),
            constants: BTreeMap::new(),
            geometry: None,
        }
    }
}

/// Names of the operators that an import expresses, or computes when their inputs are constants; sorted.
pub fn operators() -> Vec<&'static str> {
    lower::operators()
}

/// Reads an ONNX file into a graph: shapes inferred, constants folded, batch normalisation and activations fused.
///
/// # Errors
/// When the file cannot be read or is malformed, when its weights lie outside its folder, and with every node that cannot be
/// expressed.
pub fn load(path: impl AsRef<Path>, options: &Options) -> Result<Graph, ImportError> {
    let path = path.as_ref();
    let (model, sha256) = file::read(path)?;
    let mut graph = convert(path, &model, options)?;
    if let Some(shorter) = any_length::shorter(&graph, options)
        && let Ok(other) = convert(path, &model, &shorter)
    {
        any_length::free(&mut graph, &other);
    }
    graph.meta.source.insert("format".into(), "onnx".into());
    graph.meta.source.insert("file_sha256".into(), sha256);
    Ok(graph)
}

fn convert(path: &Path, model: &pb::ModelProto, options: &Options) -> Result<Graph, ImportError> {
    let opset = file::opset(path, model)?;
    let source = model
        .graph
        .as_ref()
        .ok_or_else(|| ImportError::malformed(path, "no graph in the file"))?;
    let name = if source.name.is_empty() {
        "onnx"
    } else {
        &source.name
    };
    let mut builder = Builder {
        graph: Graph::empty(name),
        known: HashMap::new(),
        taken: HashSet::new(),
        reshaped_from: HashMap::new(),
        arrangements: HashMap::new(),
        quantised: Quantised::of(source),
        node: String::new(),
        opset,
        options,
        path,
    };
    builder.initializers(source)?;
    builder.inputs(source)?;
    let mut unsupported = UnsupportedNodes::default();
    let reachable = reach::reachable(source);
    for (index, node) in source.node.iter().enumerate() {
        if reachable[index] {
            builder.node(index, node, &mut unsupported);
        }
    }
    unsupported.into_result()?;
    builder.outputs(source)?;
    let Builder {
        mut graph,
        mut quantised,
        ..
    } = builder;
    let outputs = graph.outputs.len();
    quantised.expose(&mut graph);
    pass::standard(&mut graph).map_err(|faults| ImportError::Graph {
        path: path.to_owned(),
        faults,
    })?;
    graph.outputs.truncate(outputs);
    quantised.apply(&mut graph);
    Ok(graph)
}

/// Why a node cannot be expressed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: String,
    advice: String,
}

fn refuse(reason: impl Into<String>, advice: impl Into<String>) -> Refusal {
    Refusal {
        reason: reason.into(),
        advice: advice.into(),
    }
}

/// What is known of a value of the file.
#[derive(Clone, Debug)]
enum Known {
    /// All of it.
    Constant(Constant),
    /// It is computed.
    Computed(View),
    /// Token ids, in the shape that the file sees.
    Ids { id: ValueId, shape: Vec<usize> },
    /// It is computed and rounded to steps.
    Rounded { view: View, quant: QuantParams },
    /// It is expressed with a node behind it.
    Pending(Pending),
    /// A refused node makes it; those behind it are not refused for that.
    Refused,
}

impl Known {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Constant(constant) => &constant.shape,
            Self::Computed(view) | Self::Rounded { view, .. } => &view.shape,
            Self::Ids { shape, .. } => shape,
            Self::Refused | Self::Pending(_) => &[],
        }
    }

    fn constant(&self) -> Option<&Constant> {
        match self {
            Self::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    fn pending(&self) -> Option<&Pending> {
        match self {
            Self::Pending(pending) => Some(pending),
            _ => None,
        }
    }
}

/// Source value, shape or permutation of a `Reshape` or `Transpose` that exists already.
type Arrangement = (ValueId, Vec<usize>, Option<Vec<usize>>);

/// A graph in the making.
struct Builder<'a> {
    graph: Graph,
    known: HashMap<String, Known>,
    /// Names of nodes and values.
    taken: HashSet<String>,
    /// Values that a reshape made, and of what.
    reshaped_from: HashMap<ValueId, ValueId>,
    arrangements: HashMap<Arrangement, ValueId>,
    quantised: Quantised,
    /// The node of the file that is being expressed.
    node: String,
    opset: i64,
    options: &'a Options,
    path: &'a Path,
}

impl Builder<'_> {
    /// `name`, or with a number behind it when it is taken.
    fn unique(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "unnamed" } else { name };
        names::unique(&mut self.taken, name)
    }

    /// Adds a node named after that of the file; `shape` for reshapes and slices, which alone cannot be inferred.
    fn emit(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> Result<ValueId, Refusal> {
        let name = self.node.clone();
        self.emit_named(&name, op, inputs, shape)
    }

    /// Adds a node that is a part of one of the file.
    fn emit_part(
        &mut self,
        part: &str,
        op: Op,
        inputs: &[ValueId],
        shape: &[usize],
    ) -> Result<ValueId, Refusal> {
        let name = format!("{}.{part}", self.node);
        self.emit_named(&name, op, inputs, shape)
    }

    fn emit_named(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        shape: &[usize],
    ) -> Result<ValueId, Refusal> {
        let name = self.unique(name);
        let output = self.graph.add_value(name.clone(), shape);
        let node = Node {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
        };
        let shape = pass::node_shape(&self.graph, &node)
            .map_err(|reason| refuse(reason, "check the sizes that the file declares"))?;
        self.graph.values[output].shape = shape;
        self.graph.nodes.push(node);
        Ok(output)
    }

    /// A value as a view; constants become constants of the graph.
    fn view(&mut self, name: &str, known: &Known) -> Result<View, Refusal> {
        match known {
            Known::Computed(view) => Ok(view.clone()),
            Known::Constant(constant) => {
                let rank = constant.shape.len();
                let id = self.constant_as(name, constant, &full_pattern(rank), rank);
                Ok(View {
                    id,
                    pattern: full_pattern(rank),
                    shape: constant.shape.clone(),
                })
            }
            Known::Ids { .. } => Err(refuse(
                "arithmetic on token ids",
                "only a lookup in a table (Gather) reads token ids; cut the rest from the graph",
            )),
            Known::Rounded { .. } => Err(refuse(
                "arithmetic on quantised integers, whose scale it does not name",
                "export the model as QDQ: QuantizeLinear and DequantizeLinear around operators over floats",
            )),
            Known::Pending(pending) => Err(refuse(
                format!("it reads {}", pending.described()),
                "give the float model that this one was quantised from",
            )),
            Known::Refused => Err(refuse(
                "an input of it is refused",
                "see the node before it",
            )),
        }
    }
}
