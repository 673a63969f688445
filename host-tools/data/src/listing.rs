//! `SHA256SUMS`: the digests of all files of a finished folder, in the format of `sha256sum`.
//!
//! The listing is what makes a folder finished: it is written last, its own digest is pinned in the source, and so it
//! pins every file that it names.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::progress::Progress;

/// The name of the listing in a finished folder.
pub(crate) const LISTING: &str = "SHA256SUMS";

/// A listing is short; a longer file of its name is foreign.
const MAX_LISTING_BYTES: u64 = 4 << 20;

/// Lower-case hexadecimal digits of a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// SHA-256 and length of a file.
pub(crate) fn sha256_of_file(path: &Path, progress: &Progress) -> Result<(String, u64), DataError> {
    let read_error = |e| DataError::io("read", path, e);
    let mut file = File::open(path).map_err(read_error)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(read_error)? {
            0 => return Ok((hex(&hasher.finalize()), bytes)),
            len => {
                hasher.update(&buffer[..len]);
                bytes += len as u64;
                progress.add(len as u64);
            }
        }
    }
}

/// One line of a listing: the digest of a file and its path below the folder, with `/` between its parts.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) sha256: String,
}

/// The text of a listing; sorts the entries by path, so that the same files give the same text.
pub(crate) fn to_text(entries: &mut [Entry]) -> String {
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    entries.iter().fold(String::new(), |mut text, entry| {
        let _ = writeln!(text, "{}  {}", entry.sha256, entry.path);
        text
    })
}

/// Checks a finished folder against the pinned digest of its listing, and each file against the listing.
///
/// Returns the number of files and their bytes.
///
/// # Errors
/// [`DataError::Damaged`] names the first file that is missing or altered.
pub(crate) fn verify(
    folder: &Path,
    listing_sha256: &str,
    progress: &Progress,
) -> Result<(usize, u64), DataError> {
    let damaged = |path: &Path, found: String, expected: String| DataError::Damaged {
        path: path.to_path_buf(),
        folder: folder.to_path_buf(),
        found,
        expected,
    };
    let listing = folder.join(LISTING);
    let len = match fs::metadata(&listing) {
        Ok(metadata) => metadata.len(),
        Err(_) => {
            return Err(damaged(
                &listing,
                "no such file".into(),
                "the list of digests".into(),
            ));
        }
    };
    if len > MAX_LISTING_BYTES {
        return Err(damaged(
            &listing,
            format!("{len} bytes"),
            "a list of digests".into(),
        ));
    }
    let text = fs::read(&listing).map_err(|e| DataError::io("read", &listing, e))?;
    let found = hex(&Sha256::digest(&text));
    if found != listing_sha256 {
        return Err(damaged(
            &listing,
            format!("SHA-256 {found}"),
            listing_sha256.into(),
        ));
    }
    // The text is the pinned one from here on, so its lines have the form that `to_text` gave them.
    let text = String::from_utf8_lossy(&text);
    let (mut files, mut total) = (0, 0);
    for line in text.lines() {
        let Some((expected, relative)) = line.split_once("  ") else {
            return Err(damaged(
                &listing,
                format!("line `{line}`"),
                "`digest  path`".into(),
            ));
        };
        let path = folder.join(relative);
        if !path.is_file() {
            return Err(damaged(
                &path,
                "no such file".into(),
                format!("SHA-256 {expected}"),
            ));
        }
        let (found, bytes) = sha256_of_file(&path, progress)?;
        if found != expected {
            return Err(damaged(
                &path,
                format!("SHA-256 {found}"),
                format!("SHA-256 {expected}"),
            ));
        }
        files += 1;
        total += bytes;
    }
    Ok((files, total))
}
