//! Functions and norms that an exporter spelled out are recognised, and nothing that only looks like them.

use super::*;

/// The one unary function that a graph was recognised as.
fn recognised(graph: &Graph) -> Option<Unary> {
    let graph = same_after(graph, |graph| assert_ne!(recognise(graph), 0));
    match graph.nodes.as_slice() {
        [
            Node {
                op: Op::Unary { function },
                ..
            },
        ] => Some(*function),
        _ => None,
    }
}

#[test]
fn spelled_out_gelu_is_recognised() {
    for halved_first in [false, true] {
        let (mut small, x) = Small::new(&[2, 3]);
        let (root, one, half) = (
            small.number(std::f32::consts::SQRT_2),
            small.number(1.0),
            small.number(0.5),
        );
        let scaled = small.binary(Binary::Div, x, root);
        let erf = small.unary(Unary::Erf, scaled);
        let gate = small.binary(Binary::Add, erf, one);
        let out = if halved_first {
            let halved = small.binary(Binary::Mul, half, x);
            small.binary(Binary::Mul, halved, gate)
        } else {
            let product = small.binary(Binary::Mul, x, gate);
            small.binary(Binary::Mul, product, half)
        };
        assert_eq!(recognised(&small.end(out)), Some(Unary::Gelu));
    }
}

#[test]
fn spelled_out_tanh_gelu_is_recognised() {
    let (mut small, x) = Small::new(&[2, 3]);
    let three = small.number(3.0);
    let cube = small.binary(Binary::Pow, x, three);
    let small_factor = small.number(0.044715);
    let cubic = small.binary(Binary::Mul, cube, small_factor);
    let sum = small.binary(Binary::Add, x, cubic);
    let root = small.number(0.797_884_6);
    let argument = small.binary(Binary::Mul, sum, root);
    let tanh = small.unary(Unary::Tanh, argument);
    let one = small.number(1.0);
    let gate = small.binary(Binary::Add, tanh, one);
    let half = small.number(0.5);
    let halved = small.binary(Binary::Mul, x, half);
    let out = small.binary(Binary::Mul, halved, gate);
    assert_eq!(recognised(&small.end(out)), Some(Unary::GeluTanh));
}

#[test]
fn gates_are_recognised() {
    let (mut small, x) = Small::new(&[2, 3]);
    let gate = small.unary(Unary::Sigmoid, x);
    let out = small.binary(Binary::Mul, gate, x);
    assert_eq!(recognised(&small.end(out)), Some(Unary::Silu));

    let (mut small, x) = Small::new(&[2, 3]);
    let factor = small.number(1.702);
    let scaled = small.binary(Binary::Mul, x, factor);
    let gate = small.unary(Unary::Sigmoid, scaled);
    let out = small.binary(Binary::Mul, x, gate);
    assert_eq!(recognised(&small.end(out)), Some(Unary::QuickGelu));

    for form in 0..3 {
        let (mut small, x) = Small::new(&[2, 3]);
        let (three, six) = (small.number(3.0), small.number(6.0));
        let shifted = small.binary(Binary::Add, x, three);
        let clipped = small.unary(Unary::Clip { min: 0.0, max: 6.0 }, shifted);
        let out = match form {
            0 => {
                let gate = small.binary(Binary::Div, clipped, six);
                small.binary(Binary::Mul, x, gate)
            }
            1 => {
                let product = small.binary(Binary::Mul, x, clipped);
                small.binary(Binary::Div, product, six)
            }
            _ => {
                let gate = small.unary(
                    Unary::HardSigmoid {
                        alpha: 1.0 / 6.0,
                        beta: 0.5,
                    },
                    x,
                );
                small.binary(Binary::Mul, x, gate)
            }
        };
        assert_eq!(
            recognised(&small.end(out)),
            Some(Unary::HardSwish),
            "form {form}"
        );
    }
}

#[test]
fn what_only_looks_like_a_gelu_stays() {
    let (mut small, x) = Small::new(&[2, 3]);
    let (root, one, half) = (small.number(1.5), small.number(1.0), small.number(0.5));
    let scaled = small.binary(Binary::Div, x, root);
    let erf = small.unary(Unary::Erf, scaled);
    let gate = small.binary(Binary::Add, erf, one);
    let product = small.binary(Binary::Mul, x, gate);
    let out = small.binary(Binary::Mul, product, half);
    let graph = small.end(out);
    assert_eq!(recognise(&mut graph.clone()), 0);
}

/// The spelled-out layer normalisation over the dimension `axis`.
fn decomposed_layer_norm(axis: usize) -> Graph {
    let (mut small, x) = Small::new(&[4, 4]);
    let mean_op = || Op::Reduce {
        function: Reduce::Mean,
        axes: vec![axis],
        keep_dims: true,
    };
    let mean = small.node(mean_op(), &[x]);
    let centred = small.binary(Binary::Sub, x, mean);
    let two = small.number(2.0);
    let squared = small.binary(Binary::Pow, centred, two);
    let variance = small.node(mean_op(), &[squared]);
    let epsilon = small.number(1e-5);
    let sum = small.binary(Binary::Add, variance, epsilon);
    let deviation = small.unary(Unary::Sqrt, sum);
    let normalised = small.binary(Binary::Div, centred, deviation);
    let (gamma, beta) = (
        small.tensor(&[4], data(4)),
        small.tensor(&[4], vec![0.1, 0.2, 0.3, 0.4]),
    );
    let scaled = small.binary(Binary::Mul, normalised, gamma);
    let out = small.binary(Binary::Add, scaled, beta);
    small.end(out)
}

#[test]
fn spelled_out_layer_norm_is_recognised() {
    let graph = same_after(&decomposed_layer_norm(1), |graph| {
        assert!(recognise(graph) > 0)
    });
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(graph.nodes[0].op, Op::LayerNorm { epsilon: 1e-5 });
    let other = same_after(&decomposed_layer_norm(0), |graph| {
        assert!(recognise(graph) > 0)
    });
    assert!(
        !other
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::LayerNorm { .. }))
    );
}
