//! Pictures of a folder, for calibration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure, Outcome};

/// Folders nested deeper than this are not walked.
const MAX_DEPTH: usize = 16;

/// Every picture file below `folder`, sorted by path.
pub(crate) fn below(folder: &Path) -> Outcome<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Err(Failure::new(format_args!(
            "{}: found {}, expected a folder of pictures",
            folder.display(),
            if folder.exists() {
                "a file"
            } else {
                "no such folder"
            }
        ))
        .help("name a folder with png, jpg, webp, bmp, gif or ppm files in it"));
    }
    let mut found = Vec::new();
    walk(folder, MAX_DEPTH, &mut BTreeSet::new(), &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(Failure::new(format_args!(
            "{}: found no picture in it, expected some",
            folder.display()
        ))
        .help("name a folder with png, jpg, webp, bmp, gif or ppm files in it"));
    }
    Ok(found)
}

/// A folder that links lead to a second time is not walked again.
fn walk(
    folder: &Path,
    depth: usize,
    walked: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Outcome {
    let place = folder.canonicalize().context(folder.display())?;
    if !walked.insert(place) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).context(folder.display())? {
        let path = entry.context(folder.display())?.path();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if path.is_dir() && depth > 0 {
            walk(&path, depth - 1, walked, found)?;
        } else if ["png", "jpg", "jpeg", "webp", "bmp", "gif", "ppm"].contains(&extension.as_str())
        {
            found.push(path);
        }
    }
    Ok(())
}

/// At most `limit` of them, spread evenly.
pub(crate) fn spread<T: Clone>(all: &[T], limit: usize) -> Vec<T> {
    let count = all.len().min(limit);
    (0..count)
        .map(|i| all[i * all.len() / count].clone())
        .collect()
}
