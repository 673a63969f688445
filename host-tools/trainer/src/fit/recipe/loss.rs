//! What a recipe says of losses.

use serde::{Deserialize, Serialize};

/// The loss that is not one of embeddings, as the log names it.
pub(in crate::fit) const CAPTION: &str = "caption";

/// The weights of the losses, each at least 0, and their parameters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// [`crate::loss::clip_loss`] of pictures and texts.
    pub clip: f32,
    /// [`crate::loss::siglip_loss`] of pictures and texts.
    pub siglip: f32,
    /// [`crate::loss::sup_con_loss`] of views and labels.
    pub sup_con: f32,
    /// [`crate::loss::triplet_loss_in_batch`] of labels.
    pub triplet: f32,
    /// [`crate::loss::feature_loss`] against teachers.
    pub feature: f32,
    /// [`crate::loss::affinity_loss`] against teachers.
    pub affinity: f32,
    /// [`crate::loss::interactive_loss`] against teachers.
    pub interactive: f32,
    /// [`crate::loss::contrastive_distill_loss`] against teachers.
    pub contrastive_distill: f32,
    /// [`crate::loss::relation_loss`] against teachers.
    pub relation: f32,
    /// [`crate::loss::logit_distill_loss`] against teachers, over the classes.
    pub logits: f32,
    /// [`crate::loss::transform_loss`] of turned and flipped pictures.
    pub transform: f32,
    /// [`crate::loss::caption_loss`] of captions; needs `[caption]`.
    pub caption: f32,
    /// How far features are apart.
    pub feature_distance: Distance,
    /// Of `logits`.
    pub temperature: f32,
    /// Of `triplet`, in cosines.
    pub margin: f32,
    /// The factor of cosines in `sup_con`.
    pub sup_con_scale: f32,
    /// The factor of cosines in `contrastive_distill`.
    pub contrastive_scale: f32,
    /// Hidden width of the head of `transform`.
    pub transform_hidden: usize,
}

/// [`crate::loss::FeatureDistance`] as a recipe names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1 − cos.
    #[default]
    Cosine,
    /// Of unit rows.
    MeanSquared,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            clip: 0.0,
            siglip: 0.0,
            sup_con: 0.0,
            triplet: 0.0,
            feature: 0.0,
            affinity: 0.0,
            interactive: 0.0,
            contrastive_distill: 0.0,
            relation: 0.0,
            logits: 0.0,
            transform: 0.0,
            caption: 0.0,
            feature_distance: Distance::Cosine,
            temperature: 1.0,
            margin: 0.2,
            sup_con_scale: 10.0,
            contrastive_scale: 20.0,
            transform_hidden: 128,
        }
    }
}

impl Loss {
    /// Names and weights, in the order of the log.
    pub(in crate::fit) fn weights(&self) -> [(&'static str, f32); 12] {
        [
            ("clip", self.clip),
            ("siglip", self.siglip),
            ("sup_con", self.sup_con),
            ("triplet", self.triplet),
            ("feature", self.feature),
            ("affinity", self.affinity),
            ("interactive", self.interactive),
            ("contrastive_distill", self.contrastive_distill),
            ("relation", self.relation),
            ("logits", self.logits),
            ("transform", self.transform),
            (CAPTION, self.caption),
        ]
    }
}
