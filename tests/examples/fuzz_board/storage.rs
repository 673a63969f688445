//! Flash that holds anything.

use crate::Counts;
use crate::chip::Chip;
use crate::common::{Random, seal};
use crate::files::*;
use pinhole_firmware::storage::{Activate, Kind, Layout, Storage};
use pinhole_runtime::bank::ClassBank;
use pinhole_runtime::model::Model;

const ERASE: usize = 512;
/// Of a record of the journal; the checksum is its end.
const RECORD_BYTES: usize = 160;
const KINDS: [Kind; 2] = [Kind::Model, Kind::Bank];

type Flash = Chip<4, ERASE>;
type Subject = Storage<Flash>;

/// Sound flash that is damaged.
pub(crate) struct Chips {
    layout: Layout,
    images: Vec<Vec<u8>>,
    sectors: usize,
}

impl Chips {
    /// Files of two embedding spaces, a key or none, uploads in flight, classes that were added, and blank flash.
    pub(crate) fn new() -> Self {
        let (layout, sectors) = layout::<4, ERASE>(2, true);
        let factory = bank(SPACE, &["factory"], 2, 128, 4);
        let flash = blank::<4, ERASE>(Some(&factory));
        let mut images = vec![flash.bytes.to_vec()];
        let mut device = open(flash, true);
        upload(&mut device, Kind::Model, &signed(&model(SPACE, 10), 3));
        let classes = bank(SPACE, &["cat", "dog"], 3, 128, 1);
        upload(&mut device, Kind::Bank, &signed(&classes, 3));
        device.activate(Activate::Both).expect("both suit");
        device.add_class("sun", &embedding(1)).expect("room");
        let flash = device.into_flash();
        images.push(flash.bytes.to_vec());
        let start = |flash: &Flash| Storage::open(flash.clone(), layout.clone(), options());
        let mut keyed = start(&flash).expect("a layout");
        keyed.provision(key().as_bytes()).expect("signed files");
        upload(&mut keyed, Kind::Model, &signed(&model(SPACE, 40), 5));
        images.push(keyed.into_flash().bytes.to_vec());
        let mut other = start(&flash).expect("a layout");
        upload(&mut other, Kind::Model, &model(OTHER_SPACE, 200));
        upload(
            &mut other,
            Kind::Bank,
            &bank(OTHER_SPACE, &["fox"], 1, 128, 2),
        );
        images.push(other.into_flash().bytes.to_vec());
        let mut open_upload = start(&flash).expect("a layout");
        open_upload.begin_upload(Kind::Bank, 900, 5).expect("room");
        open_upload.write(0, &[1; 700]).expect("room");
        images.push(open_upload.into_flash().bytes.to_vec());
        Self {
            layout,
            images,
            sectors,
        }
    }

    fn start(&self, flash: Flash) -> Subject {
        Storage::open(flash, self.layout.clone(), options()).expect("a layout that fits")
    }

    pub(crate) fn case(&self, seed: u64, counts: &mut Counts) {
        let mut random = Random(seed);
        let mut flash = Flash::new(self.sectors, seed);
        let image = &self.images[random.below(self.images.len())];
        flash.bytes.copy_from_slice(image);
        if random.below(40) == 0 {
            let bytes = random.bytes(image.len());
            flash.bytes.copy_from_slice(&bytes);
        }
        for _ in 0..random.below(6) {
            let other = &self.images[random.below(self.images.len())];
            self.damage(&mut flash.bytes, other, &mut random);
        }
        let device = self.start(flash);
        counts.tried += 1;
        counts.taken += u64::from(device.model().is_ok() && device.bank().is_ok());
        let mut device = self.reopened(device);
        for _ in 0..random.below(6) {
            change(&mut device, &mut random);
            consistent(&device);
        }
        self.reopened(device);
    }

    /// What it says before and after a restart.
    fn reopened(&self, device: Subject) -> Subject {
        consistent(&device);
        let told = told(&device);
        let device = self.start(device.into_flash());
        assert_eq!(told, self::told(&device), "a restart changes nothing");
        device
    }

