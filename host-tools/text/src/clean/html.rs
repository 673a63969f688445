//! Character references of HTML 5, resolved as browsers do (HTML Living Standard, section 13.2.5.72), in the reading
//! of Python's `html.unescape`.

use super::charmap;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A line an entity: its name, with `;` where it needs one, and its code points in hexadecimal.
const ENTITIES: &str = include_str!("html_entities.txt");
/// The longest name that is looked up, in characters.
const MAX_NAME_CHARS: usize = 32;

static BY_NAME: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
    let entity = |line: &'static str| {
        let (name, codes) = line.split_once('\t')?;
        let chars = codes
            .split(' ')
            .filter_map(|code| u32::from_str_radix(code, 16).ok())
            .filter_map(char::from_u32);
        Some((name, chars.collect()))
    };
    ENTITIES.lines().filter_map(entity).collect()
});

/// All entities: name and replacement.
pub(super) fn entities() -> impl Iterator<Item = (&'static str, &'static str)> {
    BY_NAME
        .iter()
        .map(|(&name, replacement)| (name, replacement.as_str()))
}

/// The text with every reference resolved, also those that lack their `;`.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let reference = numeric(rest).or_else(|| named(rest));
        match reference {
            Some((replacement, len)) => {
                out.push_str(&replacement);
                rest = &rest[len..];
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// `#38;`, `#x26;`: the replacement and the length of what it replaces.
fn numeric(text: &str) -> Option<(Cow<'static, str>, usize)> {
    let digits = text.strip_prefix('#')?;
    let hexadecimal = digits.strip_prefix(['x', 'X']);
    let (digits, radix) = hexadecimal.map_or((digits, 10), |digits| (digits, 16));
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let code = digits[..end].chars().fold(0_u32, |code, digit| {
        let digit = digit.to_digit(radix).unwrap_or(0);
        code.saturating_mul(radix).saturating_add(digit)
    });
    let has_semicolon = digits[end..].starts_with(';');
    let len = text.len() - digits.len() + end + usize::from(has_semicolon);
    Some((character(code), len))
}

fn character(code: u32) -> Cow<'static, str> {
    let is_dropped = matches!(code, 0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef)
        || (code <= 0x10_ffff && code & 0xfffe == 0xfffe);
    if is_dropped {
        return Cow::Borrowed("");
    }
    match char::from_u32(code) {
        None | Some('\0') => Cow::Borrowed("\u{fffd}"),
        Some(c) => charmap::from_c1(c).to_string().into(),
    }
}

/// `amp;`, `ampx`: an entity, or the longest one that begins the name.
fn named(text: &str) -> Option<(Cow<'static, str>, usize)> {
    let ends_name = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let mut ends: Vec<usize> = text
        .char_indices()
        .take(MAX_NAME_CHARS)
        .take_while(|&(_, c)| !ends_name(c))
        .map(|(at, c)| at + c.len_utf8())
        .collect();
    let last = *ends.last()?;
    if text[last..].starts_with(';') {
        ends.push(last + 1);
    }
    // A beginning is two characters or more; the whole may be one.
    let whole = ends.len() - 1;
    let lookups = (0..ends.len()).rev().filter(|&at| at >= 1 || at == whole);
    lookups
        .map(|at| ends[at])
        .find_map(|end| Some((BY_NAME.get(&text[..end])?.as_str().into(), end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_browsers_do() {
        let cases = [
            ("a &amp; b &lt;c&gt; &eacute;", "a & b <c> é"),
            ("&ampx &notit; &notin; &unknown; &", "&x ¬it; ∉ &unknown; &"),
            ("&#38;&#x26;&#X26&#x1F600;", "&&&😀"),
            (
                "&#128;&#0;&#xD800;&#1;&#99999999999;",
                "€\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("&#;&#x;&#xg; &&amp;", "&#;&#x;&#xg; &&"),
            ("&\u{e9};&a;&gt", "&é;&a;>"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn every_entity_of_the_table_is_read() {
        assert_eq!(BY_NAME.len(), ENTITIES.lines().count());
        assert!(BY_NAME.len() > 2000 && BY_NAME.values().all(|chars| !chars.is_empty()));
    }
}
