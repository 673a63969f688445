//! Flash that is used evenly, and flash that no longer works.

use crate::chip::Chip;
use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, MappedFlash, Storage, StorageError};

fn device<const W: usize, const E: usize>() -> Device<W, E> {
    installed(&model(SPACE, 10), &bank(SPACE, &["cat", "dog"], 3, 128, 1))
}

#[test]
fn the_journal_erases_a_sector_once_for_many_records_and_all_sectors_alike() {
    let (layout, sectors) = layout::<4, 4096>(3, false);
    let chip = Chip::<4, 4096>::new(sectors, 1);
    let mut device = Storage::open(chip, layout.clone(), options()).unwrap();
    upload(&mut device, Kind::Model, &model(SPACE, 10));
    upload(&mut device, Kind::Bank, &bank(SPACE, &["cat"], 3, 128, 1));
    device.activate(Activate::Both).unwrap();
    for index in 0..5000 {
        device.set_threshold(Some(index as f32)).unwrap();
    }
    let chip = device.into_flash();
    let first = layout.state.start as usize / 4096;
    let erases = &chip.erases[first..first + 3];
    // 25 records of 160 bytes a sector.
    let total: u32 = erases.iter().sum();
    assert_eq!(total, 5000_u32.div_ceil(25) + 1, "{erases:?}");
    assert!(erases.iter().max().unwrap() - erases.iter().min().unwrap() <= 1);
}

#[test]
fn classes_are_added_without_an_erase_or_a_record() {
    let mut device = device::<4, 512>();
    let before = device.statistics();
    device.add_class("sun", &embedding(1)).unwrap();
    let after = device.statistics();
    assert_eq!(after.erases, before.erases);
    assert!(after.writes <= before.writes + 3);
    assert_eq!((after.classes, after.free_slots), (3, 2));
}

#[test]
fn a_worn_sector_of_a_slot_is_named_and_the_old_file_runs_on() {
    let (layout, _) = layout::<4, 512>(2, false);
    for stuck in [false, true] {
        let device = device::<4, 512>();
        let before = seen(&device);
        let spare = 1 - device.slots(Kind::Model).running.unwrap();
        let sector = layout.models[usize::from(spare)].start as usize / 512;
        let mut chip = device.into_flash();
        match stuck {
            true => chip.stuck[sector] = true,
            false => chip.worn[sector] = true,
        }
        let mut device = open(chip, false);
        let error = send(&mut device, Kind::Model, &model(SPACE, 20)).unwrap_err();
        match stuck {
            true => assert!(matches!(error, StorageError::Flash(_)), "{error}"),
            false => assert!(error.to_string().contains("worn out"), "{error}"),
        }
        assert_eq!(seen(&device), before);
        assert_eq!(device.finish(), Err(StorageError::Gap { received: 0 }));
        assert_eq!(seen(&open(device.into_flash(), false)), before);
    }
}

#[test]
fn a_worn_bank_slot_leaves_the_bank_as_it_was() {
    let (layout, _) = layout::<4, 512>(2, false);
    let device = device::<4, 512>();
    let before = seen(&device);
    let spare = 1 - device.slots(Kind::Bank).running.unwrap();
    let mut chip = device.into_flash();
    chip.worn[layout.banks[usize::from(spare)].start as usize / 512] = true;
    let mut device = open(chip, false);
    assert!(matches!(
        device.remove_class("cat"),
        Err(StorageError::WornOut { .. })
    ));
    assert_eq!(seen(&device), before);
    // A class in place still works.
    device.add_class("sun", &embedding(1)).unwrap();
}

#[test]
fn a_class_that_its_slot_does_not_keep_goes_into_a_copy() {
    let (layout, _) = layout::<4, 512>(2, false);
    let device = device::<4, 512>();
    let running = device.slots(Kind::Bank).running.unwrap();
    let bank = layout.banks[usize::from(running)].clone();
    let mut chip = device.into_flash();
    for sector in bank.step_by(512) {
        chip.worn[sector as usize / 512] = true;
    }
    let mut device = open(chip, false);
    device.add_class("sun", &embedding(1)).unwrap();
    assert_eq!(device.slots(Kind::Bank).running, Some(1 - running));
    let names: Vec<String> = seen(&device)
        .classes
        .unwrap()
        .into_iter()
        .map(|c| c.0)
        .collect();
    assert_eq!(names, ["cat", "dog", "sun"]);
}

#[test]
fn the_journal_goes_round_a_worn_sector_and_says_when_none_is_left() {
    let (layout, sectors) = layout::<4, 512>(4, false);
    let reopen = |chip: Chip<4, 512>| Storage::open(chip, layout.clone(), options()).unwrap();
    let mut device = reopen(Chip::new(sectors, 1));
    upload(&mut device, Kind::Model, &model(SPACE, 10));
    upload(&mut device, Kind::Bank, &bank(SPACE, &["cat"], 3, 128, 1));
    device.activate(Activate::Both).unwrap();
    let mut chip = device.into_flash();
    let first = layout.state.start as usize / 512;
    (chip.worn[first + 1], chip.stuck[first + 2]) = (true, true);
    let mut device = reopen(chip);
    for index in 0..50 {
        device.set_threshold(Some(index as f32)).unwrap();
    }
    device = reopen(device.into_flash());
    assert_eq!(device.threshold(), Some(49.0));
    // Then no sector at all.
    let mut chip = device.into_flash();
    chip.worn.fill(true);
    let before = chip.mapped().to_vec();
    let mut device = reopen(chip);
    let failed = device.set_threshold(Some(3.0));
    assert_eq!(failed, Err(StorageError::StateWornOut));
    assert_eq!(device.threshold(), Some(49.0));
    assert_eq!(device.set_threshold(None), Err(StorageError::StateWornOut));
    let device = reopen(device.into_flash());
    assert_eq!(device.threshold(), Some(49.0));
    assert_ne!(device.into_flash().mapped(), before, "it was tried");
}
