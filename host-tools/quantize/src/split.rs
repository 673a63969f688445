//! Rewrites that leave a network the same and make it easier in integers.
//!
//! A fused projection whose output is only cut into columns (queries, keys and values) becomes one projection for each cut, so
//! that each has a scale of its own. A convolution whose windows do not overlap (a patch embedding) becomes a product over
//! patches, which can write 16 bits. A layer normalisation that products and a residual sum read (the post-norm of BERT) is
//! computed twice, in 8 bits for the products, whose weights may then take part of its channels' range, and in 16 for the sum.
//! Layers that share a bias get one each, for biases are corrected layer by layer; so do layer normalisations that share gamma and
//! beta, which smoothing divides by factors of what each is read by.

use pinhole_graph::{Graph, Node, Op, Tensor, ValueId};

/// All rewrites.
pub(crate) fn split(graph: &Graph) -> Graph {
    let mut split = graph.clone();
    split_projections(&mut split);
    split_patches(&mut split);
    split_norms(&mut split);
    split_vectors(&mut split);
    pinhole_graph::pass::remove_dead(&mut split);
    split
}

/// The output channels of a linear layer that a cut keeps, when it cuts channels alone.
fn kept_channels(graph: &Graph, from: ValueId, slice: &Node, n: usize) -> Option<Vec<usize>> {
    let Op::Slice { starts, steps } = &slice.op else {
        return None;
    };
    let (input, output) = (&graph.values[from].shape, &graph.values[slice.output].shape);
    // The trailing dimensions that the channels were reshaped to.
    let mut product = 1;
    let first = (0..input.len()).rev().find(|&d| {
        product *= input[d];
        product == n
    })?;
    let whole = (0..first).all(|d| starts[d] == 0 && steps[d] == 1 && input[d] == output[d]);
    if !whole {
        return None;
    }
    let mut channels = vec![0];
    for d in first..input.len() {
        channels = channels
            .iter()
            .flat_map(|&base| {
                (0..output[d]).map(move |i| base * input[d] + starts[d] + i * steps[d])
            })
            .collect();
    }
    Some(channels)
}

fn split_projections(graph: &mut Graph) {
    let consumers = graph.consumers();
    let mut added: Vec<(usize, Vec<Node>)> = Vec::new();
    for id in 0..graph.nodes.len() {
        let node = graph.nodes[id].clone();
        let Op::Linear { activation } = node.op else {
            continue;
        };
        let Some((n, k)) = matrix(graph, node.inputs[1]) else {
            continue;
        };
        if graph.outputs.contains(&node.output) {
            continue;
        }
        // All readers, looking through reshapes.
        let (mut cuts, mut ahead, mut plain) = (Vec::new(), vec![node.output], true);
        while let Some(value) = ahead.pop() {
            for &reader in &consumers[value] {
                match &graph.nodes[reader].op {
                    Op::Reshape => ahead.push(graph.nodes[reader].output),
                    Op::Slice { .. } => cuts.push((value, reader)),
                    _ => plain = false,
                }
            }
            plain &= !graph.outputs.contains(&value);
        }
        let kept: Option<Vec<Vec<usize>>> = cuts
            .iter()
            .map(|&(from, reader)| kept_channels(graph, from, &graph.nodes[reader], n))
            .collect();
        let Some(kept) = kept.filter(|kept| plain && kept.len() > 1) else {
            continue;
        };
        for (&(_, reader), channels) in cuts.iter().zip(&kept) {
            let cut = graph.nodes[reader].clone();
            let name = format!("{}.{}", node.name, cut.name);
            let mut inputs = vec![node.inputs[0]];
            for (&constant, width) in node.inputs[1..].iter().zip([k, 1]) {
                inputs.push(gathered(graph, constant, channels, width, &name));
            }
            let mut shape = graph.values[node.output].shape.clone();
            *shape.last_mut().unwrap_or(&mut 0) = channels.len();
            let name = graph.unique_name(&name);
            let output = graph.add_value(name.clone(), &shape);
            graph.values[output].dynamic = graph.values[node.output].dynamic;
            let linear = Node {
                name,
                op: Op::Linear { activation },
                inputs,
                output,
            };
            let reshape = Node {
                op: Op::Reshape,
                inputs: vec![output],
                ..cut
            };
            added.push((reader, vec![linear, reshape]));
        }
    }
    added.sort_by_key(|(reader, _)| *reader);
    for (reader, nodes) in added.into_iter().rev() {
        graph.nodes.splice(reader..=reader, nodes);
    }
}

fn matrix(graph: &Graph, weight: ValueId) -> Option<(usize, usize)> {
    let tensor = graph.values[weight].constant.as_ref()?;
    match tensor.shape[..] {
        [n, k] => Some((n, k)),
        _ => None,
    }
}

/// Rows of a constant (n, width) or (n).
fn gathered(graph: &mut Graph, id: ValueId, rows: &[usize], width: usize, name: &str) -> ValueId {
    let tensor = graph.values[id].constant.as_ref();
    let data = tensor.and_then(|tensor| tensor.as_f32()).unwrap_or(&[]);
    let picked: Vec<f32> = rows
        .iter()
        .flat_map(|row| data.iter().skip(row * width).take(width).copied())
        .collect();
    let shape = match tensor.map_or(0, |tensor| tensor.shape.len()) {
        2 => vec![rows.len(), width],
        _ => vec![rows.len()],
    };
    let name = graph.unique_name(&format!(
        "{name}.{}",
        if shape.len() == 2 { "weight" } else { "bias" }
    ));
    graph.add_constant(name, Tensor::f32(&shape, picked))
}

