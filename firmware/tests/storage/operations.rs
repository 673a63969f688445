//! What each operation does while the power stays.

use crate::files::*;
use pinhole_firmware::storage::{
    Activate, Kind, Layout, LayoutFault, SlotFault, SlotStatus, Storage, StorageError,
};

const NAMES: [&str; 3] = ["cat", "dog", "kite"];

fn device() -> Device<4, 512> {
    installed(&model(SPACE, 10), &bank(SPACE, &NAMES, 3, 128, 1))
}

fn restarted<const W: usize, const E: usize>(device: Device<W, E>) -> Device<W, E> {
    open(device.into_flash().restart(), false)
}

fn names<const W: usize, const E: usize>(device: &Device<W, E>) -> Vec<String> {
    let classes = classes(device.bank().unwrap());
    classes.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn an_empty_device_says_what_is_missing() {
    let device = open(blank::<4, 512>(None), false);
    let text = device.model().unwrap_err().to_string();
    assert!(text.starts_with("no model: slot A: model: "), "{text}");
    let text = device.bank().unwrap_err().to_string();
    assert!(
        text.contains("slot B: class bank: not a class bank"),
        "{text}"
    );
}

#[test]
fn what_was_uploaded_and_activated_runs_after_a_restart() {
    let (model_a, bank_a) = (model(SPACE, 10), bank(SPACE, &NAMES, 3, 128, 1));
    let device = restarted(device());
    assert_eq!(device.model().unwrap(), model_a);
    assert_eq!(device.bank().unwrap(), bank_a);
    assert_eq!(device.slots(Kind::Model).running, Some(1));
    assert_eq!(device.statistics().free_slots, 3);
}

#[test]
fn images_that_came_with_the_firmware_run_without_a_journal() {
    let (model, bank) = (model(SPACE, 10), bank(SPACE, &NAMES, 3, 128, 1));
    let mut chip = blank::<4, 512>(None);
    let (layout, _) = layout::<4, 512>(2, false);
    chip.bytes[layout.models[0].start as usize..][..model.len()].copy_from_slice(&model);
    chip.bytes[layout.banks[0].start as usize..][..bank.len()].copy_from_slice(&bank);
    let mut device = open(chip, false);
    assert_eq!(device.model().unwrap(), model);
    device.add_class("ship", &embedding(5)).unwrap();
    assert_eq!(names(&restarted(device)), ["cat", "dog", "kite", "ship"]);
}

#[test]
fn a_finished_upload_waits_for_its_activation_through_a_restart() {
    let mut device = device();
    let next = model(SPACE, 33);
    upload(&mut device, Kind::Model, &next);
    assert_eq!(device.model().unwrap(), model(SPACE, 10));
    let mut device = restarted(device);
    assert_eq!(device.slots(Kind::Model).status[0], SlotStatus::Ready);
    device.activate(Activate::Model).unwrap();
    assert_eq!(device.model().unwrap(), next);
    assert_eq!(restarted(device).model().unwrap(), next);
}

#[test]
fn an_upload_goes_on_after_the_cable_was_pulled_and_after_a_restart() {
    let mut device = installed::<4, 256>(&model(SPACE, 10), &bank(SPACE, &NAMES, 3, 128, 1));
    let next = model(SPACE, 500);
    let begin = |device: &mut Device<4, 256>| {
        device
            .begin_upload(Kind::Model, next.len() as u32, crc32(&next))
            .unwrap()
    };
    assert_eq!(begin(&mut device), 0);
    assert_eq!(device.write(0, &next[..777]), Ok(777));
    assert_eq!(begin(&mut device), 777);
    let mut device = restarted(device);
    let received = begin(&mut device);
    assert_eq!(received, 512, "whole sectors before the last one");
    assert_eq!(device.write(600, b"x"), Err(StorageError::Gap { received }));
    // A chunk from before is skipped, what is new in it is taken.
    assert_eq!(device.write(500, &next[500..800]), Ok(800));
    assert_eq!(device.write(0, &next[..800]), Ok(800));
    assert_eq!(device.finish(), Err(StorageError::Gap { received: 800 }));
    device.write(800, &next[800..]).unwrap();
    let total = next.len() as u32;
    assert_eq!(
        device.write(total, b"x"),
        Err(StorageError::TooManyBytes { total })
    );
    device.finish().unwrap();
    device.activate(Activate::Model).unwrap();
    assert_eq!(restarted(device).model().unwrap(), next);
}

#[test]
fn an_upload_that_is_refused_leaves_what_runs() {
    let mut device = device();
    let before = seen(&device);
    let mut damaged = model(SPACE, 33);
    damaged[200] ^= 1;
    send(&mut device, Kind::Model, &damaged).unwrap();
    let error = device.finish().unwrap_err();
    assert!(
        error.to_string().starts_with("model refused: model: "),
        "{error}"
    );
    // Bytes that are not the ones that were announced.
    let next = model(SPACE, 33);
    device
        .begin_upload(Kind::Model, next.len() as u32, crc32(&next) ^ 1)
        .unwrap();
    device.write(0, &next).unwrap();
    assert!(matches!(
        device.finish(),
        Err(StorageError::UploadChecksum { .. })
    ));
    assert_eq!(
        device.activate(Activate::Model),
        Err(StorageError::NoUpload)
    );
    // More than a slot holds; something behind the file.
    assert!(matches!(
        device.begin_upload(Kind::Model, MODEL_SLOT + 1, 0),
        Err(StorageError::TooLong { .. })
    ));
    send(&mut device, Kind::Model, &[&next[..], b"????"].concat()).unwrap();
    assert!(matches!(
        device.finish(),
        Err(StorageError::Refused {
            fault: SlotFault::Length { .. },
            ..
        })
    ));
    assert_eq!(seen(&device), before);
    assert_eq!(seen(&restarted(device)), before);
}

#[test]
fn a_bank_of_another_space_needs_its_model_first() {
    let mut device = device();
    let other = bank(OTHER_SPACE, &["tree"], 2, 128, 3);
    send(&mut device, Kind::Bank, &other).unwrap();
    let error = device.finish().unwrap_err().to_string();
    assert!(error.contains("class bank refused"), "{error}");
    upload(&mut device, Kind::Model, &model(OTHER_SPACE, 1));
    // The model alone would leave the device without a bank.
    assert!(matches!(
        device.activate(Activate::Model),
        Err(StorageError::Refused {
            kind: Kind::Bank,
            ..
        })
    ));
    upload(&mut device, Kind::Bank, &other);
    assert!(device.activate(Activate::Bank).is_err());
    device.activate(Activate::Both).unwrap();
    let mut device = restarted(device);
    assert_eq!(names(&device), ["tree"]);
    // The bank that suits comes back with its model.
    device.select(Kind::Model, 1).unwrap();
    assert_eq!(names(&device), NAMES);
    assert_eq!(names(&restarted(device)), NAMES);
}

#[test]
fn classes_are_added_in_place_until_the_bank_is_full() {
    let mut device = device();
    let slot = device.slots(Kind::Bank).running;
    for (index, name) in ["sun", "moon", "star"].into_iter().enumerate() {
        device.add_class(name, &embedding(index as u64)).unwrap();
    }
    assert_eq!(device.slots(Kind::Bank).running, slot, "no copy was made");
    let error = device.add_class("more", &embedding(9)).unwrap_err();
    assert!(error.to_string().starts_with("all 6 slots"), "{error}");
    assert_eq!(
        device.add_class("sun", &embedding(9)),
        Err(StorageError::ClassExists { index: 3 })
    );
    let device = restarted(device);
    let all = classes(device.bank().unwrap());
    assert_eq!(
        names(&device),
        ["cat", "dog", "kite", "sun", "moon", "star"]
    );
    assert_eq!(all[4].1, embedding(1));
}

#[test]
fn classes_are_removed_and_replaced_wherever_they_are() {
    let mut device = device();
    device.set_threshold(Some(-3.5)).unwrap();
    device.add_class("sun", &embedding(1)).unwrap();
    device.add_class("moon", &embedding(2)).unwrap();
    device.remove_class("dog").unwrap();
    device.remove_class("sun").unwrap();
    assert_eq!(names(&device), ["cat", "kite", "moon"]);
    device.replace_class("cat", &embedding(3)).unwrap();
    device.replace_class("moon", &embedding(4)).unwrap();
    let mut device = restarted(device);
    let all = classes(device.bank().unwrap());
    assert_eq!(names(&device), ["cat", "kite", "moon"]);
    assert_eq!((&all[0].1, &all[2].1), (&embedding(3), &embedding(4)));
    assert_eq!(device.threshold(), Some(-3.5), "goes with its bank");
    assert_eq!(device.remove_class("dog"), Err(StorageError::NoSuchClass));
    device.remove_class("cat").unwrap();
    device.remove_class("kite").unwrap();
    // An added class takes the place of the last one that the writer put in.
    assert_eq!(names(&restarted(device)), ["moon"]);
}

#[test]
fn banks_whose_slots_are_not_apart_are_copied() {
    // Slots of 112 bytes are no multiple of a write of 32.
    let mut device = installed::<32, 1024>(&model(SPACE, 10), &bank(SPACE, &NAMES, 3, 0, 1));
    for (index, name) in ["sun", "moon", "star"].into_iter().enumerate() {
        device.add_class(name, &embedding(index as u64)).unwrap();
    }
    let device = restarted(device);
    assert_eq!(
        names(&device),
        ["cat", "dog", "kite", "sun", "moon", "star"]
    );
}

#[test]
fn a_bank_upload_holds_its_slot_until_it_is_cancelled() {
    let mut device = device();
    upload(&mut device, Kind::Bank, &bank(SPACE, &["tree"], 0, 128, 3));
    assert_eq!(device.remove_class("dog"), Err(StorageError::UploadOpen));
    device.add_class("sun", &embedding(1)).unwrap();
    device.cancel_upload().unwrap();
    device.remove_class("dog").unwrap();
    assert_eq!(names(&device), ["cat", "kite", "sun"]);
}

#[test]
fn a_damaged_slot_falls_back_to_the_other_one_and_then_to_the_factory_bank() {
    let factory = bank(SPACE, &["factory"], 2, 128, 4);
    let mut device = open(blank::<4, 512>(Some(&factory)), true);
    let models = [model(SPACE, 10), model(SPACE, 20)];
    for (index, model) in models.iter().enumerate() {
        upload(&mut device, Kind::Model, model);
        device.activate(Activate::Model).unwrap();
        assert_eq!(names(&device)[0], "factory");
        let bank = bank(SPACE, &NAMES[index..], 2, 128, 4);
        upload(&mut device, Kind::Bank, &bank);
        device.cancel_upload().unwrap();
    }
    for names in [&NAMES[..2], &NAMES[2..]] {
        upload(&mut device, Kind::Bank, &bank(SPACE, names, 2, 128, 4));
        device.activate(Activate::Bank).unwrap();
    }
    let (layout, _) = layout::<4, 512>(2, true);
    let mut chip = device.into_flash();
    let active = |kind: Kind, chip: &crate::chip::Chip<4, 512>| {
        let running = open(chip.clone(), true).slots(kind).running.unwrap();
        match kind {
            Kind::Model => layout.models[usize::from(running)].start as usize,
            Kind::Bank => layout.banks[usize::from(running)].start as usize,
        }
    };
    let at = active(Kind::Model, &chip);
    chip.bytes[at + 100] ^= 1;
    assert_eq!(open(chip.clone(), true).model().unwrap(), models[0]);
    let at = active(Kind::Bank, &chip);
    chip.bytes[at + 100] ^= 1;
    assert_eq!(names(&open(chip.clone(), true)), &NAMES[..2]);
    let at = active(Kind::Bank, &chip);
    chip.bytes[at + 200] ^= 1;
    let mut device = open(chip, true);
    assert_eq!(names(&device), ["factory"]);
    let fault = device.fallback(Kind::Bank).unwrap().to_string();
    assert!(fault.contains("checksum"), "{fault}");
    // And goes on from there.
    device.add_class("sun", &embedding(1)).unwrap();
    assert_eq!(device.fallback(Kind::Bank), None);
    let mut device = open(device.into_flash(), true);
    assert_eq!(names(&device), ["factory", "sun"]);
    device.factory_reset().unwrap();
    assert_eq!(names(&open(device.into_flash(), true)), ["factory"]);
}

#[test]
fn erasing_all_leaves_nothing() {
    let mut device = device();
    device.set_threshold(Some(1.0)).unwrap();
    device.erase_all().unwrap();
    let device = restarted(device);
    assert!(device.model().is_err() && device.bank().is_err());
    let chip = device.into_flash();
    assert!(!chip.bytes.windows(4).any(|four| four == b"PHM1"));
}

#[test]
fn layouts_that_do_not_suit_the_flash_are_refused() {
    let (sound, sectors) = layout::<4, 512>(2, true);
    let fault = |change: &dyn Fn(&mut Layout)| {
        let mut layout = sound.clone();
        change(&mut layout);
        let chip = crate::chip::Chip::<4, 512>::new(sectors, 1);
        match Storage::open(chip, layout, options()) {
            Err(StorageError::Layout(fault)) => fault,
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    let overlap = fault(&|layout| layout.banks[1] = layout.models[0].clone());
    assert!(matches!(overlap, LayoutFault::Overlap { .. }));
    let aligned = fault(&|layout| layout.models[0].end -= 4);
    assert!(matches!(aligned, LayoutFault::Alignment { .. }));
    let bounds = fault(&|layout| layout.factory_bank = Some(0..1 << 30));
    assert!(matches!(bounds, LayoutFault::Bounds { .. }));
    let empty = fault(&|layout| layout.banks[0] = 512..512);
    assert!(matches!(empty, LayoutFault::Bounds { .. }));
    let small = fault(&|layout| layout.state.end -= 512);
    assert!(matches!(small, LayoutFault::StateTooSmall { .. }));
}
