//! Whatever lies in the flash, a device starts, says what it found, and can be used.

use crate::chip::Chip;
use crate::common::Random;
use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, Layout, Storage};
use pinhole_runtime::bank::ClassBank;
use pinhole_runtime::model::Model;

const ERASE: usize = 512;

/// Uses what was found, and changes it.
fn use_it(mut device: Device<4, ERASE>) {
    if let Ok(bytes) = device.model() {
        assert!(Model::load(bytes).is_ok());
    }
    if let Ok(bytes) = device.bank() {
        assert!(ClassBank::load_in_flash(bytes).is_ok());
    }
    let _ = (device.statistics(), device.threshold(), device.upload());
    let _ = device.set_threshold(Some(1.0));
    let _ = device.add_class("new", &embedding(1));
    let _ = device.replace_class("new", &embedding(2));
    let _ = device.remove_class("cat");
    if let Some((upload, received)) = device.upload() {
        let rest = upload.total_bytes - received;
        let _ = device.write(received, &vec![0x55; rest as usize]);
    }
    let _ = device.finish();
    let _ = device.activate(Activate::Both);
    let _ = device.select(Kind::Model, 0);
    let file = model(SPACE, 12);
    if device.key().is_none() {
        upload(&mut device, Kind::Model, &file);
        if device.activate(Activate::Model).is_ok() {
            assert_eq!(device.model().unwrap(), file);
        }
    }
}

fn start(chip: Chip<4, ERASE>, layout: &Layout) -> Device<4, ERASE> {
    Storage::open(chip, layout.clone(), options()).unwrap()
}

/// Chips with everything in them: a key or none, uploads in flight, added classes, torn slots.
fn chips() -> (Layout, Vec<Chip<4, ERASE>>) {
    let (layout, _) = layout::<4, ERASE>(2, true);
    let factory = bank(SPACE, &["factory"], 2, 128, 4);
    let mut device = open(blank::<4, ERASE>(Some(&factory)), true);
    let mut chips = Vec::new();
    upload(&mut device, Kind::Model, &signed(&model(SPACE, 10), 3));
    let bank = bank(SPACE, &["cat", "dog"], 3, 128, 1);
    upload(&mut device, Kind::Bank, &signed(&bank, 3));
    device.activate(Activate::Both).unwrap();
    device.add_class("sun", &embedding(1)).unwrap();
    chips.push(device.into_flash());
    let mut device = start(chips[0].clone(), &layout);
    upload(&mut device, Kind::Model, &model(SPACE, 200));
    device.compact().unwrap();
    let _ = device.begin_upload(Kind::Bank, 900, 5);
    chips.push(device.into_flash());
    let mut device = start(chips[0].clone(), &layout);
    device.provision(key().as_bytes()).unwrap();
    chips.push(device.into_flash());
    let mut device = start(chips[0].clone().cut_after(70, 3), &layout);
    assert!(device.add_class("moon", &embedding(3)).is_err());
    chips.push(device.into_flash().restart());
    (layout, chips)
}

/// How many cases a test runs: so many, or what the environment says.
fn mutations(default: u64) -> u64 {
    let set = std::env::var("PINHOLE_MUTATIONS").ok();
    set.map_or(default, |set| set.parse().expect("a number of mutations"))
}

/// One change: to a bit, a byte, a stretch, or what one part of the flash lends another.
fn damage(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(bytes.len());
    let len = (1 + random.below(300)).min(bytes.len() - at);
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes[at..at + len].fill(0xff),
        3 => bytes[at..at + len].fill(0),
        4 => bytes[at..at + len].fill_with(|| random.next() as u8),
        _ => {
            let from = random.below(bytes.len() - len + 1);
            bytes.copy_within(from..from + len, at);
        }
    }
}

#[test]
fn damaged_flash_makes_no_panic_and_takes_a_model_again() {
    let (layout, chips) = chips();
    for seed in 0..mutations(6000) {
        let mut random = Random(seed);
        let mut chip = chips[random.below(chips.len())].clone();
        for _ in 0..1 + random.below(6) {
            damage(&mut chip.bytes, &mut random);
        }
        use_it(start(chip, &layout));
    }
}

/// Fields of records and headers, behind checksums that fit.
#[test]
fn forged_records_make_no_panic() {
    let (layout, chips) = chips();
    let state = layout.state.start as usize..layout.state.end as usize;
    for seed in 0..mutations(6000) {
        let mut random = Random(seed);
        let mut chip = chips[random.below(chips.len())].clone();
        for record in chip.bytes[state.clone()].chunks_mut(160) {
            if record.len() == 160 && record.starts_with(b"PHST") {
                for _ in 0..random.below(3) {
                    record[random.below(156)] = random.next() as u8;
                }
                let crc = crc32(&record[..156]);
                record[156..].copy_from_slice(&crc.to_le_bytes());
            }
        }
        use_it(start(chip, &layout));
    }
}

#[test]
fn random_bytes_are_no_model_and_no_bank() {
    let (layout, sectors) = layout::<4, ERASE>(2, true);
    for seed in 0..mutations(300) {
        let mut chip = Chip::<4, ERASE>::new(sectors, seed);
        let bytes = Random(seed).bytes(chip.bytes.len());
        chip.bytes.copy_from_slice(&bytes);
        let device = start(chip, &layout);
        assert!(device.model().is_err() && device.bank().is_err());
        assert!(device.key().is_none());
        use_it(device);
    }
}

/// The state says which slot is active; whatever it says, a sound file of the other one is found.
#[test]
fn bytes_of_the_journal_alone_never_hide_a_sound_model() {
    let (layout, chips) = chips();
    let state = layout.state.start as usize..layout.state.end as usize;
    for seed in 0..mutations(3000) {
        let mut random = Random(seed);
        let mut chip = chips[1].clone();
        damage(&mut chip.bytes[state.clone()], &mut random);
        assert!(start(chip, &layout).model().is_ok(), "seed {seed}");
    }
}
