//! Where 16 bits pay between a convolution and the depthwise convolutions behind it.
//!
//! The first layers of some networks have few large numbers among many small ones, of which 8 bits keep too little.
//! Between a convolution, the functions that alone read it, and the depthwise convolutions that alone read those, values
//! may have 16 bits (`conv_s8` or `gemm_s8` writes them, `lut_s16` or `lut_channels_s16`, and `depthwise_conv_s16` read
//! them). They cost memory and time, so each such place is tried in turn, from the input on, and keeps its 16 bits where
//! the output comes nearer to floats on calibration inputs by more than a margin.
//!
//! Channels keep the factors that bring them to a common range: a depthwise convolution may look for differences much
//! smaller than the numbers themselves, and for a small channel beside a large one 16 bits are not too many. Functions
//! that would need more than `MOST_TABLES` tables stay in 8 bits.

use std::collections::BTreeSet;

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Node, NodeId, Op, ValueId};

use crate::scheme::{self, Options};
use crate::widths::is_depthwise;
use crate::{
    Calibration, Input, OBSERVER_INPUTS, Progress, QuantizeError, correct, report, spread,
};

/// The share of 1 − cosine that 16 bits must take off.
const LEAST_SHARE: f64 = 0.1;
/// How much of 1 − cosine they must take off.
const LEAST_GAIN: f64 = 0.0005;

/// Pairs of factors that a function of 16 bits may have: tables for one take 2 kB.
const MOST_TABLES: usize = 32;

/// A convolution, the functions that read it and the depthwise convolutions that read those.
#[derive(Debug)]
struct Stem {
    convolution: NodeId,
    functions: Vec<NodeId>,
}

impl Stem {
    /// The values between.
    fn values(&self, graph: &Graph) -> Vec<ValueId> {
        let nodes = [&[self.convolution], &self.functions[..]].concat();
        nodes.into_iter().map(|id| graph.nodes[id].output).collect()
    }

    /// Whether its functions may have tables for each pair of factors.
    fn has_room(&self, graph: &Graph) -> bool {
        self.functions.iter().all(|&id| {
            let node = &graph.nodes[id];
            let factors = node.inputs[1..].iter().map(|&input| numbers(graph, input));
            let factors: Vec<&[f32]> = factors.collect();
            let [before, after] = factors[..] else {
                return true;
            };
            let bits = |x: &f32| x.to_bits();
            let pairs = before.iter().map(bits).zip(after.iter().map(bits));
            pairs.collect::<BTreeSet<_>>().len() <= MOST_TABLES
        })
    }
}

/// The places of a graph whose integer operators are not among `float_nodes`, from the input on.
fn stems(graph: &Graph, float_nodes: &BTreeSet<String>) -> Vec<Stem> {
    let consumers = graph.consumers();
    let integer = |node: &Node| scheme::is_integer(graph, node, float_nodes);
    let readers = |node: &Node| -> Option<&[NodeId]> {
        let readers = &consumers[node.output][..];
        let inside = !readers.is_empty() && !graph.outputs.contains(&node.output);
        (inside && integer(node)).then_some(readers)
    };
    let ends = |id: &NodeId| {
        let node = &graph.nodes[*id];
        let plain = node.inputs[1..]
            .iter()
            .all(|&input| is_own_constant(graph, &consumers, input));
        integer(node) && plain && is_depthwise(graph, node.inputs.get(1), &node.op)
    };
    let bends = |id: &NodeId| {
        let node = &graph.nodes[*id];
        matches!(node.op, Op::Unary { .. } | Op::ChannelUnary { .. })
            && readers(node).is_some_and(|readers| readers.iter().all(ends))
    };
    let convolutions = graph.nodes.iter().enumerate().filter(|(_, node)| {
        let free = |&input: &ValueId| is_own_constant(graph, &consumers, input);
        let plain = |activation: &Activation| *activation == Activation::None;
        matches!(&node.op, Op::Conv2d { groups: 1, activation, .. } if plain(activation))
            && node.inputs[1..].iter().all(free)
    });
    convolutions
        .filter_map(|(convolution, node)| {
            let functions = readers(node)?;
            let stem = Stem {
                convolution,
                functions: functions.to_vec(),
            };
            (functions.iter().all(bends) && stem.has_room(graph)).then_some(stem)
        })
        .collect()
}

/// Floats that one node reads.
fn is_own_constant(graph: &Graph, consumers: &[Vec<NodeId>], value: ValueId) -> bool {
    let constant = graph.values[value].constant.as_ref();
    consumers[value].len() == 1 && constant.is_some_and(|tensor| tensor.as_f32().is_some())
}

fn numbers(graph: &Graph, value: ValueId) -> &[f32] {
    let constant = graph.values[value].constant.as_ref();
    constant.and_then(|tensor| tensor.as_f32()).unwrap_or(&[])
}

impl Calibration {
    /// Gives 16 bits to the values ahead of depthwise convolutions where that pays; whether it did anywhere.
    ///
    /// # Errors
    /// When a graph does not run.
    pub(crate) fn widen(
        &mut self,
        inputs: &[Input],
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<bool, QuantizeError> {
        let stems = stems(&self.prepared, &options.float_nodes);
        if stems.is_empty() {
            return Ok(false);
        }
        let few = spread(inputs, OBSERVER_INPUTS);
        let expected = report::outputs(&self.prepared, &few)?;
        // Without their biases corrected, shifted means would hide what bits give.
        let error = |tried: &Self| {
            let mut quantized = tried.apply(&options.float_nodes);
            if options.correct_biases {
                correct::correct_biases(&tried.prepared, &mut quantized, &few, &|_| ())?;
            }
            let cosine = report::mean_cosine(&expected, &report::outputs(&quantized, &few)?);
            Ok::<_, QuantizeError>(1.0 - cosine)
        };
        let (mut least, before) = (error(self)?, self.wide.len());
        for (done, stem) in stems.iter().enumerate() {
            let mut tried = self.clone();
            tried.wide.extend(stem.values(&self.prepared));
            let found = error(&tried)?;
            if least - found >= (LEAST_SHARE * least).max(LEAST_GAIN) {
                (*self, least) = (tried, found);
            }
            progress(Progress::Widths(done + 1, stems.len()));
        }
        Ok(self.wide.len() > before)
    }
}
