//! Average pooling that counts its padding, made explicit: packed pooling never counts padding.

use crate::{Graph, Node, Op};

/// Turns `AvgPool` that counts padding into `Pad` by zeros and an `AvgPool` without padding. Where nothing is padded the
/// flag is dropped.
pub fn resolve_avg_pool(graph: &mut Graph) {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    // A copy, so that new names are compared with all old ones.
    for mut node in graph.nodes.clone() {
        if let Op::AvgPool {
            padding,
            count_include_pad,
            ..
        } = &mut node.op
            && std::mem::take(count_include_pad)
            && *padding != [0; 4]
        {
            let [top, left, bottom, right] = std::mem::take(padding);
            let name = graph.unique_name(&format!("{}.pad", node.name));
            let mut shape = graph.values[node.inputs[0]].shape.clone();
            shape[1] += top + bottom;
            shape[2] += left + right;
            let padded = graph.add_value(name.clone(), &shape);
            nodes.push(Node {
                name,
                op: Op::Pad {
                    before: vec![0, top, left, 0],
                    after: vec![0, bottom, right, 0],
                    value: 0.0,
                },
                inputs: node.inputs.clone(),
                output: padded,
            });
            node.inputs = vec![padded];
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
}
