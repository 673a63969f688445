//! The graph itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Op, Tensor};

/// Index into [`Graph::values`].
pub type ValueId = usize;
/// Index into [`Graph::nodes`].
pub type NodeId = usize;

/// A network: nodes in an order in which they can run.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// For people.
    pub name: String,
    /// Everything that flows along an edge, constants too.
    pub values: Vec<Value>,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Values that the caller supplies.
    pub inputs: Vec<ValueId>,
    /// Values that the caller reads.
    pub outputs: Vec<ValueId>,
    /// What is not computation.
    pub meta: GraphMeta,
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in the graph.
    pub name: String,
    /// Outermost first, at most four dimensions when packed. Inferred by [`crate::pass`] where an importer left it empty.
    pub shape: Vec<usize>,
    /// Set for weights and other constants.
    pub constant: Option<Tensor>,
    /// Dimension 0 is the number of tokens of a run, and `shape[0]` the largest.
    pub dynamic: bool,
    /// Token ids; everything else is f32.
    pub is_ids: bool,
    /// Set by quantisation.
    pub quant: Option<QuantParams>,
}

/// An operator and what it joins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph, that of the source file where it has one.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Into [`Graph::values`]; optional inputs are simply missing at the end.
    pub inputs: Vec<ValueId>,
    /// Into [`Graph::values`].
    pub output: ValueId,
}

/// Type of a quantised value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuantDType {
    /// 8 bits.
    I8,
    /// 16 bits, symmetric.
    I16,
}

/// real = scale · (quantised − zero_point).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantParams {
    /// Width.
    pub dtype: QuantDType,
    /// One, or for weights one per output channel.
    pub scales: Vec<f32>,
    /// 0 for weights and 16-bit values.
    pub zero_point: i32,
}

/// What the model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Anything.
    #[default]
    Other,
    /// Picture in, embedding out.
    ImageEncoder,
    /// Token ids in, embedding out.
    TextEncoder,
}

/// Room that 16 bits of an embedding have over the largest number that calibration saw: a clipped coordinate would turn the
/// direction.
pub const EMBEDDING_MARGIN: f32 = 2.0;

/// How a picture becomes the input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureGeometry {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// The shorter side is scaled to this before the centre crop.
    pub resize_shorter: usize,
    /// Of channels in [0, 1].
    pub mean: [f32; 3],
    /// Of channels in [0, 1].
    pub std: [f32; 3],
}

/// By whose rules integers are rounded, where the specification of quantisation leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntegerRules {
    /// Pinhole's: what is nearest to the real numbers.
    #[default]
    Own,
    /// Those of LiteRT's reference kernels, as far as the runtime has them; nothing falls back to floats.
    LiteRt,
}

/// What a graph carries beside its computation.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct GraphMeta {
    /// What it is for.
    pub kind: ModelKind,
    /// For picture inputs.
    pub geometry: Option<PictureGeometry>,
    /// Which embedding space the output lies in.
    pub embedding_space: Option<[u8; 16]>,
    /// exp of the learned temperature.
    pub logit_scale: Option<f32>,
    /// SigLIP's.
    pub logit_bias: Option<f32>,
    /// One token a line.
    pub vocabulary: Option<String>,
    /// Largest dimension 0 of dynamic values.
    pub max_tokens: Option<usize>,
    /// Tokens of padding that a text encoder reads behind each text, counted in `max_tokens`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub padding_tokens: u8,
    /// Names of the nodes that compute in floats although what is around them is quantised.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub float_nodes: BTreeSet<String>,
    /// How quantised nodes round.
    #[serde(default, skip_serializing_if = "IntegerRules::is_own")]
    pub integer_rules: IntegerRules,
    /// Where it came from: file, architecture, SHA-256.
    pub source: BTreeMap<String, String>,
}

fn is_zero(count: &u8) -> bool {
    *count == 0
}

impl IntegerRules {
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

impl Graph {
    /// Whether any value is quantised.
    pub fn is_quantized(&self) -> bool {
        self.values.iter().any(|value| value.quant.is_some())
    }

    /// A graph of nothing.
    pub fn empty(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            meta: GraphMeta::default(),
        }
    }

    /// The node that computes each value, `None` for inputs and constants.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            producers[node.output] = Some(id);
        }
        producers
    }

    /// The nodes that read each value.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                consumers[input].push(id);
            }
        }
        consumers
    }

    /// `name`, or with a number behind it when a value or node has that name.
    pub fn unique_name(&self, name: &str) -> String {
        let taken = |name: &str| {
            self.values.iter().any(|value| value.name == name)
                || self.nodes.iter().any(|node| node.name == name)
        };
        if !taken(name) {
            return name.to_owned();
        }
        (1..)
            .map(|number| format!("{name}_{number}"))
            .find(|name| !taken(name))
            .unwrap_or_default()
    }

    /// Adds a value.
    pub fn add_value(&mut self, name: impl Into<String>, shape: &[usize]) -> ValueId {
        self.values.push(Value {
            name: name.into(),
            shape: shape.to_vec(),
            constant: None,
            dynamic: false,
            is_ids: false,
            quant: None,
        });
        self.values.len() - 1
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.add_value(name, &tensor.shape.clone());
        self.values[id].constant = Some(tensor);
        id
    }

    /// Adds a node with a new output value of the given shape (empty: to be inferred), named after the node.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
        shape: &[usize],
    ) -> ValueId {
        let name = name.into();
        let output = self.add_value(name.clone(), shape);
        self.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
        });
        output
    }
}
