//! `model` of a `tokenizer.json`: vocabularies, bounded while they are read, and the settings beside them.

use crate::tokenizer::Model;
use crate::tokenizer::bpe::{Bpe, Merge, MergeOrder};
use crate::tokenizer::byte_fallback::ByteFallback;
use crate::tokenizer::load::{MAX_VOCAB_TOKENS, first_faults};
use crate::tokenizer::unigram::{Entry, Precision, Score, Unigram};
use crate::tokenizer::vocab_txt::MAX_CHARS_PER_WORD;
use crate::tokenizer::wordpiece::WordPiece;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

type Vocab = HashMap<Box<str>, u32>;

/// Settings that a model is made of.
pub(super) trait IntoModel {
    /// The model, unless something of it cannot be honoured.
    fn into_model(self, faults: &mut Vec<String>) -> Option<Model>;
}

#[derive(Deserialize)]
pub(super) struct WordPieceSettings {
    unk_token: String,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    #[serde(deserialize_with = "bounded_vocab")]
    vocab: Vocab,
}

impl IntoModel for WordPieceSettings {
    fn into_model(self, faults: &mut Vec<String>) -> Option<Model> {
        check_ids_are_unique(&self.vocab, faults);
        let unk_id = unk_id(&self.vocab, &self.unk_token, faults)?;
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or("##");
        let max_chars = self.max_input_chars_per_word.unwrap_or(MAX_CHARS_PER_WORD);
        let model = WordPiece::new(self.vocab, prefix, unk_id, max_chars);
        Some(Model::WordPiece(model))
    }
}

#[derive(Deserialize)]
pub(super) struct BpeSettings {
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(deserialize_with = "bounded_vocab")]
    vocab: Vocab,
    #[serde(deserialize_with = "bounded_list")]
    merges: Vec<Pair>,
}

/// `"a b"`, or `["a", "b"]` in newer files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pair {
    Joined(Box<str>),
    Apart(Box<str>, Box<str>),
}

impl Pair {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Joined(pair) => {
                let parts = pair.split_once(' ')?;
                (!parts.1.contains(' ')).then_some(parts)
            }
            Self::Apart(left, right) => Some((left, right)),
        }
    }
}

impl IntoModel for BpeSettings {
    fn into_model(self, faults: &mut Vec<String>) -> Option<Model> {
        check_ids_are_unique(&self.vocab, faults);
        if let Some(dropout) = self.dropout.filter(|&dropout| dropout != 0.0) {
            faults.push(format!("model: found dropout {dropout}, expected none"));
        }
        let unk_id = match &self.unk_token {
            Some(token) => Some(unk_id(&self.vocab, token, faults)?),
            None => None,
        };
        let prefix = self.continuing_subword_prefix.unwrap_or_default();
        let merges = merges(&self.vocab, &self.merges, &prefix)
            .map_err(|found| faults.extend(found))
            .ok()?;
        let byte_fallback = self.byte_fallback;
        let byte_fallback =
            byte_fallback.then(|| ByteFallback::new(|token| self.vocab.get(token).copied()));
        Some(Model::Bpe(Bpe {
            merges,
            order: MergeOrder::Immediate,
            end_of_word_suffix: self.end_of_word_suffix.unwrap_or_default().into(),
            continuing_subword_prefix: prefix.into(),
            unk_id,
            fuse_unk: self.fuse_unk,
            byte_fallback,
            ignore_merges: self.ignore_merges,
            whole_words: Vec::new(),
            vocab: self.vocab,
        }))
    }
}

/// The pairs by id. What a pair makes is its two tokens in one, less the prefix of the second.
fn merges(
    vocab: &Vocab,
    pairs: &[Pair],
    prefix: &str,
) -> Result<HashMap<(u32, u32), Merge>, Vec<String>> {
    let mut merges = HashMap::with_capacity(pairs.len());
    let mut faults = Vec::new();
    for (rank, pair) in (0..).zip(pairs) {
        let Some((left, right)) = pair.parts() else {
            faults.push(format!("merge {rank}: expected two tokens"));
            continue;
        };
        let joined = format!("{left}{}", right.strip_prefix(prefix).unwrap_or(right));
        match (vocab.get(left), vocab.get(right), vocab.get(&*joined)) {
            (Some(&left), Some(&right), Some(&id)) => {
                merges.insert((left, right), Merge { rank, id });
            }
            _ => faults.push(format!(
                "merge {rank}: found {left:?} {right:?}, expected both and what they make in the vocabulary"
            )),
        }
    }
    if faults.is_empty() {
        Ok(merges)
    } else {
        Err(first_faults(faults))
    }
}

