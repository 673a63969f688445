//! Whether a text looks like mojibake: UTF-8 that was read in a single-byte encoding.
//!
//! The rules are those of PyPI `ftfy` 6.3 (Robyn Speer, Apache-2.0,
//! <https://ftfy.readthedocs.io/en/latest/heuristic.html>): characters fall in categories, and certain neighbours are
//! hardly ever meant.

use super::tables::*;
use regex::Regex;
use std::sync::LazyLock;

/// Sequences of characters; `{name}` stands for the members of a category. White space is Python's.
const RULES: &[&str] = &[
    // Characters of any category beside one that is nearly always wrong.
    "[{c1}]",
    "[{bad}{lower_accented}{upper_accented}{box}{start}{end}{currency}{numeric}{law}][{bad}]",
    "[a-zA-Z][{lower_common}{upper_common}][{bad}]",
    "[{bad}][{lower_accented}{upper_accented}{box}{start}{end}{currency}{numeric}{law}]",
    // Accented letters, signs and boxes in an order that no word has.
    "[{lower_accented}{lower_common}{box}{end}{currency}{numeric}][{upper_accented}]",
    "[{box}{end}{currency}{numeric}][{lower_accented}]",
    "[{lower_accented}{box}{end}][{currency}]",
    r"[{space}][{upper_accented}][{currency}]",
    "[{upper_accented}{box}][{numeric}{law}]",
    "[{lower_accented}{upper_accented}{box}{currency}{end}][{start}][{numeric}]",
    "[{lower_accented}{upper_accented}{currency}{numeric}{box}{law}][{end}][{start}]",
    "[{currency}{numeric}{box}][{start}]",
    "[a-z][{upper_accented}][{start}{currency}]",
    "[{box}][{kaomoji}]",
    "[{lower_accented}{upper_accented}{currency}{numeric}{start}{end}{law}][{box}]",
    "[{box}][{end}]",
    r"[{lower_accented}{upper_accented}][{start}{end}][\p{L}\p{N}_]",
    "[Œœ][^A-Za-z]",
    "[{upper_accented}]°",
    // Windows-1252.
    r"[ÂÃÎÐ][€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»{start}{end}–—´]",
    "×[²³]",
    "(?:[ØÙ][{common}{currency}{bad}{numeric}{start}ŸŠ®°µ»]){2}",
    "à[²µ¹¼½¾]",
    r"Ã[\u{a0}¡]",
    "[a-z][{space}]?[ÃÂ] ",
    r"\A[ÃÂ] ",
    "[a-z.,?!{end}]Â[ {start}{end}]",
    // Mac OS Roman.
    "√[±∂†≠®™´≤≥¥µø]",
    "≈[°¢]",
    "‚Ä[ìîïòôúùû†°¢π]",
    "‚[âó][àä°ê]",
    // Windows-1251.
    "вЂ",
    "[ВГРС][{c1}{bad}{start}{end}{currency}°µ][ВГРС]",
    "ГўВЂВ.[A-Za-z ]",
    // Windows-1253 and Windows-1257.
    r"β€[™\u{a0}Ά\u{ad}®°]",
    "[ΒΓΞΟ][{c1}{bad}{start}{end}{currency}°][ΒΓΞΟ]",
    "ā€",
];

const CATEGORIES: [(&str, &str); 15] = [
    ("{common}", COMMON),
    ("{c1}", C1),
    ("{bad}", BAD),
    ("{law}", LAW),
    ("{currency}", CURRENCY),
    ("{start}", START_PUNCTUATION),
    ("{end}", END_PUNCTUATION),
    ("{numeric}", NUMERIC),
    ("{kaomoji}", KAOMOJI),
    ("{upper_accented}", UPPER_ACCENTED),
    ("{lower_accented}", LOWER_ACCENTED),
    ("{upper_common}", UPPER_COMMON),
    ("{lower_common}", LOWER_COMMON),
    ("{box}", BOX),
    ("{space}", r"\s\x1c-\x1f"),
];

static ANY_RULE: LazyLock<Regex> = LazyLock::new(|| {
    let mut pattern = RULES.join("|");
    for (name, members) in CATEGORIES {
        pattern = pattern.replace(name, members);
    }
    Regex::new(&pattern).expect("the rules are well formed")
});

/// Whether any rule finds its sequence.
pub(super) fn is_bad(text: &str) -> bool {
    ANY_RULE.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mojibake_is_told_from_text() {
        for bad in [
            "cafÃ©",
            "â€œquoteâ€\u{9d}",
            "РџСЂРёРІРµС‚",
            "a\u{80}",
            "Ã la",
            "œ1",
        ] {
            assert!(is_bad(bad), "{bad}");
        }
        for good in [
            "café",
            "Привет",
            "à la carte",
            "“quote”",
            "naïve Ångström",
            "²",
        ] {
            assert!(!is_bad(good), "{good}");
        }
    }
}
