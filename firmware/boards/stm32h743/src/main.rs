//! Pinhole on the STM32H743 of a WeAct MiniSTM32H743, see `docs/boards/stm32h743.md`.
#![no_std]
#![no_main]

mod memory;
mod quad;

use cortex_m::singleton;
use embassy_stm32::dcmi::{self, Dcmi};
use embassy_stm32::dma::{self, Channel, ReadableRingBuffer, TransferOptions};
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::peripherals::{DCMI, DMA1_CH0, DMA1_CH1, RNG, USART1};
use embassy_stm32::qspi::{self, Qspi};
use embassy_stm32::rcc::{self, Mco, Mco1Source, McoConfig, McoPrescaler};
use embassy_stm32::rng::{self, Rng};
use embassy_stm32::usart::{self, BufferedInterruptHandler, BufferedUart};
use embassy_stm32::{Config, bind_interrupts, i2c};
use embassy_time::Delay;
use metal::{BAUD, Board, Edge, QUEUE_BYTES, WATCHDOG_US};
use parts::serial_nor::{Chip, SerialNor};
#[cfg(not(feature = "ov5640"))]
use pinhole_firmware::camera::Ov2640 as Fitted;
#[cfg(feature = "ov5640")]
use pinhole_firmware::camera::Ov5640 as Fitted;
use pinhole_firmware::camera::{Configuration, FrameFormat, FrameSize, NoPin, Pins, SensorCamera};
use quad::Quad;
use stm32::Independent;
use stm32::dcmi::{Port, Ring};

bind_interrupts!(struct Irqs {
    USART1 => BufferedInterruptHandler<USART1>;
    DCMI => dcmi::InterruptHandler<DCMI>;
    RNG => rng::InterruptHandler<RNG>;
    DMA1_STREAM0 => dma::InterruptHandler<DMA1_CH0>;
    DMA1_STREAM1 => dma::InterruptHandler<DMA1_CH1>;
});

const CPU_HZ: u32 = 400_000_000;

/// What the camera is set to.
const PICTURE: Configuration = Configuration {
    size: FrameSize::QVGA,
    format: FrameFormat::RGB565,
};

unsafe extern "C" {
    static mut __bands_start: [u32; BANDS_WORDS];
}

/// Words of the region `BANDS` of `memory.x`.
const BANDS_WORDS: usize = (64 << 10) / 4;

#[cortex_m_rt::entry]
fn main() -> ! {
    memory::protect();
    let mut settings = Config::default();
    settings.rcc = clocks();
    let chip = embassy_stm32::init(settings);
    let watchdog = Independent::start(chip.IWDG1, WATCHDOG_US);

    let mut settings = usart::Config::default();
    settings.baudrate = BAUD;
    let queues = singleton!(: [[u8; QUEUE_BYTES]; 2] = [[0; QUEUE_BYTES]; 2]);
    let Some([sent, received]) = queues else {
        panic!("main runs once");
    };
    let uart = BufferedUart::new(
        chip.USART1,
        chip.PA10,
        chip.PA9,
        sent,
        received,
        Irqs,
        settings,
    );
    let Ok(uart) = uart else {
        panic!("the UART does not reach {BAUD} baud at this clock");
    };

    let mut settings = qspi::Config::default();
    settings.memory_size = qspi::enums::MemorySize::_8MiB;
    settings.address_size = qspi::enums::AddressSize::_24bit;
    // 200 MHz / (3 + 1).
    settings.prescaler = 3;
    settings.sample_shifting = qspi::enums::SampleShifting::HalfCycle;
    let controller = Qspi::new_blocking_bank1(
        chip.QUADSPI,
        chip.PD11,
        chip.PD12,
        chip.PE2,
        chip.PD13,
        chip.PB2,
        chip.PB6,
        settings,
    );
    let flash = match SerialNor::<_, 1>::open(Quad(controller), Chip::W25Q64) {
        Ok(flash) => flash,
        Err(fault) => panic!("{fault}"),
    };

    // 24 MHz for the sensor.
    let mut settings = McoConfig::default();
    settings.prescaler = McoPrescaler::DIV2;
    let _clock = Mco::new(chip.MCO1, chip.PA8, Mco1Source::HSI48, settings);
    let i2c = i2c::I2c::new_blocking(chip.I2C1, chip.PB8, chip.PB9, i2c::Config::default());
    let pins = Pins {
        reset: NoPin,
        power_down: Output::new(chip.PA7, Level::High, Speed::Low),
    };
    let _dcmi = Dcmi::new_8bit(
        chip.DCMI,
        chip.DMA1_CH1,
        Irqs,
        chip.PC6,
        chip.PC7,
        chip.PE0,
        chip.PE1,
        chip.PE4,
        chip.PD3,
        chip.PE5,
        chip.PE6,
        chip.PB7,
        chip.PA4,
        chip.PA6,
        dcmi::Config::default(),
    );
    let mut generator = Rng::new(chip.RNG, Irqs);
    metal::run(Board {
        name: env!("CARGO_PKG_NAME"),
        cpu_hz: CPU_HZ,
        flash,
        uart,
        led: Output::new(chip.PE3, Level::Low, Speed::Low),
        trigger: (Input::new(chip.PC13, Pull::Down), Edge::Rising),
        camera: SensorCamera::new(Fitted::new(i2c, Delay, pins), Port::new(ring)),
        picture: PICTURE,
        watchdog,
        random: || {
            let mut bytes = [0; 32];
            generator.fill_bytes(&mut bytes);
            Some(bytes)
        },
    })
}

/// 400 MHz from the internal oscillator of 64 MHz, which no crystal has to agree with.
fn clocks() -> rcc::Config {
    let mut clocks = rcc::Config::new();
    clocks.pll1 = Some(rcc::Pll {
        source: rcc::PllSource::HSI,
        prediv: rcc::PllPreDiv::DIV4,
        mul: rcc::PllMul::MUL50,
        fracn: None,
        divp: Some(rcc::PllDiv::DIV2),
        divq: Some(rcc::PllDiv::DIV8),
        divr: None,
    });
    clocks.sys = rcc::Sysclk::PLL1_P;
    clocks.ahb_pre = rcc::AHBPrescaler::DIV2;
    clocks.apb1_pre = rcc::APBPrescaler::DIV2;
    clocks.apb2_pre = rcc::APBPrescaler::DIV2;
    clocks.apb3_pre = rcc::APBPrescaler::DIV2;
    clocks.apb4_pre = rcc::APBPrescaler::DIV2;
    clocks.voltage_scale = rcc::VoltageScale::Scale1;
    clocks
}

/// The ring of stream 0 of DMA 1, request 75 (RM0433, table 121 "DMAMUX1").
fn ring() -> Ring {
    const DCMI_REQUEST: u8 = 75;
    // SAFETY: `main` gives the channel to nobody, and a port drops the ring that it has before it opens another.
    let channel = unsafe { DMA1_CH0::steal() };
    let channel = Channel::new(channel, Irqs);
    // SAFETY: `memory.x` sets BANDS apart for the ring alone, of which there is one at a time, as above.
    let words = unsafe { &mut *(&raw mut __bands_start) };
    let register = stm32::dcmi::data_register();
    // SAFETY: The register gives words of the camera interface, and the ring lies in memory that the stream reaches.
    unsafe {
        ReadableRingBuffer::new(
            channel,
            DCMI_REQUEST,
            register,
            words,
            TransferOptions::default(),
        )
    }
}
