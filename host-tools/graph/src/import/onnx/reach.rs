//! Which nodes an output of the file needs.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

/// For every node, whether an output depends on it.
pub(super) fn reachable(graph: &pb::GraphProto) -> Vec<bool> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            producer.insert(output, index);
        }
    }
    let mut reached = vec![false; graph.node.len()];
    let mut seen: HashSet<&str> = HashSet::new();
    let mut open: Vec<&str> = graph
        .output
        .iter()
        .map(|output| output.name.as_str())
        .collect();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some(&index) = producer.get(name)
            && !reached[index]
        {
            reached[index] = true;
            read_by(&graph.node[index], &mut open);
        }
    }
    reached
}

/// What a node reads, in the graphs of its branches too. Nesting was limited before decoding.
fn read_by<'a>(node: &'a pb::NodeProto, names: &mut Vec<&'a str>) {
    names.extend(node.input.iter().map(String::as_str));
    for attribute in &node.attribute {
        for branch in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(branch.output.iter().map(|output| output.name.as_str()));
            branch.node.iter().for_each(|inner| read_by(inner, names));
        }
    }
}
