//! Reads a [`Tokenizer`] from Hugging Face's `tokenizer.json` or from BERT's `vocab.txt`.
//!
//! The format of `tokenizer.json` is that of the `tokenizers` library, version "1.0". A setting is honoured or the file
//! is refused, and then all such settings are named at once. Padding alone is not applied, it is the encoder's matter.
//! The files come from outside: nothing in them makes a panic, and size and number of entries are bounded.

use super::{Tokenizer, normalize::Normalizer};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A larger file is refused before it is read.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;
/// A larger vocabulary is refused; multilingual ones have a quarter of a million entries.
pub const MAX_VOCAB_TOKENS: usize = 1 << 20;
/// Special tokens are compared at each place of a text, so that a limit keeps encoding linear.
const MAX_ADDED_TOKENS: usize = 1024;
/// What `vocab.txt` does not say and `bert-base-uncased` means by it.
const BERT_MAX_TOKENS: usize = 512;
const BERT_MAX_CHARS_PER_WORD: usize = 100;

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
    /// The file is over [`MAX_TOKENIZER_BYTES`].
    #[error("{file}: found more than {limit} bytes, expected a tokenizer of at most that size")]
    TooLarge {
        /// The file.
        file: String,
        /// The most that is read.
        limit: usize,
    },
    /// The bytes are not text.
    #[error(
        "{file}: found a byte that is not UTF-8 at offset {offset}, expected tokenizer.json or vocab.txt"
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

impl Tokenizer {
    /// Reads `tokenizer.json` or `vocab.txt`; the content decides which, not the name.
    ///
    /// # Errors
    /// [`TokenizerError`], naming the file, what was found and what was expected.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let io = |source| TokenizerError::Io {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        // One byte over the limit is enough to see that there is too much.
        file.take(MAX_TOKENIZER_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        Self::load_named(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of `tokenizer.json` or `vocab.txt`, as when they are embedded in a program.
    ///
    /// # Errors
    /// As [`load`](Self::load); the file is called "tokenizer".
    pub fn load_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::load_named("tokenizer", bytes)
    }

    fn load_named(file: &str, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let file = file.to_owned();
        if bytes.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::TooLarge {
                file,
                limit: MAX_TOKENIZER_BYTES,
            });
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                return Err(TokenizerError::NotUtf8 {
                    file,
                    offset: error.valid_up_to(),
                });
            }
        };
        let parsed = if text.trim_start().starts_with('{') {
            match parse_json(text) {
                Ok(parsed) => parsed,
                Err(source) => return Err(TokenizerError::Json { file, source }),
            }
        } else {
            parse_vocab(text)
        };
        parsed.map_err(|faults| TokenizerError::Faults { file, faults })
    }
}

/// `vocab.txt`: one token a line, its id is the line's index. All else is as in `bert-base-uncased`.
fn parse_vocab(text: &str) -> Result<Tokenizer, Vec<String>> {
    let mut faults = Vec::new();
    let mut vocab = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        if index >= MAX_VOCAB_TOKENS {
            return Err(vec![format!(
                "found more than {MAX_VOCAB_TOKENS} lines, expected a token on each"
            )]);
        }
        let id = index as u32;
        if let Some(earlier) = vocab.insert(Box::from(line.trim_end()), id) {
            let again = format!(
                "line {} repeats the token of line {}",
                index + 1,
                earlier + 1
            );
            faults.push(format!(
                "{again} ({:?}), expected each once",
                line.trim_end()
            ));
        }
    }
    let mut special = |name: &str| match vocab.get(name) {
        Some(&id) => id,
        None => {
            faults.push(format!(
                "found no {name}, expected it on a line of its own in vocab.txt"
            ));
            0
        }
    };
    let [pad_id, unk_id] = ["[PAD]", "[UNK]"].map(&mut special);
    let [cls_id, sep_id] = ["[CLS]", "[SEP]"].map(&mut special);
    if !faults.is_empty() {
        // A foreign text file repeats many lines; the count says as much as the list.
        let more = faults.len().saturating_sub(8);
        faults.truncate(8);
        faults.extend((more > 0).then(|| format!("and {more} more")));
        return Err(faults);
    }
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let added = names
        .iter()
        .filter_map(|&name| Some((Box::from(name), *vocab.get(name)?)));
    let added_tokens = added.collect();
    let (continuations, longest_token_bytes) = continuations(&vocab, "##");
    Ok(Tokenizer {
        vocab_len: text.lines().count(),
        vocab,
        continuations,
        longest_token_bytes,
        added_tokens: longest_first(added_tokens),
        normalizer: Some(Normalizer::UNCASED),
        unk_id,
        pad_id,
        max_chars_per_word: BERT_MAX_CHARS_PER_WORD,
        prefix_ids: vec![cls_id],
        suffix_ids: vec![sep_id],
        max_tokens: BERT_MAX_TOKENS,
    })
}

