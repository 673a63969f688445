//! What the boards with chips share: how a program starts, serves its line and its camera, is watched, and ends in a fault.
//!
//! A board sets up its clocks, flash, UART, camera and watchdog, and hands them to [`run`] as a [`Board`]. Its `memory.x` names
//! the regions of the application's memory. Everything but registers and this is `pinhole-firmware`.
#![no_std]

mod clock;
mod fault;
mod line;

pub use parts::layout::layout;

use clock::Ticks;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_io::{Read, ReadReady, Write};
use line::Line;
use pinhole_firmware::camera::{Camera, Configuration};
use pinhole_firmware::live::Live;
pub use pinhole_firmware::modes::Edge;
use pinhole_firmware::modes::PinTrigger;
use pinhole_firmware::stats::Watchdog;
use pinhole_firmware::storage::{MappedFlash, Options, Storage};
use pinhole_firmware::{App, Memory, NonceSource};
use pinhole_runtime::kernel;

// The log goes to the probe.
use defmt_rtt as _;

/// Time after which a board's watchdog resets it: a picture takes less, and so does the check of a model.
pub const WATCHDOG_US: u32 = 16_000_000;
/// Symbols a second on the line.
pub const BAUD: u32 = 921_600;
/// Bytes that wait on the line, in each direction, while the program works.
pub const QUEUE_BYTES: usize = 4096;

/// Readings of the pin that have to agree before its level counts: the loop reads it every 5 ms while it waits, and buttons bounce
/// less than twice as long.
const PIN_READINGS: u8 = 3;

/// What a board has set up.
pub struct Board<F, U, P, B, C, W, N> {
    /// As `--board` spells it.
    pub name: &'static str,
    /// Clock of the CPU.
    pub cpu_hz: u32,
    /// The flash of the storage, from its first partition on.
    pub flash: F,
    /// The line to the host, with queues that interrupts serve.
    pub uart: U,
    /// A lamp that is on while a request is answered.
    pub led: P,
    /// The pin that starts frames in the mode for it, and which change of its level does.
    pub trigger: (B, Edge),
    /// The camera, which need not be there: what fails is told over the line.
    pub camera: C,
    /// What the camera is set to.
    pub picture: Configuration,
    /// A watchdog that runs.
    pub watchdog: W,
    /// 32 bytes of a generator of random numbers; nothing where there is none, and then a board with a key takes no changes.
    pub random: N,
}

/// Serves the host for ever, and takes frames of the camera when they are asked for.
///
/// # Panics
/// When it runs a second time, or when the flash does not hold the partitions: the panic is logged and resets the chip.
pub fn run<F, U, P, B, C, W, N>(board: Board<F, U, P, B, C, W, N>) -> !
where
    F: MappedFlash,
    U: Read + Write + ReadReady,
    P: OutputPin,
    B: InputPin,
    C: Camera,
    W: Watchdog,
    N: FnMut() -> Option<[u8; 32]>,
{
    let Board {
        name,
        cpu_hz,
        flash,
        uart,
        led,
        trigger: (pin, edge),
        mut camera,
        picture,
        mut watchdog,
        random,
    } = board;
    // The boot ROM of the STM32N6 leaves interrupts masked, and the queues of the line are served by them.
    // SAFETY: This is no critical section: nothing of the program runs before it but the set-up of the board.
    unsafe { cortex_m::interrupt::enable() };
    defmt::info!("{=str} starts", name);
    let Some(regions) = regions::take() else {
        panic!("main runs once");
    };
    let layout = layout(flash.mapped().len() as u32);
    let options = Options {
        key: None,
        arena_bytes: regions.arena.len(),
    };
    let storage = match Storage::open(flash, layout, options) {
        Ok(storage) => storage,
        Err(fault) => panic!("{fault}"),
    };
    let memory = Memory {
        arena: regions.arena,
        scratch: regions.scratch,
    };
    let mut nonces = Nonces(random);
    let mut app = App::new(name, storage, memory, kernel::detect()).with_nonces(&mut nonces);
    let mut line = Line::new(uart, led);
    let mut clock = Ticks::start(cpu_hz);
    let mut trigger = PinTrigger::new(pin, edge, PIN_READINGS);
    let mut live = Live::new(&mut camera, picture, &mut clock)
        .with_watchdog(&mut watchdog)
        .with_trigger(&mut trigger);
    loop {
        // A UART does not end. What it lost or garbled, the frames of the protocol find, and the host sends it again.
        match app.serve_live(&mut line, &mut live) {
            Ok(_) => break,
            Err(fault) => defmt::warn!("the line: {}", defmt::Debug2Format(&fault)),
        }
    }
    // The host asked for an end or a new start: a board has no end, and what the flash holds is read anew.
    cortex_m::peripheral::SCB::sys_reset()
}

/// A generator as the application wants it.
struct Nonces<N>(N);

impl<N: FnMut() -> Option<[u8; 32]>> NonceSource for Nonces<N> {
    fn nonce(&mut self) -> Option<[u8; 32]> {
        (self.0)()
    }
}
