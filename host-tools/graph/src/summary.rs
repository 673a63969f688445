//! A graph as people read it: a table of nodes, and the numbers of a model card.

use std::fmt;

use crate::{Graph, Node, Op};

impl Graph {
    /// Elements of all constants.
    pub fn parameter_count(&self) -> usize {
        self.values
            .iter()
            .filter_map(|value| value.constant.as_ref())
            .map(crate::Tensor::len)
            .sum()
    }

    /// Multiply-accumulates of one node for the largest number of tokens; 0 for what does not multiply.
    pub fn node_macs(&self, node: &Node) -> u64 {
        let shape = |index: usize| {
            node.inputs
                .get(index)
                .map_or(&[][..], |&id| &self.values[id].shape)
        };
        let elements = |shape: &[usize]| shape.iter().map(|&size| size as u64).product::<u64>();
        let out = elements(&self.values[node.output].shape);
        match &node.op {
            Op::Conv2d { .. } => out * elements(shape(1).get(1..).unwrap_or_default()),
            Op::Linear { .. } | Op::MatMul { .. } => out * shape(0).last().map_or(0, |&k| k as u64),
            Op::Attention { windows, .. } => {
                let keys = shape(1).first().map_or(0, |&keys| keys as u64);
                2 * out * keys / (*windows as u64).max(1)
            }
            _ => 0,
        }
    }

    /// Of all nodes.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| self.node_macs(node)).sum()
    }

    /// One line: name, nodes, parameters, multiply-accumulates, inputs and outputs.
    pub fn summary(&self) -> String {
        let describe = |ids: &[usize]| -> Vec<String> {
            ids.iter()
                .map(|&id| format!("{} {:?}", self.values[id].name, self.values[id].shape))
                .collect()
        };
        format!(
            "{}: {} nodes, {:.2} M parameters, {:.1} M macs, {} -> {}",
            self.name,
            self.nodes.len(),
            self.parameter_count() as f64 / 1e6,
            self.macs() as f64 / 1e6,
            describe(&self.inputs).join(", "),
            describe(&self.outputs).join(", ")
        )
    }
}

/// The summary and a line for each node.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for node in &self.nodes {
            let inputs: Vec<&str> = node
                .inputs
                .iter()
                .map(|&id| self.values[id].name.as_str())
                .collect();
            let output = &self.values[node.output];
            let dynamic = if output.dynamic { " tokens" } else { "" };
            writeln!(
                f,
                "{:<40} {:<18} {:>18}{dynamic} {:>12} macs  ({})",
                node.name,
                node.op.name(),
                format!("{:?}", output.shape),
                self.node_macs(node),
                inputs.join(", ")
            )?;
        }
        Ok(())
    }
}
