//! UTF-8 and its two common variants: surrogates written as two characters of three bytes (CESU-8, Unicode Technical
//! Report 26), and NUL written as two bytes (Java).
//!
//! Reads what the codec `utf-8-variants` of PyPI `ftfy` reads, its regular expressions' view of the end included: `$`
//! holds at the end and before a line feed that ends the bytes.

/// A pattern: the bytes that each place takes.
type Places<'a> = &'a [std::ops::RangeInclusive<u8>];

const CESU_8: Places<'static> = &[
    0xed..=0xed,
    0xa0..=0xaf,
    0x80..=0xbf,
    0xed..=0xed,
    0xb0..=0xbf,
    0x80..=0xbf,
];
const SURROGATE: Places<'static> = &[0xed..=0xed, 0xa0..=0xbf, 0x80..=0xbf];
const NUL: Places<'static> = &[0xc0..=0xc0, 0x80..=0x80];

/// The text of the bytes, or nothing when they are in none of these encodings.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = (0..rest.len()).find(|&at| is_special(&rest[at..])) {
        out.push_str(std::str::from_utf8(&rest[..at]).ok()?);
        rest = &rest[at..];
        match rest {
            [0xc0] => return None,
            [0xc0, _, after @ ..] => {
                out.push('\0');
                rest = after;
            }
            // Too short for two surrogates, so it is UTF-8 or nothing.
            _ if rest.len() < CESU_8.len() => break,
            _ if matches(rest, CESU_8) => {
                out.push(joined_surrogates(rest)?);
                rest = &rest[CESU_8.len()..];
            }
            _ => return None,
        }
    }
    out.push_str(std::str::from_utf8(rest).ok()?);
    Some(out)
}

fn is_special(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0xc0 | 0xed))
        && [NUL, CESU_8, SURROGATE]
            .iter()
            .any(|places| matches(bytes, places))
}

/// Each place but the first takes its byte or the end.
fn matches(bytes: &[u8], places: Places<'_>) -> bool {
    let mut rest = bytes;
    for (index, place) in places.iter().enumerate() {
        match rest {
            [byte, after @ ..] if place.contains(byte) => rest = after,
            [] | [b'\n'] if index > 0 => {}
            _ => return false,
        }
    }
    true
}

fn joined_surrogates(bytes: &[u8]) -> Option<char> {
    let bits = |at: usize, mask: u8| u32::from(bytes.get(at).copied().unwrap_or(0) & mask);
    let high = bits(1, 0x0f) << 16 | bits(2, 0x3f) << 10;
    char::from_u32(0x1_0000 + high + (bits(4, 0x0f) << 6) + bits(5, 0x3f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_and_other_bytes_are_not() {
        assert_eq!(decode(b"\xed\xa0\xbd\xed\xb8\x8d").as_deref(), Some("😍"));
        assert_eq!(decode(b"a\xc0\x80b").as_deref(), Some("a\0b"));
        assert_eq!(decode("각 é".as_bytes()).as_deref(), Some("각 é"));
        for bytes in [
            &b"\xed\xa0\xbd"[..],
            b"\xc0",
            b"\xed\xb0\x80\xed\xa0\x80",
            b"\xff",
        ] {
            assert_eq!(decode(bytes), None, "{bytes:x?}");
        }
    }
}
