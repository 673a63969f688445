//! Runs a model on an emulated board: `tests/guest` for the boards without a system. `pinhole_device` builds and starts
//! it.
//!
//! One program for `mps2-an386` (M4), `mps2-an500` (M7) and `mps3-an547` (M55). The arguments come by semihosting:
//!
//! ```text
//! count MODEL TOKENS [KERNELS]
//! embed MODEL KERNELS,… PICTURE.ppm…
//! layers MODEL KERNELS PICTURE.ppm…
//! ```
//!
//! `count` marks, for a counter of instructions, what it does. Regions: 1 is the load of the model with its checks, 2
//! making an interpreter, 3 the first inference, and 4 + n operator n of the second one; 0 is what lies between the
//! second inference and the end.
//!
//! `embed` prints `sets` and the kernel sets of this CPU, then for each of the named sets a line of its name and the
//! fingerprint of each picture's embedding. `layers` prints a line for each picture: the fingerprint of each operator's output.
#![no_std]
#![no_main]

extern crate alloc;

mod mark;
#[path = "../../../../tests/guest/src/picture.rs"]
mod picture;

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Display;

use cortex_m_rt::entry;
use embedded_alloc::LlffHeap;
use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;
use semihosting::io::Read;
use semihosting::process::ExitCode;
use semihosting::{eprintln, fs, println};

use picture::{Picture, fingerprint};

// The critical section that the heap needs.
use cortex_m as _;

const OUTSIDE: u32 = 0;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 2;
const FIRST_INFERENCE: u32 = 3;
const FIRST_OP: u32 = 4;

/// What the runtime asks of a model's and an arena's address.
const ALIGNMENT: usize = 16;

unsafe extern "C" {
    /// First byte of the memory for model and arena, 8-byte aligned; the linker script places it.
    static mut __heap_start: u8;
    /// Its length: the address is the number of bytes.
    static __heap_bytes: u8;
}

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

#[entry]
fn main() -> ! {
    let heap_start = (&raw mut __heap_start).addr();
    let heap_bytes = (&raw const __heap_bytes).addr();
    // SAFETY: Called once, before anything allocates; the linker script places nothing else in this memory.
    unsafe { HEAP.init(heap_start, heap_bytes) };
    match run() {
        Ok(()) => ExitCode::SUCCESS.exit_process(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2).exit_process()
        }
    }
}

fn run() -> Result<(), String> {
    let words = semihosting::experimental::env::args::<512>().map_err(|_| "too many arguments")?;
    let words: Vec<&str> = (&words).filter_map(Result::ok).skip(1).collect();
    match words.as_slice() {
        ["count", words @ ..] => count(words),
        ["embed", words @ ..] => embed(words),
        ["layers", words @ ..] => layers(words),
        _ => Err("found no order, expected count, embed or layers".into()),
    }
}

fn count(words: &[&str]) -> Result<(), String> {
    let [path, tokens, kernels @ ..] = words else {
        return Err("found too few arguments, expected MODEL TOKENS [KERNELS]".into());
    };
    let tokens: usize = tokens.parse().map_err(text)?;
    let kernels = match kernels.first() {
        Some(name) => kernel_set(name)?,
        None => kernel::detect(),
    };
    let mut file = read(path)?;
    let model = file.bytes();
    mark::enter::<LOAD>();
    let model = Model::load(model);
    mark::enter::<OUTSIDE>();
    let model = model.map_err(text)?;
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let arena = arena.bytes();
    mark::enter::<INTERPRETER>();
    let interpreter = Interpreter::new(&model, arena, kernels);
    mark::enter::<OUTSIDE>();
    let mut interpreter = interpreter.map_err(text)?;
    if model.max_tokens() > 0 {
        let tokens = tokens.clamp(1, model.max_tokens());
        interpreter.set_tokens(tokens).map_err(text)?;
    }
    println!("kernels {}", kernels.name());
    infer(&mut interpreter);
    Ok(())
}

