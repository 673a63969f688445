//! The host's end of a line with noise on it.

use pinhole_device::{DeviceError, Link};
use pinhole_protocol::{MAX_BODY_BYTES, Reply, Statistics, body, encode};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::time::Duration;

/// Bytes of noise in all.
const NOISE_BYTES: usize = 1_000_000;

/// A board that says noise before each of its answers.
struct Noisy {
    state: u64,
    noise: usize,
    asked: u8,
    answers: u32,
    outgoing: Vec<u8>,
    read: usize,
}

impl Noisy {
    fn next(&mut self) -> usize {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize
    }
}

impl Write for Noisy {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    /// The end of a request.
    fn flush(&mut self) -> std::io::Result<()> {
        let len = (1 + self.next() % 4000).min(NOISE_BYTES - self.noise);
        self.noise += len;
        for _ in 0..len {
            let byte = self.next() as u8;
            self.outgoing.push(byte);
        }
        // As a board sends it: the zero ends the noise.
        self.outgoing.push(0);
        self.answers += 1;
        self.asked = self.asked.checked_add(1).unwrap_or(1);
        let reply = Reply::Statistics(Statistics {
            erases: self.answers,
            writes: 0,
            classes: 0,
            free_slots: 0,
            damaged_slots: 0,
            threshold: None,
            counters: [0; 2],
            has_key: false,
        });
        let mut room = [0; MAX_BODY_BYTES];
        let body = body(&reply, &mut room).expect("a reply that fits");
        let outgoing = &mut self.outgoing;
        let Ok(()) = encode::<Infallible>(self.asked, body, |part| {
            outgoing.extend_from_slice(part);
            Ok(())
        });
        Ok(())
    }
}

impl Read for Noisy {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.outgoing[self.read..];
        let count = rest.len().min(bytes.len()).min(1 + self.read % 97);
        bytes[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

#[test]
fn noise_costs_no_answer_after_it() -> Result<(), DeviceError> {
    let noisy = Noisy {
        state: 5,
        noise: 0,
        asked: 0,
        answers: 0,
        outgoing: Vec::new(),
        read: 0,
    };
    let mut link = Link::new(noisy, Duration::from_secs(10));
    let mut answers = 0;
    // Stretches have 2,000 bytes in the middle.
    while answers < NOISE_BYTES as u32 / 2000 {
        answers += 1;
        assert_eq!(link.statistics()?.erases, answers);
    }
    Ok(())
}
