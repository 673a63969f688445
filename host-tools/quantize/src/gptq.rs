//! Rounding of weights that looks at the layer's inputs: GPTQ (Frantar et al. 2022, arXiv 2210.17323), stage after stage of
//! the network, so that each sees the outputs of those before it as the quantised model has them.
//!
//! To the nearest step, errors of a row of weights are independent and correlated inputs add them up. Here weights are rounded
//! one after the other, and those still to be rounded, the bias last, take over what the rounding changed at the output. The
//! result lies on the grid: packing keeps it. Only inputs as they are in the quantised model count; making weights undo what
//! those lost (Li et al. 2025, GPTAQ, arXiv 2504.02692) fits the noise of inputs, which pulls a regression towards zero.
//! Afterwards single weights go a step up or down where that helps (`descent.rs`), and short rows may get another scale.

use pinhole_graph::{Graph, Node, Op, Tensor, ValueId};
use rayon::prelude::*;

use crate::correct::levels;
use crate::descent::{self, OutputError};
use crate::least_squares::{InverseFactor, moments};
use crate::{Input, Progress, QuantizeError, Runner};

/// Windows of inputs that a layer is fitted to, over all pictures.
const SAMPLES: usize = 4096;
/// Numbers of such windows at most: what is wider gets fewer.
const SAMPLED_NUMBERS: usize = 1 << 23;
/// Runs of the inputs: layers of one stage see each other's weights as they were before, with the nearest steps.
const STAGES: usize = 12;
/// Added to the second moments, as a share of their mean.
const DAMPING: f64 = 0.01;

/// Rounds the weights of `quantized`, a graph with parameters, and moves its biases.
pub(crate) fn round_weights(
    quantized: &mut Graph,
    inputs: &[&Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), QuantizeError> {
    let consumers = quantized.consumers();
    let levels = levels(quantized, &|node| {
        is_layer(quantized, node) && node.inputs[1..].iter().all(|&id| consumers[id].len() == 1)
    });
    let layers: Vec<Node> = levels.into_iter().flatten().collect();
    let mut done = 0;
    for few in layers.chunks(layers.len().div_ceil(STAGES).max(1)) {
        let windows: Vec<Windows> = few
            .iter()
            .map(|node| Windows::new(quantized, node, inputs.len()))
            .collect();
        let found = sampled(quantized, few, &windows, inputs)?;
        for ((node, windows), found) in few.iter().zip(&windows).zip(found) {
            fit_layer(quantized, node, windows, &found);
        }
        done += few.len();
        progress(Progress::Weights(done, layers.len()));
    }
    Ok(())
}

/// A layer with constant weights that quantisation gave scales.
fn is_layer(graph: &Graph, node: &Node) -> bool {
    let constant = |id: &ValueId| {
        let constant = graph.values[*id].constant.as_ref();
        constant.is_some_and(|tensor| tensor.as_f32().is_some())
    };
    matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. })
        && node.inputs[1..].iter().all(constant)
        && graph.values[node.inputs[1]].quant.is_some()
        && graph.values[node.output].quant.is_some()
}

/// Which windows of a layer's input are looked at, and how they lie in it.
#[derive(Clone, Debug)]
struct Windows {
    /// The value that holds the input's numbers, before changes of shape.
    source: ValueId,
    /// Height, width, channels; tokens are a row of pixels.
    input: [usize; 3],
    /// Height, width.
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left.
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    /// Windows of each picture.
    count: usize,
}

