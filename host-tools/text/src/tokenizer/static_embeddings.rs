//! How model2vec reads a text (<https://github.com/MinishLab/model2vec>, 0.10): for tables of static embeddings, whose
//! mean over the tokens is the embedding of a text.
//!
//! There are no special tokens around a text. It is cut to as many characters as the most tokens of median length have,
//! its tokens are cut to that most, and the unknown ones are left out afterwards. A `tokenizer.json` says nothing of
//! this, so that a key of our own, `"static_embeddings": true`, does ([`marked`]); what the file says of special
//! tokens, truncation and padding then does not count, as in model2vec.

use super::Model;
use std::collections::BTreeSet;

/// What goes in front of the other keys of a `tokenizer.json`.
const MARK: &str = "\"static_embeddings\":true,";

/// The text of a `tokenizer.json` with the mark; `None` when it is no JSON object.
pub fn marked(tokenizer_json: &str) -> Option<String> {
    let (before, keys) = tokenizer_json.split_once('{')?;
    let only_blank = before.trim_start_matches('\u{feff}').trim().is_empty();
    only_blank.then(|| format!("{before}{{{MARK}{keys}"))
}

/// What the rules know of a vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticEmbeddings {
    unk_id: Option<u32>,
    median_token_chars: usize,
}

impl StaticEmbeddings {
    /// The rules for a model and the tokens that its file adds.
    pub(super) fn new<'a>(model: &'a Model, added: impl Iterator<Item = &'a str>) -> Self {
        let tokens: BTreeSet<&str> = model.tokens().chain(added).collect();
        let chars = tokens.iter().map(|token| token.chars().count());
        Self {
            unk_id: model.unk_id(),
            median_token_chars: median(chars.collect()),
        }
    }

    /// The beginning of a text that its tokens are made from.
    pub(super) fn shortened<'a>(&self, text: &'a str, max_tokens: usize) -> &'a str {
        let max_chars = max_tokens.saturating_mul(self.median_token_chars);
        let end = text.char_indices().nth(max_chars);
        end.map_or(text, |(end, _)| &text[..end])
    }

    /// Leaves out unknown tokens. Where nothing else is there one stays, for a run has a token at least: an encoder has
    /// a row of zeros for it.
    pub(super) fn keep_known(&self, ids: &mut Vec<u32>) {
        let Some(unk_id) = self.unk_id else { return };
        ids.retain(|&id| id != unk_id);
        if ids.is_empty() {
            ids.push(unk_id);
        }
    }
}

/// Rounded down; 0 of nothing.
fn median(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    let middle = lengths.len() / 2;
    match lengths.len() {
        0 => 0,
        len if len % 2 == 1 => lengths[middle],
        _ => (lengths[middle - 1] + lengths[middle]) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    /// Eleven tokens of a median length of three characters, with `[CLS]` and `[SEP]` around a text.
    const JSON: &str = r###"{
        "version": "1.0", "truncation": {"max_length": 3, "direction": "Right"}, "padding": null,
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {
            "[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cat": 3, "dog": 4, "red": 5, "old": 6, "on": 7, "of": 8, "a": 9,
            "##s": 10
        }}
    }"###;

    fn tokenizer() -> Tokenizer {
        let text = marked(JSON).unwrap();
        Tokenizer::load_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn no_special_tokens_and_no_unknown_ones() {
        let plain = Tokenizer::load_bytes(JSON.as_bytes()).unwrap();
        assert_eq!(plain.encode("cat bird"), [1, 3, 2]);
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.unk_id(), Some(0));
        assert_eq!(tokenizer.encode("cats bird on a dog"), [3, 10, 7, 9, 4]);
        assert_eq!(tokenizer.encode("bird"), [0]);
        assert_eq!(tokenizer.encode(""), [0]);
    }

    #[test]
    fn what_is_cut_counts_unknown_tokens_and_characters() {
        let tokenizer = tokenizer().with_max_tokens(3).unwrap();
        assert_eq!(tokenizer.encode("b b cat dog"), [3]);
        // Three tokens of three characters.
        assert_eq!(tokenizer.encode("on    cat"), [7, 3]);
        assert_eq!(tokenizer.encode("on     cat"), [7]);
        assert_eq!(tokenizer.encode("éé    cat"), [3]);
        assert!(tokenizer.with_max_tokens(0).is_err());
    }

    #[test]
    fn only_an_object_is_marked() {
        assert_eq!(marked("[PAD]\n{\n"), None);
        assert_eq!(marked("[PAD]"), None);
        assert!(marked("\u{feff} {\"a\": 1}").unwrap().contains(MARK));
    }

    #[test]
    fn medians_are_rounded_down() {
        assert_eq!(median(vec![]), 0);
        assert_eq!(median(vec![9, 1, 4]), 4);
        assert_eq!(median(vec![1, 4, 9, 5]), 4);
    }
}
