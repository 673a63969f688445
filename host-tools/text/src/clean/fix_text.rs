//! Repairs a text as `fix_text` of PyPI `ftfy` 6.3 does (Robyn Speer, Apache-2.0; Zenodo 2591652).
//!
//! Each line is a segment of its own and is repaired until nothing changes: references of HTML, encoding, control
//! characters, ligatures, width, quotation marks, line ends, escapes of terminals, and canonical composition (UAX
//! #15).

use super::fix_encoding::{fix_c1_controls, fix_encoding};
use super::html;
use regex::{Captures, Regex};
use std::collections::HashMap;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

/// A longer line is cut, in characters.
const MAX_SEGMENT_CHARS: usize = 1_000_000;

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("&#?[0-9A-Za-z]{1,24};").expect("the pattern is well formed"));
/// Python's digits are those of all scripts.
static TERMINAL_ESCAPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").expect("the pattern is well formed"));

/// Entities that end in `;`, and those in capitals that mean nothing else.
static ENTITIES: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let mut entities = HashMap::new();
    for (name, replacement) in html::entities().filter(|(name, _)| name.ends_with(';')) {
        entities.insert(format!("&{name}"), replacement.to_owned());
        let capitals = format!("&{}", name.to_uppercase());
        let is_lower = name.to_lowercase() == name;
        if is_lower && html::unescape(&capitals) == capitals {
            entities.insert(capitals, replacement.to_uppercase());
        }
    }
    entities
});

/// The text, repaired.
pub(super) fn fix_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // From the first `<` on, a text is taken for markup, whose references stay.
    let mut is_markup = false;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.char_indices().nth(MAX_SEGMENT_CHARS);
            let (segment, after) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
            is_markup |= segment.contains('<');
            out.push_str(&fix_segment(segment, is_markup));
            rest = after;
        }
    }
    out
}

fn fix_segment(segment: &str, is_markup: bool) -> String {
    let mut text = segment.to_owned();
    loop {
        let fixed = fix_once(&text, is_markup);
        if fixed == text {
            return text;
        }
        text = fixed;
    }
}

fn fix_once(text: &str, is_markup: bool) -> String {
    let unescaped = if is_markup {
        text.to_owned()
    } else {
        unescape(text)
    };
    let decoded = fix_encoding(&unescaped);
    if decoded.is_ascii() && !decoded.contains(is_control) && !decoded.contains('\r') {
        return decoded.into_owned();
    }
    let mut fixed = String::with_capacity(decoded.len());
    for c in fix_c1_controls(&decoded).chars() {
        push_plain(c, &mut fixed);
    }
    let fixed = fix_line_breaks(&fixed);
    let fixed = TERMINAL_ESCAPE.replace_all(&fixed, "");
    fixed.chars().filter(|&c| !is_control(c)).nfc().collect()
}

fn unescape(text: &str) -> String {
    let replacement = |found: &Captures<'_>| {
        let reference = &found[0];
        if let Some(replacement) = ENTITIES.get(reference) {
            return replacement.clone();
        }
        if !reference.starts_with("&#") {
            return reference.to_owned();
        }
        // Only part of it may be a number, and then it is none.
        let resolved = html::unescape(reference);
        if resolved.contains(';') {
            reference.to_owned()
        } else {
            resolved.into_owned()
        }
    };
    REFERENCE.replace_all(text, replacement).into_owned()
}

/// Ligatures and digraphs of Latin letters, half and full width, and curled quotation marks.
fn push_plain(c: char, out: &mut String) {
    let letters = match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{3000}' => " ",
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
        '\u{201c}'..='\u{201f}' => "\"",
        '\u{ff01}'..='\u{ffef}' => return out.extend(std::iter::once(c).nfkc()),
        c => return out.push(c),
    };
    out.push_str(letters);
}

fn fix_line_breaks(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{2028}', '\u{2029}'], "\n")
}

/// Characters that show nothing and separate nothing.
fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\u{b}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_repaired_as_the_reference_repairs_it() {
        let cases = [
            (
                "Broken text&hellip; it&#x2019;s ﬂubberiﬁc!",
                "Broken text… it's flubberific!",
            ),
            ("&macr;\\_(ã\u{83}\u{84})_/&macr;", "¯\\_(ツ)_/¯"),
            ("ＬＯＵＤ\u{3000}ＮＯＩＳＥＳ Ｕﾀｰﾝ", "LOUD NOISES Uターン"),
            (
                "P&EACUTE;REZ &NTILDE; &nTILDE; &#38x;",
                "PÉREZ Ñ &nTILDE; &#38x;",
            ),
            ("<b>&amp;</b>\n&amp;", "<b>&amp;</b>\n&amp;"),
            ("&amp;\n<b>", "&\n<b>"),
            (
                "\u{1b}[36;44mblue\u{1b}[0m a\r\nb\u{feff}c\u{2028}",
                "blue a\nbc\n",
            ),
            ("e\u{301} ŉ", "é 'n"),
        ];
        for (text, expected) in cases {
            assert_eq!(fix_text(text), expected, "{text:?}");
        }
    }
}
