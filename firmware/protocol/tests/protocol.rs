//! Frames and messages over whole, cut, damaged and arbitrary bytes, and the exact bytes of version 2.

use heapless::Vec as Bounded;
use pinhole_protocol::message::{Message, cut};
use pinhole_protocol::*;
use proptest::prelude::*;
use std::fmt::Debug;

fn frame_of(sequence: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::<()>(sequence, bytes, |part| {
        frame.extend_from_slice(part);
        Ok(())
    })
    .unwrap();
    frame
}

/// Every frame that a decoder finds in `bytes`, given `step` bytes at a time.
fn frames_in(bytes: &[u8], step: usize) -> Vec<Result<(u8, Vec<u8>), FrameFault>> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for mut part in bytes.chunks(step) {
        while !part.is_empty() {
            let (taken, status) = decoder.take(part);
            assert!(taken > 0);
            part = &part[taken..];
            match status {
                Status::Complete => {
                    found.push(Ok((decoder.sequence(), decoder.body().to_vec())));
                }
                Status::Refused(fault) => {
                    assert_eq!((decoder.sequence(), decoder.body().len()), (NO_SEQUENCE, 0));
                    found.push(Err(fault));
                }
                Status::Incomplete => assert!(part.is_empty()),
            }
        }
    }
    found
}

fn written<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    let mut room = [0; MAX_BODY_BYTES];
    body(message, &mut room).unwrap().to_vec()
}

fn survives<'a, M: Message<'a> + PartialEq + Debug>(bytes: &'a [u8], message: &M) {
    assert_eq!(decode::<M>(bytes).as_ref(), Ok(message));
}

const BEGIN: Begin = Begin {
    width: 640,
    height: 480,
    layout: PixelLayout::Rgb888,
    top: 5,
};

const CHALLENGE: Challenge = Challenge {
    session: 300,
    nonce: [9; NONCE_BYTES],
    key_counter: 3,
};

const CLASS: NewClass<'_> = NewClass {
    name: "forklift",
    scale: 0.25,
    embedding: &[4, 0, 252],
};

fn largest_slots() -> Slots {
    let pair = SlotPair {
        running: Some(1),
        status: [SlotStatus::Ready, SlotStatus::Void],
        fault: BoundedText::of(&"x".repeat(MAX_TEXT_BYTES)),
    };
    Slots {
        model: pair.clone(),
        bank: pair,
        upload: Some(Upload {
            kind: Kind::Bank,
            slot: 1,
            received: u32::MAX,
            bytes: u32::MAX,
        }),
    }
}

fn largest_classes(name: &str) -> Classes<'_> {
    Classes {
        total: u32::MAX,
        written: u32::MAX,
        from: u32::MAX,
        names: Bounded::from_array([name; MAX_LISTED]),
    }
}

fn largest_classified<'a>(embedding: &'a [u8], name: &'a str) -> Classified<'a> {
    let class = TopClass {
        class_index: u32::MAX,
        cosine: f32::MAX,
        probability: f32::MAX,
        name,
    };
    Classified {
        embedding,
        top: Bounded::from_array([class; MAX_TOP]),
        energy: f32::MIN,
        rejected: true,
    }
}

#[test]
fn every_request_survives_the_line() {
    for request in [
        Request::Hello,
        Request::Begin(BEGIN),
        Request::Rows {
            offset: u32::MAX,
            bytes: &[0, 255, 7],
        },
        Request::End,
        Request::Shutdown,
        Request::Statistics,
        Request::ListClasses { from: 70_000 },
        Request::AddClass(CLASS),
        Request::RemoveClass { name: "größe" },
        Request::ReplaceClass(CLASS),
        Request::BeginUpload {
            kind: Kind::Bank,
            bytes: u32::MAX,
            crc32: 9,
        },
        Request::UploadChunk {
            offset: 5,
            bytes: &[0, 255],
        },
        Request::FinishUpload,
        Request::CancelUpload,
        Request::Activate { which: Which::Both },
        Request::SelectSlot {
            kind: Kind::Model,
            slot: 1,
        },
        Request::Slots,
        Request::SetThreshold {
            threshold: Some(-1.5),
        },
        Request::SetThreshold { threshold: None },
        Request::SelfTest,
        Request::Challenge,
        Request::Authenticate {
            signature: &[3; SIGNATURE_BYTES],
        },
        Request::Provision {
            key: [4; KEY_BYTES],
        },
        Request::ReplaceKey {
            key: [5; KEY_BYTES],
            counter: u32::MAX,
            signature: &[6; SIGNATURE_BYTES],
        },
        Request::Reboot,
    ] {
        let bytes = written(&request);
        let frame = frame_of(9, &bytes);
        assert_eq!(frames_in(&frame, 3), [Ok((9, bytes.clone()))]);
        survives(&bytes, &request);
    }
}

