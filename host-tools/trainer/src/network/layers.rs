//! Operations that Burn Flex has in another form or not at all, with derivatives of their own, by Burn's extension of backends.
//!
//! All of them keep channels last and work on f32. [`biased`] is the end of a layer, a bias and limits, in one pass over
//! its output; its derivative needs the output alone, which the next layer keeps anyway. [`depthwise`] and [`patches`] are
//! those of `network/window.rs`.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Bool, DType, Device, Shape, Tensor, TensorData};
use rayon::prelude::*;

use super::window::{Slide, Window};
use super::{Batch, RANK};

/// Elements that one task of [`biased`] works on, about; the order of sums depends on it.
const TASK: usize = 1 << 14;

/// The least and the greatest value; either may be infinite.
pub(super) type Limits = [f32; 2];

/// Limits that are none.
pub(super) const UNLIMITED: Limits = [f32::NEG_INFINITY, f32::INFINITY];

/// Whether the operations of this file take `x`: they are operations of the CPU, over f32.
pub(super) fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device().inner() == Device::flex()
}

/// `x` `[…, n]` plus `bias` `[n]`, then no less and no more than `limits` say. What is at a limit has no gradient there.
pub(super) fn biased<const D: usize>(x: Tensor<D>, bias: Tensor<1>, limits: Limits) -> Tensor<D> {
    let found = Dispatch::biased(x.into_dispatch(), bias.into_dispatch(), limits);
    Tensor::from_dispatch(found)
}

/// `x`, no less and no more than `limits` say, by Burn's operations. Its own clamp has a gradient at a limit.
fn clamped<const D: usize>(x: Tensor<D>, [least, most]: Limits) -> Tensor<D> {
    let held = |x: Tensor<D>, limit: f32, beyond: Tensor<D, Bool>| {
        if limit.is_finite() {
            x.mask_fill(beyond, limit)
        } else {
            x
        }
    };
    let (below, above) = (
        x.clone().lower_equal_elem(least),
        x.clone().greater_equal_elem(most),
    );
    held(held(x, least, below), most, above)
}

/// `x`, no less and no more than `limits` say.
pub(super) fn limited<const D: usize>(x: Tensor<D>, limits: Limits) -> Tensor<D> {
    if limits == UNLIMITED {
        return x;
    }
    if !takes(&x) {
        return clamped(x, limits);
    }
    let channels = x.dims()[D - 1];
    let none = Tensor::zeros([channels], &x.device());
    biased(x, none, limits)
}

/// Depthwise convolution of `x` `[batch, 1, 1, h, w, channels]` with `weight` `[window, channels]`.
pub(super) fn depthwise(x: Batch, weight: Tensor<2>, window: Window) -> Batch {
    let found = Dispatch::depthwise(x.into_dispatch(), weight.into_dispatch(), window);
    Tensor::from_dispatch(found)
}

/// What the window sees of `x` `[batch, 1, 1, h, w, channels]`: `[batch · oh · ow, window · channels]`.
pub(super) fn patches(x: Batch, window: Window) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::patches(x.into_dispatch(), window))
}

/// The functions above, by backend.
#[backend_extension(Flex, Autodiff)]
pub(super) trait Layers: Backend {
    fn biased(x: FloatTensor<Self>, bias: FloatTensor<Self>, limits: Limits) -> FloatTensor<Self>;
    fn depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self>;
    fn patches(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
}

impl Layers for Flex {
    fn biased(x: FlexTensor, bias: FlexTensor, limits: Limits) -> FlexTensor {
        let (mut x, bias) = (packed(x), packed(bias));
        add_bias(x.storage_mut(), bias.storage(), limits);
        x
    }

    fn depthwise(x: FlexTensor, weight: FlexTensor, window: Window) -> FlexTensor {
        let (x, weight) = (packed(x), packed(weight));
        let (slide, mut shape) = slide(&x, window);
        [shape[RANK - 3], shape[RANK - 2]] = slide.output();
        tensor(slide.depthwise(x.storage(), weight.storage()), shape)
    }

