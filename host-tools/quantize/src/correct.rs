//! Bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2), measured: after quantisation, the mean output of a
//! layer has moved; the bias of each linear layer is moved back, in the order of execution, so that each correction sees those
//! before it. Layers that do not depend on each other are corrected at once, and only what leads to them runs.

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Node, Op, Tensor, ValueId};
use rayon::prelude::*;

use crate::{Input, Progress, QuantizeError, Runner, fine};

/// Outputs that a packed model may have.
const LAYERS_AT_ONCE: usize = 4;

/// Moves the biases of `quantized`, a copy of `graph` with parameters, so that channel means agree on `inputs`.
pub(crate) fn correct_biases(
    graph: &Graph,
    quantized: &mut Graph,
    inputs: &[&Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), QuantizeError> {
    let levels = levels(quantized, &|node| is_linear(quantized, node));
    let layers = levels.iter().map(Vec::len).sum();
    let all: Vec<ValueId> = levels.iter().flatten().map(|node| node.output).collect();
    let expected = means(graph, &all, inputs)?;
    let mut done = 0;
    for level in &levels {
        for few in level.chunks(LAYERS_AT_ONCE) {
            let outputs: Vec<ValueId> = few.iter().map(|node| node.output).collect();
            let found = means(&leading_to(quantized, &outputs), &outputs, inputs)?;
            for (node, found) in few.iter().zip(found) {
                let place = all.iter().position(|&value| value == node.output);
                let expected = place.map_or(&[][..], |place| &expected[place]);
                let shift = expected.iter().zip(&found).map(|(e, f)| (e - f) as f32);
                let shift: Vec<f32> = shift.collect();
                move_bias(quantized, node, &shift);
            }
            done += few.len();
            progress(Progress::Biases(done, layers));
        }
    }
    Ok(())
}

/// Layers that are wanted, by the number of those before them on the longest way from an input.
pub(crate) fn levels(graph: &Graph, wanted: &dyn Fn(&Node) -> bool) -> Vec<Vec<Node>> {
    let mut depth = vec![0; graph.values.len()];
    let mut levels: Vec<Vec<Node>> = Vec::new();
    for node in &graph.nodes {
        let before = node.inputs.iter().map(|&input| depth[input]).max();
        let before = before.unwrap_or(0);
        let wanted = wanted(node);
        depth[node.output] = before + usize::from(wanted);
        if wanted {
            levels.resize_with(levels.len().max(before + 1), Vec::new);
            levels[before].push(node.clone());
        }
    }
    levels
}

/// A quantised layer without an activation, whose bias is a constant.
fn is_linear(graph: &Graph, node: &Node) -> bool {
    let linear = matches!(
        node.op,
        Op::Conv2d {
            activation: Activation::None,
            ..
        } | Op::Linear {
            activation: Activation::None
        }
    );
    linear
        && !fine::reads_coarse_part(graph, node)
        && graph.values[node.output].quant.is_some()
        && node
            .inputs
            .get(2)
            .is_some_and(|&bias| graph.values[bias].constant.is_some())
}

/// The graph as far as these values need it; values keep their ids.
fn leading_to(graph: &Graph, outputs: &[ValueId]) -> Graph {
    let mut part = graph.clone();
    part.outputs = outputs.to_vec();
    part.meta.kind = pinhole_graph::ModelKind::Other;
    let mut needed = vec![false; graph.values.len()];
    outputs.iter().for_each(|&output| needed[output] = true);
    let mut kept: Vec<Node> = Vec::new();
    for node in part.nodes.into_iter().rev() {
        if needed[node.output] {
            node.inputs.iter().for_each(|&input| needed[input] = true);
            kept.push(node);
        }
    }
    kept.reverse();
    part.nodes = kept;
    part
}

/// Mean of each channel of some values over all inputs.
fn means(
    graph: &Graph,
    values: &[ValueId],
    inputs: &[&Input],
) -> Result<Vec<Vec<f64>>, QuantizeError> {
    let runner = Runner::new(graph)?;
    let sums: Vec<Vec<Vec<f64>>> = inputs
        .par_iter()
        .enumerate()
        .map(|(index, input)| {
            let mut means = vec![Vec::new(); values.len()];
            runner.run_seeing(index, input, values, &mut |value, reals| {
                let channels = graph.values[value].shape.last().copied().unwrap_or(1);
                let mut sum = vec![0f64; channels.max(1)];
                for pixel in reals.chunks_exact(sum.len()) {
                    sum.iter_mut()
                        .zip(pixel)
                        .for_each(|(sum, &x)| *sum += f64::from(x));
                }
                let pixels = (reals.len() / sum.len()).max(1) as f64;
                sum.iter_mut()
                    .for_each(|sum| *sum /= pixels * inputs.len() as f64);
                for (mean, _) in means
                    .iter_mut()
                    .zip(values)
                    .filter(|(_, wanted)| **wanted == value)
                {
                    mean.clone_from(&sum);
                }
            })?;
            Ok::<_, QuantizeError>(means)
        })
        .collect::<Result<_, _>>()?;
    // Added in the order of the inputs, so that threads do not change a bit.
    let mut total = vec![Vec::new(); values.len()];
    for means in sums {
        for (total, mean) in total.iter_mut().zip(means) {
            if total.is_empty() {
                *total = mean;
            } else {
                total
                    .iter_mut()
                    .zip(mean)
                    .for_each(|(total, mean): (&mut f64, f64)| *total += mean);
            }
        }
    }
    Ok(total)
}

fn move_bias(graph: &mut Graph, node: &Node, shift: &[f32]) {
    let id = node.inputs[2];
    let Some((shape, data)) = graph.values[id]
        .constant
        .as_ref()
        .and_then(|t| Some((t.shape.clone(), t.as_f32()?)))
    else {
        return;
    };
    if data.len() == shift.len() {
        let moved = data
            .iter()
            .zip(shift)
            .map(|(bias, shift)| bias + shift)
            .collect();
        graph.values[id].constant = Some(Tensor::f32(&shape, moved));
    }
}
