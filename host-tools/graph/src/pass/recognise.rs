//! Recognition of operators that exporters spell out: layer normalisation, the GELUs, SiLU, hard-swish, squares.
//! Attention is left to importers, which know its heads.
//!
//! Each pattern is matched backwards from its last node, through constants that hold one number. A match replaces the last
//! node; what only fed the pattern falls to [`super::remove_dead`]. Shapes must be inferred and constants folded before.

use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, NodeId, Op, ValueId};

/// Replaces every pattern that it finds; returns how many.
pub fn recognise(graph: &mut Graph) -> usize {
    let mut found = 0;
    // A larger pattern may contain a smaller one (GELU contains erf), so that the replaced graph is searched again.
    loop {
        let matches = search(graph);
        if matches.is_empty() {
            return found;
        }
        found += matches.len();
        for (id, op, inputs) in matches {
            graph.nodes[id].op = op;
            graph.nodes[id].inputs = inputs;
        }
        super::remove_dead(graph);
    }
}

/// Non-overlapping in effect: a match rewrites its own last node and reads the values before it, which stay.
fn search(graph: &Graph) -> Vec<(NodeId, Op, Vec<ValueId>)> {
    let view = View {
        graph,
        producers: graph.producers(),
    };
    let matches = |(id, node): (NodeId, &Node)| {
        let (op, inputs) = view.element_wise(node).or_else(|| view.layer_norm(node))?;
        Some((id, op, inputs))
    };
    graph.nodes.iter().enumerate().filter_map(matches).collect()
}

struct View<'a> {
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
}

/// How far two numbers may be apart that stand for the same one.
const TOLERANCE: f32 = 1e-3;

fn near(found: f32, expected: f32) -> bool {
    (found - expected).abs() <= TOLERANCE * expected.abs()
}

