//! Pinhole on the RP2350 of a Raspberry Pi Pico 2, see `docs/boards/rp2350.md`.
#![no_std]
#![no_main]

mod camera;
mod flash;
mod sensor;

use camera::{Dvp, Lines};
use cortex_m::singleton;
use embassy_rp::bind_interrupts;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{PIO0, TRNG, UART0};
use embassy_rp::pwm::{self, Pwm};
use embassy_rp::trng::{self, Trng};
use embassy_rp::uart::{self, BufferedInterruptHandler, BufferedUart};
use embassy_rp::{i2c, pio, watchdog};
use embassy_time::{Delay, Duration};
use flash::Slots;
use metal::{BAUD, Board, Edge, QUEUE_BYTES, WATCHDOG_US};
use pinhole_firmware::camera::{Pins, SensorCamera};
use pinhole_firmware::stats::Watchdog;

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
    PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    TRNG_IRQ => trng::InterruptHandler<TRNG>;
});

/// What the HAL makes of the crystal of 12 MHz.
const CPU_HZ: u32 = 150_000_000;

#[cortex_m_rt::entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let mut watchdog = watchdog::Watchdog::new(chip.WATCHDOG);
    watchdog.pause_on_debug(true);
    watchdog.start(TIME);

    let mut settings = uart::Config::default();
    settings.baudrate = BAUD;
    let queues = singleton!(: [[u8; QUEUE_BYTES]; 2] = [[0; QUEUE_BYTES]; 2]);
    let Some([sent, received]) = queues else {
        panic!("main runs once");
    };
    let uart = BufferedUart::new(
        chip.UART0, chip.PIN_0, chip.PIN_1, Irqs, sent, received, settings,
    );

    // The clock of the sensor: 150 MHz / 12.
    let mut clock = pwm::Config::default();
    (clock.top, clock.compare_b) = (11, 6);
    let _clock = Pwm::new_output_b(chip.PWM_SLICE0, chip.PIN_17, clock);
    let i2c = i2c::I2c::new_blocking(chip.I2C0, chip.PIN_5, chip.PIN_4, i2c::Config::default());
    let pins = Pins {
        reset: Output::new(chip.PIN_18, Level::Low),
        power_down: Output::new(chip.PIN_19, Level::High),
    };
    let lines = Lines {
        d0: chip.PIN_6,
        d1: chip.PIN_7,
        d2: chip.PIN_8,
        d3: chip.PIN_9,
        d4: chip.PIN_10,
        d5: chip.PIN_11,
        d6: chip.PIN_12,
        d7: chip.PIN_13,
        pclk: chip.PIN_14,
        href: chip.PIN_15,
        vsync: chip.PIN_16,
    };
    let mut generator = Trng::new(chip.TRNG, Irqs, trng::Config::default());
    let port = Dvp::new(chip.PIO0, chip.DMA_CH0, lines, sensor::BLANK);
    metal::run(Board {
        name: env!("CARGO_PKG_NAME"),
        cpu_hz: CPU_HZ,
        flash: Slots::new(chip.FLASH),
        uart,
        led: Output::new(chip.PIN_25, Level::Low),
        trigger: (Input::new(chip.PIN_20, Pull::Up), Edge::Falling),
        camera: SensorCamera::new(sensor::Fitted::new(i2c, Delay, pins), port),
        picture: sensor::PICTURE,
        watchdog: Fed(watchdog),
        random: || {
            let mut bytes = [0; 32];
            generator.blocking_fill_bytes(&mut bytes);
            Some(bytes)
        },
    })
}

const TIME: Duration = Duration::from_micros(WATCHDOG_US as u64);

/// The watchdog of the chip.
struct Fed(watchdog::Watchdog);

impl Watchdog for Fed {
    fn feed(&mut self) {
        self.0.feed(TIME);
    }
}
