//! HTML: everything that comes from outside is escaped here.

use std::ffi::OsString;
use std::fmt::Write as _;

/// Text between tags or in an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A table of texts.
pub(super) fn table<const COLUMNS: usize>(
    head: &[&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let cells = |cells: &[String], tag: &str| -> String {
        cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect()
    };
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let mut table = format!(
        "<div class=\"scroll\"><table><tr>{}</tr>\n",
        cells(&head, "th")
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "<tr>{}</tr>", cells(row, "td"));
    }
    table + "</table></div>\n"
}

/// Words as a shell takes them; what is no UTF-8 becomes U+FFFD.
pub(super) fn command(words: impl Iterator<Item = OsString>) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,+@%".contains(letter);
    let quoted = |word: String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    let words: Vec<String> = words
        .map(|word| quoted(word.to_string_lossy().into_owned()))
        .collect();
    words.join(" ")
}

/// A page that is being written.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{}</style></head>\n<body>\n<h1>{title}</h1>\n",
            include_str!("style.css")
        ))
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.raw(&format!("<h2>{}</h2>\n", escape(text)));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>\n", escape(text)));
    }

    pub(super) fn code(&mut self, text: &str) {
        self.raw(&format!("<pre>{}</pre>\n", escape(text)));
    }

    pub(super) fn facts(&mut self, rows: &[(&str, String)]) {
        self.raw("<table class=\"facts\">\n");
        for (name, value) in rows {
            self.raw(&format!(
                "<tr><th>{}</th><td>{}</td></tr>\n",
                escape(name),
                escape(value)
            ));
        }
        self.raw("</table>\n");
    }

    /// A drawing with words below it.
    pub(super) fn figure(&mut self, svg: &str, caption: &str) {
        self.raw(&format!(
            "<figure>{svg}<figcaption>{}</figcaption></figure>\n",
            escape(caption)
        ));
    }

    /// Adds HTML as it is.
    pub(super) fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    pub(super) fn finish(self) -> String {
        self.0 + "</body></html>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_a_tag() {
        let mut page = Page::new("<b>");
        page.text("a & <script>\"'");
        page.raw(&table(&["<i>"], &[["</td>".to_string()]]));
        let html = page.finish();
        assert!(html.contains("a &amp; &lt;script&gt;&quot;&#39;"));
        for tag in ["<b>", "<script>", "<i>"] {
            assert!(!html.contains(tag), "{html}");
        }
        assert_eq!(html.matches("</td>").count(), 1);
    }

    #[test]
    fn a_command_can_be_typed_again() {
        let words = ["pinhole", "it's", "", "a b", "x=1"].map(OsString::from);
        assert_eq!(
            command(words.into_iter()),
            r"pinhole 'it'\''s' '' 'a b' x=1"
        );
    }
}