#[derive(Deserialize)]
pub(super) struct UnigramSettings {
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
    /// Tokens with their scores; the place of a token is its id.
    #[serde(deserialize_with = "bounded_list")]
    vocab: Vec<(Box<str>, f64)>,
}

impl IntoModel for UnigramSettings {
    fn into_model(self, faults: &mut Vec<String>) -> Option<Model> {
        let len = self.vocab.len();
        let unk_id = self.unk_id.filter(|&id| id < len);
        if unk_id.is_none() {
            let found = self.unk_id.map_or("none".to_owned(), |id| id.to_string());
            faults.push(format!(
                "model: found unk_id {found}, expected one below {len}"
            ));
        }
        let blank = self.vocab.iter().position(|(token, _)| token.is_empty());
        if let Some(at) = blank {
            faults.push(format!("model: found token {at} empty, expected some text"));
        }
        let unk_id = unk_id.filter(|_| blank.is_none())? as u32;
        let mut ids: Vocab = HashMap::new();
        let entry = |(id, (token, score)): (u32, (Box<str>, f64))| {
            if let Some(first) = ids.insert(token.clone(), id) {
                faults.push(format!(
                    "model: found {token:?} as tokens {first} and {id}, expected it once"
                ));
            }
            let score = Score::Given(score);
            Entry { token, id, score }
        };
        let entries: Vec<Entry> = (0..).zip(self.vocab).map(entry).collect();
        let bytes = self.byte_fallback;
        let bytes = bytes.then(|| ByteFallback::new(|token| ids.get(token).copied()));
        if faults.len() > 8 {
            *faults = first_faults(std::mem::take(faults));
        }
        let model = Unigram::new(entries, unk_id, Precision::F64, bytes);
        Some(Model::Unigram(model))
    }
}

fn unk_id(vocab: &Vocab, token: &str, faults: &mut Vec<String>) -> Option<u32> {
    let id = vocab.get(token).copied();
    if id.is_none() {
        faults.push(format!(
            "found no {token} in the vocabulary, expected the unk_token to be there"
        ));
    }
    id
}

fn check_ids_are_unique(vocab: &Vocab, faults: &mut Vec<String>) {
    let mut by_id: Vec<(u32, &str)> = vocab.iter().map(|(token, &id)| (id, &**token)).collect();
    by_id.sort_unstable();
    let mut repeated = by_id.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    if let Some(pair) = repeated.next() {
        let (id, first, second) = (pair[0].0, pair[0].1, pair[1].1);
        let more = repeated.count();
        faults.push(format!(
            "found id {id} for both {first:?} and {second:?} (and {more} more such pairs), expected an id for each token"
        ));
    }
}

/// A vocabulary that stops at the first entry too many, rather than after it has filled the memory.
fn bounded_vocab<'de, D: Deserializer<'de>>(input: D) -> Result<Vocab, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vocab;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(
                f,
                "a vocabulary of at most {MAX_VOCAB_TOKENS} tokens with their ids"
            )
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
            let mut vocab = HashMap::new();
            while let Some((token, id)) = map.next_entry()? {
                if vocab.len() >= MAX_VOCAB_TOKENS {
                    return Err(A::Error::custom(format_args!(
                        "more than {MAX_VOCAB_TOKENS} tokens"
                    )));
                }
                vocab.insert(token, id);
            }
            Ok(vocab)
        }
    }
    input.deserialize_map(Entries)
}

/// A list that stops at the first entry too many.
fn bounded_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Vec<T>, D::Error> {
    struct Entries<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX_VOCAB_TOKENS} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = seq.next_element()? {
                if list.len() >= MAX_VOCAB_TOKENS {
                    return Err(A::Error::custom(format_args!(
                        "more than {MAX_VOCAB_TOKENS} entries"
                    )));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }
    input.deserialize_seq(Entries(PhantomData))
}
