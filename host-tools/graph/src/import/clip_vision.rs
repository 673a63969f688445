//! Vision transformers of the CLIP family: the image towers of OpenAI CLIP, open_clip and Hugging Face's CLIP and SigLIP.
//!
//! Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021
//! (<https://arxiv.org/abs/2103.00020>) over Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2021
//! (<https://arxiv.org/abs/2010.11929>); Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023
//! (<https://arxiv.org/abs/2303.15343>), which pools by attention of one learned query.
//!
//! ```text
//! patches ─ + positions ─ [norm] ─ layers of (x + attention(norm(x)), x + mlp(norm(x))) ─ class token │ attention pool
//!                                                                                        ─ norm ─ projection ─ embedding
//! ```
//!
//! Sizes are told from the tensors. What they do not tell, the width of a head, the activation and the normalisation of
//! pixels, comes from `config.json` or `open_clip_config.json` beside the checkpoint, or is assumed and said so.

use serde_json::Value as Json;

use super::ImportError;
use super::checkpoint::{Checkpoint, Weights, read_file};
use super::layout::{channels_last, transposed};
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, ModelKind, Op, PictureGeometry, Tensor, ValueId};

/// Largest configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Of every CLIP.
const HEAD_WIDTH: usize = 64;
/// Pixels of OpenAI's training pictures, which most of the family kept.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// See [`CLIP_MEAN`].
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// Of SigLIP.
const HALF: [f32; 3] = [0.5; 3];

/// Whose keys a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `visual.…`, as OpenAI and open_clip write them.
    OpenClip,
    /// `vision_model.…` with a class token.
    HuggingFaceClip,
    /// `vision_model.…` with a head that pools by attention.
    Siglip,
}

impl Keys {
    fn blocks(self) -> &'static str {
        match self {
            Self::OpenClip => "visual.transformer.resblocks",
            Self::HuggingFaceClip | Self::Siglip => "vision_model.encoder.layers",
        }
    }

    fn patches(self) -> &'static str {
        match self {
            Self::OpenClip => "visual.conv1",
            Self::HuggingFaceClip | Self::Siglip => "vision_model.embeddings.patch_embedding",
        }
    }

    fn positions(self) -> &'static str {
        match self {
            Self::OpenClip => "visual.positional_embedding",
            Self::HuggingFaceClip | Self::Siglip => {
                "vision_model.embeddings.position_embedding.weight"
            }
        }
    }

    fn class_token(self) -> Option<&'static str> {
        match self {
            Self::OpenClip => Some("visual.class_embedding"),
            Self::HuggingFaceClip => Some("vision_model.embeddings.class_embedding"),
            Self::Siglip => None,
        }
    }

    /// The normalisation before the layers.
    fn norm_before(self) -> Option<&'static str> {
        match self {
            Self::OpenClip => Some("visual.ln_pre"),
            // The key's spelling is that of the library.
            Self::HuggingFaceClip => Some("vision_model.pre_layrnorm"),
            Self::Siglip => None,
        }
    }

    fn norm_after(self) -> &'static str {
        match self {
            Self::OpenClip => "visual.ln_post",
            Self::HuggingFaceClip | Self::Siglip => "vision_model.post_layernorm",
        }
    }

    /// Normalisation 1 or 2, the product after the heads, and the two of the MLP, inside a block.
    fn part(self, part: Part) -> &'static str {
        match (self, part) {
            (Self::OpenClip, Part::Norm1) => "ln_1",
            (Self::OpenClip, Part::Norm2) => "ln_2",
            (Self::OpenClip, Part::Mixed) => "attn.out_proj",
            (Self::OpenClip, Part::Wide) => "mlp.c_fc",
            (Self::OpenClip, Part::Narrow) => "mlp.c_proj",
            (_, Part::Norm1) => "layer_norm1",
            (_, Part::Norm2) => "layer_norm2",
            (_, Part::Mixed) => "self_attn.out_proj",
            (_, Part::Wide) => "mlp.fc1",
            (_, Part::Narrow) => "mlp.fc2",
        }
    }

    /// Keys of the text tower and of training.
    fn elsewhere(self, key: &str) -> bool {
        const OPEN_CLIP: [&str; 10] = [
            "transformer.",
            "token_embedding.",
            "positional_embedding",
            "ln_final.",
            "text_projection",
            "text.",
            "attn_mask",
            "input_resolution",
            "context_length",
            "vocab_size",
        ];
        const HUGGING_FACE: [&str; 3] = ["text_model.", "text_projection.", "text_embeds"];
        let text: &[&str] = match self {
            Self::OpenClip => &OPEN_CLIP,
            Self::HuggingFaceClip | Self::Siglip => &HUGGING_FACE,
        };
        text.iter().any(|prefix| key.starts_with(prefix))
            || ["logit_scale", "logit_bias"].contains(&key)
            || key.ends_with("position_ids")
    }
}

