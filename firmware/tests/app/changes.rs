//! Classes, uploads and slots over the line.

use crate::board::{
    Board, DIM, MODEL_SECTORS, begin, embedding_on_the_host, failed, frame, layout, picture, reply,
};
use crate::common::{Aligned, Random, seal};
use pinhole_protocol::*;
use pinhole_runtime::model::Model;

/// One request to a board that starts; its reply's body.
fn ask(board: &mut Board, request: &Request<'_>) -> Vec<u8> {
    let (_, mut bodies) = board.answers(frame(request));
    assert_eq!(bodies.len(), 1);
    bodies.remove(0)
}

#[track_caller]
fn done(board: &mut Board, request: &Request<'_>) {
    let body = ask(board, request);
    assert_eq!(reply(&body), Reply::Received(0), "{request:?}");
}

/// The embedding of a picture on the host, as a class.
fn class_of<'a>(name: &'a str, embedding: &'a [u8]) -> NewClass<'a> {
    let squares: i32 = embedding.iter().map(|x| i32::from(*x as i8).pow(2)).sum();
    NewClass {
        name,
        scale: 1.0 / (squares as f32).sqrt(),
        embedding,
    }
}

fn names(body: &[u8]) -> (u32, u32, Vec<String>) {
    let Reply::Classes(classes) = reply(body) else {
        panic!("no classes");
    };
    let names = classes.names.iter().map(|name| name.to_string());
    (classes.total, classes.written, names.collect())
}

fn list(board: &mut Board, from: u32) -> (u32, u32, Vec<String>) {
    names(&ask(board, &Request::ListClasses { from }))
}

fn slots(board: &mut Board) -> Slots {
    match reply(&ask(board, &Request::Slots)) {
        Reply::Slots(slots) => slots,
        other => panic!("{other:?}"),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes)
}

/// Frames of a whole upload, up to `FinishUpload`.
fn upload(kind: Kind, file: &[u8]) -> Vec<u8> {
    let (bytes, crc32) = (file.len() as u32, crc32(file));
    let mut frames = frame(&Request::BeginUpload { kind, bytes, crc32 });
    for (index, bytes) in file.chunks(700).enumerate() {
        let offset = index as u32 * 700;
        frames.extend(frame(&Request::UploadChunk { offset, bytes }));
    }
    frames.extend(frame(&Request::FinishUpload));
    frames
}

/// The model of the board with other bytes, which names alone make.
fn another_model(board: &Board) -> Vec<u8> {
    with_golden(&board.model, &[1; 6 * 6 * 3], &[0; DIM])
}

/// A model with a section `golden`, or another one in its place.
fn with_golden(model: &[u8], input: &[u8], output: &[u8]) -> Vec<u8> {
    let mut file = model.to_vec();
    file.resize(file.len().next_multiple_of(16), 0);
    let start = file.len() as u32;
    file.extend_from_slice(input);
    file.extend_from_slice(output);
    let file_bytes = file.len() as u32;
    let header = |field: usize| field..field + 4;
    let golden = std::mem::offset_of!(pinhole_runtime::model::format::Header, golden);
    let length = std::mem::offset_of!(pinhole_runtime::model::format::Header, file_bytes);
    file[header(golden)].copy_from_slice(&start.to_le_bytes());
    file[header(golden + 4)].copy_from_slice(&(file_bytes - start).to_le_bytes());
    file[header(length)].copy_from_slice(&file_bytes.to_le_bytes());
    seal(&mut file);
    file
}