#[test]
fn every_reply_survives_the_line() {
    let info = Info {
        board: "qemu-an547",
        kernels: "scalar",
        model_bytes: 1,
        model_crc32: 2,
        arena_bytes: 3,
        arena_capacity_bytes: 4,
        scratch_capacity_bytes: 5,
        embedding_space: [6; 16],
        dim: 7,
        class_count: 8,
    };
    let failure = Failure {
        code: ErrorCode::Memory,
        received: 12,
        text: BoundedText::of(&"no room"),
    };
    for reply in [
        Reply::Info(info),
        Reply::Received(70_000),
        Reply::Classified(largest_classified(&[1, 128, 255], "cat")),
        Reply::Failed(failure),
        Reply::Statistics(Statistics {
            erases: 1,
            writes: 2,
            classes: 3,
            free_slots: 4,
            damaged_slots: 5,
            threshold: Some(f32::INFINITY),
            counters: [6, 7],
            has_key: true,
        }),
        Reply::Classes(largest_classes("kite")),
        Reply::Slots(largest_slots()),
        Reply::SelfTested(SelfTest::NoGolden),
        Reply::Challenge(CHALLENGE),
        Reply::SelfTested(SelfTest::Passed { bytes: 384 }),
        Reply::SelfTested(SelfTest::Failed {
            at: 300,
            expected: 1,
            found: 255,
        }),
    ] {
        let bytes = written(&reply);
        assert_eq!(frames_in(&frame_of(1, &bytes), 1), [Ok((1, bytes.clone()))]);
        survives(&bytes, &reply);
    }
}

/// The bytes of `docs/protocol.md`: a change of them is a change of the version.
#[test]
fn the_bytes_of_version_2_do_not_change() {
    assert_eq!(PROTOCOL_VERSION, 2);
    let body = written(&Request::Begin(BEGIN));
    assert_eq!(body, [0x01, 0x80, 0x05, 0xe0, 0x03, 0x00, 0x05]);
    assert_eq!(
        frame_of(1, &body),
        [
            0x08, 0x02, 0x01, 0x01, 0x80, 0x05, 0xe0, 0x03, 0x06, 0x05, 0x44, 0xa7, 0x21, 0xd0,
            0x00
        ]
    );
    assert_eq!(written(&Reply::Received(300)), [0x01, 0xac, 0x02]);
    let mut add = vec![0x07, 8];
    add.extend_from_slice(b"forklift");
    add.extend_from_slice(&[0, 0, 0x80, 0x3e, 3, 4, 0, 252]);
    assert_eq!(written(&Request::AddClass(CLASS)), add);
    let begin = Request::BeginUpload {
        kind: Kind::Bank,
        bytes: 300,
        crc32: 1,
    };
    assert_eq!(written(&begin), [0x0a, 0x01, 0xac, 0x02, 0x01]);
    assert_eq!(written(&Request::SelfTest), [0x12]);
    let failed = SelfTest::Failed {
        at: 300,
        expected: 1,
        found: 255,
    };
    assert_eq!(
        written(&Reply::SelfTested(failed)),
        [0x07, 0x02, 0xac, 0x02, 1, 255]
    );
    let code = |code| {
        let text = BoundedText::of(&"");
        let received = 0;
        written(&Reply::Failed(Failure {
            code,
            received,
            text,
        }))
    };
    assert_eq!(code(ErrorCode::Memory), [0x03, 8, 0, 0]);
    assert_eq!(code(ErrorCode::Flash), [0x03, 12, 0, 0]);
    assert_eq!(code(ErrorCode::Locked), [0x03, 13, 0, 0]);
    assert_eq!(code(ErrorCode::Key), [0x03, 14, 0, 0]);
    assert_eq!(written(&Request::Challenge), [0x13]);
    let challenge = [&[0x08, 0xac, 0x02][..], &[9; 32], &[3]].concat();
    assert_eq!(written(&Reply::Challenge(CHALLENGE)), challenge);
    let signature = &[1; SIGNATURE_BYTES];
    let authenticate = [&[0x14, 64][..], signature].concat();
    assert_eq!(written(&Request::Authenticate { signature }), authenticate);
    let key = [2; KEY_BYTES];
    let provision = [&[0x15][..], &key].concat();
    assert_eq!(written(&Request::Provision { key }), provision);
    let replace = Request::ReplaceKey {
        key,
        counter: 5,
        signature,
    };
    let bytes = [&[0x16][..], &key, &[5, 64], signature].concat();
    assert_eq!(written(&replace), bytes);
    assert_eq!(written(&Request::Reboot), [0x17]);
}

#[test]
fn largest_messages_fit() {
    let (embedding, name) = ([255; MAX_EMBEDDING], "n".repeat(MAX_NAME_BYTES));
    written(&Reply::Classified(largest_classified(&embedding, &name)));
    written(&Reply::Classes(largest_classes(&name)));
    written(&Reply::Slots(largest_slots()));
    written(&Request::AddClass(NewClass {
        name: &name,
        scale: f32::MAX,
        embedding: &embedding,
    }));
    let rows = Request::Rows {
        offset: u32::MAX,
        bytes: &[255; MAX_CHUNK_BYTES],
    };
    let frame = frame_of(255, &written(&rows));
    assert_eq!(frames_in(&frame, frame.len()).len(), 1);
    let full = [7; MAX_BODY_BYTES];
    assert_eq!(
        frames_in(&frame_of(1, &full), 100),
        [Ok((1, full.to_vec()))]
    );
}

