//! The image tower: patches and positions, blocks, one token, projection.
//!
//! Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2021 (<https://arxiv.org/abs/2010.11929>).
//!
//! ```text
//! patches ─ + positions ─ [norm] ─ blocks ─ class token │ attention of a learned query ─ norm ─ projection ─ embedding
//! ```

use super::blocks::{Builder, count, rows, size};
use super::keys::{ImageNames, Pool, ProbeNames, Projection, Side};
use super::{Config, Keys, fastvit, image_encoder, resnet, stem};
use crate::import::ImportError;
use crate::import::checkpoint::Checkpoint;
use crate::import::layout::channels_last;
use crate::op::Activation;
use crate::{Graph, Op, Tensor, ValueId};

/// Keys of CoCa's pooler, behind which the class token's norm and projection follow.
const POOLER: &str = "visual.attn_pool";

/// Builds the graph: input `image` (1, side, side, 3), normalised, output `embedding` (1, width of the shared space).
///
/// # Errors
/// When keys are missing, left over or of another shape, positions are no square of patches, or a configuration names a tower
/// that is not known.
pub fn import(checkpoint: &Checkpoint, keys: Keys, config: &Config) -> Result<Graph, ImportError> {
    if checkpoint.tensors.contains_key(resnet::POSITIONS) {
        return resnet::import(checkpoint, config);
    }
    if keys == Keys::OpenClipFastVit {
        return fastvit::import(checkpoint, config);
    }
    if keys == Keys::OpenClipTimm {
        let gathers = config.gathers_by("token");
        gathers.map_err(|what| ImportError::malformed(&checkpoint.path, what))?;
    }
    let names = keys.image();
    let sizes = Sizes::of(checkpoint, &names)?;
    let Sizes {
        side, patch, width, ..
    } = sizes;
    let layers = count(checkpoint, names.blocks, names.block);
    let mut tower = Builder {
        weights: checkpoint.weights(format!(
            "a vision transformer of {layers} layers and width {width}"
        )),
        graph: Graph::empty(format!("vit-p{patch}-{side}-l{layers}-w{width}")),
        checkpoint,
        config: &config.image,
        width,
        head_width: config
            .image
            .head_width(width)
            .map_err(|what| ImportError::malformed(&checkpoint.path, what))?,
        causal: false,
    };
    let mut x = tokens(&mut tower, &names, &sizes);
    for layer in 0..layers {
        x = tower.block(&format!("{}.{layer}", names.blocks), names.block, x);
    }
    let pooled = match names.pool {
        Pool::Probe(probe) => probed(&mut tower, &names, probe, x),
        Pool::ClassToken { .. } if tower.weights.has(&format!("{POOLER}.query")) => {
            let row = pooled(&mut tower, config.pooler_heads, x);
            tower.layer_norm(names.norm_after, row)
        }
        Pool::ClassToken { .. } => {
            let row = tower.row("class_row", 0, x);
            tower.layer_norm(names.norm_after, row)
        }
    };
    let embedding = match names.pool {
        Pool::ClassToken {
            projection: Projection::Matrix(key),
            ..
        } if tower.weights.has(key) => tower.times("projection", key, pooled),
        Pool::ClassToken {
            projection: Projection::Linear(key),
            ..
        } if tower.weights.has(&format!("{key}.weight")) => tower.linear(key, pooled),
        _ => pooled,
    };
    let space = tower.columns(embedding);
    let embedding = tower.sequence("embedding", Op::NormalizeEmbedding, &[embedding], space);
    tower.graph.outputs.push(embedding);
    let Builder { weights, graph, .. } = tower;
    weights.finish(|key| {
        key.ends_with("num_batches_tracked") || keys.side(key).may_stay(Side::Image)
    })?;
    Ok(image_encoder(graph, checkpoint, config, side))
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
    /// Rows of the table of positions: one a patch, and one for the class token where it has a position.
    positions: usize,
    width: usize,
}

