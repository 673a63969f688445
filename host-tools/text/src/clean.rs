//! Cleaning of a text before it is tokenized, as open_clip does it; no step may differ, or prompts get other ids than
//! those that the text encoder was trained with.
//!
//! open_clip repairs a text with `ftfy.fix_text`, resolves the references of HTML twice, and strips it; then its
//! `clean` setting decides. `Lower` is what CLIP models are trained with, `Canonicalize` what SigLIP models are,
//! `Whitespace` what open_clip does before a tokenizer of Hugging Face. Hugging Face's own tokenizers repair nothing:
//! for ids that equal theirs leave the cleaning at `None`.

mod badness;
mod charmap;
mod fix_encoding;
mod fix_text;
mod html;
mod tables;
mod utf8_variants;

use std::borrow::Cow;

/// What is done to a text before tokenization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clean {
    /// Nothing.
    #[default]
    None,
    /// Repaired, white space collapsed.
    Whitespace,
    /// Repaired, white space collapsed, lower case.
    Lower,
    /// Repaired, `_` a space, other ASCII punctuation removed, lower case, white space collapsed.
    Canonicalize,
}

impl Clean {
    /// The text, cleaned.
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::None => Cow::Borrowed(text),
            Self::Whitespace => collapsed(&repaired(text)).into(),
            Self::Lower => collapsed(&repaired(text)).to_lowercase().into(),
            Self::Canonicalize => canonicalized(&repaired(text)).into(),
        }
    }
}

/// open_clip's `basic_clean`, without stripping, which collapsing does too.
fn repaired(text: &str) -> String {
    let fixed = fix_text::fix_text(text);
    html::unescape(&html::unescape(&fixed)).into_owned()
}

fn canonicalized(text: &str) -> String {
    let spaced = text.replace('_', " ");
    let bare: String = spaced
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    collapsed(&bare.to_lowercase())
}

/// Words joined by single spaces.
fn collapsed(text: &str) -> String {
    let words: Vec<&str> = text
        .split(is_space)
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// White space as Python's `str.isspace` has it: Unicode's, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cleaning_does_what_it_says() {
        let text = "  A &amp;amp; B_c,\u{1f}ΑΣ d\u{3000}&lt;e&gt; ";
        let clean = |clean: Clean| clean.apply(text).into_owned();
        assert_eq!(clean(Clean::None), text);
        assert_eq!(clean(Clean::Whitespace), "A & B_c,ΑΣ d <e>");
        assert_eq!(clean(Clean::Lower), "a & b_c,ας d <e>");
        assert_eq!(clean(Clean::Canonicalize), "a b cας d e");
    }
}
