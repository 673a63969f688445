//! From a normalised text to the words that the model spells, as `pre_tokenizer` of a `tokenizer.json` lists the
//! steps.

use super::bert;
use super::byte_level;
use regex::Regex;

/// What becomes of a match of a pattern that splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) enum Behavior {
    /// It goes.
    Removed,
    /// It is a word of its own.
    Isolated,
    /// It ends the word before it.
    MergedWithPrevious,
    /// It begins the word after it.
    MergedWithNext,
    /// Matches that touch are one word.
    Contiguous,
}

/// Where `▁` is set before a word that does not begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Prepend {
    Always,
    /// Only where the text begins.
    First,
    Never,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Splitter {
    Bert,
    WhitespaceSplit,
    Split {
        pattern: Regex,
        behavior: Behavior,
        /// The pattern says what a word is, not what lies between.
        invert: bool,
    },
    /// Bytes as printable characters, after GPT-2 (Radford et al., 2019).
    ByteLevel {
        add_prefix_space: bool,
        use_regex: bool,
    },
    /// Spaces as `▁`, after SentencePiece.
    Metaspace {
        replacement: char,
        prepend: Prepend,
        split: bool,
    },
}

/// A part of a text on its way to a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Nothing of the text lies before it.
    pub(super) is_first: bool,
}

impl Splitter {
    fn split(&self, piece: Piece) -> Vec<Piece> {
        let Piece { text, is_first } = piece;
        match self {
            Self::Bert => slices(&text, is_first, bert::words(&text)),
            Self::WhitespaceSplit => slices(&text, is_first, text.split_whitespace()),
            Self::Split {
                pattern,
                behavior,
                invert,
            } => {
                let parts = parts(pattern, &text, *invert);
                slices(&text, is_first, joined(&text, parts, *behavior).into_iter())
            }
            &Self::ByteLevel {
                add_prefix_space,
                use_regex,
            } => byte_level::split(text, add_prefix_space, use_regex)
                .into_iter()
                .enumerate()
                .map(|(index, text)| Piece {
                    text,
                    is_first: is_first && index == 0,
                })
                .collect(),
            &Self::Metaspace {
                replacement,
                prepend,
                split,
            } => metaspace(&text, is_first, replacement, prepend, split),
        }
    }
}

/// The words of a normalised text that no added token interrupts.
pub(super) fn words(splitters: &[Splitter], text: String, is_first: bool) -> Vec<Piece> {
    let mut pieces = vec![Piece { text, is_first }];
    for splitter in splitters {
        let split = pieces.into_iter().flat_map(|piece| splitter.split(piece));
        pieces = split.filter(|piece| !piece.text.is_empty()).collect();
    }
    pieces
}

/// Pieces from slices of `text`.
fn slices<'a>(text: &'a str, is_first: bool, words: impl Iterator<Item = &'a str>) -> Vec<Piece> {
    let begins = |word: &str| word.as_ptr() == text.as_ptr();
    let piece = |word: &str| Piece {
        text: word.to_owned(),
        is_first: is_first && begins(word),
    };
    words.map(piece).collect()
}

/// A range of bytes, and whether the pattern matches there.
type Part = (std::ops::Range<usize>, bool);

/// The matches and what lies between, in order.
fn parts(pattern: &Regex, text: &str, invert: bool) -> Vec<Part> {
    let (mut parts, mut done) = (Vec::new(), 0);
    for found in pattern.find_iter(text) {
        if done < found.start() {
            parts.push((done..found.start(), invert));
        }
        parts.push((found.range(), !invert));
        done = found.end();
    }
    if done < text.len() {
        parts.push((done..text.len(), invert));
    }
    parts
}

fn joined(text: &str, parts: Vec<Part>, behavior: Behavior) -> Vec<&str> {
    let mut words: Vec<std::ops::Range<usize>> = Vec::new();
    // Two matches in a row stay apart, as in the reference.
    let mut previous_is_match = false;
    for (range, is_match) in parts {
        let extends = match behavior {
            Behavior::Removed if is_match => continue,
            Behavior::Removed | Behavior::Isolated => false,
            Behavior::MergedWithPrevious => is_match && !previous_is_match,
            Behavior::MergedWithNext => !is_match && previous_is_match,
            Behavior::Contiguous => is_match == previous_is_match,
        };
        match words.last_mut() {
            Some(last) if extends => last.end = range.end,
            _ => words.push(range),
        }
        previous_is_match = is_match;
    }
    words.into_iter().map(|range| &text[range]).collect()
}

fn metaspace(
    text: &str,
    is_first: bool,
    replacement: char,
    prepend: Prepend,
    split: bool,
) -> Vec<Piece> {
    let mut marked: String = text
        .chars()
        .map(|c| if c == ' ' { replacement } else { c })
        .collect();
    let wants_mark = prepend == Prepend::Always || (prepend == Prepend::First && is_first);
    if wants_mark && !marked.starts_with(replacement) {
        marked.insert(0, replacement);
    }
    if !split {
        return slices(&marked, is_first, std::iter::once(&*marked));
    }
    let mut starts: Vec<usize> = marked
        .match_indices(replacement)
        .map(|(at, _)| at)
        .collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    starts.push(marked.len());
    let words = starts.windows(2).map(|pair| &marked[pair[0]..pair[1]]);
    slices(&marked, is_first, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(splitter: Splitter, text: &str) -> Vec<String> {
        let pieces = words(&[splitter], text.to_owned(), true);
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn each_behavior_deals_with_matches_as_the_reference_does() {
        let split = |behavior, invert| {
            let pattern = Regex::new("-").unwrap();
            let splitter = Splitter::Split {
                pattern,
                behavior,
                invert,
            };
            texts(splitter, "the-final--countdown")
        };
        assert_eq!(
            split(Behavior::Removed, false),
            ["the", "final", "countdown"]
        );
        assert_eq!(split(Behavior::Removed, true), ["-", "-", "-"]);
        assert_eq!(
            split(Behavior::Isolated, false),
            ["the", "-", "final", "-", "-", "countdown"]
        );
        assert_eq!(
            split(Behavior::MergedWithPrevious, false),
            ["the-", "final-", "-", "countdown"]
        );
        assert_eq!(
            split(Behavior::MergedWithNext, false),
            ["the", "-final", "-", "-countdown"]
        );
        assert_eq!(
            split(Behavior::Contiguous, false),
            ["the", "-", "final", "--", "countdown"]
        );
    }

    #[test]
    fn a_mark_stands_for_each_space_and_before_the_text() {
        let metaspace = |prepend, text: &str| {
            let splitter = Splitter::Metaspace {
                replacement: '▁',
                prepend,
                split: true,
            };
            texts(splitter, text)
        };
        assert_eq!(metaspace(Prepend::Always, "a  b"), ["▁a", "▁", "▁b"]);
        assert_eq!(metaspace(Prepend::Never, "a b"), ["a", "▁b"]);
        assert_eq!(metaspace(Prepend::First, " b"), ["▁b"]);
    }
}
