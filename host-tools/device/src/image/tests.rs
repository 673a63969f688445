//! Files of images, read back by readers that share nothing with the writers.

use super::*;
use std::collections::BTreeMap;

/// Every byte and its address.
type Memory = BTreeMap<u32, u8>;

const RP2350: u32 = 0xe48b_ff59;

fn image(sections: &[(&'static str, u32, usize)]) -> FlashImage {
    let section = |(name, address, len): &(&'static str, u32, usize)| Section {
        name,
        address: *address,
        bytes: (0..*len)
            .map(|i| (i * 7 + i / 251 + name.len()) as u8)
            .collect(),
    };
    FlashImage {
        board: "test",
        family: Some(RP2350),
        sections: sections.iter().map(section).collect(),
    }
}

/// Ends of pages, of 64 KB, of lines; a byte alone; the end of the address space.
fn awkward() -> FlashImage {
    image(&[
        ("program", 0x0000_0000, 1000),
        ("program", 0x0000_0400, 3),
        ("journal", 0x0800_fff0, 70_000),
        ("class bank", 0x1000_0101, 255),
        ("model", 0x1000_0200, 1),
        ("padding", 0xffff_ff80, 128),
    ])
}

fn expected(image: &FlashImage) -> Memory {
    let bytes = image.sections.iter().flat_map(|section| {
        let places = (u64::from(section.address)..).map(|address| address as u32);
        places.zip(section.bytes.iter().copied())
    });
    bytes.collect()
}

/// Reads Intel HEX a digit at a time.
fn read_hex(file: &[u8]) -> Memory {
    let text = std::str::from_utf8(file).expect("ASCII");
    let mut memory = Memory::new();
    let (mut base, mut ended) = (0_u32, false);
    for line in text.split_terminator('\n') {
        assert!(!ended, "nothing follows the end");
        let digits = line.strip_prefix(':').expect("a colon");
        assert_eq!(digits.len() % 2, 0);
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex"))
            .collect();
        assert_eq!(bytes.iter().map(|b| u32::from(*b)).sum::<u32>() % 256, 0);
        let count = usize::from(bytes[0]);
        assert_eq!(bytes.len(), count + 5);
        let (data, low) = (
            &bytes[4..4 + count],
            u32::from(bytes[1]) << 8 | u32::from(bytes[2]),
        );
        match bytes[3] {
            0 => {
                assert!(low + count as u32 <= 0x1_0000, "a record does not wrap");
                for (at, byte) in data.iter().enumerate() {
                    let old = memory.insert(base + low + at as u32, *byte);
                    assert_eq!(old, None, "a byte is written once");
                }
            }
            1 => {
                assert_eq!((count, low), (0, 0));
                ended = true;
            }
            4 => base = u32::from(data[0]) << 24 | u32::from(data[1]) << 16,
            kind => panic!("record of type {kind}"),
        }
    }
    assert!(ended);
    memory
}

/// Reads UF2 as a bootloader does, a block at a time.
fn read_uf2(file: &[u8], family: u32) -> Memory {
    assert_eq!(file.len() % 512, 0);
    let count = file.len() / 512;
    let mut memory = Memory::new();
    for (index, block) in file.chunks(512).enumerate() {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four"));
        assert_eq!((&block[..4], word(4)), (&b"UF2\n"[..], 0x9e5d_5157));
        assert_eq!((word(8), word(28)), (0x2000, family));
        assert_eq!(
            (word(16), word(20), word(24)),
            (256, index as u32, count as u32)
        );
        assert_eq!(word(508), 0x0ab1_6f30);
        assert!(block[32 + 256..508].iter().all(|byte| *byte == 0));
        assert_eq!(word(12) % 256, 0);
        for (at, byte) in block[32..32 + 256].iter().enumerate() {
            let old = memory.insert(word(12) + at as u32, *byte);
            assert_eq!(old, None, "a page is written once");
        }
    }
    memory
}

#[test]
fn intel_hex_holds_every_byte_at_its_address_and_no_other() {
    let image = awkward();
    let file = image.encode(ImageFormat::Hex).expect("a file");
    assert_eq!(read_hex(&file), expected(&image));
    // Byte for byte, a small one: the example of the specification has records like these.
    let small = image_of(0x0801_fffe, &[1, 2, 3]);
    let text = ":020000040801F1\n:02FFFE000102FE\n:020000040802F0\n:0100000003FC\n:00000001FF\n";
    assert_eq!(
        small.encode(ImageFormat::Hex).expect("a file"),
        text.as_bytes()
    );
}

fn image_of(address: u32, bytes: &[u8]) -> FlashImage {
    let mut image = image(&[("model", address, 0)]);
    image.sections[0].bytes = bytes.to_vec();
    image
}

#[test]
fn uf2_holds_every_byte_and_blank_pages_around_them() {
    let image = awkward();
    let file = image.encode(ImageFormat::Uf2).expect("a file");
    let (found, expected) = (read_uf2(&file, RP2350), expected(&image));
    for (address, byte) in &found {
        assert_eq!(
            *byte,
            *expected.get(address).unwrap_or(&0xff),
            "{address:#x}"
        );
    }
    assert!(expected.keys().all(|address| found.contains_key(address)));
    let without = FlashImage {
        family: None,
        ..image
    };
    let error = without.encode(ImageFormat::Uf2).expect_err("no family");
    assert!(error.help().expect("help").contains(".hex"));
}

#[test]
fn a_raw_file_is_blank_between_sections_and_never_mostly_a_gap() {
    let image = image(&[("program", 0x0800_0000, 5), ("model", 0x0800_0010, 3)]);
    let file = image.encode(ImageFormat::Bin).expect("a file");
    let expected = expected(&image);
    assert_eq!(file.len(), 0x13);
    for (at, byte) in file.iter().enumerate() {
        let address = 0x0800_0000 + at as u32;
        assert_eq!(byte, expected.get(&address).unwrap_or(&0xff));
    }
    let error = awkward().encode(ImageFormat::Bin).expect_err("a gap");
    assert!(error.to_string().contains("0xffffff80") || error.to_string().contains("0x100000000"));
}

#[test]
fn sections_of_a_board_lie_in_order_and_blank_what_is_behind_them() {
    let board = &crate::board::QEMU_AN500;
    let layout = board.layout();
    let [bank, model] = [layout.banks[0].clone(), layout.models[0].clone()];
    let program = vec![Segment {
        address: 0x40,
        bytes: vec![1; 10],
    }];
    let files: [(&'static str, Range<u32>, &[u8]); 2] = [
        ("model", model.clone(), &[2; 5000]),
        ("class bank", bank.clone(), &[3; 4096]),
    ];
    let image = FlashImage::new(board, program, &files).expect("an image");
    let found: Vec<_> = image
        .sections()
        .iter()
        .map(|section| (section.name, section.address, section.bytes.len()))
        .collect();
    let storage = 0x6000_0000;
    assert_eq!(
        found,
        [
            ("program", 0x40, 10),
            ("journal", storage, 64 << 10),
            ("class bank", storage + bank.start, 4096),
            ("model", storage + model.start, 5000),
            ("padding", storage + model.start + 5000, 8192 - 5000),
        ]
    );
    // Of "123456789" it is cbf43926.
    let check = Section {
        bytes: b"123456789".to_vec(),
        ..image.sections()[0].clone()
    };
    assert_eq!(check.crc32(), 0xcbf4_3926);
    for address in [0x0010_0000 - 9, 0x2000_0000] {
        let program = vec![Segment {
            address,
            bytes: vec![1; 10],
        }];
        let error = FlashImage::new(board, program, &[]).expect_err("elsewhere");
        assert!(matches!(error, DeviceError::ProgramPlace { .. }));
    }
}

#[test]
fn formats_are_told_by_the_ending() {
    for (name, format) in [
        ("a.hex", Some(ImageFormat::Hex)),
        ("A.HEX", Some(ImageFormat::Hex)),
        ("a.bin", Some(ImageFormat::Bin)),
        ("a.b.uf2", Some(ImageFormat::Uf2)),
        ("a.elf", None),
        ("hex", None),
    ] {
        assert_eq!(ImageFormat::of(Path::new(name)), format, "{name}");
    }
}

/// The bytes that the program headers of a 32-bit ELF file load, read by hand.
fn loaded(elf: &[u8]) -> Memory {
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().expect("four"));
    let mut memory = Memory::new();
    for index in 0..half(44) {
        let record = word(28) as usize + index * half(42);
        let (kind, offset, address, bytes) = (
            word(record),
            word(record + 4) as usize,
            word(record + 12),
            word(record + 16) as usize,
        );
        if kind == 1 {
            let places = address..;
            memory.extend(places.zip(elf[offset..offset + bytes].iter().copied()));
        }
    }
    memory
}

/// What an image of `board` has to hold, from the files themselves.
fn whole(board: &BoardSpec, program: &Path, [model, bank]: [&Path; 2]) -> Memory {
    let (flashing, layout) = (board.flashing, board.layout());
    let mut memory = match flashing.program_in_image {
        true => loaded(&std::fs::read(program).expect("a program")),
        false => Memory::new(),
    };
    let mut put = |start: u32, bytes: &[u8]| {
        let places = flashing.storage_address + start..;
        memory.extend(places.zip(bytes.iter().copied()));
    };
    put(
        layout.state.start,
        &vec![0xff; (layout.state.end - layout.state.start) as usize],
    );
    for (path, slot) in [(model, &layout.models[0]), (bank, &layout.banks[0])] {
        let mut bytes = std::fs::read(path).expect("a file");
        let sectors = bytes.len().div_ceil(flashing.sector_bytes as usize);
        bytes.resize(sectors * flashing.sector_bytes as usize, 0xff);
        put(slot.start, &bytes);
    }
    memory
}

#[test]
#[ignore = "builds the programs of all boards: ./ci.sh boards runs it"]
fn images_of_every_board_hold_program_and_files_byte_by_byte() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/nano");
    let [model, bank] = ["image.phm", "bank.phc"].map(|name| root.join(name));
    let boards = crate::boards().iter().filter(|board| !board.is_process());
    for board in boards {
        let program = crate::build_firmware(board).expect("a program");
        let files = crate::Files::read(board, &model, &bank, None).expect("they suit");
        let image = files.image(&program).expect("an image");
        let whole = whole(board, &program, [&model, &bank]);
        let hex = image.encode(ImageFormat::Hex).expect("Intel HEX");
        assert!(read_hex(&hex) == whole, "{}: Intel HEX", board.name);
        let mut checked = vec!["hex"];
        if let Some(family) = board.flashing.uf2_family {
            let file = image.encode(ImageFormat::Uf2).expect("UF2");
            let found = read_uf2(&file, family);
            let differs = found
                .iter()
                .find(|(address, byte)| whole.get(address).unwrap_or(&0xff) != *byte);
            assert_eq!(differs, None, "{}: UF2", board.name);
            assert!(whole.keys().all(|address| found.contains_key(address)));
            checked.push("uf2");
        }
        if let Ok(file) = image.encode(ImageFormat::Bin) {
            let start = *whole.keys().next().expect("bytes");
            let differs = (start..)
                .zip(&file)
                .find(|(address, byte)| whole.get(address).unwrap_or(&0xff) != *byte);
            assert_eq!(differs, None, "{}: raw", board.name);
            assert_eq!(
                Some(start + file.len() as u32 - 1),
                whole.keys().next_back().copied()
            );
            checked.push("bin");
        }
        println!(
            "{}: {} bytes at their addresses in {}",
            board.name,
            whole.len(),
            checked.join(", ")
        );
    }
}
