//! The parts of CoCa that are neither its image nor its text tower (Yu et al., 2022, arXiv 2205.01917): the pooler that
//! asks the tokens of a picture for what a caption needs, and the multimodal decoder.
//!
//! ```text
//! picture ─ image tower ─ tokens (positions, context) ─ pooler ─ (queries, width) ───────────┐
//! caption ─ text tower, causal ─ tokens (t, width) ─ [causal attention ─ cross attention] ×N ─ norm ─ logits (t, V)
//! ```
//!
//! Layers, their order and the names of weights are open_clip's (`AttentionalPooler`, `MultimodalTransformer`): pre-norm
//! blocks with GELU, cross attention with a norm of its own for keys and values. Weights come by name, so that whoever
//! trains them keeps them as it likes.

pub(crate) mod beam;
mod parameters;
pub(crate) mod score;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::module::layer_norm;

use crate::network::hidden;
pub(crate) use parameters::{Parameter, parameters};

/// Of every norm, as PyTorch's default.
const EPSILON: f64 = 1e-5;

/// Sizes of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Numbers of a token of the text tower, of the decoder and of a pooled query.
    pub(crate) width: usize,
    /// Heads of every attention; they divide the width.
    pub(crate) heads: usize,
    /// Pairs of a causal and a cross attention.
    pub(crate) layers: usize,
    /// Tokens that the pooler makes of a picture.
    pub(crate) queries: usize,
    /// Numbers of a token of the image tower.
    pub(crate) context: usize,
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: usize,
}

/// Where weights come from. A bias or the weight of a norm is `[1, n]`.
pub(crate) trait Weights {
    /// The weight of a name that [`parameters`] lists.
    fn weight(&self, name: &str) -> Tensor<2>;
}

/// What the decoder sees of pictures `[n, positions, context]`: `[n, queries, width]`.
pub(crate) fn pool(settings: &Settings, weights: &impl Weights, pictures: Tensor<3>) -> Tensor<3> {
    let Settings {
        width,
        heads,
        queries,
        context,
        ..
    } = *settings;
    let [n, ..] = pictures.dims();
    let name = "visual.attn_pool";
    let query = weights.weight(&format!("{name}.query"));
    let query = norm(
        weights,
        &format!("{name}.ln_q"),
        query.reshape([1, queries, width]),
    );
    let keys = norm(weights, &format!("{name}.ln_k"), pictures);
    let part = |letter: &str| match context == width {
        true => {
            let all = weights.weight(&format!("{name}.attn.in_proj_weight"));
            all.narrow(0, width * place(letter), width)
        }
        false => weights.weight(&format!("{name}.attn.{letter}_proj_weight")),
    };
    let bias = weights.weight(&format!("{name}.attn.in_proj_bias"));
    let bias = |letter: &str| bias.clone().narrow(1, width * place(letter), width);
    let q = affine(query, part("q"), bias("q")).repeat_dim(0, n);
    let [k, v] = ["k", "v"].map(|letter| affine(keys.clone(), part(letter), bias(letter)));
    let pooled = attend(heads, [q, k, v], None);
    let pooled = linear(weights, &format!("{name}.attn.out_proj"), pooled);
    norm(weights, "visual.ln_post", pooled)
}

/// Logits `[n, t, vocabulary]` of the token behind each of `texts` `[n, t, width]`, which are a causal text tower's, beside
/// pooled `pictures` `[n, queries, width]`.
pub(crate) fn decode(
    settings: &Settings,
    weights: &impl Weights,
    texts: Tensor<3>,
    pictures: Tensor<3>,
) -> Tensor<3> {
    let [n, t, width] = texts.dims();
    let mask = hidden([t, t], &texts.device());
    let mut x = texts;
    for layer in 0..settings.layers {
        let name = format!("text_decoder.resblocks.{layer}");
        let own = norm(weights, &format!("{name}.ln_1"), x.clone());
        let [q, k, v] = joint(weights, &name, [own.clone(), own.clone(), own]);
        x = block(settings, weights, &name, x, ([q, k, v], Some(&mask)));
        let name = format!("text_decoder.cross_attn.{layer}");
        let own = norm(weights, &format!("{name}.ln_1"), x.clone());
        let others = norm(weights, &format!("{name}.ln_1_kv"), pictures.clone());
        let all = joint(weights, &name, [own, others.clone(), others]);
        x = block(settings, weights, &name, x, (all, None));
    }
    let x = norm(weights, "text_decoder.ln_final", x).reshape([n * t, width]);
    let logits = x.matmul(weights.weight("text_decoder.text_projection"));
    logits.reshape([n, t, settings.vocabulary])
}

