//! What goes into the flash of a board, with its addresses, and the files that programmers take.
//!
//! An image is made of sections that lie apart and in order: the program, the journal (blank, so that a board forgets what it
//! had recorded of other files), the class bank, the model, and what is blank behind them up to the end of an erase sector.

mod hex;
mod uf2;

use crate::elf::Segment;
use crate::{BoardSpec, DeviceError, Layout};
use crc::{CRC_32_ISO_HDLC, Crc};
use std::ops::Range;
use std::path::Path;

/// A byte that is erased.
const BLANK: u8 = 0xff;
/// A raw file has no addresses: one that is mostly a gap is a mistake.
const MOST_BIN_BYTES: u64 = 64 << 20;

/// Bytes and their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `program`, `journal`, `class bank`, `model` or `padding`.
    pub name: &'static str,
    /// Of its first byte.
    pub address: u32,
    /// What is written there.
    pub bytes: Vec<u8>,
}

impl Section {
    /// CRC-32/ISO-HDLC of its bytes.
    pub fn crc32(&self) -> u32 {
        Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&self.bytes)
    }

    fn end(&self) -> u64 {
        u64::from(self.address) + self.bytes.len() as u64
    }
}

/// A kind of file that programmers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Raw bytes from the lowest address on.
    Bin,
    /// Intel HEX with extended linear addresses.
    Hex,
    /// Microsoft's UF2, for boards that show themselves as a drive.
    Uf2,
}

impl ImageFormat {
    /// By the ending of a name.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match &ending[..] {
            "bin" => Some(Self::Bin),
            "hex" => Some(Self::Hex),
            "uf2" => Some(Self::Uf2),
            _ => None,
        }
    }
}

/// Sections in the order of their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashImage {
    board: &'static str,
    family: Option<u32>,
    sections: Vec<Section>,
}

impl FlashImage {
    /// The image of a board: its program, where images of the board hold it, and files at the start of slots A.
    ///
    /// # Errors
    /// When the program does not lie in the flash that the board has for it, or over another section.
    pub(crate) fn new(
        board: &BoardSpec,
        program: Vec<Segment>,
        files: &[(&'static str, Range<u32>, &[u8])],
    ) -> Result<Self, DeviceError> {
        let Layout { state, .. } = board.layout();
        let mut sections = Vec::new();
        let room = u64::from(board.flashing.program_address)..board.flashing.program_end();
        for Segment { address, bytes } in program {
            let section = Section {
                name: "program",
                address,
                bytes,
            };
            if u64::from(address) < room.start || section.end() > room.end {
                return Err(DeviceError::ProgramPlace {
                    board: board.name,
                    found: u64::from(address)..section.end(),
                    expected: room,
                });
            }
            if board.flashing.program_in_image {
                sections.push(section);
            }
        }
        let storage = board.flashing.storage_address;
        sections.push(Section {
            name: "journal",
            address: storage + state.start,
            bytes: vec![BLANK; state.len()],
        });
        for (name, partition, bytes) in files {
            let address = storage + partition.start;
            let padding = bytes
                .len()
                .next_multiple_of(board.flashing.sector_bytes as usize)
                .min(partition.len());
            let behind = Section {
                name: "padding",
                address: address + bytes.len() as u32,
                bytes: vec![BLANK; padding - bytes.len()],
            };
            sections.push(Section {
                name,
                address,
                bytes: bytes.to_vec(),
            });
            sections.extend(Some(behind).filter(|section| !section.bytes.is_empty()));
        }
        sections.sort_by_key(|section| section.address);
        for pair in sections.windows(2) {
            if pair[0].end() > u64::from(pair[1].address) {
                return Err(DeviceError::Image {
                    reason: format!(
                        "{} and {} overlap at {:#010x}",
                        pair[0].name, pair[1].name, pair[1].address
                    ),
                    help:
                        "the program is larger than its part of the flash: build it with --release"
                            .into(),
                });
            }
        }
        Ok(Self {
            board: board.name,
            family: board.flashing.uf2_family,
            sections,
        })
    }

    /// Its sections.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The file of a format.
    ///
    /// # Errors
    /// When the board takes no such file, or a raw one would be mostly a gap.
    pub fn encode(&self, format: ImageFormat) -> Result<Vec<u8>, DeviceError> {
        match format {
            ImageFormat::Hex => Ok(hex::encode(&self.sections)),
            ImageFormat::Bin => self.bin(),
            ImageFormat::Uf2 => match self.family {
                Some(family) => Ok(uf2::encode(&self.sections, family)),
                None => Err(DeviceError::Image {
                    reason: format!("{} takes no UF2 files", self.board),
                    help: "name a file that ends in .hex".into(),
                }),
            },
        }
    }

    /// Raw bytes; what lies between sections is blank.
    fn bin(&self) -> Result<Vec<u8>, DeviceError> {
        let start = self.sections.first().map_or(0, |section| section.address);
        let end = self.sections.last().map_or(0, Section::end);
        let bytes = end - u64::from(start);
        if bytes > MOST_BIN_BYTES {
            return Err(DeviceError::Image {
                reason: format!(
                    "a raw file from {start:#010x} to {end:#010x} has {bytes} bytes, nearly all of them between program and storage, \
                     expected at most {MOST_BIN_BYTES}"
                ),
                help: "name a file that ends in .hex: its bytes have addresses".into(),
            });
        }
        let mut file = vec![BLANK; bytes as usize];
        for section in &self.sections {
            let at = (section.address - start) as usize;
            file[at..at + section.bytes.len()].copy_from_slice(&section.bytes);
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
