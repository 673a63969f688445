//! Intel HEX (Intel, "Hexadecimal Object File Format Specification", revision A, 1988): records of data, type 00, behind
//! extended linear addresses, type 04, and an end, type 01.

use super::Section;
use std::fmt::Write;

/// Data bytes of a record.
const LINE_BYTES: usize = 32;

const DATA: u8 = 0;
const END: u8 = 1;
const LINEAR_ADDRESS: u8 = 4;

/// The file, with a line end of one byte.
pub(super) fn encode(sections: &[Section]) -> Vec<u8> {
    let mut text = String::new();
    // That of a file without a record of type 04.
    let mut high = 0;
    for section in sections {
        let mut address = section.address;
        let mut rest = &section.bytes[..];
        while !rest.is_empty() {
            // A record does not go over the end of the 64 KB that its address reaches.
            let room = (1 << 16) - (address as usize & 0xffff);
            let (line, after) = rest.split_at(rest.len().min(LINE_BYTES).min(room));
            if address >> 16 != high {
                high = address >> 16;
                record(&mut text, 0, LINEAR_ADDRESS, &(high as u16).to_be_bytes());
            }
            record(&mut text, address as u16, DATA, line);
            rest = after;
            // Behind the last byte of the address space nothing follows.
            address = address.wrapping_add(line.len() as u32);
        }
    }
    record(&mut text, 0, END, &[]);
    text.into_bytes()
}

/// `:`, count, address, type, data, and what makes the sum of all bytes 0.
fn record(text: &mut String, address: u16, kind: u8, data: &[u8]) {
    let [high, low] = address.to_be_bytes();
    let head = [data.len() as u8, high, low, kind];
    let bytes = head.iter().chain(data);
    let sum = bytes
        .clone()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    text.push(':');
    for byte in bytes.chain(&[sum.wrapping_neg()]) {
        // Text takes what is written into it.
        let _ = write!(text, "{byte:02X}");
    }
    text.push('\n');
}
