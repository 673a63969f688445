//! What the measured programs share: a run of a model that the compiler knows nothing of, and two kernel sets.
//!
//! `empty` is what any program for the board has, `loader` adds `Model::load` and the interpreter with kernels that do
//! nothing, `int8` the integer kernels. The differences are what a firmware pays. See `docs/boards/kernels.md`.
#![no_std]

mod int8;
mod nothing;

use core::hint::black_box;
use core::panic::PanicInfo;

use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::model::Model;

pub use int8::Int8;
pub use nothing::Nothing;

/// Loads a model and runs it once.
pub fn run(kernels: &'static dyn Kernels) {
    let (file, arena): (&[u8], &mut [u8]) = (black_box(&[]), black_box(&mut []));
    let Ok(model) = Model::load(file) else {
        return;
    };
    if let Ok(mut interpreter) = Interpreter::new(&model, arena, black_box(kernels)) {
        interpreter.run();
        let _ = black_box(interpreter.output_s8(0));
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