/// A block behind its first norm: attention, and a perceptron, each added to what it read.
fn block(
    settings: &Settings,
    weights: &impl Weights,
    name: &str,
    x: Tensor<3>,
    (all, mask): ([Tensor<3>; 3], Option<&Tensor<2>>),
) -> Tensor<3> {
    let mixed = attend(settings.heads, all, mask);
    let x = x + linear(weights, &format!("{name}.attn.out_proj"), mixed);
    let wide = norm(weights, &format!("{name}.ln_2"), x.clone());
    let wide = gelu(linear(weights, &format!("{name}.mlp.c_fc"), wide));
    x + linear(weights, &format!("{name}.mlp.c_proj"), wide)
}

/// Where a part of a joint projection begins, in widths.
fn place(letter: &str) -> usize {
    match letter {
        "q" => 0,
        "k" => 1,
        _ => 2,
    }
}

/// Queries, keys and values by a projection of three parts.
fn joint(weights: &impl Weights, name: &str, inputs: [Tensor<3>; 3]) -> [Tensor<3>; 3] {
    let weight = weights.weight(&format!("{name}.attn.in_proj_weight"));
    let bias = weights.weight(&format!("{name}.attn.in_proj_bias"));
    let [.., width] = weight.dims();
    let mut start = 0;
    inputs.map(|x| {
        let part = weight.clone().narrow(0, start, width);
        let bias = bias.clone().narrow(1, start, width);
        start += width;
        affine(x, part, bias)
    })
}

/// `softmax(q·kᵀ/√(width of a head) + mask)·v` of each head; q `[n, t, width]`, k and v `[n, s, width]`, mask `[t, s]`.
fn attend(heads: usize, [q, k, v]: [Tensor<3>; 3], mask: Option<&Tensor<2>>) -> Tensor<3> {
    let [n, t, width] = q.dims();
    let split = |x: Tensor<3>| -> Tensor<4> {
        let [n, tokens, _] = x.dims();
        x.reshape([n, tokens, heads, width / heads]).swap_dims(1, 2)
    };
    let scale = ((width / heads) as f32).sqrt().recip();
    let mut scores = split(q).matmul(split(k).swap_dims(2, 3)).mul_scalar(scale);
    if let Some(mask) = mask {
        let [t, s] = mask.dims();
        scores = scores + mask.clone().reshape([1, 1, t, s]);
    }
    let mixed = softmax(scores, 3).matmul(split(v));
    mixed.swap_dims(1, 2).reshape([n, t, width])
}

fn norm(weights: &impl Weights, name: &str, x: Tensor<3>) -> Tensor<3> {
    let [gamma, beta] = ["weight", "bias"].map(|part| {
        let row = weights.weight(&format!("{name}.{part}"));
        let [_, width] = row.dims();
        row.reshape([width])
    });
    layer_norm(x, gamma, Some(beta), EPSILON)
}

fn linear(weights: &impl Weights, name: &str, x: Tensor<3>) -> Tensor<3> {
    let [weight, bias] = ["weight", "bias"].map(|part| weights.weight(&format!("{name}.{part}")));
    affine(x, weight, bias)
}

/// x `[n, t, k]`, weight `[m, k]`, bias `[1, m]`: `[n, t, m]`.
fn affine(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<2>) -> Tensor<3> {
    let [n, t, k] = x.dims();
    let [m, _] = weight.dims();
    let y = x.reshape([n * t, k]).matmul(weight.transpose()) + bias;
    y.reshape([n, t, m])
}
