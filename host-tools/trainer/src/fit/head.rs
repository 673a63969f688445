//! A new affine layer behind an encoder, and its closed-form start.
//!
//! Ridge regression (Hoerl and Kennard, 1970) of the teacher's unit rows `T` on the encoder's outputs `X` of `n`
//! pictures, both less their means, in f64:
//!
//! ```text
//! W = ( XᵀX + λ·n·v·I )⁻¹ · XᵀT        v: the mean variance of a column of X
//! b = mean(T) − W·mean(X)
//! ```

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, ModelKind, Op, Tensor, pass};

use crate::TrainError;
use crate::linalg::solve_positive;
use crate::rng::Rng;

/// The encoder without the step that only says that its output is a direction; of a text encoder also without the one
/// that gives it length 1.
pub(super) fn features(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let output = graph.outputs[0];
    let last = graph.nodes.iter().position(|node| node.output == output);
    let is_text = graph.meta.kind == ModelKind::TextEncoder;
    let only_length = |op: &Op| match op {
        Op::NormalizeEmbedding => true,
        Op::L2Normalize => is_text,
        _ => false,
    };
    if let Some(last) = last
        && only_length(&graph.nodes[last].op)
    {
        graph.outputs[0] = graph.nodes[last].inputs[0];
        graph.nodes.remove(last);
    }
    graph
}

/// `graph` with a new last layer of `width` outputs, whose weights `[width, features]` and biases are given.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn with_head(
    graph: &Graph,
    width: usize,
    (weight, bias): (Vec<f32>, Vec<f32>),
) -> Result<Graph, TrainError> {
    let mut graph = features(graph);
    let is_text = graph.meta.kind == ModelKind::TextEncoder;
    let output = graph.outputs[0];
    let inputs = weight.len() / width;
    let name = graph.unique_name("flat");
    let flat = match graph.values[output].shape[..] {
        [1, _] => output,
        _ => graph.add_node(name, Op::Reshape, &[output], &[1, inputs]),
    };
    let name = graph.unique_name("head");
    let weight = graph.add_constant(
        format!("{name}.weight"),
        Tensor::f32(&[width, inputs], weight),
    );
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::f32(&[width], bias));
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let head = graph.add_node(name, linear, &[flat, weight, bias], &[1, width]);
    let name = graph.unique_name("direction");
    let op = match is_text {
        true => Op::L2Normalize,
        false => Op::NormalizeEmbedding,
    };
    let direction = graph.add_node(name, op, &[head], &[1, width]);
    graph.outputs = vec![direction];
    if !is_text {
        graph.meta.kind = ModelKind::ImageEncoder;
    }
    let checked = pass::infer_shapes(&mut graph).and_then(|()| pass::validate(&graph));
    checked.map_err(|error| TrainError::Setup(format!("{}: {error}", graph.name)))?;
    Ok(graph)
}

/// Weights uniform in ±1/√(inputs), biases 0.
pub(super) fn random(inputs: usize, width: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng::new(seed);
    let bound = (inputs as f32).sqrt().recip();
    let weight = (0..width * inputs).map(|_| (2.0 * rng.unit() - 1.0) * bound);
    (weight.collect(), vec![0.0; width])
}

/// Weights and biases by ridge regression of `targets` on `features`; `None` where the features do not vary.
pub(super) fn ridge(
    features: &[Vec<f32>],
    targets: &[Vec<f32>],
    ridge: f32,
) -> Option<(Vec<f32>, Vec<f32>)> {
    let (x, x_mean) = centred(features);
    let (t, t_mean) = centred(targets);
    let (d, e) = (x_mean.len(), t_mean.len());
    let mut a = product(&x, &x, d, d);
    let variance = (0..d).map(|i| a[i * d + i]).sum::<f64>() / d as f64;
    (0..d).for_each(|i| a[i * d + i] += f64::from(ridge) * variance);
    let mut w = product(&x, &t, d, e);
    if !solve_positive(&mut a, &mut w, d, e) {
        return None;
    }
    let column = |j: usize| (0..d).map(move |i| (i, j));
    let weight = (0..e).flat_map(|j| {
        column(j)
            .map(|(i, j)| w[i * e + j] as f32)
            .collect::<Vec<_>>()
    });
    let bias = (0..e).map(|j| {
        let shift: f64 = column(j).map(|(i, j)| x_mean[i] * w[i * e + j]).sum();
        (t_mean[j] - shift) as f32
    });
    Some((weight.collect(), bias.collect()))
}

/// Rows less their mean, and the mean.
fn centred(rows: &[Vec<f32>]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let width = rows.first().map_or(0, Vec::len);
    let mut mean = vec![0f64; width];
    for row in rows {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, x)| *m += f64::from(*x) / rows.len() as f64);
    }
    let less = |row: &Vec<f32>| {
        row.iter()
            .zip(&mean)
            .map(|(x, m)| f64::from(*x) - m)
            .collect()
    };
    (rows.iter().map(less).collect(), mean)
}

/// `aᵀ·b`, `[d, e]`.
fn product(a: &[Vec<f64>], b: &[Vec<f64>], d: usize, e: usize) -> Vec<f64> {
    let mut sum = vec![0f64; d * e];
    for (a, b) in a.iter().zip(b) {
        for (row, x) in sum.chunks_exact_mut(e).zip(a) {
            row.iter_mut().zip(b).for_each(|(s, y)| *s += x * y);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ridge_finds_an_affine_map() {
        let mut rng = Rng::new(2);
        let features: Vec<Vec<f32>> = (0..40)
            .map(|_| (0..3).map(|_| rng.unit()).collect())
            .collect();
        let target = |x: &Vec<f32>| vec![2.0 * x[0] - x[2] + 0.5, x[1] - 3.0];
        let targets: Vec<Vec<f32>> = features.iter().map(target).collect();
        let (weight, bias) = ridge(&features, &targets, 1e-6).unwrap();
        for (found, expected) in weight.iter().zip([2.0, 0.0, -1.0, 0.0, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-3, "{weight:?}");
        }
        assert!(
            (bias[0] - 0.5).abs() < 1e-3 && (bias[1] + 3.0).abs() < 1e-3,
            "{bias:?}"
        );
        assert_eq!(
            ridge(&vec![vec![1.0; 3]; 4], &vec![vec![1.0; 2]; 4], 0.1),
            None
        );
    }

    #[test]
    fn a_head_replaces_the_direction_and_has_its_width() {
        let graph = crate::network::fixture::encoder();
        let graph = with_head(&graph, 4, random(6, 4, 1)).unwrap();
        assert_eq!(graph.values[graph.outputs[0]].shape, [1, 4]);
        let directions = graph
            .nodes
            .iter()
            .filter(|node| node.op == Op::NormalizeEmbedding);
        assert_eq!(directions.count(), 1);
    }
}
