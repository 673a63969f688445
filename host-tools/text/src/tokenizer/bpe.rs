//! Byte pair encoding: the characters of a word are joined pair by pair, the pair of the lowest rank first.
//!
//! Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (arXiv:1508.07909). A heap
//! of candidate pairs keeps the work at O(n log n) for a word of n characters. The two references differ in when a
//! pair that a join has just made may take part ([`MergeOrder`]).

use super::byte_fallback::ByteFallback;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// When a pair that a join has made may be joined itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MergeOrder {
    /// At once, when its rank is lower than that of the pairs that wait: PyPI `tokenizers`.
    Immediate,
    /// After all pairs of the rank at hand: CLIP and open_clip.
    ByRank,
}

/// What a pair of tokens becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) rank: u32,
    pub(super) id: u32,
}

/// The model.
#[derive(Clone, Debug)]
pub(super) struct Bpe {
    pub(super) vocab: HashMap<Box<str>, u32>,
    pub(super) merges: HashMap<(u32, u32), Merge>,
    pub(super) order: MergeOrder,
    /// What ends the last character of a word, usually `</w>`.
    pub(super) end_of_word_suffix: Box<str>,
    /// What begins all characters of a word but the first.
    pub(super) continuing_subword_prefix: Box<str>,
    /// For characters that the vocabulary has not; without it they go.
    pub(super) unk_id: Option<u32>,
    /// Unknown characters in a row are one token.
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: Option<ByteFallback>,
    /// A word that the vocabulary holds is taken whole.
    pub(super) ignore_merges: bool,
    /// Words that are tokens of their own, and no characters.
    pub(super) whole_words: Vec<Box<str>>,
}

/// A token of a word under way; joined tokens leave the list of neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    previous: Option<usize>,
    next: Option<usize>,
    is_joined: bool,
}

/// Lowest rank first, then leftmost.
type Candidate = Reverse<(u32, usize, u32)>;

impl Bpe {
    /// The id of a token as the vocabulary spells it.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.vocab.get(token).copied()
    }

    /// Spells one word.
    pub(super) fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
        let is_whole = self.ignore_merges || self.whole_words.iter().any(|whole| **whole == *word);
        if is_whole && let Some(id) = self.id(word) {
            ids.push(id);
            return;
        }
        let mut characters = Vec::with_capacity(word.len());
        self.push_characters(word, &mut characters);
        self.join(&mut characters);
        ids.append(&mut characters);
    }

    /// The ids of the characters of a word.
    fn push_characters(&self, word: &str, ids: &mut Vec<u32>) {
        let mut spelling = String::new();
        let mut unk_is_last = false;
        for (at, c) in word.char_indices() {
            spelling.clear();
            if at > 0 {
                spelling.push_str(&self.continuing_subword_prefix);
            }
            spelling.push(c);
            if at + c.len_utf8() == word.len() {
                spelling.push_str(&self.end_of_word_suffix);
            }
            if let Some(id) = self.id(&spelling) {
                ids.push(id);
                unk_is_last = false;
            } else if self.falls_back(&spelling, ids) {
                unk_is_last = false;
            } else if let Some(unk_id) = self.unk_id {
                if !(self.fuse_unk && unk_is_last) {
                    ids.push(unk_id);
                }
                unk_is_last = true;
            }
        }
    }

    fn falls_back(&self, spelling: &str, ids: &mut Vec<u32>) -> bool {
        let bytes = self.byte_fallback.as_ref();
        bytes.is_some_and(|bytes| bytes.push(spelling, ids))
    }

    /// Joins pairs until none has a rank.
    fn join(&self, ids: &mut Vec<u32>) {
        let last = ids.len().saturating_sub(1);
        let symbol = |(at, &id): (usize, &u32)| Symbol {
            id,
            previous: at.checked_sub(1),
            next: (at < last).then_some(at + 1),
            is_joined: false,
        };
        let mut symbols: Vec<Symbol> = ids.iter().enumerate().map(symbol).collect();
        let mut waiting: BinaryHeap<Candidate> = BinaryHeap::new();
        waiting.extend((0..last).filter_map(|at| self.candidate(&symbols, at)));
        // Pairs made by joins of the rank at hand.
        let mut made: Vec<Candidate> = Vec::new();
        while let Some(Reverse((rank, at, id))) = waiting.pop() {
            if self.still_holds(&symbols, at, Merge { rank, id }) {
                join_with_next(&mut symbols, at, id);
                let left = symbols[at].previous;
                let touched = left.into_iter().chain([at]);
                made.extend(touched.filter_map(|at| self.candidate(&symbols, at)));
            }
            let rank_is_done = waiting.peek().is_none_or(|Reverse(next)| next.0 != rank);
            if self.order == MergeOrder::Immediate || rank_is_done {
                waiting.extend(made.drain(..));
            }
        }
        ids.clear();
        ids.extend(
            symbols
                .iter()
                .filter(|symbol| !symbol.is_joined)
                .map(|symbol| symbol.id),
        );
    }

    fn merge_at(&self, symbols: &[Symbol], at: usize) -> Option<Merge> {
        let next = symbols[at].next?;
        let pair = (symbols[at].id, symbols[next].id);
        self.merges.get(&pair).copied()
    }

    fn candidate(&self, symbols: &[Symbol], at: usize) -> Option<Candidate> {
        let Merge { rank, id } = self.merge_at(symbols, at)?;
        Some(Reverse((rank, at, id)))
    }

    /// A candidate may be out of date: its symbols were joined with others since.
    fn still_holds(&self, symbols: &[Symbol], at: usize, candidate: Merge) -> bool {
        let now = self.merge_at(symbols, at);
        !symbols[at].is_joined
            && now.is_some_and(|now| match self.order {
                MergeOrder::Immediate => now.id == candidate.id,
                MergeOrder::ByRank => now.rank == candidate.rank,
            })
    }
}

