//! Products of 16-bit numbers, where calibration cannot tell how far a function's output goes.
//!
//! The hidden layers of a transformer's last perceptrons are quiet but for units that answer to single pictures, with
//! numbers ten times those that any other picture has in that channel. What was balanced over pictures without them
//! ends below them, and one step for both them and the many others is coarse. No product reads 16 bits, but it reads
//! 8 twice: with `c` what the function gives in 8 bits and `g` the same in 16,
//!
//! ```text
//! W·g + b = (W·c + b) + W·(g − c)
//! ```
//!
//! where the fine part `g − c` is at most half a step of `c` and so has 8 bits of its own, 256 times as fine. Both
//! products have the same weights, so that the packed model grows by nothing but the second one's scales; it takes
//! the time of one more product. In floats the fine part is zero, and the graph computes what it did.
//!
//! The inputs that are set apart tell where: a product is taken apart when four of them each have more than two
//! hundredths of the energy of what it reads beyond what the other inputs showed of its channel. Of TinyViT's ten
//! perceptrons the last has 4.4 hundredths in four of 25 pictures, and 2.7 in four of 62 that are mostly of CIFAR-10;
//! the others, and those of DINOv2, have at most 0.6. A sum over all pictures would not tell: it shrinks with the
//! share of pictures that are quiet.

use std::collections::BTreeSet;

use pinhole_graph::op::{Activation, Binary};
use pinhole_graph::{Graph, Node, NodeId, Op, QuantDType, QuantParams, ValueId};
use rayon::prelude::*;

use crate::observe::{self, Channels};
use crate::scheme::{self, Options};
use crate::{Input, Progress, QuantizeError, Runner, apart};

/// The share of an input's energy beyond what was seen of its channel that asks for a fine part.
const LEAST_UNSEEN: f64 = 0.02;
/// Inputs that must have it, where so many are set apart that they are at most one in [`FAR_SHARE`]: a single one may be chance.
const FAR_INPUTS: usize = 4;
/// Of fewer inputs, one in so many must have it.
const FAR_SHARE: usize = 4;
/// With fewer inputs nothing is set apart to tell.
const FEWEST_INPUTS: usize = 16;
/// Room of the coarse part over the largest number seen.
pub(crate) const MARGIN: f32 = 2.0;
/// Largest magnitude of the fine part in steps of the coarse one: a half, and what tables round.
const REACH: f32 = 0.52;

/// A function that alone reads a product, and the product that alone reads it.
#[derive(Clone, Copy, Debug)]
struct Perceptron {
    function: NodeId,
    second: NodeId,
}

impl Perceptron {
    /// Those of a graph whose integer operators are not among `float_nodes`.
    fn all(graph: &Graph, float_nodes: &BTreeSet<String>) -> Vec<Self> {
        let (producers, consumers) = (graph.producers(), graph.consumers());
        let only_reader = |value: ValueId| match consumers[value][..] {
            [reader] if !graph.outputs.contains(&value) => Some(reader),
            _ => None,
        };
        let plain = |id: NodeId| {
            let node = &graph.nodes[id];
            let activation = Activation::None;
            let own = |&input: &ValueId| {
                let constant = graph.values[input].constant.as_ref();
                consumers[input].len() == 1 && constant.is_some_and(|t| t.as_f32().is_some())
            };
            node.op == Op::Linear { activation }
                && node.inputs[1..].iter().all(own)
                && scheme::is_integer(graph, node, float_nodes)
        };
        let functions = graph.nodes.iter().enumerate().filter(|(_, node)| {
            matches!(node.op, Op::Unary { .. })
                && scheme::is_integer(graph, node, float_nodes)
                && graph.values[node.inputs[0]].shape == graph.values[node.output].shape
        });
        functions
            .filter_map(|(function, node)| {
                let first = producers[node.inputs[0]]?;
                only_reader(node.inputs[0])?;
                let second = only_reader(node.output)?;
                let whole =
                    plain(first) && plain(second) && graph.nodes[second].inputs[0] == node.output;
                whole.then_some(Self { function, second })
            })
            .collect()
    }

    /// Takes the second product apart; the values that then have 16 bits.
    fn take_apart(self, graph: &mut Graph) -> [ValueId; 2] {
        let [function, second] = [self.function, self.second].map(|id| graph.nodes[id].clone());
        let (hidden, wide) = (function.inputs[0], function.output);
        let mut step = |like: ValueId, name: &str, op: Op, inputs: Vec<ValueId>| {
            let name = graph.unique_name(name);
            let shape = graph.values[like].shape.clone();
            let output = graph.add_value(name.clone(), &shape);
            graph.values[output].dynamic = graph.values[like].dynamic;
            Node {
                name,
                op,
                inputs,
                output,
            }
        };
        let binary = |function| Op::Binary {
            function,
            activation: Activation::None,
        };
        let (named, out) = (&function.name, second.output);
        let coarse = step(
            wide,
            &format!("{named}.coarse"),
            function.op.clone(),
            vec![hidden],
        );
        let fine = step(
            wide,
            &format!("{named}.fine"),
            binary(Binary::Sub),
            vec![wide, coarse.output],
        );
        let named = &second.name;
        let inputs = [&[coarse.output], &second.inputs[1..]].concat();
        let of_coarse = step(out, &format!("{named}.coarse"), second.op.clone(), inputs);
        let inputs = vec![fine.output, second.inputs[1]];
        let of_fine = step(out, &format!("{named}.fine"), second.op.clone(), inputs);
        let sum = Node {
            op: binary(Binary::Add),
            inputs: vec![of_coarse.output, of_fine.output],
            ..second
        };
        let behind = [fine, of_coarse, of_fine, sum];
        graph.nodes.splice(self.second..=self.second, behind);
        graph.nodes.insert(self.function + 1, coarse);
        [hidden, wide]
    }
}

