//! Nodes of a graph to operators of the runtime.
//!
//! A node runs in integers when quantisation gave its output and all its computed inputs parameters and an integer operator
//! exists; else in floats, f32 or f16 as [`Precision`] says, with conversions put between. Reshapes become other views of the
//! same bytes. All nodes that nothing can compute are reported at once.

use std::collections::HashMap;

use pinhole_graph::{
    Graph, IntegerRules, ModelKind, Node, Op, QuantDType, Tensor, TensorData, ValueId,
};
use pinhole_runtime::model::format::{DType, MAX_RANK};
use pinhole_runtime::model::op::{OpKind, TransposeParams};
use zerocopy::IntoBytes;

use crate::error::{PackError, Refused};
use crate::{FloatWeights, PackOptions, Precision, lower_float, lower_int, weights};

/// Where a lowered value's bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In RAM, at an offset that the plan finds.
    Arena,
    /// In the file.
    Data(Vec<u8>),
}

/// A value of the model to be.
#[derive(Clone, Debug)]
pub struct LoweredValue {
    /// That of the graph's value, or of the node with a suffix for a value in between.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// 1 to 4 dimensions.
    pub shape: Vec<usize>,
    /// See [`Place`].
    pub place: Place,
    /// Index of the value whose bytes these are; its own as a rule.
    pub storage: usize,
    /// Dimension 0 is the number of tokens.
    pub dynamic: bool,
    /// 0 for floats.
    pub scale: f32,
    /// Of the quantisation.
    pub zero_point: i32,
}

impl LoweredValue {
    /// Elements at most.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes at most.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.bytes()
    }
}

/// An operator of the model to be.
#[derive(Clone, Debug)]
pub struct LoweredOp {
    /// Of its node.
    pub name: String,
    /// What it computes.
    pub kind: OpKind,
    /// Indices of lowered values.
    pub inputs: Vec<usize>,
    /// Index of a lowered value.
    pub output: usize,
    /// Roles as [`OpKind`] states; at most four.
    pub data: Vec<Option<Vec<u8>>>,
    /// The bytes of its parameter record.
    pub params: Vec<u8>,
    /// Working memory.
    pub scratch_bytes: usize,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// A graph in terms of the runtime.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// Values.
    pub values: Vec<LoweredValue>,
    /// In the order of execution.
    pub ops: Vec<LoweredOp>,
    /// Indices of values.
    pub inputs: Vec<usize>,
    /// Indices of values.
    pub outputs: Vec<usize>,
    /// For each value of the graph, the lowered value that holds it.
    pub value_map: Vec<Option<usize>>,
}

/// Lowers a whole graph.
///
/// # Errors
/// [`PackError::Refused`] with every node at fault.
pub fn lower(graph: &Graph, options: &PackOptions) -> Result<Lowered, PackError> {
    let mut state = Lowering::new(graph, options);
    let mut refused = Vec::new();
    for &input in &graph.inputs {
        match state.add_input(input) {
            Ok(value) => state.out.inputs.push(value),
            Err(reason) => {
                refused.push(Refused {
                    node: graph.values[input].name.clone(),
                    op: "input".into(),
                    reason,
                });
            }
        }
    }
    for node in &graph.nodes {
        if let Err(reason) = state.lower_node(node) {
            refused.push(Refused {
                node: node.name.clone(),
                op: node.op.name().into(),
                reason,
            });
            state.stand_in(node.output);
        }
    }
    if !refused.is_empty() {
        return Err(PackError::Refused(refused));
    }
    for &output in &graph.outputs {
        let value = state.readable(output).map_err(|reason| {
            PackError::Refused(vec![Refused {
                node: graph.values[output].name.clone(),
                op: "output".into(),
                reason,
            }])
        })?;
        state.out.outputs.push(value);
    }
    Ok(state.out)
}

/// The work in progress.
pub(crate) struct Lowering<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) options: &'a PackOptions,
    pub(crate) out: Lowered,
    /// For a value of the graph, the lowered one that float layers read.
    floats: HashMap<ValueId, usize>,
}

