//! How near a caption is to the right one, in words.
//!
//! Words are runs of letters and digits, in lower case. Of the `c` words that both have, each counted as often as in the
//! text that has fewer of it, precision is `c / words said` and recall `c / words right`. BLEU-1 is the precision times a
//! penalty for what is too short (Papineni et al., 2002, <https://aclanthology.org/P02-1040>), F1 the harmonic mean.

use std::collections::BTreeMap;

/// Between 0 and 1, more is nearer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    pub(crate) f1: f64,
    pub(crate) bleu1: f64,
}

/// That of the caption `said` where `right` is right; 0 where either has no word.
pub(crate) fn score(said: &str, right: &str) -> Score {
    let (said, right) = (words(said), words(right));
    let both: usize = said
        .iter()
        .map(|(word, count)| right.get(word).map_or(0, |other| *count.min(other)))
        .sum();
    let len = |words: &BTreeMap<String, usize>| words.values().sum::<usize>() as f64;
    let (said, right) = (len(&said), len(&right));
    if both == 0 {
        return Score::default();
    }
    let both = both as f64;
    let penalty = (1.0 - right / said).min(0.0).exp();
    Score {
        f1: 2.0 * both / (said + right),
        bleu1: penalty * both / said,
    }
}

/// The words of a text, and how often each is there.
pub(crate) fn words(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    let all = text.split(|c: char| !c.is_alphanumeric());
    for word in all.filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_insert(0) += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_once_for_each_time_that_both_say_them() {
        let found = score("A red, RED apple.", "a red pear");
        assert!((found.f1 - 2.0 * 2.0 / 7.0).abs() < 1e-12, "{found:?}");
        assert!((found.bleu1 - 0.5).abs() < 1e-12, "{found:?}");
        assert_eq!(
            score("a pear", "A pear."),
            Score {
                f1: 1.0,
                bleu1: 1.0
            }
        );
        assert_eq!(score("", "a pear"), Score::default());
    }

    #[test]
    fn what_is_too_short_pays_for_it() {
        let found = score("a", "a pear on a tree");
        assert!((found.bleu1 - (-4f64).exp()).abs() < 1e-12, "{found:?}");
        assert!((found.f1 - 2.0 / 6.0).abs() < 1e-12, "{found:?}");
    }
}
