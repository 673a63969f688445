//! The caption loss of a step: teacher forcing of CoCa's decoder over the tokens of both towers.
//!
//! The text tower is causal, so that what stands at a token knows nothing of those behind it; the decoder reads the tokens
//! of a caption but the last, and is asked for those but the first. The token that ends a text is the class token of the
//! contrastive side: the decoder never reads it. Texts of one length run together, as in the text tower.

use burn::tensor::Tensor;
use pinhole_graph::{Graph, ValueId};

use super::extras::Extras;
use super::recipe::Caption;
use super::spatial::{is_causal, positions, tokens};
use super::text_tower::{Group, TextTower};
use super::tower::Tower;
use crate::TrainError;
use crate::coca::{Settings, Weights, decode, pool};
use crate::loss::{CaptionOptions, caption_loss, indices};

/// Where the tokens of both towers are, and what is made of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Captioner {
    pub(super) settings: Settings,
    /// In the image's graph.
    pub(super) image: ValueId,
    /// In the text's graph.
    pub(super) text: ValueId,
    options: CaptionOptions,
}

impl Captioner {
    /// For the towers of a run.
    ///
    /// # Errors
    /// An image encoder without several tokens, or a text encoder whose tokens know those behind them.
    pub(super) fn new(
        recipe: &Caption,
        image: &Graph,
        text: &TextTower,
    ) -> Result<Self, TrainError> {
        let graph = &text.tower.graph;
        let fault = |graph: &Graph, message: &str| {
            Err(TrainError::Setup(format!("{}: {message}", graph.name)))
        };
        let Some(of_image) = image_tokens(image) else {
            return fault(
                image,
                "found no tokens before its embedding, expected an image encoder that pools or takes a class token",
            );
        };
        let of_text = tokens(graph).filter(|&value| graph.values[value].dynamic);
        let Some(of_text) = of_text.filter(|&value| is_causal(graph, value)) else {
            return fault(
                graph,
                "found tokens that know those behind them, expected a causal text encoder, as CLIP's, or `new` under [text]",
            );
        };
        if text.tokenizer.frame().iter().any(|ids| ids.len() != 1) {
            return fault(
                graph,
                "found a vocabulary without a token that begins and one that ends a text, expected both for captions",
            );
        }
        let last = |graph: &Graph, value: ValueId| graph.values[value].shape.last().copied();
        let width = last(graph, of_text).unwrap_or(0);
        if !width.is_multiple_of(recipe.heads) {
            let message = format!(
                "tokens of {width} numbers, which {} heads do not divide; set `heads` under [caption]",
                recipe.heads
            );
            return fault(graph, &message);
        }
        Ok(Self {
            settings: Settings {
                width,
                heads: recipe.heads,
                layers: recipe.layers,
                queries: recipe.queries,
                context: last(image, of_image).unwrap_or(0),
                vocabulary: text.tokenizer.vocab_len(),
            },
            image: of_image,
            text: of_text,
            options: CaptionOptions {
                padding: None,
                label_smoothing: recipe.label_smoothing,
            },
        })
    }

    /// The share of the loss that the texts of `ids` have, of `all` tokens that are asked for in the batch: `pictures`
    /// `[n, positions, context]` are theirs, `groups` have the text's tokens as their last value.
    ///
    /// # Errors
    /// As [`caption_loss`].
    pub(super) fn share(
        &self,
        extras: &Extras,
        pictures: Tensor<3>,
        groups: &[Group],
        ids: &[Vec<u32>],
        all: usize,
    ) -> Result<Tensor<1>, TrainError> {
        let pictures = pool(&self.settings, extras, pictures);
        let mut total = Tensor::zeros([1], &pictures.device());
        for group in groups {
            let Some((logits, targets)) = self.logits(extras, &pictures, group, ids) else {
                continue;
            };
            let share = targets.len() as f32 / all as f32;
            let part = caption_loss(logits, &targets, self.options)?;
            total = total + part.mul_scalar(share);
        }
        Ok(total)
    }

    /// Logits `[rows · (t − 1), vocabulary]` of the tokens behind the first of a group's texts, and which are right;
    /// `pictures` `[n, queries, width]` are the pooled ones of the batch. `None` where texts have one token.
    pub(super) fn logits(
        &self,
        weights: &impl Weights,
        pictures: &Tensor<3>,
        group: &Group,
        ids: &[Vec<u32>],
    ) -> Option<(Tensor<2>, Vec<usize>)> {
        let (texts, seen) = (group.tokens(self.settings.width)?, group.rows.as_slice());
        let [rows, t, width] = texts.dims();
        if t < 2 {
            return None;
        }
        let places = indices(seen, &pictures.device());
        let pictures = pictures.clone().select(0, places);
        let texts = texts.narrow(1, 0, t - 1);
        let texts = texts.reshape([rows, t - 1, width]);
        let logits = decode(&self.settings, weights, texts, pictures);
        let right = seen.iter().flat_map(|&row| &ids[row][1..]);
        let right = right.map(|&id| id as usize).collect();
        Some((
            logits.reshape([rows * (t - 1), self.settings.vocabulary]),
            right,
        ))
    }
}

impl Group {
    /// The last value as tokens `[rows, t, width]`.
    pub(super) fn tokens(&self, width: usize) -> Option<Tensor<3>> {
        let value = self.values.last()?.clone();
        let [rows, .., t, _] = value.dims();
        Some(value.reshape([rows, t, width]))
    }
}

/// The tokens of an image encoder; those that it is given, where its front was cut off.
pub(super) fn image_tokens(graph: &Graph) -> Option<ValueId> {
    let input = graph.inputs[0];
    let is_cut = graph.meta.geometry.is_none();
    match is_cut {
        true => Some(input),
        false => tokens(graph),
    }
}

/// Tokens that the decoder is asked for in texts of `ids`.
pub(super) fn asked(ids: &[Vec<u32>]) -> usize {
    ids.iter().map(|ids| ids.len().saturating_sub(1)).sum()
}

/// Value `tokens` of pictures that were run through `tower`, `[n, positions, context]`.
pub(super) fn of_pictures(
    tower: &Tower,
    tokens: ValueId,
    found: crate::network::Batch,
) -> Tensor<3> {
    let shape = &tower.graph.values[tokens].shape;
    let [n, ..] = found.dims();
    let context = shape.last().copied().unwrap_or(1);
    found.reshape([n, positions(shape), context])
}
