//! Bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2), measured: after quantisation, the mean output of a
//! layer has moved; the bias of each linear layer is moved back, in the order of execution, so that each correction sees those
//! before it. Layers that do not depend on each other are corrected at once. What lies before the first layer that is still
//! to be corrected is final: the run of every input stops there, and goes on with the next layers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Node, Op, Tensor, ValueId};
use rayon::prelude::*;

use crate::run::{Plan, Stopped};
use crate::{Input, Progress, QuantizeError, Runner, fine};

/// Layers that are corrected in one run.
const LAYERS_AT_ONCE: usize = 4;
/// Bytes of all runs that stopped; where they would have more, each run starts again.
const HELD_BYTES: usize = 2 << 30;

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
    let runner = Runner::new(graph)?;
    let expected = means(graph, &all, inputs.len(), &|index, see| {
        runner.run_seeing(index, inputs[index], &all, see)
    })?;
    let mut runs = Runs::new(inputs);
    let mut done = 0;
    for level in &levels {
        for few in level.chunks(LAYERS_AT_ONCE) {
            let outputs: Vec<ValueId> = few.iter().map(|node| node.output).collect();
            let found = runs.means(quantized, &outputs, &all[done..])?;
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

/// A run of every input, which goes on from layer to layer.
struct Runs<'a> {
    inputs: &'a [&'a Input],
    /// By input.
    stopped: Vec<Mutex<Option<Stopped>>>,
    /// Of the model that they stopped in.
    plan: Option<Plan>,
}

impl<'a> Runs<'a> {
    fn new(inputs: &'a [&'a Input]) -> Self {
        Self {
            inputs,
            stopped: inputs.iter().map(|_| Mutex::new(None)).collect(),
            plan: None,
        }
    }

    /// Mean of each channel of `values` over all inputs. Of `graph` nothing has changed since the last call but the biases
    /// that were measured in it, and nothing is going to change but those of `remaining`, to which `values` belong.
    fn means(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        remaining: &[ValueId],
    ) -> Result<Vec<Vec<f64>>, QuantizeError> {
        let runner = Runner::new(graph)?;
        let plan = runner.plan();
        let hold = plan.arena_bytes.saturating_mul(self.inputs.len()) <= HELD_BYTES;
        if self.plan.as_ref() != Some(&plan) {
            self.stopped
                .iter()
                .for_each(|stopped| *lock(stopped) = None);
        }
        self.plan = Some(plan);
        let place = |&value: &ValueId| runner.operator(value);
        let stop = remaining.iter().filter_map(place).min().unwrap_or(0);
        let last = values.iter().filter_map(place).max();
        let end = last.map_or(stop, |last| last + 1);
        means(graph, values, self.inputs.len(), &|index, see| {
            let mut stopped = lock(&self.stopped[index]);
            let input = (index, self.inputs[index]);
            runner.go_on(input, &mut stopped, (stop, end), values, see)?;
            if !hold {
                *stopped = None;
            }
            Ok(())
        })
    }
}

/// What a thread that panicked held is a whole run or none.
fn lock(stopped: &Mutex<Option<Stopped>>) -> MutexGuard<'_, Option<Stopped>> {
    stopped.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What shows values.
type See<'s> = &'s mut dyn FnMut(ValueId, &[f32]);

