//! Text to words, as BERT does it: clean, space ideographs, strip accents, lower-case, split at punctuation.
//!
//! Source: `BasicTokenizer` of BERT (Devlin et al., arXiv:1810.04805) as Hugging Face's `BertNormalizer` and
//! `BertPreTokenizer` define it. The order of the steps is theirs and matters: ideographs are spaced before canonical
//! decomposition (UAX #15, NFD), and accents go before lower case. The character classes are the reference's own
//! ([`super::unicode_tables`]).

use super::unicode_9::Form;
use super::unicode_tables::{ACCENTS, CJK, DROPPED, PUNCTUATION};

/// The four switches of `BertNormalizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BertNormalizer {
    pub(super) clean_text: bool,
    pub(super) handle_chinese_chars: bool,
    pub(super) strip_accents: bool,
    pub(super) lowercase: bool,
}

impl BertNormalizer {
    /// What `bert-base-uncased` uses.
    pub(super) const UNCASED: Self = Self {
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: true,
        lowercase: true,
    };

    pub(super) fn normalize(self, text: &str) -> String {
        let mut spaced = String::with_capacity(text.len());
        for c in text.chars() {
            if self.clean_text && is_in(&DROPPED, c) {
                continue;
            }
            if self.clean_text && c.is_whitespace() {
                spaced.push(' ');
            } else if self.handle_chinese_chars && is_in(&CJK, c) {
                spaced.extend([' ', c, ' ']);
            } else {
                spaced.push(c);
            }
        }
        // Plain ASCII has no marks to strip, and most prompts are that.
        if self.strip_accents && !spaced.is_ascii() {
            spaced = Form::Nfd.normalize(&spaced);
            spaced.retain(|c| !is_in(&ACCENTS, c));
        }
        if self.lowercase {
            // Character by character, so that a final sigma stays σ, as in the reference.
            spaced = spaced.chars().flat_map(char::to_lowercase).collect();
        }
        spaced
    }
}

/// The words of a normalised text: split at white space, which goes, and around each punctuation mark, which stays.
pub(super) fn words(normalized: &str) -> impl Iterator<Item = &str> {
    normalized
        .split(char::is_whitespace)
        .flat_map(|chunk| chunk.split_inclusive(is_punctuation))
        .flat_map(|run| match run.chars().next_back() {
            // `split_inclusive` leaves the mark at the end of its run; it is a word of its own.
            Some(last) if is_punctuation(last) => {
                let (before, mark) = run.split_at(run.len() - last.len_utf8());
                [before, mark]
            }
            _ => [run, ""],
        })
        .filter(|word| !word.is_empty())
}

fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_punctuation()
    } else {
        is_in(&PUNCTUATION, c)
    }
}

/// Whether one of the ascending, inclusive `ranges` holds `c`.
fn is_in(ranges: &[(u32, u32)], c: char) -> bool {
    let code = u32::from(c);
    let after = ranges.partition_point(|&(first, _)| first <= code);
    after > 0 && code <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uncased_words(text: &str) -> Vec<String> {
        let normalized = BertNormalizer::UNCASED.normalize(text);
        words(&normalized).map(str::to_owned).collect()
    }

    #[test]
    fn punctuation_marks_are_words_of_their_own() {
        assert_eq!(
            uncased_words("a (red) cat!!"),
            ["a", "(", "red", ")", "cat", "!", "!"]
        );
        assert_eq!(uncased_words("¿qué?"), ["¿", "que", "?"]);
    }

    #[test]
    fn accents_and_case_are_removed_and_ideographs_stand_alone() {
        assert_eq!(
            uncased_words("ÀÉÎ İstanbul Straße"),
            ["aei", "istanbul", "straße"]
        );
        assert_eq!(uncased_words("東京tower"), ["東", "京", "tower"]);
    }

    #[test]
    fn control_characters_join_and_white_space_separates() {
        assert_eq!(
            uncased_words("ca\u{0}t\u{200b}s\u{a0}and\tdogs\r\n"),
            ["cats", "and", "dogs"]
        );
    }

    #[test]
    fn the_tables_are_ascending_and_disjoint() {
        for table in [&DROPPED[..], &CJK, &ACCENTS, &PUNCTUATION] {
            assert!(table.iter().all(|&(first, last)| first <= last));
            assert!(table.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
