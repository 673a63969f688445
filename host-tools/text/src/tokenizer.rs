//! Text to the token ids of an encoder's vocabulary, the same ids as the reference tokenizers.
//!
//! References: open_clip's `SimpleTokenizer` for CLIP's merges, PyPI `tokenizers` for `tokenizer.json`, BERT's
//! `vocab.txt`, and the SentencePiece library for its models. `tests/tokenizers` compares on 100,000 lines.
//!
//! A text is cleaned ([`Clean`]); added tokens such as `[MASK]` are cut out as they stand; what lies between is
//! normalised, split into words, and each word spelled by the model: WordPiece, byte pair encoding, or Unigram. The
//! ids are cut to the maximum and framed, usually by a token before and one after.
//!
//! [`Decoder`] reads ids back.
//!
//! What is not here: training a vocabulary, pairs of texts.

mod added;
mod bert;
mod bpe;
mod byte_fallback;
mod byte_level;
mod charsmap;
mod decode;
mod error;
mod json;
mod load;
mod merges;
mod normalizer;
mod pre_tokenizer;
mod prefix_table;
mod sentencepiece;
mod static_embeddings;
mod unicode_9;
mod unicode_tables;
mod unigram;
mod vocab_txt;
mod wordpiece;

pub use crate::clean::Clean;
pub use decode::Decoder;
pub use error::TokenizerError;
pub use load::{MAX_TOKENIZER_BYTES, MAX_VOCAB_TOKENS};
pub use static_embeddings::marked as marked_for_static_embeddings;

use added::{AddedTokens, Span};
use bpe::Bpe;
use normalizer::Normalizer;
use pre_tokenizer::Splitter;
use static_embeddings::StaticEmbeddings;
use unigram::Unigram;
use wordpiece::WordPiece;

/// A tokenizer. It is read-only once loaded, and may be shared between threads.
///
/// ```
/// # fn main() -> Result<(), pinhole_text::tokenizer::TokenizerError> {
/// use pinhole_text::tokenizer::Tokenizer;
///
/// let vocab = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\n##graph\n";
/// let tokenizer = Tokenizer::load_bytes(vocab)?;
/// assert_eq!(tokenizer.encode("A photograph"), [2, 4, 5, 6, 3]);
/// assert_eq!(tokenizer.encode_padded("a", 5)?, [2, 4, 3, 0, 0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    clean: Clean,
    added: AddedTokens,
    normalizer: Normalizer,
    splitters: Vec<Splitter>,
    model: Model,
    frame: Frame,
    /// Set for a table of static embeddings; the frame is empty then.
    static_embeddings: Option<StaticEmbeddings>,
    max_tokens: usize,
    pad_id: u32,
    vocab_len: usize,
}

/// What spells a word.
#[derive(Clone, Debug)]
enum Model {
    WordPiece(WordPiece),
    Bpe(Bpe),
    Unigram(Unigram),
}

impl Model {
    fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
        match self {
            Self::WordPiece(model) => model.push_word(word, ids),
            Self::Bpe(model) => model.push_word(word, ids),
            Self::Unigram(model) => model.push_word(word, ids),
        }
    }

    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.id(token),
            Self::Bpe(model) => model.id(token),
            Self::Unigram(model) => model.id(token),
        }
    }

    fn max_id(&self) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.max_id(),
            Self::Bpe(model) => model.vocab.values().copied().max(),
            Self::Unigram(model) => model.max_id(),
        }
    }

    fn unk_id(&self) -> Option<u32> {
        match self {
            Self::WordPiece(model) => Some(model.unk_id()),
            Self::Bpe(model) => model.unk_id,
            Self::Unigram(model) => Some(model.unk_id()),
        }
    }

    /// As the vocabulary spells them, in no order.
    fn tokens(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::WordPiece(model) => Box::new(model.tokens()),
            Self::Bpe(model) => Box::new(model.vocab.keys().map(|token| &**token)),
            Self::Unigram(model) => Box::new(model.tokens()),
        }
    }
}