/// A part of a block.
#[derive(Clone, Copy)]
enum Part {
    Norm1,
    Mixed,
    Norm2,
    Wide,
    Narrow,
}

/// Whose keys a checkpoint has, if it is of this family.
pub fn recognises(checkpoint: &Checkpoint) -> Option<Keys> {
    let has = |key: &str| checkpoint.tensors.contains_key(key);
    [Keys::OpenClip, Keys::HuggingFaceClip, Keys::Siglip]
        .into_iter()
        .find(|keys| {
            let pooled = match keys.class_token() {
                Some(token) => has(token),
                None => has("vision_model.head.probe"),
            };
            pooled
                && has(&format!("{}.weight", keys.patches()))
                && has(&format!(
                    "{}.0.{}.weight",
                    keys.blocks(),
                    keys.part(Part::Norm1)
                ))
        })
}

/// What tensors do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Columns of a head.
    pub head_width: usize,
    /// Between the two products of an MLP.
    pub activation: Unary,
    /// Of every layer normalisation.
    pub epsilon: f32,
    /// Of channels in [0, 1].
    pub mean: [f32; 3],
    /// Of channels in [0, 1].
    pub std: [f32; 3],
    /// What was assumed, one sentence each, for the person who imports.
    pub assumed: Vec<String>,
}

/// Reads `open_clip_config.json` or `config.json` beside the checkpoint, and `preprocessor_config.json` for the pixels.
/// What none of them says is assumed.
///
/// # Errors
/// When a file is there and holds no JSON, or an activation that no transformer of this family has.
pub fn config_beside(checkpoint: &Checkpoint, keys: Keys) -> Result<Config, ImportError> {
    let siglip = keys == Keys::Siglip;
    let pixels = if siglip { HALF } else { CLIP_MEAN };
    let mut config = Config {
        head_width: HEAD_WIDTH,
        activation: if siglip { Unary::GeluTanh } else { Unary::Gelu },
        epsilon: if siglip { 1e-6 } else { 1e-5 },
        mean: pixels,
        std: if siglip { HALF } else { CLIP_STD },
        assumed: vec![
            format!("heads of width {HEAD_WIDTH}"),
            if siglip {
                "activation GELU by tanh".to_owned()
            } else {
                "activation GELU; weights of OpenAI want QuickGELU: --quick-gelu".to_owned()
            },
            format!("pixels of mean {pixels:?}"),
        ],
    };
    for name in [
        "config.json",
        "open_clip_config.json",
        "preprocessor_config.json",
    ] {
        let path = checkpoint.path.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let bytes = read_file(&path, MAX_CONFIG_BYTES)?;
        let json: Json = serde_json::from_slice(&bytes)
            .map_err(|error| ImportError::malformed(&path, format!("no JSON: {error}")))?;
        config
            .read(&json)
            .map_err(|what| ImportError::malformed(&path, what))?;
    }
    Ok(config)
}

impl Config {
    /// QuickGELU, which OpenAI trained with and the keys do not tell.
    pub fn quick_gelu(&mut self) {
        self.activation = Unary::QuickGelu;
        self.settled("activation");
    }

    fn settled(&mut self, what: &str) {
        self.assumed.retain(|line| !line.contains(what));
    }

