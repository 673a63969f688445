//! The flash: a file, by the rules of NOR flash that the emulated boards have too (`firmware/boards/mps/src/nor.rs`).
//!
//! It is read whole at start; every erased sector and every programmed word is written through, and given to the disk, before the
//! call returns.

use crate::nor::{BLANK, Keep, Nor};
use pinhole_firmware::storage::MappedFlash;
use pinhole_runtime::interpreter::AlignedBytes;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The flash of this board.
pub(crate) type Flash = Nor<'static, FlashFile>;

impl MappedFlash for Flash {
    fn mapped(&self) -> &[u8] {
        // The method of `Nor` itself.
        Nor::mapped(self)
    }
}

/// The file, locked while this lives.
#[derive(Debug)]
pub(crate) struct FlashFile(File);

impl Keep for FlashFile {
    type Error = io::Error;

    fn keep(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset.into())?;
        self.0.sync_data()
    }
}

/// Opens the file, or makes it, with `mib` MiB.
pub(crate) fn open(path: &Path, mib: u32, lock: bool) -> Result<Flash, String> {
    let failed = |fault: &dyn std::fmt::Display| format!("the flash {}: {fault}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|fault| failed(&fault))?;
    if lock {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failed(
                    &"in use by another process; end it, or name another file",
                ));
            }
            Err(TryLockError::Error(fault)) => return Err(failed(&fault)),
        }
    }
    let bytes = (mib as usize) << 20;
    let found = file.metadata().map_err(|fault| failed(&fault))?.len();
    if found > bytes as u64 {
        return Err(failed(&format_args!(
            "found {found} bytes, expected at most {bytes}; say --flash-mib {}",
            found.div_ceil(1 << 20)
        )));
    }
    // It lives as long as the process, as a flash does.
    let cells: &'static mut AlignedBytes = Box::leak(Box::new(AlignedBytes::zeroed(bytes)));
    let cells: &'static mut [u8] = cells;
    let (held, rest) = cells.split_at_mut(found as usize);
    file.read_exact(held).map_err(|fault| failed(&fault))?;
    rest.fill(BLANK);
    file.write_all_at(rest, found)
        .map_err(|fault| failed(&fault))?;
    Ok(Nor::new(cells, FlashFile(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_storage::nor_flash::NorFlash;

    #[test]
    fn what_is_programmed_is_in_the_file_of_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flash");
        let mut flash = open(&path, 2, true).unwrap();
        assert!(open(&path, 2, true).unwrap_err().contains("in use"));
        flash.write(8, &[1, 2, 3, 4]).unwrap();
        drop(flash);
        let flash = open(&path, 2, true).unwrap();
        assert_eq!(flash.mapped().len(), 2 << 20);
        assert_eq!(flash.mapped()[7..13], [BLANK, 1, 2, 3, 4, BLANK]);
        drop(flash);
        assert!(open(&path, 1, true).unwrap_err().contains("--flash-mib 2"));
    }
}
