//! Pictures of another size for a network that takes any: convolutions, pooling, and a mean at the end.

use super::infer_shapes;
use crate::Graph;

/// Smallest and largest side of a picture.
const SIDES: std::ops::RangeInclusive<usize> = 8..=2048;

/// Has `graph` take pictures of `side` by `side` pixels; the shorter side of what is scaled and cut stays as much larger than
/// them as it was. Convolutions pad as they did, which is what a framework does for any side that is a multiple of the
/// network's stride. `graph` stays as it is where that fails.
///
/// # Errors
/// A graph that takes no pictures, a side that no picture has, and every node whose sizes are part of the network, as
/// positions and windows of a transformer are.
pub fn resize_input(graph: &mut Graph, side: usize) -> Result<(), String> {
    if !SIDES.contains(&side) {
        let (least, most) = (SIDES.start(), SIDES.end());
        return Err(format!(
            "a side of {side} pixels, expected {least} to {most}"
        ));
    }
    let mut resized = graph.clone();
    let input = graph.inputs.first().copied();
    let shape = input.map(|input| &mut resized.values[input].shape[..]);
    let (Some(&mut [1, ref mut height, ref mut width, _]), Some(geometry)) =
        (shape, &mut resized.meta.geometry)
    else {
        return Err("it takes no pictures, so that they have no side".to_owned());
    };
    let shorter = geometry.resize_shorter as f64 * side as f64 / (*height).min(*width) as f64;
    (*height, *width) = (side, side);
    (geometry.height, geometry.width) = (side, side);
    geometry.resize_shorter = (shorter.round() as usize).max(side);
    infer_shapes(&mut resized)
        .map_err(|faults| format!("pictures of {side} by {side} do not fit: {faults}"))?;
    *graph = resized;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::resize_input;
    use crate::op::Activation;
    use crate::{Graph, Op, PictureGeometry, Tensor};

    /// A convolution of stride 2, and its mean or, `flat`, all its pixels, projected.
    fn network(flat: bool) -> Graph {
        let mut graph = Graph::empty("network");
        let picture = graph.add_value("picture", &[1, 16, 16, 3]);
        graph.inputs.push(picture);
        graph.meta.geometry = Some(PictureGeometry {
            width: 16,
            height: 16,
            resize_shorter: 20,
            mean: [0.5; 3],
            std: [0.5; 3],
        });
        let op = Op::Conv2d {
            stride: [2; 2],
            padding: [0, 0, 1, 1],
            dilation: [1; 2],
            groups: 1,
            activation: Activation::None,
        };
        let weight = graph.add_constant("filters", Tensor::f32(&[4, 3, 3, 3], vec![0.1; 108]));
        let shape = [1, 8, 8, 4];
        let mut x = graph.add_node("conv".to_owned(), op, &[picture, weight], &shape);
        if !flat {
            let shape = [1, 1, 1, 4];
            x = graph.add_node("mean".to_owned(), Op::GlobalAvgPool, &[x], &shape);
        }
        let count = if flat { 256 } else { 4 };
        x = graph.add_node("flat".to_owned(), Op::Reshape, &[x], &[1, count]);
        graph.outputs.push(x);
        graph
    }

    #[test]
    fn a_network_of_convolutions_takes_pictures_of_any_side() {
        let mut graph = network(false);
        resize_input(&mut graph, 32).unwrap();
        let shape = |name: &str| {
            let node = graph.nodes.iter().find(|node| node.name == name).unwrap();
            &graph.values[node.output].shape
        };
        assert_eq!(*shape("conv"), [1, 16, 16, 4]);
        assert_eq!(*shape("flat"), [1, 4]);
        let geometry = graph.meta.geometry.unwrap();
        assert_eq!(
            [geometry.height, geometry.width, geometry.resize_shorter],
            [32, 32, 40]
        );
        crate::pass::validate(&graph).unwrap();
    }

    #[test]
    fn sizes_that_are_part_of_a_network_are_named_and_nothing_changes() {
        let mut graph = network(true);
        let error = resize_input(&mut graph, 32).unwrap_err();
        assert!(error.contains("flat"), "{error}");
        assert_eq!(graph, network(true));
    }

    #[test]
    fn what_is_no_picture_has_no_side() {
        let mut graph = network(false);
        assert!(
            resize_input(&mut graph, 0)
                .unwrap_err()
                .contains("expected 8 to 2048")
        );
        graph.meta.geometry = None;
        assert!(
            resize_input(&mut graph, 32)
                .unwrap_err()
                .contains("no pictures")
        );
    }
}
