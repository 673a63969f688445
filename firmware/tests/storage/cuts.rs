//! Every operation, its power cut after every byte: what was there is there, or what should come has come, and what is
//! missing can be done again, also when the power is cut once more.

use crate::chip::Failed;
use crate::common::Random;
use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, SlotStatus, StorageError};
use pinhole_runtime::bank::ClassBank;
use pinhole_signing::{public_key, sign_rotation};

type Done = Result<(), StorageError<Failed>>;

/// An operation on a device, and whether uploads that wait for their activation are none of its business.
type Operation<const W: usize, const E: usize> =
    (&'static str, bool, fn(&mut Device<W, E>) -> Done);

fn replaced_model() -> Vec<u8> {
    model(SPACE, 400)
}

/// A device with added classes and a model that waits.
fn device<const W: usize, const E: usize>() -> Device<W, E> {
    let mut device = installed(&model(SPACE, 10), &bank(SPACE, &["cat", "dog"], 4, 256, 1));
    device.add_class("sun", &embedding(1)).unwrap();
    device.set_threshold(Some(2.5)).unwrap();
    upload(&mut device, Kind::Model, &model(SPACE, 300));
    device
}

fn send_and_activate<const W: usize, const E: usize>(
    device: &mut Device<W, E>,
    kind: Kind,
    which: Activate,
    file: &[u8],
) -> Done {
    send(device, kind, file)?;
    device.finish()?;
    device.activate(which)
}

fn operations<const W: usize, const E: usize>() -> Vec<Operation<W, E>> {
    vec![
        ("add", true, |d| d.add_class("moon", &embedding(2))),
        ("remove added", true, |d| d.remove_class("sun")),
        ("remove written", true, |d| d.remove_class("cat")),
        ("replace", true, |d| d.replace_class("dog", &embedding(3))),
        ("compact", true, |d| d.compact()),
        ("threshold", true, |d| d.set_threshold(Some(7.0))),
        ("activate", false, |d| d.activate(Activate::Model)),
        ("upload model", false, |d| {
            send_and_activate(d, Kind::Model, Activate::Model, &replaced_model())
        }),
        ("upload bank", true, |d| {
            let bank = bank(SPACE, &["one", "two"], 1, 256, 6);
            send_and_activate(d, Kind::Bank, Activate::Bank, &bank)
        }),
        ("model and bank of another space", false, |d| {
            send(d, Kind::Model, &model(OTHER_SPACE, 5))?;
            d.finish()?;
            send(d, Kind::Bank, &bank(OTHER_SPACE, &["far"], 0, 256, 7))?;
            d.finish()?;
            d.activate(Activate::Both)
        }),
    ]
}

fn waiting<const W: usize, const E: usize>(device: &Device<W, E>) -> bool {
    device
        .slots(Kind::Model)
        .status
        .contains(&SlotStatus::Ready)
}

/// Cuts the power of `operation` after every byte and returns how often.
fn cut_everywhere<const W: usize, const E: usize>(
    start: Device<W, E>,
    (name, keeps_waiting, operation): Operation<W, E>,
) -> usize {
    let chip = start.into_flash().restart();
    let mut device = open(chip.clone(), false);
    let before = seen(&device);
    operation(&mut device).unwrap();
    let after = seen(&device);
    assert!(
        name == "compact" || before != after,
        "{name} does something"
    );
    let power = device.into_flash().power;
    let total = power.spent();
    for steps in 0..total {
        let place =
            format!("{name} on writes of {W}, sectors of {E}, cut after {steps} of {total}");
        let mut random = Random(steps as u64);
        let mut device = open(chip.clone().cut_after(steps, random.next()), false);
        assert!(operation(&mut device).is_err(), "{place}");
        // The power comes back, goes again in the middle of the second attempt, and comes back.
        for second in [true, false] {
            let flash = device.into_flash().restart();
            device = open(flash, false);
            let found = seen(&device);
            assert!(found == before || found == after, "{place}: {found:?}");
            assert!(!keeps_waiting || waiting(&device), "{place}: upload lost");
            if found == after && before != after {
                break;
            }
            if second {
                let flash = device
                    .into_flash()
                    .cut_after(random.below(total), random.next());
                device = open(flash, false);
                if operation(&mut device).is_ok() {
                    break;
                }
            } else {
                operation(&mut device).unwrap_or_else(|error| panic!("{place}: again: {error}"));
            }
        }
        let device = open(device.into_flash().restart(), false);
        assert_eq!(seen(&device), after, "{place}");
    }
    total
}

fn every_operation<const W: usize, const E: usize>() {
    let mut cuts = 0;
    for operation in operations::<W, E>() {
        cuts += cut_everywhere(device(), operation);
    }
    println!("writes of {W}, sectors of {E}: {cuts} power cuts");
}

#[test]
fn a_cut_at_any_byte_leaves_old_or_new_with_writes_of_1() {
    every_operation::<1, 512>();
}

#[test]
fn a_cut_at_any_byte_leaves_old_or_new_with_writes_of_4() {
    every_operation::<4, 256>();
}

#[test]
fn a_cut_at_any_byte_leaves_old_or_new_with_writes_of_8() {
    every_operation::<8, 512>();
}

#[test]
fn a_cut_at_any_byte_leaves_old_or_new_with_writes_of_32() {
    every_operation::<32, 1024>();
}

/// Whoever reads a bank strictly, as a host does, reads it up to the programming of the state.
#[test]
fn the_state_of_a_class_is_programmed_last() {
    let chip = device::<4, 512>().into_flash().restart();
    let mut device = open(chip.clone(), false);
    let before = device.bank().unwrap().to_vec();
    device.add_class("moon", &embedding(2)).unwrap();
    let total = device.into_flash().power.spent();
    for steps in 0..=total - 4 {
        let mut device = open(chip.clone().cut_after(steps, steps as u64), false);
        assert!(device.add_class("moon", &embedding(2)).is_err());
        let device = open(device.into_flash().restart(), false);
        let found = ClassBank::load(device.bank().unwrap());
        if steps < total - 4 {
            let found = found.unwrap_or_else(|error| panic!("cut after {steps}: {error}"));
            assert_eq!(
                found.class_count(),
                ClassBank::load(&before).unwrap().class_count()
            );
        }
    }
}

#[test]
fn a_key_is_there_or_not_there_wherever_its_record_is_cut() {
    let start = || {
        let bank = bank(SPACE, &["cat", "dog"], 4, 256, 1);
        installed::<4, 512>(&signed(&model(SPACE, 10), 5), &signed(&bank, 6))
    };
    cut_everywhere(
        start(),
        ("provision", false, |d| d.provision(key().as_bytes())),
    );
    let provisioned = || {
        let mut device = start();
        device.provision(key().as_bytes()).unwrap();
        device
    };
    cut_everywhere(
        provisioned(),
        ("replace key", false, |d| {
            let new = public_key(&OTHER_SEED);
            d.replace_key(new.as_bytes(), 1, &sign_rotation(&SEED, &new, 1))
        }),
    );
    // The counter rises with the switch.
    let upload: Operation<4, 512> = ("signed upload", false, |d| {
        let file = signed(&model(SPACE, 99), 7);
        send_and_activate(d, Kind::Model, Activate::Model, &file)
    });
    cut_everywhere(provisioned(), upload);
    let add: Operation<4, 512> = ("add", false, |d| d.add_class("moon", &embedding(2)));
    cut_everywhere(provisioned(), add);
}

#[test]
fn a_reset_that_is_cut_leaves_the_bank_that_was_or_the_factory_bank() {
    let factory = bank(SPACE, &["factory"], 2, 256, 4);
    let mut device = open(blank::<4, 512>(Some(&factory)), true);
    upload(&mut device, Kind::Model, &model(SPACE, 10));
    device.activate(Activate::Model).unwrap();
    device.add_class("sun", &embedding(1)).unwrap();
    let (chip, before) = (device.into_flash().restart(), ["factory", "sun"]);
    let mut device = open(chip.clone(), true);
    device.factory_reset().unwrap();
    let total = device.into_flash().power.spent();
    for steps in 0..total {
        let mut device = open(chip.clone().cut_after(steps, steps as u64), true);
        assert!(device.factory_reset().is_err());
        let device = open(device.into_flash().restart(), true);
        let names: Vec<String> = seen(&device)
            .classes
            .unwrap()
            .into_iter()
            .map(|c| c.0)
            .collect();
        assert!(names == before || names == before[..1], "{names:?}");
    }
}

#[test]
fn an_erase_of_all_that_is_cut_keeps_the_key_until_everything_is_gone() {
    let bank = bank(SPACE, &["cat", "dog"], 4, 256, 1);
    let mut device = installed::<4, 512>(&signed(&model(SPACE, 10), 5), &signed(&bank, 6));
    device.provision(key().as_bytes()).unwrap();
    let chip = device.into_flash().restart();
    let mut device = open(chip.clone(), false);
    device.erase_all().unwrap();
    let total = device.into_flash().power.spent();
    for steps in 0..total {
        let mut device = open(chip.clone().cut_after(steps, steps as u64), false);
        assert!(device.erase_all().is_err());
        let mut device = open(device.into_flash().restart(), false);
        if device.key().is_none() {
            let rest = &device.into_flash().bytes;
            assert!(
                !rest
                    .windows(4)
                    .any(|four| four == b"PHM1" || four == b"PHC1")
            );
            continue;
        }
        device.erase_all().unwrap();
        let device = open(device.into_flash().restart(), false);
        assert!(device.key().is_none() && device.model().is_err() && device.bank().is_err());
    }
}
