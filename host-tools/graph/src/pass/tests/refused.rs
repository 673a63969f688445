//! What is wrong with a graph is found, all of it, and named.

use super::*;

#[test]
fn faults_of_shapes_name_the_node_and_both_shapes() {
    let (mut small, x) = Small::new(&[1, 5, 4, 3]);
    let weight = small.tensor(&[2, 3, 3, 4], data(72));
    let y = small.node(conv_op(), &[x, weight]);
    small.graph.outputs.push(y);
    let text = infer_shapes(&mut small.graph)
        .expect_err("does not fit")
        .to_string();
    assert!(
        text.starts_with("n0: weight has shape [2, 3, 3, 4] for 3 channels"),
        "{text}"
    );
}

#[test]
fn every_structural_fault_is_found_at_once() {
    let mut graph = conv_bn_clip(false);
    graph.nodes.swap(0, 1);
    graph.nodes[2].name = graph.nodes[1].name.clone();
    graph.values[1].name = "x".to_owned();
    let faults = validate(&graph).expect_err("is refused").0;
    let text: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.at, fault.what))
        .collect();
    assert!(
        text.iter()
            .any(|line| line.contains("n1: reads n0 before it is computed")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.contains("two nodes have this name")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.contains("x: two values have this name")),
        "{text:?}"
    );
}

#[test]
fn ids_out_of_range_cycles_and_two_producers_are_refused() {
    let sound = conv_bn_clip(false);
    let edits: [fn(&mut Graph); 8] = [
        |graph| graph.nodes[0].inputs[0] = 1 << 40,
        |graph| graph.nodes[0].output = usize::MAX,
        |graph| graph.outputs = vec![99],
        |graph| graph.outputs.clear(),
        |graph| graph.nodes[0].inputs[0] = graph.nodes[2].output,
        |graph| graph.nodes[1].output = graph.nodes[0].output,
        |graph| drop(graph.nodes[0].inputs.drain(1..)),
        |graph| graph.nodes[2].output = graph.inputs[0],
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let mut graph = sound.clone();
        edit(&mut graph);
        assert!(validate(&graph).is_err(), "edit {index}");
        assert!(standard(&mut graph).is_err(), "edit {index}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_node() {
    let leaky = |alpha| Unary::LeakyRelu { alpha };
    for function in [leaky(f32::NAN), leaky(f32::INFINITY)] {
        let mut graph = conv_bn_clip(false);
        graph.nodes[2].op = Op::Unary { function };
        let refused = standard(&mut graph).expect_err("is refused").to_string();
        assert!(refused.contains("n2: a number of Unary is"), "{refused}");
    }
    let mut graph = conv_bn_clip(false);
    let epsilon = f32::INFINITY;
    graph.nodes[1].op = Op::BatchNorm { epsilon };
    let refused = standard(&mut graph).expect_err("is refused").to_string();
    assert!(
        refused.contains("n1: a number of BatchNorm is inf"),
        "{refused}"
    );
}

#[test]
fn a_computed_weight_is_refused() {
    let (mut small, x) = Small::new(&[2, 2]);
    let y = small.node(
        Op::Linear {
            activation: Activation::None,
        },
        &[x, x],
    );
    small.graph.outputs.push(y);
    infer_shapes(&mut small.graph).expect("shapes fit");
    let text = validate(&small.graph).expect_err("is refused").to_string();
    assert!(
        text.contains("Linear input 1 is x, which is computed; expected a constant"),
        "{text}"
    );
}

#[test]
fn tokens_may_not_leave_the_first_dimension() {
    let ops = [
        Op::Transpose {
            permutation: vec![1, 0],
        },
        Op::Softmax { axis: 0 },
        Op::Concat { axis: 0 },
        Op::Pad {
            before: vec![1, 0],
            after: vec![0, 0],
            value: 0.0,
        },
    ];
    for op in ops {
        let (mut small, x) = Small::new(&[8, 4]);
        small.graph.values[x].dynamic = true;
        let y = small.node(op, &[x]);
        small.graph.outputs.push(y);
        let text = infer_shapes(&mut small.graph)
            .expect_err("is refused")
            .to_string();
        assert!(text.contains("dynamic"), "{text}");
    }
}

#[test]
fn huge_and_degenerate_shapes_are_refused_without_overflow() {
    let huge = usize::MAX / 2;
    let ops: Vec<(Vec<usize>, Op)> = vec![
        (vec![1, huge, huge, 3], Op::GlobalAvgPool),
        (
            vec![huge, huge],
            Op::Unary {
                function: Unary::Abs,
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [0, 1],
                stride: [1, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [5, 1],
                stride: [1, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [1, 1],
                stride: [0, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [1, 1],
                stride: [1, 1],
                padding: [usize::MAX; 4],
            },
        ),
        (
            vec![2, 2],
            Op::Pad {
                before: vec![usize::MAX, 1],
                after: vec![1, 1],
                value: 0.0,
            },
        ),
        (
            vec![2, 2],
            Op::Reduce {
                function: Reduce::Sum,
                axes: vec![2],
                keep_dims: true,
            },
        ),
        (
            vec![2, 2],
            Op::Reduce {
                function: Reduce::Sum,
                axes: vec![],
                keep_dims: true,
            },
        ),
        (
            vec![2, 2],
            Op::Transpose {
                permutation: vec![0, 0],
            },
        ),
        (
            vec![2, 2],
            Op::Slice {
                starts: vec![0],
                steps: vec![1],
            },
        ),
        (vec![2, 2], Op::Concat { axis: 9 }),
        (vec![2, 2], Op::Softmax { axis: 2 }),
    ];
    for (shape, op) in ops {
        let (mut small, x) = Small::new(&shape);
        let text = format!("{op:?}");
        let y = small.node(op, &[x]);
        small.graph.outputs.push(y);
        if shape != [1, huge, huge, 3] {
            assert!(infer_shapes(&mut small.graph).is_err(), "{text}");
        }
    }
}
