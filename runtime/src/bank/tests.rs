//! Tests of the bank over its bytes.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bank_v1.phc");

const NAMES: [&str; 4] = ["cat", "airplane", "fougère à l'ombre", "a"];

/// Embeddings of 20 elements from the generator that the golden pictures use too.
fn embeddings(count: usize) -> Vec<Vec<f32>> {
    let mut state = 11u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 - 127.5
    };
    (0..count)
        .map(|_| (0..20).map(|_| next()).collect())
        .collect()
}

fn with_spec<R>(
    names: &[&str],
    change: impl FnOnce(&mut BankSpec<'_>),
    then: impl FnOnce(&BankSpec<'_>) -> R,
) -> R {
    let embeddings = embeddings(names.len());
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(&embeddings)
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let mut spec = BankSpec {
        embedding_space_id: *b"0123456789abcdef",
        dim: 20,
        classes: &classes,
        logit_scale: 100.0,
        logit_bias: -0.5,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "a photo of a {}.\na picture of a {}.",
        page_bytes: 0,
        spare_slots: 0,
    };
    change(&mut spec);
    then(&spec)
}

fn write(spec: &BankSpec<'_>) -> Result<Vec<u8>, WriteError> {
    let mut bytes = vec![0x55; spec.bytes_len()?];
    spec.write_into(&mut bytes)?;
    Ok(bytes)
}

fn fixture(change: impl FnOnce(&mut BankSpec<'_>)) -> Vec<u8> {
    with_spec(&NAMES, change, |spec| write(spec).unwrap())
}

/// Sets the header's checksum to that of the bytes, as someone who means harm would.
fn forge(bytes: &mut [u8]) {
    let header = Header::read_from_prefix(bytes).unwrap().0;
    let end = header
        .layout()
        .map_or(bytes.len(), |layout| layout.written_end.min(bytes.len()));
    let crc = file_crc(&bytes[..end]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

fn forge_slot(bytes: &mut [u8], index: usize) {
    if let Some(layout) = Header::read_from_prefix(bytes).unwrap().0.layout() {
        let start = layout.slots_offset + index * layout.slot_bytes;
        if let Some(slot) = bytes.get_mut(start..start + layout.slot_bytes) {
            let crc = slot_crc(slot);
            slot[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    forge(bytes);
}

/// The error after `bytes` overwrite the fixture at `offset` and both checksums are made to fit.
fn forged(offset: usize, bytes: &[u8]) -> BankError {
    let mut bank = fixture(|_| ());
    bank[offset..offset + bytes.len()].copy_from_slice(bytes);
    forge_slot(&mut bank, 0);
    ClassBank::load(&bank).unwrap_err()
}

#[test]
fn what_was_written_is_read() {
    let bytes = fixture(|_| ());
    let bank = ClassBank::load(&bytes).unwrap();
    assert_eq!(
        (bank.class_count(), bank.slot_count(), bank.dim()),
        (4, 4, 20)
    );
    assert_eq!(bank.templates(), "a photo of a {}.\na picture of a {}.");
    assert_eq!((bank.logit_scale(), bank.logit_bias()), (100.0, -0.5));
    assert_eq!(
        (bank.temperature(), bank.reject_threshold()),
        (1.0, f32::INFINITY)
    );
    for (index, (class, original)) in bank.classes().zip(embeddings(4)).enumerate() {
        assert_eq!(
            (class.name, bank.find(class.name)),
            (NAMES[index], Some(index))
        );
        let norm = original.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (quantised, element) in class.embedding.iter().zip(&original) {
            assert!(
                (f32::from(*quantised) * class.scale - element / norm).abs()
                    < 0.5 * class.scale + 1e-3
            );
        }
    }
    assert_eq!((bank.find("dog"), bank.class(4)), (None, None));
    assert_eq!(bank.check_space(b"0123456789abcdef"), Ok(()));
    assert!(matches!(
        bank.check_space(&[0; 16]),
        Err(BankError::OtherEmbeddingSpace { .. })
    ));
}

#[test]
fn golden_bank_is_written_byte_for_byte() {
    let bytes = fixture(|_| ());
    if std::env::var_os("PINHOLE_BLESS").is_some() {
        std::fs::write(GOLDEN, &bytes).unwrap();
    }
    assert!(
        std::fs::read(GOLDEN).unwrap() == bytes,
        "docs/bank-format.md describes the golden file"
    );
}

#[test]
fn fields_lie_where_the_specification_says() {
    let bytes = std::fs::read(GOLDEN).unwrap();
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..4], b"PHC1");
    assert_eq!(
        (u16_at(4), u16_at(6), u32_at(8) as usize),
        (1, 128, bytes.len())
    );
    assert_eq!(&bytes[16..32], b"0123456789abcdef");
    assert_eq!((u16_at(32), u16_at(34)), (20, 64));
    assert_eq!((u32_at(36), u32_at(40), u32_at(44)), (4, 4, 128));
    assert_eq!(
        (u32_at(48), u32_at(52), u32_at(56), u32_at(60)),
        (192, 176, 128, 35)
    );
    let floats = [64, 68, 72, 76].map(|at| f32::from_bits(u32_at(at)));
    assert_eq!(floats, [100.0, -0.5, 1.0, f32::INFINITY]);
    assert_eq!([176, 180, 184, 188].map(u32_at), [3, 1, 0, 2]);
    let slot = 192 + 2 * 128;
    assert_eq!(
        (&bytes[slot..slot + 4], u16_at(slot + 12)),
        (&b"CLAS"[..], 19)
    );
    assert_eq!(&bytes[slot + 32..slot + 51], "fougère à l'ombre".as_bytes());
}

#[test]
fn every_flipped_byte_is_refused() {
    let bytes = fixture(|_| ());
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] ^= mask;
            assert!(ClassBank::load(&flipped).is_err(), "byte {at} ^ {mask:#x}");
        }
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let mut bytes = fixture(|_| ());
    for len in 0..bytes.len() {
        let error = ClassBank::load(&bytes[..len]).unwrap_err();
        assert!(
            matches!(error, BankError::Truncated { found, .. } if found == len),
            "{len}: {error:?}"
        );
    }
    let expected = bytes.len();
    bytes.push(0);
    let found = bytes.len();
    assert_eq!(
        ClassBank::load(&bytes).unwrap_err(),
        BankError::TrailingBytes { expected, found }
    );
    assert_eq!(ClassBank::file_bytes(&bytes), Ok(expected));
}

#[test]
fn a_forged_checksum_does_not_get_a_bad_field_past_load() {
    let f = |value: f32| value.to_le_bytes();
    for (offset, bytes, expected) in [
        (64, f(f32::NAN), "logit_scale"),
        (64, f(0.0), "logit_scale"),
        (64, f(1e38), "logit_scale"),
        (68, f(f32::NEG_INFINITY), "logit_bias"),
        (72, f(0.0), "temperature"),
        (72, f(f32::NAN), "temperature"),
        (76, f(f32::NAN), "reject_threshold"),
    ] {
        let error = forged(offset, &bytes);
        assert!(
            matches!(error, BankError::BadNumber { field, .. } if field == expected),
            "{error:?}"
        );
    }
    assert_eq!(forged(80, &[1]), BankError::ReservedNotZero { offset: 80 });
    assert_eq!(
        forged(127, &[1]),
        BankError::ReservedNotZero { offset: 127 }
    );
    assert_eq!(
        forged(170, &[1]),
        BankError::ReservedNotZero { offset: 170 }
    );
    assert_eq!(
        forged(130, &[0xff]),
        BankError::BadTemplates { valid_bytes: 2 }
    );
    // Slot 0 starts at 192: state, reserved, scale, name length, name, embedding, padding.
    assert!(matches!(
        forged(192, &[0xff; 4]),
        BankError::BadSlotState {
            index: 0,
            found: SLOT_FREE
        }
    ));
    assert_eq!(
        forged(192 + 14, &[1]),
        BankError::ReservedNotZero { offset: 206 }
    );
    assert!(matches!(
        forged(192 + 8, &f(f32::NAN)),
        BankError::NotUnitLength { index: 0, .. }
    ));
    assert!(matches!(
        forged(192 + 8, &f(f32::INFINITY)),
        BankError::NotUnitLength { index: 0, .. }
    ));
    assert!(matches!(
        forged(192 + 8, &f(-1.0)),
        BankError::NotUnitLength { index: 0, .. }
    ));
    for (offset, bytes) in [
        (12, &[0, 0][..]),
        (12, &[65, 0]),
        (12, &[0xff, 0xff]),
        (32, &[0xff]),
        (32, &[0]),
        (40, &[1]),
    ] {
        assert_eq!(
            forged(192 + offset, bytes),
            BankError::BadName { index: 0 },
            "{offset}"
        );
    }
    assert_eq!(
        forged(192 + 96 + 20, &[1]),
        BankError::ReservedNotZero { offset: 308 }
    );
    // "cat" becomes "a", or the table names a slot twice or one that is not there.
    assert_eq!(
        forged(192 + 12, b"\x01\0").clone(),
        BankError::BadName { index: 0 }
    );
    assert_eq!(forged(176, &[1]), BankError::DuplicateName { index: 1 });
    assert_eq!(forged(176, &[2]), BankError::BadOrder { index: 1 });
    assert_eq!(forged(176, &[9]), BankError::BadOrder { index: 0 });
}

#[test]
fn foreign_and_newer_files_are_named() {
    assert_eq!(
        ClassBank::load(b"RIFFxxxx").unwrap_err(),
        BankError::NotABank { found: *b"RIFF" }
    );
    assert_eq!(
        forged(4, &[2]),
        BankError::UnsupportedVersion {
            found: 2,
            supported: 1
        }
    );
    assert_eq!(forged(36, &[0]), BankError::NoClasses);
    for (offset, value) in [
        (36, 5u32),
        (40, 3),
        (40, u32::MAX),
        (44, 96),
        (44, 144),
        (48, 176),
        (48, 193),
        (52, 160),
        (60, 999),
    ] {
        let error = forged(offset, &value.to_le_bytes());
        assert_eq!(error, BankError::BadLayout, "{offset}: {value}");
    }
}

#[test]
fn a_device_adds_a_class_by_writing_one_slot() {
    let mut bytes = fixture(|spec| {
        spec.page_bytes = 256;
        spec.spare_slots = 2;
    });
    let layout = Header::read_from_prefix(&bytes)
        .unwrap()
        .0
        .layout()
        .unwrap();
    assert_eq!((layout.slot_bytes, layout.slots_offset % 256), (128, 0));
    let mut embedding = [0i8; 20];
    embedding[3] = -128;
    let bank = ClassBank::load(&bytes).unwrap();
    let mut slot = vec![0; bank.slot_bytes()];
    write_slot(&bank, "zebra", &embedding, &mut slot).unwrap();
    let start = bank.slot_offset(4).unwrap();

    // The state is written last: power lost at any byte before it leaves the bank as it was.
    for at in 4..slot.len() {
        bytes[start + at] = slot[at];
        assert_eq!(
            ClassBank::load(&bytes).unwrap().class_count(),
            4,
            "after byte {at}"
        );
    }
    bytes[start..start + 4].copy_from_slice(&slot[..4]);
    let bank = ClassBank::load(&bytes).unwrap();
    assert_eq!(
        (bank.class_count(), bank.find("zebra"), bank.find("cat")),
        (5, Some(4), Some(0))
    );
    assert_eq!(bank.class(4).unwrap().embedding, embedding);

    let mut again = bytes.clone();
    again.copy_within(start..start + 128, start + 128);
    assert_eq!(
        ClassBank::load(&again).unwrap_err(),
        BankError::DuplicateName { index: 5 }
    );
    for at in start..start + 128 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(ClassBank::load(&flipped).is_err(), "byte {at}");
    }
}

#[test]
fn a_class_after_a_free_slot_is_refused() {
    let mut bytes = fixture(|spec| spec.spare_slots = 2);
    let bank = ClassBank::load(&bytes).unwrap();
    let (start, mut slot) = (bank.slot_offset(5).unwrap(), vec![0; bank.slot_bytes()]);
    write_slot(&bank, "zebra", &[1; 20], &mut slot).unwrap();
    bytes[start..].copy_from_slice(&slot);
    assert!(matches!(
        ClassBank::load(&bytes),
        Err(BankError::BadSlotState { index: 5, .. })
    ));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let error = |names: &[&str], change: fn(&mut BankSpec<'_>)| {
        with_spec(names, change, |spec| write(spec).unwrap_err())
    };
    assert_eq!(
        error(&["a", "b", "a"], |_| ()),
        WriteError::Refused(BankError::DuplicateName { index: 2 })
    );
    assert_eq!(
        error(&[], |_| ()),
        WriteError::Refused(BankError::NoClasses)
    );
    assert!(matches!(
        error(&["a", ""], |_| ()),
        WriteError::NameLength {
            index: 1,
            found: 0,
            ..
        }
    ));
    assert!(matches!(
        error(&["a\0b"], |_| ()),
        WriteError::Refused(BankError::BadName { index: 0 })
    ));
    assert!(matches!(
        error(&["a"], |spec| spec.dim = 21),
        WriteError::Dimension {
            expected: 21,
            found: 20,
            ..
        }
    ));
    assert!(matches!(
        error(&["a"], |spec| spec.spare_slots = 257),
        WriteError::TooManySpareSlots { .. }
    ));
    assert!(matches!(
        error(&["a"], |spec| spec.temperature = f32::NAN),
        WriteError::Refused(BankError::BadNumber {
            field: "temperature",
            ..
        })
    ));
    for element in [0.0, f32::NAN, f32::INFINITY] {
        assert_eq!(quantise_embedding(&[element; 3], &mut [0; 3]), None);
    }
    let long = "x".repeat(100);
    let bytes = with_spec(&["short", &long], |_| (), |spec| write(spec).unwrap());
    let bank = ClassBank::load(&bytes).unwrap();
    assert_eq!((bank.name_capacity(), bank.find(&long)), (112, Some(1)));
}

#[test]
fn a_thousand_classes_are_found_by_name() {
    let names: Vec<String> = (0..1000)
        .map(|index| format!("class {}", index * 7919 % 1000))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bytes = with_spec(&names, |_| (), |spec| write(spec).unwrap());
    let bank = ClassBank::load(&bytes).unwrap();
    for (index, name) in names.iter().enumerate() {
        assert_eq!(bank.find(name), Some(index));
    }
}

#[test]
fn huge_and_tiny_embeddings_keep_their_direction() {
    for factor in [f32::MAX, 1.0, 1e-40] {
        let mut quantised = [0; 2];
        assert!(quantise_embedding(&[factor, -0.5 * factor], &mut quantised).is_some());
        assert_eq!(quantised, [127, -64]);
    }
}

/// A bank of five slots: two of the writer, two that a device added, one free.
fn grown() -> Vec<u8> {
    let mut bytes = with_spec(
        &["a", "b"],
        |spec| spec.spare_slots = 3,
        |spec| write(spec).unwrap(),
    );
    for name in ["c", "d"] {
        let bank = ClassBank::load(&bytes).unwrap();
        let start = bank.slot_offset(bank.class_count()).unwrap();
        let image = SlotImage::new(&bank, name, &[7; 20]).unwrap();
        let len = bank.slot_bytes();
        // In pieces that fall on no border.
        for (piece, dst) in bytes[start..start + len].chunks_mut(37).enumerate() {
            image.fill(piece * 37, dst);
        }
    }
    bytes
}

fn names(bytes: &[u8]) -> Vec<&str> {
    let bank = ClassBank::load(bytes).unwrap();
    bank.classes().map(|class| class.name).collect()
}

/// The changed bank, made in pieces of 53 bytes.
fn edited(bytes: &[u8], change: Change<'_>) -> Result<Vec<u8>, EditError> {
    let edited = EditedBank::new(bytes, change)?;
    let mut copy = vec![0; edited.bytes_len()];
    for (piece, dst) in copy.chunks_mut(53).enumerate() {
        edited.fill(bytes, piece * 53, dst);
    }
    Ok(copy)
}

#[test]
fn a_torn_slot_costs_itself_and_a_compaction_frees_it() {
    let mut bytes = grown();
    let bank = ClassBank::load(&bytes).unwrap();
    let torn = bank.slot_offset(2).unwrap();
    bytes[torn + 40] ^= 1;
    assert!(ClassBank::load(&bytes).is_err());
    let bank = ClassBank::load_in_flash(&bytes).unwrap();
    assert_eq!((bank.class_count(), bank.damaged_slots()), (2, 2));
    assert_eq!((bank.find("c"), bank.find("d")), (None, None));
    let copy = edited(&bytes, Change::Compact).unwrap();
    assert_eq!(names(&copy), ["a", "b", "d"]);
    assert_eq!(copy[..bank.written_bytes()], bytes[..bank.written_bytes()]);
    // Of two classes of one name the first stays.
    let from = bank.slot_offset(3).unwrap();
    let len = bank.slot_bytes();
    bytes.copy_within(from..from + len, torn + 2 * len);
    assert_eq!(
        names(&edited(&bytes, Change::Compact).unwrap()),
        ["a", "b", "d"]
    );
    // What the writer wrote is not left out.
    bytes[200] ^= 1;
    assert!(ClassBank::load_in_flash(&bytes).is_err());
}

#[test]
fn every_class_can_be_removed_and_replaced() {
    let bytes = grown();
    for index in 0..4 {
        let mut expected = names(&bytes);
        let bank = ClassBank::load(&bytes).unwrap();
        let name = expected[index];
        let embedding: Vec<i8> = (0..20).map(|at| at - 10).collect();
        let image = SlotImage::new(&bank, name, &embedding).unwrap();
        let copy = edited(&bytes, Change::Replace(index, image)).unwrap();
        assert_eq!(names(&copy), expected);
        let replaced = ClassBank::load(&copy).unwrap();
        assert_eq!(replaced.class(index).unwrap().embedding, embedding);
        let other = (index + 1) % 4;
        assert_eq!(replaced.class(other), bank.class(other));
        let copy = edited(&bytes, Change::Remove(index)).unwrap();
        expected.remove(index);
        assert_eq!(names(&copy), expected);
        let left = ClassBank::load(&copy).unwrap();
        assert_eq!((left.slot_count(), left.find(name)), (5, None));
        assert!(
            expected
                .iter()
                .enumerate()
                .all(|(at, name)| left.find(name) == Some(at))
        );
    }
}

#[test]
fn a_bank_is_emptied_to_its_last_class_and_filled_to_its_last_slot() {
    let mut bytes = grown();
    for left in [["b", "c", "d"].as_slice(), &["c", "d"], &["d"]] {
        bytes = edited(&bytes, Change::Remove(0)).unwrap();
        assert_eq!(names(&bytes), left);
    }
    assert_eq!(edited(&bytes, Change::Remove(0)), Err(EditError::LastClass));
    let missing = EditError::NoSuchClass {
        index: 1,
        classes: 1,
    };
    assert_eq!(edited(&bytes, Change::Remove(1)), Err(missing));
    for name in ["e", "f", "g", "h"] {
        let bank = ClassBank::load(&bytes).unwrap();
        let image = SlotImage::new(&bank, name, &[1; 20]).unwrap();
        bytes = edited(&bytes, Change::Add(image)).unwrap();
    }
    assert_eq!(names(&bytes), ["d", "e", "f", "g", "h"]);
    let bank = ClassBank::load(&bytes).unwrap();
    let image = SlotImage::new(&bank, "i", &[1; 20]).unwrap();
    let full = EditError::Full { slots: 5 };
    assert_eq!(edited(&bytes, Change::Add(image)), Err(full));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = ClassBank::load(&bytes);
        let _ = edited(&bytes, Change::Compact);
    }

    #[test]
    fn any_forged_header_or_slot_is_read_or_refused_without_a_panic(
        changes in prop::collection::vec((0usize..800, any::<u8>()), 1..6),
        slot in 0usize..6,
    ) {
        let mut bytes = fixture(|spec| spec.spare_slots = 1);
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[at % len] = byte;
        }
        forge_slot(&mut bytes, slot);
        for change in [Change::Compact, Change::Remove(slot)] {
            // What can be copied is sound.
            if let Ok(copy) = edited(&bytes, change) {
                prop_assert!(ClassBank::load(&copy).is_ok());
            }
        }
        if let Ok(bank) = ClassBank::load(&bytes) {
            prop_assert!(bank.classes().all(|class| !class.name.is_empty() && class.embedding.len() == bank.dim()));
        }
    }
}
