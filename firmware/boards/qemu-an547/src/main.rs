//! Pinhole on an emulated Cortex-M55: the Arm MPS3 AN547 of QEMU, see `docs/boards/qemu-an547.md`.
//!
//! Model and bank are images that QEMU puts into their partitions; pictures come through semihosting, results go over
//! UART 0, and the log and the end of the program through semihosting again. Everything but registers, addresses and this
//! line is `pinhole-firmware`.
#![no_std]
#![no_main]

mod line;
mod memory;
mod uart;

use cortex_m_rt::entry;
use line::Line;
use pinhole_firmware::App;
use pinhole_runtime::kernel;
use semihosting::process::ExitCode;

// The critical section that the log needs.
use cortex_m as _;
use defmt_semihosting as _;

#[entry]
fn main() -> ! {
    defmt::info!("qemu-an547 starts");
    let Some((memory, uart)) = memory::take().zip(uart::take()) else {
        defmt::panic!("main runs once");
    };
    let mut app = App::new("qemu-an547", memory, kernel::detect());
    match Line::open(uart).and_then(|mut line| app.serve(&mut line)) {
        Ok(_) => ExitCode::SUCCESS.exit_process(),
        Err(fault) => {
            defmt::error!("{}", defmt::Display2Format(&fault));
            ExitCode::FAILURE.exit_process()
        }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    ExitCode::FAILURE.exit_process()
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
