//! Fields changed behind a correct checksum: what loads must run, what does not must be refused.

mod common;

use common::run::run_on_all;
use common::{Random, repair_totals, samples, seal};
use pinhole_runtime::kernel::available;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::Header;
use zerocopy::FromBytes;

/// What `mutate` writes into a field, beside random bits.
const INTERESTING: [u32; 16] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    127,
    128,
    255,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// Changes a field or two; most changes fall on records, where they go deepest.
fn mutate(file: &mut [u8], records: std::ops::Range<usize>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let at = if random.below(4) == 0 {
            random.below(file.len())
        } else {
            records.start + random.below(records.len())
        };
        let number = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
        let copied = random.below(file.len() - 4);
        match random.below(6) {
            0 => file[at] ^= 1 << random.below(8),
            1 => file[at] = random.next() as u8,
            2 => file[at] = file[at].wrapping_add(1),
            3 => file[at] = file[at].wrapping_sub(1),
            4 => {
                let aligned = (at & !3).min(file.len() - 4);
                file[aligned..aligned + 4].copy_from_slice(&number);
            }
            _ => {
                let aligned = (at & !3).min(file.len() - 4);
                file.copy_within(copied..copied + 4, aligned);
            }
        }
    }
}

#[test]
fn mutated_files_load_and_run_or_are_refused() {
    let rounds = std::env::var("PINHOLE_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60_000);
    for (number, builder) in samples::all().iter().enumerate() {
        let sound = builder.build();
        let header = Header::ref_from_prefix(&sound).unwrap().0;
        let records = header.values.offset.get() as usize
            ..(header.ops.offset.get() + header.ops.bytes.get()) as usize;
        let mut random = Random(100 + number as u64);
        let (mut file, mut accepted) = (sound.clone(), 0);
        for _ in 0..rounds {
            file.copy_from_slice(&sound);
            mutate(&mut file, records.clone(), &mut random);
            if random.below(2) == 0 {
                seal(&mut file)
            } else {
                repair_totals(&mut file)
            }
            match Model::load(&file) {
                Ok(model) => {
                    accepted += 1;
                    run_on_all(&model, random.next());
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        let sets: Vec<_> = available().map(|kernels| kernels.name()).collect();
        println!("kernel sets: {sets:?}");
        println!("sample {number}: {accepted} of {rounds} mutated files loaded and ran");
        assert!(
            accepted > rounds / 100,
            "the mutations hardly reach the interpreter: {accepted}"
        );
    }
}
