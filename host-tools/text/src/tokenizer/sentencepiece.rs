//! Unigram models of the SentencePiece library: the `.model` files of T5 and SigLIP.
//!
//! Sources: Kudo and Richardson, "SentencePiece" (arXiv:1808.06226), and its `sentencepiece_model.proto`. Ids equal
//! the library's. What the file does not say is as in open_clip's tokenizers for SigLIP: the text is canonicalized,
//! ended by `</s>`, cut to 64 tokens and padded with `</s>`. Byte pair encodings in this format are refused;
//! `tokenizer.json` of the same model has what is needed.

mod normalize;
mod protobuf;

pub(super) use normalize::SentencePieceNormalizer;

use super::added::AddedTokens;
use super::byte_fallback::ByteFallback;
use super::charsmap::Charsmap;
use super::load::MAX_VOCAB_TOKENS;
use super::normalizer::{Normalizer, Step};
use super::unigram::{Entry, Precision, Score, Unigram};
use super::{Frame, Model, Tokenizer};
use crate::clean::Clean;
use protobuf::{Fields, Value};
use std::collections::HashMap;

const CONTEXT_LENGTH: usize = 64;
const UNIGRAM: u64 = 1;

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// An entry of the vocabulary; its id is its place.
struct Piece {
    text: String,
    score: f32,
    kind: Kind,
}

/// What is read of the file, with the format's defaults.
struct File<'a> {
    pieces: Vec<Piece>,
    model_type: u64,
    eos_id: i32,
    treat_whitespace_as_suffix: bool,
    byte_fallback: bool,
    charsmap: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

/// Whether bytes begin as such a file: a piece, which begins with its text, followed by its score.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    let [0x0a, entry_len, 0x0a, text_len, rest @ ..] = bytes else {
        return false;
    };
    text_len < entry_len && rest.get(usize::from(*text_len)) == Some(&0x15)
}

/// Reads the bytes of the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Tokenizer, Vec<String>> {
    let one = |fault: String| vec![format!("SentencePiece model: {fault}")];
    build(read(bytes).map_err(one)?).map_err(one)
}

fn read(bytes: &[u8]) -> Result<File<'_>, String> {
    let mut file = File {
        pieces: Vec::new(),
        model_type: UNIGRAM,
        eos_id: 2,
        treat_whitespace_as_suffix: false,
        byte_fallback: false,
        charsmap: &[],
        add_dummy_prefix: true,
        remove_extra_whitespaces: true,
        escape_whitespaces: true,
    };
    for field in Fields::new(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => {
                if file.pieces.len() >= MAX_VOCAB_TOKENS {
                    return Err(format!("found more than {MAX_VOCAB_TOKENS} pieces"));
                }
                let index = file.pieces.len();
                let piece = read_piece(piece).map_err(|fault| format!("piece {index}: {fault}"))?;
                file.pieces.push(piece);
            }
            (2, Value::Bytes(trainer)) => read_trainer(trainer, &mut file)?,
            (3, Value::Bytes(normalizer)) => read_normalizer(normalizer, &mut file)?,
            _ => {}
        }
    }
    Ok(file)
}

fn read_piece(bytes: &[u8]) -> Result<Piece, String> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, Kind::Normal);
    for field in Fields::new(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => {
                let utf8 = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                text = utf8.to_owned();
            }
            (2, Value::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Value::Varint(number)) => kind = piece_kind(number)?,
            _ => {}
        }
    }
    if text.is_empty() {
        return Err("found no text, expected some".to_owned());
    }
    if !score.is_finite() {
        return Err(format!("found the score {score}, expected a finite one"));
    }
    Ok(Piece { text, score, kind })
}

fn piece_kind(number: u64) -> Result<Kind, String> {
    Ok(match number {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        found => return Err(format!("found type {found}, expected 1 to 6")),
    })
}