    fn patches(x: FlexTensor, window: Window) -> FlexTensor {
        let x = packed(x);
        let (slide, [batch, .., channels]) = slide(&x, window);
        let [rows, columns] = slide.output();
        let shape = [batch * rows * columns, window.area() * channels];
        tensor(slide.patches(x.storage()), shape)
    }
}

impl<C: CheckpointStrategy> Layers for Autodiff<Flex, C> {
    fn biased(x: FloatTensor<Self>, bias: FloatTensor<Self>, limits: Limits) -> FloatTensor<Self> {
        let ((x, x_node), (bias, bias_node)) = (x.into_parts(), bias.into_parts());
        let output = Flex::biased(x, bias, limits);
        let prepared = Biased.prepare::<C>([x_node, bias_node]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(prepared) => {
                let limited = (limits != UNLIMITED).then(|| (output.clone(), limits));
                prepared.finish(limited, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = Flex::depthwise(x.clone(), weight.clone(), window);
        let prepared = Depthwise
            .prepare::<C>([x_node, weight_node])
            .compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight, window), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn patches(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let dims = x.layout().shape().dims();
        let output = Flex::patches(x, window);
        let prepared = Patches.prepare::<C>([x_node]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((dims, window), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// Backward pass of [`biased`]: its output and its limits, where it has limits.
#[derive(Debug)]
struct Biased;

impl Backward<Flex, 2> for Biased {
    type State = Option<(FlexTensor, Limits)>;

    fn backward(self, ops: Ops<Self::State, 2>, found: &mut Gradients, _: &mut Checkpointer) {
        let [x, bias] = ops.parents;
        let mut gradient = packed(found.consume::<Flex>(&ops.node));
        let channels = gradient.layout().shape()[gradient.layout().shape().num_dims() - 1];
        if let Some((output, limits)) = ops.state {
            let output = packed(output);
            hold_back(gradient.storage_mut(), output.storage(), limits);
        }
        if let Some(bias) = bias {
            let sums = sums(gradient.storage(), channels);
            found.register::<Flex>(bias.id, tensor(sums, [channels]));
        }
        if let Some(x) = x {
            found.register::<Flex>(x.id, gradient);
        }
    }
}

/// Backward pass of [`depthwise`]: what went into it.
#[derive(Debug)]
struct Depthwise;

impl Backward<Flex, 2> for Depthwise {
    type State = (FlexTensor, FlexTensor, Window);

    fn backward(self, ops: Ops<Self::State, 2>, found: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let gradient = packed(found.consume::<Flex>(&ops.node));
        let (x, weight, window) = ops.state;
        let (x, weight) = (packed(x), packed(weight));
        let (slide, dims) = slide(&x, window);
        if let Some(node) = weight_node {
            let of_weight = slide.depthwise_weight(x.storage(), gradient.storage());
            let shape = weight.layout().shape().clone();
            found.register::<Flex>(node.id, tensor(of_weight, shape));
        }
        if let Some(node) = x_node {
            let of_x = slide.depthwise_pictures(gradient.storage(), weight.storage());
            found.register::<Flex>(node.id, tensor(of_x, dims));
        }
    }
}

/// Backward pass of [`patches`]: the shape of what went into it.
#[derive(Debug)]
struct Patches;

impl Backward<Flex, 1> for Patches {
    type State = ([usize; RANK], Window);

    fn backward(self, ops: Ops<Self::State, 1>, found: &mut Gradients, _: &mut Checkpointer) {
        let (dims, window) = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, found, |gradient| {
            let [.., rows, columns, channels] = dims;
            let slide = Slide::new(window, [rows, columns], channels);
            let gradient = packed(gradient);
            tensor(slide.patches_pictures(gradient.storage()), dims)
        });
    }
}

/// `x` with its elements one behind the other, nothing before and nothing behind them.
fn packed(x: FlexTensor) -> FlexTensor {
    // `x` goes before the result is written to: what two handles hold is copied then.
    x.to_contiguous()
}

fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape))
}

/// The window over pictures `[batch, 1, 1, h, w, channels]`, and their shape.
fn slide(x: &FlexTensor, window: Window) -> (Slide, [usize; RANK]) {
    let dims: [usize; RANK] = x.layout().shape().dims();
    let [.., rows, columns, channels] = dims;
    (Slide::new(window, [rows, columns], channels), dims)
}

/// Elements of whole rows of `channels`, about [`TASK`] of them.
fn task(channels: usize) -> usize {
    (TASK / channels).max(1) * channels
}

fn add_bias(rows: &mut [f32], bias: &[f32], [least, most]: Limits) {
    let tasks = rows.par_chunks_mut(task(bias.len()));
    tasks.for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                // Unlike `clamp`, at ease with limits that cross; what is not a number stays so.
                let y = *x + bias;
                let y = if y < least { least } else { y };
                *x = if y > most { most } else { y };
            }
        }
    });
}

/// Takes away the gradient of what is at a limit.
fn hold_back(gradient: &mut [f32], output: &[f32], [least, most]: Limits) {
    let tasks = gradient.par_chunks_mut(TASK).zip(output.par_chunks(TASK));
    tasks.for_each(|(gradient, output)| {
        for (gradient, &y) in gradient.iter_mut().zip(output) {
            *gradient = if y <= least || y >= most {
                0.0
            } else {
                *gradient
            };
        }
    });
}

/// Sums of the columns of `rows` `[…, channels]`: those of each task, then of the tasks in their order.
fn sums(rows: &[f32], channels: usize) -> Vec<f32> {
    let add = |mut sum: Vec<f32>, row: &[f32]| {
        sum.iter_mut().zip(row).for_each(|(x, y)| *x += y);
        sum
    };
    let tasks = rows.par_chunks(task(channels));
    let of_tasks: Vec<Vec<f32>> = tasks
        .map(|rows| rows.chunks_exact(channels).fold(vec![0.0; channels], add))
        .collect();
    of_tasks
        .iter()
        .fold(vec![0.0; channels], |sum, row| add(sum, row))
}

#[cfg(test)]
mod tests;