fn embed(words: &[&str]) -> Result<(), String> {
    let [path, sets, pictures @ ..] = words else {
        return Err("found too few arguments, expected MODEL KERNELS PICTURE…".into());
    };
    let mut file = read(path)?;
    let model = Model::load(file.bytes()).map_err(text)?;
    println!("sets {}", set_names().join(" "));
    let mut arena = Aligned::zeroed(model.arena_bytes());
    for set in sets.split(',') {
        let kernels = kernel_set(set)?;
        let mut interpreter = Interpreter::new(&model, arena.bytes(), kernels).map_err(text)?;
        let mut hashes = String::new();
        for path in pictures {
            let mut file = read(path)?;
            let picture =
                Picture::parse(file.bytes()).ok_or_else(|| format!("{path}: no pixmap"))?;
            let hash = fingerprint(&model, kernels, &mut interpreter, &picture)?;
            hashes += &format!(" {hash:016x}");
        }
        println!("{set}{hashes}");
    }
    Ok(())
}

fn layers(words: &[&str]) -> Result<(), String> {
    let [path, set, pictures @ ..] = words else {
        return Err("found too few arguments, expected MODEL KERNELS PICTURE…".into());
    };
    let mut file = read(path)?;
    let model = Model::load(file.bytes()).map_err(text)?;
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let kernels = kernel_set(set)?;
    let mut interpreter = Interpreter::new(&model, arena.bytes(), kernels).map_err(text)?;
    for path in pictures {
        let mut file = read(path)?;
        let picture = Picture::parse(file.bytes()).ok_or_else(|| format!("{path}: no pixmap"))?;
        let hashes = picture::layers(&model, kernels, &mut interpreter, &picture)?;
        let hashes: Vec<String> = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        println!("{}", hashes.join(" "));
    }
    Ok(())
}

/// The kernel set of a name.
fn kernel_set(name: &str) -> Result<&'static dyn Kernels, String> {
    kernel::named(name).ok_or_else(|| {
        format!(
            "found no kernel set {name} on the emulated CPU, expected one of {}",
            set_names().join(", ")
        )
    })
}

fn set_names() -> Vec<&'static str> {
    kernel::available().map(Kernels::name).collect()
}

/// Marks every operator.
struct Marker;

impl Observer for Marker {
    fn before_op(&mut self, op: usize) {
        match op {
            0 => mark::enter::<FIRST_OP>(),
            _ => mark::enter_next(),
        }
    }
    fn after_op(&mut self, _op: usize, _value: usize, _output: &[u8]) {}
}

/// Two inferences over the same noise.
fn infer(interpreter: &mut Interpreter<'_, '_>) {
    fill(interpreter);
    mark::enter::<FIRST_INFERENCE>();
    interpreter.run();
    mark::enter::<OUTSIDE>();
    fill(interpreter);
    interpreter.run_observed(&mut Marker);
    mark::enter::<OUTSIDE>();
}

/// Noise for a picture, since the work of some kernels depends on the data; token 0 for a text.
fn fill(interpreter: &mut Interpreter<'_, '_>) {
    let Ok(input) = interpreter.input_s8_mut(0) else {
        return;
    };
    let mut state = 1u32;
    for x in input {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 24) as u8 as i8;
    }
}

/// Bytes at the alignment of models and arenas.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// A whole file of the host.
fn read(path: &str) -> Result<Aligned, String> {
    let unreadable = |error: semihosting::io::Error| format!("{path}: {error}");
    let name = CString::new(path).map_err(text)?;
    let mut file = fs::File::open(&name).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len() as usize;
    let mut bytes = Aligned::zeroed(len);
    file.read_exact(bytes.bytes()).map_err(unreadable)?;
    Ok(bytes)
}

fn text(error: impl Display) -> String {
    format!("{error}")
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    ExitCode::FAILURE.exit_process()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    eprintln!("hard fault at {:#010x}", frame.pc());
    ExitCode::FAILURE.exit_process()
}
