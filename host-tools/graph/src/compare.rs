//! Two graphs as they are written: nodes, attributes, shapes, constants, scales, metadata. What they compute,
//! `pinhole_quantize::diff` compares.
//!
//! Nodes and values are matched by name; the order of the lists does not matter, that in which shared nodes run does.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::{Graph, GraphMeta, Node, QuantParams, Tensor, TensorData, Value, ValueId};

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The graph as a whole.
    Graph,
    /// Metadata.
    Meta,
    /// A node.
    Node,
    /// A value: an edge or a constant.
    Value,
}

/// One thing that is not the same in two graphs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about.
    pub subject: Subject,
    /// Name of the node or value; empty for the graph and its metadata.
    pub name: String,
    /// Which property of it; empty where the whole node or value is in one graph alone.
    pub property: String,
    /// In the first graph; `None` where it has no such thing.
    pub a: Option<String>,
    /// In the second graph.
    pub b: Option<String>,
}

/// `node conv1: stride [1,1] in A, [2,2] in B`
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match self.subject {
            Subject::Graph => "graph",
            Subject::Meta => "metadata",
            Subject::Node => "node",
            Subject::Value => "value",
        };
        f.write_str(subject)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.property.is_empty() {
            write!(f, ": {}", self.property)?;
        }
        match (&self.a, &self.b) {
            (Some(a), Some(b)) => write!(f, " {a} in A, {b} in B"),
            (Some(a), None) => write!(f, " in A alone: {a}"),
            (None, Some(b)) => write!(f, " in B alone: {b}"),
            (None, None) => Ok(()),
        }
    }
}

/// Everything that is not the same in two graphs: the graph and its metadata first, then nodes and values in the order
/// of the first graph, then what the second alone has. Empty when they are the same.
pub fn compare(a: &Graph, b: &Graph) -> Vec<Difference> {
    let mut found = Found::default();
    found.graph(a, b);
    found.meta(&a.meta, &b.meta);
    found.nodes(a, b);
    found.values(a, b);
    found.0
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn push(
        &mut self,
        subject: Subject,
        name: &str,
        property: &str,
        a: Option<String>,
        b: Option<String>,
    ) {
        self.0.push(Difference {
            subject,
            name: name.to_owned(),
            property: property.to_owned(),
            a,
            b,
        });
    }

    /// A property that both have, unless it is the same.
    fn property(&mut self, subject: Subject, name: &str, property: &str, a: String, b: String) {
        if a != b {
            self.push(subject, name, property, Some(a), Some(b));
        }
    }

    fn graph(&mut self, a: &Graph, b: &Graph) {
        let whole = |found: &mut Self, property, a, b| {
            found.property(Subject::Graph, "", property, a, b);
        };
        whole(self, "name", a.name.clone(), b.name.clone());
        whole(self, "inputs", names(a, &a.inputs), names(b, &b.inputs));
        whole(self, "outputs", names(a, &a.outputs), names(b, &b.outputs));
        if let Some((a, b)) = first_out_of_order(a, b) {
            whole(self, "order of nodes", a.to_owned(), b.to_owned());
        }
    }

    fn meta(&mut self, a: &GraphMeta, b: &GraphMeta) {
        let (a, b) = (described(a), described(b));
        for (property, text) in &a {
            let other = b.iter().find(|(other, _)| other == property);
            let other = other.map(|(_, text)| text.clone());
            if other.as_ref() != Some(text) {
                self.push(Subject::Meta, "", property, Some(text.clone()), other);
            }
        }
        let only_b = b
            .into_iter()
            .filter(|(name, _)| a.iter().all(|(other, _)| other != name));
        for (property, text) in only_b {
            self.push(Subject::Meta, "", &property, None, Some(text));
        }
    }

    fn nodes(&mut self, a: &Graph, b: &Graph) {
        let (there, here) = (
            by_name(&b.nodes, |n| &n.name),
            by_name(&a.nodes, |n| &n.name),
        );
        for node in &a.nodes {
            match there.get(node.name.as_str()) {
                Some(other) => self.node((a, node), (b, other)),
                None => self.push(Subject::Node, &node.name, "", Some(outline(a, node)), None),
            }
        }
        for node in b
            .nodes
            .iter()
            .filter(|node| !here.contains_key(node.name.as_str()))
        {
            self.push(Subject::Node, &node.name, "", None, Some(outline(b, node)));
        }
    }

    fn node(&mut self, (graph_a, a): (&Graph, &Node), (graph_b, b): (&Graph, &Node)) {
        let name = &a.name;
        if a.op.name() == b.op.name() {
            for (attribute, a, b) in attributes(a, b) {
                self.property(Subject::Node, name, &attribute, a, b);
            }
        } else {
            let (a, b) = (a.op.name().to_owned(), b.op.name().to_owned());
            self.property(Subject::Node, name, "operator", a, b);
        }
        let inputs = (names(graph_a, &a.inputs), names(graph_b, &b.inputs));
        self.property(Subject::Node, name, "inputs", inputs.0, inputs.1);
        let outputs = (names(graph_a, &[a.output]), names(graph_b, &[b.output]));
        self.property(Subject::Node, name, "output", outputs.0, outputs.1);
    }

    fn values(&mut self, a: &Graph, b: &Graph) {
        let (there, here) = (
            by_name(&b.values, |v| &v.name),
            by_name(&a.values, |v| &v.name),
        );
        for value in &a.values {
            if let Some(other) = there.get(value.name.as_str()) {
                self.value(value, other);
            }
        }
        // Outputs of nodes are told of with their nodes.
        for (id, value) in alone(a, &there) {
            self.push(Subject::Value, &value.name, "", Some(nature(a, id)), None);
        }
        for (id, value) in alone(b, &here) {
            self.push(Subject::Value, &value.name, "", None, Some(nature(b, id)));
        }
    }

    fn value(&mut self, a: &Value, b: &Value) {
        let name = &a.name;
        let mut property = |property: &str, a: String, b: String| {
            self.property(Subject::Value, name, property, a, b);
        };
        property("shape", format!("{:?}", a.shape), format!("{:?}", b.shape));
        property("dynamic", a.dynamic.to_string(), b.dynamic.to_string());
        property("token ids", a.is_ids.to_string(), b.is_ids.to_string());
        if a.quant != b.quant {
            let (a, b) = quantisations(a.quant.as_ref(), b.quant.as_ref());
            property("quantisation", a, b);
        }
        match (&a.constant, &b.constant) {
            (Some(a), Some(b)) => {
                if let Some((a, b)) = constants(a, b) {
                    property("constant", a, b);
                }
            }
            (a, b) => {
                let kind = |constant: &Option<Tensor>| match constant {
                    Some(_) => "constant".to_owned(),
                    None => "computed".to_owned(),
                };
                property("kind", kind(a), kind(b));
            }
        }
    }
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &String) -> HashMap<&str, &T> {
    items
        .iter()
        .map(|item| (name(item).as_str(), item))
        .collect()
}

