//! A network of fewer blocks: residual branches and gates that are left out.

use super::remove_identities;
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, Node, Op, ValueId};

/// Leaves out the branch that ends in the sum or the product `name`, the name of a node or of its output, so that only its
/// shortcut goes on, and everything that was computed for the branch alone: what a residual block adds, or the gate of a
/// squeeze and excitation. A network without it still is one, of less depth, whose weights are where training begins. `graph`
/// stays as it is where that fails.
///
/// # Errors
/// A quantised graph, whose layers were calibrated with the branch; no node of the name, with those there are; a node that
/// does not join a value with what is computed from it; an activation behind it that is not ReLU.
pub fn drop_branch(graph: &mut Graph, name: &str) -> Result<(), String> {
    if graph.is_quantized() {
        return Err(format!(
            "found a quantised graph, expected one in f32 to leave out `{name}`"
        ));
    }
    let called = |node: &Node| node.name == name || graph.values[node.output].name == name;
    let Some(at) = graph.nodes.iter().position(called) else {
        let joints: Vec<&str> = (0..graph.nodes.len())
            .filter(|&at| shortcut(graph, at).is_some())
            .map(|at| graph.nodes[at].name.as_str())
            .collect();
        return Err(match joints[..] {
            [] => format!("found no node `{name}`, and no residual sum or gate at all"),
            _ => format!(
                "found no node `{name}`, expected a residual sum or a gate: {}",
                joints.join(", ")
            ),
        });
    };
    let Some((shortcut, activation)) = shortcut(graph, at) else {
        return Err(format!(
            "`{name}` is {}, expected a sum or product of a value and what is computed from it",
            graph.nodes[at].op.name()
        ));
    };
    let function = match activation {
        Activation::None => Unary::Affine {
            alpha: 1.0,
            beta: 0.0,
        },
        Activation::Relu => Unary::Clip {
            min: 0.0,
            max: f32::INFINITY,
        },
        other => {
            return Err(format!(
                "`{name}` ends with {other:?}, expected ReLU or nothing"
            ));
        }
    };
    let node = &mut graph.nodes[at];
    node.op = Op::Unary { function };
    node.inputs = vec![shortcut];
    remove_identities(graph);
    Ok(())
}

