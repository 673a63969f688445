//! What a device with a key takes, and what not.

use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, Options, SlotFault, Storage, StorageError};
use pinhole_signing::{SignatureFault, TRAILER_BYTES, public_key, sign, sign_rotation};

fn signed_bank(counter: u32) -> Vec<u8> {
    signed(&bank(SPACE, &["cat", "dog"], 3, 128, 1), counter)
}

fn device() -> Device<4, 512> {
    let mut device = installed(&signed(&model(SPACE, 10), 5), &signed_bank(5));
    device.provision(key().as_bytes()).unwrap();
    device
}

fn refused(device: &mut Device<4, 512>, kind: Kind, file: &[u8]) -> SlotFault {
    let before = seen(device);
    send(device, kind, file).unwrap();
    let fault = match device.finish() {
        Err(StorageError::Refused { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(device), before);
    fault
}

#[test]
fn what_the_key_did_not_sign_is_refused() {
    let mut device = device();
    let next = model(SPACE, 33);
    let fault = refused(&mut device, Kind::Model, &next);
    assert_eq!(fault, SlotFault::Signature(SignatureFault::Unsigned));
    let foreign = sign(&next, &OTHER_SEED, 9).unwrap();
    let fault = refused(&mut device, Kind::Model, &foreign);
    assert!(matches!(
        fault,
        SlotFault::Signature(SignatureFault::OtherKey { .. })
    ));
    let (expected, found) = (5, 4);
    let fault = refused(&mut device, Kind::Model, &signed(&next, found));
    assert_eq!(fault, SlotFault::RolledBack { expected, found });
    let fault = refused(&mut device, Kind::Bank, &signed_bank(found));
    assert_eq!(fault, SlotFault::RolledBack { expected, found });
    for counter in [5, 6] {
        upload(&mut device, Kind::Model, &signed(&next, counter));
        device.activate(Activate::Model).unwrap();
        assert_eq!(device.counter(Kind::Model), counter);
    }
    // The slot before has a lower counter now.
    let other = 1 - device.slots(Kind::Model).running.unwrap();
    let error = device.select(Kind::Model, other).unwrap_err().to_string();
    assert_eq!(
        error,
        "model refused: signed with counter 5, this device takes 6 and above"
    );
}

/// A trailer that another file or kind had does not fit.
#[test]
fn every_single_byte_change_of_a_signed_file_is_refused() {
    let bank = bank(SPACE, &["cat"], 1, 0, 1);
    for (kind, file) in [
        (Kind::Model, signed(&model(SPACE, 40), 6)),
        (Kind::Bank, signed(&bank, 6)),
    ] {
        let mut device = device();
        let before = seen(&device);
        let mut changes = 0;
        for at in 0..file.len() {
            for change in [1, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] ^= change;
                // The checksum of the upload fits: whoever forges a file can compute that.
                let sent = send(&mut device, kind, &damaged).and_then(|()| device.finish());
                assert!(
                    matches!(sent, Err(StorageError::Refused { .. })),
                    "{kind:?}, byte {at}: {sent:?}"
                );
                changes += 1;
            }
        }
        assert_eq!(seen(&device), before);
        assert_eq!(changes, 3 * file.len());
        upload(&mut device, kind, &file);
    }
}

#[test]
fn the_signature_of_the_file_before_is_not_taken_for_that_of_the_next() {
    // A bank of whole sectors: its signature lies in a sector of its own.
    let bank = bank(SPACE, &["cat", "dog"], 4, 256, 1);
    assert!(bank.len().is_multiple_of(256));
    let mut device = installed::<4, 256>(&model(SPACE, 10), &bank);
    for file in [&signed(&bank, 1), &bank, &signed(&bank, 1), &bank] {
        upload(&mut device, Kind::Bank, file);
        device.activate(Activate::Bank).unwrap();
    }
    upload(&mut device, Kind::Bank, &signed(&bank, 1));
    device.activate(Activate::Bank).unwrap();
    // The copies have none any more.
    device.replace_class("cat", &embedding(1)).unwrap();
    device.replace_class("cat", &embedding(2)).unwrap();
    device.replace_class("cat", &embedding(3)).unwrap();
    upload(&mut device, Kind::Model, &signed(&model(SPACE, 10), 1));
    device.activate(Activate::Model).unwrap();
    let error = device.provision(key().as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("class bank refused: not signed"),
        "{error}"
    );
}

/// Checksums that fit, so that the signature alone is left.
#[test]
fn a_forged_file_with_sound_checksums_is_refused_by_its_signature() {
    let mut device = device();
    let model_file = signed(&model(SPACE, 40), 6);
    let (_, trailer) = model_file.split_at(model_file.len() - TRAILER_BYTES);
    let mut forged = model(SPACE, 40);
    let at = forged.len() - 2;
    forged[at] = b'y';
    crate::common::seal(&mut forged);
    let fault = refused(&mut device, Kind::Model, &[&forged[..], trailer].concat());
    assert_eq!(fault, SlotFault::Signature(SignatureFault::Wrong));
    // A class in a spare slot of a signed bank: it was not there when the bank was signed.
    let mut donor = installed::<4, 512>(&model(SPACE, 10), &signed_bank(6));
    donor.add_class("sun", &embedding(1)).unwrap();
    let bank_file = signed_bank(6);
    let (_, trailer) = bank_file.split_at(bank_file.len() - TRAILER_BYTES);
    let filled = [donor.bank().unwrap(), trailer].concat();
    let fault = refused(&mut device, Kind::Bank, &filled);
    assert!(
        matches!(fault, SlotFault::SpareSlotNotBlank { .. }),
        "{fault}"
    );
}

#[test]
fn the_signature_is_verified_at_every_start() {
    let device = device();
    let (layout, _) = layout::<4, 512>(2, false);
    let running = device.slots(Kind::Model).running.unwrap();
    let start = layout.models[usize::from(running)].start as usize;
    let len = device.model().unwrap().len();
    let chip = device.into_flash().restart();
    for at in [len, len + 8, len + 12, len + 40, len + TRAILER_BYTES - 1] {
        let mut chip = chip.clone();
        chip.bytes[start + at] ^= 1;
        let device = open(chip, false);
        let text = device.model().unwrap_err().to_string();
        assert!(
            text.contains("sign") || text.contains("followed by"),
            "{text}"
        );
    }
}

#[test]
fn classes_are_added_to_a_signed_bank_and_survive_restarts_and_copies() {
    let mut device = device();
    device.add_class("sun", &embedding(1)).unwrap();
    device.add_class("moon", &embedding(2)).unwrap();
    device.remove_class("sun").unwrap();
    device.replace_class("moon", &embedding(3)).unwrap();
    for error in [
        device.remove_class("cat").unwrap_err(),
        device.replace_class("dog", &embedding(1)).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("signed part of the bank"),
            "{error}"
        );
    }
    let device = open(device.into_flash().restart(), false);
    let names: Vec<String> = seen(&device)
        .classes
        .unwrap()
        .into_iter()
        .map(|c| c.0)
        .collect();
    assert_eq!(names, ["cat", "dog", "moon"]);
}

