//! Files in and out: read whole with a clear error, written beside and renamed, so that nothing is ever half there.

use std::io::Write;
use std::path::Path;

use pinhole_runtime::interpreter::AlignedBytes;
use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure, Outcome};

/// Larger model and bank files are refused before they are read.
const LARGEST_BYTES: u64 = 2 << 30;

/// A whole file.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let metadata = std::fs::metadata(path).context(path.display())?;
    if metadata.is_dir() {
        return Err(Failure::new(format_args!(
            "{}: found a folder, expected a file",
            path.display()
        )));
    }
    if metadata.len() > LARGEST_BYTES {
        return Err(Failure::new(format_args!(
            "{}: found {} bytes, at most {LARGEST_BYTES} are read",
            path.display(),
            metadata.len()
        )));
    }
    std::fs::read(path).context(path.display())
}

/// A whole file at a boundary that models and banks can be read in place from.
pub(crate) fn read_aligned(path: &Path) -> Outcome<AlignedBytes> {
    Ok(AlignedBytes::from_slice(&read(path)?))
}

/// Refuses to write where something other than a file is.
pub(crate) fn check_target(path: &Path) -> Outcome {
    // A rename would replace a device or a pipe by a file.
    if path.exists() && !path.is_file() {
        let found = if path.is_dir() {
            "a folder"
        } else {
            "a device or a pipe"
        };
        return Err(Failure::new(format_args!(
            "{}: found {found}, expected a file or a new name",
            path.display()
        )));
    }
    Ok(())
}

/// Writes a file under a temporary name in its folder and renames it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| {
        Failure::new(format_args!(
            "{}: cannot write {} bytes: {error}",
            path.display(),
            bytes.len()
        ))
        .help("check that the folder exists, may be written and has room")
    };
    check_target(path)?;
    let mut file = tempfile::Builder::new()
        .prefix(".pinhole-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    set_ordinary_mode(file.as_file());
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Temporary files are private; a product is as readable as any new file.
#[cfg(unix)]
fn set_ordinary_mode(file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    // A file system without modes keeps what it has.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn set_ordinary_mode(_file: &std::fs::File) {}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
