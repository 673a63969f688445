//! Signed files, byte for byte: the test vector of `docs/signing.md`, and that nothing else verifies.
#![cfg(feature = "std")]

use pinhole_runtime::bank::{BankSpec, ClassBank, ClassSpec, write_slot};
use pinhole_signing::{
    Kind, PublicKey, SignFault, SignatureFault, TRAILER_BYTES, Trailer, Verifier, public_key,
    session_message, sign, sign_rotation, sign_session,
};

const BANK: &[u8] = include_bytes!("../../../runtime/tests/golden/bank_v1.phc");
const MODEL: &[u8] = include_bytes!("../../../runtime/tests/golden/model_v1.phm");

/// The seed of the test vector: 00 01 02 … 1f.
fn seed() -> [u8; 32] {
    std::array::from_fn(|index| index as u8)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Verifies in pieces of `piece` bytes.
fn verify(kind: Kind, signed: &[u8], key: &PublicKey, piece: usize) -> Result<u32, SignatureFault> {
    let (file, trailer) = signed.split_at(signed.len() - TRAILER_BYTES);
    let mut verifier = Verifier::new(kind, file.len() as u32, trailer, key)?;
    file.chunks(piece).for_each(|piece| verifier.update(piece));
    verifier.finish()
}

#[test]
fn the_test_vector_of_the_document_is_what_is_signed() {
    let signed = sign(BANK, &seed(), 7).unwrap();
    let (file, trailer) = signed.split_at(BANK.len());
    assert_eq!(file, BANK);
    let document = include_str!("../../../docs/signing.md");
    let lines: Vec<&str> = document.lines().map(str::trim).collect();
    let key = public_key(&seed());
    for (name, bytes) in [
        ("public key", &key.as_bytes()[..]),
        ("trailer, bytes 0 to 31", &trailer[..32]),
        ("trailer, bytes 32 to 63", &trailer[32..64]),
        ("trailer, bytes 64 to 95", &trailer[64..]),
    ] {
        let line = format!("{name}: {}", hex(bytes));
        assert!(
            lines.contains(&line.as_str()),
            "docs/signing.md lacks\n{line}"
        );
    }
    for piece in [1, 63, 64, 1000] {
        assert_eq!(verify(Kind::Bank, &signed, &key, piece), Ok(7));
    }
}

#[test]
fn the_first_key_of_rfc_8032_is_derived() {
    let hexed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed: [u8; 32] =
        std::array::from_fn(|at| u8::from_str_radix(&hexed[2 * at..2 * at + 2], 16).unwrap());
    let expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(hex(public_key(&seed).as_bytes()), expected);
}

#[test]
fn every_single_bit_change_of_a_signed_file_is_refused() {
    for (kind, file) in [(Kind::Bank, BANK), (Kind::Model, MODEL)] {
        let mut signed = sign(file, &seed(), 7).unwrap();
        let key = public_key(&seed());
        for at in 0..signed.len() {
            // All bits of the trailer, one of each byte of the file.
            let bits = if at < file.len() {
                at % 8..at % 8 + 1
            } else {
                0..8
            };
            for bit in bits {
                signed[at] ^= 1 << bit;
                assert!(
                    verify(kind, &signed, &key, 999).is_err(),
                    "byte {at}, bit {bit}"
                );
                signed[at] ^= 1 << bit;
            }
        }
        assert_eq!(verify(kind, &signed, &key, 999), Ok(7));
    }
}

/// The order of the base point, added to the scalar of the signature, gives another one that a lax verifier takes.
#[test]
fn a_signature_with_a_scalar_that_is_not_reduced_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signed = sign(BANK, &seed(), 7).unwrap();
    let start = signed.len() - 32;
    let mut carry = 0;
    for (byte, add) in signed[start..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    let found = verify(Kind::Bank, &signed, &public_key(&seed()), 999);
    assert_eq!(found, Err(SignatureFault::Wrong));
}

#[test]
fn another_key_kind_or_counter_does_not_verify() {
    let signed = sign(BANK, &seed(), 7).unwrap();
    let key = public_key(&seed());
    let other = public_key(&[9; 32]);
    assert!(matches!(
        verify(Kind::Bank, &signed, &other, 99),
        Err(SignatureFault::OtherKey { .. })
    ));
    assert_eq!(
        verify(Kind::Model, &signed, &key, 99),
        Err(SignatureFault::Kind {
            expected: Kind::Model,
            found: 2
        })
    );
    let newer = sign(BANK, &seed(), 8).unwrap();
    let mixed = [&newer[..BANK.len() + 32], &signed[BANK.len() + 32..]].concat();
    assert_eq!(
        verify(Kind::Bank, &mixed, &key, 99),
        Err(SignatureFault::Wrong)
    );
    let blank = [0xff; TRAILER_BYTES];
    let unsigned = Trailer::parse(&blank, Kind::Bank, 1);
    assert_eq!(unsigned, Err(SignatureFault::Unsigned));
    assert_eq!(
        Trailer::parse(&[], Kind::Bank, 1),
        Err(SignatureFault::Unsigned)
    );
}

fn bank_with_a_spare_slot() -> Vec<u8> {
    let spec = BankSpec {
        embedding_space_id: [7; 16],
        dim: 3,
        classes: &[ClassSpec {
            name: "cat",
            embedding: &[1.0, 2.0, 3.0],
        }],
        logit_scale: 10.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 1,
    };
    let mut bytes = vec![0; spec.bytes_len().unwrap()];
    spec.write_into(&mut bytes).unwrap();
    bytes
}

#[test]
fn only_what_a_writer_left_is_signed() {
    let length = sign(&sign(BANK, &seed(), 1).unwrap(), &seed(), 2);
    assert!(matches!(length, Err(SignFault::Length { .. })));
    let mut damaged = MODEL.to_vec();
    damaged[300] ^= 1;
    let refused = sign(&damaged, &seed(), 1);
    assert!(matches!(refused, Err(SignFault::ModelChecksum { .. })));
    assert!(matches!(
        sign(b"text", &seed(), 1),
        Err(SignFault::UnknownFile { found }) if &found == b"text"
    ));
    let mut filled = bank_with_a_spare_slot();
    let blank = filled.clone();
    let bank = ClassBank::load(&blank).unwrap();
    let index = bank.class_count();
    let start = bank.slot_offset(index).expect("a spare slot");
    let mut slot = vec![0; bank.slot_bytes()];
    write_slot(&bank, "new", &vec![5; bank.dim()], &mut slot).unwrap();
    filled[start..start + slot.len()].copy_from_slice(&slot);
    let refused = sign(&filled, &seed(), 1);
    assert_eq!(refused, Err(SignFault::SpareSlotNotBlank { index }));
}

#[test]
fn keys_that_verify_anything_are_refused_and_requests_are_bound_to_both_keys() {
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(PublicKey::parse(&weak), Err(SignatureFault::BadKey));
    assert_eq!(PublicKey::parse(&[2; 32]), Err(SignatureFault::BadKey));
    let (old, new, other) = (
        public_key(&seed()),
        public_key(&[1; 32]),
        public_key(&[2; 32]),
    );
    let request = sign_rotation(&seed(), &new, 3);
    assert_eq!(old.verify_rotation(&new, 3, &request), Ok(()));
    for refused in [
        old.verify_rotation(&new, 4, &request),
        old.verify_rotation(&other, 3, &request),
        new.verify_rotation(&new, 3, &request),
    ] {
        assert_eq!(refused, Err(SignatureFault::Wrong));
    }
}

#[test]
fn an_answer_to_a_challenge_is_good_for_its_session_and_nonce_alone() {
    let (key, other) = (public_key(&seed()), public_key(&[1; 32]));
    let nonce = std::array::from_fn(|index| 0x40 + index as u8);
    let message = session_message(0x0102_0304, &nonce);
    assert_eq!(&message[..24], b"pinhole line session v1\0");
    assert_eq!(message[24..28], [4, 3, 2, 1]);
    assert_eq!(message[28..], nonce);
    let answer = sign_session(&seed(), 0x0102_0304, &nonce);
    let verified = |key: &PublicKey, session, nonce: &[u8; 32], answer: &[u8; 64]| {
        key.verify_session(session, nonce, answer)
    };
    assert_eq!(verified(&key, 0x0102_0304, &nonce, &answer), Ok(()));
    let wrong = Err(SignatureFault::Wrong);
    assert_eq!(verified(&other, 0x0102_0304, &nonce, &answer), wrong);
    assert_eq!(verified(&key, 0x0102_0305, &nonce, &answer), wrong);
    for at in 0..32 {
        let mut nonce = nonce;
        nonce[at] ^= 1;
        assert_eq!(verified(&key, 0x0102_0304, &nonce, &answer), wrong);
    }
    for bit in 0..512 {
        let mut answer = answer;
        answer[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verified(&key, 0x0102_0304, &nonce, &answer), wrong);
    }
}