impl Windows {
    fn new(graph: &Graph, node: &Node, pictures: usize) -> Self {
        let mut source = node.inputs[0];
        while let Some(before) = graph.nodes.iter().find(|node| node.output == source)
            && matches!(before.op, Op::Reshape)
        {
            source = before.inputs[0];
        }
        let shape = |id: ValueId| &graph.values[id].shape[..];
        let channels = shape(node.inputs[0]).last().copied().unwrap_or(1).max(1);
        let tokens = shape(node.inputs[0]).iter().product::<usize>() / channels;
        let mut windows = Self {
            source,
            input: [1, tokens, channels],
            output: [1, tokens],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
            count: 0,
        };
        if let (
            Op::Conv2d {
                stride,
                padding,
                dilation,
                groups,
                ..
            },
            &[_, height, width, _],
            &[_, output_height, output_width, _],
            &[_, kernel_height, kernel_width, _],
        ) = (
            &node.op,
            shape(node.inputs[0]),
            shape(node.output),
            shape(node.inputs[1]),
        ) {
            windows.input = [height, width, channels];
            windows.output = [output_height, output_width];
            windows.kernel = [kernel_height, kernel_width];
            (windows.stride, windows.dilation) = (*stride, *dilation);
            (windows.padding, windows.groups) = ([padding[0], padding[1]], *groups);
        }
        let samples = SAMPLES.min(SAMPLED_NUMBERS / windows.len().max(1));
        let most = windows.output[0] * windows.output[1];
        windows.count = (samples / pictures.max(1)).clamp(1, most.max(1));
        windows
    }

    /// Numbers of a window.
    fn len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.input[2]
    }

    /// The windows (count, taps, channels) of one picture, spread evenly, others for each picture.
    fn of(&self, picture: usize, numbers: &[f32]) -> Vec<f32> {
        // Of a text, fewer tokens than the graph has room for.
        let seen = numbers.len() / self.input[2].max(1);
        let most = match self.kernel {
            [1, 1] if self.output == [1, self.input[1]] => seen.min(self.output[1]),
            _ => self.output[0] * self.output[1],
        };
        let mut windows = Vec::with_capacity(self.count * self.len());
        for index in 0..self.count {
            // Multiples of the golden ratio shift the places from picture to picture.
            let shift = (picture as f64 * 0.618_033_988_75).fract();
            let place = ((index as f64 + shift) * most as f64 / self.count as f64) as usize;
            self.window(place.min(most.saturating_sub(1)), numbers, &mut windows);
        }
        windows
    }

    /// Appends the window of one output pixel; what lies outside is 0.
    fn window(&self, place: usize, numbers: &[f32], windows: &mut Vec<f32>) {
        let [height, width, channels] = self.input;
        let position = [place / self.output[1], place % self.output[1]];
        for tap in 0..self.kernel[0] * self.kernel[1] {
            let tap = [tap / self.kernel[1], tap % self.kernel[1]];
            let [y, x] = [0, 1].map(|d| {
                (position[d] * self.stride[d] + tap[d] * self.dilation[d])
                    .checked_sub(self.padding[d])
            });
            match (y, x) {
                (Some(y), Some(x)) if y < height && x < width => {
                    windows.extend(&numbers[(y * width + x) * channels..][..channels]);
                }
                _ => windows.resize(windows.len() + channels, 0.0),
            }
        }
    }

    /// The numbers of the windows that one group of channels reads: (samples, taps · channels of the group).
    fn of_group(&self, windows: &[f32], group: usize) -> Vec<f32> {
        let per_group = self.input[2] / self.groups.max(1);
        windows
            .chunks_exact(self.input[2].max(1))
            .flat_map(|pixel| &pixel[group * per_group..(group + 1) * per_group])
            .copied()
            .collect()
    }
}

/// For each layer, the windows of its input over all pictures, in their order.
fn sampled(
    graph: &Graph,
    layers: &[Node],
    windows: &[Windows],
    inputs: &[&Input],
) -> Result<Vec<Vec<f32>>, QuantizeError> {
    let runner = Runner::new(graph)?;
    let sources: Vec<ValueId> = windows.iter().map(|windows| windows.source).collect();
    let pictures = inputs.par_iter().enumerate().map(|(index, input)| {
        let mut found = vec![Vec::new(); layers.len()];
        runner.run_seeing(index, input, &sources, &mut |value, reals| {
            for (found, windows) in found.iter_mut().zip(windows) {
                if windows.source == value {
                    *found = windows.of(index, reals);
                }
            }
        })?;
        Ok(found)
    });
    let mut all = vec![Vec::new(); layers.len()];
    for picture in pictures.collect::<Result<Vec<_>, QuantizeError>>()? {
        all.iter_mut()
            .zip(picture)
            .for_each(|(all, found)| all.extend(found));
    }
    Ok(all)
}