/// Why a node is refused: found and expected, one sentence.
pub(crate) type Reason = String;

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, options: &'a PackOptions) -> Self {
        let out = Lowered {
            value_map: vec![None; graph.values.len()],
            ..Lowered::default()
        };
        Self {
            graph,
            options,
            out,
            floats: HashMap::new(),
        }
    }

    /// Type of the values of float layers.
    pub(crate) fn float_type(&self) -> DType {
        match self.options.precision {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        }
    }

    /// The operator of float layers that `kind`, one over f32, stands for.
    pub(crate) fn float_kind(&self, kind: OpKind) -> OpKind {
        match self.options.precision {
            Precision::F32 => kind,
            Precision::F16 => kind.over_halves().unwrap_or(kind),
        }
    }

    /// How float layers store their weights.
    pub(crate) fn float_weights(&self) -> FloatWeights {
        match self.options.precision {
            Precision::F32 => self.options.float_weights,
            Precision::F16 => FloatWeights::F16,
        }
    }

    /// How float layers store weights that are never i8.
    pub(crate) fn float_dense(&self) -> FloatWeights {
        match self.options.precision {
            Precision::F32 => FloatWeights::F32,
            Precision::F16 => FloatWeights::F16,
        }
    }

    /// Numbers as values of float layers hold them.
    pub(crate) fn float_bytes(&self, numbers: &[f32]) -> Vec<u8> {
        match self.options.precision {
            Precision::F32 => weights::f32_bytes(numbers),
            Precision::F16 => weights::f16_bytes(numbers),
        }
    }

    fn lower_node(&mut self, node: &Node) -> Result<(), Reason> {
        match &node.op {
            Op::Reshape => return self.alias(node),
            Op::NormalizeEmbedding if self.graph.values[node.output].quant.is_none() => {
                return self.alias(node);
            }
            Op::BatchNorm { .. } => {
                return Err("batch normalisation is still apart; run the standard passes".into());
            }
            _ => {}
        }
        if self.runs_in_integers(node) {
            return lower_int::lower(self, node);
        }
        if self.must_run_in_integers(node) {
            return Err("no integer operator computes it as LiteRT does".into());
        }
        lower_float::lower(self, node)?;
        self.quantize_output(node)
    }

    /// See the module's documentation.
    fn runs_in_integers(&self, node: &Node) -> bool {
        self.is_quantized(node)
            && !self.graph.meta.float_nodes.contains(&node.name)
            && lower_int::supports(self, node)
    }

    /// Whether floats in its place would break a promise.
    fn must_run_in_integers(&self, node: &Node) -> bool {
        self.integer_rules() == IntegerRules::LiteRt && self.is_quantized(node)
    }

    /// Whether its output and all its computed inputs are quantised.
    fn is_quantized(&self, node: &Node) -> bool {
        let computed = |input: &&usize| self.graph.values[**input].constant.is_none();
        let integers = |value: usize| {
            let dtype = self.out.values[value].dtype;
            matches!(dtype, DType::I8 | DType::I16)
                || dtype == DType::I32 && node.op == Op::Embedding
        };
        self.graph.values[node.output].quant.is_some()
            && node
                .inputs
                .iter()
                .filter(computed)
                .all(|&input| self.out.value_map[input].is_some_and(integers))
    }

    /// How integer operators round.
    pub(crate) fn integer_rules(&self) -> IntegerRules {
        self.graph.meta.integer_rules
    }

    fn add_input(&mut self, input: ValueId) -> Result<usize, Reason> {
        let value = &self.graph.values[input];
        let dtype = match (&value.quant, value.is_ids) {
            (_, true) => DType::I32,
            (Some(_), _) => DType::I8,
            (None, _) => DType::F32,
        };
        self.add_value_like(input, dtype)
    }

    /// A new value for the graph's value, in the arena; float values get no quantisation.
    pub(crate) fn add_value_like(&mut self, id: ValueId, dtype: DType) -> Result<usize, Reason> {
        let value = &self.graph.values[id];
        let (scale, zero_point) = match (&value.quant, dtype) {
            (Some(quant), DType::I8 | DType::I16) => match quant.scales[..] {
                [scale] => (scale, quant.zero_point),
                _ => {
                    return Err(format!(
                        "value {} has {} scales, expected 1",
                        value.name,
                        quant.scales.len()
                    ));
                }
            },
            _ => (0.0, 0),
        };
        let index = self.add_value(value.name.clone(), dtype, &value.shape, Place::Arena)?;
        let added = &mut self.out.values[index];
        (added.dynamic, added.scale, added.zero_point) = (value.dynamic, scale, zero_point);
        self.out.value_map[id] = Some(index);
        Ok(index)
    }

    /// A new value that stands alone.
    pub(crate) fn add_value(
        &mut self,
        name: String,
        dtype: DType,
        shape: &[usize],
        place: Place,
    ) -> Result<usize, Reason> {
        let shape = four_dimensions(shape).ok_or_else(|| {
            format!("value {name} has shape {shape:?}, at most {MAX_RANK} dimensions fit")
        })?;
        if shape.iter().product::<usize>() == 0 {
            return Err(format!("value {name} has shape {shape:?} without elements"));
        }
        let storage = self.out.values.len();
        self.out.values.push(LoweredValue {
            name,
            dtype,
            shape,
            place,
            storage,
            dynamic: false,
            scale: 0.0,
            zero_point: 0,
        });
        Ok(storage)
    }

    /// The lowered value that holds a computed value or a constant of the graph, whatever its type.
    pub(crate) fn computed(&mut self, id: ValueId) -> Result<usize, Reason> {
        if let Some(value) = self.out.value_map[id] {
            return Ok(value);
        }
        let value = &self.graph.values[id];
        let Some(constant) = &value.constant else {
            return Err(format!(
                "value {} is read before it is computed",
                value.name
            ));
        };
        let (dtype, bytes) = match &constant.data {
            TensorData::F32(data) => (DType::F32, weights::f32_bytes(data)),
            TensorData::I32(data) => (DType::I32, weights::i32_bytes(data)),
            TensorData::I8(data) => (DType::I8, weights::i8_bytes(data)),
        };
        let index = self.add_value(
            value.name.clone(),
            dtype,
            &value.shape.clone(),
            Place::Data(bytes),
        )?;
        if dtype == DType::I8 {
            let quant = lower_int::activation_quant(self, id)?;
            let added = &mut self.out.values[index];
            (added.scale, added.zero_point) = (quant.scale, quant.zero_point);
        }
        self.out.value_map[id] = Some(index);
        Ok(index)
    }

    /// The value as float layers want it, converted when it has another type; the same one however often it is asked for.
    pub(crate) fn float(&mut self, id: ValueId) -> Result<usize, Reason> {
        if let Some(&known) = self.floats.get(&id) {
            return Ok(known);
        }
        let (graph, wanted) = (self.graph, self.float_type());
        let value = &graph.values[id];
        let numbers = value
            .constant
            .as_ref()
            .and_then(|constant| constant.as_f32());
        let float = match numbers {
            Some(numbers) => {
                let place = Place::Data(self.float_bytes(numbers));
                self.add_value(value.name.clone(), wanted, &value.shape, place)?
            }
            None => {
                let source = self.computed(id)?;
                match self.out.values[source].dtype {
                    from if from == wanted => source,
                    DType::I32 => {
                        return Err(format!("value {} is i32, expected numbers", value.name));
                    }
                    _ => self.converted(source, wanted)?,
                }
            }
        };
        self.floats.insert(id, float);
        Ok(float)
    }

    /// A model output, which is never half, and of a text encoder never 16 bits.
    fn readable(&mut self, id: ValueId) -> Result<usize, Reason> {
        let value = self.computed(id)?;
        let to_floats = match self.out.values[value].dtype {
            DType::F16 => true,
            DType::I16 => self.graph.meta.kind == ModelKind::TextEncoder,
            _ => false,
        };
        if !to_floats {
            return Ok(value);
        }
        let single = self.converted(value, DType::F32)?;
        self.out.value_map[id] = Some(single);
        Ok(single)
    }

    /// A new value with the numbers of `source` as floats of type `to`.
    fn converted(&mut self, source: usize, to: DType) -> Result<usize, Reason> {
        let from = self.out.values[source].clone();
        let name = format!("{}.{}", from.name, to.name());
        let index = self.add_value(name, to, &from.shape, Place::Arena)?;
        self.out.values[index].dynamic = from.dynamic;
        let kind = match (from.dtype, to) {
            (DType::I8, DType::F32) => OpKind::DequantizeS8,
            _ => OpKind::Convert,
        };
        self.push(from.name, kind, vec![source], index);
        Ok(index)
    }

    /// After a float node whose output is wanted quantised: converts it.
    fn quantize_output(&mut self, node: &Node) -> Result<(), Reason> {
        let id = node.output;
        let (Some(quant), Some(float)) = (&self.graph.values[id].quant, self.out.value_map[id])
        else {
            return Ok(());
        };
        let from = self.out.values[float].dtype;
        if !matches!(from, DType::F32 | DType::F16) {
            return Ok(());
        }
        let to = match quant.dtype {
            QuantDType::I8 => DType::I8,
            QuantDType::I16 => DType::I16,
        };
        self.out.values[float].name.push_str(".float");
        // Floats that read it need not round.
        self.floats.insert(id, float);
        let quantized = self.add_value_like(id, to)?;
        let kind = match (from, to) {
            (DType::F32, DType::I8) => OpKind::QuantizeF32,
            _ => OpKind::Convert,
        };
        self.push(node.name.clone(), kind, vec![float], quantized);
        Ok(())
    }

    /// The output is the input's bytes under another shape.
    fn alias(&mut self, node: &Node) -> Result<(), Reason> {
        let source = self.computed(node.inputs[0])?;
        let from = self.out.values[source].clone();
        let target = &self.graph.values[node.output];
        let elements: usize = target.shape.iter().product();
        if elements != from.len() {
            return Err(format!(
                "reshapes {:?} to {:?}: {} elements become {elements}",
                from.shape,
                target.shape,
                from.len()
            ));
        }
        if from.dynamic && (!target.dynamic || target.shape.first() != from.shape.first()) {
            return Err("reshapes away the number of tokens".into());
        }
        let index = self.add_value(
            target.name.clone(),
            from.dtype,
            &target.shape.clone(),
            from.place,
        )?;
        let value = &mut self.out.values[index];
        (value.storage, value.dynamic, value.scale, value.zero_point) =
            (from.storage, from.dynamic, from.scale, from.zero_point);
        self.out.value_map[node.output] = Some(index);
        Ok(())
    }

    /// Permutes the dimensions of `source`, of which those that stay neighbours count as one, so that four are enough for
    /// windows of pictures.
    pub(crate) fn transposed(
        &mut self,
        node: &Node,
        permutation: &[usize],
        source: usize,
        dtype: DType,
    ) -> Result<(), Reason> {
        let graph = self.graph;
        let shape = &graph.values[node.inputs[0]].shape;
        let (merged, order) = merge_dimensions(shape, permutation);
        if merged.len() > MAX_RANK {
            return Err(format!(
                "permutes {shape:?} to {permutation:?}, {} dimensions apart, at most {MAX_RANK} fit",
                merged.len()
            ));
        }
        let from = self.out.values[source].clone();
        let plain = from.shape == *shape && shape.len() <= MAX_RANK;
        let (view, order) = if plain {
            (source, permutation.to_vec())
        } else {
            let index = self.add_value(
                format!("{}.view", from.name),
                dtype,
                &merged,
                from.place.clone(),
            )?;
            let value = &mut self.out.values[index];
            (value.storage, value.scale, value.zero_point) =
                (from.storage, from.scale, from.zero_point);
            (index, order)
        };
        let output = self.add_value_like(node.output, dtype)?;
        if !plain {
            // More than four dimensions: whoever reads them reshapes or permutes, and needs only the elements.
            let turned = order.iter().map(|&d| merged[d]).collect();
            self.out.values[output].shape = turned;
        }
        let permutation = std::array::from_fn(|d| order.get(d).map_or(d as u8, |&d| d as u8));
        self.push(node.name.clone(), OpKind::Transpose, vec![view], output)
            .params = TransposeParams { permutation }.as_bytes().to_vec();
        Ok(())
    }

    /// After a refusal: a value to go on with, so that later faults are found too.
    fn stand_in(&mut self, id: ValueId) {
        if self.out.value_map[id].is_none() && self.add_value_like(id, DType::F32).is_err() {
            self.out.value_map[id] = self
                .add_value("refused".into(), DType::F32, &[1], Place::Arena)
                .ok();
        }
    }

    /// Adds an operator without data and parameters, to be completed.
    pub(crate) fn push(
        &mut self,
        name: String,
        kind: OpKind,
        inputs: Vec<usize>,
        output: usize,
    ) -> &mut LoweredOp {
        let op = LoweredOp {
            name,
            kind,
            inputs,
            output,
            data: Vec::new(),
            params: Vec::new(),
            scratch_bytes: 0,
            macs: 0,
        };
        self.out.ops.push(op);
        self.out.ops.last_mut().expect("just pushed")
    }

    /// A constant input of a node.
    pub(crate) fn constant(
        &self,
        node: &Node,
        input: usize,
        role: &str,
    ) -> Result<&'a Tensor, Reason> {
        let Some(&id) = node.inputs.get(input) else {
            return Err(format!("has no {role}"));
        };
        self.graph.values[id].constant.as_ref().ok_or_else(|| {
            format!(
                "its {role} {} is computed, expected a constant",
                self.graph.values[id].name
            )
        })
    }

    /// A constant input of a node, as floats.
    pub(crate) fn constant_f32(
        &self,
        node: &Node,
        input: usize,
        role: &str,
    ) -> Result<&'a [f32], Reason> {
        self.constant(node, input, role)?
            .as_f32()
            .ok_or_else(|| format!("its {role} holds integers, expected floats"))
    }
}

