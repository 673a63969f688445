//! Sequences of random operations with random power cuts, beside a model of what a device has to be.
//!
//! `PINHOLE_SEQUENCES=1000000` in front runs more of them than the 100,000.

use crate::chip::{Chip, Failed};
use crate::common::Random;
use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, SlotStatus, StorageError};
use std::sync::LazyLock;

const NAMES: [&str; 7] = ["cat", "dog", "kite", "sun", "moon", "star", "tree"];
const OPERATIONS: usize = 8;

/// Files that come: three sound ones of each kind, and one that is refused.
struct Files {
    models: [Vec<u8>; 4],
    banks: [Vec<u8>; 4],
}

static FILES: LazyLock<Files> = LazyLock::new(|| Files {
    models: [
        model(SPACE, 10),
        model(SPACE, 150),
        model(SPACE, 420),
        [&model(SPACE, 30)[..], b"tail"].concat(),
    ],
    banks: [
        bank(SPACE, &NAMES[..2], 3, 128, 1),
        bank(SPACE, &NAMES[2..5], 2, 0, 2),
        bank(SPACE, &NAMES[..4], 4, 256, 3),
        bank(OTHER_SPACE, &NAMES[..1], 1, 128, 4),
    ],
});

fn file(kind: Kind, index: usize) -> &'static [u8] {
    match kind {
        Kind::Model => &FILES.models[index],
        Kind::Bank => &FILES.banks[index],
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Add(&'static str, u64),
    Remove(&'static str),
    Replace(&'static str, u64),
    Threshold(Option<f32>),
    Begin(Kind, usize),
    Write(usize),
    Finish,
    Cancel,
    Activate(Activate),
    Compact,
    Restart,
}

/// What a device has to be.
#[derive(Clone, Debug, PartialEq)]
struct World {
    model: usize,
    classes: Vec<(String, Vec<i8>)>,
    slots: usize,
    threshold: Option<f32>,
    ready: [Option<usize>; 2],
    open: Option<(Kind, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Success,
    Failure,
    Either,
}

fn place(kind: Kind) -> usize {
    kind as usize - 1
}

impl World {
    fn has(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class.0 == name)
    }

    fn is_ready(&self, kind: Kind) -> bool {
        self.ready[place(kind)].is_some()
    }

    fn bank_is_coming(&self) -> bool {
        self.is_ready(Kind::Bank) || self.open.is_some_and(|(kind, _)| kind == Kind::Bank)
    }

    /// What becomes of it, and whether it has to.
    fn after(&self, operation: &Operation, received: u32) -> (Self, Expected) {
        let mut next = self.clone();
        let copies = match self.bank_is_coming() {
            true => Expected::Failure,
            false => Expected::Success,
        };
        let sound = match operation {
            Operation::Add(name, seed) => {
                next.classes.push(((*name).into(), embedding(*seed)));
                match (self.has(name), copies) {
                    (Some(_), _) => Expected::Failure,
                    _ if self.classes.len() >= self.slots => Expected::Failure,
                    // In place where that can be, and by a copy where a slot is torn or shares its write units.
                    (_, Expected::Failure) => Expected::Either,
                    _ => Expected::Success,
                }
            }
            Operation::Remove(name) => match self.has(name) {
                Some(index) if self.classes.len() > 1 => {
                    next.classes.remove(index);
                    copies
                }
                _ => Expected::Failure,
            },
            Operation::Replace(name, seed) => match self.has(name) {
                Some(index) => {
                    next.classes[index].1 = embedding(*seed);
                    copies
                }
                None => Expected::Failure,
            },
            Operation::Threshold(threshold) => {
                next.threshold = *threshold;
                Expected::Success
            }
            Operation::Begin(kind, file) if self.open == Some((*kind, *file)) => Expected::Success,
            Operation::Begin(kind, file) => {
                next.open = Some((*kind, *file));
                next.ready[place(*kind)] = None;
                Expected::Success
            }
            Operation::Write(_) => match self.open {
                Some(_) => Expected::Success,
                None => Expected::Failure,
            },
            Operation::Finish => return self.after_finish(received),
            Operation::Cancel => match self.open {
                Some((kind, _)) => {
                    next.open = None;
                    next.ready[place(kind)] = None;
                    Expected::Success
                }
                None => Expected::Failure,
            },
            Operation::Activate(which) => return self.after_activation(*which),
            Operation::Compact => copies,
            Operation::Restart => Expected::Success,
        };
        (next, sound)
    }

    fn after_finish(&self, received: u32) -> (Self, Expected) {
        let mut next = self.clone();
        let Some((kind, index)) = self.open else {
            return (next, Expected::Failure);
        };
        if self.is_ready(kind) {
            return (next, Expected::Success);
        }
        if (received as usize) < file(kind, index).len() {
            return (next, Expected::Failure);
        }
        if index == 3 {
            next.open = None;
            return (next, Expected::Failure);
        }
        next.ready[place(kind)] = Some(index);
        (next, Expected::Success)
    }

    fn after_activation(&self, which: Activate) -> (Self, Expected) {
        let mut next = self.clone();
        let kinds: &[Kind] = match which {
            Activate::Model => &[Kind::Model],
            Activate::Bank => &[Kind::Bank],
            Activate::Both => &[Kind::Model, Kind::Bank],
        };
        if !kinds.iter().all(|kind| self.is_ready(*kind)) {
            return (next, Expected::Failure);
        }
        for kind in kinds {
            let index = next.ready[place(*kind)].take().unwrap();
            match kind {
                Kind::Model => next.model = index,
                Kind::Bank => {
                    next.classes = classes(file(Kind::Bank, index));
                    next.slots = slots(index);
                    next.threshold = None;
                }
            }
            if self.open.is_some_and(|(open, _)| open == *kind) {
                next.open = None;
            }
        }
        (next, Expected::Success)
    }

    /// Whether a device is so.
    fn describes<const W: usize, const E: usize>(&self, device: &Device<W, E>) -> bool {
        let ready = [Kind::Model, Kind::Bank]
            .map(|kind| device.slots(kind).status.contains(&SlotStatus::Ready));
        let open = device
            .upload()
            .map(|(upload, _)| (upload.kind, upload.crc32));
        let expected = self
            .open
            .map(|(kind, index)| (kind, crc32(file(kind, index))));
        device.model() == Ok(file(Kind::Model, self.model))
            && device
                .bank()
                .is_ok_and(|bank| classes(bank) == self.classes)
            && device.threshold() == self.threshold
            && ready == self.ready.map(|ready| ready.is_some())
            && open == expected
    }
}

fn slots(index: usize) -> usize {
    [5, 5, 8][index]
}

fn perform<const W: usize, const E: usize>(
    device: &mut Device<W, E>,
    operation: &Operation,
    world: &World,
) -> Result<(), StorageError<Failed>> {
    match operation {
        Operation::Add(name, seed) => device.add_class(name, &embedding(*seed)),
        Operation::Remove(name) => device.remove_class(name),
        Operation::Replace(name, seed) => device.replace_class(name, &embedding(*seed)),
        Operation::Threshold(threshold) => device.set_threshold(*threshold),
        Operation::Begin(kind, index) => {
            let file = file(*kind, *index);
            let begun = device.begin_upload(*kind, file.len() as u32, crc32(file));
            begun.map(|_| ())
        }
        Operation::Write(len) => {
            let received = device.upload().map_or(0, |(_, received)| received);
            let rest = world
                .open
                .map(|(kind, index)| &file(kind, index)[received as usize..]);
            let rest = rest.unwrap_or(&[0]);
            let written = device.write(received, &rest[..rest.len().min(*len)]);
            written.map(|_| ())
        }
        Operation::Finish => device.finish(),
        Operation::Cancel => device.cancel_upload(),
        Operation::Activate(which) => device.activate(*which),
        Operation::Compact => device.compact(),
        Operation::Restart => Ok(()),
    }
}

fn draw(random: &mut Random) -> Operation {
    let name = NAMES[random.below(NAMES.len())];
    let kind = [Kind::Model, Kind::Bank][random.below(2)];
    let which = [Activate::Model, Activate::Bank, Activate::Both][random.below(3)];
    match random.below(24) {
        0..5 => Operation::Add(name, random.next()),
        5..7 => Operation::Remove(name),
        7..9 => Operation::Replace(name, random.next()),
        9 => Operation::Threshold([None, Some(random.float())][random.below(2)]),
        10..12 => Operation::Begin(kind, random.below(4)),
        12..16 => Operation::Write(1 + random.below(900)),
        16..19 => Operation::Finish,
        19 => Operation::Cancel,
        20..22 => Operation::Activate(which),
        22 => Operation::Compact,
        _ => Operation::Restart,
    }
}

/// Where every sequence starts: a model and a bank, and now and then an upload in flight.
fn starts<const W: usize, const E: usize>() -> (Chip<W, E>, World) {
    let device = installed::<W, E>(file(Kind::Model, 0), file(Kind::Bank, 0));
    let world = World {
        model: 0,
        classes: classes(file(Kind::Bank, 0)),
        slots: slots(0),
        threshold: None,
        ready: [None; 2],
        open: None,
    };
    (device.into_flash().restart(), world)
}

/// One sequence; returns how often the power was cut.
fn sequence<const W: usize, const E: usize>(
    seed: u64,
    start: &(Chip<W, E>, World),
) -> (usize, Chip<W, E>, World) {
    let mut random = Random(seed);
    let (chip, mut world) = start.clone();
    let mut power = chip.power.clone();
    let mut device = open(chip, false);
    let (mut cuts, mut done) = (0, Vec::new());
    for _ in 0..OPERATIONS {
        let operation = draw(&mut random);
        done.push(operation.clone());
        if matches!(operation, Operation::Restart) {
            let flash = device.into_flash().restart();
            power = flash.power.clone();
            device = open(flash, false);
        }
        let limit = [40, 400, 3000][random.below(3)];
        let steps = match random.below(3) {
            0 => random.below(limit),
            _ => usize::MAX,
        };
        power.cut_after(steps);
        let received = device.upload().map_or(0, |(_, received)| received);
        let (after, expected) = world.after(&operation, received);
        let result = perform(&mut device, &operation, &world);
        let place = || format!("seed {seed}, writes of {W}, sectors of {E}, {done:?}");
        if power.is_off() {
            cuts += 1;
            let flash = device.into_flash().restart();
            power = flash.power.clone();
            device = open(flash, false);
            let is_after = expected != Expected::Failure || after.open != world.open;
            world = match (
                world.describes(&device),
                is_after && after.describes(&device),
            ) {
                (_, true) => after,
                (true, false) => world,
                _ => panic!("neither old nor new: {}", place()),
            };
            continue;
        }
        match expected {
            Expected::Success => assert_eq!(result, Ok(()), "{}", place()),
            Expected::Failure => assert!(result.is_err(), "{}", place()),
            Expected::Either => {}
        }
        // A refused file is dropped; every other failure changes nothing.
        if result.is_ok() || matches!(operation, Operation::Finish) {
            world = after;
        }
        assert!(world.describes(&device), "{result:?}: {}", place());
    }
    (cuts, device.into_flash().restart(), world)
}

/// Sequences on one chip after the other: each starts where the one before ended, up to a limit.
fn sequences<const W: usize, const E: usize>(count: u64, seed: u64) {
    let start = starts::<W, E>();
    let mut cuts = 0;
    let mut state = start.clone();
    for index in 0..count {
        let (cut, chip, world) = sequence::<W, E>(seed + index, &state);
        cuts += cut;
        state = match index % 16 {
            15 => start.clone(),
            _ => (chip, world),
        };
    }
    println!("writes of {W}, sectors of {E}: {count} sequences, {cuts} power cuts");
    assert!(count < 100 || cuts > count as usize / 10);
}

fn count() -> u64 {
    let set = std::env::var("PINHOLE_SEQUENCES").ok();
    let set = set.map(|set| set.parse::<u64>().expect("a number of sequences"));
    set.unwrap_or(100_000) / 4
}

#[test]
fn random_sequences_with_writes_of_1() {
    sequences::<1, 512>(count(), 1 << 40);
}

#[test]
fn random_sequences_with_writes_of_4() {
    sequences::<4, 256>(count(), 2 << 40);
}

#[test]
fn random_sequences_with_writes_of_8() {
    sequences::<8, 512>(count(), 3 << 40);
}

#[test]
fn random_sequences_with_writes_of_32() {
    sequences::<32, 1024>(count(), 4 << 40);
}