#[test]
fn fields_beyond_their_limits_are_refused_on_both_sides() {
    let bytes = [1; MAX_CHUNK_BYTES + 1];
    let rows = Request::Rows {
        offset: 0,
        bytes: &bytes,
    };
    let fault = MessageFault::TooLong {
        field: "rows",
        limit: MAX_CHUNK_BYTES,
        found: MAX_CHUNK_BYTES + 1,
    };
    assert_eq!(body(&rows, &mut [0; MAX_BODY_BYTES]), Err(fault));
    let mut foreign = vec![2, 0, 0x81, 0x10];
    foreign.extend_from_slice(&bytes);
    assert_eq!(decode::<Request<'_>>(&foreign), Err(fault));
    let name = "n".repeat(MAX_NAME_BYTES + 1);
    let remove = Request::RemoveClass { name: &name };
    let fault = MessageFault::TooLong {
        field: "name",
        limit: MAX_NAME_BYTES,
        found: MAX_NAME_BYTES + 1,
    };
    assert_eq!(body(&remove, &mut [0; MAX_BODY_BYTES]), Err(fault));
    assert_eq!(
        decode::<Request<'_>>(&[0, 0, 0]),
        Err(MessageFault::Trailing { bytes: 2 })
    );
    assert_eq!(decode::<Request<'_>>(&[200]), Err(MessageFault::Malformed));
}

#[test]
fn a_frame_of_another_version_is_told_apart_from_damage() {
    let mut plain = vec![PROTOCOL_VERSION + 1, 3, 9, 9];
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&plain);
    plain.extend_from_slice(&crc.to_le_bytes());
    assert!(!plain.contains(&0));
    let mut frame = vec![plain.len() as u8 + 1];
    frame.extend_from_slice(&plain);
    frame.push(0);
    let fault = FrameFault::Version {
        found: PROTOCOL_VERSION + 1,
    };
    assert_eq!(frames_in(&frame, 2), [Err(fault)]);
}

#[test]
fn every_changed_or_missing_byte_of_a_frame_is_noticed() {
    let frame = frame_of(4, &written(&Request::Begin(BEGIN)));
    for index in 0..frame.len() - 1 {
        for bit in 0..8 {
            let mut damaged = frame.clone();
            damaged[index] ^= 1 << bit;
            // The frame that follows is whole: noise costs the frame in which it lies.
            damaged.extend_from_slice(&frame);
            let found = frames_in(&damaged, 5);
            assert!(found[..found.len() - 1].iter().all(Result::is_err));
            assert!(found[found.len() - 1].is_ok());
        }
        let mut shorter = frame.clone();
        shorter.remove(index);
        assert!(frames_in(&shorter, 5).iter().all(Result::is_err));
    }
}

#[test]
fn an_endless_frame_is_refused_and_the_next_one_is_taken() {
    let mut bytes = vec![0xff; 3 * MAX_BODY_BYTES];
    bytes.push(0);
    bytes.extend_from_slice(&frame_of(2, b"after"));
    assert_eq!(
        frames_in(&bytes, 64),
        [Err(FrameFault::TooLong), Ok((2, b"after".to_vec()))]
    );
}

#[test]
fn text_is_cut_at_a_character() {
    assert_eq!(cut("größe", 3), "gr");
    assert_eq!(cut("größe", 4), "grö");
    assert_eq!(cut("cat", 128), "cat");
    let long = BoundedText::of(&"ä".repeat(MAX_TEXT_BYTES));
    assert_eq!(long.chars().count(), MAX_TEXT_BYTES / 2);
}

proptest! {
    #[test]
    fn any_body_survives_after_any_noise(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        body in prop::collection::vec(any::<u8>(), 0..1200),
        sequence: u8,
        step in 1usize..700,
    ) {
        let mut bytes = noise;
        bytes.push(0);
        bytes.extend_from_slice(&frame_of(sequence, &body));
        let found = frames_in(&bytes, step);
        prop_assert_eq!(found.last(), Some(&Ok((sequence, body))));
    }

    #[test]
    fn runs_without_zeros_of_every_length_survive(length in 0usize..1100, step in 1usize..300) {
        let body = vec![1; length];
        prop_assert_eq!(frames_in(&frame_of(1, &body), step), [Ok((1, body))]);
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = frames_in(&bytes, 7);
        for kind in 0..28 {
            let mut bytes = bytes.clone();
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = decode::<Request<'_>>(&bytes);
            let _ = decode::<Reply<'_>>(&bytes);
        }
    }
}
