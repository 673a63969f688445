//! The verification of a signed file.
#![no_std]
#![no_main]

use core::hint::black_box;
use cortex_m_rt::entry;
use pinhole_signing::{Kind, PublicKey, Verifier};
use size as _;

#[entry]
fn main() -> ! {
    let (file, trailer): (&[u8], &[u8]) = black_box((&[], &[]));
    if let Ok(key) = PublicKey::parse(black_box(&[0; 32]))
        && let Ok(mut verifier) = Verifier::new(Kind::Model, file.len() as u32, trailer, &key)
    {
        verifier.update(file);
        let _ = black_box(verifier.finish());
    }
    loop {
        cortex_m::asm::wfi();
    }
}
