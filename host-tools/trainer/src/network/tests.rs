//! The network beside the runtime, its gradients beside finite differences, its rounding beside a packed model.

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use pinhole_graph::{Graph, Node, Op, ValueId};
use pinhole_quantize::report::{cosine, outputs};
use pinhole_quantize::{Options, Runner, quantize};

use super::fixture::{SIDE, encoder, inputs, pictures};
use super::quantised::Quantised;
use super::{Batch, Rules, batched, forward};
use crate::device::Place;
use crate::model::elements;

/// Constants as they are, and a value that is watched.
struct Floats<'a> {
    graph: &'a Graph,
    device: Device,
    leaf: Option<(ValueId, Batch)>,
}

impl Rules for Floats<'_> {
    fn constant(&self, _node: &Node, value: ValueId) -> Batch {
        if let Some((leaf, tensor)) = &self.leaf
            && *leaf == value
        {
            return tensor.clone();
        }
        let tensor = self.graph.values[value]
            .constant
            .as_ref()
            .expect("a constant");
        let data = tensor.as_f32().expect("floats").to_vec();
        batch_of(data, 1, &tensor.shape, &self.device)
    }
}

fn batch_of(data: Vec<f32>, batch: usize, shape: &[usize], device: &Device) -> Batch {
    let count = data.len();
    Tensor::<1>::from_data(TensorData::new(data, [count]), device).reshape(batched(batch, shape))
}

