//! The losses of contrastive training, one a file, each with its paper's equation, each checked against finite differences.

#[cfg(test)]
pub(crate) mod check;
mod clip;
mod groups;
mod info_nce;

pub use clip::clip_loss;
pub use groups::{group_loss, group_targets};
pub use info_nce::info_nce;
