//! The memory maps of the boards with chips against the chips, the partitions, and the models in the tree.

use parts::layout::layout;
use pinhole_firmware::camera::{Configuration, Feed, FrameFormat, FrameSize};
use pinhole_runtime::model::Model;
use std::ops::Range;

/// Memories of a chip, from its manual: address and bytes.
struct Chip {
    board: &'static str,
    memories: &'static [(u32, u32)],
}

const CHIPS: [Chip; 3] = [
    Chip {
        board: "rp2350",
        memories: &[(0x1000_0000, 4 << 20), (0x2000_0000, 512 << 10)],
    },
    Chip {
        board: "stm32h743",
        memories: &[
            (0x0800_0000, 2 << 20),
            (0x9000_0000, 8 << 20),
            (0x2000_0000, 128 << 10),
            (0x2400_0000, 512 << 10),
            (0x3000_0000, 288 << 10),
        ],
    },
    Chip {
        board: "stm32n657",
        memories: &[
            (0x3410_0000, 1 << 20),
            (0x3420_0000, 4 * (448 << 10)),
            (0x7000_0000, 64 << 20),
        ],
    },
];

fn file(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Regions of a map: names and addresses.
fn regions(board: &str) -> Vec<(String, Range<u32>)> {
    let script = String::from_utf8(file(&format!("../{board}/memory.x"))).expect("text");
    let lines = script.lines().filter(|line| line.contains("ORIGIN = 0x"));
    let regions = lines.map(|line| {
        let name = line.split_whitespace().next().expect("a name").to_string();
        let (_, rest) = line.split_once("ORIGIN = 0x").expect("an address");
        let (address, length) = rest.split_once(", LENGTH = ").expect("a length");
        let start = u32::from_str_radix(address, 16).expect("hexadecimal");
        let (digits, unit) = length.trim().split_at(length.trim().len() - 1);
        let shift = match unit {
            "K" => 10,
            "M" => 20,
            _ => panic!("{board}: no unit: {line}"),
        };
        let bytes = digits.parse::<u32>().expect("a number") << shift;
        (name, start..start + bytes)
    });
    regions.collect()
}

fn region(board: &str, name: &str) -> Range<u32> {
    let found = regions(board).into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("{board} has no {name}")).1
}

#[test]
fn regions_lie_in_the_memories_of_the_chip_and_apart() {
    for Chip { board, memories } in CHIPS {
        let regions = regions(board);
        assert!(regions.len() >= 5, "{board}: {regions:?}");
        for (index, (name, range)) in regions.iter().enumerate() {
            let is_there =
                |&(start, bytes): &(u32, u32)| start <= range.start && range.end - start <= bytes;
            assert!(memories.iter().any(is_there), "{board}: {name} {range:x?}");
            for (other, behind) in &regions[index + 1..] {
                let apart = range.end <= behind.start || behind.end <= range.start;
                assert!(apart, "{board}: {name} and {other}");
            }
            assert_eq!(range.start % 16, 0, "{board}: {name}");
        }
    }
    // DMA of the RP2350 wraps at multiples of the ring.
    let ring = region("rp2350", "BANDS");
    assert_eq!((ring.start % 0x8000, ring.len()), (0, 0x8000));
}

#[test]
fn the_storage_begins_at_a_sector_and_its_slots_hold_nano_with_a_signature() {
    let model = file("../../../models/nano/image.phm").len();
    let bank = file("../../../models/nano/bank.phc").len();
    for Chip { board, .. } in CHIPS {
        let nor = region(board, "NOR");
        assert_eq!(nor.start % 4096, 0, "{board}");
        let layout = layout(nor.len() as u32);
        for slot in &layout.models {
            assert!(slot.len() > model + 1024, "{board}: {slot:x?}");
        }
        for slot in &layout.banks {
            assert!(slot.len() > bank + 1024, "{board}: {slot:x?}");
        }
        assert!(layout.models[1].end as usize <= nor.len(), "{board}");
    }
}

#[test]
fn every_board_runs_nano_on_vga_and_only_the_largest_runs_lite0() {
    let (nano, lite0) = (
        file("../../../models/nano/image.phm"),
        file("../../../models/lite0/image.phm"),
    );
    let load = |file| Model::load(file).expect("a model of the tree");
    let (nano, lite0) = (load(&nano), load(&lite0));
    let picture = Configuration {
        size: FrameSize::VGA,
        format: FrameFormat::RGB565,
    };
    let words = |model: &Model<'_>| {
        let geometry = model.geometry().expect("a model of pictures");
        Feed::scratch_len(&geometry, picture).expect("a size that it takes")
    };
    for Chip { board, .. } in CHIPS {
        let arena = region(board, "ARENA").len();
        let scratch = region(board, "SCRATCH").len() / 4;
        println!(
            "{board}: arena {arena}, nano {}, lite0 {}; scratch {} of {}",
            nano.arena_bytes(),
            lite0.arena_bytes(),
            4 * words(&nano).max(words(&lite0)),
            4 * scratch,
        );
        assert!(
            arena >= nano.arena_bytes() && scratch >= words(&nano),
            "{board}"
        );
        let slot = layout(region(board, "NOR").len() as u32).models[0].len();
        let runs = arena >= lite0.arena_bytes() && slot > 3_859_303 && scratch >= words(&lite0);
        assert_eq!(runs, board == "stm32n657", "{board}");
    }
}