#[test]
fn a_class_that_was_added_wins_and_survives_a_restart() {
    let mut board = Board::new();
    let bytes = Random(1).bytes(31 * 17 * 3);
    let embedding = embedding_on_the_host(&board, 31, 17, &bytes);
    let class = class_of("forklift", &embedding);
    let shown = |body: &[u8]| match reply(body) {
        Reply::Classified(classified) => {
            assert_eq!(classified.embedding, embedding);
            classified.top[0].name.to_string()
        }
        other => panic!("{other:?}"),
    };
    // All in one start, pictures around the change.
    let incoming = [
        picture(31, 17, &bytes, 300),
        frame(&Request::AddClass(class)),
        picture(31, 17, &bytes, 300),
    ];
    let (_, bodies) = board.answers(incoming.concat());
    let chunks = (bodies.len() - 1) / 2;
    assert_ne!(shown(&bodies[chunks - 1]), "forklift");
    assert_eq!(reply(&bodies[chunks]), Reply::Received(0));
    assert_eq!(shown(bodies.last().unwrap()), "forklift");
    let (_, bodies) = board.answers(picture(31, 17, &bytes, 300));
    assert_eq!(shown(bodies.last().unwrap()), "forklift");
    let all = ["cat", "dog", "kite", "ship", "forklift"].map(String::from);
    assert_eq!(list(&mut board, 0), (5, 4, all.to_vec()));
    assert_eq!(list(&mut board, 3), (5, 4, all[3..].to_vec()));
    assert_eq!(list(&mut board, 5), (5, 4, vec![]));
    assert_eq!(list(&mut board, u32::MAX), (5, 4, vec![]));
    done(&mut board, &Request::RemoveClass { name: "forklift" });
    assert_eq!(list(&mut board, 0).0, 4);
    let Reply::Statistics(numbers) = reply(&ask(&mut board, &Request::Statistics)) else {
        panic!("no statistics");
    };
    assert_eq!((numbers.classes, numbers.free_slots), (4, 2));
    assert!(numbers.writes > 3 && numbers.erases > 0, "{numbers:?}");
}

#[test]
fn a_class_is_refused_with_the_reason_and_changes_nothing() {
    let mut board = Board::new();
    let embedding = [9; DIM];
    let good = class_of("forklift", &embedding);
    let flat = [0; DIM];
    let cases = [
        (
            Request::AddClass(NewClass {
                name: "cat",
                ..good
            }),
            "a class of this name exists",
        ),
        (Request::ReplaceClass(good), "no class of this name"),
        (
            Request::RemoveClass { name: "forklift" },
            "no class of this name",
        ),
        (
            Request::AddClass(NewClass {
                scale: good.scale * 1.1,
                ..good
            }),
            "the scale",
        ),
        (
            Request::AddClass(NewClass {
                scale: -good.scale,
                ..good
            }),
            "the scale",
        ),
        (
            Request::AddClass(NewClass {
                scale: f32::NAN,
                ..good
            }),
            "the scale",
        ),
        (
            Request::AddClass(NewClass {
                embedding: &flat,
                ..good
            }),
            "is zero",
        ),
        (
            Request::AddClass(class_of("forklift", &embedding[1..])),
            "9",
        ),
    ];
    for (request, words) in cases {
        let (code, _, text) = failed(&ask(&mut board, &request));
        assert_eq!(code, ErrorCode::Class, "{text}");
        assert!(text.contains(words), "{text}");
        assert_eq!(list(&mut board, 0).0, 4);
    }
    done(&mut board, &Request::AddClass(good));
    let replaced = [200; DIM];
    done(
        &mut board,
        &Request::ReplaceClass(class_of("cat", &replaced)),
    );
    assert_eq!(list(&mut board, 0).0, 5);
}

#[test]
fn the_names_of_a_long_bank_come_in_pages() {
    let mut board = Board::new();
    for index in 0..2 {
        let name = format!("added {index}");
        let embedding = [index as u8 + 1; DIM];
        done(&mut board, &Request::AddClass(class_of(&name, &embedding)));
    }
    // No slot is free now.
    let (code, _, text) = failed(&ask(
        &mut board,
        &Request::AddClass(class_of("more", &[7; DIM])),
    ));
    assert_eq!(code, ErrorCode::Class, "{text}");
    assert_eq!(list(&mut board, 4).2, ["added 0", "added 1"]);
}

