//! Keys over the line: who gets one, and who may write to a device that has one.

use crate::board::{Board, DIM, failed, frame, reply};
use crate::common::Aligned;
use pinhole_firmware::{App, Memory, Served};
use pinhole_protocol::*;
use pinhole_runtime::kernel::Scalar;
use pinhole_signing::{public_key, sign, sign_rotation, sign_session};

const SEED: [u8; KEY_BYTES] = [42; KEY_BYTES];
const OTHER_SEED: [u8; KEY_BYTES] = [43; KEY_BYTES];
const DONE: Reply<'static> = Reply::Received(0);

/// A board whose files are signed; with its key, where `key` says so.
fn signed_board(key: bool) -> Board {
    let mut board = Board::new();
    let model = sign(&board.model, &SEED, 1).unwrap();
    board.model = Aligned::from_slice(&model);
    board.bank = sign(&board.bank, &SEED, 1).unwrap();
    if key {
        let (_, bodies) = board.answers(provision(&SEED));
        assert_eq!(reply(&bodies[0]), DONE);
    }
    board
}

fn provision(seed: &[u8; KEY_BYTES]) -> Vec<u8> {
    let key = *public_key(seed).as_bytes();
    frame(&Request::Provision { key })
}

/// A challenge and its answer, of which the nonce and the number of the session are known.
fn unlock(seed: &[u8; KEY_BYTES], session: u32, nonce: u8) -> Vec<u8> {
    [frame(&Request::Challenge), answer(seed, session, nonce)].concat()
}

fn answer(seed: &[u8; KEY_BYTES], session: u32, nonce: u8) -> Vec<u8> {
    let signature = &sign_session(seed, session, &[nonce; NONCE_BYTES]);
    frame(&Request::Authenticate { signature })
}

fn replace(old: &[u8; KEY_BYTES], new: &[u8; KEY_BYTES], counter: u32) -> Vec<u8> {
    let key = public_key(new);
    frame(&Request::ReplaceKey {
        key: *key.as_bytes(),
        counter,
        signature: &sign_rotation(old, &key, counter),
    })
}

fn threshold(value: f32) -> Vec<u8> {
    let threshold = Some(value);
    frame(&Request::SetThreshold { threshold })
}

/// The codes of all answers; `None` where a request was done.
fn codes(board: &mut Board, incoming: Vec<u8>) -> Vec<Option<ErrorCode>> {
    let (_, bodies) = board.answers(incoming);
    let code = |body: &Vec<u8>| match reply(body) {
        Reply::Failed(failure) => Some(failure.code),
        _ => None,
    };
    bodies.iter().map(code).collect()
}

fn flash(board: &Board) -> Vec<u8> {
    board.flash.as_ref().unwrap().bytes.to_vec()
}

#[test]
fn a_board_gets_its_first_key_when_what_it_runs_is_signed_by_it() {
    let mut board = Board::new();
    let (_, bodies) = board.answers(provision(&SEED));
    let (code, _, text) = failed(&bodies[0]);
    assert_eq!(code, ErrorCode::Storage);
    assert!(text.contains("not signed"), "{text}");
    let mut board = signed_board(false);
    assert_eq!(
        codes(&mut board, provision(&OTHER_SEED)),
        [Some(ErrorCode::Storage)]
    );
    let key = [0; KEY_BYTES];
    let weak = frame(&Request::Provision { key });
    assert_eq!(codes(&mut board, weak), [Some(ErrorCode::Key)]);
    assert_eq!(codes(&mut board, threshold(1.0)), [None]);
    assert_eq!(codes(&mut board, provision(&SEED)), [None]);
    assert_eq!(codes(&mut board, threshold(2.0)), [Some(ErrorCode::Locked)]);
}

#[test]
fn a_board_with_a_key_refuses_every_change_of_a_stranger_and_writes_nothing() {
    let mut board = signed_board(true);
    let class = NewClass {
        name: "kite",
        scale: 1.0,
        embedding: &[1; DIM],
    };
    let key = [2; KEY_BYTES];
    let requests = [
        Request::AddClass(class),
        Request::RemoveClass { name: "cat" },
        Request::ReplaceClass(class),
        Request::BeginUpload {
            kind: Kind::Model,
            bytes: 400,
            crc32: 1,
        },
        Request::UploadChunk {
            offset: 0,
            bytes: &[1; 8],
        },
        Request::FinishUpload,
        Request::CancelUpload,
        Request::Activate { which: Which::Both },
        Request::SelectSlot {
            kind: Kind::Bank,
            slot: 1,
        },
        Request::SetThreshold { threshold: None },
        Request::Provision { key },
        Request::ReplaceKey {
            key,
            counter: 1,
            signature: &[3; SIGNATURE_BYTES],
        },
    ];
    let before = flash(&board);
    for request in &requests {
        let found = codes(&mut board, frame(request));
        assert_eq!(found, [Some(ErrorCode::Locked)], "{request:?}");
    }
    // The key that would replace it does not need to know a nonce, and is refused too.
    let found = codes(&mut board, replace(&SEED, &OTHER_SEED, 1));
    assert_eq!(found, [Some(ErrorCode::Locked)]);
    assert!(flash(&board) == before, "nothing was written");
    // Whoever only asks is answered.
    let reading = [
        Request::Hello,
        Request::Slots,
        Request::Statistics,
        Request::SelfTest,
        Request::ListClasses { from: 0 },
    ];
    let frames = reading.iter().flat_map(frame).collect();
    assert_eq!(codes(&mut board, frames), [None; 5]);
}

