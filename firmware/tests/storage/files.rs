//! Small models and banks, and a device that holds them.

use crate::chip::Chip;
use crate::common::{Builder, Parts, Random, seal};
use crc::{CRC_32_ISO_HDLC, Crc};
use pinhole_firmware::storage::{Activate, Kind, Layout, MappedFlash, Options, Storage};
use pinhole_runtime::bank::{BankSpec, ClassBank, ClassSpec};
use pinhole_runtime::model::format::{DType, GeometryRecord, ModelKind};
use pinhole_runtime::model::op::{MeanParams, OpKind};
use pinhole_signing::{PublicKey, public_key, sign};

pub(crate) const DIM: usize = 3;
pub(crate) const SPACE: u8 = 7;
pub(crate) const OTHER_SPACE: u8 = 9;
pub(crate) const ARENA_BYTES: usize = 4096;
pub(crate) const SEED: [u8; 32] = [42; 32];
pub(crate) const OTHER_SEED: [u8; 32] = [43; 32];

/// A model of one operator; `padding` bytes of names tell it from others.
pub(crate) fn model(space: u8, padding: usize) -> Vec<u8> {
    let mut b = Builder::new(ModelKind::ImageEncoder);
    b.geometry = GeometryRecord {
        width: 2.into(),
        height: 2.into(),
        resize_shorter: 2.into(),
        reserved: 0.into(),
        mean: [0.5.into(); 3],
        std: [0.25.into(); 3],
    };
    let picture = b.value(DType::I8, &[1, 2, 2, 3]);
    b.input(picture);
    let mean = b.value(DType::I8, &[1, 1, 1, DIM]);
    let params = MeanParams {
        multiplier: (1 << 30).into(),
        shift: (-2).into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    b.op(OpKind::MeanS8, &[picture], mean, Parts::params(params));
    b.output(mean);
    b.names = format!("picture\nmean\n{}\n", "x".repeat(padding));
    let mut file = b.build();
    file[16..32].fill(space);
    seal(&mut file);
    file.to_vec()
}

/// A bank of the classes `names`, with embeddings that depend on `seed`.
pub(crate) fn bank(
    space: u8,
    names: &[&str],
    spare_slots: u32,
    page_bytes: u32,
    seed: u64,
) -> Vec<u8> {
    let mut random = Random(seed);
    let embeddings: Vec<Vec<f32>> = names.iter().map(|_| random.floats(DIM)).collect();
    let classes = names.iter().zip(&embeddings);
    let classes = classes.map(|(name, embedding)| ClassSpec { name, embedding });
    let classes: Vec<ClassSpec<'_>> = classes.collect();
    let spec = BankSpec {
        embedding_space_id: [space; 16],
        dim: DIM as u16,
        classes: &classes,
        logit_scale: 10.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes,
        spare_slots,
    };
    let mut bytes = vec![0; spec.bytes_len().unwrap()];
    spec.write_into(&mut bytes).unwrap();
    bytes
}

pub(crate) fn embedding(seed: u64) -> Vec<i8> {
    let mut random = Random(seed);
    let mut embedding: Vec<i8> = (0..DIM).map(|_| random.next() as i8).collect();
    embedding[0] |= 1;
    embedding
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(bytes)
}

pub(crate) fn signed(file: &[u8], counter: u32) -> Vec<u8> {
    sign(file, &SEED, counter).unwrap()
}

pub(crate) fn key() -> PublicKey {
    public_key(&SEED)
}

/// The same partitions on every chip: bytes of the model slots and of the bank slots, rounded up to sectors.
pub(crate) const MODEL_SLOT: u32 = 1024;
pub(crate) const BANK_SLOT: u32 = 2048;

pub(crate) fn layout<const W: usize, const E: usize>(
    state_sectors: u32,
    factory: bool,
) -> (Layout, usize) {
    let sector = E as u32;
    let mut at = 0;
    let mut take = |bytes: u32| {
        let start = at;
        at += bytes.next_multiple_of(sector);
        start..at
    };
    let layout = Layout {
        models: [take(MODEL_SLOT), take(MODEL_SLOT)],
        state: take(state_sectors * sector),
        banks: [take(BANK_SLOT), take(BANK_SLOT)],
        factory_bank: factory.then(|| take(BANK_SLOT)),
    };
    (layout, (at / sector) as usize)
}

pub(crate) fn options() -> Options {
    Options {
        key: None,
        arena_bytes: ARENA_BYTES,
    }
}

pub(crate) type Device<const W: usize, const E: usize> = Storage<Chip<W, E>>;

pub(crate) fn open<const W: usize, const E: usize>(
    chip: Chip<W, E>,
    factory: bool,
) -> Device<W, E> {
    let (layout, _) = layout::<W, E>(2, factory);
    Storage::open(chip, layout, options()).unwrap()
}

/// A chip with a factory bank and nothing else.
pub(crate) fn blank<const W: usize, const E: usize>(factory: Option<&[u8]>) -> Chip<W, E> {
    let (layout, sectors) = layout::<W, E>(2, factory.is_some());
    let mut chip = Chip::new(sectors, 1);
    if let (Some(bank), Some(range)) = (factory, layout.factory_bank) {
        chip.bytes[range.start as usize..][..bank.len()].copy_from_slice(bank);
    }
    chip
}

/// Uploads a file in chunks of 100 bytes and verifies it.
pub(crate) fn upload<F: MappedFlash>(device: &mut Storage<F>, kind: Kind, file: &[u8])
where
    F::Error: PartialEq,
{
    send(device, kind, file).unwrap();
    device.finish().unwrap();
}

pub(crate) fn send<F: MappedFlash>(
    device: &mut Storage<F>,
    kind: Kind,
    file: &[u8],
) -> Result<(), pinhole_firmware::storage::StorageError<F::Error>> {
    let mut received = device.begin_upload(kind, file.len() as u32, crc32(file))?;
    while (received as usize) < file.len() {
        let chunk = &file[received as usize..];
        received = device.write(received, &chunk[..chunk.len().min(100)])?;
    }
    Ok(())
}

/// A device that runs a model and a bank, sent over the line.
pub(crate) fn installed<const W: usize, const E: usize>(model: &[u8], bank: &[u8]) -> Device<W, E> {
    let mut device = open(blank::<W, E>(None), false);
    upload(&mut device, Kind::Model, model);
    upload(&mut device, Kind::Bank, bank);
    device.activate(Activate::Both).unwrap();
    device
}

/// What whoever uses a device can see of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) model: Option<Vec<u8>>,
    pub(crate) classes: Option<Vec<(String, Vec<i8>)>>,
    pub(crate) threshold: Option<f32>,
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) counters: [u32; 2],
}

pub(crate) fn seen<F: MappedFlash>(device: &Storage<F>) -> Seen {
    Seen {
        model: device.model().ok().map(<[u8]>::to_vec),
        classes: device.bank().ok().map(classes),
        threshold: device.threshold(),
        key: device.key().map(|key| *key.as_bytes()),
        counters: [Kind::Model, Kind::Bank].map(|kind| device.counter(kind)),
    }
}

pub(crate) fn classes(bank: &[u8]) -> Vec<(String, Vec<i8>)> {
    let bank = ClassBank::load_in_flash(bank).unwrap();
    let classes = bank.classes();
    classes
        .map(|class| (class.name.to_owned(), class.embedding.to_vec()))
        .collect()
}