#[test]
fn a_device_takes_its_key_only_with_files_that_the_key_signed() {
    let bank = bank(SPACE, &["cat", "dog"], 3, 128, 1);
    let mut device = installed::<4, 512>(&model(SPACE, 10), &bank);
    let error = device.provision(key().as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("model refused: not signed"), "{error}");
    // A point of small order verifies what nobody signed.
    let mut weak = [0; 32];
    weak[0] = 1;
    let refused = device.provision(&weak);
    assert_eq!(refused, Err(StorageError::Key(SignatureFault::BadKey)));
    assert!(device.key().is_none());
}

#[test]
fn a_key_is_replaced_by_its_own_request_alone_and_only_once() {
    let mut device = device();
    assert_eq!(device.provision(&[9; 32]), Err(StorageError::KeyExists));
    let new = public_key(&OTHER_SEED);
    let wrong = sign_rotation(&OTHER_SEED, &new, 1);
    let refused = device.replace_key(new.as_bytes(), 1, &wrong);
    assert_eq!(refused, Err(StorageError::Key(SignatureFault::Wrong)));
    let request = sign_rotation(&SEED, &new, 1);
    assert!(device.replace_key(new.as_bytes(), 2, &request).is_err());
    device.replace_key(new.as_bytes(), 1, &request).unwrap();
    // What lies in the slots runs on; what comes needs the new key.
    let mut device = open(device.into_flash().restart(), false);
    assert_eq!(device.model().unwrap(), model(SPACE, 10));
    device.add_class("sun", &embedding(1)).unwrap();
    let next = model(SPACE, 33);
    send(&mut device, Kind::Model, &signed(&next, 9)).unwrap();
    assert!(device.finish().is_err());
    upload(
        &mut device,
        Kind::Model,
        &sign(&next, &OTHER_SEED, 9).unwrap(),
    );
    device.activate(Activate::Model).unwrap();
    // Back to the first key, and the request from before again.
    let back = sign_rotation(&OTHER_SEED, &key(), 2);
    device.replace_key(key().as_bytes(), 2, &back).unwrap();
    let (expected, found) = (3, 1);
    let replayed = device.replace_key(new.as_bytes(), 1, &request);
    assert_eq!(replayed, Err(StorageError::OldRequest { expected, found }));
}

#[test]
fn a_key_in_the_firmware_cannot_be_replaced() {
    let chip = installed::<4, 512>(&signed(&model(SPACE, 10), 5), &signed_bank(5)).into_flash();
    let (layout, _) = layout::<4, 512>(2, false);
    let options = Options {
        key: Some(key()),
        ..options()
    };
    let mut device = Storage::open(chip, layout, options).unwrap();
    assert_eq!(device.model().unwrap(), model(SPACE, 10));
    assert_eq!(device.provision(&[9; 32]), Err(StorageError::KeyExists));
    let new = public_key(&OTHER_SEED);
    let request = sign_rotation(&SEED, &new, 1);
    let replaced = device.replace_key(new.as_bytes(), 1, &request);
    assert_eq!(replaced, Err(StorageError::NoKey));
    device.erase_all().unwrap();
    send(&mut device, Kind::Model, &model(SPACE, 10)).unwrap();
    assert!(device.finish().is_err());
}

#[test]
fn a_rotten_newest_record_does_not_bring_a_key_back_or_lose_it_silently() {
    // Two records later, the key is in both of the newest ones.
    let mut device = device();
    device.set_threshold(Some(1.0)).unwrap();
    device.set_threshold(Some(2.0)).unwrap();
    let mut chip = device.into_flash().restart();
    let (layout, _) = layout::<4, 512>(2, false);
    let state = layout.state.start as usize..layout.state.end as usize;
    // The newest record is the last that says 2.0.
    let two = 2.0f32.to_bits().to_le_bytes();
    let at = chip.bytes[state.clone()]
        .windows(4)
        .position(|four| four == two)
        .unwrap();
    chip.bytes[state.start + at] ^= 1;
    let device = open(chip, false);
    assert_eq!(device.threshold(), Some(1.0));
    assert!(device.key().is_some());
}
