//! Hugging Face's `tokenizer.json`, the format of the `tokenizers` library, version "1.0".
//!
//! A setting is honoured or the file is refused, and then all such settings are named at once, each with what is
//! known. Known are the models WordPiece, BPE and Unigram with what CLIP, BERT, T5, SigLIP and Gemma put around them.

mod components;
mod frame;
mod models;

use super::added::{AddedToken, AddedTokens, MAX_ADDED_TOKENS};
use super::load::MAX_VOCAB_TOKENS;
use super::static_embeddings::StaticEmbeddings;
use super::{Frame, Model, Tokenizer};
use models::{BpeSettings, IntoModel, UnigramSettings, WordPieceSettings};
use serde::Deserialize;
use serde_json::value::RawValue;

/// All models that are known.
const MODELS: &str = "WordPiece, BPE or Unigram";

/// Only the kind, so that a foreign model is told as such and not by the shape of its vocabulary.
#[derive(Deserialize)]
struct Kind {
    model: Option<Tagged>,
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct File<'a, M> {
    /// Not of the format: [`marked`](super::static_embeddings::marked).
    #[serde(default)]
    static_embeddings: bool,
    truncation: Option<frame::Truncation>,
    padding: Option<frame::Padding>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenSettings>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    model: M,
}

#[derive(Deserialize)]
struct AddedTokenSettings {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

/// Outer error: not a whole JSON of this shape. Inner: every setting that cannot be honoured.
pub(super) fn parse(text: &str) -> Result<Result<Tokenizer, Vec<String>>, serde_json::Error> {
    let kind: Kind = serde_json::from_str(text)?;
    let found = kind
        .model
        .map(|model| model.kind.unwrap_or("a model without type".to_owned()));
    match found.as_deref() {
        Some("WordPiece") => parse_as::<WordPieceSettings>(text),
        Some("BPE") => parse_as::<BpeSettings>(text),
        Some("Unigram") => parse_as::<UnigramSettings>(text),
        found => Ok(Err(vec![format!(
            "found {}, expected a model of type {MODELS}",
            found.unwrap_or("no model")
        )])),
    }
}

fn parse_as<'a, M: IntoModel + Deserialize<'a>>(
    text: &'a str,
) -> Result<Result<Tokenizer, Vec<String>>, serde_json::Error> {
    Ok(build(serde_json::from_str::<File<'a, M>>(text)?))
}

fn build<M: IntoModel>(file: File<'_, M>) -> Result<Tokenizer, Vec<String>> {
    let mut faults = Vec::new();
    let model = file.model.into_model(&mut faults);
    let vocab_len = vocab_len(model.as_ref(), &file.added_tokens, &mut faults);
    let normalizer = components::normalizer(file.normalizer, &mut faults);
    let splitters = components::pre_tokenizer(file.pre_tokenizer, &mut faults);
    if splitters.is_empty() && matches!(model, Some(Model::WordPiece(_))) {
        faults.push("pre_tokenizer: found none, expected one that splits words".to_owned());
    }
    let added = file.added_tokens.iter().map(|token| &*token.content);
    let static_embeddings = model
        .as_ref()
        .filter(|_| file.static_embeddings)
        .map(|model| StaticEmbeddings::new(model, added));
    let (frame, max_tokens) = match file.static_embeddings {
        true => (Frame::default(), usize::MAX),
        false => {
            let frame = frame::frame(file.post_processor, &mut faults);
            let max_tokens = frame::max_tokens(file.truncation, frame.len(), &mut faults);
            (frame, max_tokens)
        }
    };
    let pad_id = file.padding.and_then(|padding| padding.pad_id);
    let pad_id = pad_id.or_else(|| model.as_ref()?.id("[PAD]")).unwrap_or(0);
    check_specials(&frame, pad_id, vocab_len, &mut faults);
    let added = model.as_ref().and_then(|model| {
        let tokens = added_tokens(&file.added_tokens, model, &mut faults);
        AddedTokens::new(tokens, &normalizer)
            .map_err(|found| faults.extend(found))
            .ok()
    });
    match (model, added) {
        (Some(model), Some(added)) if faults.is_empty() => Ok(Tokenizer {
            clean: Default::default(),
            added,
            normalizer,
            splitters,
            model,
            frame,
            static_embeddings,
            max_tokens,
            pad_id,
            vocab_len,
        }),
        _ => Err(faults),
    }
}

/// One more than the largest id.
fn vocab_len(
    model: Option<&Model>,
    added: &[AddedTokenSettings],
    faults: &mut Vec<String>,
) -> usize {
    let in_model = model.and_then(Model::max_id);
    let added = added.iter().map(|token| token.id).max();
    let len = in_model.max(added).map_or(0, |id| id as usize + 1);
    if len > MAX_VOCAB_TOKENS {
        faults.push(format!(
            "found token id {}, expected ids below {MAX_VOCAB_TOKENS}",
            len - 1
        ));
    }
    len
}

fn check_specials(frame: &Frame, pad_id: u32, vocab_len: usize, faults: &mut Vec<String>) {
    let ids = frame.prefix.iter().chain(&frame.suffix).chain([&pad_id]);
    for id in ids.filter(|&&id| id as usize >= vocab_len) {
        faults.push(format!(
            "found special token id {id}, expected one below {vocab_len}"
        ));
    }
}

fn added_tokens(
    added: &[AddedTokenSettings],
    model: &Model,
    faults: &mut Vec<String>,
) -> Vec<AddedToken> {
    // One more than may be, so that the excess is seen and said.
    let added = &added[..added.len().min(MAX_ADDED_TOKENS + 1)];
    for token in added {
        let AddedTokenSettings { id, content, .. } = token;
        if token.single_word {
            faults.push(format!(
                "added token {content}: found single_word true, expected false"
            ));
        }
        match model.id(content) {
            Some(in_vocab) if in_vocab != *id => faults.push(format!(
                "added token {content}: found id {id}, expected {in_vocab} as in the vocabulary"
            )),
            _ => {}
        }
    }
    let token = |token: &AddedTokenSettings| AddedToken {
        id: token.id,
        content: token.content.as_str().into(),
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
    };
    added.iter().map(token).collect()
}
