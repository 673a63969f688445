//! The steps between the raw text and its words, as `normalizer` of a `tokenizer.json` lists them.

use super::bert::BertNormalizer;
use super::charsmap::Charsmap;
use super::sentencepiece::SentencePieceNormalizer;
use super::unicode_9::Form;
use regex::{NoExpand, Regex};

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Bert(BertNormalizer),
    Unicode(Form),
    /// Character by character, so that a final sigma stays σ.
    Lowercase,
    Strip {
        left: bool,
        right: bool,
    },
    Replace {
        pattern: Regex,
        content: String,
    },
    Charsmap(Charsmap),
    SentencePiece(SentencePieceNormalizer),
}

impl Step {
    fn normalize(&self, text: &str) -> String {
        match self {
            Self::Bert(bert) => bert.normalize(text),
            Self::Unicode(form) => form.normalize(text),
            Self::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
            &Self::Strip { left, right } => {
                let text = if left { text.trim_start() } else { text };
                let text = if right { text.trim_end() } else { text };
                text.to_owned()
            }
            Self::Replace { pattern, content } => {
                pattern.replace_all(text, NoExpand(content)).into_owned()
            }
            Self::Charsmap(map) => map.normalize_clusters(text),
            Self::SentencePiece(normalizer) => normalizer.normalize(text),
        }
    }
}

/// Steps in their order; none leaves the text as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Normalizer {
    pub(super) steps: Vec<Step>,
}

impl Normalizer {
    pub(super) fn normalize(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for step in &self.steps {
            text = step.normalize(&text);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_in_their_order() {
        let pattern = Regex::new(r"\s+").unwrap();
        let steps = vec![
            Step::Unicode(Form::Nfc),
            Step::Replace {
                pattern,
                content: "$0".to_owned(),
            },
            Step::Lowercase,
        ];
        let normalizer = Normalizer { steps };
        assert_eq!(normalizer.normalize("E\u{301} \t ΑΣ"), "é$0ασ");
        let strip = Step::Strip {
            left: true,
            right: false,
        };
        assert_eq!(strip.normalize(" a "), "a ");
    }
}
