//! Pinhole on the STM32N657 of a NUCLEO-N657X0-Q, see `docs/boards/stm32n657.md`.
#![no_std]
#![no_main]

mod memory;
mod octo;

use cortex_m::singleton;
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::peripherals::USART1;
use embassy_stm32::rcc::{self, CpuClk, IcConfig, Icint, Icsel, SupplyConfig, SysClk, XspiClkSrc};
use embassy_stm32::usart::{self, BufferedInterruptHandler, BufferedUart};
use embassy_stm32::xspi::{
    self, ChipSelectHighTime, FIFOThresholdLevel, MemorySize, MemoryType, Xspi,
};
use embassy_stm32::{Config, bind_interrupts};
use metal::{BAUD, Board, Edge, QUEUE_BYTES, WATCHDOG_US};
use octo::Octo;
use parts::serial_nor::{Chip, SerialNor};
use pinhole_firmware::camera::{Configuration, FrameFormat, FrameSize, Pattern, TestPattern};
use stm32::Independent;

bind_interrupts!(struct Irqs {
    USART1 => BufferedInterruptHandler<USART1>;
});

const CPU_HZ: u32 = 400_000_000;
/// Programmed once between two erases: the flash keeps a code of error correction for so many bytes.
const UNIT_BYTES: usize = 16;

/// What the pattern is set to.
const PICTURE: Configuration = Configuration {
    size: FrameSize::QVGA,
    format: FrameFormat::RGB565,
};
const ROW_BYTES: usize = PICTURE.row_bytes();

#[cortex_m_rt::entry]
fn main() -> ! {
    stm32::cache::enable();
    let chip = embassy_stm32::init(settings());
    memory::wake();
    let watchdog = Independent::start(chip.IWDG, WATCHDOG_US);

    let mut settings = usart::Config::default();
    settings.baudrate = BAUD;
    let queues = singleton!(: [[u8; QUEUE_BYTES]; 2] = [[0; QUEUE_BYTES]; 2]);
    let row = singleton!(: [u8; ROW_BYTES] = [0; ROW_BYTES]);
    let (Some([sent, received]), Some(row)) = (queues, row) else {
        panic!("main runs once");
    };
    let uart = BufferedUart::new(
        chip.USART1,
        chip.PE6,
        chip.PE5,
        sent,
        received,
        Irqs,
        settings,
    );
    let Ok(uart) = uart else {
        panic!("the UART does not reach {BAUD} baud at this clock");
    };

    let settings = xspi::Config {
        fifo_threshold: FIFOThresholdLevel::_4Bytes,
        memory_type: MemoryType::Macronix,
        device_size: MemorySize::_64MiB,
        chip_select_high_time: ChipSelectHighTime::_2Cycle,
        // 64 MHz / (1 + 1).
        clock_prescaler: 1,
        sample_shifting: true,
        ..Default::default()
    };
    let controller = Xspi::new_blocking_xspi(
        chip.XSPI2, chip.PN6, chip.PN2, chip.PN3, chip.PN4, chip.PN5, chip.PN8, chip.PN9,
        chip.PN10, chip.PN11, chip.PN1, settings,
    );
    let flash = match SerialNor::<_, UNIT_BYTES>::open(Octo(controller), Chip::MX25UM51245G) {
        Ok(flash) => flash,
        Err(fault) => panic!("{fault}"),
    };
    metal::run(Board {
        name: env!("CARGO_PKG_NAME"),
        cpu_hz: CPU_HZ,
        flash,
        uart,
        led: Output::new(chip.PG0, Level::Low, Speed::Low),
        trigger: (Input::new(chip.PC13, Pull::Down), Edge::Rising),
        camera: TestPattern::new(Pattern::MovingBox { side: 64, step: 8 }, row),
        picture: PICTURE,
        watchdog,
        // The HAL has no driver of the generator of this chip.
        random: || None,
    })
}

/// 400 MHz for the CPU, 200 MHz for buses, from the internal oscillator of 64 MHz; that itself for the flash.
fn settings() -> Config {
    let mut config = Config::default();
    config.rcc.supply_config = SupplyConfig::Smps;
    config.rcc.vddio3_1v8 = true;
    config.rcc.pll1 = Some(rcc::Pll::Oscillator {
        source: rcc::Pllsel::HSI,
        divm: rcc::Plldivm::DIV4,
        fractional: 0,
        divn: 50,
        divp1: rcc::Pllpdiv::DIV1,
        divp2: rcc::Pllpdiv::DIV1,
    });
    let from_pll1 = |divider| {
        Some(IcConfig {
            source: Icsel::PLL1,
            divider,
        })
    };
    config.rcc.ic1 = from_pll1(Icint::DIV2);
    config.rcc.ic2 = from_pll1(Icint::DIV4);
    config.rcc.ic6 = from_pll1(Icint::DIV4);
    config.rcc.ic11 = from_pll1(Icint::DIV4);
    config.rcc.cpu = CpuClk::Ic1;
    config.rcc.sys = SysClk::Ic2;
    // PLL 2 passes the oscillator on.
    config.rcc.ic4 = Some(IcConfig {
        source: Icsel::PLL2,
        divider: Icint::DIV1,
    });
    config.rcc.mux.xspi2sel = XspiClkSrc::IC4;
    config
}
