//! A quantised graph as one in f32.

use crate::{Graph, IntegerRules, QuantParams, Tensor, TensorData, ValueId};

/// The graph without parameters of quantisation: weights and biases in integers become the real numbers that they stand
/// for, floats stay as they are.
pub fn real(graph: &Graph) -> Graph {
    let mut real = graph.clone();
    for node in &graph.nodes {
        // A bias has the units of its layer's sums.
        let [Some(input), Some(weight)] = [0, 1].map(|index| quant(graph, node.inputs.get(index)))
        else {
            continue;
        };
        let Some(&bias) = node.inputs.get(2) else {
            continue;
        };
        let Some(steps) = graph.values[bias].constant.as_ref() else {
            continue;
        };
        let unit = |channel: usize| {
            let scale = weight.scales[channel.min(weight.scales.len() - 1)];
            input.scales[0] * scale
        };
        if let TensorData::I32(data) = &steps.data {
            let data = data.iter().enumerate();
            let data = data.map(|(channel, &steps)| unit(channel) * steps as f32);
            real.values[bias].constant = Some(Tensor::f32(&steps.shape, data.collect()));
        }
    }
    for (value, given) in real.values.iter_mut().zip(&graph.values) {
        value.quant = None;
        if let (Some(constant), Some(quant)) = (&given.constant, &given.quant)
            && let TensorData::I8(data) = &constant.data
        {
            let row = (data.len() / quant.scales.len()).max(1);
            let scale = |index: usize| quant.scales[(index / row).min(quant.scales.len() - 1)];
            let data = data
                .iter()
                .enumerate()
                .map(|(index, &steps)| scale(index) * (i32::from(steps) - quant.zero_point) as f32);
            value.constant = Some(Tensor::f32(&constant.shape, data.collect()));
        }
    }
    real.meta.float_nodes.clear();
    real.meta.integer_rules = IntegerRules::Own;
    real
}

fn quant<'a>(graph: &'a Graph, id: Option<&ValueId>) -> Option<&'a QuantParams> {
    graph.values[*id?].quant.as_ref()
}