impl Sizes {
    fn of(checkpoint: &Checkpoint, names: &ImageNames) -> Result<Self, ImportError> {
        let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
        let (patch, width) = match names.stem.filter(|stem| stem::has(checkpoint, stem)) {
            Some(name) => stem::sizes(checkpoint, name).map_err(fault)?,
            None => {
                let weight = format!("{}.weight", names.patches);
                let &[width, 3, patch, columns] = checkpoint.shape(&weight).unwrap_or_default()
                else {
                    return Err(fault(format!(
                        "{weight} is {:?}, expected (width, 3, patch, patch)",
                        checkpoint.shape(&weight)
                    )));
                };
                if patch != columns {
                    return Err(fault(format!(
                        "{weight} makes patches of {patch} × {columns}, expected squares"
                    )));
                }
                (patch, width)
            }
        };
        // timm keeps a dimension of 1 in front.
        let shape = checkpoint.shape(names.positions).unwrap_or_default();
        let positions = shape.iter().rev().nth(1).copied().unwrap_or(0);
        let class_tokens: &[usize] = match names.pool {
            Pool::ClassToken { .. } => &[1, 0],
            Pool::Probe(_) => &[0],
        };
        let grid = class_tokens.iter().find_map(|&class_tokens| {
            let patches = positions.checked_sub(class_tokens)?;
            let grid = patches.isqrt();
            (grid > 0 && grid * grid == patches).then_some(grid)
        });
        match (grid, grid.and_then(|grid| grid.checked_mul(patch))) {
            (Some(grid), Some(side)) if side > 0 => Ok(Self {
                side,
                patch,
                grid,
                positions,
                width,
            }),
            _ => Err(fault(format!(
                "{} is {shape:?} for patches of {patch} × {patch}; expected a square of square patches",
                names.positions
            ))),
        }
    }
}

/// The picture as (tokens, width), before the blocks.
fn tokens(tower: &mut Builder<'_>, names: &ImageNames, sizes: &Sizes) -> ValueId {
    let Sizes {
        side,
        patch,
        grid,
        positions,
        width,
    } = *sizes;
    let image = tower.graph.add_value("image", &[1, side, side, 3]);
    tower.graph.inputs.push(image);
    let patches = match names.stem.filter(|stem| stem::has(tower.checkpoint, stem)) {
        Some(name) => stem::patches(tower, name, image),
        None => convolved(tower, names.patches, patch, image),
    };
    let rows = [grid * grid, width];
    let name = format!("{}.rows", names.patches);
    let mut x = tower.graph.add_node(name, Op::Reshape, &[patches], &rows);
    // The class token has no position of its own where there is none behind those of the patches.
    let positioned = positions > grid * grid || matches!(names.pool, Pool::Probe(_));
    if positioned {
        x = with_class_token(tower, names, x);
        x = with_positions(tower, names, positions, x);
    } else {
        x = with_positions(tower, names, positions, x);
        x = with_class_token(tower, names, x);
    }
    match names.norm_before {
        // open_clip leaves it out where a configuration says so.
        Some(name) if tower.weights.has(&format!("{name}.weight")) => tower.layer_norm(name, x),
        _ => x,
    }
}

