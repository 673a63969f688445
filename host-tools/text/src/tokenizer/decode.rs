//! Token ids back to a text, as far as the vocabulary tells: cleaning and lower case stay.
//!
//! WordPiece joins what carries its prefix to the token before it; merges of bytes end words with a suffix, usually
//! `</w>`, and spell bytes as [`super::byte_level`] does; Unigram begins words with `▁`.

use std::collections::HashMap;

use super::byte_level::CHARS;
use super::{Model, Tokenizer};

/// What stands for a space before a word.
const SPACE: &str = "▁";

/// Reads ids; made once of a tokenizer.
#[derive(Clone, Debug)]
pub struct Decoder {
    tokens: HashMap<u32, Box<str>>,
    spelling: Spelling,
    /// Ids that are no part of a text: those around it, and padding.
    silent: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Spelling {
    /// The prefix of what continues a word.
    Pieces(&'static str),
    /// The suffix of what ends a word.
    Bytes(Box<str>),
    Spaces,
}

impl Tokenizer {
    /// What reads this tokenizer's ids.
    ///
    /// ```
    /// # fn main() -> Result<(), pinhole_text::tokenizer::TokenizerError> {
    /// use pinhole_text::tokenizer::Tokenizer;
    ///
    /// let vocab = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\n##graph\n";
    /// let tokenizer = Tokenizer::load_bytes(vocab)?;
    /// assert_eq!(tokenizer.decoder().text(&[2, 4, 5, 6, 3, 0]), "a photograph");
    /// # Ok(())
    /// # }
    /// ```
    pub fn decoder(&self) -> Decoder {
        let tokens = self.model.tokens();
        let spelling = match &self.model {
            Model::WordPiece(_) => Spelling::Pieces("##"),
            Model::Bpe(model) => Spelling::Bytes(model.end_of_word_suffix.clone()),
            Model::Unigram(_) => Spelling::Spaces,
        };
        let frame = self.frame.prefix.iter().chain(&self.frame.suffix);
        Decoder {
            tokens: tokens
                .filter_map(|token| Some((self.model.id(token)?, Box::from(token))))
                .collect(),
            spelling,
            silent: frame.chain([&self.pad_id]).copied().collect(),
        }
    }

    /// The ids that begin and end every text.
    pub fn frame(&self) -> [&[u32]; 2] {
        [&self.frame.prefix, &self.frame.suffix]
    }
}

impl Decoder {
    /// The text of `ids`; those around a text, padding and ids of no token say nothing.
    pub fn text(&self, ids: &[u32]) -> String {
        let ids = ids.iter().filter(|id| !self.silent.contains(id));
        let tokens: Vec<&str> = ids
            .filter_map(|id| self.tokens.get(id).map(|token| &**token))
            .collect();
        match &self.spelling {
            Spelling::Pieces(prefix) => {
                let mut text = String::new();
                for token in tokens {
                    match token.strip_prefix(prefix) {
                        Some(rest) => text.push_str(rest),
                        None => {
                            text.push(' ');
                            text.push_str(token);
                        }
                    }
                }
                text.trim_start().to_owned()
            }
            Spelling::Bytes(suffix) => {
                let joined = match suffix.is_empty() {
                    true => tokens.concat(),
                    false => tokens.concat().replace(&**suffix, " "),
                };
                bytes(&joined).trim().to_owned()
            }
            Spelling::Spaces => tokens.concat().replace(SPACE, " ").trim_start().to_owned(),
        }
    }
}

/// Characters that stand for bytes as these; all else as it is.
fn bytes(spelled: &str) -> String {
    let mut bytes = Vec::new();
    for c in spelled.chars() {
        match CHARS.iter().position(|&of| of == c) {
            Some(byte) => bytes.push(byte as u8),
            None => bytes.extend(c.to_string().into_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_words_and_marks_stand_apart() {
        let vocab = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nan\nice\n##berg\n.\n";
        let tokenizer = Tokenizer::load_bytes(vocab).unwrap();
        let decoder = tokenizer.decoder();
        assert_eq!(
            decoder.text(&tokenizer.encode("An Iceberg.")),
            "an iceberg ."
        );
        assert_eq!(decoder.text(&[2, 3, 0, 99]), "");
        assert_eq!(tokenizer.frame(), [&[2][..], &[3][..]]);
    }

    #[test]
    fn bytes_are_read_as_they_are_spelled() {
        let spelled: String = "né ".bytes().map(|byte| CHARS[usize::from(byte)]).collect();
        assert_eq!(bytes(&spelled), "né ");
    }
}
