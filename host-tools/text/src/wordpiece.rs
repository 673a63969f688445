//! WordPiece: text to the token ids of a BERT vocabulary, the same ids as Hugging Face's reference tokenizer.
//!
//! Sources: Schuster and Nakajima, "Japanese and Korean voice search" (ICASSP 2012); Devlin et al., "BERT"
//! (arXiv:1810.04805); the behaviour of PyPI `tokenizers`, against which the golden files under `tests/golden` were made.
//!
//! A text goes through five steps: special tokens written in it (`[MASK]`) are cut out as they stand; what lies between
//! is normalised and split into words; each word is spelled with the longest vocabulary entries from left to right,
//! every entry after the first carrying the prefix `##`; a word that cannot be spelled, or is longer than 100 characters,
//! is one `[UNK]`; the result is cut to the maximum and framed, usually by `[CLS]` and `[SEP]`.
//!
//! What is not here: training a vocabulary, decoding, pairs of texts, and padding, which belongs to the encoder's shape.

mod load;
mod normalize;
mod unicode_tables;

pub use load::{MAX_TOKENIZER_BYTES, MAX_VOCAB_TOKENS, TokenizerError};

use normalize::Normalizer;
use std::collections::HashMap;

/// A WordPiece tokenizer. It is read-only once loaded, and may be shared between threads.
///
/// ```
/// # fn main() -> Result<(), pinhole_text::wordpiece::TokenizerError> {
/// use pinhole_text::wordpiece::Tokenizer;
///
/// let vocab = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\n##graph\n";
/// let tokenizer = Tokenizer::load_bytes(vocab)?;
/// assert_eq!(tokenizer.encode("A photograph"), [2, 4, 5, 6, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Every token as the vocabulary spells it.
    vocab: HashMap<Box<str>, u32>,
    /// The tokens that continue a word, without their prefix.
    continuations: HashMap<Box<str>, u32>,
    /// The longest token, so that no lookup is tried that cannot succeed.
    longest_token_bytes: usize,
    /// Special tokens that are recognised in raw text, longest first.
    added_tokens: Vec<(Box<str>, u32)>,
    /// `None` leaves the text as it is.
    normalizer: Option<Normalizer>,
    unk_id: u32,
    pad_id: u32,
    max_chars_per_word: usize,
    /// Ids before the text's own, usually `[CLS]`.
    prefix_ids: Vec<u32>,
    /// Ids after the text's own, usually `[SEP]`.
    suffix_ids: Vec<u32>,
    max_tokens: usize,
    vocab_len: usize,
}

impl Tokenizer {
    /// The token ids of `text`, framed by the special tokens, at most [`max_tokens`](Self::max_tokens) of them, unpadded.
    ///
    /// Every id is below [`vocab_len`](Self::vocab_len). What does not fit is cut from the end of the text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let room = self.max_tokens - self.prefix_ids.len() - self.suffix_ids.len();
        let mut ids = self.prefix_ids.clone();
        let full = ids.len().saturating_add(room);
        let mut rest = text;
        while ids.len() < full && !rest.is_empty() {
            match self.next_added_token(rest) {
                Some((start, end, id)) => {
                    self.push_words(&rest[..start], full, &mut ids);
                    ids.push(id);
                    rest = &rest[end..];
                }
                None => {
                    self.push_words(rest, full, &mut ids);
                    rest = "";
                }
            }
        }
        ids.truncate(full);
        ids.extend_from_slice(&self.suffix_ids);
        ids
    }

    /// The same tokenizer with another maximum, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::MaxTokens`] when not even the special tokens would fit.
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Result<Self, TokenizerError> {
        let specials = self.prefix_ids.len() + self.suffix_ids.len();
        if max_tokens < specials {
            return Err(TokenizerError::MaxTokens {
                found: max_tokens,
                specials,
            });
        }
        self.max_tokens = max_tokens;
        Ok(self)
    }

    /// The most ids that [`encode`](Self::encode) returns; `usize::MAX` when the file sets no truncation.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// One more than the largest id: the rows that the encoder's token table must have.
    pub fn vocab_len(&self) -> usize {
        self.vocab_len
    }

    /// The id that fills a batch up to its shape: the file's padding id, else that of `[PAD]`, else 0.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The id of a token spelled as in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        let added = self
            .added_tokens
            .iter()
            .find(|(content, _)| **content == *token);
        added
            .map(|&(_, id)| id)
            .or_else(|| self.vocab.get(token).copied())
    }

    /// The first special token in `text`, the longest where several start at one place: `(start, end, id)` in bytes.
    fn next_added_token(&self, text: &str) -> Option<(usize, usize, u32)> {
        text.char_indices().find_map(|(start, _)| {
            let starts_here =
                |(content, _): &&(Box<str>, u32)| text[start..].starts_with(&**content);
            // The list is longest first.
            let (content, id) = self.added_tokens.iter().find(starts_here)?;
            Some((start, start + content.len(), *id))
        })
    }

    fn push_words(&self, text: &str, full: usize, ids: &mut Vec<u32>) {
        let normalized = match self.normalizer {
            Some(normalizer) => normalizer.normalize(text),
            None => text.to_owned(),
        };
        for word in normalize::words(&normalized) {
            if ids.len() >= full {
                return;
            }
            self.push_word(word, ids);
        }
    }

    /// Spells one word with the longest entries from left to right, or gives up on all of it.
    fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
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
