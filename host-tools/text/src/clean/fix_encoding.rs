//! Undoes mojibake: finds the single-byte encoding that UTF-8 was read in, and reads it again.
//!
//! The order of attempts is that of PyPI `ftfy` 6.3 (Robyn Speer, Apache-2.0). A text that does not look wrong
//! ([`is_bad`]) is left alone, which also ends the repetition: text that was garbled twice is repaired twice.

use super::badness::is_bad;
use super::charmap::{self, Charmap};
use super::tables::*;
use super::utf8_variants;
use regex::Regex;
use regex::bytes::Regex as BytesRegex;
use std::borrow::Cow;
use std::sync::LazyLock;

fn bytes_regex(alternatives: &[&str]) -> BytesRegex {
    let pattern = format!("(?s-u){}", alternatives.join("|"));
    BytesRegex::new(&pattern).expect("the pattern is well formed")
}

/// UTF-8 in which a byte 0xA0 became a space.
static ALTERED: LazyLock<BytesRegex> = LazyLock::new(|| {
    bytes_regex(&[
        r"[\xc2\xc3\xc5\xce\xd0\xd9]\x20",
        r"[\xe2\xe3]\x20[\x80-\x84\x86-\x9f\xa1-\xbf]",
        r"[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf]\x20",
        r"\xf0\x20[\x80-\xbf][\x80-\xbf]",
        r"\xf0[\x80-\xbf]\x20[\x80-\xbf]",
        r"\xf0[\x80-\xbf][\x80-\xbf]\x20",
    ])
});

/// UTF-8 and CESU-8 in which a byte is lost: 0x1A, or once `?`.
static LOSSY: LazyLock<BytesRegex> = LazyLock::new(|| {
    bytes_regex(&[
        r"[\xc2-\xdf]\x1a",
        r"[\xc2\xc3]\?",
        r"\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]",
        r"\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
        r"[\xe0-\xef][\x1a?][\x1a\x80-\xbf]",
        r"[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
        r"[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]",
        r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]",
        r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]",
        r"\x1a",
    ])
});

/// Characters that the bytes of UTF-8 became, as many sequences as follow each other.
static UTF8_LOOKALIKES: LazyLock<Regex> = LazyLock::new(|| {
    let sequence = format!(
        "[{UTF8_FIRST_OF_2}][{UTF8_CONTINUATION}]|[{UTF8_FIRST_OF_3}][{UTF8_CONTINUATION}]{{2}}\
         |[{UTF8_FIRST_OF_4}][{UTF8_CONTINUATION}]{{3}}"
    );
    Regex::new(&format!(r"\A(?:{sequence})+")).expect("the pattern is well formed")
});

static CONTINUATION_STRICT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!("[{UTF8_CONTINUATION_STRICT}]")).expect("the pattern is well formed")
});

/// The text with its encoding repaired as often as that changes anything.
pub(super) fn fix_encoding(text: &str) -> Cow<'_, str> {
    let mut fixed = Cow::Borrowed(text);
    while let Some(next) = one_step(&fixed).filter(|next| *next != *fixed) {
        fixed = Cow::Owned(next);
    }
    fixed
}

fn one_step(text: &str) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    let mut is_latin_1 = false;
    for (map, bytes) in charmap::encodings(text) {
        is_latin_1 |= map.name == "latin-1";
        if let Some(decoded) = as_utf8(map, bytes) {
            return Some(decoded);
        }
    }
    decode_inconsistent(text)
        .or_else(|| is_latin_1.then(|| as_windows_1252(text)).flatten())
        .or_else(|| has_c1(text).then(|| fix_c1_controls(text)))
}

/// The bytes of a text in an encoding, read as UTF-8 after small damage is mended.
fn as_utf8(map: &Charmap, mut bytes: Vec<u8>) -> Option<String> {
    // In Mac OS Roman an en dash before a space would be taken for damage.
    if map.name != "macroman" && ALTERED.is_match(&bytes) {
        bytes = restore_byte_a0(&bytes);
    }
    if map.is_sloppy {
        bytes = LOSSY
            .replace_all(&bytes, "\u{fffd}".as_bytes())
            .into_owned();
    }
    if bytes.iter().any(|byte| matches!(byte, 0xed | 0xc0)) {
        return utf8_variants::decode(&bytes);
    }
    String::from_utf8(bytes).ok()
}

/// Puts 0xA0 back where a space stands in its place.
fn restore_byte_a0(bytes: &[u8]) -> Vec<u8> {
    let spaced = space_after_a_grave(bytes);
    let restored = ALTERED.replace_all(&spaced, |found: &regex::bytes::Captures<'_>| {
        let restore = |&byte: &u8| if byte == b' ' { 0xa0 } else { byte };
        found[0].iter().map(restore).collect::<Vec<u8>>()
    });
    restored.into_owned()
}

/// "à" as a word of its own lost its 0xA0 and kept the space after it, unless a Portuguese contraction follows.
fn space_after_a_grave(bytes: &[u8]) -> Vec<u8> {
    let contractions: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        out.push(*byte);
        rest = after;
        let word = after.strip_prefix(b" ").filter(|_| *byte == 0xc3);
        if word.is_some_and(|word| !contractions.iter().any(|c| word.starts_with(c))) {
            out.push(0xa0);
        }
    }
    out
}

/// Repairs the parts of a text that look wrong, where the whole is in no single encoding.
fn decode_inconsistent(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut previous_is_continuation) = (text, false);
    let mut has_lookalike = false;
    while let Some(c) = rest.chars().next() {
        let found = Some(rest).filter(|_| !previous_is_continuation);
        let len = match found.and_then(|rest| UTF8_LOOKALIKES.find(rest)) {
            Some(found) => {
                has_lookalike = true;
                let part = found.as_str();
                // A shorter part, so that this ends.
                if part.len() < text.len() && is_bad(part) {
                    out.push_str(&fix_encoding(part));
                } else {
                    out.push_str(part);
                }
                part.len()
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        let last = &rest[..len];
        let last = &last[last.char_indices().next_back().map_or(0, |(at, _)| at)..];
        previous_is_continuation = CONTINUATION_STRICT.is_match(last);
        rest = &rest[len..];
    }
    (has_lookalike && out != text).then_some(out)
}

/// Latin-1 that was meant as Windows-1252, which leaves five bytes undefined.
fn as_windows_1252(text: &str) -> Option<String> {
    let is_undefined = |c| matches!(c, '\u{81}' | '\u{8d}' | '\u{8f}' | '\u{90}' | '\u{9d}');
    if text.contains(is_undefined) {
        return None;
    }
    Some(fix_c1_controls(text)).filter(|fixed| fixed != text)
}

fn has_c1(text: &str) -> bool {
    text.contains(|c| ('\u{80}'..='\u{9f}').contains(&c))
}

/// Control characters U+0080 to U+009F as what Windows-1252 has in their places.
pub(super) fn fix_c1_controls(text: &str) -> String {
    text.chars().map(charmap::from_c1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mojibake_is_undone_as_the_reference_undoes_it() {
        let cases = [
            ("sÃ³", "só"),
            ("voilÃ le travail", "voilà le travail"),
            ("âœ” No problems", "✔ No problems"),
            ("РџСЂРёРІРµС‚", "Привет"),
            ("â€œlostâ€\u{fffd}", "“lost\u{fffd}"),
            ("東京 cafÃ©", "東京 café"),
            ("untouched: é à ² ½", "untouched: é à ² ½"),
        ];
        for (text, expected) in cases {
            assert_eq!(fix_encoding(text), expected, "{text}");
        }
    }
}