#[test]
fn a_batch_gives_what_the_runtime_gives_one_by_one() {
    let graph = encoder();
    let pictures = pictures(3);
    let expected = outputs(&graph, &inputs(3).iter().collect::<Vec<_>>())
        .unwrap()
        .concat();
    let device = Device::flex();
    let rules = Floats {
        graph: &graph,
        device: device.clone(),
        leaf: None,
    };
    let x = batch_of(pictures.concat(), 3, &[1, SIDE, SIDE, 3], &device);
    let found = elements(forward(&graph, &rules, x).unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn a_class_token_comes_before_the_tokens_of_every_picture() {
    let mut graph = Graph::empty("tokens");
    let input = graph.add_value("tokens", &[2, 3]);
    graph.inputs = vec![input];
    let token = pinhole_graph::Tensor::f32(&[1, 3], vec![7.0, 8.0, 9.0]);
    let token = graph.add_constant("class", token);
    let all = graph.add_node("all", Op::Concat { axis: 0 }, &[token, input], &[3, 3]);
    graph.outputs = vec![all];
    let device = Device::flex();
    let rules = Floats {
        graph: &graph,
        device: device.clone(),
        leaf: None,
    };
    let tokens: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let x = batch_of(tokens.clone(), 2, &[2, 3], &device);
    let found = elements(forward(&graph, &rules, x).unwrap());
    let expected: Vec<f32> = tokens
        .chunks(6)
        .flat_map(|picture| [&[7.0, 8.0, 9.0], picture].concat())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn gradients_are_finite_differences() {
    let graph = encoder();
    let device = Device::flex().autodiff();
    let picture = pictures(1).concat();
    for name in [
        "stem.0",
        "depthwise.0",
        "excite.0",
        "q.0",
        "attention.0",
        "up.0",
    ] {
        let value = graph
            .values
            .iter()
            .position(|value| value.name == name)
            .unwrap();
        let tensor = graph.values[value].constant.clone().unwrap();
        let data = tensor.as_f32().unwrap().to_vec();
        let run = |data: Vec<f32>| {
            let leaf = batch_of(data, 1, &tensor.shape, &device).require_grad();
            let rules = Floats {
                graph: &graph,
                device: device.clone(),
                leaf: Some((value, leaf.clone())),
            };
            let x = batch_of(picture.clone(), 1, &[1, SIDE, SIDE, 3], &device);
            (forward(&graph, &rules, x).unwrap().square().sum(), leaf)
        };
        let (loss, leaf) = run(data.clone());
        let gradient = elements(leaf.grad(&loss.backward()).expect("a gradient"));
        let index = (0..data.len())
            .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
            .unwrap();
        let moved = |by: f32| {
            let mut data = data.clone();
            data[index] += by;
            f64::from(elements(run(data).0)[0])
        };
        let measured = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        let found = f64::from(gradient[index]);
        assert!(
            (found - measured).abs() < 0.03 * measured.abs() + 1e-4,
            "{name}: {found} {measured}"
        );
    }
}

/// Rounding that keeps what it gave.
struct Watched<'a, R: Rules>(&'a R, RefCell<BTreeMap<ValueId, Vec<f32>>>);

impl<R: Rules> Rules for Watched<'_, R> {
    fn constant(&self, node: &Node, value: ValueId) -> Batch {
        self.0.constant(node, value)
    }

    fn activation(&self, value: ValueId, x: Batch) -> Batch {
        let x = self.0.activation(value, x);
        self.1.borrow_mut().insert(value, elements(x.clone()));
        x
    }
}

#[test]
fn rounding_is_that_of_the_packed_model() {
    let graph = encoder();
    let pictures = pictures(24);
    let quantized = quantize(&graph, &inputs(24), &Options::default(), &|_| ())
        .unwrap()
        .quantized;
    let network = Quantised::new(&quantized, true, &Place::cpu());
    let watched = Watched(&network, RefCell::default());
    let x = network.input(&quantized, pictures[0].clone());
    forward(&quantized, &watched, x).unwrap();
    let mut packed = BTreeMap::new();
    let runner = Runner::new(&quantized).unwrap();
    runner
        .run(0, &inputs(1)[0], &mut |value, reals| {
            drop(packed.insert(value, reals.to_vec()))
        })
        .unwrap();
    // Behind pooling, whose means lie half-way between two steps, normalisation of eight channels makes single steps large.
    for name in [
        "stem",
        "swish",
        "depthwise",
        "excite",
        "sigmoid",
        "gated",
        "project",
        "sum",
    ] {
        let value = quantized
            .values
            .iter()
            .position(|value| value.name == name)
            .unwrap();
        let step = quantized.values[value].quant.as_ref().expect(name).scales[0];
        let (ours, packed) = (&watched.1.borrow()[&value], &packed[&value]);
        assert_eq!(ours.len(), packed.len(), "{name}");
        let steps: Vec<f32> = ours
            .iter()
            .zip(packed)
            .map(|(a, b)| ((a - b) / step).abs())
            .collect();
        let mean = steps.iter().sum::<f32>() / steps.len() as f32;
        assert!(
            mean < 0.03 && steps.iter().all(|&steps| steps < 1.01),
            "{name}: {mean} steps"
        );
    }
}

#[test]
fn a_network_that_follows_the_packed_model_has_its_numbers() {
    let graph = encoder();
    let quantized = quantize(&graph, &inputs(24), &Options::default(), &|_| ())
        .unwrap()
        .quantized;
    let network = Quantised::new(&quantized, true, &Place::cpu());
    let pictures = pictures(4);
    let runner = network.runner(&quantized).unwrap();
    let following = network.follow(&quantized, &runner, &pictures).unwrap();
    let x = network.input(&quantized, pictures.concat());
    let watched = Watched(&following, RefCell::default());
    forward(&quantized, &watched, x).unwrap();
    let mut packed: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
    for (index, input) in inputs(4).iter().enumerate() {
        runner
            .run(index, input, &mut |value, reals| {
                packed.entry(value).or_default().extend(reals);
            })
            .unwrap();
    }
    let mut compared = 0;
    for node in &quantized.nodes {
        // A direction of 8 bits has no length.
        if let (Some(packed), false) = (packed.get(&node.output), node.op == Op::NormalizeEmbedding)
        {
            let ours = &watched.1.borrow()[&node.output];
            assert_eq!(ours.len(), packed.len(), "{}", node.name);
            for (ours, packed) in ours.iter().zip(packed) {
                assert!(
                    (ours - packed).abs() < 1e-5,
                    "{}: {ours} {packed}",
                    node.name
                );
            }
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

#[test]
fn what_is_written_back_without_a_step_is_the_same_model() {
    let graph = encoder();
    let quantized = quantize(&graph, &inputs(24), &Options::default(), &|_| ())
        .unwrap()
        .quantized;
    let written = Quantised::new(&quantized, true, &Place::cpu()).write(&quantized);
    let pictures = inputs(24);
    let pictures: Vec<_> = pictures.iter().collect();
    let (before, after) = (
        outputs(&quantized, &pictures).unwrap(),
        outputs(&written, &pictures).unwrap(),
    );
    for (a, b) in before.iter().zip(&after) {
        assert!(cosine(a, b) > 0.9999, "{}", cosine(a, b));
    }
}
