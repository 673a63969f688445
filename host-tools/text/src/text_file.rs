//! Reads the small text files that people write: UTF-8, bounded, line ends of any system, `#` comments.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a file could not be read as text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextFileError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large to be what it should be.
    #[error("{}: found more than {limit} bytes, expected a text file of at most that size", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: usize,
    },
    /// The file is not UTF-8.
    #[error("{}: line {line}: found a byte that is not UTF-8, expected a text file in UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first such byte, counted from 1.
        line: usize,
    },
}

/// The text of a file of at most `limit` bytes, without a byte order mark.
pub(crate) fn read(path: &Path, limit: usize) -> Result<String, TextFileError> {
    let io = |source| TextFileError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    // One byte over the limit is enough to see that there is too much.
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() > limit {
        return Err(TextFileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        TextFileError::NotUtf8 {
            path: path.to_owned(),
            line,
        }
    })
}

/// The lines that are neither blank nor comments, trimmed, with their numbers counted from 1.
pub(crate) fn content_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Faults with their places, as one message; `place` is "line" or what else is counted from 1.
pub(crate) fn joined<F: Display>(place: &str, faults: &[(usize, F)]) -> String {
    const SHOWN: usize = 8;
    let mut messages: Vec<String> = faults
        .iter()
        .take(SHOWN)
        .map(|(number, fault)| format!("{place} {number}: {fault}"))
        .collect();
    if faults.len() > SHOWN {
        messages.push(format!("and {} more", faults.len() - SHOWN));
    }
    messages.join("; ")
}
