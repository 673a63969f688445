//! The compiled character map of SentencePiece: a trie from beginnings of text to what replaces them.
//!
//! Sources: Kudo and Richardson, "SentencePiece" (arXiv:1808.06226), section 3.3; the unit layout of Darts-clone,
//! which packs a double-array trie (Aoe, IEEE TSE 1989) in 32-bit units: bits 0..8 a label, bit 8 that the node has a
//! value, bit 9 that the offset in bits 10..31 counts by 256.
//!
//! The blob is, little-endian, the bytes of the trie as u32, the trie, and the replacements, each ended by NUL. It
//! comes from outside, so each step is checked against its bounds.

use unicode_segmentation::UnicodeSegmentation;

/// PyPI `tokenizers` looks clusters up whole only when they are shorter.
const WHOLE_CLUSTER_BYTES: usize = 6;

/// A character map.
#[derive(Clone, Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// Reads the blob.
    ///
    /// # Errors
    /// What was found and expected, in words.
    pub(super) fn parse(blob: &[u8]) -> Result<Self, String> {
        let Some((len, rest)) = blob.split_first_chunk::<4>() else {
            return Err(format!(
                "found a character map of {} bytes, expected 4 or more",
                blob.len()
            ));
        };
        let trie_bytes = u32::from_le_bytes(*len) as usize;
        if trie_bytes > rest.len() || !trie_bytes.is_multiple_of(4) || trie_bytes == 0 {
            return Err(format!(
                "found a character map with a trie of {trie_bytes} bytes in {}, expected a multiple of 4 that fits",
                rest.len()
            ));
        }
        let (trie, replacements) = rest.split_at(trie_bytes);
        let units = trie.as_chunks::<4>().0.iter();
        let replacements = std::str::from_utf8(replacements).map_err(|error| {
            format!("found replacements in a character map that are not UTF-8: {error}")
        })?;
        Ok(Self {
            units: units.map(|&unit| u32::from_le_bytes(unit)).collect(),
            replacements: replacements.to_owned(),
        })
    }

    /// Replaces as SentencePiece does: at each place the longest entry of the map.
    ///
    /// Gives the replacement of the beginning of `text`, or its first character, and how many bytes it stands for.
    pub(super) fn longest<'a>(&'a self, text: &'a str) -> Option<(&'a str, usize)> {
        let longest = self.prefixes(text.as_bytes()).last();
        let replaced = longest
            .and_then(|(len, value)| Some((self.replacement(value)?, len)))
            .filter(|&(_, len)| text.is_char_boundary(len));
        replaced.or_else(|| {
            let len = text.chars().next()?.len_utf8();
            Some((&text[..len], len))
        })
    }

    /// Replaces as PyPI `tokenizers` does: short grapheme clusters whole, else character by character, and for each
    /// by the shortest entry that begins it.
    pub(super) fn normalize_clusters(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for cluster in text.graphemes(true) {
            let whole = Some(cluster).filter(|cluster| cluster.len() < WHOLE_CLUSTER_BYTES);
            if let Some(replacement) = whole.and_then(|cluster| self.shortest(cluster)) {
                out.push_str(replacement);
                continue;
            }
            for (at, c) in cluster.char_indices() {
                let c = &cluster[at..at + c.len_utf8()];
                out.push_str(self.shortest(c).unwrap_or(c));
            }
        }
        out
    }

    fn shortest(&self, text: &str) -> Option<&str> {
        let (_, value) = self.prefixes(text.as_bytes()).next()?;
        self.replacement(value)
    }

    fn replacement(&self, value: u32) -> Option<&str> {
        let rest = self.replacements.get(value as usize..)?;
        rest.split('\0').next()
    }

    /// The entries that begin `key`, shortest first: length in bytes and value.
    fn prefixes<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let root = self.units.first().copied().unwrap_or(0);
        let mut node = offset(root);
        let steps = key.iter().enumerate().map_while(move |(at, &label)| {
            node ^= u32::from(label);
            let unit = *self.units.get(node as usize)?;
            if label == 0 || unit & (1 << 31 | 0xff) != u32::from(label) {
                return None;
            }
            node ^= offset(unit);
            let has_value = unit & (1 << 8) != 0;
            let value = has_value
                .then(|| self.units.get(node as usize))
                .flatten()
                .map(|&value| value & 0x7fff_ffff);
            Some((at + 1, value))
        });
        steps.filter_map(|(len, value)| Some((len, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trie that holds "A" alone, replaced by "b".
    fn one_entry() -> Vec<u8> {
        let mut units = vec![0_u32; 128];
        // The root's offset is 1: the child of label c lies at 1 ^ c.
        units[0] = 1 << 10;
        let child = 1 ^ usize::from(b'A');
        units[child] = u32::from(b'A') | 1 << 8 | 2 << 10;
        // Its value lies at child ^ 2 and is the offset of the replacement.
        units[child ^ 2] = 1 << 31 | 1;
        let mut blob = (units.len() as u32 * 4).to_le_bytes().to_vec();
        blob.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        blob.extend(b"\0b\0");
        blob
    }

    #[test]
    fn an_entry_is_replaced_and_the_rest_stays() {
        let map = Charsmap::parse(&one_entry()).unwrap();
        assert_eq!(map.longest("Ax"), Some(("b", 1)));
        assert_eq!(map.longest("éA"), Some(("é", 2)));
        assert_eq!(map.longest(""), None);
        assert_eq!(map.normalize_clusters("xAéA"), "xbéb");
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_read_or_refused_without_a_panic() {
        let blob = one_entry();
        for len in 0..blob.len() {
            let _ = Charsmap::parse(&blob[..len]).map(|map| map.normalize_clusters("AxA\u{301}"));
        }
        for bit in 0..blob.len() * 8 {
            let mut blob = blob.clone();
            blob[bit / 8] ^= 1 << (bit % 8);
            if let Ok(map) = Charsmap::parse(&blob) {
                map.normalize_clusters("AxA");
                assert!(map.longest("Ax").is_some());
            }
        }
    }
}
