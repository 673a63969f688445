//! Says random things to a board, to a host and to a storage, and checks that each answers soundly.
//!
//! `cargo run -p pinhole-tests --example fuzz_board -- --part NAME --seconds 600 [--seed N]`. NAME is
//!
//! - `device`: requests with any fields in any order, their bodies and frames damaged, to boards with a key and without; every
//!   answer is a message of the protocol, a good request behind the noise is answered, and whoever has no key changes nothing;
//! - `host`: answers of a board, likewise, to every call of a host;
//! - `storage`: flash with forged and damaged bytes; it opens, what it says fits together, and it opens the same way again.
//!
//! As `fuzz`, it draws its damage blindly, most of it behind checksums that fit. A case that panics, or takes more than ten
//! seconds, is named by its seed and ends the run; `--seed` begins with that case.

#[path = "../../../firmware/tests/app/board.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod board;
#[path = "../../../firmware/tests/storage/chip.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod chip;
#[path = "../../../runtime/tests/common/mod.rs"]
mod common;
mod device;
#[path = "../../../firmware/tests/storage/files.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod files;
mod host;
mod messages;
mod storage;

use std::error::Error;
use std::time::{Duration, Instant};

/// What one case may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What came of some cases.
#[derive(Default)]
pub(crate) struct Counts {
    /// Requests, answers or chips.
    tried: u64,
    /// Of them, those that were taken.
    taken: u64,
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// What one case of a part is: its seed, and where it counts.
type Case = Box<dyn Fn(u64, &mut Counts) + std::panic::RefUnwindSafe>;

fn main() -> Result<(), Box<dyn Error>> {
    let name = argument("--part").unwrap_or_default();
    let case: Case = match &name[..] {
        "device" => Box::new(device::case),
        "host" => Box::new(host::case),
        "storage" => {
            let chips = storage::Chips::new();
            Box::new(move |seed, counts| chips.case(seed, counts))
        }
        _ => return Err("expected --part device, host or storage".into()),
    };
    let seconds = argument("--seconds").map_or(Ok(60), |value| value.parse())?;
    let first: u64 = argument("--seed").map_or(Ok(1), |value| value.parse())?;
    let (start, mut counts, mut seed) = (Instant::now(), Counts::default(), first);
    while start.elapsed() < Duration::from_secs(seconds) {
        let begin = Instant::now();
        let mut found = Counts::default();
        let case = std::panic::AssertUnwindSafe(|| case(seed, &mut found));
        let result = std::panic::catch_unwind(case);
        if result.is_err() || begin.elapsed() > LIMIT {
            let took = begin.elapsed();
            return Err(format!("--part {name} --seed {seed}: panicked, or took {took:?}").into());
        }
        counts.tried += found.tried;
        counts.taken += found.taken;
        seed += 1;
    }
    println!(
        "{name}: {} cases in {seconds} s, {} of {} taken, none panicked",
        seed - first,
        counts.taken,
        counts.tried
    );
    Ok(())
}
