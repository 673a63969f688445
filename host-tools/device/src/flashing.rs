//! A model and a class bank for a board, checked by the code that the board itself checks them with, before anything is written.

use crate::elf::segments;
use crate::flash::{check_arena, image, lock, unusable};
use crate::{BoardSpec, DeviceError, FlashImage, Layout};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_read,
};
use pinhole_firmware::storage::{
    Kind, MappedFlash, NoFile, Options, SlotFault, Storage, StorageError,
};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::model::Model;
use pinhole_signing::PublicKey;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A byte that is erased.
const BLANK: u8 = 0xff;

/// A model and a class bank that a board would run.
pub struct Files<'a> {
    board: &'a BoardSpec,
    model: Vec<u8>,
    bank: Vec<u8>,
}

/// A flash file that was written and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: usize,
}

impl<'a> Files<'a> {
    /// Reads both and checks them: slots, arena, kernels, that the bank belongs to the model, and the signatures, when the board
    /// is to have a key.
    ///
    /// # Errors
    /// The first thing that the board would refuse.
    pub fn read(
        board: &'a BoardSpec,
        model_path: &Path,
        bank_path: &Path,
        key: Option<PublicKey>,
    ) -> Result<Self, DeviceError> {
        let Layout { models, banks, .. } = board.layout();
        let model = image(board, "model", model_path, models[0].clone())?;
        check_arena(board, model_path, &model)?;
        let bank = image(board, "class bank", bank_path, banks[0].clone())?;
        let files = Self { board, model, bank };
        files.check_layout(model_path)?;
        files.check_as_the_board(model_path, bank_path, key)?;
        Ok(files)
    }

    /// The whole flash of an emulated board, everything else blank.
    fn flash(&self) -> AlignedBytes {
        let Layout { models, banks, .. } = self.board.layout();
        let mut cells = AlignedBytes::zeroed(self.board.flash_bytes as usize);
        cells.fill(BLANK);
        for (partition, file) in [(&models[0], &self.model), (&banks[0], &self.bank)] {
            cells[partition.start as usize..][..file.len()].copy_from_slice(file);
        }
        cells
    }

    /// Cortex-M kernels read one layout of weights.
    fn check_layout(&self, path: &Path) -> Result<(), DeviceError> {
        let aligned = AlignedBytes::from_slice(&self.model);
        // What is no model is refused by the check that follows.
        let layout = Model::load(&aligned).map(|model| model.weight_layout());
        if !matches!(layout, Ok(layout) if layout != WeightLayout::Generic) {
            return Ok(());
        }
        Err(DeviceError::Unsuitable {
            what: "model",
            path: path.into(),
            board: self.board.name,
            reason: "its weights lie as 64-bit Arm reads them, expected the generic layout".into(),
            help: "pack its graph again: pinhole pack GRAPH.phg --target generic --out MODEL.phm",
        })
    }

    /// Has the firmware's storage open the flash.
    fn check_as_the_board(
        &self,
        model: &Path,
        bank: &Path,
        key: Option<PublicKey>,
    ) -> Result<(), DeviceError> {
        let options = Options {
            key,
            arena_bytes: self.board.arena_bytes as usize,
        };
        let flash = Frozen(self.flash());
        let storage = Storage::open(flash, self.board.layout(), options).map_err(
            |fault: StorageError<NorFlashErrorKind>| DeviceError::Image {
                reason: fault.to_string(),
                help: "the table of boards is wrong: host-tools/device/src/board.rs".into(),
            },
        )?;
        for (found, path) in [(storage.model(), model), (storage.bank(), bank)] {
            found.map_err(|missing| self.unsuitable(missing, path))?;
        }
        Ok(())
    }

    fn unsuitable(&self, missing: &NoFile, path: &Path) -> DeviceError {
        let fault = missing.slots[0];
        DeviceError::Unsuitable {
            what: missing.kind.name(),
            path: path.into(),
            board: self.board.name,
            reason: fault.to_string(),
            help: match (fault, missing.kind) {
                (SlotFault::Signature(_) | SlotFault::RolledBack { .. }, _) => {
                    "sign it with the private key: pinhole sign FILE --key KEY --counter N --out SIGNED"
                }
                (_, Kind::Model) => "see what is wrong with it: pinhole inspect MODEL",
                (_, Kind::Bank) => {
                    "embed the class names for this model again: pinhole embed --help"
                }
            },
        }
    }

    /// Writes the flash file of an emulated board under a temporary name, renames it, reads it back and compares. What the file
    /// held before is gone.
    ///
    /// # Errors
    /// When a board runs on the file, or it cannot be written or kept.
    pub fn write(&self, path: &Path) -> Result<Kept, DeviceError> {
        let flash = self.flash();
        // A board that runs on the file would go on with the old one.
        let _held = match path.exists() {
            true => Some(lock(path)?),
            false => None,
        };
        let unusable = |source| unusable(path, source);
        let mut temporary = path.as_os_str().to_os_string();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let written = std::fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(&flash).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, path));
        if let Err(source) = written {
            // The error that is told is the first one.
            let _ = std::fs::remove_file(&temporary);
            return Err(unusable(source));
        }
        let found = std::fs::read(path).map_err(unusable)?;
        let same = found.iter().zip(&flash[..]).take_while(|(a, b)| a == b);
        match same.count() {
            at if at < flash.len() || found.len() > flash.len() => Err(DeviceError::ReadBack {
                path: path.into(),
                at,
            }),
            bytes => Ok(Kept {
                path: path.into(),
                bytes,
            }),
        }
    }

    /// The image with the program of an ELF file.
    ///
    /// # Errors
    /// When it is no program for this board.
    pub fn image(&self, firmware: &Path) -> Result<FlashImage, DeviceError> {
        let file = std::fs::read(firmware).map_err(|source| DeviceError::File {
            access: "read",
            what: "firmware",
            path: firmware.into(),
            source,
        })?;
        let program = segments(&file).map_err(|fault| DeviceError::Image {
            reason: format!("{}: {fault}", firmware.display()),
            help: format!(
                "build it: cd firmware/boards/{} && cargo build --release",
                self.board.name
            ),
        })?;
        let Layout { models, banks, .. } = self.board.layout();
        let files = [
            ("class bank", banks[0].clone(), &self.bank[..]),
            ("model", models[0].clone(), &self.model[..]),
        ];
        FlashImage::new(self.board, program, &files)
    }
}

/// A flash that is only looked at.
struct Frozen(AlignedBytes);

impl ErrorType for Frozen {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Frozen {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Frozen {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }
}

impl MappedFlash for Frozen {
    fn mapped(&self) -> &[u8] {
        &self.0
    }
}
