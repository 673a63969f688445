//! The flash of an emulated board, a file that this machine puts models and banks into, as a programmer would, before the
//! board starts. The board reads it at start and writes every change through; `docs/boards/emulated.md` says how.

use crate::{BoardSpec, DeviceError};
use pinhole_runtime::model::format::{Header, MAGIC};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// A byte that is erased.
const BLANK: u8 = 0xff;

/// A flash file that no other board uses while this value lives.
pub(crate) struct FlashFile {
    file: File,
    path: PathBuf,
}

impl FlashFile {
    /// Opens the file, or makes it, and fills it up to the length of the flash with what is blank.
    pub(crate) fn open(board: &BoardSpec, path: &Path) -> Result<Self, DeviceError> {
        let unusable = |source| unusable(path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        hold(&file, path)?;
        let (found, limit) = (
            file.metadata().map_err(unusable)?.len(),
            u64::from(board.flash_bytes),
        );
        let Some(rest) = limit.checked_sub(found) else {
            return Err(DeviceError::TooLarge {
                what: "flash file",
                path: path.into(),
                board: board.name,
                limit,
                found,
            });
        };
        file.seek(SeekFrom::End(0)).map_err(unusable)?;
        file.write_all(&vec![BLANK; rest as usize])
            .map_err(unusable)?;
        Ok(Self {
            file,
            // The emulator's folder is another one.
            path: std::path::absolute(path).map_err(unusable)?,
        })
    }

    /// Where it is, from the root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts an image that fits into a partition; the rest of it becomes blank.
    pub(crate) fn put(&mut self, partition: Range<u32>, image: &[u8]) -> Result<(), DeviceError> {
        let mut bytes = vec![BLANK; partition.len()];
        bytes[..image.len()].copy_from_slice(image);
        self.file
            .seek(SeekFrom::Start(partition.start.into()))
            .and_then(|_| self.file.write_all(&bytes))
            .map_err(|source| unusable(&self.path, source))
    }
}

/// Holds a flash file that is there, so that no board runs on it while the value lives.
pub(crate) fn lock(path: &Path) -> Result<File, DeviceError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|source| unusable(path, source))?;
    hold(&file, path)?;
    Ok(file)
}

fn hold(file: &File, path: &Path) -> Result<(), DeviceError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DeviceError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(unusable(path, error)),
    }
}

pub(crate) fn unusable(path: &Path, source: std::io::Error) -> DeviceError {
    DeviceError::File {
        access: "write",
        what: "flash file",
        path: path.into(),
        source,
    }
}

/// A model or a bank from a file, when the partition has room for it.
pub(crate) fn image(
    board: &BoardSpec,
    what: &'static str,
    path: &Path,
    partition: Range<u32>,
) -> Result<Vec<u8>, DeviceError> {
    let unreadable = |source| DeviceError::File {
        access: "read",
        what,
        path: path.into(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::Error::other("not a regular file")));
    }
    let (limit, found) = (partition.len() as u64, metadata.len());
    let too_large = |found| DeviceError::TooLarge {
        what,
        path: path.into(),
        board: board.name,
        limit,
        found,
    };
    if found > limit {
        return Err(too_large(found));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // It may have grown meanwhile.
    match bytes.len() as u64 {
        found if found > limit => Err(too_large(found)),
        _ => Ok(bytes),
    }
}

/// Whether the board has the memory that a model says it needs. What is no model is left to the board to refuse.
pub(crate) fn check_arena(board: &BoardSpec, path: &Path, model: &[u8]) -> Result<(), DeviceError> {
    let found = match Header::read_from_prefix(model) {
        Ok((header, _)) if header.magic == MAGIC => header.arena_bytes.get(),
        _ => return Ok(()),
    };
    let limit = board.arena_bytes;
    if found <= limit {
        return Ok(());
    }
    Err(DeviceError::Arena {
        path: path.into(),
        board: board.name,
        limit,
        found,
    })
}