    /// Takes what a configuration says: that of transformers, of open_clip, or of a processor.
    fn read(&mut self, json: &Json) -> Result<(), String> {
        let vision = match &json["vision_config"] {
            Json::Null => &json["model_cfg"]["vision_cfg"],
            vision => vision,
        };
        if json["model_cfg"]["quick_gelu"].as_bool() == Some(true) {
            self.quick_gelu();
        }
        if let Some(name) = vision["hidden_act"].as_str() {
            self.activation = match name {
                "quick_gelu" => Unary::QuickGelu,
                "gelu" => Unary::Gelu,
                "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Unary::GeluTanh,
                other => {
                    return Err(format!(
                        "hidden_act is {other}, expected gelu, quick_gelu or gelu_pytorch_tanh"
                    ));
                }
            };
            self.settled("activation");
        }
        if let Some(epsilon) = vision["layer_norm_eps"].as_f64() {
            self.epsilon = epsilon as f32;
        }
        let sizes = (&vision["hidden_size"], &vision["num_attention_heads"]);
        if let (Some(width), Some(heads @ 1..)) = (sizes.0.as_u64(), sizes.1.as_u64()) {
            self.head_width = (width / heads) as usize;
            self.settled("heads");
        } else if let Some(width) = vision["head_width"].as_u64() {
            self.head_width = width as usize;
            self.settled("heads");
        }
        let processor = match &json["preprocess_cfg"] {
            Json::Null => (&json["image_mean"], &json["image_std"]),
            open_clip => (&open_clip["mean"], &open_clip["std"]),
        };
        if let (Some(mean), Some(std)) = (three(processor.0), three(processor.1)) {
            (self.mean, self.std) = (mean, std);
            self.settled("pixels");
        }
        Ok(())
    }
}

fn three(json: &Json) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = json
        .as_array()?
        .iter()
        .map(|number| number.as_f64().map(|number| number as f32))
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// Builds the graph: input `image` (1, side, side, 3), normalised, output `embedding` (1, width of the shared space).
///
/// # Errors
/// When keys are missing, left over or of another shape, or positions are no square of patches.
pub fn import(checkpoint: &Checkpoint, keys: Keys, config: &Config) -> Result<Graph, ImportError> {
    let sizes = Sizes::of(checkpoint, keys, config)?;
    let name = format!(
        "vit-p{}-{}-l{}-w{}",
        sizes.patch, sizes.side, sizes.layers, sizes.width
    );
    let mut tower = Tower {
        weights: checkpoint.weights(format!(
            "a vision transformer of {} layers and width {}",
            sizes.layers, sizes.width
        )),
        graph: Graph::empty(name),
        keys,
        config,
        sizes,
    };
    let x = tower.tokens();
    let x = (0..tower.sizes.layers).fold(x, |x, layer| tower.block(layer, x));
    let pooled = match keys {
        Keys::Siglip => tower.attention_pool(x),
        Keys::OpenClip | Keys::HuggingFaceClip => tower.class_row(x),
    };
    let embedding = tower.projected(checkpoint, pooled);
    tower.graph.outputs.push(embedding);
    let Tower { weights, graph, .. } = tower;
    weights.finish(|key| keys.elsewhere(key))?;
    Ok(described(graph, checkpoint, config, sizes.side))
}

/// The graph with what is not computation.
fn described(mut graph: Graph, checkpoint: &Checkpoint, config: &Config, side: usize) -> Graph {
    let number = |key: &str| {
        let tensor = checkpoint.tensors.get(key)?;
        tensor.as_f32()?.first().copied()
    };
    let meta = &mut graph.meta;
    meta.kind = ModelKind::ImageEncoder;
    meta.geometry = Some(PictureGeometry {
        width: side,
        height: side,
        resize_shorter: side,
        mean: config.mean,
        std: config.std,
    });
    meta.logit_scale = number("logit_scale").map(f32::exp);
    meta.logit_bias = number("logit_bias");
    meta.embedding_space = space(&checkpoint.sha256);
    meta.source
        .insert("architecture".into(), graph.name.clone());
    meta.source
        .insert("checkpoint_sha256".into(), checkpoint.sha256.clone());
    if !config.assumed.is_empty() {
        meta.source
            .insert("assumed".into(), config.assumed.join(", "));
    }
    graph
}

