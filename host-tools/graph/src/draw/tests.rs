//! Boxes apart, arrows downwards, sound XML.

use super::layout::layout;
use crate::op::{Activation, Binary, Op};
use crate::{Graph, QuantDType, QuantParams, Tensor};

const SIZE: [f64; 2] = [100.0, 40.0];

#[test]
fn a_chain_with_a_shortcut_is_straight_and_the_shortcut_passes_beside_it() {
    let edges = [[0, 1], [1, 2], [1, 4], [2, 3], [3, 4], [4, 5]];
    let layout = layout(6, &edges, SIZE);
    for pair in layout.centres.windows(2) {
        assert!((pair[0][0] - pair[1][0]).abs() < 3.0, "{pair:?}");
        assert!(pair[1][1] - pair[0][1] > SIZE[1], "{pair:?}");
    }
    let bends = &layout.bends[2];
    assert_eq!(bends.len(), 2);
    assert!(
        (bends[0][0] - bends[1][0]).abs() < 0.5,
        "one lane: {bends:?}"
    );
    assert!(
        (bends[0][0] - layout.centres[2][0]).abs() > SIZE[0] / 2.0,
        "{bends:?}"
    );
}

#[test]
fn no_two_boxes_overlap_and_everything_is_inside() {
    // Each box reads some of the last seven.
    let edges: Vec<[usize; 2]> = (1..120usize)
        .flat_map(|to| {
            let from = (to.saturating_sub(7)..to).filter(move |from| (from * 7 + to * 3) % 5 == 0);
            from.map(move |from| [from, to])
        })
        .collect();
    let layout = layout(120, &edges, SIZE);
    for (index, a) in layout.centres.iter().enumerate() {
        for b in &layout.centres[index + 1..] {
            let apart =
                (a[0] - b[0]).abs() > SIZE[0] - 1e-6 || (a[1] - b[1]).abs() > SIZE[1] - 1e-6;
            assert!(apart, "{a:?} {b:?}");
        }
        for axis in 0..2 {
            assert!(a[axis] >= SIZE[axis] / 2.0 - 1e-6);
            assert!(a[axis] <= layout.size[axis] - SIZE[axis] / 2.0 + 1e-6);
        }
    }
    for [from, to] in edges {
        assert!(layout.centres[from][1] < layout.centres[to][1]);
    }
}

#[test]
fn nothing_is_drawn_of_nothing() {
    assert!(Graph::empty("empty").to_svg().contains("0 nodes"));
}

#[test]
fn a_drawing_says_what_each_node_is() {
    let mut graph = Graph::empty("a <b> & \"c\"");
    let x = graph.add_value("x", &[1, 8, 8, 4]);
    graph.inputs.push(x);
    let weight = graph.add_constant("w", Tensor::f32(&[4, 3, 3, 1], vec![0.0; 36]));
    let conv = Op::Conv2d {
        stride: [2, 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups: 4,
        activation: Activation::Relu6,
    };
    let y = graph.add_node("stem", conv, &[x, weight], &[1, 4, 4, 4]);
    graph.values[y].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![0.023_529],
        zero_point: -128,
    });
    let add = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let z = graph.add_node("sum\u{1}", add, &[y, y], &[1, 4, 4, 4]);
    graph.outputs.push(z);
    let svg = graph.to_svg();
    for part in [
        "a &lt;b&gt; &amp; &quot;c&quot;",
        ">Depthwise 3×3 /2, ReLU6<",
        ">4×4×4<",
        ">i8, scale 0.0235, zero -128<",
        ">Add<",
        ">sum <",
        "1 of them quantised",
    ] {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
    let count = |part: &str| svg.matches(part).count();
    assert_eq!(count("class=\"box\""), 4);
    assert_eq!(
        count("class=\"edge\""),
        3,
        "two inputs that are one value are one arrow"
    );
}
