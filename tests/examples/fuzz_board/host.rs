//! A host on whose line anybody may speak.

use crate::Counts;
use crate::common::Random;
use crate::messages::{Fields, frame, reply};
use pinhole_device::{Kind, Link, RgbRows, Which};
use std::io::{Read, Write};
use std::time::Duration;

/// A board whose answers do not depend on what it is asked.
struct Board {
    answers: Vec<u8>,
    read: usize,
}

impl Read for Board {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.answers[self.read..];
        let count = rest.len().min(bytes.len()).min(1 + self.read % 97);
        bytes[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for Board {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Up to 40 answers, most of them in the order that a host numbers its requests in, and every call until they end.
pub(crate) fn case(seed: u64, counts: &mut Counts) {
    let mut random = Random(seed);
    let mut answers = Vec::new();
    for index in 0..random.below(40) {
        let fields = Fields::new(&mut random);
        let reply = reply(&mut random, &fields);
        let sequence = match random.below(8) {
            0 => random.next() as u8,
            1 => 0,
            _ => 1 + index as u8,
        };
        answers.extend(frame(&mut random, sequence, &reply));
    }
    let board = Board { answers, read: 0 };
    let mut link = Link::new(board, Duration::from_secs(5));
    let file = random.bytes(5000);
    let rows = RgbRows {
        width: 40,
        height: 30,
        bytes: &file[..3600],
    };
    for _ in 0..12 {
        let taken = match random.below(14) {
            0 => link.hello().is_ok(),
            1 => link.classify(&rows, random.below(10)).is_ok(),
            2 => link.statistics().is_ok(),
            3 => link.classes().is_ok(),
            4 => link.slots().is_ok(),
            5 => link.self_test().is_ok(),
            6 => link.upload(Kind::Model, &file, |_| ()).is_ok(),
            7 => link.unlock(&[1; 32]).is_ok(),
            8 => link.add_class("new", 0.1, &[1; 10]).is_ok(),
            9 => link.select(Kind::Bank, 1).is_ok(),
            10 => link.activate(Which::Both).is_ok(),
            11 => link.set_threshold(Some(1.0)).is_ok(),
            12 => link.reboot().is_ok(),
            _ => {
                let key = pinhole_signing::public_key(&[2; 32]);
                link.replace_key(&[1; 32], &key).is_ok() || link.provision(&key).is_ok()
            }
        };
        counts.tried += 1;
        counts.taken += u64::from(taken);
    }
}
