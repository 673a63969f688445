//! Recipes as text: reading TOML so that a fault is told with its line, and a misspelled key with the nearest known one.

use crate::TrainError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The text of the recipe at `path`, and the SHA-256 of its bytes in hexadecimal.
pub(crate) fn read_text(path: &Path) -> Result<(String, String), TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|error| TrainError::Recipe {
        path: path.to_path_buf(),
        line: 0,
        message: format!("not UTF-8 text: {error}"),
    })?;
    let sha256 = hex(&Sha256::digest(text.as_bytes()));
    Ok((text, sha256))
}

/// Reads TOML; an unknown key is refused with its line and the nearest known one.
pub(crate) fn parse_toml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, TrainError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        TrainError::Recipe {
            path: path.to_path_buf(),
            line,
            message: with_nearest_key(error.message()),
        }
    })
}

/// An error that tells all `faults`, each a key (`section.key` where it is in several) and what is wrong with it, and the
/// line of the first.
pub(crate) fn refuse<K: AsRef<str>>(
    faults: Vec<(K, String)>,
    text: &str,
    path: &Path,
) -> Result<(), TrainError> {
    let Some((first, _)) = faults.first() else {
        return Ok(());
    };
    let told: Vec<String> = faults
        .iter()
        .map(|(key, fault)| format!("`{}` {fault}", key.as_ref()))
        .collect();
    Err(TrainError::Recipe {
        path: path.to_path_buf(),
        line: line_of_key(text, first.as_ref()),
        message: told.join("; "),
    })
}

/// The version that the recipe at `path` says it is of.
///
/// # Errors
/// A file that cannot be read, is not TOML or has no `version`.
pub fn recipe_version(path: &Path) -> Result<u32, TrainError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let (text, _) = read_text(path)?;
    Ok(parse_toml::<Versioned>(&text, path)?.version)
}

/// The line of the first `key = …` or `[key]` in `text`, counted from 1; 0 when there is none. Of `section.key` only the one
/// in that section counts.
pub(crate) fn line_of_key(text: &str, key: &str) -> usize {
    let (wanted, key) = match key.rsplit_once('.') {
        Some((section, key)) => (Some(section), key),
        None => (None, key),
    };
    let mut section = "";
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim_start();
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.trim_start_matches('[').trim();
            if wanted.is_none() && section == key {
                return number;
            }
        }
        if wanted.is_some_and(|wanted| section == format!("{wanted}.{key}")) {
            return number;
        }
        let is_here = line
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_here && wanted.is_none_or(|wanted| wanted == section) {
            return number;
        }
    }
    0
}

/// Adds the nearest known key to an "unknown field" message of the TOML reader, which lists all of them.
fn with_nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(unknown), true) = (quoted.next(), message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    match quoted.min_by_key(|known| strsim::levenshtein(unknown, known)) {
        Some(nearest) => format!("unknown key `{unknown}`, the nearest known one is `{nearest}`"),
        None => format!("unknown key `{unknown}`"),
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
