//! Shapes whose integer sums could overflow are refused, with the node and the limit.

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Op, QuantDType, QuantParams, Tensor};
use pinhole_pack::{PackError, PackOptions, pack};

/// One int8 product of `k` inputs.
fn product(k: usize) -> Graph {
    let mut graph = Graph::empty("product");
    let input = graph.add_value("x", &[1, k]);
    graph.inputs.push(input);
    let weight = graph.add_constant("weight", Tensor::f32(&[1, k], vec![0.5; k]));
    let bias = graph.add_constant("bias", Tensor::f32(&[1], vec![0.0]));
    let activation = Activation::None;
    let linear = Op::Linear { activation };
    let output = graph.add_node("head", linear, &[input, weight, bias], &[1, 1]);
    graph.outputs.push(output);
    for value in [input, weight, output] {
        graph.values[value].quant = Some(QuantParams {
            dtype: QuantDType::I8,
            scales: vec![0.01],
            zero_point: 0,
        });
    }
    graph
}

#[test]
fn a_sum_of_too_many_products_is_refused_with_the_limit() {
    pack(&product(65_536), &PackOptions::default()).expect("as many as fit");
    let error = pack(&product(65_537), &PackOptions::default()).expect_err("one too many");
    let PackError::Refused(refused) = &error else {
        panic!("{error}");
    };
    assert_eq!(refused[0].node, "head");
    let message = error.to_string();
    for part in [
        "head (gemm_s8): k is 65537, expected 1 to 65536",
        "pinhole quantize --keep-float head",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