#[test]
fn an_uploaded_model_is_switched_to_and_a_damaged_one_falls_back() {
    let mut board = Board::new();
    let other = another_model(&board);
    let (_, bodies) = board.answers(upload(Kind::Model, &other));
    let last = reply(bodies.last().unwrap());
    assert_eq!(last, Reply::Received(other.len() as u32));
    let found = slots(&mut board);
    assert_eq!(found.model.running, Some(0));
    assert_eq!(found.model.status, [SlotStatus::Good, SlotStatus::Ready]);
    let which = Which::Model;
    done(&mut board, &Request::Activate { which });
    let found = slots(&mut board);
    assert_eq!((found.model.running, found.upload), (Some(1), None));
    assert_eq!(found.model.fault, "");
    let info_bytes = |board: &mut Board| match reply(&ask(board, &Request::Hello)) {
        Reply::Info(info) => info.model_bytes as usize,
        other => panic!("{other:?}"),
    };
    assert_eq!(info_bytes(&mut board), other.len());
    let kind = Kind::Model;
    done(&mut board, &Request::SelectSlot { kind, slot: 0 });
    assert_eq!(info_bytes(&mut board), board.model.len());
    done(&mut board, &Request::SelectSlot { kind, slot: 1 });
    let (code, _, text) = failed(&ask(&mut board, &Request::SelectSlot { kind, slot: 2 }));
    assert_eq!((code, text.contains("slot 2")), (ErrorCode::Storage, true));
    // A bit of the running model rots.
    let at = layout().models[1].start as usize + 300;
    board.flash.as_mut().unwrap().bytes[at] ^= 4;
    let found = slots(&mut board);
    assert_eq!(found.model.running, Some(0));
    assert!(
        found.model.fault.contains("checksum"),
        "{}",
        found.model.fault
    );
    assert_eq!(info_bytes(&mut board), board.model.len());
    let bytes = Random(4).bytes(4 * 4 * 3);
    let (_, bodies) = board.answers(picture(4, 4, &bytes, 48));
    assert!(matches!(
        reply(bodies.last().unwrap()),
        Reply::Classified(_)
    ));
}

#[test]
fn an_upload_goes_on_after_a_restart_and_keeps_to_the_order() {
    let mut board = Board::new();
    let file = another_model(&board);
    let (bytes, crc32) = (file.len() as u32, crc32(&file));
    let kind = Kind::Model;
    let begin = Request::BeginUpload { kind, bytes, crc32 };
    let chunk = |from: usize, to: usize| {
        frame(&Request::UploadChunk {
            offset: from as u32,
            bytes: &file[from..to],
        })
    };
    let finish = || frame(&Request::FinishUpload);
    let (_, bodies) = board.answers(
        [
            finish(),
            chunk(0, 10),
            frame(&begin),
            chunk(0, 10),
            chunk(0, 10),
            chunk(11, 20),
            finish(),
        ]
        .concat(),
    );
    assert_eq!(failed(&bodies[0]).0, ErrorCode::Upload);
    assert_eq!(failed(&bodies[1]).0, ErrorCode::Upload);
    assert_eq!(reply(&bodies[2]), Reply::Received(0));
    assert_eq!(reply(&bodies[3]), Reply::Received(10));
    assert_eq!(reply(&bodies[4]), Reply::Received(10));
    assert_eq!(
        (failed(&bodies[5]).0, failed(&bodies[5]).1),
        (ErrorCode::Offset, 10)
    );
    assert_eq!(
        (failed(&bodies[6]).0, failed(&bodies[6]).1),
        (ErrorCode::Offset, 10)
    );
    // A restart keeps whole sectors that a record names, and says so.
    let Reply::Received(kept) = reply(&ask(&mut board, &begin)) else {
        panic!("not received");
    };
    assert!(kept <= 10);
    let rest: Vec<u8> = (kept as usize..file.len())
        .step_by(700)
        .flat_map(|from| chunk(from, file.len().min(from + 700)))
        .collect();
    let (_, bodies) = board.answers([frame(&begin), rest, finish()].concat());
    assert_eq!(reply(bodies.last().unwrap()), Reply::Received(bytes));
    done(&mut board, &Request::CancelUpload);
    assert_eq!(
        failed(&ask(&mut board, &Request::CancelUpload)).0,
        ErrorCode::Upload
    );
    let too_long = Request::BeginUpload {
        kind,
        bytes: MODEL_SECTORS * 4096 + 1,
        crc32,
    };
    assert_eq!(failed(&ask(&mut board, &too_long)).0, ErrorCode::Upload);
}