/// Both towers of one file share a space: the first 16 bytes of its hash.
fn space(sha256: &str) -> Option<[u8; 16]> {
    let byte = |index: usize| u8::from_str_radix(sha256.get(2 * index..2 * index + 2)?, 16).ok();
    let mut space = [0; 16];
    for (index, slot) in space.iter_mut().enumerate() {
        *slot = byte(index)?;
    }
    Some(space)
}

/// What the tensors tell.
#[derive(Clone, Copy)]
struct Sizes {
    /// Pixels.
    side: usize,
    /// Pixels.
    patch: usize,
    /// Rows and columns of patches.
    grid: usize,
    /// Patches, and the class token.
    tokens: usize,
    width: usize,
    layers: usize,
    /// Between the two products of an MLP.
    inner: usize,
}

impl Sizes {
    fn of(checkpoint: &Checkpoint, keys: Keys, config: &Config) -> Result<Self, ImportError> {
        let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
        let weight = format!("{}.weight", keys.patches());
        let &[width, 3, patch, columns] = checkpoint.shape(&weight).unwrap_or_default() else {
            return Err(fault(format!(
                "{weight} is {:?}, expected (width, 3, patch, patch)",
                checkpoint.shape(&weight)
            )));
        };
        let tokens = checkpoint
            .shape(keys.positions())
            .and_then(|shape| shape.first().copied())
            .unwrap_or(0);
        let patches = tokens.saturating_sub(keys.class_token().is_some().into());
        let grid = patches.isqrt();
        if patch == 0 || patch != columns || grid == 0 || grid * grid != patches {
            return Err(fault(format!(
                "{} has {tokens} rows for patches of {patch} × {columns}; expected a square of square patches",
                keys.positions()
            )));
        }
        if config.head_width == 0 || !width.is_multiple_of(config.head_width) {
            return Err(fault(format!(
                "heads of width {} do not divide the width {width}",
                config.head_width
            )));
        }
        let block_key = |layer: usize, part: Part| {
            format!("{}.{layer}.{}.weight", keys.blocks(), keys.part(part))
        };
        let has = |layer: &usize| {
            checkpoint
                .tensors
                .contains_key(&block_key(*layer, Part::Norm1))
        };
        let inner = checkpoint
            .shape(&block_key(0, Part::Wide))
            .and_then(|shape| shape.first().copied());
        Ok(Self {
            side: grid * patch,
            patch,
            grid,
            tokens,
            width,
            layers: (0..).take_while(has).count(),
            inner: inner.unwrap_or(4 * width),
        })
    }
}

struct Tower<'a> {
    weights: Weights<'a>,
    graph: Graph,
    keys: Keys,
    config: &'a Config,
    sizes: Sizes,
}

