//! What the emulated Arm MPS2 and MPS3 boards of QEMU share: the line to the host, the flash, memory as slices, and the way
//! a program starts and ends.
//!
//! A board is a `memory.x`, which names regions and the address of its UART, a `main` of one line, [`run`], and a camera that shows a test pattern. Requests come
//! through semihosting, results go over UART 0, and the log, the flash file and the end of the program through semihosting
//! again. Everything but registers, addresses and this line is `pinhole-firmware`.
#![no_std]

mod clock;
mod flash;
pub mod layout;
mod line;
mod memory;
mod nonce;
pub mod nor;
mod stack;
mod uart;

pub use flash::{Flash, FlashFault, FlashFile};

use clock::SysTickClock;
use layout::layout;
use line::Line;
use nonce::HostRandom;
use pinhole_firmware::camera::{Configuration, FrameFormat, FrameSize, Pattern, TestPattern};
use pinhole_firmware::storage::{Options, Storage};
use pinhole_firmware::{App, Live, Memory, Served};
use pinhole_runtime::kernel;
use semihosting::process::ExitCode;
use stack::PaintedStack;

// The critical section that the log needs is that of `cortex_m`.
use defmt_semihosting as _;

/// What a program of a board works with.
struct Parts {
    flash: Flash,
    arena: &'static mut [u8],
    scratch: &'static mut [u32],
}

/// What the camera shows, since none is there: a box that moves.
const PATTERN: Pattern = Pattern::MovingBox { side: 32, step: 2 };
/// What the camera is set to.
const CONFIGURATION: Configuration = Configuration {
    size: FrameSize::SQUARE_96,
    format: FrameFormat::RGB565,
};

/// Serves the host until the line ends.
pub fn run(board: &str) -> ! {
    let stack = PaintedStack::paint();
    defmt::info!("{=str} starts", board);
    let taken = take().zip(uart::take()).zip(cortex_m::Peripherals::take());
    let Some(((parts, uart), peripherals)) = taken else {
        defmt::panic!("main runs once");
    };
    let mut clock = SysTickClock::start(peripherals.SYST);
    let kernels = kernel::detect();
    let layout = layout(parts.flash.mapped().len() as u32);
    let options = Options {
        key: None,
        arena_bytes: parts.arena.len(),
    };
    let storage = match Storage::open(parts.flash, layout, options) {
        Ok(storage) => storage,
        Err(fault) => fail(&fault),
    };
    let memory = Memory {
        arena: parts.arena,
        scratch: parts.scratch,
    };
    let mut nonces = HostRandom;
    let mut row = [0; CONFIGURATION.row_bytes()];
    let mut camera = TestPattern::new(PATTERN, &mut row);
    let mut live = Live::new(&mut camera, CONFIGURATION, &mut clock).with_stack(&stack);
    let mut app = App::new(board, storage, memory, kernels).with_nonces(&mut nonces);
    let served = Line::open(uart).and_then(|mut line| app.serve_live(&mut line, &mut live));
    match served {
        // The reset of the machine, as a board has it: what the flash holds is read anew.
        Ok(Served::Reboot) => cortex_m::peripheral::SCB::sys_reset(),
        Ok(Served::EndOfLine | Served::Shutdown) => ExitCode::SUCCESS.exit_process(),
        Err(fault) => fail(&fault),
    }
}

/// The flash alone, for programs that wear it; `None` when it was taken before. A flash that cannot be opened is logged and
/// ends the program.
pub fn flash() -> Option<Flash> {
    take().map(|parts| parts.flash)
}

fn take() -> Option<Parts> {
    let memory = memory::take()?;
    let flash = match flash::open(memory.nor) {
        Ok(flash) => flash,
        Err(fault) => fail(&fault),
    };
    Some(Parts {
        flash,
        arena: memory.rest.arena,
        scratch: memory.rest.scratch,
    })
}

fn fail(fault: &dyn core::fmt::Display) -> ! {
    defmt::error!("{}", defmt::Display2Format(fault));
    ExitCode::FAILURE.exit_process()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    fail(info)
}

/// A panic of the log itself cannot be logged twice.
#[defmt::panic_handler]
fn defmt_panic() -> ! {
    ExitCode::FAILURE.exit_process()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}", frame.pc());
    ExitCode::FAILURE.exit_process()
}
