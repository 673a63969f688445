//! Each operator of the graph in those of ONNX (<https://onnx.ai/onnx/operators/>).

use tract_onnx::pb::AttributeProto;

use super::layout::{Layout, transposed};
use super::{Exporter, proto};
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Node, Op, Tensor, ValueId};

/// Least length that a vector is divided by, as the runtime has it.
const LEAST_NORM: f32 = 1e-12;

/// Window, stride and padding of a pooling.
struct Pooling<'a> {
    op: &'a str,
    kernel: &'a [usize],
    stride: &'a [usize],
    padding: &'a [usize],
}

impl Exporter<'_> {
    /// Writes a node; its last operator gets its name, and the name of its output.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), String> {
        self.current.clone_from(&node.name);
        let first = self.nodes.len();
        let layout = self.layout_of(node);
        let made = self.operators(node, layout)?;
        let value = &self.graph.values[node.output];
        let held = match layout {
            Layout::ChannelsFirst if self.graph.outputs.contains(&node.output) => {
                self.unique(&format!("{}.nchw", value.name))
            }
            _ => value.name.clone(),
        };
        let quant = self.rounding(node.output);
        let name = match quant {
            Some(_) => self.unique(&format!("{}.real", value.name)),
            None => held.clone(),
        };
        let is_last = self.nodes[first..]
            .last()
            .is_some_and(|last| last.output == [made.as_str()]);
        if !is_last {
            self.part("Identity", &[&made], Vec::new());
        }
        if let Some(last) = self.nodes.last_mut() {
            last.name.clone_from(&node.name);
            last.output = vec![name.clone()];
        }
        if let Some(quant) = quant {
            self.rounded(&name, quant, &value.name, held.clone());
        }
        self.held[node.output].set(layout, held);
        Ok(())
    }

    /// Windows slide over pictures with channels first; what works in any order takes the one that its inputs have.
    fn layout_of(&self, node: &Node) -> Layout {
        let shape = &self.graph.values[node.output].shape;
        let any = match &node.op {
            Op::Conv2d { .. } | Op::AvgPool { .. } | Op::MaxPool { .. } | Op::GlobalAvgPool => {
                return Layout::ChannelsFirst;
            }
            Op::Reduce { keep_dims, .. } => *keep_dims,
            Op::Binary { .. }
            | Op::Unary { .. }
            | Op::ChannelUnary { .. }
            | Op::Softmax { .. }
            | Op::BatchNorm { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::L2Normalize
            | Op::NormalizeEmbedding => true,
            _ => false,
        };
        let computed = || {
            let inputs = node.inputs.iter().copied();
            inputs.filter(|&id| self.graph.values[id].constant.is_none())
        };
        let fits = shape.len() == 4 && computed().all(|id| self.graph.values[id].shape.len() == 4);
        if any && fits && computed().any(|id| self.is_channels_first(id)) {
            Layout::ChannelsFirst
        } else {
            Layout::Plain
        }
    }

    /// The operators of a node; the name of what they make.
    fn operators(&mut self, node: &Node, layout: Layout) -> Result<String, String> {
        let input = node.inputs.first().copied().ok_or("no input")?;
        match &node.op {
            Op::Conv2d { .. } => return self.conv(node),
            Op::Linear { activation } => return self.linear(node, *activation),
            Op::MatMul { transpose_b } => return Ok(self.matmul(node, *transpose_b)),
            Op::Attention { .. } => return self.attention(node),
            Op::Embedding => {
                let (ids, table) = (self.plain(input), self.plain(node.inputs[1]));
                return Ok(self.part("Gather", &[&table, &ids], vec![proto::int("axis", 0)]));
            }
            Op::Reshape => return Ok(self.reshape(input, node.output)),
            Op::Transpose { permutation } => return Ok(self.transpose(input, permutation)),
            _ => {}
        }
        let x = self.in_layout(input, layout);
        Ok(match &node.op {
            Op::Binary {
                function,
                activation,
            } => self.binary(node, layout, *function, *activation),
            Op::Unary { function } => self.function(*function, &x),
            Op::ChannelUnary { function } => {
                let factors = [1, 2].map(|index: usize| self.in_layout(node.inputs[index], layout));
                let scaled = self.part("Mul", &[&x, &factors[0]], Vec::new());
                let made = self.function(*function, &scaled);
                self.part("Mul", &[&made, &factors[1]], Vec::new())
            }
            Op::AvgPool {
                kernel,
                stride,
                padding,
                count_include_pad,
            } => {
                let op = "AveragePool";
                let counted = proto::int("count_include_pad", i64::from(*count_include_pad));
                self.pool(
                    &x,
                    &Pooling {
                        op,
                        kernel,
                        stride,
                        padding,
                    },
                    Some(counted),
                )
            }
            Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let op = "MaxPool";
                self.pool(
                    &x,
                    &Pooling {
                        op,
                        kernel,
                        stride,
                        padding,
                    },
                    None,
                )
            }
            Op::GlobalAvgPool => self.part("GlobalAveragePool", &[&x], Vec::new()),
            Op::Softmax { axis } => {
                let axis = proto::int("axis", layout.place(*axis) as i64);
                self.part("Softmax", &[&x], vec![axis])
            }
            Op::LayerNorm { epsilon } => {
                let parameters = [1, 2].map(|index: usize| self.plain(node.inputs[index]));
                let attributes = vec![proto::int("axis", -1), proto::float("epsilon", *epsilon)];
                self.part(
                    "LayerNormalization",
                    &[&x, &parameters[0], &parameters[1]],
                    attributes,
                )
            }
            Op::BatchNorm { epsilon } => self.batch_norm(node, layout, &x, *epsilon)?,
            Op::Reduce {
                function,
                axes,
                keep_dims,
            } => {
                let axes: Vec<usize> = axes.iter().map(|&axis| layout.place(axis)).collect();
                self.reduce(&x, *function, &axes, *keep_dims)
            }
            Op::L2Normalize => {
                let last = self.graph.values[input].shape.len().saturating_sub(1);
                let norm = self.reduce(&x, Reduce::L2, &[layout.place(last)], true);
                let least = self.scalar(LEAST_NORM);
                let norm = self.part("Max", &[&norm, &least], Vec::new());
                self.part("Div", &[&x, &norm], Vec::new())
            }
            Op::Slice { starts, steps } => self.slice(node, layout, &x, starts, steps),
            Op::Concat { axis } => {
                let parts: Vec<String> = node
                    .inputs
                    .iter()
                    .map(|&id| self.in_layout(id, layout))
                    .collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let axis = proto::int("axis", layout.place(*axis) as i64);
                self.part("Concat", &parts, vec![axis])
            }
            Op::Pad {
                before,
                after,
                value,
            } => {
                let sizes = [layout.arranged(before), layout.arranged(after)].concat();
                let (sizes, value) = (self.sizes(&sizes), self.scalar(*value));
                self.part("Pad", &[&x, &sizes, &value], Vec::new())
            }
            // Up to a positive factor, which is 1 in f32.
            Op::NormalizeEmbedding => x,
            other => return Err(format!("{} has no operator of ONNX", other.name())),
        })
    }

    fn activated(&mut self, x: String, activation: Activation) -> String {
        match activation {
            Activation::None => x,
            Activation::Relu => self.part("Relu", &[&x], Vec::new()),
            Activation::Relu6 => self.clip(&x, 0.0, 6.0),
        }
    }

    fn clip(&mut self, x: &str, min: f32, max: f32) -> String {
        let (min, max) = (self.scalar(min), self.scalar(max));
        self.part("Clip", &[x, &min, &max], Vec::new())
    }

    fn conv(&mut self, node: &Node) -> Result<String, String> {
        let Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation,
        } = &node.op
        else {
            return Err("no convolution".into());
        };
        let weight = node.inputs[1];
        let shape = &self.graph.values[weight].shape;
        if self.graph.values[weight].constant.is_none() || shape.len() != 4 {
            return Err(
                "weights that are computed, expected a constant (out, kh, kw, in / groups)".into(),
            );
        }
        let kernel = &shape[1..3];
        let mut names = vec![
            self.channels_first(node.inputs[0]),
            self.channels_first(weight),
        ];
        names.extend(self.bias(node)?);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let attributes = vec![
            proto::ints("kernel_shape", kernel),
            proto::ints("strides", stride),
            proto::ints("pads", padding),
            proto::ints("dilations", dilation),
            proto::int("group", *groups as i64),
        ];
        let y = self.part("Conv", &names, attributes);
        Ok(self.activated(y, *activation))
    }

    fn pool(&mut self, x: &str, pooling: &Pooling<'_>, more: Option<AttributeProto>) -> String {
        let mut attributes = vec![
            proto::ints("kernel_shape", pooling.kernel),
            proto::ints("strides", pooling.stride),
            proto::ints("pads", pooling.padding),
        ];
        attributes.extend(more);
        self.part(pooling.op, &[x], attributes)
    }

    /// `Gemm` for matrices, else `MatMul` with the weights turned.
    fn linear(&mut self, node: &Node, activation: Activation) -> Result<String, String> {
        let (input, weight) = (node.inputs[0], node.inputs[1]);
        let x = self.plain(input);
        let bias = self.bias(node)?;
        if self.graph.values[input].shape.len() == 2 {
            let weight = self.plain(weight);
            let names: Vec<&str> = [x.as_str(), weight.as_str()]
                .into_iter()
                .chain(bias.as_deref())
                .collect();
            let y = self.part("Gemm", &names, vec![proto::int("transB", 1)]);
            return Ok(self.activated(y, activation));
        }
        if self.graph.values[weight].constant.is_none() {
            return Err("weights that are computed, expected a constant (n, k)".into());
        }
        let weight = self.constant(weight, "turned", 1, |tensor| transposed(tensor, &[1, 0]));
        let mut y = self.part("MatMul", &[&x, &weight], Vec::new());
        if let Some(bias) = bias {
            y = self.part("Add", &[&y, &bias], Vec::new());
        }
        Ok(self.activated(y, activation))
    }

    fn matmul(&mut self, node: &Node, transpose_b: bool) -> String {
        let [a, b] = [0, 1].map(|index: usize| self.plain(node.inputs[index]));
        let b = if transpose_b {
            let rank = self.graph.values[node.inputs[1]].shape.len();
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 2, rank - 1);
            self.part("Transpose", &[&b], vec![proto::ints("perm", &order)])
        } else {
            b
        };
        self.part("MatMul", &[&a, &b], Vec::new())
    }

    fn binary(
        &mut self,
        node: &Node,
        layout: Layout,
        function: Binary,
        activation: Activation,
    ) -> String {
        let op = match function {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::Max => "Max",
            Binary::Min => "Min",
        };
        let [a, b] = [(0, 1), (1, 0)].map(|(own, other): (usize, usize)| {
            self.operand(node.inputs[own], node.inputs[other], layout)
        });
        let y = self.part(op, &[&a, &b], Vec::new());
        self.activated(y, activation)
    }

    /// An input of a binary operator: of a table of positions the rows that the other one has.
    fn operand(&mut self, id: ValueId, other: ValueId, layout: Layout) -> String {
        let name = self.in_layout(id, layout);
        let (own, other_value) = (&self.graph.values[id], &self.graph.values[other]);
        let rows = own.shape.len() == other_value.shape.len()
            && own.shape.first() == other_value.shape.first();
        let fixed =
            own.constant.is_some() && rows && own.shape.first().is_some_and(|&size| size > 1);
        if !(fixed && other_value.dynamic) {
            return name;
        }
        let other = self.in_layout(other, layout);
        let count = self.row_count(&other);
        let (start, axes) = (self.list(&[0]), self.list(&[0]));
        self.part("Slice", &[&name, &start, &count, &axes], Vec::new())
    }

    /// The size of dimension 0, as a list of one.
    fn row_count(&mut self, x: &str) -> String {
        let range = vec![proto::int("start", 0), proto::int("end", 1)];
        self.part("Shape", &[x], range)
    }

    fn function(&mut self, function: Unary, x: &str) -> String {
        let simple = match function {
            Unary::HardSwish => "HardSwish",
            Unary::Sigmoid => "Sigmoid",
            Unary::Tanh => "Tanh",
            Unary::Erf => "Erf",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Sqrt => "Sqrt",
            Unary::Reciprocal => "Reciprocal",
            Unary::Neg => "Neg",
            Unary::Abs => "Abs",
            Unary::Clip {
                min: 0.0,
                max: f32::INFINITY,
            } => "Relu",
            other => return self.composed(other, x),
        };
        self.part(simple, &[x], Vec::new())
    }

    /// Functions with parameters, and those that ONNX spells out.
    fn composed(&mut self, function: Unary, x: &str) -> String {
        match function {
            Unary::Clip { min, max } => self.clip(x, min, max),
            Unary::HardSigmoid { alpha, beta } => {
                let attributes = vec![proto::float("alpha", alpha), proto::float("beta", beta)];
                self.part("HardSigmoid", &[x], attributes)
            }
            Unary::LeakyRelu { alpha } => {
                self.part("LeakyRelu", &[x], vec![proto::float("alpha", alpha)])
            }
            Unary::GeluTanh => self.part("Gelu", &[x], vec![proto::text("approximate", "tanh")]),
            Unary::Silu => {
                let gate = self.part("Sigmoid", &[x], Vec::new());
                self.part("Mul", &[x, &gate], Vec::new())
            }
            Unary::QuickGelu => {
                let factor = self.scalar(1.702);
                let scaled = self.part("Mul", &[x, &factor], Vec::new());
                let gate = self.part("Sigmoid", &[&scaled], Vec::new());
                self.part("Mul", &[x, &gate], Vec::new())
            }
            Unary::Square => self.part("Mul", &[x, x], Vec::new()),
            Unary::Affine { alpha, beta } => {
                let scaled = if alpha == 1.0 && beta != 0.0 {
                    x.to_owned()
                } else {
                    let factor = self.scalar(alpha);
                    self.part("Mul", &[x, &factor], Vec::new())
                };
                if beta == 0.0 {
                    return scaled;
                }
                let offset = self.scalar(beta);
                self.part("Add", &[&scaled, &offset], Vec::new())
            }
            // The rest has an operator without parameters; `Gelu` is exact by default.
            _ => self.part("Gelu", &[x], Vec::new()),
        }
    }

    /// As a factor and an offset for each channel.
    fn batch_norm(
        &mut self,
        node: &Node,
        layout: Layout,
        x: &str,
        epsilon: f32,
    ) -> Result<String, String> {
        let parameter = |index: usize| {
            let constant = self.graph.values[node.inputs[index]].constant.as_ref();
            constant
                .and_then(Tensor::as_f32)
                .ok_or("parameters that are computed, expected constants (C)")
        };
        let (scale, offset, mean, variance) =
            (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let factors: Vec<f32> = scale
            .iter()
            .zip(variance)
            .map(|(&scale, &variance)| {
                (f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt()) as f32
            })
            .collect();
        let offsets: Vec<f32> = (0..factors.len())
            .map(|c| offset[c] - mean[c] * factors[c])
            .collect();
        let shape = match layout {
            Layout::Plain => vec![factors.len()],
            Layout::ChannelsFirst => vec![factors.len(), 1, 1],
        };
        let factors = self.tensor(&Tensor::f32(&shape, factors));
        let offsets = self.tensor(&Tensor::f32(&shape, offsets));
        let scaled = self.part("Mul", &[x, &factors], Vec::new());
        Ok(self.part("Add", &[&scaled, &offsets], Vec::new()))
    }

    fn reduce(&mut self, x: &str, function: Reduce, axes: &[usize], keep_dims: bool) -> String {
        let op = match function {
            Reduce::Sum => "ReduceSum",
            Reduce::Mean => "ReduceMean",
            Reduce::Max => "ReduceMax",
            Reduce::L2 => "ReduceL2",
        };
        let axes = self.sizes(axes);
        let keep = proto::int("keepdims", i64::from(keep_dims));
        self.part(op, &[x, &axes], vec![keep])
    }

    /// Softmax(q·kᵀ·scale + bias)·v over (windows, heads, tokens, width of a head).
    fn attention(&mut self, node: &Node) -> Result<String, String> {
        let Op::Attention {
            num_heads,
            scale,
            windows,
            causal,
        } = node.op
        else {
            return Err("no attention".into());
        };
        let width = self.graph.values[node.inputs[0]]
            .shape
            .last()
            .copied()
            .unwrap_or(0);
        let split = [
            windows as i64,
            -1,
            num_heads as i64,
            (width / num_heads.max(1)) as i64,
        ];
        let orders = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]];
        let [q, k, v] = [0, 1, 2].map(|index: usize| {
            let (x, sizes) = (self.plain(node.inputs[index]), self.list(&split));
            let heads = self.part("Reshape", &[&x, &sizes], Vec::new());
            let heads = self.kept(heads, node.inputs[index]);
            let order = vec![proto::ints("perm", &orders[index])];
            let turned = self.part("Transpose", &[&heads], order);
            self.kept(turned, node.inputs[index])
        });
        let factor = self.scalar(scale);
        let products = self.part("MatMul", &[&q, &k], Vec::new());
        let mut scores = self.part("Mul", &[&products, &factor], Vec::new());
        if let Some(&bias) = node.inputs.get(3) {
            let bias = self.plain(bias);
            scores = self.part("Add", &[&scores, &bias], Vec::new());
        }
        if causal {
            let mask = self.causal_mask(node.inputs[0], windows);
            scores = self.part("Add", &[&scores, &mask], Vec::new());
        }
        let weights = self.part("Softmax", &[&scores], vec![proto::int("axis", -1)]);
        let mixed = self.part("MatMul", &[&weights, &v], Vec::new());
        let rows = self.part(
            "Transpose",
            &[&mixed],
            vec![proto::ints("perm", &[0, 2, 1, 3])],
        );
        let sizes = self.list(&[-1, width as i64]);
        Ok(self.part("Reshape", &[&rows, &sizes], Vec::new()))
    }

    /// −∞ where a key lies behind the query, (tokens, tokens) of as many tokens as there are.
    fn causal_mask(&mut self, queries: ValueId, windows: usize) -> String {
        let value = &self.graph.values[queries];
        let count = value.shape[0] / windows.max(1);
        let hidden = |at: usize| {
            if at % count > at / count {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        };
        let mask = Tensor::f32(&[count, count], (0..count * count).map(hidden).collect());
        let mask = self.tensor(&mask);
        if !value.dynamic {
            return mask;
        }
        let x = self.plain(queries);
        let rows = self.row_count(&x);
        let ends = self.part("Concat", &[&rows, &rows], vec![proto::int("axis", 0)]);
        let (starts, axes) = (self.list(&[0, 0]), self.list(&[0, 1]));
        self.part("Slice", &[&mask, &starts, &ends, &axes], Vec::new())
    }

    /// Of one pixel or one channel, both layouts have the same order of elements.
    fn reshape(&mut self, input: ValueId, output: ValueId) -> String {
        let (from, to) = (&self.graph.values[input], &self.graph.values[output]);
        let mut sizes: Vec<i64> = to.shape.iter().map(|&size| size as i64).collect();
        if let (true, Some(first)) = (to.dynamic, sizes.first_mut()) {
            // As many as there are.
            *first = 0;
        }
        let same_order = matches!(from.shape.as_slice(), [_, 1, 1, _] | [_, _, _, 1]);
        let layout = match same_order && self.is_channels_first(input) {
            true => Layout::ChannelsFirst,
            false => Layout::Plain,
        };
        let (x, sizes) = (self.in_layout(input, layout), self.list(&sizes));
        self.part("Reshape", &[&x, &sizes], Vec::new())
    }

    /// From channels first where the input has no other layout: one transpose, or none.
    fn transpose(&mut self, input: ValueId, permutation: &[usize]) -> String {
        let layout = match self.is_channels_first(input) {
            true => Layout::ChannelsFirst,
            false => Layout::Plain,
        };
        let x = self.in_layout(input, layout);
        let order: Vec<usize> = permutation.iter().map(|&d| layout.place(d)).collect();
        if order.is_sorted() {
            return x;
        }
        self.part("Transpose", &[&x], vec![proto::ints("perm", &order)])
    }

    fn slice(
        &mut self,
        node: &Node,
        layout: Layout,
        x: &str,
        starts: &[usize],
        steps: &[usize],
    ) -> String {
        let (from, to) = (
            &self.graph.values[node.inputs[0]],
            &self.graph.values[node.output],
        );
        let cut: Vec<usize> = (0..starts.len())
            .filter(|&d| from.shape[d] != to.shape[d])
            .collect();
        if cut.is_empty() {
            return x.to_owned();
        }
        // The last row of a dynamic value is that of as many as there are.
        let last = |d: usize| d == 0 && from.dynamic && starts[0] > 0;
        let begins: Vec<i64> = cut
            .iter()
            .map(|&d| if last(d) { -1 } else { starts[d] as i64 })
            .collect();
        let ends: Vec<i64> = cut
            .iter()
            .map(|&d| match last(d) {
                true => i64::MAX,
                false => (starts[d] + (to.shape[d] - 1) * steps[d] + 1) as i64,
            })
            .collect();
        let axes: Vec<usize> = cut.iter().map(|&d| layout.place(d)).collect();
        let steps: Vec<usize> = cut.iter().map(|&d| steps[d]).collect();
        let names = [
            self.list(&begins),
            self.list(&ends),
            self.sizes(&axes),
            self.sizes(&steps),
        ];
        self.part(
            "Slice",
            &[x, &names[0], &names[1], &names[2], &names[3]],
            Vec::new(),
        )
    }
}
