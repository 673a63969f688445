//! Erases, programs and reads the flash of an emulated board as the semihosting command line says, to test what a restart
//! keeps: `host-tools/device/tests/emulated_flash.rs`. An example of each board, built with its memory map.
//!
//! The words before `flash=FILE`, in their order, with numbers in decimal and bytes in hexadecimal:
//!
//! ```text
//! erase:FROM:TO
//! program:OFFSET:BYTES
//! read:OFFSET:COUNT     prints the bytes
//! hang                  prints it, and waits to be killed
//! ```
//!
//! A word that fails is printed with its reason, and the others are done.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use embedded_storage::nor_flash::NorFlash;
use mps::Flash;
use semihosting::sys::arm_compat::sys_get_cmdline_uninit;
use semihosting::{print, println};

/// Longest command line, and most bytes that a word programs.
const MOST: usize = 8192;

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut line = [MaybeUninit::uninit(); MOST];
    let line = sys_get_cmdline_uninit(&mut line).unwrap_or_default();
    let line = core::str::from_utf8(line).unwrap_or_default();
    let words = line.split_once(" flash=").map_or(line, |(words, _)| words);
    let Some(mut flash) = mps::flash() else {
        panic!("main runs once");
    };
    for word in words.split(' ').skip(1) {
        if let Err(reason) = obey(&mut flash, word) {
            println!("{word}: {reason}");
        }
    }
    semihosting::process::exit(0)
}

fn obey(flash: &mut Flash, word: &str) -> Result<(), &'static str> {
    let mut fields = word.split(':');
    let mut field = || fields.next().unwrap_or_default();
    let order = field();
    let mut number = || field().parse().map_err(|_| "found no number");
    match order {
        "erase" => {
            let (from, to) = (number()?, number()?);
            flash.erase(from, to).map_err(|_| "not erased")
        }
        "program" => {
            let offset = number()?;
            let mut bytes = [0; MOST];
            let bytes = bytes_of(field(), &mut bytes)?;
            flash.write(offset, bytes).map_err(|_| "not programmed")
        }
        "read" => {
            let (offset, count) = (number()? as usize, number()? as usize);
            let bytes = flash.mapped().get(offset..offset.saturating_add(count));
            for byte in bytes.ok_or("not in the flash")? {
                print!("{byte:02x}");
            }
            println!();
            Ok(())
        }
        "hang" => {
            println!("hang");
            loop {
                core::hint::spin_loop();
            }
        }
        _ => Err("found no order"),
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of<'a>(digits: &str, bytes: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return Err("found half a byte");
    };
    let bytes = bytes.get_mut(..pairs.len()).ok_or("too many bytes")?;
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digits = core::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|_| "found no byte")?;
    }
    Ok(bytes)
}
