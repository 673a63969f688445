//! Pinhole on an emulated Cortex-M55: the Arm MPS3 AN547 of QEMU, see `docs/boards/qemu-an547.md`.
//!
//! Model and bank are images that QEMU puts into their partitions; pictures come and results go over UART 0; the log and
//! the end of the program go through semihosting. Everything but registers and addresses is `pinhole-firmware`.
#![no_std]
#![no_main]

mod memory;
mod uart;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use pinhole_firmware::App;
use pinhole_runtime::kernel::Scalar;

use defmt_semihosting as _;

#[entry]
fn main() -> ! {
    defmt::info!("qemu-an547 starts");
    let Some((memory, mut uart)) = memory::take().zip(uart::take()) else {
        defmt::panic!("main runs once");
    };
    let mut app = App::new("qemu-an547", memory, &Scalar);
    match app.serve(&mut uart) {
        Ok(_) => defmt::info!("served"),
        Err(never) => match never {},
    }
    exit(debug::EXIT_SUCCESS)
}

/// Ends the emulator.
fn exit(status: debug::ExitStatus) -> ! {
    debug::exit(status);
    // A debugger that does not end the program leaves it here.
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(debug::EXIT_FAILURE)
}

/// A panic of the log itself cannot be logged twice.
#[defmt::panic_handler]
fn defmt_panic() -> ! {
    exit(debug::EXIT_FAILURE)
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}", frame.pc());
    exit(debug::EXIT_FAILURE)
}
