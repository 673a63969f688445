//! The normalisation of SentencePiece: its character map, and white space as `▁`.

use crate::tokenizer::charsmap::Charsmap;
use crate::tokenizer::prefix_table::PrefixTable;

const SPACE_MARK: char = '▁';

/// The settings of `NormalizerSpec`.
#[derive(Clone, Debug)]
pub(in crate::tokenizer) struct SentencePieceNormalizer {
    /// None replaces nothing.
    map: Option<Charsmap>,
    /// Symbols that are taken as they stand.
    user_defined: PrefixTable<()>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl SentencePieceNormalizer {
    pub(super) fn new<'a>(
        map: Option<Charsmap>,
        user_defined: impl Iterator<Item = &'a str>,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        escape_whitespaces: bool,
    ) -> Self {
        let symbols = user_defined.map(|symbol| (symbol.as_bytes().into(), ()));
        Self {
            map,
            user_defined: PrefixTable::new(symbols),
            add_dummy_prefix,
            remove_extra_whitespaces,
            escape_whitespaces,
        }
    }

    pub(in crate::tokenizer) fn normalize(&self, text: &str) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((" ", len)) = self.next(rest) {
                rest = &rest[len..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let space = if self.escape_whitespaces {
            SPACE_MARK
        } else {
            ' '
        };
        let mut out = String::with_capacity(rest.len());
        if self.add_dummy_prefix {
            out.push(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((replacement, len)) = self.next(rest) {
            let shown = if after_space {
                replacement.trim_start_matches(' ')
            } else {
                replacement
            };
            out.extend(shown.chars().map(|c| if c == ' ' { space } else { c }));
            if !shown.is_empty() {
                after_space = self.remove_extra_whitespaces && shown.ends_with(' ');
            }
            rest = &rest[len..];
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(space).len());
        }
        out
    }

    /// What replaces the beginning of a text, and its length; nothing at the end.
    fn next<'a>(&'a self, text: &'a str) -> Option<(&'a str, usize)> {
        if let Some((len, ())) = self.user_defined.prefixes(text.as_bytes()).last() {
            return Some((&text[..len], len));
        }
        if let Some(map) = &self.map {
            return map.longest(text);
        }
        let len = text.chars().next()?.len_utf8();
        Some((&text[..len], len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_becomes_marks_and_extra_white_space_goes() {
        let normalizer =
            |remove| SentencePieceNormalizer::new(None, ["<x> "].into_iter(), true, remove, true);
        assert_eq!(normalizer(true).normalize("  a  b "), "▁a▁b");
        assert_eq!(normalizer(true).normalize("   "), "");
        assert_eq!(normalizer(false).normalize(" a  b "), "▁▁a▁▁b▁");
        assert_eq!(normalizer(true).normalize("a<x>  b"), "▁a<x>▁b");
    }
}
