//! CLIP and its family: both towers of the checkpoints of OpenAI, open_clip and Hugging Face (CLIP and
//! SigLIP); of open_clip also the residual networks, CoCa and MobileCLIP.
//!
//! Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021
//! (<https://arxiv.org/abs/2103.00020>); Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023
//! (<https://arxiv.org/abs/2303.15343>); Yu et al., "CoCa", 2022 (<https://arxiv.org/abs/2205.01917>).
//!
//! [`recognises`] tells whose keys a checkpoint has, [`config_beside`] reads what tensors do not tell, [`import_image`] and
//! [`import_text`] build one tower each. `blocks` has what both towers are made of.

mod blocks;
mod class_token;
mod config;
mod fastvit;
mod image;
mod keys;
mod resnet;
mod stem;
mod text;

use super::checkpoint::Checkpoint;
use crate::{Graph, ModelKind, PictureGeometry};

pub use config::{Config, Heads, TowerConfig, config_beside};
pub use image::import as import_image;
pub(super) use keys::markers;
pub use keys::{Keys, recognises, refused};
pub use text::import as import_text;

/// An image tower of square pictures with what is not computation.
fn image_encoder(mut graph: Graph, checkpoint: &Checkpoint, config: &Config, side: usize) -> Graph {
    graph.meta.kind = ModelKind::ImageEncoder;
    graph.meta.geometry = Some(PictureGeometry {
        width: side,
        height: side,
        resize_shorter: side,
        mean: config.mean,
        std: config.std,
    });
    described(graph, checkpoint, config)
}

/// The graph with what is not computation: where it came from, and the scale and bias of logits.
fn described(mut graph: Graph, checkpoint: &Checkpoint, config: &Config) -> Graph {
    let number = |key: &str| {
        let tensor = checkpoint.tensors.get(key)?;
        tensor.as_f32()?.first().copied()
    };
    let meta = &mut graph.meta;
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
