//! BERT's `vocab.txt`: one token a line, its id is the line's index. All else is as in `bert-base-uncased`.

use super::added::{AddedToken, AddedTokens};
use super::bert::BertNormalizer;
use super::load::{MAX_VOCAB_TOKENS, first_faults};
use super::normalizer::{Normalizer, Step};
use super::pre_tokenizer::Splitter;
use super::wordpiece::WordPiece;
use super::{Frame, Model, Tokenizer};
use std::collections::HashMap;

/// What the file does not say and `bert-base-uncased` means by it.
const MAX_TOKENS: usize = 512;
pub(super) const MAX_CHARS_PER_WORD: usize = 100;

/// Reads the text of the file.
pub(super) fn parse(text: &str) -> Result<Tokenizer, Vec<String>> {
    let mut faults = Vec::new();
    let vocab = vocab(text, &mut faults)?;
    let mut special = |name: &str| {
        let id = vocab.get(name).copied();
        if id.is_none() {
            faults.push(format!(
                "found no {name}, expected it on a line of its own in vocab.txt"
            ));
        }
        id.unwrap_or(0)
    };
    let [pad_id, unk_id] = ["[PAD]", "[UNK]"].map(&mut special);
    let [cls_id, sep_id] = ["[CLS]", "[SEP]"].map(&mut special);
    if !faults.is_empty() {
        return Err(first_faults(faults));
    }
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let added = names
        .iter()
        .filter_map(|&name| Some(AddedToken::plain(name, *vocab.get(name)?)));
    let normalizer = Normalizer {
        steps: vec![Step::Bert(BertNormalizer::UNCASED)],
    };
    Ok(Tokenizer {
        clean: Default::default(),
        added: AddedTokens::new(added.collect(), &normalizer)?,
        normalizer,
        splitters: vec![Splitter::Bert],
        model: Model::WordPiece(WordPiece::new(vocab, "##", unk_id, MAX_CHARS_PER_WORD)),
        frame: Frame {
            prefix: vec![cls_id],
            suffix: vec![sep_id],
        },
        static_embeddings: None,
        max_tokens: MAX_TOKENS,
        pad_id,
        vocab_len: text.lines().count(),
    })
}

fn vocab(text: &str, faults: &mut Vec<String>) -> Result<HashMap<Box<str>, u32>, Vec<String>> {
    let mut vocab = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        if index >= MAX_VOCAB_TOKENS {
            return Err(vec![format!(
                "found more than {MAX_VOCAB_TOKENS} lines, expected a token on each"
            )]);
        }
        let token = line.trim_end();
        if let Some(earlier) = vocab.insert(Box::from(token), index as u32) {
            let (again, first) = (index + 1, earlier + 1);
            faults.push(format!(
                "line {again} repeats the token of line {first} ({token:?}), expected each once"
            ));
        }
    }
    Ok(vocab)
}
