//! The rules of the emulated flash of boards, on this machine: `firmware/boards/mps/src/nor.rs`.

#[path = "../../../firmware/boards/mps/src/nor.rs"]
#[expect(
    unreachable_pub,
    reason = "its items are those of a library of the boards"
)]
mod nor;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use nor::{BLANK, Keep, Nor, NorError, SECTOR_BYTES, WORD_BYTES};

const SECTORS: usize = 4;

/// A copy in memory that may lose its power.
struct Copy<'a> {
    bytes: &'a mut Vec<u8>,
    /// How often it keeps something before it fails.
    left: usize,
}

impl Keep for Copy<'_> {
    type Error = ();

    fn keep(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        self.left = self.left.checked_sub(1).ok_or(())?;
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Cells and what is kept of them, the same bytes.
fn cells(byte: u8) -> (Vec<u8>, Vec<u8>) {
    let cells = vec![byte; SECTORS * SECTOR_BYTES];
    (cells.clone(), cells)
}

#[test]
fn programming_only_clears_bits_and_erasing_sets_them() {
    let (mut cells, mut bytes) = cells(BLANK);
    let keep = Copy {
        bytes: &mut bytes,
        left: usize::MAX,
    };
    let mut flash = Nor::new(&mut cells, keep);
    assert_eq!(flash.capacity(), SECTORS * SECTOR_BYTES);
    let at = SECTOR_BYTES as u32 + 8;
    flash.write(at, &[0xf0, 0x0f, 0xaa, 0xff]).unwrap();
    // Bits that are 0 stay so.
    flash.write(at, &[0x3c, 0xff, 0x55, 0x00]).unwrap();
    let mut word = [0; WORD_BYTES];
    flash.read(at, &mut word).unwrap();
    assert_eq!(word, [0x30, 0x0f, 0x00, 0x00]);
    let start = at as usize;
    assert_eq!(flash.mapped()[start..start + 4], word);
    assert_eq!(flash.mapped()[start - 1], BLANK);
    assert_eq!(flash.mapped()[start + 4], BLANK);
    flash.write(0, &[0; 4]).unwrap();
    flash
        .erase(SECTOR_BYTES as u32, 2 * SECTOR_BYTES as u32)
        .unwrap();
    flash.read(at, &mut word).unwrap();
    assert_eq!(word, [BLANK; 4]);
    // Its neighbour is not erased with it.
    assert_eq!(flash.mapped()[..4], [0; 4]);
}

#[test]
fn what_is_kept_is_what_is_mapped_after_every_call() {
    let (mut cells, mut bytes) = cells(0x5a);
    let mut state = 1u32;
    let mut random = move |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % most
    };
    for _ in 0..200 {
        let keep = Copy {
            bytes: &mut bytes,
            left: usize::MAX,
        };
        let mut flash = Nor::new(&mut cells, keep);
        if random(4) == 0 {
            let from = random(SECTORS as u32);
            let to = from + random(SECTORS as u32 - from + 1);
            let sector = SECTOR_BYTES as u32;
            flash.erase(from * sector, to * sector).unwrap();
        } else {
            let words = random(64) as usize;
            let most = (SECTORS * SECTOR_BYTES / WORD_BYTES - words) as u32;
            let offset = random(most) * WORD_BYTES as u32;
            let byte = random(256) as u8;
            flash
                .write(offset, &vec![byte; words * WORD_BYTES])
                .unwrap();
        }
        assert!(bytes == cells);
    }
}

#[test]
fn a_power_cut_leaves_sectors_erased_and_sectors_as_they_were() {
    let (mut cells, mut bytes) = cells(0);
    let keep = Copy {
        bytes: &mut bytes,
        left: 2,
    };
    let mut flash = Nor::new(&mut cells, keep);
    let error = flash.erase(0, 4 * SECTOR_BYTES as u32).unwrap_err();
    assert_eq!(error, NorError::Keep(()));
    assert_eq!(error.kind(), NorFlashErrorKind::Other);
    assert!(bytes[..2 * SECTOR_BYTES].iter().all(|byte| *byte == BLANK));
    assert!(bytes[2 * SECTOR_BYTES..].iter().all(|byte| *byte == 0));
}

#[test]
fn ranges_that_are_not_whole_or_not_within_are_refused_and_change_nothing() {
    let (mut cells, mut bytes) = cells(0x5a);
    let end = cells.len() as u32;
    let keep = Copy {
        bytes: &mut bytes,
        left: 0,
    };
    let mut flash = Nor::new(&mut cells, keep);
    let not_aligned = Err(NorError::Range(NorFlashErrorKind::NotAligned));
    let out_of_bounds = Err(NorError::Range(NorFlashErrorKind::OutOfBounds));
    assert_eq!(flash.write(2, &[0; 4]), not_aligned);
    assert_eq!(flash.write(0, &[0; 3]), not_aligned);
    assert_eq!(flash.write(end, &[0; 4]), out_of_bounds);
    assert_eq!(flash.write(u32::MAX - 3, &[0; 4]), out_of_bounds);
    assert_eq!(flash.erase(0, 4095), not_aligned);
    assert_eq!(flash.erase(4096, 0), out_of_bounds);
    assert_eq!(flash.erase(0, end + 4096), out_of_bounds);
    assert_eq!(flash.read(end - 1, &mut [0; 2]), out_of_bounds);
    assert!(cells.iter().all(|byte| *byte == 0x5a));
}

#[test]
fn a_part_of_a_sector_at_the_end_is_not_used() {
    let mut cells = vec![BLANK; SECTOR_BYTES + 100];
    let mut bytes = Vec::new();
    let keep = Copy {
        bytes: &mut bytes,
        left: 0,
    };
    let flash = Nor::new(&mut cells, keep);
    assert_eq!(flash.capacity(), SECTOR_BYTES);
}