/// Rounds the weights of one layer; leaves it when it was not seen or its inputs say nothing.
fn fit_layer(graph: &mut Graph, node: &Node, windows: &Windows, found: &[f32]) {
    if found.is_empty() {
        return;
    }
    let data = |id: ValueId| graph.values[id].constant.as_ref()?.as_f32();
    let (Some(weights), Some(quant)) = (data(node.inputs[1]), &graph.values[node.inputs[1]].quant)
    else {
        return;
    };
    let bias = node.inputs.get(2).and_then(|&id| data(id));
    let rows = graph.values[node.inputs[1]].shape[0];
    let groups = windows.groups.max(1);
    let (rows_of_group, k) = (rows / groups, weights.len() / rows.max(1));
    let fit = |group: usize| {
        let own = group * rows_of_group..(group + 1) * rows_of_group;
        Layer {
            k,
            weights: &weights[own.start * k..own.end * k],
            bias: bias.map(|bias| &bias[own.clone()]),
            scales: &quant.scales[own],
        }
        .round(&windows.of_group(found, group))
    };
    let fitted: Vec<Fitted> = (0..groups).into_par_iter().map(fit).collect();
    let joined = |part: &dyn Fn(&Fitted) -> &[f32]| fitted.iter().flat_map(part).copied().collect();
    let weights: Vec<f32> = joined(&|fitted| &fitted.weights);
    let moved: Vec<f32> = joined(&|fitted| &fitted.bias);
    let scales: Vec<f32> = joined(&|fitted| &fitted.scales);
    set(graph, node.inputs[1], weights);
    if let Some(quant) = &mut graph.values[node.inputs[1]].quant {
        quant.scales = scales;
    }
    if let Some(&bias) = node.inputs.get(2) {
        set(graph, bias, moved);
    }
}

fn set(graph: &mut Graph, id: ValueId, data: Vec<f32>) {
    let shape = graph.values[id].shape.clone();
    graph.values[id].constant = Some(Tensor::f32(&shape, data));
}

/// A layer, or one group of its channels.
#[derive(Debug)]
struct Layer<'a> {
    /// Weights of a row.
    k: usize,
    /// (rows, k)
    weights: &'a [f32],
    /// (rows)
    bias: Option<&'a [f32]>,
    /// Steps of each row's weights.
    scales: &'a [f32],
}

/// Weights on the grid and the bias beside them.
#[derive(Debug, PartialEq)]
struct Fitted {
    /// (rows, k)
    weights: Vec<f32>,
    /// (rows), empty without a bias.
    bias: Vec<f32>,
    /// Steps of each row's weights.
    scales: Vec<f32>,
}

