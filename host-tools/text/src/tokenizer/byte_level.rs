//! Bytes as printable characters, so that a vocabulary of text can spell any byte, after GPT-2 (Radford et al.,
//! 2019).
//!
//! Printable bytes of Latin-1 stand for themselves; the others are, in order, the characters from U+0100 on.

use regex::Regex;
use std::sync::LazyLock;

/// The words of GPT-2. Its pattern leaves the last of several spaces to the word after them, which [`split`] sees to.
static GPT2_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+")
        .expect("the pattern is well formed")
});

/// The character that stands for each byte.
pub(super) static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut unprintable = '\u{100}'..='\u{1ff}';
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if is_printable(byte) {
            char::from(byte)
        } else {
            unprintable.next().unwrap_or_default()
        }
    })
});

/// A byte of Latin-1 that shows: no space, no control, no soft hyphen.
pub(super) fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The text with each byte as its character.
pub(super) fn spelled(text: &str) -> String {
    text.bytes().map(|byte| CHARS[usize::from(byte)]).collect()
}

/// The words of `text`, or all of it, spelled byte by byte.
pub(super) fn split(mut text: String, add_prefix_space: bool, use_regex: bool) -> Vec<String> {
    if add_prefix_space && !text.starts_with(' ') {
        text.insert(0, ' ');
    }
    if !use_regex {
        return vec![spelled(&text)];
    }
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(found) = GPT2_WORDS.find_at(&text, at) {
        let mut word = found.as_str();
        let ends_text = found.end() == text.len();
        let last = word.chars().next_back().filter(|c| c.is_whitespace());
        if let Some(last) = last.filter(|last| !ends_text && word.len() > last.len_utf8()) {
            word = &word[..word.len() - last.len_utf8()];
        }
        words.push(spelled(word));
        at = found.start() + word.len();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_characters_of_their_own() {
        let mut chars = CHARS.to_vec();
        chars.sort_unstable();
        chars.dedup();
        assert_eq!(chars.len(), 256);
        assert_eq!(spelled("a é\n"), "aĠÃ©Ċ");
    }

    #[test]
    fn the_last_of_several_spaces_goes_to_the_next_word() {
        let words = |text: &str| split(text.to_owned(), false, true);
        assert_eq!(
            words("it's  a cat  "),
            ["it", "'s", "Ġ", "Ġa", "Ġcat", "ĠĠ"]
        );
        assert_eq!(split("a".to_owned(), true, false), ["Ġa"]);
    }
}
