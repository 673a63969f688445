//! Damage to the 32-bit words of FlatBuffers and packed models, whose offsets, sizes and codes are such words.

use pinhole_runtime::model::format::Header;
use pinhole_runtime::model::{checksum, measure};
use zerocopy::FromBytes;

use crate::damage::Random;

/// What words become.
const NUMBERS: [u32; 14] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    127,
    255,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// One change to a FlatBuffer.
pub(crate) fn damage(bytes: &mut [u8], random: &mut Random) -> bool {
    let len = bytes.len();
    damage_within(bytes, 0..len, random)
}

/// One change to a packed model, more often to its records than to its data; its checksum, and now and then its totals, are
/// made to fit.
pub(crate) fn damage_model(bytes: &mut [u8], random: &mut Random) -> bool {
    let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
        return false;
    };
    let end = (header.ops.offset.get()).saturating_add(header.ops.bytes.get()) as usize;
    let records = header.values.offset.get() as usize..end;
    let changed = match random.below(4) != 0 && bytes.get(records.clone()).is_some() {
        true => damage_within(bytes, records, random),
        false => damage(bytes, random),
    };
    if random.below(2) == 0
        && let Ok(totals) = measure(bytes)
        && let Ok((header, _)) = Header::mut_from_prefix(bytes)
    {
        header.arena_bytes = (totals.arena_bytes as u32).into();
        header.arena_lower_bound_bytes = (totals.arena_lower_bound_bytes as u32).into();
        header.macs = totals.macs.into();
    }
    let computed = checksum(bytes);
    if let Ok((header, _)) = Header::mut_from_prefix(bytes) {
        header.crc32 = computed.into();
    }
    changed
}

fn damage_within(bytes: &mut [u8], range: std::ops::Range<usize>, random: &mut Random) -> bool {
    let (words, _) = bytes[range].as_chunks_mut::<4>();
    if words.is_empty() {
        return false;
    }
    let copied = words[random.below(words.len())];
    let word = &mut words[random.below(words.len())];
    let found = u32::from_le_bytes(*word);
    let step = 1 << random.below(5);
    *word = match random.below(6) {
        0 => NUMBERS[random.below(NUMBERS.len())].to_le_bytes(),
        1 => copied,
        2 => found.wrapping_add(step).to_le_bytes(),
        3 => found.wrapping_sub(step).to_le_bytes(),
        4 => (found ^ 1 << random.below(32)).to_le_bytes(),
        _ => {
            let half = NUMBERS[random.below(NUMBERS.len())] as u16;
            let shift = 16 * random.below(2);
            (found & !(0xffff << shift) | u32::from(half) << shift).to_le_bytes()
        }
    };
    true
}
