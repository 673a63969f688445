use super::*;
use crate::layout::layout;
use pinhole_firmware::storage::{Activate, Kind, Options, Storage};
use std::vec;
use std::vec::Vec;

/// A chip of memory by the rules of its data sheet.
#[derive(Debug)]
struct Mock {
    chip: Chip,
    cells: Vec<u8>,
    is_mapped: bool,
    is_enabled: bool,
    /// Looks at the status until the chip is ready.
    busy: u32,
    /// Looks that a change takes.
    slowness: u32,
    is_protected: bool,
    status_2: u8,
    changes: usize,
}

impl Mock {
    fn new(bytes: usize) -> Self {
        Self {
            chip: Chip::W25Q64,
            cells: vec![0xff; bytes],
            is_mapped: false,
            is_enabled: false,
            busy: 0,
            slowness: 3,
            is_protected: false,
            status_2: 0b11,
            changes: 0,
        }
    }

    fn assert_ready(&self, what: &str) {
        assert!(!self.is_mapped, "{what} while mapped");
        assert_eq!(self.busy, 0, "{what} while busy");
    }
}

impl Controller for Mock {
    fn command(&mut self, instruction: u8) {
        self.assert_ready("a command");
        match instruction {
            WRITE_ENABLE => self.is_enabled = !self.is_protected,
            RESET_ENABLE => {}
            RESET => self.is_enabled = false,
            _ => panic!("no instruction {instruction:#04x}"),
        }
    }

    fn read_register(&mut self, instruction: u8, bytes: &mut [u8]) {
        assert!(!self.is_mapped, "a register while mapped");
        match instruction {
            READ_ID => bytes.copy_from_slice(&self.chip.id.map(Option::unwrap_or_default)),
            READ_STATUS => {
                bytes[0] = u8::from(self.busy > 0) | u8::from(self.is_enabled) << 1;
                self.busy = self.busy.saturating_sub(1);
            }
            READ_STATUS_2 => bytes[0] = self.status_2,
            _ => panic!("no register {instruction:#04x}"),
        }
    }

    fn write_register(&mut self, instruction: u8, bytes: &[u8]) {
        self.assert_ready("a register");
        assert_eq!(instruction, WRITE_STATUS_2);
        if core::mem::take(&mut self.is_enabled) {
            self.status_2 = bytes[0];
            self.busy = self.slowness;
        }
    }

    fn command_at(&mut self, instruction: u8, address: u32, bytes: &[u8]) {
        self.assert_ready("a change");
        // Without the enable before it, a chip ignores the instruction.
        if !core::mem::take(&mut self.is_enabled) {
            return;
        }
        self.changes += 1;
        self.busy = self.slowness;
        let address = address as usize;
        if instruction == self.chip.sector_erase {
            let start = address / SECTOR_BYTES * SECTOR_BYTES;
            self.cells[start..start + SECTOR_BYTES].fill(0xff);
        } else if instruction == self.chip.page_program {
            let page = address / PAGE_BYTES * PAGE_BYTES;
            for (step, byte) in bytes.iter().enumerate() {
                self.cells[page + (address + step) % PAGE_BYTES] &= byte;
            }
        } else {
            panic!("no instruction {instruction:#04x}");
        }
    }

    fn map(&mut self) {
        self.is_mapped = true;
    }

    fn unmap(&mut self) {
        self.is_mapped = false;
    }

    fn mapped(&self) -> &[u8] {
        assert!(self.is_mapped, "read in place while not mapped");
        &self.cells
    }
}

type Nor = SerialNor<Mock, 1>;

fn flash(bytes: usize) -> Nor {
    Nor::open(Mock::new(bytes), Chip::W25Q64).expect("the mock answers")
}

#[test]
fn what_is_written_over_pages_is_there_and_nothing_else() {
    let mut nor = flash(2 * SECTOR_BYTES);
    let bytes: Vec<u8> = (0..700u32).map(|n| (n % 251) as u8).collect();
    nor.write(100, &bytes).expect("it fits");
    // The rest of a page, two pages, the start of one.
    assert_eq!(nor.controller.changes, 4);
    assert_eq!(nor.mapped()[100..800], bytes);
    let blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0xff);
    assert!(blank(&nor.mapped()[..100]) && blank(&nor.mapped()[800..]));
}

#[test]
fn sectors_are_erased_one_by_one() {
    let mut nor = flash(4 * SECTOR_BYTES);
    for sector in 0..4 {
        nor.write(sector * SECTOR_BYTES as u32, &[sector as u8; 8])
            .expect("it fits");
    }
    nor.erase(SECTOR_BYTES as u32, 3 * SECTOR_BYTES as u32)
        .expect("whole sectors");
    let first = |sector: usize| nor.mapped()[sector * SECTOR_BYTES];
    assert_eq!([first(0), first(1), first(2), first(3)], [0, 0xff, 0xff, 3]);
}