/// The ids around a text's own.
#[derive(Clone, Debug, Default)]
struct Frame {
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

impl Frame {
    fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }
}

impl Tokenizer {
    /// The token ids of `text`, framed by the special tokens, at most [`max_tokens`](Self::max_tokens) of them,
    /// unpadded.
    ///
    /// Every id is below [`vocab_len`](Self::vocab_len). What does not fit is cut from the end of the text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_at_most(text, self.max_tokens)
    }

    /// The token ids of `text` cut or padded to `context_length`, as a row of a batch of fixed shape.
    ///
    /// # Errors
    /// [`TokenizerError::MaxTokens`] when not even the special tokens would fit.
    pub fn encode_padded(
        &self,
        text: &str,
        context_length: usize,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.check_max_tokens(context_length)?;
        let mut ids = self.encode_at_most(text, context_length.min(self.max_tokens));
        ids.resize(context_length, self.pad_id);
        Ok(ids)
    }

    fn encode_at_most(&self, text: &str, max_tokens: usize) -> Vec<u32> {
        let cleaned = self.clean.apply(text);
        let text = match &self.static_embeddings {
            Some(rules) => rules.shortened(&cleaned, max_tokens),
            None => &cleaned,
        };
        let mut ids = self.frame.prefix.clone();
        let full = max_tokens.saturating_sub(self.frame.suffix.len());
        for span in self.added.split_raw(text) {
            if ids.len() >= full {
                break;
            }
            match span {
                Span::Token(id) => ids.push(id),
                Span::Text { text, start } => self.push_text(text, start == 0, full, &mut ids),
            }
        }
        ids.truncate(full);
        if let Some(rules) = &self.static_embeddings {
            rules.keep_known(&mut ids);
        }
        ids.extend_from_slice(&self.frame.suffix);
        ids
    }

    /// Normalises and spells what lies between added tokens.
    fn push_text(&self, text: &str, is_first: bool, full: usize, ids: &mut Vec<u32>) {
        let normalized = self.normalizer.normalize(text);
        for span in self.added.split_normalized(&normalized) {
            let (text, is_first) = match span {
                Span::Token(id) => {
                    ids.push(id);
                    continue;
                }
                Span::Text { text, start } => (text, is_first && start == 0),
            };
            for piece in pre_tokenizer::words(&self.splitters, text.to_owned(), is_first) {
                if ids.len() >= full {
                    return;
                }
                self.model.push_word(&piece.text, ids);
            }
        }
    }

    fn check_max_tokens(&self, found: usize) -> Result<(), TokenizerError> {
        // Without a frame too, static embeddings want the token that stands for nothing.
        let specials = (self.frame.len()).max(usize::from(self.static_embeddings.is_some()));
        if found < specials {
            return Err(TokenizerError::MaxTokens { found, specials });
        }
        Ok(())
    }

    /// The same tokenizer with another maximum, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::MaxTokens`] when not even the special tokens would fit.
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Result<Self, TokenizerError> {
        self.check_max_tokens(max_tokens)?;
        self.max_tokens = max_tokens;
        Ok(self)
    }

    /// The same tokenizer with another cleaning before all else. Only CLIP's merges bring one of their own.
    pub fn with_clean(mut self, clean: Clean) -> Self {
        self.clean = clean;
        self
    }

    /// The most ids that [`encode`](Self::encode) returns; `usize::MAX` when the file sets no truncation.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// One more than the largest id: the rows that the encoder's token table must have.
    pub fn vocab_len(&self) -> usize {
        self.vocab_len
    }

    /// The id that fills a batch up to its shape: what the file says, else that of `[PAD]`, else 0.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The id of a token spelled as in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.model.id(token))
    }

    /// The id of what the vocabulary cannot spell, where it has one.
    pub fn unk_id(&self) -> Option<u32> {
        self.model.unk_id()
    }
}