impl View<'_> {
    fn node(&self, value: ValueId) -> Option<&Node> {
        Some(&self.graph.nodes[self.producers[value]?])
    }

    /// The number that a constant of one element, or of equal elements, holds.
    fn number(&self, value: ValueId) -> Option<f32> {
        let data = self.graph.values[value].constant.as_ref()?.as_f32()?;
        let first = *data.first()?;
        data.iter().all(|&other| other == first).then_some(first)
    }

    /// Inputs of a binary node without an activation.
    fn binary(&self, value: ValueId, wanted: Binary) -> Option<(ValueId, ValueId)> {
        let node = self.node(value)?;
        binary_of(node, wanted)
    }

    /// The computed and the constant input of a commutative node.
    fn with_number(&self, value: ValueId, function: Binary) -> Option<(ValueId, f32)> {
        if let Some(Unary::Affine { alpha, beta }) = self.unary(value).map(|(function, _)| function)
        {
            let x = self.unary(value)?.1;
            return match function {
                Binary::Mul if beta == 0.0 => Some((x, alpha)),
                Binary::Add if alpha == 1.0 => Some((x, beta)),
                _ => None,
            };
        }
        if let (Binary::Mul, Some((a, b))) = (function, self.binary(value, Binary::Div)) {
            return Some((a, self.number(b)?.recip()));
        }
        let (a, b) = self.binary(value, function)?;
        match (self.number(a), self.number(b)) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) => Some((b, number)),
            _ => None,
        }
    }

    fn unary(&self, value: ValueId) -> Option<(Unary, ValueId)> {
        let node = self.node(value)?;
        match node.op {
            Op::Unary { function } => Some((function, node.inputs[0])),
            _ => None,
        }
    }

    fn element_wise(&self, node: &Node) -> Option<(Op, Vec<ValueId>)> {
        let (function, x) = self
            .gate(node)
            .or_else(|| self.gelu(node))
            .or_else(|| self.square(node))?;
        let same = self.graph.values[x].shape == self.graph.values[node.output].shape;
        same.then(|| (Op::Unary { function }, vec![x]))
    }

    /// x · σ(x), x · σ(1.702 x), x · relu6(x + 3) / 6 in either form.
    fn gate(&self, node: &Node) -> Option<(Unary, ValueId)> {
        // relu6(x + 3) may be multiplied by x before or after the division by 6.
        if let Some((product, sixth)) = self.with_number(node.output, Binary::Mul)
            && near(sixth, 1.0 / 6.0)
            && let Some((a, b)) = self.binary(product, Binary::Mul)
        {
            return [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
                (self.relu6_of_plus_3(gate)? == x).then_some((Unary::HardSwish, x))
            });
        }
        let (a, b) = binary_of(node, Binary::Mul)?;
        [(a, b), (b, a)]
            .into_iter()
            .find_map(|(x, gate)| self.gated(x, gate))
    }

    fn gated(&self, x: ValueId, gate: ValueId) -> Option<(Unary, ValueId)> {
        if let Some((relu6, sixth)) = self.with_number(gate, Binary::Mul)
            && near(sixth, 1.0 / 6.0)
            && self.relu6_of_plus_3(relu6) == Some(x)
        {
            return Some((Unary::HardSwish, x));
        }
        match self.unary(gate)? {
            (Unary::Sigmoid, y) if y == x => Some((Unary::Silu, x)),
            (Unary::Sigmoid, y) => {
                let (z, factor) = self.with_number(y, Binary::Mul)?;
                (z == x && near(factor, 1.702)).then_some((Unary::QuickGelu, x))
            }
            (Unary::HardSigmoid { alpha, beta }, y)
                if y == x && near(alpha, 1.0 / 6.0) && near(beta, 0.5) =>
            {
                Some((Unary::HardSwish, x))
            }
            _ => None,
        }
    }

    fn relu6_of_plus_3(&self, value: ValueId) -> Option<ValueId> {
        let six = |activation: Activation| activation == Activation::Relu6;
        let sum = match &self.node(value)?.op {
            Op::Unary {
                function: Unary::Clip { min: 0.0, max: 6.0 },
            } => self.node(value)?.inputs[0],
            Op::Binary {
                function: Binary::Add,
                activation,
            } if six(*activation) => {
                let inputs = &self.node(value)?.inputs;
                let (a, b) = (inputs[0], inputs[1]);
                return match (self.number(a), self.number(b)) {
                    (None, Some(3.0)) => Some(a),
                    (Some(3.0), None) => Some(b),
                    _ => None,
                };
            }
            _ => return None,
        };
        let (x, three) = self.with_number(sum, Binary::Add)?;
        near(three, 3.0).then_some(x)
    }

    /// ½ · x · (1 + erf(x / √2)) and ½ · x · (1 + tanh(√(2/π) · (x + 0.044715 x³))), factors in any order.
    fn gelu(&self, node: &Node) -> Option<(Unary, ValueId)> {
        let mut factors = Vec::new();
        let mut scale = 1.0;
        self.factors(node.output, 0, &mut factors, &mut scale);
        let &[a, b] = factors.as_slice() else {
            return None;
        };
        if !near(scale, 0.5) {
            return None;
        }
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
            let (inner, one) = self.with_number(gate, Binary::Add)?;
            if !near(one, 1.0) {
                return None;
            }
            match self.unary(inner)? {
                (Unary::Erf, y) => {
                    let (z, factor) = self.with_number(y, Binary::Mul)?;
                    (z == x && near(factor, std::f32::consts::FRAC_1_SQRT_2))
                        .then_some((Unary::Gelu, x))
                }
                (Unary::Tanh, y) => self.tanh_argument(y, x).then_some((Unary::GeluTanh, x)),
                _ => None,
            }
        })
    }

    /// Flattens a product of at most four factors; numbers go into `scale`.
    fn factors(&self, value: ValueId, depth: usize, factors: &mut Vec<ValueId>, scale: &mut f32) {
        if depth < 3 {
            if let Some((x, number)) = self.with_number(value, Binary::Mul) {
                *scale *= number;
                return self.factors(x, depth + 1, factors, scale);
            }
            if let Some((a, b)) = self.binary(value, Binary::Mul) {
                self.factors(a, depth + 1, factors, scale);
                return self.factors(b, depth + 1, factors, scale);
            }
        }
        factors.push(value);
    }

    /// √(2/π) · (x + 0.044715 · x³)
    fn tanh_argument(&self, value: ValueId, x: ValueId) -> bool {
        let matched = || -> Option<bool> {
            let (sum, factor) = self.with_number(value, Binary::Mul)?;
            let (a, b) = self.binary(sum, Binary::Add)?;
            let cubic = if a == x { b } else { a };
            let (cube, small) = self.with_number(cubic, Binary::Mul)?;
            let is_cube = match self.binary(cube, Binary::Pow) {
                Some((base, exponent)) => base == x && self.number(exponent) == Some(3.0),
                None => {
                    let (mut factors, mut scale) = (Vec::new(), 1.0);
                    self.factors(cube, 1, &mut factors, &mut scale);
                    factors == [x, x, x] && scale == 1.0
                }
            };
            let has_x = a == x || b == x;
            Some(is_cube && has_x && near(factor, 0.797_884_6) && near(small, 0.044_715))
        };
        matched().unwrap_or(false)
    }

    /// xʸ for y = 2, and x · x.
    fn square(&self, node: &Node) -> Option<(Unary, ValueId)> {
        if let Some((x, exponent)) = binary_of(node, Binary::Pow) {
            return (self.number(exponent) == Some(2.0)).then_some((Unary::Square, x));
        }
        let (a, b) = binary_of(node, Binary::Mul)?;
        (a == b).then_some((Unary::Square, a))
    }

    /// (x − mean) / √(mean((x − mean)²) + ε) · gamma + beta over the last dimension.
    fn layer_norm(&self, node: &Node) -> Option<(Op, Vec<ValueId>)> {
        let (a, b) = binary_of(node, Binary::Add)?;
        let (scaled, beta) = self.computed_and_vector(a, b)?;
        let (a, b) = self.binary(scaled, Binary::Mul)?;
        let (normalised, gamma) = self.computed_and_vector(a, b)?;
        let (centred, deviation) = self.binary(normalised, Binary::Div)?;
        let (Unary::Sqrt, sum) = self.unary(deviation)? else {
            return None;
        };
        let (variance, epsilon) = self.with_number(sum, Binary::Add)?;
        let squared = self.mean_of(variance)?;
        let (x, mean) = self.binary(centred, Binary::Sub)?;
        let squares_centred = match self.unary(squared) {
            Some((Unary::Square, base)) => self.is_centred(base, x, mean, centred),
            _ => {
                let power = self.binary(squared, Binary::Pow);
                let (base, other) = power.or_else(|| self.binary(squared, Binary::Mul))?;
                let is_square = match power {
                    Some(_) => self.number(other) == Some(2.0),
                    None => other == base,
                };
                is_square && self.is_centred(base, x, mean, centred)
            }
        };
        let sound = self.mean_of(mean)? == x
            && squares_centred
            && epsilon >= 0.0
            && [gamma, beta]
                .iter()
                .all(|&vector| self.graph.values[vector].shape == self.last(x))
            && self.graph.values[x].shape == self.graph.values[node.output].shape;
        sound.then(|| (Op::LayerNorm { epsilon }, vec![x, gamma, beta]))
    }

    /// Whether a value is x − mean, be it the same node or computed twice.
    fn is_centred(&self, value: ValueId, x: ValueId, mean: ValueId, centred: ValueId) -> bool {
        value == centred || self.binary(value, Binary::Sub) == Some((x, mean))
    }

    /// The shape of a vector over the last dimension.
    fn last(&self, x: ValueId) -> Vec<usize> {
        self.graph.values[x]
            .shape
            .last()
            .copied()
            .into_iter()
            .collect()
    }

    fn computed_and_vector(&self, a: ValueId, b: ValueId) -> Option<(ValueId, ValueId)> {
        let constant = |value: ValueId| self.graph.values[value].constant.is_some();
        match (constant(a), constant(b)) {
            (false, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            _ => None,
        }
    }

    /// The input of a mean over the last dimension that keeps it.
    fn mean_of(&self, value: ValueId) -> Option<ValueId> {
        let node = self.node(value)?;
        let rank = self.graph.values[node.inputs[0]].shape.len();
        match &node.op {
            Op::Reduce {
                function: Reduce::Mean,
                axes,
                keep_dims: true,
            } if rank > 0 && *axes == [rank - 1] => Some(node.inputs[0]),
            _ => None,
        }
    }
}

fn binary_of(node: &Node, wanted: Binary) -> Option<(ValueId, ValueId)> {
    match node.op {
        Op::Binary {
            function,
            activation: Activation::None,
        } if function == wanted => Some((node.inputs[0], node.inputs[1])),
        _ => None,
    }
}