#[test]
fn the_key_opens_the_line_until_it_ends() {
    let mut board = signed_board(true);
    let incoming = [unlock(&SEED, 1, 1), threshold(1.0), threshold(2.0)].concat();
    assert_eq!(codes(&mut board, incoming), [None; 4]);
    assert_eq!(codes(&mut board, threshold(3.0)), [Some(ErrorCode::Locked)]);
    // Asking for another challenge closes it too.
    let challenge = frame(&Request::Challenge);
    let incoming = [unlock(&SEED, 1, 2), challenge, threshold(4.0)].concat();
    assert_eq!(
        codes(&mut board, incoming),
        [None, None, None, Some(ErrorCode::Locked)]
    );
}

#[test]
fn another_key_is_refused_and_has_used_up_the_challenge() {
    let mut board = signed_board(true);
    let before = flash(&board);
    let incoming = [
        unlock(&OTHER_SEED, 1, 1),
        threshold(1.0),
        answer(&SEED, 1, 1),
        threshold(1.0),
        // The right key over another session, and over another nonce.
        unlock(&SEED, 1, 2),
        unlock(&SEED, 3, 4),
        threshold(1.0),
    ];
    let (key, locked) = (Some(ErrorCode::Key), Some(ErrorCode::Locked));
    assert_eq!(
        codes(&mut board, incoming.concat()),
        [None, key, locked, key, locked, None, key, None, key, locked]
    );
    for bytes in [0, 1, 63] {
        let signature = &[0; SIGNATURE_BYTES][..bytes];
        let short = frame(&Request::Authenticate { signature });
        let incoming = [frame(&Request::Challenge), short, threshold(1.0)];
        assert_eq!(codes(&mut board, incoming.concat()), [None, key, locked]);
    }
    assert!(flash(&board) == before, "nothing was written");
}

#[test]
fn an_old_answer_opens_nothing() {
    let mut board = signed_board(true);
    let recorded = answer(&SEED, 1, 1);
    let good = [frame(&Request::Challenge), recorded.clone(), threshold(1.0)];
    assert_eq!(codes(&mut board, good.concat()), [None; 3]);
    let before = flash(&board);
    let (key, locked) = (Some(ErrorCode::Key), Some(ErrorCode::Locked));
    // After a restart, whose sessions count from 1 again: without a challenge, then with one.
    let incoming = [
        recorded.clone(),
        threshold(2.0),
        frame(&Request::Challenge),
        recorded.clone(),
        threshold(2.0),
    ];
    assert_eq!(
        codes(&mut board, incoming.concat()),
        [key, locked, None, key, locked]
    );
    // On a line that is open: it closes.
    let incoming = [unlock(&SEED, 1, 3), recorded, threshold(2.0)];
    assert_eq!(
        codes(&mut board, incoming.concat()),
        [None, None, key, locked]
    );
    assert!(flash(&board) == before, "nothing was written");
}

#[test]
fn without_fresh_nonces_nobody_is_let_in() {
    let challenges = frame(&Request::Challenge).repeat(2);
    let mut board = signed_board(true);
    board.nonces.step = 0;
    let key = Some(ErrorCode::Key);
    assert_eq!(codes(&mut board, challenges.clone()), [None, key]);
    board.nonces.left = 1;
    assert_eq!(codes(&mut board, challenges.clone()), [None, key]);
    // A board that was built without a source.
    let storage = board.app().into_storage();
    let memory = Memory {
        arena: &mut [],
        scratch: &mut [],
    };
    let app = App::new("test", storage, memory, &Scalar);
    let (_, bodies) = crate::board::served(app, frame(&Request::Challenge));
    let (code, _, text) = failed(&bodies[0]);
    assert_eq!(code, ErrorCode::Key);
    assert!(text.contains("no source of nonces"), "{text}");
    // A board without a key has nothing to ask.
    let mut board = signed_board(false);
    assert_eq!(codes(&mut board, challenges), [key, key]);
}

#[test]
fn the_old_key_hands_over_to_the_new_one() {
    let mut board = signed_board(true);
    let (_, bodies) = board.answers(frame(&Request::Challenge));
    let Reply::Challenge(challenge) = reply(&bodies[0]) else {
        panic!("no challenge");
    };
    assert_eq!((challenge.session, challenge.key_counter), (1, 1));
    assert_eq!(challenge.nonce, [1; NONCE_BYTES]);
    let (key, locked) = (Some(ErrorCode::Key), Some(ErrorCode::Locked));
    // Let in, and the request itself signed by another key, or too old.
    let incoming = [
        unlock(&SEED, 1, 2),
        replace(&OTHER_SEED, &OTHER_SEED, 1),
        replace(&SEED, &OTHER_SEED, 0),
        provision(&OTHER_SEED),
        replace(&SEED, &OTHER_SEED, 1),
        threshold(1.0),
    ];
    assert_eq!(
        codes(&mut board, incoming.concat()),
        [None, None, key, key, key, None, locked]
    );
    let old = [unlock(&SEED, 1, 3), threshold(1.0)];
    assert_eq!(codes(&mut board, old.concat()), [None, key, locked]);
    let new = [unlock(&OTHER_SEED, 1, 4), threshold(1.0)];
    assert_eq!(codes(&mut board, new.concat()), [None; 3]);
}

#[test]
fn a_reboot_is_answered_before_it_happens() {
    for mut board in [Board::new(), signed_board(true)] {
        let later = threshold(1.0);
        let (served, bodies) = board.answers([frame(&Request::Reboot), later].concat());
        assert_eq!(served, Served::Reboot);
        assert_eq!(bodies.len(), 1, "what follows is the next start's");
        assert_eq!(reply(&bodies[0]), DONE);
    }
}