fn join_with_next(symbols: &mut [Symbol], at: usize, id: u32) {
    let Some(next) = symbols[at].next else {
        return;
    };
    let after = symbols[next].next;
    symbols[next].is_joined = true;
    symbols[at].id = id;
    symbols[at].next = after;
    if let Some(after) = after {
        symbols[after].previous = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model whose tokens are numbered as given and whose merges are ranked as given.
    fn bpe(tokens: &[&str], merges: &[(&str, &str)], order: MergeOrder) -> Bpe {
        let vocab: HashMap<Box<str>, u32> = (0..)
            .zip(tokens)
            .map(|(id, &token)| (token.into(), id))
            .collect();
        let merge = |(rank, (left, right)): (u32, &(&str, &str))| {
            let id = vocab[format!("{left}{right}").as_str()];
            ((vocab[*left], vocab[*right]), Merge { rank, id })
        };
        Bpe {
            merges: (0..).zip(merges).map(merge).collect(),
            vocab,
            order,
            end_of_word_suffix: "".into(),
            continuing_subword_prefix: "".into(),
            unk_id: Some(0),
            fuse_unk: true,
            byte_fallback: None,
            ignore_merges: false,
            whole_words: Vec::new(),
        }
    }

    fn spell(model: &Bpe, tokens: &[&'static str], word: &str) -> Vec<&'static str> {
        let mut ids = Vec::new();
        model.push_word(word, &mut ids);
        ids.into_iter().map(|id| tokens[id as usize]).collect()
    }

    #[test]
    fn the_lowest_rank_is_joined_first_from_the_left() {
        let tokens = ["?", "a", "b", "c", "ab", "bc", "aa"];
        let model = bpe(
            &tokens,
            &[("b", "c"), ("a", "b"), ("a", "a")],
            MergeOrder::ByRank,
        );
        assert_eq!(spell(&model, &tokens, "abc"), ["a", "bc"]);
        assert_eq!(spell(&model, &tokens, "aaabab"), ["aa", "ab", "ab"]);
        assert_eq!(spell(&model, &tokens, "xyaz"), ["?", "a", "?"]);
        assert!(spell(&model, &tokens, "").is_empty());
    }

    #[test]
    fn the_orders_differ_where_a_new_pair_takes_what_an_old_one_waits_for() {
        // After the first "ab" is made, (ab, a) has a lower rank than the second (a, b).
        let tokens = ["?", "a", "b", "ab", "aba"];
        let merges = [("ab", "a"), ("a", "b")];
        let word = "abab";
        let by_rank = bpe(&tokens, &merges, MergeOrder::ByRank);
        assert_eq!(spell(&by_rank, &tokens, word), ["ab", "ab"]);
        let immediate = bpe(&tokens, &merges, MergeOrder::Immediate);
        assert_eq!(spell(&immediate, &tokens, word), ["aba", "b"]);
    }
}
