//! A small encoder for tests.

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, ModelKind, Op, PictureGeometry, ValueId};
use pinhole_quantize::Input;

use crate::rng::Rng;

/// Of a picture, pixels.
pub(crate) const SIDE: usize = 12;

/// Random numbers of mean 0 and the deviation that keeps sums of `inputs` products near 1.
fn random(shape: &[usize], inputs: usize, rng: &mut Rng) -> pinhole_graph::Tensor {
    let bound = (3.0 / inputs as f32).sqrt();
    let data = (0..shape.iter().product()).map(|_| bound * (2.0 * rng.unit() - 1.0));
    pinhole_graph::Tensor::f32(shape, data.collect())
}

/// A small encoder with a convolution of each kind, a gate, pooling, and a transformer block.
pub(crate) fn encoder() -> Graph {
    let mut rng = Rng::new(3);
    let mut graph = Graph::empty("small");
    let input = graph.add_value("image", &[1, SIDE, SIDE, 3]);
    graph.inputs = vec![input];
    graph.meta.kind = ModelKind::ImageEncoder;
    graph.meta.geometry = Some(PictureGeometry {
        width: SIDE,
        height: SIDE,
        resize_shorter: SIDE,
        mean: [0.5; 3],
        std: [0.5; 3],
    });
    let mut add =
        |graph: &mut Graph, name: &str, op: Op, inputs: &[ValueId], weights: &[&[usize]]| {
            let mut inputs = inputs.to_vec();
            for (index, shape) in weights.iter().enumerate() {
                let per_output = shape[1..].iter().product::<usize>().max(1);
                let mut tensor = random(
                    shape,
                    if shape.len() == 1 { 12 } else { per_output },
                    &mut rng,
                );
                if matches!(op, Op::LayerNorm { .. }) && index == 0 {
                    tensor = pinhole_graph::Tensor::f32(shape, vec![1.0; shape[0]]);
                }
                inputs.push(graph.add_constant(format!("{name}.{index}"), tensor));
            }
            graph.add_node(name, op, &inputs, &[])
        };
    let conv = |stride, padding: [usize; 4], groups, activation| Op::Conv2d {
        stride: [stride; 2],
        padding,
        dilation: [1; 2],
        groups,
        activation,
    };
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let unary = |function| Op::Unary { function };
    let binary = |function| Op::Binary {
        function,
        activation: Activation::None,
    };
    let stem = conv(2, [0, 0, 1, 1], 1, Activation::None);
    let x = add(&mut graph, "stem", stem, &[input], &[&[8, 3, 3, 3], &[8]]);
    let x = add(&mut graph, "swish", unary(Unary::HardSwish), &[x], &[]);
    let y = add(
        &mut graph,
        "depthwise",
        conv(1, [1; 4], 8, Activation::Relu6),
        &[x],
        &[&[8, 3, 3, 1], &[8]],
    );
    let gate = add(&mut graph, "squeeze", Op::GlobalAvgPool, &[y], &[]);
    let gate = add(
        &mut graph,
        "excite",
        conv(1, [0; 4], 1, Activation::None),
        &[gate],
        &[&[8, 1, 1, 8], &[8]],
    );
    let gate = add(&mut graph, "sigmoid", unary(Unary::Sigmoid), &[gate], &[]);
    let y = add(&mut graph, "gated", binary(Binary::Mul), &[y, gate], &[]);
    let y = add(
        &mut graph,
        "project",
        conv(1, [0; 4], 1, Activation::None),
        &[y],
        &[&[8, 1, 1, 8], &[8]],
    );
    let x = add(&mut graph, "sum", binary(Binary::Add), &[x, y], &[]);
    let pool = Op::AvgPool {
        kernel: [2; 2],
        stride: [2; 2],
        padding: [0; 4],
        count_include_pad: false,
    };
    let x = add(&mut graph, "pool", pool, &[x], &[]);
    let tokens = graph.add_node("tokens", Op::Reshape, &[x], &[9, 8]);
    let n = add(
        &mut graph,
        "norm",
        Op::LayerNorm { epsilon: 1e-5 },
        &[tokens],
        &[&[8], &[8]],
    );
    let [q, k, v] =
        ["q", "k", "v"].map(|name| add(&mut graph, name, linear.clone(), &[n], &[&[8, 8], &[8]]));
    let attention = Op::Attention {
        num_heads: 2,
        scale: 0.5,
        windows: 1,
        causal: false,
    };
    let a = add(
        &mut graph,
        "attention",
        attention,
        &[q, k, v],
        &[&[2, 9, 9]],
    );
    let x = add(
        &mut graph,
        "residual",
        binary(Binary::Add),
        &[tokens, a],
        &[],
    );
    let h = add(&mut graph, "up", linear.clone(), &[x], &[&[16, 8], &[16]]);
    let h = add(&mut graph, "gelu", unary(Unary::Gelu), &[h], &[]);
    let h = add(&mut graph, "down", linear.clone(), &[h], &[&[8, 16], &[8]]);
    let first = Op::Slice {
        starts: vec![0, 0],
        steps: vec![1, 1],
    };
    let h = graph.add_node("first", first, &[h], &[1, 8]);
    let out = add(&mut graph, "embedding", linear, &[h], &[&[6, 8], &[6]]);
    let out = add(&mut graph, "direction", Op::NormalizeEmbedding, &[out], &[]);
    graph.outputs = vec![out];
    pinhole_graph::pass::infer_shapes(&mut graph).expect("the shapes fit");
    graph
}

/// Random model inputs.
pub(crate) fn pictures(count: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(9);
    (0..count)
        .map(|_| {
            (0..SIDE * SIDE * 3)
                .map(|_| 2.0 * rng.unit() - 1.0)
                .collect()
        })
        .collect()
}

/// The same for quantisation.
pub(crate) fn inputs(count: usize) -> Vec<Input> {
    pictures(count).into_iter().map(Input::from).collect()
}