/// The input of the sum or product at node `at` that its other input is computed from, and what follows it.
fn shortcut(graph: &Graph, at: usize) -> Option<(ValueId, Activation)> {
    let node = &graph.nodes[at];
    let &Op::Binary {
        function: Binary::Add | Binary::Mul,
        activation,
    } = &node.op
    else {
        return None;
    };
    let &[one, other] = &node.inputs[..] else {
        return None;
    };
    let is_whole = |value: ValueId| graph.values[value].shape == graph.values[node.output].shape;
    let leads = |from: ValueId, to: ValueId| {
        let mut reached = vec![false; graph.values.len()];
        reached[from] = true;
        for node in &graph.nodes[..at] {
            reached[node.output] |= node.inputs.iter().any(|&input| reached[input]);
        }
        reached[to]
    };
    let is_constant = |value: ValueId| graph.values[value].constant.is_some();
    [(one, other), (other, one)]
        .into_iter()
        .find(|&(from, to)| is_whole(from) && !is_constant(from) && leads(from, to))
        .map(|(from, _)| (from, activation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QuantDType, QuantParams, Tensor, pass::evaluate};

    /// `x + tanh(x)·w`, then the same with the inputs of the sum exchanged, then a sum with ReLU behind it.
    fn network() -> Graph {
        let mut graph = Graph::empty("network");
        let mut x = graph.add_value("x", &[1, 3]);
        graph.inputs.push(x);
        for (block, activation) in [
            ("first", Activation::None),
            ("second", Activation::None),
            ("last", Activation::Relu),
        ] {
            let tanh = Op::Unary {
                function: Unary::Tanh,
            };
            let branch = graph.add_node(format!("{block}.tanh"), tanh, &[x], &[1, 3]);
            let weight = (0..9).map(|i| i as f32 * 0.3 - 1.0).collect();
            let weight = graph.add_constant(format!("{block}.w"), Tensor::f32(&[3, 3], weight));
            let linear = Op::Linear {
                activation: Activation::None,
            };
            let branch = graph.add_node(format!("{block}.w"), linear, &[branch, weight], &[1, 3]);
            let sum = Op::Binary {
                function: Binary::Add,
                activation,
            };
            let inputs = if block == "second" {
                [branch, x]
            } else {
                [x, branch]
            };
            x = graph.add_node(format!("{block}.sum"), sum, &inputs, &[1, 3]);
        }
        graph.outputs.push(x);
        graph
    }

    fn of(graph: &Graph) -> Vec<f32> {
        let x = Tensor::f32(&[1, 3], vec![0.5, -2.0, 1.0]);
        let found = evaluate(graph, &[x]).unwrap();
        found[0].as_f32().unwrap().to_vec()
    }

    #[test]
    fn a_dropped_branch_leaves_its_shortcut() {
        let block = |x: &[f32], relu: bool| -> Vec<f32> {
            let weight = |o: usize, i: usize| (3 * o + i) as f32 * 0.3 - 1.0;
            let branch = |o: usize| (0..3).map(|i| weight(o, i) * x[i].tanh()).sum::<f32>();
            let sum = |o: usize| x[o] + branch(o);
            (0..3)
                .map(|o| if relu { sum(o).max(0.0) } else { sum(o) })
                .collect()
        };
        let x = [0.5, -2.0, 1.0];
        for dropped in ["first.sum", "second.sum"] {
            let mut graph = network();
            drop_branch(&mut graph, dropped).unwrap();
            let expected = block(&block(&x, false), true);
            for (a, b) in of(&graph).iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{dropped}");
            }
            assert_eq!(graph.nodes.len(), 6, "nothing of the branch is left");
        }
        let mut graph = network();
        drop_branch(&mut graph, "last.sum").unwrap();
        let expected = block(&block(&x, false), false);
        for (a, b) in of(&graph).iter().zip(expected) {
            assert!((a - b.max(0.0)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_dropped_gate_leaves_what_it_gated() {
        let mut graph = Graph::empty("gated");
        let x = graph.add_value("x", &[1, 2, 1, 3]);
        graph.inputs.push(x);
        let mean = graph.add_node("mean", Op::GlobalAvgPool, &[x], &[1, 1, 1, 3]);
        let product = Op::Binary {
            function: Binary::Mul,
            activation: Activation::None,
        };
        let gated = graph.add_node("gated", product, &[mean, x], &[1, 2, 1, 3]);
        let negative = Op::Unary {
            function: Unary::Affine {
                alpha: -1.0,
                beta: 0.0,
            },
        };
        let last = graph.add_node("last", negative, &[gated], &[1, 2, 1, 3]);
        graph.outputs.push(last);
        drop_branch(&mut graph, "gated").unwrap();
        assert_eq!(graph.nodes.len(), 1);
        let x = Tensor::f32(&[1, 2, 1, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let found = evaluate(&graph, &[x]).unwrap();
        assert_eq!(
            found[0].as_f32().unwrap(),
            [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
        );
    }

    #[test]
    fn what_is_no_residual_sum_is_refused_with_those_there_are() {
        let mut graph = network();
        let message = drop_branch(&mut graph, "third.sum").unwrap_err();
        assert_eq!(
            message,
            "found no node `third.sum`, expected a residual sum or a gate: first.sum, second.sum, last.sum"
        );
        let message = drop_branch(&mut graph, "first.w").unwrap_err();
        assert!(message.starts_with("`first.w` is Linear, expected a sum"));
        assert_eq!(graph, network());
        graph.values[1].quant = Some(QuantParams {
            dtype: QuantDType::I8,
            scales: vec![0.1],
            zero_point: 0,
        });
        let message = drop_branch(&mut graph, "first.sum").unwrap_err();
        assert!(message.starts_with("found a quantised graph"), "{message}");
    }
}