/// The shape with leading dimensions merged until four are left; a scalar becomes (1).
fn four_dimensions(shape: &[usize]) -> Option<Vec<usize>> {
    let beyond = shape.len().saturating_sub(MAX_RANK);
    match shape {
        [] => Some(vec![1]),
        _ if beyond == 0 => Some(shape.to_vec()),
        _ => {
            let (front, rest) = shape.split_at(beyond + 1);
            let front = front
                .iter()
                .try_fold(1usize, |product, &d| product.checked_mul(d))?;
            Some([&[front], rest].concat())
        }
    }
}

/// The fewest dimensions of which `permutation` is a permutation: those of size 1 go, neighbours that stay so are one.
fn merge_dimensions(shape: &[usize], permutation: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let moved: Vec<usize> = permutation
        .iter()
        .copied()
        .filter(|&d| shape[d] != 1)
        .collect();
    let kept: Vec<usize> = (0..shape.len()).filter(|&d| shape[d] != 1).collect();
    let rank = |d: usize| kept.iter().position(|&other| other == d).unwrap_or(0);
    // Runs of the permuted order that are consecutive in the original one.
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for d in moved {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|&last| rank(last) + 1 == rank(d)) => run.push(d),
            _ => runs.push(vec![d]),
        }
    }
    let mut sorted: Vec<usize> = (0..runs.len()).collect();
    sorted.sort_by_key(|&run| runs[run][0]);
    let merged = sorted
        .iter()
        .map(|&run| runs[run].iter().map(|&d| shape[d]).product())
        .collect();
    let mut place = vec![0; runs.len()];
    for (position, &run) in sorted.iter().enumerate() {
        place[run] = position;
    }
    (merged, place)
}

#[cfg(test)]
mod tests {
    use super::merge_dimensions;

    #[test]
    fn windows_of_a_picture_are_three_dimensions_and_a_row() {
        let found = merge_dimensions(&[1, 4, 7, 4, 7, 128], &[0, 1, 3, 2, 4, 5]);
        assert_eq!(found, (vec![4, 7, 4, 896], vec![0, 2, 1, 3]));
        assert_eq!(merge_dimensions(&[5, 6], &[0, 1]), (vec![30], vec![0]));
        assert_eq!(
            merge_dimensions(&[5, 1, 6], &[2, 1, 0]),
            (vec![5, 6], vec![1, 0])
        );
    }
}
