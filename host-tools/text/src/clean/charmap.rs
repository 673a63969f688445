//! Single-byte encodings that UTF-8 is mistaken for.

use super::tables::CHARMAPS;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The byte that a sloppy encoding has for U+FFFD: a byte whose value is lost.
const LOST: u8 = 0x1a;

/// One encoding; bytes below 0x80 are ASCII.
pub(super) struct Charmap {
    /// Its name, without what says that it is sloppy.
    pub(super) name: &'static str,
    /// Bytes that the standard leaves undefined mean the control characters of Latin-1, and 0x1A stands for U+FFFD.
    pub(super) is_sloppy: bool,
    /// The characters of the bytes 0x80 to 0xFF.
    pub(super) upper: [u16; 128],
}

static BYTES: LazyLock<Vec<HashMap<char, u8>>> = LazyLock::new(|| {
    let bytes = |map: &Charmap| {
        let pairs = map.upper.iter().zip(0x80..=0xff_u8);
        pairs
            .filter_map(|(&code, byte)| Some((char::from_u32(code.into())?, byte)))
            .collect()
    };
    CHARMAPS.iter().map(bytes).collect()
});

/// The encodings that have all characters of a text, each with the text's bytes.
pub(super) fn encodings(text: &str) -> impl Iterator<Item = (&'static Charmap, Vec<u8>)> {
    CHARMAPS
        .iter()
        .zip(BYTES.iter())
        .filter_map(move |(map, bytes)| Some((map, encode(map, bytes, text)?)))
}

fn encode(map: &Charmap, bytes: &HashMap<char, u8>, text: &str) -> Option<Vec<u8>> {
    let byte = |c: char| match c {
        '\u{fffd}' if map.is_sloppy => Some(LOST),
        '\u{1a}' if map.is_sloppy => None,
        c if c.is_ascii() => Some(c as u8),
        c => bytes.get(&c).copied(),
    };
    text.chars().map(byte).collect()
}

/// A control character of U+0080 to U+009F as Windows-1252 has its byte; others stay.
pub(super) fn from_c1(c: char) -> char {
    let code = u32::from(c);
    if !(0x80..0xa0).contains(&code) {
        return c;
    }
    let windows = &CHARMAPS[1];
    debug_assert_eq!(windows.name, "windows-1252");
    let code = windows.upper[(code - 0x80) as usize];
    char::from_u32(code.into()).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_bytes_in_the_encodings_that_know_its_characters() {
        let found = |text| {
            let names = encodings(text).map(|(map, bytes)| (map.name, bytes));
            names.collect::<Vec<_>>()
        };
        let greek = found("aα");
        assert!(greek.contains(&("windows-1253", vec![b'a', 0xe1])));
        assert!(greek.contains(&("cp437", vec![b'a', 0xe0])));
        assert!(found("東").is_empty());
        assert!(found("\u{fffd}").iter().all(|(_, bytes)| bytes == &[LOST]));
        assert_eq!(
            ["€", "\u{81}"].map(|c| c.chars().map(from_c1).collect::<String>()),
            ["€", "\u{81}"]
        );
        assert_eq!(from_c1('\u{80}'), '€');
    }
}