/// Values that the other graph lacks and no node computes.
fn alone<'g>(
    graph: &'g Graph,
    there: &HashMap<&str, &Value>,
) -> impl Iterator<Item = (ValueId, &'g Value)> {
    let producers = graph.producers();
    let values = graph.values.iter().enumerate();
    let lacking = |value: &Value| !there.contains_key(value.name.as_str());
    let lacking: Vec<_> = values
        .filter(|(id, value)| producers[*id].is_none() && lacking(value))
        .collect();
    lacking.into_iter()
}

fn nature(graph: &Graph, id: ValueId) -> String {
    let value = &graph.values[id];
    let kind = match &value.constant {
        Some(tensor) => format!("constant of {}", type_name(tensor)),
        None => "input".to_owned(),
    };
    format!("{kind} {:?}", value.shape)
}

fn outline(graph: &Graph, node: &Node) -> String {
    format!("{} {:?}", node.op.name(), graph.values[node.output].shape)
}

fn names(graph: &Graph, ids: &[ValueId]) -> String {
    let names: Vec<&str> = ids
        .iter()
        .map(|&id| graph.values[id].name.as_str())
        .collect();
    format!("({})", names.join(", "))
}

/// The first nodes of both graphs that run in another order there.
fn first_out_of_order<'g>(a: &'g Graph, b: &'g Graph) -> Option<(&'g str, &'g str)> {
    let (here, there) = (
        by_name(&a.nodes, |n| &n.name),
        by_name(&b.nodes, |n| &n.name),
    );
    let in_a = a.nodes.iter().map(|node| node.name.as_str());
    let in_b = b.nodes.iter().map(|node| node.name.as_str());
    let shared_a = in_a.filter(|name| there.contains_key(name));
    let shared_b = in_b.filter(|name| here.contains_key(name));
    shared_a.zip(shared_b).find(|(a, b)| a != b)
}

