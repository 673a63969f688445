//! Random damage: to bytes, wherever they are, and to the parts that a format has.

use crate::{json, protobuf, safetensors, words};

/// What a file is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// A header in JSON, and tensors.
    Safetensors,
    Json,
    /// Fields of a protocol buffer.
    Protobuf,
    /// Words of a FlatBuffer.
    Words,
    /// Records of a packed model, with a checksum.
    Model,
}

/// One change to a file, mostly to a part of its format; `other` lends parts.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], format: Format, random: &mut Random) {
    let changed = random.below(4) != 0
        && match format {
            Format::Safetensors => safetensors::damage(bytes, other, random),
            Format::Json => json::damage_bytes(bytes, random),
            Format::Protobuf => protobuf::damage(bytes, other, random),
            Format::Words => words::damage(bytes, random),
            Format::Model => words::damage_model(bytes, random),
        };
    if !changed {
        damage_bytes(bytes, other, random);
    }
}

/// What formats understand, to be set in at random.
const WORDS: [&[u8]; 20] = [
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0",
    b"\x80\x02}q",
    b"PK\x03\x04",
    b"[18446744073709551615]",
    b"{\"shape\":[4294967295,4294967295]}",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"]]]]]]]]",
    b"\"F32\"",
    b"null",
    b"{}",
    b"-1",
    b"1e999",
    b"\"\"",
    b"\\u0000",
    b"\xff\xff\xff\xff\x0f",
    b"\x0a\x00",
    "▁".as_bytes(),
    b"<0x41>",
];

/// SplitMix64 (Steele et al., OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A place, more often near the front, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let end = if self.below(2) == 0 {
            len.min(512)
        } else {
            len
        };
        self.below(end)
    }
}

/// One change to some bytes; `other` lends what is set in.
pub(crate) fn damage_bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.place(bytes.len());
    let end = (at + random.below(16)).min(bytes.len());
    match random.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => bytes.truncate(at),
        4 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at.min(end)..end, word.iter().copied());
        }
        5 => {
            let from = random.below(other.len());
            let to = (from + random.below(200)).min(other.len());
            bytes.splice(at.min(end)..at.min(end), other[from..to].iter().copied());
        }
        _ => {
            let copied = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copied);
        }
    }
}
