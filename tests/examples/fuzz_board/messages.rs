//! Messages with any fields, and their damage.

use crate::board::frame_of;
use crate::common::Random;
use pinhole_protocol::message::Message;
use pinhole_protocol::*;

/// Any bytes, as many as a field takes or fewer.
pub(crate) struct Fields {
    pub(crate) bytes: Vec<u8>,
    pub(crate) name: String,
    pub(crate) key: [u8; KEY_BYTES],
    pub(crate) signature: Vec<u8>,
}

impl Fields {
    pub(crate) fn new(random: &mut Random) -> Self {
        let len = random.below(MAX_CHUNK_BYTES + 1);
        let len = if random.below(4) == 0 { len } else { len % 64 };
        let names = ["cat", "dog", "kite", "new", "größe", ""];
        Self {
            bytes: random.bytes(len),
            name: names[random.below(names.len())].repeat(1 + random.below(3)),
            key: std::array::from_fn(|_| random.next() as u8),
            signature: random.bytes(SIGNATURE_BYTES),
        }
    }
}

/// A number that is likely to be at an edge.
pub(crate) fn number(random: &mut Random) -> u32 {
    match random.below(5) {
        0 => 0,
        1 => random.below(300) as u32,
        2 => random.below(70_000) as u32,
        3 => u32::MAX - random.below(3) as u32,
        _ => random.next() as u32,
    }
}

fn float(random: &mut Random) -> f32 {
    match random.below(4) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => 0.01,
        _ => f32::from_bits(random.next() as u32),
    }
}

fn kind(random: &mut Random) -> Kind {
    [Kind::Model, Kind::Bank][random.below(2)]
}

/// Any request; one that ends the line seldom.
pub(crate) fn request<'a>(random: &mut Random, fields: &'a Fields) -> Request<'a> {
    let class = NewClass {
        name: &fields.name,
        scale: float(random),
        embedding: &fields.bytes[..fields.bytes.len().min(crate::board::DIM)],
    };
    match random.below(25) {
        0 => Request::Hello,
        1 => Request::Begin(Begin {
            width: number(random) % 400,
            height: number(random),
            layout: [PixelLayout::Rgb888, PixelLayout::Rgb565, PixelLayout::Grey8][random.below(3)],
            top: random.below(MAX_TOP + 1) as u8,
        }),
        2 | 3 => Request::Rows {
            offset: number(random),
            bytes: &fields.bytes,
        },
        4 => Request::End,
        5 if random.below(20) == 0 => Request::Shutdown,
        5 | 6 => Request::Statistics,
        7 => Request::ListClasses {
            from: number(random),
        },
        8 => Request::AddClass(class),
        9 => Request::RemoveClass { name: &fields.name },
        10 => Request::ReplaceClass(class),
        11 => Request::BeginUpload {
            kind: kind(random),
            bytes: number(random) % 40_000,
            crc32: number(random),
        },
        12 | 13 => Request::UploadChunk {
            offset: number(random),
            bytes: &fields.bytes,
        },
        14 => Request::FinishUpload,
        15 => Request::CancelUpload,
        16 => Request::Activate {
            which: [Which::Model, Which::Bank, Which::Both][random.below(3)],
        },
        17 => Request::SelectSlot {
            kind: kind(random),
            slot: random.next() as u8,
        },
        18 => Request::Slots,
        19 => Request::SetThreshold {
            threshold: (random.below(2) == 0).then(|| float(random)),
        },
        20 => Request::SelfTest,
        21 => Request::Challenge,
        22 => Request::Authenticate {
            signature: &fields.signature[..random.below(SIGNATURE_BYTES + 1)],
        },
        23 => Request::Provision { key: fields.key },
        _ if random.below(10) == 0 => Request::Reboot,
        _ => Request::ReplaceKey {
            key: fields.key,
            counter: number(random),
            signature: &fields.signature,
        },
    }
}

/// Any reply.
pub(crate) fn reply<'a>(random: &mut Random, fields: &'a Fields) -> Reply<'a> {
    let name = &fields.name[..];
    match random.below(9) {
        0 => Reply::Info(Info {
            board: "fuzz",
            kernels: "scalar",
            model_bytes: number(random),
            model_crc32: number(random),
            arena_bytes: number(random),
            arena_capacity_bytes: number(random),
            scratch_capacity_bytes: number(random),
            embedding_space: [1; 16],
            dim: number(random),
            class_count: number(random),
        }),
        1 => Reply::Received(number(random)),
        2 => Reply::Classified(Classified {
            embedding: &fields.bytes,
            top: (0..random.below(MAX_TOP + 1))
                .map(|_| TopClass {
                    class_index: number(random),
                    cosine: float(random),
                    probability: float(random),
                    name,
                })
                .collect(),
            energy: float(random),
            rejected: random.below(2) == 0,
        }),
        3 => Reply::Failed(Failure {
            code: [ErrorCode::Damaged, ErrorCode::Offset, ErrorCode::Locked][random.below(3)],
            received: number(random),
            text: BoundedText::of(&name),
        }),
        4 => Reply::Statistics(Statistics {
            erases: number(random),
            writes: number(random),
            classes: number(random),
            free_slots: number(random),
            damaged_slots: number(random),
            threshold: Some(float(random)),
            counters: [number(random), number(random)],
            has_key: random.below(2) == 0,
        }),
        5 => Reply::Classes(Classes {
            total: number(random),
            written: number(random),
            from: [0, number(random)][random.below(2)],
            names: (0..random.below(MAX_LISTED + 1)).map(|_| name).collect(),
        }),
        6 => {
            let pair = SlotPair {
                running: Some(random.next() as u8),
                status: [SlotStatus::Good, SlotStatus::Ready],
                fault: BoundedText::of(&name),
            };
            Reply::Slots(Slots {
                model: pair.clone(),
                bank: pair,
                upload: Some(Upload {
                    kind: kind(random),
                    slot: random.next() as u8,
                    received: number(random),
                    bytes: number(random),
                }),
            })
        }
        7 => Reply::SelfTested(SelfTest::Failed {
            at: number(random),
            expected: 1,
            found: 2,
        }),
        _ => Reply::Challenge(Challenge {
            session: number(random),
            nonce: fields.key,
            key_counter: number(random),
        }),
    }
}

/// A frame of a message: whole as a rule, else with a damaged body behind a checksum that fits, or damaged itself.
pub(crate) fn frame<'a, M: Message<'a>>(random: &mut Random, sequence: u8, message: &M) -> Vec<u8> {
    let mut room = [0; MAX_BODY_BYTES];
    // Text of a class may be too long: then it is no message, and an empty body stands for it.
    let mut bytes = body(message, &mut room).unwrap_or_default().to_vec();
    let fate = random.below(8);
    if fate == 0 {
        damage(&mut bytes, random);
    }
    bytes.truncate(MAX_BODY_BYTES);
    let mut frame = frame_of(sequence, &bytes);
    match fate {
        1 => damage(&mut frame, random),
        2 => {
            let len = random.below(600);
            frame.splice(0..0, random.bytes(len));
        }
        _ => {}
    }
    frame
}

/// One change.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
    }
    let at = random.below(bytes.len());
    let end = (at + random.below(20)).min(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => bytes[at..end].fill([0, 0xff][random.below(2)]),
        _ => {
            let len = random.below(40);
            let more = random.bytes(len);
            bytes.splice(at..end, more);
        }
    }
}
