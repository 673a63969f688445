//! Instructions from a model in memory to its first operator.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::hint::black_box;

use cortex_m::peripheral::SYST;
use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::model::{Model, measure};
use semihosting::fs::File;
use semihosting::io::Read;

use crate::count::{RELOAD, calibrate, ticks};
use crate::nothing::Nothing;

/// What model and arena are aligned to.
const ALIGNMENT: usize = 16;

/// Notes the time when the first operator has run, which with [`Nothing`] takes no time.
struct Watch(Option<u32>);

impl Observer for Watch {
    fn after_op(&mut self, _: usize, _: usize, _: &[u8]) {
        self.0.get_or_insert_with(SYST::get_current);
    }
}

/// Prints `start check TICKS`, of everything that `Model::load` checks but the checksum, and `start first TICKS`, from
/// `Interpreter::new` to the first operator.
pub(crate) fn start(path: &str) {
    calibrate();
    let mut file = read(path);
    let skip = file.as_ptr().align_offset(ALIGNMENT);
    let file = &mut file[skip..];
    let check = ticks(|| {
        let _ = black_box(measure(file));
    });
    println!("start check {check}");
    let model = Model::load(file).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    let mut arena = vec![0; model.arena_bytes() + ALIGNMENT];
    let skip = arena.as_ptr().align_offset(ALIGNMENT);
    let mut watch = Watch(None);
    let start = SYST::get_current();
    let interpreter = Interpreter::new(black_box(&model), &mut arena[skip..], black_box(&Nothing));
    match interpreter {
        Ok(mut interpreter) => interpreter.run_observed(&mut watch),
        Err(fault) => panic!("{fault}"),
    }
    let end = watch.0.unwrap_or_else(|| panic!("{path} has no operators"));
    println!("start first {}", start.wrapping_sub(end) & RELOAD);
}

/// A file of the host, with room to align it.
fn read(path: &str) -> Vec<u8> {
    let name = CString::new(path).unwrap_or_default();
    let mut file = File::open(name).unwrap_or_else(|_| panic!("cannot open {path}"));
    let bytes = file.metadata().map_or(0, |metadata| metadata.len()) as usize;
    let mut contents = vec![0; bytes + ALIGNMENT];
    let skip = contents.as_ptr().align_offset(ALIGNMENT);
    let read = file.read_exact(&mut contents[skip..][..bytes]);
    read.unwrap_or_else(|_| panic!("cannot read {path}"));
    contents
}