/// Attributes of two nodes of one operator, as a graph file writes them.
fn attributes(a: &Node, b: &Node) -> Vec<(String, String, String)> {
    let fields = |node: &Node| match serde_json::to_value(&node.op) {
        Ok(serde_json::Value::Object(op)) => op.into_iter().next().map(|(_, fields)| fields),
        _ => None,
    };
    let (Some(fields_a), Some(fields_b)) = (fields(a), fields(b)) else {
        return Vec::new();
    };
    let Some(object) = fields_a.as_object() else {
        return Vec::new();
    };
    let text =
        |value: Option<&serde_json::Value>| value.map_or_else(String::new, ToString::to_string);
    let attributes = object.iter();
    attributes
        .map(|(name, value)| (name.clone(), value.to_string(), text(fields_b.get(name))))
        .collect()
}

/// Metadata as pairs of property and text; absent ones are left out.
fn described(meta: &GraphMeta) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut push = |name: &str, text: Option<String>| {
        pairs.extend(text.map(|text| (name.to_owned(), text)));
    };
    push("kind", Some(format!("{:?}", meta.kind)));
    push(
        "geometry",
        meta.geometry.map(|geometry| format!("{geometry:?}")),
    );
    push(
        "embedding space",
        meta.embedding_space.map(|space| hex(&space)),
    );
    push(
        "logit scale",
        meta.logit_scale.map(|scale| scale.to_string()),
    );
    push("logit bias", meta.logit_bias.map(|bias| bias.to_string()));
    push("vocabulary", meta.vocabulary.as_deref().map(fingerprint));
    push(
        "longest text",
        meta.max_tokens.map(|tokens| format!("{tokens} tokens")),
    );
    push(
        "tokens of padding",
        (meta.padding_tokens > 0).then(|| meta.padding_tokens.to_string()),
    );
    let floats: Vec<&str> = meta.float_nodes.iter().map(String::as_str).collect();
    push(
        "nodes in floats",
        (!floats.is_empty()).then(|| floats.join(", ")),
    );
    push("integer rules", Some(format!("{:?}", meta.integer_rules)));
    for (name, text) in &meta.source {
        push(&format!("source {name}"), Some(text.clone()));
    }
    pairs
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A long text, short.
fn fingerprint(text: &str) -> String {
    use sha2::{Digest, Sha256};
    format!(
        "{} bytes, SHA-256 {}…",
        text.len(),
        hex(&Sha256::digest(text)[..6])
    )
}

fn type_name(tensor: &Tensor) -> &'static str {
    match tensor.data {
        TensorData::F32(_) => "f32",
        TensorData::I32(_) => "i32",
        TensorData::I8(_) => "i8",
    }
}

/// Two quantisations that differ; many scales in short.
fn quantisations(a: Option<&QuantParams>, b: Option<&QuantParams>) -> (String, String) {
    let text = |quant: Option<&QuantParams>| {
        quant.map_or("none".to_owned(), |quant| match quant.scales[..] {
            [scale] => format!(
                "{:?} scale {scale:e} zero {}",
                quant.dtype, quant.zero_point
            ),
            _ => format!("{:?} {} scales", quant.dtype, quant.scales.len()),
        })
    };
    let (mut text_a, text_b) = (text(a), text(b));
    if let (Some(a), Some(b)) = (a, b)
        && text_a == text_b
    {
        let differing = a
            .scales
            .iter()
            .zip(&b.scales)
            .filter(|(a, b)| a != b)
            .count();
        text_a += &format!(" ({differing} differ)");
    }
    (text_a, text_b)
}

