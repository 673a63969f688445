//! Bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2), measured: after quantisation, the mean output of a
//! layer has moved; the bias of each linear layer is moved back, layer after layer in the order of execution, so that each
//! correction sees those before it.

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Node, Op, Tensor};
use rayon::prelude::*;

use crate::{Progress, QuantizeError, Runner};

/// Moves the biases of `quantized`, a copy of `graph` with parameters, so that channel means agree on `inputs`.
pub(crate) fn correct_biases(
    graph: &Graph,
    quantized: &mut Graph,
    inputs: &[Vec<f32>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), QuantizeError> {
    let expected = means(graph, inputs)?;
    let layers: Vec<Node> = graph
        .nodes
        .iter()
        .filter(|node| is_linear(graph, node))
        .cloned()
        .collect();
    for (done, node) in layers.iter().enumerate() {
        let found = means(quantized, inputs)?;
        let (expected, found) = (&expected[node.output], &found[node.output]);
        if expected.len() == found.len() {
            let shift: Vec<f32> = expected
                .iter()
                .zip(found)
                .map(|(e, f)| (e - f) as f32)
                .collect();
            move_bias(quantized, node, &shift);
        }
        progress(Progress::Biases(done + 1, layers.len()));
    }
    Ok(())
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
        && node
            .inputs
            .get(2)
            .is_some_and(|&bias| graph.values[bias].constant.is_some())
}

/// Mean of each channel of each value over all inputs.
fn means(graph: &Graph, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f64>>, QuantizeError> {
    let runner = Runner::new(graph)?;
    let channels = |value: usize| {
        graph.values[value]
            .shape
            .last()
            .copied()
            .unwrap_or(1)
            .max(1)
    };
    let sums: Vec<Vec<Vec<f64>>> = inputs
        .par_iter()
        .enumerate()
        .map(|(index, input)| {
            let mut means = vec![Vec::new(); graph.values.len()];
            runner.run(index, input, &mut |value, reals| {
                let mut sum = vec![0f64; channels(value)];
                for pixel in reals.chunks_exact(sum.len()) {
                    sum.iter_mut()
                        .zip(pixel)
                        .for_each(|(sum, &x)| *sum += f64::from(x));
                }
                let pixels = (reals.len() / sum.len()).max(1) as f64;
                sum.iter_mut()
                    .for_each(|sum| *sum /= pixels * inputs.len() as f64);
                means[value] = sum;
            })?;
            Ok::<_, QuantizeError>(means)
        })
        .collect::<Result<_, _>>()?;
    // Added in the order of the inputs, so that threads do not change a bit.
    let mut total = vec![Vec::new(); graph.values.len()];
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
