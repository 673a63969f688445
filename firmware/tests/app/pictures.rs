//! Pictures, and what a board says of itself.

use crate::board::{
    Board, SCRATCH_WORDS, bank, begin, embedding_on_the_host, failed, frame, frame_of, picture,
    reply,
};
use crate::common::{Aligned, Random, samples};
use pinhole_firmware::storage::Kind;
use pinhole_firmware::{NotReady, Served};
use pinhole_protocol::{ErrorCode, MAX_BODY_BYTES, Reply, Request, body};
use pinhole_runtime::model::format::ModelKind;

#[test]
fn a_picture_gives_the_embedding_of_the_runtime_however_it_is_cut_into_chunks() {
    let mut board = Board::new();
    let bytes = Random(1).bytes(31 * 17 * 3);
    let expected = embedding_on_the_host(&board, 31, 17, &bytes);
    for chunk in [1, 2, 92, 93, 94, 500, 31 * 17 * 3] {
        let (served, bodies) = board.answers(picture(31, 17, &bytes, chunk));
        assert_eq!(served, Served::EndOfLine);
        let Reply::Classified(classified) = reply(bodies.last().unwrap()) else {
            panic!("not classified");
        };
        assert_eq!(classified.embedding, expected, "chunks of {chunk}");
        assert_eq!(classified.top.len(), 2);
        assert!(classified.top[0].cosine >= classified.top[1].cosine);
        assert!(["cat", "dog", "kite", "ship"].contains(&classified.top[0].name));
    }
}

#[test]
fn hello_names_the_board_and_what_it_holds() {
    let mut board = Board::new();
    let model_bytes = board.model.len() as u32;
    let (served, bodies) =
        board.answers([frame(&Request::Hello), frame(&Request::Shutdown)].concat());
    assert_eq!((served, bodies.len()), (Served::Shutdown, 2));
    let Reply::Info(info) = reply(&bodies[0]) else {
        panic!("not an info");
    };
    assert_eq!((info.board, info.kernels), ("test", "scalar"));
    assert_eq!(
        (info.model_bytes, info.class_count, info.dim),
        (model_bytes, 4, 10)
    );
    assert_eq!(info.arena_bytes, info.arena_capacity_bytes);
    assert_eq!(info.scratch_capacity_bytes as usize, SCRATCH_WORDS * 4);
}

#[test]
fn a_repeated_chunk_is_acknowledged_and_a_gap_is_named() {
    let mut board = Board::new();
    let bytes = Random(2).bytes(4 * 4 * 3);
    let expected = embedding_on_the_host(&board, 4, 4, &bytes);
    let rows = |offset: u32, end: usize| {
        let bytes = &bytes[offset as usize..end];
        frame(&Request::Rows { offset, bytes })
    };
    let (_, bodies) = board.answers(
        [
            frame(&begin(4, 4)),
            rows(0, 20),
            rows(0, 20),
            rows(30, 48),
            frame(&Request::End),
            rows(20, 48),
            frame(&Request::End),
            frame(&Request::End),
        ]
        .concat(),
    );
    assert_eq!(reply(&bodies[1]), Reply::Received(20));
    assert_eq!(reply(&bodies[2]), Reply::Received(20));
    assert_eq!(failed(&bodies[3]).0, ErrorCode::Offset);
    assert_eq!(failed(&bodies[4]).1, 20);
    assert_eq!(reply(&bodies[5]), Reply::Received(48));
    let Reply::Classified(classified) = reply(&bodies[6]) else {
        panic!("not classified");
    };
    assert_eq!(classified.embedding, expected);
    assert_eq!(failed(&bodies[7]).0, ErrorCode::NoPicture);
}

#[test]
fn a_picture_too_many_too_large_or_empty_is_refused_and_the_next_one_is_taken() {
    let mut board = Board::new();
    let bytes = Random(2).bytes(300);
    let rows = |offset| {
        frame(&Request::Rows {
            offset,
            bytes: &bytes,
        })
    };
    for (incoming, words) in [
        (frame(&begin(0, 5)), "picture of 0x5"),
        (frame(&begin(u32::MAX, u32::MAX)), "each side must be"),
        (frame(&begin(65_535, 65_535)), "picture of 65535x65535"),
        (frame(&begin(20_000, 20_000)), "scratch needs"),
        (
            [frame(&begin(5, 5)), rows(0)].concat(),
            "after the last of 5",
        ),
    ] {
        let incoming = [incoming, picture(10, 10, &bytes, 70)].concat();
        let (_, bodies) = board.answers(incoming);
        let refused = bodies.iter().position(|body| body[0] == 3).unwrap();
        let (code, _, text) = failed(&bodies[refused]);
        assert_eq!(code, ErrorCode::Picture);
        assert!(text.contains(words), "{text}");
        let last = reply(bodies.last().unwrap());
        assert!(matches!(last, Reply::Classified(_)), "{last:?}");
    }
}