impl Layer<'_> {
    /// Rounds for `inputs` (samples, k), what the layer reads.
    fn round(&self, inputs: &[f32]) -> Fitted {
        let (k, n) = (self.k, self.k + usize::from(self.bias.is_some()));
        let samples: Vec<f32> = inputs
            .chunks_exact(k)
            .flat_map(|row| row.iter().copied().chain((n > k).then_some(1.0)))
            .collect();
        let mut squares = moments(&samples, n, &samples, n);
        let order = order(&squares, k, n);
        let error = OutputError::new(&squares, k, n);
        damp(&mut squares, k, n);
        let sorted: Vec<f64> = order
            .iter()
            .flat_map(|&row| order.iter().map(move |&column| (row, column)))
            .map(|(row, column)| squares[row * n + column])
            .collect();
        let Some(factor) = InverseFactor::new(&sorted, n) else {
            return self.nearest();
        };
        let rows: Vec<Row> = (0..self.scales.len())
            .into_par_iter()
            .map(|row| self.round_row(row, &order, &factor, &error))
            .collect();
        let weights = rows.iter().flat_map(|row| &row.weights).copied();
        Fitted {
            weights: weights.collect(),
            bias: rows.iter().filter_map(|row| row.bias).collect(),
            scales: rows.iter().map(|row| row.scale).collect(),
        }
    }

    /// One row with the scale, of those that are tried, that leaves the least error.
    fn round_row(
        &self,
        row: usize,
        order: &[usize],
        factor: &InverseFactor,
        error: &OutputError,
    ) -> Row {
        let k = self.k;
        let weights = &self.weights[row * k..][..k];
        let mut best: Option<(f64, f32, Vec<f64>)> = None;
        for scale in descent::scales(k, self.scales[row]) {
            let mut steps = steps_in_order(weights, f64::from(scale), order, factor);
            let left = error.descend(weights, f64::from(scale), &mut steps);
            if best.as_ref().is_none_or(|(least, ..)| left < *least) {
                best = Some((left, scale, steps));
            }
        }
        let (_, scale, steps) = best.unwrap_or_default();
        let rounded: Vec<f32> = steps.iter().map(|&steps| steps as f32 * scale).collect();
        let change: Vec<f64> = rounded
            .iter()
            .zip(weights)
            .map(|(to, from)| f64::from(*to) - f64::from(*from))
            .collect();
        let bias = self.bias.map(|bias| bias[row] + error.bias(&change) as f32);
        Row {
            weights: rounded,
            bias,
            scale,
        }
    }

    /// Each weight to its nearest step.
    fn nearest(&self) -> Fitted {
        let rows = self.weights.chunks_exact(self.k).zip(self.scales);
        let steps = |w: f32, scale: f32| (w / scale).round().clamp(-127.0, 127.0) * scale;
        Fitted {
            weights: rows
                .flat_map(|(row, &scale)| row.iter().map(move |&w| steps(w, scale)))
                .collect(),
            bias: self.bias.unwrap_or(&[]).to_vec(),
            scales: self.scales.to_vec(),
        }
    }
}

/// One row of a layer on the grid of its scale.
struct Row {
    weights: Vec<f32>,
    bias: Option<f32>,
    scale: f32,
}

/// Steps of `scale`, weight after weight, those to come taking over what rounding changed.
fn steps_in_order(
    weights: &[f32],
    scale: f64,
    order: &[usize],
    factor: &InverseFactor,
) -> Vec<f64> {
    // The bias, last in the order where there is one, only takes over.
    let unrounded = |&index: &usize| weights.get(index).copied().map_or(0.0, f64::from);
    let mut rest: Vec<f64> = order.iter().map(unrounded).collect();
    let mut found = vec![0.0; weights.len()];
    for (place, &index) in order.iter().enumerate() {
        if index == weights.len() {
            break;
        }
        let steps = (rest[place] / scale).round().clamp(-127.0, 127.0);
        found[index] = steps;
        let upper = factor.row(place);
        let error = (rest[place] - steps * scale) / upper[0];
        let behind = rest[place + 1..].iter_mut().zip(&upper[1..]);
        behind.for_each(|(w, u)| *w -= error * u);
    }
    found
}

/// Weights in the order of rounding, those of the strongest inputs first, the bias last.
fn order(squares: &[f64], k: usize, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| squares[b * n + b].total_cmp(&squares[a * n + a]));
    order.extend(k..n);
    order
}

/// Adds a share of the mean square of the inputs to the diagonal, so that inputs that are nearly alike have one solution.
fn damp(squares: &mut [f64], k: usize, n: usize) {
    let mean = (0..k).map(|i| squares[i * n + i]).sum::<f64>() / k.max(1) as f64;
    for i in 0..k {
        squares[i * n + i] += (DAMPING * mean).max(f64::MIN_POSITIVE.sqrt());
    }
}

#[cfg(test)]
#[path = "gptq/tests.rs"]
mod tests;
