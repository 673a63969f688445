//! Unicode's normalisation forms (UAX #15) of version 9, which PyPI `tokenizers` has stayed with.
//!
//! Characters of later versions are kept where they stand: version 9 knows neither that they decompose nor that marks
//! among them have an order.

use regex::Regex;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

static NEWER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\P{age=9.0}").expect("the pattern is well formed"));

/// A normalisation form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

impl Form {
    /// The text in this form.
    pub(super) fn normalize(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for newer in NEWER.find_iter(text) {
            self.push(&text[done..newer.start()], &mut out);
            out.push_str(newer.as_str());
            done = newer.end();
        }
        self.push(&text[done..], &mut out);
        out
    }

    fn push(self, text: &str, out: &mut String) {
        match self {
            _ if text.is_ascii() => out.push_str(text),
            Self::Nfc => out.extend(text.nfc()),
            Self::Nfd => out.extend(text.nfd()),
            Self::Nfkc => out.extend(text.nfkc()),
            Self::Nfkd => out.extend(text.nfkd()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_characters_are_normalised_and_newer_ones_stay_in_place() {
        assert_eq!(Form::Nfc.normalize("e\u{301}\u{345}"), "é\u{345}");
        assert_eq!(
            Form::Nfd.normalize("\u{345}\u{301}é"),
            "\u{301}\u{345}e\u{301}"
        );
        assert_eq!(Form::Nfkd.normalize("ﬁ"), "fi");
        // U+0898 came with version 14.
        assert_eq!(Form::Nfd.normalize("\u{345}\u{898}"), "\u{345}\u{898}");
    }
}
