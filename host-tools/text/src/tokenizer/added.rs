//! Added tokens: spellings such as `[MASK]` or `<|endoftext|>` that are cut out of a text before anything else
//! happens.
//!
//! The behaviour is that of `AddedVocabulary` of PyPI `tokenizers`: of the spellings that begin at one place the
//! longest wins; those marked `normalized` are looked for in the normalised text, by their own normalised spelling.

use super::normalizer::Normalizer;
use aho_corasick::{AhoCorasick, MatchKind};

/// The automaton that finds them grows with both.
pub(super) const MAX_ADDED_TOKENS: usize = 1024;
pub(super) const MAX_ADDED_TOKEN_BYTES: usize = 256;

/// One spelling and how it is matched.
#[derive(Clone, Debug)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: Box<str>,
    /// White space before it belongs to it.
    pub(super) lstrip: bool,
    /// White space after it belongs to it.
    pub(super) rstrip: bool,
    /// Looked for after normalisation rather than before.
    pub(super) normalized: bool,
}

impl AddedToken {
    /// A spelling that is matched as it stands.
    pub(super) fn plain(content: &str, id: u32) -> Self {
        Self {
            id,
            content: content.into(),
            lstrip: false,
            rstrip: false,
            normalized: false,
        }
    }
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span<'a> {
    /// An added token.
    Token(u32),
    /// What lies between, which begins `start` bytes into the text.
    Text { text: &'a str, start: usize },
}

/// All added tokens of a tokenizer.
#[derive(Clone, Debug)]
pub(super) struct AddedTokens {
    tokens: Vec<AddedToken>,
    raw: Finder,
    normalized: Finder,
}

impl AddedTokens {
    /// Builds the two finders.
    ///
    /// # Errors
    /// What is wrong with the tokens, each in words.
    pub(super) fn new(
        tokens: Vec<AddedToken>,
        normalizer: &Normalizer,
    ) -> Result<Self, Vec<String>> {
        check(&tokens)?;
        let (normalized, raw): (Vec<_>, Vec<_>) =
            tokens.iter().cloned().partition(|token| token.normalized);
        let spell = |token: &AddedToken| normalizer.normalize(&token.content);
        let spellings: Vec<String> = normalized.iter().map(spell).collect();
        if let Some(at) = spellings.iter().position(String::is_empty) {
            let content = &normalized[at].content;
            return Err(vec![format!(
                "added token {content:?}: found nothing left of it by the normalizer, expected some text"
            )]);
        }
        let contents = raw.iter().map(|token| token.content.to_string()).collect();
        Ok(Self {
            raw: Finder::new(raw, contents)?,
            normalized: Finder::new(normalized, spellings)?,
            tokens,
        })
    }

    /// Cuts a text before normalisation.
    pub(super) fn split_raw<'a>(&self, text: &'a str) -> Vec<Span<'a>> {
        self.raw.split(text)
    }

    /// Cuts a part of a text after normalisation.
    pub(super) fn split_normalized<'a>(&self, text: &'a str) -> Vec<Span<'a>> {
        self.normalized.split(text)
    }

    /// The id of a token by its spelling.
    pub(super) fn id(&self, content: &str) -> Option<u32> {
        let found = self.tokens.iter().find(|token| *token.content == *content);
        found.map(|token| token.id)
    }
}

fn check(tokens: &[AddedToken]) -> Result<(), Vec<String>> {
    if tokens.len() > MAX_ADDED_TOKENS {
        let found = tokens.len();
        return Err(vec![format!(
            "found {found} added tokens, expected at most {MAX_ADDED_TOKENS}"
        )]);
    }
    let mut faults = Vec::new();
    for AddedToken { id, content, .. } in tokens {
        if content.is_empty() {
            faults.push(format!(
                "added token {id}: found an empty content, expected its spelling"
            ));
        }
        if content.len() > MAX_ADDED_TOKEN_BYTES {
            let found = content.len();
            faults.push(format!(
                "added token {id}: found {found} bytes, expected at most {MAX_ADDED_TOKEN_BYTES}"
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Finds some of the tokens in one pass.
#[derive(Clone, Debug)]
struct Finder {
    /// None when there is nothing to find.
    automaton: Option<AhoCorasick>,
    tokens: Vec<AddedToken>,
}

impl Finder {
    fn new(tokens: Vec<AddedToken>, spellings: Vec<String>) -> Result<Self, Vec<String>> {
        let automaton = if tokens.is_empty() {
            None
        } else {
            let mut builder = AhoCorasick::builder();
            let built = builder
                .match_kind(MatchKind::LeftmostLongest)
                .build(spellings);
            Some(built.map_err(|error| vec![format!("added tokens: {error}")])?)
        };
        Ok(Self { automaton, tokens })
    }

    fn split<'a>(&self, text: &'a str) -> Vec<Span<'a>> {
        let mut spans = Vec::new();
        let mut done = 0;
        let matches = self
            .automaton
            .iter()
            .flat_map(|found| found.find_iter(text));
        for found in matches {
            let token = &self.tokens[found.pattern().as_usize()];
            let (mut start, mut end) = (found.start(), found.end());
            if token.lstrip {
                start = text[..start].trim_end().len();
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            // White space may already belong to the token before.
            let start = start.max(done);
            if done < start {
                spans.push(Span::Text {
                    text: &text[done..start],
                    start: done,
                });
            }
            spans.push(Span::Token(token.id));
            done = end.max(done);
        }
        if done < text.len() {
            spans.push(Span::Text {
                text: &text[done..],
                start: done,
            });
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(tokens: Vec<AddedToken>) -> AddedTokens {
        AddedTokens::new(tokens, &Normalizer::default()).unwrap()
    }

    #[test]
    fn the_longest_of_several_tokens_is_cut_out() {
        let tokens = added(vec![
            AddedToken::plain("<a>", 1),
            AddedToken::plain("<a>b", 2),
        ]);
        let text = |text, start| Span::Text { text, start };
        assert_eq!(
            tokens.split_raw("x<a>bc<a>"),
            [text("x", 0), Span::Token(2), text("c", 5), Span::Token(1)]
        );
        assert!(tokens.split_raw("").is_empty());
    }

    #[test]
    fn white_space_beside_a_stripping_token_goes_with_it() {
        let token = AddedToken {
            lstrip: true,
            rstrip: true,
            ..AddedToken::plain("</s>", 1)
        };
        let text = |text, start| Span::Text { text, start };
        assert_eq!(
            added(vec![token]).split_raw("a </s> </s>  b"),
            [text("a", 0), Span::Token(1), Span::Token(1), text("b", 13)]
        );
    }
}
