//! All entries of a vocabulary that begin a text, by narrowing a sorted table byte by byte.

/// Spellings in ascending order of bytes, each with a value.
#[derive(Clone, Debug)]
pub(super) struct PrefixTable<V> {
    entries: Vec<(Box<[u8]>, V)>,
}

impl<V: Copy> PrefixTable<V> {
    /// A table of spellings; of several that are equal one counts.
    pub(super) fn new(entries: impl IntoIterator<Item = (Box<[u8]>, V)>) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|a, b| a.0 == b.0);
        Self { entries }
    }

    /// The entries that begin `text`, shortest first: length in bytes, at least 1, and value.
    pub(super) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, V)> + 'a {
        let mut rest = &self.entries[..];
        let steps = text.iter().enumerate().map_while(move |(at, &byte)| {
            // All in `rest` agree with the text in `at` bytes; those that end there come first.
            let start =
                rest.partition_point(|(spelling, _)| spelling.get(at).is_none_or(|&b| b < byte));
            rest = &rest[start..];
            let len = rest.partition_point(|(spelling, _)| spelling[at] == byte);
            rest = &rest[..len];
            let (spelling, value) = rest.first()?;
            Some((at + 1, (spelling.len() == at + 1).then_some(*value)))
        });
        steps.filter_map(|(len, value)| Some((len, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_begin_the_text_are_found_shortest_first() {
        let words = ["b", "a", "abc", "abd", "ab", "", "abcdef", "é"];
        let table = PrefixTable::new(
            words
                .iter()
                .enumerate()
                .map(|(i, w)| (w.as_bytes().into(), i)),
        );
        let found = |text: &str| table.prefixes(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found("abcde"), [(1, 1), (2, 4), (3, 2)]);
        assert_eq!(found("éa"), [(2, 7)]);
        assert!(found("xyz").is_empty() && found("").is_empty());
    }
}
