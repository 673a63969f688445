//! UF2 ("USB Flashing Format", <https://github.com/microsoft/uf2>): blocks of 512 bytes with 256 of data each, which a
//! bootloader takes as a file on a drive.

use super::{BLANK, Section};
use std::collections::BTreeMap;

/// Data of a block; a page of the flash.
const PAGE_BYTES: u32 = 256;
const BLOCK_BYTES: usize = 512;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
/// The field behind the number of blocks names the family of the chip.
const FAMILY_PRESENT: u32 = 0x2000;

/// The file. Pages that a section fills in part are blank elsewhere.
pub(super) fn encode(sections: &[Section], family: u32) -> Vec<u8> {
    let mut pages: BTreeMap<u32, [u8; PAGE_BYTES as usize]> = BTreeMap::new();
    for section in sections {
        let mut address = section.address;
        let mut rest = &section.bytes[..];
        while !rest.is_empty() {
            let at = (address % PAGE_BYTES) as usize;
            let (part, after) = rest.split_at(rest.len().min(PAGE_BYTES as usize - at));
            let page = pages
                .entry(address - at as u32)
                .or_insert([BLANK; PAGE_BYTES as usize]);
            page[at..at + part.len()].copy_from_slice(part);
            rest = after;
            address = address.wrapping_add(part.len() as u32);
        }
    }
    let count = pages.len() as u32;
    let mut file = Vec::with_capacity(pages.len() * BLOCK_BYTES);
    for (index, (address, page)) in (0..).zip(&pages) {
        let words = [
            MAGIC[0],
            MAGIC[1],
            FAMILY_PRESENT,
            *address,
            PAGE_BYTES,
            index,
            count,
            family,
        ];
        let start = file.len();
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        file.extend_from_slice(page);
        file.resize(start + BLOCK_BYTES - 4, 0);
        file.extend_from_slice(&MAGIC_END.to_le_bytes());
    }
    file
}