/// Patches by one convolution: (1, grid, grid, width).
fn convolved(tower: &mut Builder<'_>, name: &str, patch: usize, image: ValueId) -> ValueId {
    let side = tower.graph.values[image].shape[1];
    let (grid, width) = (side / patch, tower.width);
    let key = format!("{name}.weight");
    let weight = tower.weights.take(&key, &[width, 3, patch, patch]);
    let weight = tower.graph.add_constant(key, channels_last(&weight));
    let mut inputs = vec![image, weight];
    let bias = format!("{name}.bias");
    if tower.weights.has(&bias) {
        inputs.push(tower.constant(&bias, &[width]));
    }
    let op = Op::Conv2d {
        stride: [patch; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
        activation: Activation::None,
    };
    let shape = [1, grid, grid, width];
    tower.graph.add_node(name, op, &inputs, &shape)
}

/// The class token in front, where the tower has one.
fn with_class_token(tower: &mut Builder<'_>, names: &ImageNames, x: ValueId) -> ValueId {
    let Pool::ClassToken { token, .. } = names.pool else {
        return x;
    };
    let width = tower.width;
    // timm keeps two dimensions of 1 in front.
    let rank = tower.checkpoint.shape(token).map_or(1, <[usize]>::len);
    let shape = if rank == 3 {
        vec![1, 1, width]
    } else {
        vec![width]
    };
    let row = reshaped(tower.weights.take(token, &shape), &[1, width]);
    let row = tower.graph.add_constant(token, row);
    let op = Op::Concat { axis: 0 };
    let tokens = tower.graph.values[x].shape[0] + 1;
    tower
        .graph
        .add_node("embeddings", op, &[row, x], &[tokens, width])
}

fn with_positions(
    tower: &mut Builder<'_>,
    names: &ImageNames,
    positions: usize,
    x: ValueId,
) -> ValueId {
    let table = [positions, tower.width];
    let rank = tower
        .checkpoint
        .shape(names.positions)
        .map_or(2, <[usize]>::len);
    let shape = if rank == 3 {
        vec![1, table[0], table[1]]
    } else {
        table.to_vec()
    };
    let rows = reshaped(tower.weights.take(names.positions, &shape), &table);
    let rows = tower.graph.add_constant(names.positions, rows);
    tower.add("embeddings.add", x, rows)
}

/// SigLIP's head: a learned query attends to all tokens, then an MLP: (1, width).
fn probed(tower: &mut Builder<'_>, names: &ImageNames, probe: &ProbeNames, x: ValueId) -> ValueId {
    let width = tower.width;
    let x = tower.layer_norm(names.norm_after, x);
    let query = reshaped(tower.weights.take(probe.query, &[1, 1, width]), &[1, width]);
    let query = tower.graph.add_constant(probe.query, query);
    let heads = tower.heads("", probe.heads, [query, x, x]);
    let mixed = tower.attention("head.attention", heads);
    let mixed = tower.linear(probe.mixed, mixed);
    let normed = tower.layer_norm(probe.norm, mixed);
    let narrow = tower.mlp(probe.wide, probe.narrow, normed);
    tower.add("head.add", mixed, narrow)
}

/// CoCa's pooler: the first of its learned queries, whose result is the embedding, attends to all tokens: (1, n). The others
/// make the tokens of captions.
fn pooled(tower: &mut Builder<'_>, heads: usize, x: ValueId) -> ValueId {
    let key = |part: &str| format!("{POOLER}.{part}");
    let [queries, n] = [0, 1].map(|d| size(tower.checkpoint, &key("query"), d));
    let table = tower.weights.take(&key("query"), &[queries, n]);
    let first = match table.as_f32() {
        Some(data) if data.len() >= n && n > 0 => Tensor::f32(&[1, n], data[..n].to_vec()),
        _ => table,
    };
    let query = tower.graph.add_constant(key("query"), first);
    let query = tower.layer_norm(&key("ln_q"), query);
    let x = tower.layer_norm(&key("ln_k"), x);
    let bias = tower.weights.take(&key("attn.in_proj_bias"), &[3 * n]);
    // One matrix where both widths are the same, three otherwise.
    let fused = key("attn.in_proj_weight");
    let fused = tower
        .weights
        .has(&fused)
        .then(|| tower.weights.take(&fused, &[3 * n, n]));
    let mut index = 0;
    let qkv = [(query, "q"), (x, "k"), (x, "v")].map(|(input, part)| {
        let columns = tower.columns(input);
        let weight = match &fused {
            Some(fused) => rows(fused, index, &[n, columns]),
            None => {
                let key = key(&format!("attn.{part}_proj_weight"));
                tower.weights.take(&key, &[n, columns])
            }
        };
        let bias = rows(&bias, index, &[n]);
        index += 1;
        tower.product(&key(&format!("attn.{part}")), input, weight, Some(bias), n)
    });
    let stream_heads = tower.head_width;
    tower.head_width = n.checked_div(heads).unwrap_or(0).max(1);
    let mixed = tower.attention(&key("attended"), qkv);
    tower.head_width = stream_heads;
    tower.linear(&key("attn.out_proj"), mixed)
}

/// The same elements in another shape; the stand-in for a fault stays one.
fn reshaped(mut tensor: Tensor, shape: &[usize]) -> Tensor {
    if tensor.shape.iter().product::<usize>() == shape.iter().product::<usize>() {
        tensor.shape = shape.to_vec();
    }
    tensor
}
