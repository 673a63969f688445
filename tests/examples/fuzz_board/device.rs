//! A board that anybody may speak with.

use crate::Counts;
use crate::board::{Board, frame_of, reply, served_numbered};
use crate::common::{Aligned, Random};
use crate::messages::{Fields, frame, request};
use pinhole_firmware::Served;
use pinhole_protocol::*;
use pinhole_signing::{public_key, sign, sign_session};

const SEED: [u8; KEY_BYTES] = [42; KEY_BYTES];
/// Of the request behind all noise; no other has it.
const LAST: u8 = 77;

/// A line of up to 24 requests to a board without a key, with one that nobody shows, or with one that is shown first.
pub(crate) fn case(seed: u64, counts: &mut Counts) {
    let mut random = Random(seed);
    let mut board = Board::new();
    let (key, shown) = [(false, false), (true, false), (true, true)][random.below(3)];
    let mut incoming = Vec::new();
    if key {
        provision(&mut board);
    }
    if shown {
        incoming.extend(whole(1, &Request::Challenge));
        let signature = &sign_session(&SEED, 1, &[board.nonces.next; NONCE_BYTES]);
        incoming.extend(whole(2, &Request::Authenticate { signature }));
    }
    for _ in 0..random.below(24) {
        let fields = Fields::new(&mut random);
        let request = request(&mut random, &fields);
        let sequence = 1 + random.below(70) as u8;
        incoming.extend(frame(&mut random, sequence, &request));
        counts.tried += 1;
    }
    incoming.push(0);
    incoming.extend(whole(LAST, &Request::Statistics));
    let before = board.flash.as_ref().map(|flash| flash.bytes.clone());
    let ((served, flash), answers) = served_numbered(board.app(), incoming);
    for (_, body) in &answers {
        counts.taken += u64::from(!matches!(reply(body), Reply::Failed(_)));
    }
    if served == Served::EndOfLine {
        let (sequence, body) = answers.last().expect("the last request is answered");
        assert_eq!(*sequence, LAST);
        assert!(matches!(reply(body), Reply::Statistics(_)));
    }
    if key && !shown {
        assert!(
            before.is_some_and(|before| before[..] == flash.bytes[..]),
            "a stranger wrote"
        );
    }
    // What is left starts again.
    board.flash = Some(flash);
    let (_, bodies) = board.answers(whole(1, &Request::Slots));
    assert!(matches!(reply(&bodies[0]), Reply::Slots(_)));
}

/// Signs what the board holds, and gives it its key.
fn provision(board: &mut Board) {
    let model = sign(&board.model, &SEED, 1).expect("a model");
    board.model = Aligned::from_slice(&model);
    board.bank = sign(&board.bank, &SEED, 1).expect("a bank");
    let key = *public_key(&SEED).as_bytes();
    let (_, bodies) = board.answers(whole(1, &Request::Provision { key }));
    assert_eq!(reply(&bodies[0]), Reply::Received(0));
}

fn whole(sequence: u8, request: &Request<'_>) -> Vec<u8> {
    let mut room = [0; MAX_BODY_BYTES];
    frame_of(
        sequence,
        body(request, &mut room).expect("a request that fits"),
    )
}
