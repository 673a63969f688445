//! The losses of contrastive training and of distillation, one a file, each with its paper's equation.
//!
//! Every loss is a function of matrices, one row a sample, that Burn differentiates, and gives a tensor `[1]`. What
//! is wrong with its inputs is a [`LossError`] before anything is computed. [`Score`] is what embeddings are compared
//! by; [`energy_loss`] is the view of all of them as energies; [`grad_cache()`] runs any of them over batches whose
//! activations do not fit into memory.
//!
//! Values and gradients are those of PyTorch to 1e-5, and those of finite differences (`golden.rs`, `check.rs`).
//! `docs/losses.md` says when to use which.

mod blockwise;
mod caption;
#[cfg(test)]
pub(crate) mod check;
mod clip;
mod contrastive;
mod distill;
mod energy;
mod error;
#[cfg(test)]
mod golden;
mod grad_cache;
mod groups;
mod info_nce;
mod mining;
mod nce;
mod score;
mod sig_lip;
mod stable;
mod sup_con;
mod transform;
mod triplet;

pub use blockwise::blockwise;
pub use caption::{CaptionOptions, CocaWeights, caption_loss, coca_loss};
pub use clip::clip_loss;
pub use contrastive::contrastive_loss;
pub use distill::{
    ClipKdWeights, FeatureDistance, Towers, affinity_loss, clip_kd_loss, contrastive_distill_loss,
    crd_loss, feature_loss, interactive_loss, logit_distill_loss, relation_loss,
};
pub use energy::{EnergyForm, energy_loss, free_energy};
pub use error::LossError;
pub use grad_cache::{Cached, Leaf, Tower, grad_cache};
pub(crate) use grad_cache::{add, grad_cache_through};
pub use groups::{group_loss, group_targets};
pub use info_nce::{Negatives, info_nce, info_nce_loss};
pub use mining::{Mining, triplet_loss_in_batch};
pub use nce::{Scored, nce_loss};
pub use score::Score;
pub use sig_lip::siglip_loss;
pub(crate) use stable::{MASKED, indices};
pub use sup_con::{PositiveSum, sup_con_loss};
pub use transform::{Transform, TransformHead, transform_loss};
pub use triplet::triplet_loss;