impl Tower<'_> {
    /// The picture as (tokens, width), before the layers.
    fn tokens(&mut self) -> ValueId {
        let Sizes {
            side,
            patch,
            grid,
            tokens,
            width,
            ..
        } = self.sizes;
        let image = self.graph.add_value("image", &[1, side, side, 3]);
        self.graph.inputs.push(image);
        let name = self.keys.patches();
        let weight = self
            .weights
            .take(&format!("{name}.weight"), &[width, 3, patch, patch]);
        let weight = channels_last(&weight);
        let weight = self.graph.add_constant(format!("{name}.weight"), weight);
        let mut inputs = vec![image, weight];
        if self.keys == Keys::Siglip {
            inputs.push(self.constant(&format!("{name}.bias"), &[width]));
        }
        let op = Op::Conv2d {
            stride: [patch; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: 1,
            activation: Activation::None,
        };
        let patches = self
            .graph
            .add_node(name, op, &inputs, &[1, grid, grid, width]);
        let rows = [grid * grid, width];
        let mut x = self
            .graph
            .add_node(format!("{name}.rows"), Op::Reshape, &[patches], &rows);
        if let Some(key) = self.keys.class_token() {
            let mut token = self.weights.take(key, &[width]);
            if token.shape == [width] {
                token.shape = vec![1, width];
            }
            let token = self.graph.add_constant(key, token);
            let op = Op::Concat { axis: 0 };
            x = self.node("embeddings", op, &[token, x], [tokens, width]);
        }
        let positions = self.constant(self.keys.positions(), &[tokens, width]);
        x = self.add("embeddings.add", x, positions);
        match self.keys.norm_before() {
            Some(name) => self.layer_norm(name, x),
            None => x,
        }
    }

    fn block(&mut self, layer: usize, x: ValueId) -> ValueId {
        let block = format!("{}.{layer}", self.keys.blocks());
        let keys = self.keys;
        let name = |part: Part| format!("{block}.{}", keys.part(part));
        let Sizes {
            tokens,
            width,
            inner,
            ..
        } = self.sizes;
        let normed = self.layer_norm(&name(Part::Norm1), x);
        let [q, k, v] = self.heads(&block, normed);
        let op = Op::Attention {
            num_heads: width / self.config.head_width,
            scale: (self.config.head_width as f32).sqrt().recip(),
            windows: 1,
        };
        let mixed = self.node(
            &format!("{block}.attention"),
            op,
            &[q, k, v],
            [tokens, width],
        );
        let mixed = self.linear(&name(Part::Mixed), mixed, [width, width]);
        let x = self.add(&format!("{block}.attention.add"), x, mixed);
        let normed = self.layer_norm(&name(Part::Norm2), x);
        let narrow = self.mlp(&name(Part::Wide), &name(Part::Narrow), normed, inner);
        self.add(&format!("{block}.mlp.add"), x, narrow)
    }

    /// Queries, keys and values of all heads.
    fn heads(&mut self, block: &str, x: ValueId) -> [ValueId; 3] {
        let width = self.sizes.width;
        if self.keys == Keys::OpenClip {
            return self.fused(&format!("{block}.attn"), [x; 3]);
        }
        ["q_proj", "k_proj", "v_proj"]
            .map(|part| self.linear(&format!("{block}.self_attn.{part}"), x, [width, width]))
    }

    /// As [`Self::heads`], from the one matrix that PyTorch's `MultiheadAttention` keeps.
    fn fused(&mut self, name: &str, inputs: [ValueId; 3]) -> [ValueId; 3] {
        let width = self.sizes.width;
        let weight = self
            .weights
            .take(&format!("{name}.in_proj_weight"), &[3 * width, width]);
        let bias = self
            .weights
            .take(&format!("{name}.in_proj_bias"), &[3 * width]);
        let part = |tensor: &Tensor, index: usize, shape: &[usize]| {
            let len: usize = shape.iter().product();
            let rows = tensor.as_f32().unwrap_or_default();
            match rows.get(index * len..(index + 1) * len) {
                Some(rows) => Tensor::f32(shape, rows.to_vec()),
                None => Tensor::f32(&[0], Vec::new()),
            }
        };
        let mut index = 0;
        inputs.map(|x| {
            let name = format!("{name}.{}", ["q", "k", "v"][index]);
            let weight = part(&weight, index, &[width, width]);
            let bias = part(&bias, index, &[width]);
            index += 1;
            let weight = self.graph.add_constant(format!("{name}.weight"), weight);
            let bias = self.graph.add_constant(format!("{name}.bias"), bias);
            self.product(&name, &[x, weight, bias], width)
        })
    }

    fn mlp(&mut self, wide: &str, narrow: &str, x: ValueId, inner: usize) -> ValueId {
        let width = self.sizes.width;
        let x = self.linear(wide, x, [width, inner]);
        let shape = self.graph.values[x].shape.clone();
        let function = self.config.activation;
        let x = self
            .graph
            .add_node(format!("{wide}.act"), Op::Unary { function }, &[x], &shape);
        self.linear(narrow, x, [inner, width])
    }

    /// The first token, normalised: (1, width).
    fn class_row(&mut self, x: ValueId) -> ValueId {
        let op = Op::Slice {
            starts: vec![0, 0],
            steps: vec![1, 1],
        };
        let row = self.node("class_row", op, &[x], [1, self.sizes.width]);
        self.layer_norm(self.keys.norm_after(), row)
    }

    /// SigLIP's head: a learned query attends to all tokens, then an MLP: (1, width).
    fn attention_pool(&mut self, x: ValueId) -> ValueId {
        let Sizes { width, inner, .. } = self.sizes;
        let x = self.layer_norm(self.keys.norm_after(), x);
        let mut probe = self.weights.take("vision_model.head.probe", &[1, 1, width]);
        if probe.shape == [1, 1, width] {
            probe.shape = vec![1, width];
        }
        let probe = self.graph.add_constant("vision_model.head.probe", probe);
        let head = "vision_model.head";
        let [q, k, v] = self.fused(&format!("{head}.attention"), [probe, x, x]);
        let op = Op::Attention {
            num_heads: width / self.config.head_width,
            scale: (self.config.head_width as f32).sqrt().recip(),
            windows: 1,
        };
        let mixed = self.node(&format!("{head}.attended"), op, &[q, k, v], [1, width]);
        let mixed = self.linear(&format!("{head}.attention.out_proj"), mixed, [width, width]);
        let normed = self.layer_norm(&format!("{head}.layernorm"), mixed);
        let narrow = self.mlp(
            &format!("{head}.mlp.fc1"),
            &format!("{head}.mlp.fc2"),
            normed,
            inner,
        );
        self.add(&format!("{head}.add"), mixed, narrow)
    }

    /// Into the shared space, where the checkpoint has a projection: (1, width of the space).
    fn projected(&mut self, checkpoint: &Checkpoint, x: ValueId) -> ValueId {
        let width = self.sizes.width;
        let (key, output) = match self.keys {
            Keys::OpenClip => ("visual.proj", 1),
            Keys::HuggingFaceClip => ("visual_projection.weight", 0),
            Keys::Siglip => ("", 0),
        };
        let space = checkpoint
            .shape(key)
            .and_then(|shape| shape.get(output).copied());
        let x = match (self.keys, space) {
            (Keys::OpenClip, Some(space)) => {
                let weight = transposed(&self.weights.take(key, &[width, space]));
                let weight = self.graph.add_constant(key, weight);
                self.product("projection", &[x, weight], space)
            }
            (Keys::HuggingFaceClip, Some(space)) => {
                let weight = self.constant(key, &[space, width]);
                self.product("projection", &[x, weight], space)
            }
            _ => x,
        };
        let shape = self.graph.values[x].shape.clone();
        self.graph
            .add_node("embedding", Op::NormalizeEmbedding, &[x], &shape)
    }

    fn linear(&mut self, name: &str, x: ValueId, [k, n]: [usize; 2]) -> ValueId {
        let weight = self.constant(&format!("{name}.weight"), &[n, k]);
        let bias = self.constant(&format!("{name}.bias"), &[n]);
        self.product(name, &[x, weight, bias], n)
    }

    fn product(&mut self, name: &str, inputs: &[ValueId], n: usize) -> ValueId {
        let rows = self.graph.values[inputs[0]].shape[0];
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.node(name, op, inputs, [rows, n])
    }

    fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let width = self.sizes.width;
        let rows = self.graph.values[x].shape[0];
        let gamma = self.constant(&format!("{name}.weight"), &[width]);
        let beta = self.constant(&format!("{name}.bias"), &[width]);
        let op = Op::LayerNorm {
            epsilon: self.config.epsilon,
        };
        self.node(name, op, &[x, gamma, beta], [rows, width])
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let shape = self.graph.values[a].shape.clone();
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.graph.add_node(name, op, &[a, b], &shape)
    }

    fn constant(&mut self, key: &str, shape: &[usize]) -> ValueId {
        let tensor = self.weights.take(key, shape);
        self.graph.add_constant(key, tensor)
    }

    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId], shape: [usize; 2]) -> ValueId {
        self.graph.add_node(name, op, inputs, &shape)
    }
}