#[test]
fn a_range_outside_is_refused_before_the_chip_is_told() {
    let mut nor = flash(SECTOR_BYTES);
    let outside = Err(Fault::Range(NorFlashErrorKind::OutOfBounds));
    let end = SECTOR_BYTES as u32;
    assert_eq!(nor.write(end - 1, &[0, 0]), outside);
    assert_eq!(nor.erase(0, 2 * end), outside);
    assert_eq!(
        nor.erase(1, end),
        Err(Fault::Range(NorFlashErrorKind::NotAligned))
    );
    assert_eq!(nor.controller.changes, 0);
}

#[test]
fn another_chip_is_named() {
    let fault = Nor::open(Mock::new(SECTOR_BYTES), Chip::MX25UM51245G).expect_err("it is another");
    let (expected, found) = (Chip::MX25UM51245G.id, [0xef, 0x40, 0x17]);
    assert_eq!(fault, Fault::WrongChip { expected, found });
    let said = std::format!("{fault}");
    assert!(
        said.starts_with("flash ef 40 17 answers, expected c2 .. 3a;"),
        "{said}"
    );
}

#[test]
fn a_protected_chip_is_told_from_a_written_one_and_is_mapped_again() {
    let mut nor = flash(SECTOR_BYTES);
    nor.controller.is_protected = true;
    assert_eq!(nor.write(0, &[0]), Err(Fault::Protected));
    assert_eq!(nor.mapped()[0], 0xff);
}

#[test]
fn a_chip_that_was_at_work_when_the_program_started_is_waited_for() {
    let mut mock = Mock::new(SECTOR_BYTES);
    (mock.is_mapped, mock.busy) = (true, 1000);
    let nor = Nor::open(mock, Chip::W25Q64).expect("it becomes ready");
    assert_eq!(nor.capacity(), SECTOR_BYTES);
}

#[test]
fn four_lanes_are_enabled_and_the_other_bits_stay() {
    let mut mock = Mock::new(SECTOR_BYTES);
    mock.status_2 = 0b0100_0001;
    let nor = Nor::open(mock, Chip::W25Q64).expect("it takes the bit");
    assert_eq!(nor.controller.status_2, 0b0100_0011);
    let mut mock = Mock::new(SECTOR_BYTES);
    (mock.status_2, mock.is_protected) = (0, true);
    assert_eq!(Nor::open(mock, Chip::W25Q64).err(), Some(Fault::Protected));
}

#[test]
fn units_of_more_bytes_are_whole_ones() {
    let nor = SerialNor::<Mock, 16>::open(Mock::new(SECTOR_BYTES), Chip::W25Q64);
    let mut nor = nor.expect("the mock answers");
    nor.write(16, &[0; 32]).expect("whole units");
    let unaligned = Err(Fault::Range(NorFlashErrorKind::NotAligned));
    assert_eq!(nor.write(8, &[0; 16]), unaligned);
    assert_eq!(nor.write(0, &[0; 8]), unaligned);
}

/// The storage of the firmware over the driver: a bank goes into slot A, and into slot B after a restart.
#[test]
fn the_storage_keeps_a_model_and_a_bank_over_a_restart() {
    let file =
        |name| std::fs::read(std::format!("../../../models/nano/{name}")).expect("in the tree");
    let (model, bank) = (file("image.phm"), file("bank.phc"));
    const BYTES: usize = 8 << 20;
    let layout = layout(BYTES as u32);
    let options = Options {
        key: None,
        arena_bytes: 288 << 10,
    };
    let open = |nor| Storage::open(nor, layout.clone(), options).expect("the layout fits");
    let mut storage = open(flash(BYTES));
    let both = [(Kind::Model, &model), (Kind::Bank, &bank)];
    for (kind, bytes) in both {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes);
        storage
            .begin_upload(kind, bytes.len() as u32, crc)
            .expect("it fits");
        let mut at = 0;
        for chunk in bytes.chunks(1024) {
            storage.write(at, chunk).expect("in order");
            at += chunk.len() as u32;
        }
        storage.finish().expect("it is sound");
    }
    storage.activate(Activate::Both).expect("both wait");
    let storage = open(storage.into_flash());
    assert_eq!(storage.model().expect("it runs").len(), model.len());
    assert_eq!(storage.bank().expect("it runs").len(), bank.len());
}
