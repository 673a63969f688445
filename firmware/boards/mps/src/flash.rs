//! The flash of a board: the region `NOR`, kept in a file of the host by semihosting.
//!
//! The file is named by the last argument of the semihosting command line, `flash=FILE`; it is read whole at start, in one
//! call, and has no other format than the bytes of the flash. A file that is shorter than the flash, or not there yet, is
//! one whose rest is blank, and is filled up. Without the argument the flash is blank at each start.

use crate::nor::{BLANK, Keep, Nor};
use core::ffi::CStr;
use core::fmt;
use core::mem::MaybeUninit;
use pinhole_firmware::storage::MappedFlash;
use semihosting::fs::File;
use semihosting::io::{self, Read, Seek, SeekFrom, Write};
use semihosting::sys::arm_compat::sys_get_cmdline_uninit;

/// Longest command line: a path of the host may have 4096 bytes.
const COMMAND_LINE_BYTES: usize = 4096 + 512;
/// What the argument begins with. It is the last one, since a path may have spaces, which separate arguments too.
const ARGUMENT: &[u8] = b" flash=";

/// The flash of a board.
pub type Flash = Nor<'static, FlashFile>;

impl MappedFlash for Flash {
    fn mapped(&self) -> &[u8] {
        // The method of `Nor` itself.
        Nor::mapped(self)
    }
}

/// The file in which a flash is kept; `None` where it is not.
#[derive(Debug)]
pub struct FlashFile(Option<File>);

/// Why there is no flash.
#[derive(Debug)]
pub enum FlashFault {
    /// The command line cannot be read, or is longer than a path and a few words.
    CommandLine,
    /// The file cannot be opened, made, read or filled up.
    File(io::Error),
    /// The file is no image of this flash.
    Length {
        /// Bytes of the flash.
        limit: usize,
        /// Bytes of the file.
        found: u64,
    },
}

impl fmt::Display for FlashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => write!(
                f,
                "the semihosting command line cannot be read, or has more than {COMMAND_LINE_BYTES} bytes"
            ),
            Self::File(error) => write!(f, "the flash file: {error}"),
            Self::Length { limit, found } => write!(
                f,
                "the flash file has {found} bytes, expected at most {limit}"
            ),
        }
    }
}

impl Keep for FlashFile {
    type Error = io::Error;

    fn keep(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(offset.into()))?;
        file.write_all(bytes)
    }
}

/// The flash over `cells`, with what its file holds.
pub(crate) fn open(cells: &'static mut [u8]) -> Result<Flash, FlashFault> {
    let mut line = [MaybeUninit::uninit(); COMMAND_LINE_BYTES];
    let line = sys_get_cmdline_uninit(&mut line).map_err(|_| FlashFault::CommandLine)?;
    let file = match argument(line) {
        Some(path) => Some(load(path, cells)?),
        None => {
            cells.fill(BLANK);
            None
        }
    };
    Ok(Nor::new(cells, FlashFile(file)))
}

/// What the argument says; `None` where there is none.
fn argument(line: &[u8]) -> Option<&[u8]> {
    let start = line
        .windows(ARGUMENT.len())
        .position(|part| part == ARGUMENT)?;
    line.get(start + ARGUMENT.len()..)
}

/// Reads the file into `cells`, makes it when there is none, and fills it up.
fn load(path: &[u8], cells: &mut [u8]) -> Result<File, FlashFault> {
    // A C string, for which the line has no room behind it.
    let mut name = [0; COMMAND_LINE_BYTES + 1];
    let copy = name.get_mut(..path.len()).ok_or(FlashFault::CommandLine)?;
    copy.copy_from_slice(path);
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| FlashFault::CommandLine)?;
    let mut file = open_or_make(name).map_err(FlashFault::File)?;
    let found = file.metadata().map_err(FlashFault::File)?.len();
    let limit = cells.len();
    let (held, rest) = usize::try_from(found)
        .ok()
        .and_then(|found| cells.split_at_mut_checked(found))
        .ok_or(FlashFault::Length { limit, found })?;
    file.read_exact(held).map_err(FlashFault::File)?;
    rest.fill(BLANK);
    if !rest.is_empty() {
        let end = SeekFrom::Start(found);
        file.seek(end).map_err(FlashFault::File)?;
        file.write_all(rest).map_err(FlashFault::File)?;
    }
    Ok(file)
}

/// A file to read and write. One that cannot be opened so cannot be emptied either, so that making it loses nothing.
fn open_or_make(name: &CStr) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    options
        .open(name)
        .or_else(|_| options.create(true).truncate(true).open(name))
}
