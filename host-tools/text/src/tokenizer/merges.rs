//! CLIP's `bpe_simple_vocab_16e6.txt`, the merges of its byte pair encoding, as open_clip reads them.
//!
//! Source: Radford et al., arXiv:2103.00020, section 2.4. The first line names a version; of the lines after it, each
//! a pair of tokens, as many count as bring the vocabulary to 49,408: the characters of all bytes, the same ending a
//! word, the merges in their order, and the two tokens that frame a text.

use super::added::AddedTokens;
use super::bpe::{Bpe, Merge, MergeOrder};
use super::byte_level;
use super::load::first_faults;
use super::normalizer::Normalizer;
use super::pre_tokenizer::{Behavior, Splitter};
use super::{Frame, Model, Tokenizer};
use crate::clean::Clean;
use regex::Regex;
use std::collections::HashMap;

const HEADER: &str = "#version";
/// 49,408 tokens, less those of 256 bytes in two forms and the two around a text.
const MAX_MERGES: usize = 49_408 - 2 * 256 - 2;
const CONTEXT_LENGTH: usize = 77;
const END_OF_WORD: &str = "</w>";
/// open_clip's names; CLIP itself has `<|startoftext|>` and `<|endoftext|>`, which are looked for in no prompt.
const START_OF_TEXT: &str = "<start_of_text>";
const END_OF_TEXT: &str = "<end_of_text>";
/// What a word is: an English ending, letters, one digit, or other marks. U+0345 is none of these: the reference
/// ignores case, of which this mark's is a letter, in what it excludes from the marks and not in what it takes for
/// letters.
const WORDS: &str = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u{345}]+";

/// Whether a text begins as the file does.
pub(super) fn is_merges(text: &str) -> bool {
    let first_line = text.lines().next();
    first_line.is_some_and(|line| line.contains(HEADER))
}

/// Reads the text of the file.
pub(super) fn parse(text: &str) -> Result<Tokenizer, Vec<String>> {
    let pairs = pairs(text)?;
    let tokens = tokens(&pairs);
    let vocab: HashMap<Box<str>, u32> = (0..).zip(tokens).map(|(id, token)| (token, id)).collect();
    let mut faults = Vec::new();
    let mut merges = HashMap::new();
    for (rank, (left, right)) in (0..).zip(pairs) {
        let joined = format!("{left}{right}");
        // The joined token is in the vocabulary by construction; a part may be missing.
        match (vocab.get(left), vocab.get(right), vocab.get(&*joined)) {
            (Some(&left), Some(&right), Some(&id)) => {
                merges.insert((left, right), Merge { rank, id });
            }
            _ => faults.push(format!(
                "line {}: found the pair {left:?} {right:?}, expected parts that bytes or merges make",
                rank + 2
            )),
        }
    }
    if !faults.is_empty() {
        return Err(first_faults(faults));
    }
    tokenizer(vocab, merges)
}

fn tokenizer(
    vocab: HashMap<Box<str>, u32>,
    merges: HashMap<(u32, u32), Merge>,
) -> Result<Tokenizer, Vec<String>> {
    let normalizer = Normalizer::default();
    let pattern = Regex::new(WORDS).map_err(|error| vec![error.to_string()])?;
    let split = Splitter::Split {
        pattern,
        behavior: Behavior::Removed,
        invert: true,
    };
    let [start, end] = [START_OF_TEXT, END_OF_TEXT].map(|token| vocab[token]);
    Ok(Tokenizer {
        clean: Clean::Lower,
        added: AddedTokens::new(Vec::new(), &normalizer)?,
        normalizer,
        splitters: vec![
            split,
            Splitter::ByteLevel {
                add_prefix_space: false,
                use_regex: false,
            },
        ],
        vocab_len: end as usize + 1,
        model: Model::Bpe(Bpe {
            whole_words: [START_OF_TEXT, END_OF_TEXT].map(Box::from).into(),
            vocab,
            merges,
            order: MergeOrder::ByRank,
            end_of_word_suffix: END_OF_WORD.into(),
            continuing_subword_prefix: "".into(),
            unk_id: None,
            fuse_unk: false,
            byte_fallback: None,
            ignore_merges: false,
        }),
        frame: Frame {
            prefix: vec![start],
            suffix: vec![end],
        },
        static_embeddings: None,
        max_tokens: CONTEXT_LENGTH,
        pad_id: 0,
    })
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Vec<String>> {
    let mut faults = Vec::new();
    let mut pairs = Vec::new();
    let numbered = text.lines().enumerate().skip(1).take(MAX_MERGES);
    for (index, line) in numbered {
        let mut parts = line.split_whitespace();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) => pairs.push((left, right)),
            _ => faults.push(format!(
                "line {}: found {:?}, expected two tokens",
                index + 1,
                line.chars().take(40).collect::<String>()
            )),
        }
    }
    if faults.is_empty() {
        Ok(pairs)
    } else {
        Err(first_faults(faults))
    }
}

/// The tokens in the order of their ids.
fn tokens(pairs: &[(&str, &str)]) -> Vec<Box<str>> {
    // Bytes that print come before those that do not.
    let (printable, others): (Vec<u8>, Vec<u8>) =
        (0..=255).partition(|&byte| byte_level::is_printable(byte));
    let bytes = printable.into_iter().chain(others);
    let characters: Vec<String> = bytes
        .map(|byte| byte_level::CHARS[usize::from(byte)].to_string())
        .collect();
    let ending = characters.iter().map(|c| format!("{c}{END_OF_WORD}"));
    let joined = pairs.iter().map(|(left, right)| format!("{left}{right}"));
    let framing = [START_OF_TEXT, END_OF_TEXT].map(str::to_owned);
    let all = characters
        .iter()
        .cloned()
        .chain(ending)
        .chain(joined)
        .chain(framing);
    all.map(String::into_boxed_str).collect()
}
