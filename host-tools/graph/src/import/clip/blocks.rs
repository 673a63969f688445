//! What both towers are made of: products, norms and residual blocks over a sequence (tokens, width).
//!
//! ```text
//! x + attention(norm1(x)), then x + mlp(norm2(x))
//! ```

use super::config::TowerConfig;
use super::keys::{BlockNames, Heads};
use crate::import::checkpoint::{Checkpoint, Weights};
use crate::import::layout::transposed;
use crate::op::{Activation, Binary};
use crate::{Graph, Op, Tensor, ValueId};

/// A tower on its way.
pub(super) struct Builder<'a> {
    pub(super) weights: Weights<'a>,
    pub(super) graph: Graph,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) config: &'a TowerConfig,
    /// Columns of the stream.
    pub(super) width: usize,
    /// Columns of a head.
    pub(super) head_width: usize,
    /// Whether a token sees those before it alone.
    pub(super) causal: bool,
}

impl Builder<'_> {
    /// Block `prefix`.
    pub(super) fn block(&mut self, prefix: &str, names: &BlockNames, x: ValueId) -> ValueId {
        let name = |part: &str| format!("{prefix}.{part}");
        let normed = self.layer_norm(&name(names.norm1), x);
        let heads = self.heads(&format!("{prefix}."), names.heads, [normed; 3]);
        let mixed = self.attention(&name("attention"), heads);
        let mixed = self.linear(&name(names.mixed), mixed);
        let x = self.add(&name("attention.add"), x, mixed);
        let normed = self.layer_norm(&name(names.norm2), x);
        let narrow = self.mlp(&name(names.wide), &name(names.narrow), normed);
        self.add(&name("mlp.add"), x, narrow)
    }

    /// Queries, keys and values from `inputs`; `prefix` goes in front of every key.
    pub(super) fn heads(
        &mut self,
        prefix: &str,
        heads: Heads,
        inputs: [ValueId; 3],
    ) -> [ValueId; 3] {
        let [q, k, v] = inputs;
        match heads {
            Heads::Apart(keys) => {
                let [query, key, value] = keys.map(|key| format!("{prefix}{key}"));
                [
                    self.linear(&query, q),
                    self.linear(&key, k),
                    self.linear(&value, v),
                ]
            }
            Heads::InProjection([weight, bias]) => {
                let keys = [format!("{prefix}{weight}"), format!("{prefix}{bias}")];
                let [q, k, v] = self.cut(&keys, ["q", "k", "v"], [q, k, v]);
                [q, k, v]
            }
            Heads::Fused(name) => {
                let keys = ["weight", "bias"].map(|part| format!("{prefix}{name}.{part}"));
                self.cut(&keys, ["q", "k", "v"], [q, k, v])
            }
            Heads::Two([query, both]) => {
                let q = self.linear(&format!("{prefix}{query}"), q);
                let keys = ["weight", "bias"].map(|part| format!("{prefix}{both}.{part}"));
                let [k, v] = self.cut(&keys, ["k", "v"], [k, v]);
                [q, k, v]
            }
        }
    }

    /// Products by `N` matrices that lie below each other under one pair of keys.
    fn cut<const N: usize>(
        &mut self,
        [weight_key, bias_key]: &[String; 2],
        parts: [&str; N],
        inputs: [ValueId; N],
    ) -> [ValueId; N] {
        let width = self.width;
        let weight = self.weights.take(weight_key, &[N * width, width]);
        let bias = self.weights.take(bias_key, &[N * width]);
        let mut index = 0;
        inputs.map(|x| {
            let name = format!("{weight_key}.{}", parts[index]);
            let weight = rows(&weight, index, &[width, width]);
            let bias = rows(&bias, index, &[width]);
            index += 1;
            self.product(&name, x, weight, Some(bias), width)
        })
    }

    /// Attention of all heads, in as many rows as queries.
    pub(super) fn attention(&mut self, name: &str, [q, k, v]: [ValueId; 3]) -> ValueId {
        let width = self.columns(q);
        let op = Op::Attention {
            num_heads: width / self.head_width,
            scale: (self.head_width as f32).sqrt().recip(),
            windows: 1,
            causal: self.causal,
        };
        self.sequence(name, op, &[q, k, v], width)
    }

    /// Two products with the activation between.
    pub(super) fn mlp(&mut self, wide: &str, narrow: &str, x: ValueId) -> ValueId {
        let x = self.linear(wide, x);
        let function = self.config.activation;
        let columns = self.columns(x);
        let x = self.sequence(
            &format!("{wide}.act"),
            Op::Unary { function },
            &[x],
            columns,
        );
        self.linear(narrow, x)
    }

    /// A product by `name.weight` (n, k), and `name.bias` (n) where the checkpoint has one.
    pub(super) fn linear(&mut self, name: &str, x: ValueId) -> ValueId {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let n = self.size(&weight, 0);
        let k = self.columns(x);
        let weight = self.weights.take(&weight, &[n, k]);
        let bias = self
            .weights
            .has(&bias)
            .then(|| self.weights.take(&bias, &[n]));
        self.product(name, x, weight, bias, n)
    }

    /// A product by the matrix `key` (k, n).
    pub(super) fn times(&mut self, name: &str, key: &str, x: ValueId) -> ValueId {
        let n = self.size(key, 1);
        let weight = self.weights.take(key, &[self.columns(x), n]);
        self.product(name, x, transposed(&weight), None, n)
    }

    /// A product by a matrix (n, k).
    pub(super) fn product(
        &mut self,
        name: &str,
        x: ValueId,
        weight: Tensor,
        bias: Option<Tensor>,
        n: usize,
    ) -> ValueId {
        let mut inputs = vec![x, self.graph.add_constant(format!("{name}.weight"), weight)];
        if let Some(bias) = bias {
            inputs.push(self.graph.add_constant(format!("{name}.bias"), bias));
        }
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.sequence(name, op, &inputs, n)
    }

    pub(super) fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let width = self.columns(x);
        let gamma = self.constant(&format!("{name}.weight"), &[width]);
        let beta = self.constant(&format!("{name}.bias"), &[width]);
        let op = Op::LayerNorm {
            epsilon: self.config.epsilon,
        };
        self.sequence(name, op, &[x, gamma, beta], width)
    }

    pub(super) fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        let width = self.columns(a);
        self.sequence(name, op, &[a, b], width)
    }

    pub(super) fn constant(&mut self, key: &str, shape: &[usize]) -> ValueId {
        let tensor = self.weights.take(key, shape);
        self.graph.add_constant(key, tensor)
    }

    /// A node with the rows of its first input.
    pub(super) fn sequence(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        columns: usize,
    ) -> ValueId {
        let (rows, dynamic) = {
            let first = &self.graph.values[inputs[0]];
            (first.shape[0], first.dynamic)
        };
        let output = self.graph.add_node(name, op, inputs, &[rows, columns]);
        self.graph.values[output].dynamic = dynamic;
        output
    }

    /// One row of a sequence: (1, width).
    pub(super) fn row(&mut self, name: &str, row: usize, x: ValueId) -> ValueId {
        let op = Op::Slice {
            starts: vec![row, 0],
            steps: vec![1, 1],
        };
        let columns = self.columns(x);
        self.graph.add_node(name, op, &[x], &[1, columns])
    }

    /// Columns of a sequence.
    pub(super) fn columns(&self, x: ValueId) -> usize {
        self.graph.values[x].shape.last().copied().unwrap_or(0)
    }

    /// A dimension of a tensor of the checkpoint; 0 where there is none, which taking it then reports.
    pub(super) fn size(&self, key: &str, dimension: usize) -> usize {
        size(self.checkpoint, key, dimension)
    }
}

/// A dimension of a tensor; 0 where there is none.
pub(super) fn size(checkpoint: &Checkpoint, key: &str, dimension: usize) -> usize {
    let shape = checkpoint.shape(key).unwrap_or_default();
    shape.get(dimension).copied().unwrap_or(0)
}

/// Blocks `prefix.0`, `prefix.1`, … that a checkpoint has.
pub(super) fn count(checkpoint: &Checkpoint, prefix: &str, names: &BlockNames) -> usize {
    let has = |block: &usize| {
        let key = format!("{prefix}.{block}.{}.weight", names.norm1);
        checkpoint.tensors.contains_key(&key)
    };
    (0..).take_while(has).count()
}

/// Part `index` of a tensor that is parts of `shape` below each other; the stand-in for a fault stays one.
pub(super) fn rows(tensor: &Tensor, index: usize, shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    let rows = tensor.as_f32().unwrap_or_default();
    match rows.get(index * len..(index + 1) * len) {
        Some(rows) => Tensor::f32(shape, rows.to_vec()),
        None => Tensor::f32(&[0], Vec::new()),
    }
}
