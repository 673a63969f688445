//! Reads a [`Tokenizer`] from the files that tokenizers are published as; the content decides which, not the name.
//!
//! The files come from outside: nothing in them makes a panic, and size and number of entries are bounded.

use super::{Tokenizer, TokenizerError, json, merges, sentencepiece, vocab_txt};
use std::io::Read;
use std::path::Path;

/// A larger file is refused before it is read; a gzip file also when it unpacks to more.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;
/// A larger vocabulary is refused; multilingual ones have a quarter of a million entries.
pub const MAX_VOCAB_TOKENS: usize = 1 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

impl Tokenizer {
    /// Reads `tokenizer.json`, `vocab.txt`, CLIP's `bpe_simple_vocab_16e6.txt` or `.txt.gz`, or a SentencePiece
    /// model.
    ///
    /// # Errors
    /// [`TokenizerError`], naming the file, what was found and what was expected.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let io = |source| TokenizerError::Io {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let bytes = read_bounded(file).map_err(io)?;
        Self::load_named(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of such a file, as when they are embedded in a program.
    ///
    /// # Errors
    /// As [`load`](Self::load); the file is called "tokenizer".
    pub fn load_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::load_named("tokenizer", bytes)
    }

    fn load_named(file: &str, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let named = || file.to_owned();
        check_size(file, bytes)?;
        if bytes.starts_with(&GZIP_MAGIC) {
            let unpacked = read_bounded(flate2::read::GzDecoder::new(bytes)).map_err(|source| {
                TokenizerError::Gzip {
                    file: named(),
                    source,
                }
            })?;
            check_size(file, &unpacked)?;
            return Self::load_unpacked(file, &unpacked);
        }
        Self::load_unpacked(file, bytes)
    }

    fn load_unpacked(file: &str, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let named = || file.to_owned();
        if sentencepiece::is_model(bytes) {
            return sentencepiece::parse(bytes).map_err(|faults| TokenizerError::Faults {
                file: named(),
                faults,
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| TokenizerError::NotUtf8 {
            file: named(),
            offset: error.valid_up_to(),
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = if text.trim_start().starts_with('{') {
            json::parse(text).map_err(|source| TokenizerError::Json {
                file: named(),
                source,
            })?
        } else if merges::is_merges(text) {
            merges::parse(text)
        } else {
            vocab_txt::parse(text)
        };
        parsed.map_err(|faults| TokenizerError::Faults {
            file: named(),
            faults,
        })
    }
}

fn read_bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough to see that there is too much.
    reader
        .take(MAX_TOKENIZER_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_size(file: &str, bytes: &[u8]) -> Result<(), TokenizerError> {
    if bytes.len() > MAX_TOKENIZER_BYTES {
        return Err(TokenizerError::TooLarge {
            file: file.to_owned(),
            limit: MAX_TOKENIZER_BYTES,
        });
    }
    Ok(())
}

/// A foreign file repeats one fault many times; the count says as much as the list.
pub(super) fn first_faults(mut faults: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 8;
    let more = faults.len().saturating_sub(SHOWN);
    faults.truncate(SHOWN);
    faults.extend((more > 0).then(|| format!("and {more} more")));
    faults
}
