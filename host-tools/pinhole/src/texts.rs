//! Lines of text files, for calibration and comparison.

use std::collections::BTreeSet;
use std::path::Path;

use crate::encoder::TextEncoder;
use crate::failure::{Context, Failure, Outcome};
use crate::output::note;
use crate::{files, pictures};

/// What comes before the path of a text file, where pictures could be meant.
pub(crate) const PREFIX: &str = "texts:";

/// A text as a model takes it.
pub(crate) struct Text {
    /// File, line and beginning.
    pub(crate) name: String,
    /// Token ids with those of padding.
    pub(crate) ids: Vec<i32>,
}

/// At most `count` different texts of a file, one a line, spread evenly; `source` is its path, or [`PREFIX`] and its path.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, or has no text.
pub(crate) fn load(encoder: &TextEncoder, source: &str, count: usize) -> Outcome<Vec<Text>> {
    let path = Path::new(source.strip_prefix(PREFIX).unwrap_or(source));
    if path.is_dir() {
        return Err(Failure::new(format_args!(
            "{}: found a folder, expected a file with one text a line, for this is a text encoder",
            path.display()
        ))
        .help("texts:FILE.txt; pinhole data get clip-benchmark fetches sentences"));
    }
    let bytes = files::read(path)?;
    let lines = String::from_utf8(bytes).context(path.display())?;
    let (mut seen, mut texts, mut repeated) = (BTreeSet::new(), Vec::new(), 0);
    for (number, line) in lines.lines().enumerate() {
        let ids = encoder.tokenizer.encode(line);
        if line.trim().is_empty() {
            continue;
        }
        if seen.insert(ids.clone()) {
            texts.push((number + 1, line, ids));
        } else {
            repeated += 1;
        }
    }
    if repeated > 0 {
        note!(
            "{}: {repeated} lines have the tokens of another one and are left out",
            path.display()
        );
    }
    if texts.is_empty() {
        return Err(Failure::new(format_args!(
            "{}: found no text, expected one a line",
            path.display()
        ))
        .help("sentences like those that the model will embed"));
    }
    let texts = pictures::spread(&texts, count).into_iter();
    texts
        .map(|(number, line, ids)| {
            let beginning: String = line.chars().take(60).collect();
            Ok(Text {
                name: format!("{}:{number}: {beginning}", path.display()),
                ids: encoder.ids(&ids)?,
            })
        })
        .collect()
}