/// The tokens that begin with `prefix`, without it, and the length of the longest token of all.
fn continuations(vocab: &HashMap<Box<str>, u32>, prefix: &str) -> (HashMap<Box<str>, u32>, usize) {
    let stripped = vocab
        .iter()
        .filter_map(|(token, &id)| Some((token.strip_prefix(prefix)?, id)));
    let longest = vocab.keys().map(|token| token.len()).max().unwrap_or(0);
    (
        stripped.map(|(rest, id)| (Box::from(rest), id)).collect(),
        longest,
    )
}

fn longest_first(mut added: Vec<(Box<str>, u32)>) -> Vec<(Box<str>, u32)> {
    added.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
    added
}

/// Only the kind, so that a BPE file is told as such and not by the shape of its vocabulary.
#[derive(Deserialize)]
struct Kind {
    model: Option<Tagged>,
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct File {
    truncation: Option<Truncation>,
    padding: Option<Padding>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerSettings>,
    pre_tokenizer: Option<Tagged>,
    post_processor: Option<PostProcessor>,
    model: Model,
}

#[derive(Deserialize)]
struct Truncation {
    max_length: usize,
    direction: Option<String>,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: Option<u32>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

#[derive(Deserialize)]
struct NormalizerSettings {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct PostProcessor {
    #[serde(rename = "type")]
    kind: String,
    single: Option<Vec<TemplatePiece>>,
    #[serde(default)]
    special_tokens: BTreeMap<String, TemplateSpecial>,
    cls: Option<(String, u32)>,
    sep: Option<(String, u32)>,
}

#[derive(Deserialize)]
enum TemplatePiece {
    SpecialToken { id: String },
    Sequence { id: String },
}

#[derive(Deserialize)]
struct TemplateSpecial {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Model {
    unk_token: String,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    #[serde(deserialize_with = "bounded_vocab")]
    vocab: HashMap<Box<str>, u32>,
}

/// A vocabulary that stops at the first entry too many, rather than after it has filled the memory.
fn bounded_vocab<'de, D: Deserializer<'de>>(input: D) -> Result<HashMap<Box<str>, u32>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = HashMap<Box<str>, u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(
                f,
                "a vocabulary of at most {MAX_VOCAB_TOKENS} tokens with their ids"
            )
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
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

/// Outer error: not a whole JSON of this shape. Inner: every setting that cannot be honoured.
fn parse_json(text: &str) -> Result<Result<Tokenizer, Vec<String>>, serde_json::Error> {
    let kind: Kind = serde_json::from_str(text)?;
    let found = kind
        .model
        .map(|model| model.kind.unwrap_or("a model without type".to_owned()));
    if found.as_deref() != Some("WordPiece") {
        let found = found.unwrap_or("no model".to_owned());
        return Ok(Err(vec![format!(
            "found {found}, expected a model of type WordPiece"
        )]));
    }
    let file: File = serde_json::from_str(text)?;
    Ok(build(file))
}

fn build(file: File) -> Result<Tokenizer, Vec<String>> {
    let mut faults = Vec::new();
    let vocab = file.model.vocab;
    let ids = vocab
        .values()
        .copied()
        .chain(file.added_tokens.iter().map(|added| added.id));
    let vocab_len = ids.max().map_or(0, |id| id as usize + 1);
    if vocab_len > MAX_VOCAB_TOKENS {
        faults.push(format!(
            "found token id {}, expected ids below {MAX_VOCAB_TOKENS}",
            vocab_len - 1
        ));
    }
    check_ids_are_unique(&vocab, &mut faults);
    let added_tokens = added_tokens(&file.added_tokens, &vocab, &mut faults);
    let normalizer = normalizer(file.normalizer, &mut faults);
    let pre_tokenizer = file
        .pre_tokenizer
        .map(|p| p.kind.unwrap_or("no type".to_owned()));
    if pre_tokenizer.as_deref() != Some("BertPreTokenizer") {
        let found = pre_tokenizer.unwrap_or("none".to_owned());
        faults.push(format!(
            "pre_tokenizer: found {found}, expected BertPreTokenizer"
        ));
    }
    let (prefix_ids, suffix_ids) = frame(file.post_processor, &mut faults);
    let unk_token = file.model.unk_token;
    let unk_id = vocab.get(&*unk_token).copied().unwrap_or_else(|| {
        faults.push(format!(
            "found no {unk_token} in the vocabulary, expected the unk_token to be there"
        ));
        0
    });
    let padding_id = file.padding.and_then(|padding| padding.pad_id);
    let pad_id = padding_id
        .or_else(|| vocab.get("[PAD]").copied())
        .unwrap_or(0);
    for id in prefix_ids.iter().chain(&suffix_ids).chain([&pad_id]) {
        if *id as usize >= vocab_len {
            faults.push(format!(
                "found special token id {id}, expected one below {vocab_len}"
            ));
        }
    }
    let max_tokens = max_tokens(
        file.truncation,
        prefix_ids.len() + suffix_ids.len(),
        &mut faults,
    );
    if !faults.is_empty() {
        return Err(faults);
    }
    let prefix = file
        .model
        .continuing_subword_prefix
        .as_deref()
        .unwrap_or("##");
    let (continuations, longest_token_bytes) = continuations(&vocab, prefix);
    let max_chars_per_word = file
        .model
        .max_input_chars_per_word
        .unwrap_or(BERT_MAX_CHARS_PER_WORD);
    Ok(Tokenizer {
        vocab,
        continuations,
        longest_token_bytes,
        added_tokens,
        normalizer,
        unk_id,
        pad_id,
        max_chars_per_word,
        prefix_ids,
        suffix_ids,
        max_tokens,
        vocab_len,
    })
}

fn check_ids_are_unique(vocab: &HashMap<Box<str>, u32>, faults: &mut Vec<String>) {
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

fn added_tokens(
    added: &[AddedToken],
    vocab: &HashMap<Box<str>, u32>,
    faults: &mut Vec<String>,
) -> Vec<(Box<str>, u32)> {
    if added.len() > MAX_ADDED_TOKENS {
        faults.push(format!(
            "found {} added tokens, expected at most {MAX_ADDED_TOKENS}",
            added.len()
        ));
        return Vec::new();
    }
    for token in added {
        let AddedToken { id, content, .. } = token;
        if content.is_empty() {
            faults.push(format!(
                "added token {id}: found an empty content, expected its spelling"
            ));
        }
        let switches = [
            ("single_word", token.single_word),
            ("lstrip", token.lstrip),
            ("rstrip", token.rstrip),
            ("normalized", token.normalized),
        ];
        for (name, _) in switches.iter().filter(|(_, is_on)| *is_on) {
            faults.push(format!(
                "added token {content}: found {name} true, expected false"
            ));
        }
        match vocab.get(&**content) {
            Some(in_vocab) if in_vocab != id => {
                faults.push(format!(
                    "added token {content}: found id {id}, expected {in_vocab} as in the vocabulary"
                ));
            }
            _ => {}
        }
    }
    longest_first(
        added
            .iter()
            .map(|token| (Box::from(&*token.content), token.id))
            .collect(),
    )
}

fn normalizer(
    settings: Option<NormalizerSettings>,
    faults: &mut Vec<String>,
) -> Option<Normalizer> {
    let settings = settings?;
    if settings.kind != "BertNormalizer" {
        faults.push(format!(
            "normalizer: found {}, expected BertNormalizer or null",
            settings.kind
        ));
    }
    Some(Normalizer {
        clean_text: settings.clean_text,
        handle_chinese_chars: settings.handle_chinese_chars,
        // As in BERT: accents go with case unless the file says otherwise.
        strip_accents: settings.strip_accents.unwrap_or(settings.lowercase),
        lowercase: settings.lowercase,
    })
}

/// The ids before and after a single text.
fn frame(post_processor: Option<PostProcessor>, faults: &mut Vec<String>) -> (Vec<u32>, Vec<u32>) {
    let Some(post) = post_processor else {
        return Default::default();
    };
    match (post.kind.as_str(), post.single, post.cls, post.sep) {
        ("TemplateProcessing", Some(single), _, _) => {
            template_frame(&single, &post.special_tokens, faults)
        }
        ("BertProcessing", _, Some((_, cls)), Some((_, sep))) => (vec![cls], vec![sep]),
        ("TemplateProcessing" | "BertProcessing", ..) => {
            faults.push(
                "post_processor: found no template, expected `single`, or `cls` and `sep`"
                    .to_owned(),
            );
            Default::default()
        }
        (found, ..) => {
            faults.push(format!(
                "post_processor: found {found}, expected TemplateProcessing, BertProcessing or null"
            ));
            Default::default()
        }
    }
}

fn template_frame(
    single: &[TemplatePiece],
    specials: &BTreeMap<String, TemplateSpecial>,
    faults: &mut Vec<String>,
) -> (Vec<u32>, Vec<u32>) {
    let (mut prefix, mut suffix, mut sequences) = (Vec::new(), Vec::new(), 0);
    for piece in single {
        match piece {
            TemplatePiece::Sequence { id } if id == "A" => sequences += 1,
            TemplatePiece::Sequence { id } => {
                faults.push(format!(
                    "post_processor: found sequence {id} for a single text, expected A"
                ));
            }
            TemplatePiece::SpecialToken { id } => match specials.get(id) {
                Some(special) if sequences == 0 => prefix.extend(&special.ids),
                Some(special) => suffix.extend(&special.ids),
                None => faults.push(format!(
                    "post_processor: found {id} in the template, expected it in special_tokens"
                )),
            },
        }
    }
    if sequences != 1 {
        faults.push(format!(
            "post_processor: found {sequences} places for the text, expected 1"
        ));
    }
    (prefix, suffix)
}

fn max_tokens(truncation: Option<Truncation>, specials: usize, faults: &mut Vec<String>) -> usize {
    let Some(truncation) = truncation else {
        return usize::MAX;
    };
    if let Some(direction) = truncation
        .direction
        .filter(|direction| direction != "Right")
    {
        faults.push(format!(
            "truncation: found direction {direction}, expected Right"
        ));
    }
    if truncation.max_length < specials {
        let found = truncation.max_length;
        faults.push(format!("truncation: found max_length {found}, expected at least {specials} for the special tokens"));
    }
    truncation.max_length
}