#[test]
fn a_board_without_a_model_takes_one_over_the_line() {
    let mut board = Board::new();
    let (model, bank) = (board.model.clone(), board.bank.clone());
    board.model = Aligned::zeroed(0);
    board.bank.clear();
    let (code, _, text) = failed(&ask(&mut board, &Request::Hello));
    assert_eq!(code, ErrorCode::Model, "{text}");
    let (code, _, text) = failed(&ask(
        &mut board,
        &Request::AddClass(class_of("a", &[1; DIM])),
    ));
    assert_eq!(code, ErrorCode::Bank, "{text}");
    let which = Which::Both;
    let incoming = [
        upload(Kind::Model, &model),
        upload(Kind::Bank, &bank),
        frame(&Request::Activate { which }),
        frame(&Request::Hello),
    ];
    let (_, bodies) = board.answers(incoming.concat());
    assert!(matches!(reply(bodies.last().unwrap()), Reply::Info(_)));
    // A bank that is damaged on its way is refused, and what runs runs on.
    let mut damaged = bank;
    damaged[70] ^= 1;
    let (_, bodies) = board.answers(upload(Kind::Bank, &damaged));
    let (code, _, text) = failed(bodies.last().unwrap());
    assert_eq!(code, ErrorCode::Storage);
    assert!(text.starts_with("class bank refused: "), "{text}");
    assert_eq!(list(&mut board, 0).0, 4);
}

#[test]
fn the_threshold_of_the_storage_takes_the_place_of_the_banks() {
    let mut board = Board::new();
    let bytes = Random(1).bytes(4 * 4 * 3);
    let mut verdict = |threshold: Option<f32>| {
        done(&mut board, &Request::SetThreshold { threshold });
        let (_, bodies) = board.answers(picture(4, 4, &bytes, 48));
        match reply(bodies.last().unwrap()) {
            Reply::Classified(classified) => (classified.rejected, classified.energy),
            other => panic!("{other:?}"),
        }
    };
    // The bank's own never rejects.
    let (rejected, energy) = verdict(None);
    assert!(!rejected);
    assert!(!verdict(Some(energy)).0);
    assert!(verdict(Some(energy - 0.01)).0);
    assert!(!verdict(None).0);
    let threshold = Some(f32::NAN);
    let (code, _, text) = failed(&ask(&mut board, &Request::SetThreshold { threshold }));
    assert_eq!(
        (code, text.contains("not a number")),
        (ErrorCode::Storage, true)
    );
}

#[test]
fn a_self_test_compares_the_golden_embedding() {
    let tested = |board: &mut Board| match reply(&ask(board, &Request::SelfTest)) {
        Reply::SelfTested(result) => result,
        other => panic!("{other:?}"),
    };
    let mut board = Board::new();
    assert_eq!(tested(&mut board), SelfTest::NoGolden);
    let (width, height) = {
        let geometry = Model::load(&board.model).unwrap().geometry().unwrap();
        (usize::from(geometry.width), usize::from(geometry.height))
    };
    let input = Random(5).bytes(width * height * 3);
    let model = Model::load(&board.model).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let kernels = &pinhole_runtime::kernel::Scalar;
    let mut interpreter =
        pinhole_runtime::interpreter::Interpreter::new(&model, &mut arena, kernels).unwrap();
    interpreter
        .input_bytes_mut(0)
        .unwrap()
        .copy_from_slice(&input);
    interpreter.run();
    let mut output = interpreter.output_bytes(0).unwrap().to_vec();
    let start = |file: &[u8]| {
        let mut board = Board::new();
        board.model = Aligned::zeroed(file.len());
        board.model.copy_from_slice(file);
        board
    };
    let mut board = start(&with_golden(&board.model, &input, &output));
    let bytes = DIM as u32;
    assert_eq!(tested(&mut board), SelfTest::Passed { bytes });
    output[4] ^= 1;
    let mut board = start(&with_golden(&Board::new().model, &input, &output));
    let failed = SelfTest::Failed {
        at: 4,
        expected: output[4],
        found: output[4] ^ 1,
    };
    assert_eq!(tested(&mut board), failed);
}

#[test]
fn every_other_request_drops_an_open_picture() {
    let mut board = Board::new();
    for request in [
        Request::Slots,
        Request::Statistics,
        Request::SelfTest,
        Request::CancelUpload,
    ] {
        let rows = Request::Rows {
            offset: 0,
            bytes: &[1; 12],
        };
        let incoming = [frame(&begin(2, 2)), frame(&request), frame(&rows)];
        let (_, bodies) = board.answers(incoming.concat());
        assert_eq!(bodies.len(), 3);
        assert_eq!(failed(&bodies[2]).0, ErrorCode::NoPicture, "{request:?}");
    }
}
