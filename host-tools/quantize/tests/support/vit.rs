//! Plain vision transformers as graphs: from tensors with timm's names, or of random weights.

use std::collections::BTreeMap;
use std::error::Error;

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, Op, Tensor, ValueId, pass};

pub(crate) type Weights = BTreeMap<String, Tensor>;

/// The graph of a pre-norm ViT whose embedding is its class token after the last layer normalisation.
pub(crate) fn vit(weights: &Weights, num_heads: usize) -> Result<Graph, Box<dyn Error>> {
    let mut build = Builder {
        graph: Graph::empty("vit"),
        weights,
    };
    let patch = build.shape("patch_embed.weight")?;
    let side = build.shape("test")?[1];
    let (width, kernel) = (patch[0], patch[1]);
    let (rows, tokens) = (side / kernel, (side / kernel).pow(2));
    let picture = build.graph.add_value("picture", &[1, side, side, 3]);
    build.graph.inputs.push(picture);
    let conv = Op::Conv2d {
        stride: [kernel; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
        activation: Activation::None,
    };
    let x = build.layer("patch_embed", conv, picture, &[1, rows, rows, width])?;
    let x = build.node("flat", Op::Reshape, &[x], &[tokens, width]);
    let class = build.constant("cls_token")?;
    let x = build.node(
        "tokens",
        Op::Concat { axis: 0 },
        &[class, x],
        &[tokens + 1, width],
    );
    let positions = build.constant("pos_embed")?;
    let shape = [tokens + 1, width];
    let mut x = build.sum("embeddings", x, positions, &shape);
    for block in 0.. {
        let name = |part: &str| format!("blocks.{block}.{part}");
        if !weights.contains_key(&name("norm1.weight")) {
            break;
        }
        let normed = build.norm(&name("norm1"), x, &shape)?;
        let linear = Op::Linear {
            activation: Activation::None,
        };
        let qkv = build.layer(
            &name("attn.qkv"),
            linear.clone(),
            normed,
            &[shape[0], 3 * width],
        )?;
        let parts: Vec<ValueId> = (0..3)
            .map(|part| {
                let cut = Op::Slice {
                    starts: vec![0, part * width],
                    steps: vec![1, 1],
                };
                build.node(&name(&format!("part{part}")), cut, &[qkv], &shape)
            })
            .collect();
        let attention = attention_op(num_heads, ((width / num_heads) as f32).sqrt().recip());
        let mixed = build.node(&name("attn"), attention, &parts, &shape);
        let mixed = build.layer(&name("attn.proj"), linear.clone(), mixed, &shape)?;
        x = build.sum(&name("add1"), x, mixed, &shape);
        let normed = build.norm(&name("norm2"), x, &shape)?;
        let hidden = [shape[0], build.shape(&name("mlp.fc1.weight"))?[0]];
        let y = build.layer(&name("mlp.fc1"), linear.clone(), normed, &hidden)?;
        let gelu = Op::Unary {
            function: Unary::Gelu,
        };
        let y = build.node(&name("mlp.gelu"), gelu, &[y], &hidden);
        let y = build.layer(&name("mlp.fc2"), linear, y, &shape)?;
        x = build.sum(&name("add2"), x, y, &shape);
    }
    let normed = build.norm("norm", x, &shape)?;
    let first = Op::Slice {
        starts: vec![0, 0],
        steps: vec![1, 1],
    };
    let class = build.node("class", first, &[normed], &[1, width]);
    let embedding = build.node("embedding", Op::NormalizeEmbedding, &[class], &[1, width]);
    build.graph.outputs.push(embedding);
    let mut graph = build.graph;
    pass::standard(&mut graph)?;
    Ok(graph)
}

fn attention_op(num_heads: usize, scale: f32) -> Op {
    Op::Attention {
        num_heads,
        scale,
        windows: 1,
        causal: false,
    }
}

struct Builder<'a> {
    graph: Graph,
    weights: &'a Weights,
}

impl Builder<'_> {
    fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        let tensor = self.weights.get(name).ok_or(format!("no tensor {name}"))?;
        Ok(tensor.shape.clone())
    }
    fn constant(&mut self, name: &str) -> Result<ValueId, String> {
        let tensor = self.weights.get(name).ok_or(format!("no tensor {name}"))?;
        Ok(self.graph.add_constant(name, tensor.clone()))
    }
    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        self.graph.add_node(name.to_owned(), op, inputs, shape)
    }
    fn layer(
        &mut self,
        name: &str,
        op: Op,
        x: ValueId,
        shape: &[usize],
    ) -> Result<ValueId, String> {
        let weight = self.constant(&format!("{name}.weight"))?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.node(name, op, &[x, weight, bias], shape))
    }
    fn norm(&mut self, name: &str, x: ValueId, shape: &[usize]) -> Result<ValueId, String> {
        self.layer(name, Op::LayerNorm { epsilon: 1e-6 }, x, shape)
    }
    fn sum(&mut self, name: &str, a: ValueId, b: ValueId, shape: &[usize]) -> ValueId {
        let add = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.node(name, add, &[a, b], shape)
    }
}

/// Weights with the variances of a usual initialisation, and pictures of noise.
pub(crate) fn random_weights(width: usize, depth: usize, patch: usize, side: usize) -> Weights {
    let mut state = 7u64;
    let mut normal = move || {
        let sum: f64 = (0..12)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 11) as f64 / (1u64 << 53) as f64
            })
            .sum();
        (sum - 6.0) as f32
    };
    let mut weights = Weights::new();
    let mut add = |name: String, shape: &[usize], deviation: f32, mean: f32| {
        let data = (0..shape.iter().product())
            .map(|_| mean + deviation * normal())
            .collect();
        weights.insert(name, Tensor::f32(shape, data));
    };
    let tokens = (side / patch).pow(2) + 1;
    add(
        "patch_embed.weight".into(),
        &[width, patch, patch, 3],
        0.03,
        0.0,
    );
    add("patch_embed.bias".into(), &[width], 0.02, 0.0);
    add("cls_token".into(), &[1, width], 0.5, 0.0);
    add("pos_embed".into(), &[tokens, width], 0.5, 0.0);
    for block in 0..depth {
        for (layer, n, k) in [
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ] {
            let deviation = (k as f32).sqrt().recip();
            add(
                format!("blocks.{block}.{layer}.weight"),
                &[n, k],
                deviation,
                0.0,
            );
            add(format!("blocks.{block}.{layer}.bias"), &[n], 0.02, 0.0);
        }
        for norm in ["norm1", "norm2"] {
            add(format!("blocks.{block}.{norm}.weight"), &[width], 0.2, 1.0);
            add(format!("blocks.{block}.{norm}.bias"), &[width], 0.2, 0.0);
        }
    }
    add("norm.weight".into(), &[width], 0.2, 1.0);
    add("norm.bias".into(), &[width], 0.2, 0.0);
    add("calibration".into(), &[8, side, side, 3], 1.0, 0.0);
    add("test".into(), &[8, side, side, 3], 1.0, 0.0);
    weights
}