/// The coarse part that `node` takes off its first input, where it gives the fine one: a difference between a
/// function in 16 bits and the same in 8.
pub(crate) fn coarse_part(graph: &Graph, node: &Node) -> Option<ValueId> {
    let Op::Binary {
        function: Binary::Sub,
        activation: Activation::None,
    } = node.op
    else {
        return None;
    };
    let written = |value| graph.nodes.iter().find(|node| node.output == value);
    let [wide, coarse] = [0, 1].map(|input: usize| written(node.inputs[input]));
    let alike = wide?.op == coarse?.op
        && wide?.inputs == coarse?.inputs
        && matches!(wide?.op, Op::Unary { .. });
    alike.then_some(node.inputs[1])
}

/// Whether a product reads the coarse part of a value, whose loss another product with its weights makes up for.
pub(crate) fn reads_coarse_part(graph: &Graph, node: &Node) -> bool {
    let of = |other: &Node| coarse_part(graph, other) == Some(node.inputs[0]);
    matches!(node.op, Op::Linear { .. }) && graph.nodes.iter().any(of)
}

/// The products of a coarse and of a fine part, as their outputs: the one is as small beside the other as rounding
/// is, and has its steps.
pub(crate) fn products(graph: &Graph) -> Vec<(ValueId, ValueId)> {
    let reader = |value| graph.nodes.iter().find(|node| node.inputs[0] == value);
    let of = |node: &Node| {
        let coarse = reader(coarse_part(graph, node)?)?;
        let fine = reader(node.output)?;
        Some((coarse.output, fine.output))
    };
    graph.nodes.iter().filter_map(of).collect()
}

/// Coarse and fine parts, and their products: what one of them loses the other has, and in floats the fine ones are zero.
pub(crate) fn parts(graph: &Graph) -> BTreeSet<ValueId> {
    let differences = graph.nodes.iter().filter_map(|node| {
        let coarse = coarse_part(graph, node)?;
        Some([coarse, node.output])
    });
    let products = products(graph).into_iter().map(<[ValueId; 2]>::from);
    differences.chain(products).flatten().collect()
}

/// The parameters of a fine part.
pub(crate) fn fine_params(coarse: &QuantParams) -> QuantParams {
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![coarse.scales[0] * REACH / 127.0],
        zero_point: 0,
    }
}

/// Takes the second products of perceptrons apart whose inputs go beyond what calibration can tell; the values that
/// are to have 16 bits.
///
/// # Errors
/// When the graph does not run.
pub(crate) fn take_products_apart(
    graph: &mut Graph,
    inputs: &[Input],
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<BTreeSet<ValueId>, QuantizeError> {
    let perceptrons = Perceptron::all(graph, &options.float_nodes);
    if perceptrons.is_empty() || inputs.len() < FEWEST_INPUTS {
        return Ok(BTreeSet::new());
    }
    let read: Vec<ValueId> = perceptrons
        .iter()
        .map(|perceptron| graph.nodes[perceptron.function].output)
        .collect();
    let unseen = unseen(graph, &read, inputs, progress)?;
    let far = perceptrons.into_iter().zip(unseen);
    // From the end on, so that the places of those before stay what they are.
    let far = far.rev().filter(|(_, unseen)| *unseen > LEAST_UNSEEN);
    Ok(far
        .flat_map(|(perceptron, _)| perceptron.take_apart(graph))
        .collect())
}

/// Of the energy of each of `values`, the share beyond what most inputs showed of its channel, that [`FAR_INPUTS`] of the
/// inputs set apart have or exceed.
fn unseen(
    graph: &Graph,
    values: &[ValueId],
    inputs: &[Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<f64>, QuantizeError> {
    let (fit, check) = apart(inputs);
    let runner = Runner::new(graph)?;
    let seen = observe::channels(&runner, graph, &fit, progress)?;
    let energies = check.par_iter().enumerate().map(|(index, input)| {
        let mut energies = vec![[0.0; 2]; values.len()];
        runner.run_seeing(index, input, values, &mut |value, reals| {
            if let Some(place) = values.iter().position(|&of| of == value) {
                energies[place] = energy(reals, &seen[value]);
            }
        })?;
        Ok(energies)
    });
    let energies = energies.collect::<Result<Vec<_>, QuantizeError>>()?;
    let far = FAR_INPUTS.min(energies.len() / FAR_SHARE).max(1);
    let share = |[beyond, all]: [f64; 2]| beyond / all.max(f64::MIN_POSITIVE);
    Ok((0..values.len())
        .map(|place| {
            let mut shares: Vec<f64> = energies.iter().map(|of| share(of[place])).collect();
            shares.sort_by(|a, b| b.total_cmp(a));
            shares[far - 1]
        })
        .collect())
}

/// Sum of squares beyond the range of each channel, and of all.
fn energy(reals: &[f32], seen: &Channels) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for row in reals.chunks_exact(seen.len().max(1)) {
        for (channel, &x) in row.iter().enumerate() {
            let beyond = (x - seen.max[channel]).max(seen.min[channel] - x).max(0.0);
            sums[0] += f64::from(beyond).powi(2);
            sums[1] += f64::from(x).powi(2);
        }
    }
    sums
}
