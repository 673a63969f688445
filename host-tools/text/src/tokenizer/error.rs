//! Why a tokenizer could not be loaded.

use std::path::PathBuf;

/// Why a tokenizer could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is over [`MAX_TOKENIZER_BYTES`](super::MAX_TOKENIZER_BYTES).
    #[error("{file}: found more than {limit} bytes, expected a tokenizer of at most that size")]
    TooLarge {
        /// The file.
        file: String,
        /// The most that is read.
        limit: usize,
    },
    /// The file begins as a gzip file and is not a whole one.
    #[error("{file}: expected a whole gzip file, found: {source}")]
    Gzip {
        /// The file.
        file: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The bytes are not text.
    #[error(
        "{file}: found a byte that is not UTF-8 at offset {offset}, expected tokenizer.json, vocab.txt, \
         bpe_simple_vocab_16e6.txt or a SentencePiece model"
    )]
    NotUtf8 {
        /// The file.
        file: String,
        /// The first such byte.
        offset: usize,
    },
    /// The file begins as JSON and is not a whole `tokenizer.json`.
    #[error("{file}: expected a whole tokenizer.json, found: {source}")]
    Json {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The file holds another kind of tokenizer, settings that are not supported, or contradicts itself.
    #[error("{file}: {}", faults.join("; "))]
    Faults {
        /// The file.
        file: String,
        /// Each with what was found and what was expected.
        faults: Vec<String>,
    },
    /// The maximum leaves no room for the special tokens.
    #[error(
        "found a maximum of {found} tokens, expected at least {specials} for the special tokens alone"
    )]
    MaxTokens {
        /// The maximum that was asked for.
        found: usize,
        /// The special tokens around each text.
        specials: usize,
    },
}
