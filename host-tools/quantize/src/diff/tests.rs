//! A small network against copies of itself that differ in one place.

use pinhole_graph::op::Activation;
use pinhole_graph::{Graph, Op, Tensor};
use pinhole_pack::{PackOptions, Precision, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;

use super::*;

/// Three linear layers of 8 channels, the last one behind a reshape. `factors` of the first layer's channels are undone
/// in the second; `error` is added to the weights of one channel of the second.
fn network(factors: [f32; 2], error: f32) -> Graph {
    let mut graph = Graph::empty("three");
    let mut x = graph.add_value("x", &[2, 8]);
    graph.inputs.push(x);
    for layer in 0..3 {
        let weight = |index: usize| {
            let (output, input) = (index / 8, index % 8);
            let mut weight = ((index * 7 + layer * 3) % 11) as f32 / 11.0 - 0.4;
            match layer {
                0 => weight *= factors[output % 2],
                1 => weight /= factors[input % 2],
                _ => {}
            }
            weight
                + if layer == 1 && output == 1 {
                    error
                } else {
                    0.0
                }
        };
        let weights = Tensor::f32(&[8, 8], (0..64).map(weight).collect());
        let weights = graph.add_constant(format!("weight{layer}"), weights);
        let activation = [Activation::Relu, Activation::None][layer / 2];
        let name = format!("layer{layer}");
        x = graph.add_node(name, Op::Linear { activation }, &[x, weights], &[2, 8]);
        if layer == 1 {
            x = graph.add_node("flat", Op::Reshape, &[x], &[1, 2, 8]);
            x = graph.add_node("back", Op::Reshape, &[x], &[2, 8]);
        }
    }
    graph.outputs.push(x);
    graph
}

fn packed(graph: &Graph, precision: Precision, names: bool) -> AlignedBytes {
    let options = PackOptions {
        precision,
        names,
        ..PackOptions::default()
    };
    AlignedBytes::from_slice(&pack(graph, &options).expect("it packs").bytes)
}

fn run(model: &Model<'_>, observer: &mut dyn Observer) {
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(model, &mut arena, kernel::detect()).expect("it fits");
    let input = interpreter.input_f32_mut(0).expect("floats");
    let numbers = input.iter_mut().enumerate();
    numbers.for_each(|(index, x)| *x = (index as f32 * 0.7).sin());
    interpreter.run_observed(observer);
}

/// Layers of two files, up to factors of channels or not.
fn compared(
    a: &AlignedBytes,
    b: &AlignedBytes,
    factors: bool,
) -> (Vec<LayerDifference>, Tolerance) {
    let (a, b) = (
        Model::load(a).expect("sound"),
        Model::load(b).expect("sound"),
    );
    let mut comparison = Comparison::new(a, b);
    if factors {
        comparison.allow_channel_factors();
    }
    let mut kept = comparison.keep();
    run(&a, &mut kept);
    run(&b, &mut comparison.against(kept));
    let tolerance = comparison.usual_tolerance(true);
    (comparison.layers(tolerance), tolerance)
}

fn beyond(layers: &[LayerDifference]) -> Vec<&str> {
    let beyond = layers.iter().filter(|layer| layer.beyond);
    beyond.map(|layer| layer.layer.as_str()).collect()
}

#[test]
fn the_layer_with_another_weight_is_the_first_that_differs() {
    let (a, b) = (network([1.0; 2], 0.0), network([1.0; 2], 0.25));
    for names in [true, false] {
        let a = packed(&a, Precision::F32, true);
        let b = packed(&b, Precision::F32, names);
        let (layers, tolerance) = compared(&a, &b, false);
        assert_eq!(tolerance, Tolerance::Bits);
        assert_eq!(beyond(&layers), ["layer1", "layer2"]);
        assert_eq!((layers[0].sqnr_db, layers[0].differing), (None, 0.0));
        assert!(layers[1].sqnr_db.expect("noise") < 40.0);
        assert!(layers[2].output && !layers[1].output);
    }
}

#[test]
fn a_layer_keeps_its_name_in_another_precision() {
    let graph = network([1.0; 2], 0.0);
    let (a, b) = (
        packed(&graph, Precision::F32, true),
        packed(&graph, Precision::F16, true),
    );
    let (layers, tolerance) = compared(&a, &b, false);
    assert_eq!(tolerance, Tolerance::Cosine(LEAST_COSINE));
    let names: Vec<&str> = layers.iter().map(|layer| layer.layer.as_str()).collect();
    assert_eq!(&names[..3], ["layer0", "layer1", "layer2"]);
    assert_eq!((layers[0].op_a, layers[0].op_b), ("gemm_f32", "gemm_f16"));
    assert!(beyond(&layers).is_empty());
    assert!(layers[0].sqnr_db.expect("rounding") > F16_DB);
}

#[test]
fn a_model_is_matched_with_itself_operator_by_operator() {
    // Attention in windows is several operators, of which some write values of one name.
    let mut graph = Graph::empty("windows");
    let x = graph.add_value("x", &[8, 16]);
    graph.inputs.push(x);
    let bias = graph.add_constant("bias", Tensor::f32(&[2, 4, 4], vec![0.5; 32]));
    let attention = Op::Attention {
        num_heads: 2,
        scale: 0.25,
        windows: 2,
        causal: false,
    };
    let y = graph.add_node("attention", attention, &[x, x, x, bias], &[8, 16]);
    graph.outputs.push(y);
    let bytes = packed(&graph, Precision::F32, true);
    let model = Model::load(&bytes).expect("sound");
    let matched = match_layers(&model, &model);
    assert!(model.ops().len() > 4, "several operators");
    assert_eq!(matched.pairs.len(), model.ops().len());
    assert!(
        matched.pairs.iter().all(|pair| pair.a == pair.b),
        "{matched:?}"
    );
    assert_eq!((matched.only_a.len(), matched.only_b.len()), (0, 0));
}

#[test]
fn factors_of_channels_are_a_difference_unless_they_are_allowed() {
    let a = packed(&network([1.0; 2], 0.0), Precision::F32, true);
    let b = packed(&network([4.0, 0.5], 0.0), Precision::F32, true);
    let (layers, _) = compared(&a, &b, false);
    assert!(layers[0].sqnr_db.expect("factors") < 6.0);
    let (layers, _) = compared(&a, &b, true);
    assert!(
        layers
            .iter()
            .all(|layer| layer.sqnr_db.is_none_or(|db| db > 100.0))
    );
}

#[test]
fn not_a_number_is_beyond_every_tolerance() {
    let view = |model: &Model<'_>| value(model, 0);
    let bytes = packed(&network([1.0; 2], 0.0), Precision::F32, true);
    let model = Model::load(&bytes).expect("sound");
    let numbers = |x: f32| {
        [x; 16]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    for (wrong, same) in [(f32::NAN, false), (1.0, true)] {
        let mut comparison = Comparison::new(model, model);
        let (a, b) = (numbers(1.0), numbers(wrong));
        let views = (view(&model), view(&model));
        add(
            &mut comparison.sums[0],
            (&views.0, &a),
            (&views.1, &b),
            false,
        );
        for tolerance in [
            Tolerance::Bits,
            Tolerance::Numerics,
            Tolerance::Cosine(-1.0),
            Tolerance::Sqnr(-100.0),
            Tolerance::MaxAbs(1e9),
        ] {
            assert_eq!(
                !comparison.layers(tolerance)[0].beyond,
                same,
                "{tolerance:?}"
            );
        }
    }
}
