//! Unigram: of all spellings of a text with vocabulary entries, the one whose scores have the largest sum.
//!
//! Sources: Kudo, "Subword Regularization" (arXiv:1804.10959); the search is Viterbi's (IEEE TIT 1967) over the
//! places between characters. A character that no entry spells alone may be unknown at a score below all others;
//! unknown characters in a row are one token, or their bytes where the vocabulary has those.
//!
//! Scores are f64 in PyPI `tokenizers` and f32 in SentencePiece, and near ties fall differently ([`Precision`]).

use super::byte_fallback::ByteFallback;
use super::prefix_table::PrefixTable;
use std::collections::HashMap;

/// How far an unknown character is below the lowest score.
const UNK_PENALTY: f64 = 10.0;

/// What sums of scores are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    F32,
    F64,
}

/// The score of an entry in a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Score {
    /// As the vocabulary says.
    Given(f64),
    /// The entry wins over all others: SentencePiece's user-defined symbols.
    Preferred,
}

/// An entry of the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) token: Box<str>,
    pub(super) id: u32,
    pub(super) score: Score,
}

/// The model.
#[derive(Clone, Debug)]
pub(super) struct Unigram {
    table: PrefixTable<(u32, Score)>,
    ids: HashMap<Box<str>, u32>,
    unk_id: u32,
    unk_score: f64,
    max_score: f64,
    precision: Precision,
    byte_fallback: Option<ByteFallback>,
}

/// The best spelling that ends at a place.
#[derive(Clone, Copy)]
struct Node {
    start: usize,
    id: u32,
    sum: f64,
}

impl Unigram {
    /// A model of the entries that a text may be spelled with, none of which is empty.
    pub(super) fn new(
        entries: Vec<Entry>,
        unk_id: u32,
        precision: Precision,
        byte_fallback: Option<ByteFallback>,
    ) -> Self {
        let scores = entries.iter().filter_map(|entry| match entry.score {
            Score::Given(score) => Some(score),
            Score::Preferred => None,
        });
        let (mut min_score, mut max_score) = (f64::INFINITY, 0.0_f64);
        for score in scores {
            min_score = min_score.min(score);
            max_score = max_score.max(score);
        }
        let ids = entries.iter().map(|entry| (entry.token.clone(), entry.id));
        Self {
            ids: ids.collect(),
            table: PrefixTable::new(
                entries
                    .into_iter()
                    .map(|Entry { token, id, score }| (token.into_boxed_bytes(), (id, score))),
            ),
            unk_id,
            unk_score: min_score - UNK_PENALTY,
            max_score,
            precision,
            byte_fallback,
        }
    }

    /// The id of a token as the vocabulary spells it.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The largest id.
    pub(super) fn max_id(&self) -> Option<u32> {
        self.ids.values().copied().max()
    }

    pub(super) fn unk_id(&self) -> u32 {
        self.unk_id
    }

    /// As the vocabulary spells them, in no order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(|token| &**token)
    }

    /// Spells a text.
    pub(super) fn push_word(&self, text: &str, ids: &mut Vec<u32>) {
        let mut unknown = 0..0;
        for (range, id) in self.best_spelling(text) {
            if id == self.unk_id {
                let start = if unknown.is_empty() {
                    range.start
                } else {
                    unknown.start
                };
                unknown = start..range.end;
                continue;
            }
            self.push_unknown(&text[std::mem::take(&mut unknown)], ids);
            ids.push(id);
        }
        self.push_unknown(&text[unknown], ids);
    }

    fn push_unknown(&self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        // Together, unknown characters may be an entry whose score was too low.
        if let Some(id) = self.id(text).filter(|_| self.precision == Precision::F64) {
            ids.push(id);
            return;
        }
        let bytes = self.byte_fallback.as_ref();
        if !bytes.is_some_and(|bytes| bytes.push(text, ids)) {
            ids.push(self.unk_id);
        }
    }

    /// Ranges of bytes and their ids, in order.
    fn best_spelling(&self, text: &str) -> Vec<(std::ops::Range<usize>, u32)> {
        let mut best: Vec<Option<Node>> = vec![None; text.len() + 1];
        for (start, c) in text.char_indices() {
            let sum = best[start].map_or(0.0, |node| node.sum);
            let mut is_spelled = false;
            for (len, (id, score)) in self.table.prefixes(&text.as_bytes()[start..]) {
                let score = self.score(score, len);
                self.improve(
                    &mut best[start + len],
                    Node {
                        start,
                        id,
                        sum: sum + score,
                    },
                );
                is_spelled |= len == c.len_utf8();
            }
            if !is_spelled {
                let sum = sum + self.unk_score;
                let node = Node {
                    start,
                    id: self.unk_id,
                    sum,
                };
                self.improve(&mut best[start + c.len_utf8()], node);
            }
        }
        let mut spelling = Vec::new();
        let mut end = text.len();
        while let Some(Node { start, id, .. }) = best[end] {
            spelling.push((start..end, id));
            end = start;
        }
        spelling.reverse();
        spelling
    }

    fn score(&self, score: Score, len: usize) -> f64 {
        match score {
            Score::Given(score) => score,
            Score::Preferred => len as f64 * self.max_score - 0.1,
        }
    }

    fn improve(&self, best: &mut Option<Node>, mut node: Node) {
        if self.precision == Precision::F32 {
            node.sum = f64::from(node.sum as f32);
        }
        if best.is_none_or(|best| node.sum > best.sum) {
            *best = Some(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(entries: &[(&str, f64)]) -> Unigram {
        let entry = |(id, &(token, score)): (u32, &(&str, f64))| Entry {
            token: token.into(),
            id,
            score: Score::Given(score),
        };
        Unigram::new(
            (0..).zip(entries).map(entry).collect(),
            0,
            Precision::F64,
            None,
        )
    }

    fn ids(model: &Unigram, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        model.push_word(text, &mut ids);
        ids
    }

    #[test]
    fn the_spelling_with_the_largest_sum_is_taken() {
        let model = model(&[
            ("<unk>", 0.0),
            ("a", -1.0),
            ("b", -1.5),
            ("ab", -3.0),
            ("abc", -2.0),
        ]);
        assert_eq!(ids(&model, "ab"), [1, 2]);
        assert_eq!(ids(&model, "abc"), [4]);
        assert!(ids(&model, "").is_empty());
    }

    #[test]
    fn unknown_characters_in_a_row_are_one_token() {
        let model = model(&[("<unk>", 0.0), ("a", -1.0)]);
        assert_eq!(ids(&model, "xéaz"), [0, 1, 0]);
    }
}