fn split_patches(graph: &mut Graph) {
    let mut added: Vec<(usize, Vec<Node>)> = Vec::new();
    for id in 0..graph.nodes.len() {
        let node = graph.nodes[id].clone();
        let Op::Conv2d {
            stride,
            padding: [0, 0, 0, 0],
            dilation: [1, 1],
            groups: 1,
            activation,
        } = node.op
        else {
            continue;
        };
        let (x, weight) = (
            graph.values[node.inputs[0]].shape.clone(),
            graph.values[node.inputs[1]].shape.clone(),
        );
        let (&[1, height, width, channels], &[n, kh, kw, _]) = (&x[..], &weight[..]) else {
            continue;
        };
        let whole = [kh, kw] == stride && height % kh == 0 && width % kw == 0;
        if !whole || kh * kw == 1 {
            continue;
        }
        let Some(data) = graph.values[node.inputs[1]]
            .constant
            .as_ref()
            .and_then(|t| t.as_f32())
            .map(<[f32]>::to_vec)
        else {
            continue;
        };
        let (rows, columns, k) = (height / kh, width / kw, kh * kw * channels);
        let mut nodes = Vec::new();
        let mut step =
            |graph: &mut Graph, part: &str, op: Op, inputs: Vec<ValueId>, shape: &[usize]| {
                let name = graph.unique_name(&format!("{}.{part}", node.name));
                let output = graph.add_value(name.clone(), shape);
                nodes.push(Node {
                    name,
                    op,
                    inputs,
                    output,
                });
                output
            };
        let cut = step(
            graph,
            "rows",
            Op::Reshape,
            vec![node.inputs[0]],
            &[rows, kh, columns, kw * channels],
        );
        let turned = step(
            graph,
            "patches",
            Op::Transpose {
                permutation: vec![0, 2, 1, 3],
            },
            vec![cut],
            &[rows, columns, kh, kw * channels],
        );
        let flat = step(
            graph,
            "flat",
            Op::Reshape,
            vec![turned],
            &[rows * columns, k],
        );
        let name = graph.unique_name(&format!("{}.matrix", node.name));
        let matrix = graph.add_constant(name, Tensor::f32(&[n, k], data));
        let inputs = [&[flat, matrix], &node.inputs[2..]].concat();
        let product = step(
            graph,
            "product",
            Op::Linear { activation },
            inputs,
            &[rows * columns, n],
        );
        nodes.push(Node {
            op: Op::Reshape,
            inputs: vec![product],
            ..node
        });
        added.push((id, nodes));
    }
    for (id, nodes) in added.into_iter().rev() {
        graph.nodes.splice(id..=id, nodes);
    }
}

/// One layer normalisation for the linear layers that read it, and one for the sums.
fn split_norms(graph: &mut Graph) {
    let consumers = graph.consumers();
    let mut added: Vec<(usize, Node)> = Vec::new();
    for id in 0..graph.nodes.len() {
        let node = graph.nodes[id].clone();
        if !matches!(node.op, Op::LayerNorm { .. }) {
            continue;
        }
        let is_linear = |reader: &usize| {
            let reader = &graph.nodes[*reader];
            matches!(reader.op, Op::Linear { .. }) && reader.inputs[0] == node.output
        };
        let is_sum = |reader: &usize| matches!(graph.nodes[*reader].op, Op::Binary { .. });
        let (linear, others): (Vec<usize>, Vec<usize>) = consumers[node.output]
            .iter()
            .partition(|reader| is_linear(reader));
        if linear.is_empty() || !others.iter().any(is_sum) || !others.iter().all(is_sum) {
            continue;
        }
        let name = graph.unique_name(&format!("{}.bytes", node.name));
        let output = graph.add_value(name.clone(), &graph.values[node.output].shape.clone());
        graph.values[output].dynamic = graph.values[node.output].dynamic;
        let mut twin = Node {
            name,
            output,
            ..node
        };
        for input in &mut twin.inputs[1..] {
            *input = own(graph, *input);
        }
        for reader in linear {
            graph.nodes[reader].inputs[0] = output;
        }
        added.push((id, twin));
    }
    for (id, twin) in added.into_iter().rev() {
        graph.nodes.insert(id + 1, twin);
    }
}

/// A bias, or gamma and beta, of its own for every layer but the first of those that share one.
fn split_vectors(graph: &mut Graph) {
    let mut seen = std::collections::BTreeSet::new();
    for id in 0..graph.nodes.len() {
        let first = match graph.nodes[id].op {
            Op::Linear { .. } | Op::Conv2d { .. } => 2,
            Op::LayerNorm { .. } => 1,
            _ => continue,
        };
        for place in first..graph.nodes[id].inputs.len() {
            let shared = graph.nodes[id].inputs[place];
            if !seen.insert(shared) {
                let own = own(graph, shared);
                graph.nodes[id].inputs[place] = own;
            }
        }
    }
}

/// A copy of a constant; any other value as it is.
fn own(graph: &mut Graph, id: ValueId) -> ValueId {
    match graph.values[id].constant.clone() {
        Some(tensor) => {
            let name = graph.unique_name(&graph.values[id].name);
            graph.add_constant(name, tensor)
        }
        None => id,
    }
}