/// Mean of each channel of some values of `graph` over `count` inputs, each of which `run` runs and shows.
fn means(
    graph: &Graph,
    values: &[ValueId],
    count: usize,
    run: &(dyn Fn(usize, See<'_>) -> Result<(), QuantizeError> + Sync),
) -> Result<Vec<Vec<f64>>, QuantizeError> {
    let sums: Vec<Vec<Vec<f64>>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let mut means = vec![Vec::new(); values.len()];
            run(index, &mut |value, reals| {
                let channels = graph.values[value].shape.last().copied().unwrap_or(1);
                let mut sum = vec![0f64; channels.max(1)];
                for pixel in reals.chunks_exact(sum.len()) {
                    sum.iter_mut()
                        .zip(pixel)
                        .for_each(|(sum, &x)| *sum += f64::from(x));
                }
                let pixels = (reals.len() / sum.len()).max(1) as f64;
                sum.iter_mut().for_each(|sum| *sum /= pixels * count as f64);
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

#[cfg(test)]
mod tests {
    use pinhole_graph::op::{Binary, Unary};

    use super::*;
    use crate::{Options, quantize};

    /// A residual block whose shortcut is a layer too, and a product behind it.
    fn network() -> Graph {
        let mut graph = Graph::empty("block");
        let x = graph.add_value("x", &[1, 8, 8, 3]);
        graph.inputs.push(x);
        let mut seed = 1u32;
        let mut random = move |count: usize| -> Vec<f32> {
            let next = |_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
            };
            (0..count).map(next).collect()
        };
        let mut conv = |graph: &mut Graph, x: ValueId, from: usize, to: usize, side: usize| {
            let name = graph.unique_name("conv");
            let weight = Tensor::f32(&[to, side, side, from], random(to * side * side * from));
            let weight = graph.add_constant(format!("{name}.weight"), weight);
            let bias = graph.add_constant(format!("{name}.bias"), Tensor::f32(&[to], random(to)));
            let edge = side / 2;
            let op = Op::Conv2d {
                stride: [1; 2],
                padding: [edge; 4],
                dilation: [1; 2],
                groups: 1,
                activation: Activation::None,
            };
            graph.add_node(name, op, &[x, weight, bias], &[1, 8, 8, to])
        };
        let shortcut = conv(&mut graph, x, 3, 8, 1);
        let a = conv(&mut graph, x, 3, 16, 3);
        let gelu = Op::Unary {
            function: Unary::Gelu,
        };
        let a = graph.add_node("gelu", gelu, &[a], &[1, 8, 8, 16]);
        let a = conv(&mut graph, a, 16, 8, 1);
        let sum = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        let y = graph.add_node("sum", sum, &[a, shortcut], &[1, 8, 8, 8]);
        let y = conv(&mut graph, y, 8, 4, 3);
        let y = graph.add_node("mean", Op::GlobalAvgPool, &[y], &[1, 1, 1, 4]);
        graph.outputs.push(y);
        graph
    }

    #[test]
    fn runs_that_go_on_see_what_runs_from_the_start_see() {
        let graph = network();
        let input = |index: usize| {
            let x = (0..192).map(|i| ((i * 7 + index * 31) % 50) as f32 / 25.0 - 1.0);
            Input::from(x.collect::<Vec<f32>>())
        };
        let inputs: Vec<Input> = (0..6).map(input).collect();
        let options = Options {
            correct_biases: false,
            ..Options::default()
        };
        let made = quantize(&graph, &inputs, &options, &|_| ()).unwrap();
        let inputs: Vec<&Input> = inputs.iter().collect();

        let mut corrected = made.quantized.clone();
        correct_biases(&made.prepared, &mut corrected, &inputs, &|_| ()).unwrap();

        let mut plain = made.quantized.clone();
        let levels = levels(&plain, &|node| is_linear(&plain, node));
        assert_eq!(levels.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        let of = |graph: &Graph, values: &[ValueId]| {
            let runner = Runner::new(graph).unwrap();
            means(graph, values, inputs.len(), &|index, see| {
                runner.run_seeing(index, inputs[index], values, see)
            })
            .unwrap()
        };
        for level in &levels {
            let values: Vec<ValueId> = level.iter().map(|node| node.output).collect();
            let (expected, found) = (of(&made.prepared, &values), of(&plain, &values));
            for ((node, e), f) in level.iter().zip(expected).zip(found) {
                let shift: Vec<f32> = e.iter().zip(f).map(|(e, f)| (e - f) as f32).collect();
                assert!(shift.iter().any(|&shift| shift != 0.0), "{}", node.name);
                move_bias(&mut plain, node, &shift);
            }
        }
        assert!(corrected == plain, "the same biases, bit for bit");
    }
}