fn read_trainer(bytes: &[u8], file: &mut File<'_>) -> Result<(), String> {
    for field in Fields::new(bytes) {
        match field? {
            (3, Value::Varint(number)) => file.model_type = number,
            (24, Value::Varint(switch)) => file.treat_whitespace_as_suffix = switch != 0,
            (35, Value::Varint(switch)) => file.byte_fallback = switch != 0,
            (42, Value::Varint(id)) => file.eos_id = id as i32,
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer<'a>(bytes: &'a [u8], file: &mut File<'a>) -> Result<(), String> {
    for field in Fields::new(bytes) {
        match field? {
            (2, Value::Bytes(charsmap)) => file.charsmap = charsmap,
            (3, Value::Varint(switch)) => file.add_dummy_prefix = switch != 0,
            (4, Value::Varint(switch)) => file.remove_extra_whitespaces = switch != 0,
            (5, Value::Varint(switch)) => file.escape_whitespaces = switch != 0,
            _ => {}
        }
    }
    Ok(())
}

fn build(file: File<'_>) -> Result<Tokenizer, String> {
    if file.model_type != UNIGRAM {
        let found = file.model_type;
        return Err(format!(
            "found model type {found}, expected {UNIGRAM}, Unigram; load the tokenizer.json of this model"
        ));
    }
    if file.treat_whitespace_as_suffix {
        return Err("found white space as a suffix, expected it as a prefix".to_owned());
    }
    let unk_id = position(&file.pieces, Kind::Unknown)
        .ok_or("found no piece of the type unknown, expected one")?;
    let eos_id = u32::try_from(file.eos_id)
        .ok()
        .filter(|&id| (id as usize) < file.pieces.len())
        .ok_or_else(|| {
            let (found, len) = (file.eos_id, file.pieces.len());
            format!("found {found} as the id of the end, expected one of {len}")
        })?;
    let normalizer = Normalizer {
        steps: vec![Step::SentencePiece(normalizer(&file)?)],
    };
    let vocab_len = file.pieces.len();
    Ok(Tokenizer {
        clean: Clean::Canonicalize,
        added: AddedTokens::new(Vec::new(), &normalizer).map_err(|faults| faults.join("; "))?,
        normalizer,
        splitters: Vec::new(),
        model: Model::Unigram(unigram(file.pieces, unk_id, file.byte_fallback)),
        frame: Frame {
            prefix: Vec::new(),
            suffix: vec![eos_id],
        },
        static_embeddings: None,
        max_tokens: CONTEXT_LENGTH,
        pad_id: eos_id,
        vocab_len,
    })
}

fn position(pieces: &[Piece], kind: Kind) -> Option<u32> {
    let at = pieces.iter().position(|piece| piece.kind == kind)?;
    Some(at as u32)
}

fn normalizer(file: &File<'_>) -> Result<SentencePieceNormalizer, String> {
    let map = (!file.charsmap.is_empty()).then(|| Charsmap::parse(file.charsmap));
    let user_defined = file
        .pieces
        .iter()
        .filter(|piece| piece.kind == Kind::UserDefined);
    Ok(SentencePieceNormalizer::new(
        map.transpose()?,
        user_defined.map(|piece| piece.text.as_str()),
        file.add_dummy_prefix,
        file.remove_extra_whitespaces,
        file.escape_whitespaces,
    ))
}

/// Control pieces, bytes and unused pieces spell nothing.
fn unigram(pieces: Vec<Piece>, unk_id: u32, byte_fallback: bool) -> Unigram {
    let bytes: HashMap<&str, u32> = (0..)
        .zip(&pieces)
        .filter(|(_, piece)| piece.kind == Kind::Byte)
        .map(|(id, piece)| (piece.text.as_str(), id))
        .collect();
    let byte_fallback = byte_fallback.then(|| ByteFallback::new(|token| bytes.get(token).copied()));
    let entries = (0..).zip(&pieces).filter_map(|(id, piece)| {
        let score = match piece.kind {
            Kind::Normal => Score::Given(f64::from(piece.score)),
            Kind::UserDefined => Score::Preferred,
            _ => return None,
        };
        let token = Box::from(piece.text.as_str());
        Some(Entry { token, id, score })
    });
    Unigram::new(entries.collect(), unk_id, Precision::F32, byte_fallback)
}
