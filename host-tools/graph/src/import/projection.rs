//! A learned projection of both towers into one embedding space (Radford et al. 2021, section 2.3,
//! <https://arxiv.org/abs/2103.00020>): appended to a graph that ends in features.
//!
//! Its file holds `image.weight` (d, k) and `image.bias` (d), the same for `text`, or for either tower an MLP
//! `….0.weight`, `….0.bias`, `….1.weight`, `….1.bias` with GELU between, and `logit_scale` (1), the factor of cosines itself and not its logarithm. A
//! hash of all of it names the embedding space, so that towers of different trainings are never mixed.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::ImportError;
use super::checkpoint::{Checkpoint, Weights};
use crate::op::{Activation, Unary};
use crate::{Graph, ModelKind, Op, Tensor, TensorData};

/// Which side of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// Pictures; the embedding is scaled for int8 ([`Op::NormalizeEmbedding`]).
    Image,
    /// Sentences; the embedding has length 1.
    Text,
}

impl Tower {
    fn prefix(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
        }
    }
}

/// A projection file.
#[derive(Clone, Debug)]
pub struct Projection {
    checkpoint: Checkpoint,
}

impl Projection {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ImportError> {
        Ok(Self {
            checkpoint: Checkpoint::load(path)?,
        })
    }

    /// Over tensors that were read before.
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        Self { checkpoint }
    }

    /// First 16 bytes of SHA-256 over the bytes of all tensors (little-endian), in the order of their keys.
    pub fn embedding_space(&self) -> [u8; 16] {
        let mut hasher = Sha256::new();
        for tensor in self.checkpoint.tensors.values() {
            match &tensor.data {
                TensorData::F32(data) => data
                    .iter()
                    .for_each(|value| hasher.update(value.to_le_bytes())),
                TensorData::I32(data) => data
                    .iter()
                    .for_each(|value| hasher.update(value.to_le_bytes())),
                TensorData::I8(data) => data
                    .iter()
                    .for_each(|value| hasher.update(value.to_le_bytes())),
            }
        }
        let mut space = [0; 16];
        space.copy_from_slice(&hasher.finalize()[..16]);
        space
    }

    /// The factor of cosines, when the file has one.
    pub fn logit_scale(&self) -> Option<f32> {
        let data = self.checkpoint.tensors.get("logit_scale")?.as_f32()?;
        data.first().copied()
    }

    /// Projects the only output of `graph`, which must be (1, k), and names the embedding space.
    ///
    /// # Errors
    /// When the file has no projection of this tower from k, or another key than those of the module's page.
    pub fn append(&self, graph: &mut Graph, tower: Tower) -> Result<(), ImportError> {
        let prefix = tower.prefix();
        let fault = |what: String| ImportError::malformed(&self.checkpoint.path, what);
        let &[output] = graph.outputs.as_slice() else {
            return Err(fault(format!(
                "graph {} has {} outputs, expected 1",
                graph.name,
                graph.outputs.len()
            )));
        };
        let &[1, width] = graph.values[output].shape.as_slice() else {
            return Err(fault(format!(
                "graph {} ends in shape {:?}, expected (1, features)",
                graph.name, graph.values[output].shape
            )));
        };
        let mut weights = self.checkpoint.weights(format!(
            "a projection of {} for {width} features",
            graph.name
        ));
        let (mut x, mut k) = (output, width);
        let layers = self.layers(prefix);
        for (index, layer) in layers.iter().enumerate() {
            let n = self
                .checkpoint
                .shape(&format!("{layer}.weight"))
                .and_then(|shape| shape.first().copied())
                .unwrap_or(1);
            x = linear(graph, &mut weights, layer, x, k, n);
            k = n;
            if index + 1 < layers.len() {
                let function = Unary::Gelu;
                x = graph.add_node(
                    format!("{layer}.gelu"),
                    Op::Unary { function },
                    &[x],
                    &[1, n],
                );
            }
        }
        let other = match tower {
            Tower::Image => "text.",
            Tower::Text => "image.",
        };
        weights
            .finish(|key| key.starts_with(other) || key == "logit_scale" || key == "logit_bias")?;
        let op = match tower {
            Tower::Image => Op::NormalizeEmbedding,
            Tower::Text => Op::L2Normalize,
        };
        let embedding = graph.add_node("embedding", op, &[x], &[1, k]);
        graph.outputs = vec![embedding];
        graph.meta.kind = match tower {
            Tower::Image => ModelKind::ImageEncoder,
            Tower::Text => ModelKind::TextEncoder,
        };
        graph.meta.embedding_space = Some(self.embedding_space());
        graph.meta.logit_scale = self.logit_scale();
        graph
            .meta
            .source
            .insert("projection_sha256".into(), self.checkpoint.sha256.clone());
        Ok(())
    }

    /// Prefixes of the layers: one, or those of an MLP.
    fn layers(&self, prefix: &str) -> Vec<String> {
        if self
            .checkpoint
            .tensors
            .contains_key(&format!("{prefix}.0.weight"))
        {
            vec![format!("{prefix}.0"), format!("{prefix}.1")]
        } else {
            vec![prefix.to_owned()]
        }
    }
}

fn linear(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    layer: &str,
    x: usize,
    k: usize,
    n: usize,
) -> usize {
    let weight: Tensor = weights.take(&format!("{layer}.weight"), &[n, k]);
    let bias = weights.take(&format!("{layer}.bias"), &[n]);
    let weight = graph.add_constant(format!("projection.{layer}.weight"), weight);
    let bias = graph.add_constant(format!("projection.{layer}.bias"), bias);
    let op = Op::Linear {
        activation: Activation::None,
    };
    graph.add_node(
        format!("projection.{layer}"),
        op,
        &[x, weight, bias],
        &[1, n],
    )
}