    /// One change to the flash; records and headers behind checksums that fit.
    fn damage(&self, bytes: &mut [u8], other: &[u8], random: &mut Random) {
        let state = self.layout.state.start as usize..self.layout.state.end as usize;
        let at = random.below(bytes.len());
        let len = (1 + random.below(300)).min(bytes.len() - at);
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..at + len].fill(0xff),
            2 => bytes[at..at + len].fill_with(|| random.next() as u8),
            3 => {
                let from = random.below(bytes.len() - len + 1);
                bytes.copy_within(from..from + len, at);
            }
            4 => bytes[at..at + len].copy_from_slice(&other[at..at + len]),
            5 | 6 => {
                let records = bytes[state].chunks_exact_mut(RECORD_BYTES);
                for record in records.filter(|record| record.starts_with(b"PHST")) {
                    for _ in 0..random.below(3) {
                        record[random.below(RECORD_BYTES - 4)] = random.next() as u8;
                    }
                    let crc = crc32(&record[..RECORD_BYTES - 4]);
                    record[RECORD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
                }
            }
            _ => {
                let slot = self.layout.models[random.below(2)].clone();
                let file = &mut bytes[slot.start as usize..slot.end as usize];
                if file.starts_with(b"PHM1") {
                    file[random.below(400)] = random.next() as u8;
                    let length = u32::from_le_bytes([file[8], file[9], file[10], file[11]]);
                    if let Some(file) = file.get_mut(..length as usize).filter(|f| f.len() > 200) {
                        seal(file);
                    }
                }
            }
        }
    }
}

/// Everything that a device says of itself.
fn told(device: &Subject) -> (Seen, Vec<String>) {
    let of = |kind: Kind| {
        format!(
            "{:?} {:?}",
            device.slots(kind),
            device.fallback(kind).is_some()
        )
    };
    let statistics = device.statistics();
    let numbers = (
        statistics.classes,
        statistics.free_slots,
        statistics.damaged_slots,
    );
    (
        seen(device),
        vec![of(Kind::Model), of(Kind::Bank), format!("{numbers:?}")],
    )
}

/// What it says fits together.
fn consistent(device: &Subject) {
    let model = device.model().ok();
    let bank = device.bank().ok();
    if let Some(bytes) = model {
        let model = Model::load(bytes).expect("a model that is run from is sound");
        assert!(model.arena_bytes() <= ARENA_BYTES);
    }
    let classes = bank.map(|bytes| {
        let bank = ClassBank::load_in_flash(bytes).expect("a bank that is used is sound");
        // Without a model a sound bank is used for its names.
        if let Some(bytes) = model {
            let model = Model::load(bytes).expect("a sound one");
            assert!(bank.check_space(&model.embedding_space()).is_ok());
        }
        bank.class_count()
    });
    assert_eq!(device.statistics().classes, classes.unwrap_or(0));
    for kind in KINDS {
        let (found, slots) = (
            match kind {
                Kind::Model => model,
                Kind::Bank => bank,
            },
            device.slots(kind),
        );
        // Only the bank may come with the firmware.
        assert!(found.is_some() || slots.running.is_none());
        assert!(kind == Kind::Bank || found.is_some() == slots.running.is_some());
        assert!(slots.running.is_none_or(|slot| slot < 2));
        assert!(found.is_some() || device.fallback(kind).is_none());
    }
    assert!(
        device
            .threshold()
            .is_none_or(|threshold| !threshold.is_nan())
    );
    if let Some((upload, received)) = device.upload() {
        assert!(received <= upload.total_bytes && upload.slot < 2);
    }
}

/// One use of a device; what it refuses, it refuses.
fn change(device: &mut Subject, random: &mut Random) {
    let _ = match random.below(10) {
        0 => device.add_class("new", &embedding(1)),
        1 => device.replace_class("cat", &embedding(2)),
        2 => device.remove_class("cat"),
        3 => device.compact(),
        4 => device.set_threshold(Some(1.0)),
        5 => device.select(KINDS[random.below(2)], random.below(3) as u8),
        6 => device.activate([Activate::Model, Activate::Bank, Activate::Both][random.below(3)]),
        7 => device.cancel_upload(),
        8 => {
            let file = signed(&model(SPACE, random.below(60)), random.below(6) as u32);
            let sent = send(device, Kind::Model, &file);
            sent.and_then(|()| device.finish())
        }
        _ => device.provision(key().as_bytes()),
    };
}
