//! The bytes of a program and where they go: the segments of a 32-bit little-endian ELF file. Nothing else of the file is read.

use object::LittleEndian;
use object::elf::{ELFMAG, EM_ARM, FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use std::fmt;

/// Segments at most; linkers write about five.
const MOST_SEGMENTS: usize = 64;

/// What is loaded somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where it is stored: its physical address, from which a start routine copies what belongs into RAM.
    pub(crate) address: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why a file is no program for a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElfFault {
    NotElf,
    /// Of another word length, byte order or machine.
    NotArm,
    /// A header or a segment does not lie in the file.
    Cut,
    TooMany {
        found: usize,
    },
    Empty,
}

impl fmt::Display for ElfFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("found no ELF file, expected the program of a board"),
            Self::NotArm => {
                f.write_str("found a program of another machine, expected one for 32-bit Arm")
            }
            Self::Cut => f.write_str("found a file that is cut, expected all of its segments"),
            Self::TooMany { found } => {
                write!(
                    f,
                    "found {found} segments, expected at most {MOST_SEGMENTS}"
                )
            }
            Self::Empty => f.write_str("found no bytes to load, expected a program"),
        }
    }
}

/// The segments that have bytes, in the order of the file.
pub(crate) fn segments(file: &[u8]) -> Result<Vec<Segment>, ElfFault> {
    if !file.starts_with(&ELFMAG) {
        return Err(ElfFault::NotElf);
    }
    if file.len() < size_of::<FileHeader32<LittleEndian>>() {
        return Err(ElfFault::Cut);
    }
    let header = FileHeader32::<LittleEndian>::parse(file).map_err(|_| ElfFault::NotArm)?;
    let order = header.endian().map_err(|_| ElfFault::NotArm)?;
    if header.e_machine(order) != EM_ARM {
        return Err(ElfFault::NotArm);
    }
    let table = header
        .program_headers(order, file)
        .map_err(|_| ElfFault::Cut)?;
    if table.len() > MOST_SEGMENTS {
        return Err(ElfFault::TooMany { found: table.len() });
    }
    let mut segments = Vec::new();
    for record in table {
        if record.p_type(order) != PT_LOAD || record.p_filesz(order) == 0 {
            continue;
        }
        segments.push(Segment {
            address: record.p_paddr(order),
            bytes: record
                .data(order, file)
                .map_err(|()| ElfFault::Cut)?
                .to_vec(),
        });
    }
    match segments.is_empty() {
        true => Err(ElfFault::Empty),
        false => Ok(segments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_BYTES: usize = 52;
    const SEGMENT_BYTES: usize = 32;

    fn file(segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        file[18] = 40;
        file[28] = HEADER_BYTES as u8;
        file[42] = SEGMENT_BYTES as u8;
        file[44] = segments.len() as u8;
        let mut end = HEADER_BYTES + segments.len() * SEGMENT_BYTES;
        for (kind, address, bytes) in segments {
            let words = [
                *kind,
                end as u32,
                0x2000_0000,
                *address,
                bytes.len() as u32,
                bytes.len() as u32 + 8,
                5,
                4,
            ];
            file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            end += bytes.len();
        }
        for (_, _, bytes) in segments {
            file.extend_from_slice(bytes);
        }
        file
    }

    #[test]
    fn what_is_loaded_goes_to_its_physical_address() {
        let file = file(&[
            (1, 0x1000, b"vectors"),
            (4, 0x99, b"note"),
            (1, 0x1010, b"data"),
            (1, 0x3000, b""),
        ]);
        let segment = |address, bytes: &[u8]| Segment {
            address,
            bytes: bytes.to_vec(),
        };
        let expected = [segment(0x1000, b"vectors"), segment(0x1010, b"data")];
        assert_eq!(segments(&file), Ok(expected.to_vec()));
    }

    #[test]
    fn any_prefix_and_any_changed_byte_is_a_program_or_a_fault() {
        let sound = file(&[(1, 0x1000, b"vectors"), (1, 0x1010, b"data")]);
        for len in 0..sound.len() {
            assert!(segments(&sound[..len]).is_err(), "{len}");
        }
        for at in 0..sound.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut file = sound.clone();
                file[at] = value;
                // Segments whose bytes are changed load; no other outcome than these two.
                let _ = segments(&file);
            }
        }
        assert_eq!(segments(b"PK"), Err(ElfFault::NotElf));
        let mut other = sound;
        other[4] = 2;
        assert_eq!(segments(&other), Err(ElfFault::NotArm));
    }
}