#[test]
fn a_second_begin_and_a_hello_drop_the_open_picture() {
    let mut board = Board::new();
    let bytes = Random(8).bytes(300);
    let expected = embedding_on_the_host(&board, 10, 10, &bytes);
    let incoming = [
        frame(&begin(20, 20)),
        frame(&Request::Rows {
            offset: 0,
            bytes: &bytes,
        }),
        picture(10, 10, &bytes, 300),
        frame(&begin(3, 3)),
        frame(&Request::Hello),
        frame(&Request::End),
    ]
    .concat();
    let (_, bodies) = board.answers(incoming);
    let Reply::Classified(classified) = reply(&bodies[4]) else {
        panic!("not classified");
    };
    assert_eq!(classified.embedding, expected);
    assert!(matches!(reply(&bodies[6]), Reply::Info(_)));
    assert_eq!(failed(&bodies[7]).0, ErrorCode::NoPicture);
}

#[test]
fn a_board_with_bad_images_says_why() {
    let hello = || [frame(&Request::Hello), frame(&begin(2, 2))].concat();
    let mut damaged = Board::new();
    damaged.model[300] ^= 4;
    let mut empty = Board::new();
    empty.model = Aligned::zeroed(0);
    let mut foreign = Board::new();
    foreign.model = samples::text_f32(5).build();
    let mut float = Board::new();
    let mut picture_f32 = samples::picture_f32();
    picture_f32.kind = ModelKind::ImageEncoder;
    picture_f32.geometry = samples::image_s8().geometry;
    picture_f32.geometry.width = 5.into();
    picture_f32.geometry.height = 5.into();
    float.model = picture_f32.build();
    float.arena = Aligned::zeroed(1 << 20);
    let mut bad_bank = Board::new();
    bad_bank.bank[70] ^= 1;
    let mut small = Board::new();
    small.arena = Aligned::zeroed(64);
    for (board, code, words) in [
        (&mut damaged, ErrorCode::Model, "model: "),
        (&mut empty, ErrorCode::Model, "model: "),
        (&mut foreign, ErrorCode::Model, "no image encoder"),
        (&mut float, ErrorCode::Model, "expected i8"),
        (&mut bad_bank, ErrorCode::Bank, "class bank: "),
        (&mut small, ErrorCode::Memory, "the board has 64"),
    ] {
        let (_, bodies) = board.answers(hello());
        assert_eq!(bodies.len(), 2);
        for body in &bodies {
            let (found, _, text) = failed(body);
            assert_eq!(found, code, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
    let mut other = Board::new();
    other.bank = {
        let mut bank = bank();
        bank.truncate(20);
        bank
    };
    let app = other.app();
    let fault = app.ready();
    let Err(NotReady::Missing(missing)) = fault else {
        panic!("{fault:?}");
    };
    assert_eq!(missing.kind, Kind::Bank);
}

#[test]
fn no_bytes_on_the_line_stop_the_board() {
    let mut board = Board::new();
    let mut random = Random(77);
    for round in 0..200 {
        // Noise, then damaged frames of a picture, then a good one.
        let mut incoming = random.bytes(round);
        let bytes = random.bytes(5 * 7 * 3);
        let mut frames = picture(5, 7, &bytes, 40);
        for _ in 0..3 {
            let at = random.below(frames.len());
            frames[at] ^= 1 << random.below(8);
        }
        incoming.extend(frames);
        incoming.push(0);
        incoming.extend(picture(5, 7, &bytes, 40));
        let expected = embedding_on_the_host(&board, 5, 7, &bytes);
        let (served, bodies) = board.answers(incoming);
        assert_eq!(served, Served::EndOfLine);
        let Reply::Classified(classified) = reply(bodies.last().unwrap()) else {
            panic!("not classified in round {round}");
        };
        assert_eq!(classified.embedding, expected);
    }
}

/// A million bytes of noise, in stretches of up to 4,000, and a good frame behind each: every one of them is answered.
#[test]
fn noise_costs_no_good_frame_after_it() {
    const NOISE_BYTES: usize = 1_000_000;
    let mut board = Board::new();
    let mut random = Random(11);
    let (mut incoming, mut noise, mut sent) = (Vec::new(), 0, Vec::new());
    while noise < NOISE_BYTES {
        let len = (1 + random.below(4000)).min(NOISE_BYTES - noise);
        incoming.extend(random.bytes(len));
        noise += len;
        let sequence = 1 + (sent.len() % 255) as u8;
        // As a host sends it: the zero ends the noise.
        incoming.push(0);
        let mut room = [0; MAX_BODY_BYTES];
        incoming.extend(frame_of(
            sequence,
            body(&Request::Hello, &mut room).unwrap(),
        ));
        sent.push(sequence);
    }
    let (_, answers) = crate::board::served_numbered(board.app(), incoming);
    let (good, damaged): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.0 != 0);
    let answered: Vec<u8> = good.iter().map(|answer| answer.0).collect();
    assert_eq!(answered, sent);
    assert!(
        good.iter()
            .all(|answer| matches!(reply(&answer.1), Reply::Info(_)))
    );
    assert!(
        damaged
            .iter()
            .all(|answer| failed(&answer.1).0 == ErrorCode::Damaged)
    );
    println!(
        "{noise} bytes of noise made {} damaged frames; {} good ones, all answered",
        damaged.len(),
        sent.len()
    );
}