/// Two constants in short; `None` when they are the same, bit for bit.
fn constants(a: &Tensor, b: &Tensor) -> Option<(String, String)> {
    let text = |tensor: &Tensor| format!("{} {:?}", type_name(tensor), tensor.shape);
    let differing = match (&a.data, &b.data) {
        (TensorData::F32(a), TensorData::F32(b)) if a.len() == b.len() => {
            let pairs = || {
                a.iter()
                    .zip(b.iter())
                    .filter(|(a, b)| a.to_bits() != b.to_bits())
            };
            let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            Some((pairs().count(), f64::from(largest)))
        }
        (TensorData::I32(a), TensorData::I32(b)) if a.len() == b.len() => Some(integers(a, b)),
        (TensorData::I8(a), TensorData::I8(b)) if a.len() == b.len() => Some(integers(a, b)),
        _ => None,
    };
    match differing {
        Some((0, _)) if a.shape == b.shape => None,
        Some((count, largest)) => {
            let differ = format!("{count} of {} differ, by {largest:.3e} at most", a.len());
            Some((format!("{} ({differ})", text(a)), text(b)))
        }
        None => Some((text(a), text(b))),
    }
}

/// How many differ, and the largest difference.
fn integers<T: Copy + Into<i64>>(a: &[T], b: &[T]) -> (usize, f64) {
    let gaps = a.iter().zip(b).map(|(&a, &b)| a.into().abs_diff(b.into()));
    gaps.filter(|&gap| gap > 0)
        .fold((0, 0.0), |(count, largest), gap| {
            (count + 1, f64::max(largest, gap as f64))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Activation, Op};
    use crate::{ModelKind, QuantDType};

    fn graph() -> Graph {
        let mut graph = Graph::empty("small");
        let x = graph.add_value("x", &[2, 3]);
        graph.inputs.push(x);
        let weight = graph.add_constant("weight", Tensor::f32(&[2, 3], vec![1.0; 6]));
        let activation = Activation::Relu;
        let y = graph.add_node("linear", Op::Linear { activation }, &[x, weight], &[2, 2]);
        let z = graph.add_node("softmax", Op::Softmax { axis: 1 }, &[y], &[2, 2]);
        graph.outputs.push(z);
        graph
    }

    fn told(change: impl Fn(&mut Graph)) -> Vec<String> {
        let mut other = graph();
        change(&mut other);
        compare(&graph(), &other)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_graph_is_like_itself_in_any_order_of_its_values() {
        assert_eq!(compare(&graph(), &graph()), []);
        let reordered = told(|graph| {
            graph.values.swap(0, 1);
            graph.inputs = vec![1];
            graph.nodes[0].inputs = vec![1, 0];
        });
        assert_eq!(reordered, [""; 0]);
    }

    #[test]
    fn each_difference_names_its_place_and_both_sides() {
        let quant = QuantParams {
            dtype: QuantDType::I8,
            scales: vec![0.5],
            zero_point: -3,
        };
        let told = told(|graph| {
            graph.meta.kind = ModelKind::ImageEncoder;
            graph.meta.source.insert("file".into(), "x.pth".into());
            graph.nodes[0].op = Op::Linear {
                activation: Activation::None,
            };
            graph.nodes[1].op = Op::L2Normalize;
            let mut weights = vec![1.0; 6];
            weights[4] = 1.5;
            graph.values[1].constant = Some(Tensor::f32(&[2, 3], weights));
            graph.values[2].quant = Some(quant.clone());
            graph.values[3].shape = vec![4];
        });
        assert_eq!(
            told,
            [
                "metadata: kind Other in A, ImageEncoder in B",
                "metadata: source file in B alone: x.pth",
                "node linear: activation \"Relu\" in A, \"None\" in B",
                "node softmax: operator Softmax in A, L2Normalize in B",
                "value weight: constant f32 [2, 3] (1 of 6 differ, by 5.000e-1 at most) in A, f32 [2, 3] in B",
                "value linear: quantisation none in A, I8 scale 5e-1 zero -3 in B",
                "value softmax: shape [2, 2] in A, [4] in B",
            ]
        );
    }

    #[test]
    fn what_one_graph_lacks_is_told_once() {
        let told = told(|graph| {
            graph.nodes.pop();
            graph.values.pop();
            graph.outputs = vec![2];
            graph.add_constant("unused", Tensor::i32(&[1], vec![7]));
        });
        assert_eq!(
            told,
            [
                "graph: outputs (softmax) in A, (linear) in B",
                "node softmax in A alone: Softmax [2, 2]",
                "value unused in B alone: constant of i32 [1]",
            ]
        );
    }

    #[test]
    fn nodes_in_another_order_are_told() {
        let told = told(|graph| graph.nodes.swap(0, 1));
        assert_eq!(told, ["graph: order of nodes linear in A, softmax in B"]);
    }
}
