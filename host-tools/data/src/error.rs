//! What can go wrong with a data set, each error with what was found, what was expected and what to type next.

use std::io;
use std::path::{Path, PathBuf};

/// Everything that fetching or reading a data set can report.
///
/// `Display` says what was found and expected; [`DataError::help`] says what to type next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set has this name.
    #[error("no data set is called `{found}`, expected one of: {known}")]
    UnknownName {
        /// The name that was asked for.
        found: String,
        /// Every name there is, separated by commas.
        known: String,
    },
    /// Nothing says where the cache folder may be.
    #[error("no cache folder: PINHOLE_CACHE, XDG_CACHE_HOME and HOME are all unset or relative")]
    NoCacheFolder,
    /// The data set is not in the cache and no client may be started.
    #[error("data set `{name}` is not in the cache at {} and fetching is off", path.display())]
    Offline {
        /// The data set.
        name: String,
        /// Where its folder would be.
        path: PathBuf,
    },
    /// The package client is not on this machine.
    #[error("{client} is not installed, and {package} comes through it (looked in {searched})")]
    MissingClient {
        /// The client, as a person calls it.
        client: String,
        /// The package that was to be fetched.
        package: String,
        /// Where it was looked for.
        searched: String,
        /// The command that installs it.
        install: String,
    },
    /// The package client ran and failed.
    #[error("`{command}` failed ({status}): {tail}")]
    ClientFailed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines that it wrote.
        tail: String,
        /// What to try.
        advice: String,
    },
    /// The client reported success but left something other than one archive.
    #[error("`{command}` left {found} files ending in {suffix}, expected one")]
    NoArchive {
        /// The command line.
        command: String,
        /// How many archives were found.
        found: usize,
        /// The ending of an archive of this client.
        suffix: String,
    },
    /// A downloaded archive is not the pinned one.
    #[error(
        "{what} has SHA-256 {found} ({found_bytes} bytes), expected {expected} ({expected_bytes} bytes)"
    )]
    ArchiveDigest {
        /// The package.
        what: String,
        /// The digest measured.
        found: String,
        /// The length measured.
        found_bytes: u64,
        /// The digest pinned.
        expected: String,
        /// The length pinned.
        expected_bytes: u64,
    },
    /// A file of a finished data set is missing or is not what was fetched.
    #[error("{} is damaged: found {found}, expected {expected}", path.display())]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// The folder of the data set.
        folder: PathBuf,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// An archive cannot be read.
    #[error("cannot unpack {}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An archive names a place outside the folder it is unpacked into, or holds more than it should.
    #[error("{} is refused: entry `{entry}` {reason}", path.display())]
    UnsafeEntry {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// Why it is refused.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk is full at {}{}", path.display(), needed(*needed_bytes))]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// How much the whole data set needs while it is fetched, 0 where that is not known.
        needed_bytes: u64,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file is not a picture that can be read.
    #[error("{} is not a readable picture: found {found}, expected {expected}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was needed.
        expected: String,
    },
    /// A folder does not have the layout of its kind.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Layout {
        /// The folder or file at fault.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What was needed.
        expected: String,
    },
    /// A data SPEC cannot be read.
    #[error("data `{found}`: expected {expected}")]
    Spec {
        /// The text given.
        found: String,
        /// What was needed.
        expected: String,
    },
}

/// The half sentence about the space needed, empty where it is not known.
fn needed(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(
            ", {} MB are needed while fetching",
            bytes.div_ceil(1_000_000)
        ),
    }
}

impl DataError {
    /// What to type or do next, where there is such a thing.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoCacheFolder => Some("set PINHOLE_CACHE to a folder".into()),
            Self::Offline { name, .. } => Some(format!("pinhole data get {name}")),
            Self::MissingClient { client, install, .. } => {
                Some(format!("install {client}: {install}"))
            }
            Self::ClientFailed { advice, .. } => Some(advice.clone()),
            Self::ArchiveDigest { .. } => Some(
                "try again; if the digest stays, the mirror serves another package than the pinned one".into(),
            ),
            Self::Damaged { folder, .. } => Some(format!(
                "remove the folder and fetch again: rm -r '{}'",
                folder.display()
            )),
            Self::DiskFull { .. } => {
                Some("free some space, or set PINHOLE_CACHE to a folder on another disk".into())
            }
            Self::Spec { .. } | Self::Layout { .. } => {
                Some("pinhole data get NAME prints a folder to name here".into())
            }
            Self::Picture { .. } => Some(
                "pictures are png, jpg, webp, bmp, gif or ppm files; convert others first".into(),
            ),
            Self::UnknownName { .. } => Some("pinhole data list says what each is".into()),
            _ => None,
        }
    }

    /// Wraps an error of the operating system; a full disk becomes [`DataError::DiskFull`].
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_path_buf(),
                needed_bytes: 0,
            },
            _ => Self::Io {
                action,
                path: path.to_path_buf(),
                source,
            },
        }
    }

    /// Adds the space that the whole data set needs to a full-disk error.
    pub(crate) fn with_needed_bytes(self, bytes: u64) -> Self {
        match self {
            Self::DiskFull { path, .. } => Self::DiskFull {
                path,
                needed_bytes: bytes,
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_io_errors() {
        let path = Path::new("/cache/x");
        let full = DataError::io("write", path, io::ErrorKind::StorageFull.into())
            .with_needed_bytes(278_000_000);
        assert_eq!(
            full.to_string(),
            "the disk is full at /cache/x, 278 MB are needed while fetching"
        );
        assert!(full.help().is_some_and(|h| h.contains("PINHOLE_CACHE")));
        let other = DataError::io("write", path, io::ErrorKind::PermissionDenied.into());
        assert!(matches!(other, DataError::Io { .. }));
    }
}
