//! WordPiece: a word is spelled with the longest vocabulary entries from left to right.
//!
//! Sources: Schuster and Nakajima, "Japanese and Korean voice search" (ICASSP 2012); Devlin et al., "BERT"
//! (arXiv:1810.04805). Every entry after the first carries a prefix, usually `##`; a word that cannot be spelled, or
//! is longer than a maximum, is one `[UNK]`.

use std::collections::HashMap;

/// The model.
#[derive(Clone, Debug)]
pub(super) struct WordPiece {
    /// Every token as the vocabulary spells it.
    vocab: HashMap<Box<str>, u32>,
    /// The tokens that continue a word, without their prefix.
    continuations: HashMap<Box<str>, u32>,
    /// The longest token, so that no lookup is tried that cannot succeed.
    longest_token_bytes: usize,
    unk_id: u32,
    max_chars_per_word: usize,
}

impl WordPiece {
    /// A model of a vocabulary that holds `unk_id`; `prefix` marks the tokens that continue a word.
    pub(super) fn new(
        vocab: HashMap<Box<str>, u32>,
        prefix: &str,
        unk_id: u32,
        max_chars_per_word: usize,
    ) -> Self {
        let stripped = vocab
            .iter()
            .filter_map(|(token, &id)| Some((Box::from(token.strip_prefix(prefix)?), id)));
        Self {
            continuations: stripped.collect(),
            longest_token_bytes: vocab.keys().map(|token| token.len()).max().unwrap_or(0),
            vocab,
            unk_id,
            max_chars_per_word,
        }
    }

    /// The id of a token as the vocabulary spells it.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.vocab.get(token).copied()
    }

    /// The largest id.
    pub(super) fn max_id(&self) -> Option<u32> {
        self.vocab.values().copied().max()
    }

    pub(super) fn unk_id(&self) -> u32 {
        self.unk_id
    }

    /// As the vocabulary spells them, in no order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.vocab.keys().map(|token| &**token)
    }

    /// Spells one word, or gives up on all of it.
    pub(super) fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
        let first_id = ids.len();
        let mut rest = word;
        let mut table = &self.vocab;
        let is_too_long = word.chars().nth(self.max_chars_per_word).is_some();
        while !is_too_long && !rest.is_empty() {
            let Some((bytes, id)) = self.longest_match(table, rest) else {
                break;
            };
            ids.push(id);
            rest = &rest[bytes..];
            table = &self.continuations;
        }
        if is_too_long || !rest.is_empty() {
            ids.truncate(first_id);
            ids.push(self.unk_id);
        }
    }

    /// The longest beginning of `rest` that `table` holds: its length in bytes and its id.
    fn longest_match(&self, table: &HashMap<Box<str>, u32>, rest: &str) -> Option<(usize, u32)> {
        let longest = rest.len().min(self.longest_token_bytes);
        let ends = (1..=longest)
            .rev()
            .filter(|&end| rest.is_char_boundary(end));
        ends.map(|end| (end, table.get(&rest[..end])))
            .find_map(|(end, id)| id.map(|&id| (end, id)))
    }
}
