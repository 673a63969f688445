//! OmniVision OV2640, UXGA with a scaler and JPEG.
//!
//! Registers: OV2640 Color CMOS UXGA CameraChip, Preliminary Datasheet, version 2.2, "Device Control Register List" of both banks;
//! what the drivers of Linux, OpenMV and esp32-camera set was compared with them; `docs/cameras.md` lists what none does. SCCB address 0x30; the tables are in
//! `ov2640_tables.rs`.
//!
//! The array runs in its mode of 800×600. The DSP takes a window from its middle that is 1, 2, 4 or 8 times the output and divides
//! it, so that VGA, QVGA and QQVGA show the same field.

use super::ov2640_tables::*;
use super::refuse;
use crate::camera::capture::Sensor;
use crate::camera::control::{ceiling_exponent, omnivision_gain, within};
use crate::camera::link::{Addressing, Link, PowerUp};
use crate::camera::{
    CameraError, Configuration, Control, Exposure, FrameFormat, FrameSize, Gain, Pins, Setting,
    WhiteBalance,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;
use pinhole_runtime::preprocess::PixelFormat;

const ADDRESS: u8 = 0x30;
const BANK_SELECT: u8 = 0xff;
const CHIP_ID: u16 = 0x2642;
/// Earlier chips are 0x2641.
const CHIP_ID_MASK: u16 = 0xfffc;
const COM7_RESET: u8 = 0x80;
const COM7_BARS: u8 = 0x02;
const COM8_AGC: u8 = 0x04;
const COM8_AEC: u8 = 0x01;
const COM9_RESERVED: u8 = 0x08;
const REG04_MIRROR: u8 = 0x80;
/// Flip, and the first row of the array with it, so that the colours stay in their places.
const REG04_FLIP: u8 = 0x50;
const CTRL1_AWB: u8 = 0x08;
const AWB_MANUAL: u8 = 0x40;
const RESET_PORT: u8 = 0x04;
const RESET_JPEG: u8 = 0x10;
const BYPASS: u8 = 0x01;
/// Lines of a frame of the array's mode, with its blanking.
const FRAME_LINES: u16 = 672;
const JPEG_QUANTISATION: u8 = 0x0c;
const ARRAY: FrameSize = FrameSize::new(800, 600);

const POWER_UP: PowerUp = PowerUp {
    reset_ms: 5,
    settle_ms: 10,
};
const SOFT_RESET_MS: u32 = 5;

/// The window that the DSP takes, and the exponent of its division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    width: u16,
    height: u16,
    left: u16,
    top: u16,
    exponent: u8,
}

fn window(size: FrameSize) -> Option<Window> {
    let FrameSize { width, height } = size;
    let fits = |side: u16, array: u16| (16..=array).contains(&side) && side.is_multiple_of(8);
    if !fits(width, ARRAY.width) || !fits(height, ARRAY.height) {
        return None;
    }
    let times = (ARRAY.width / width).min(ARRAY.height / height).min(8);
    let exponent = times.ilog2();
    let (width, height) = (width << exponent, height << exponent);
    Some(Window {
        width,
        height,
        left: (ARRAY.width - width) / 2,
        top: (ARRAY.height - height) / 2,
        exponent: exponent as u8,
    })
}

/// IMAGE_MODE, and the values of the reserved 0xd7 and 0xe1 that go with it.
fn mode(format: FrameFormat) -> Option<[u8; 3]> {
    match format {
        FrameFormat::Pixels(PixelFormat::Yuyv) => Some([0x00, 0x03, 0x67]),
        FrameFormat::Pixels(PixelFormat::Uyvy) => Some([0x01, 0x03, 0x67]),
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => Some([0x08, 0x03, 0x77]),
        FrameFormat::Pixels(PixelFormat::Rgb565) => Some([0x09, 0x03, 0x77]),
        FrameFormat::Pixels(PixelFormat::Grey8) => Some([0x40, 0x03, 0x67]),
        FrameFormat::Jpeg => Some([0x12, 0x03, 0x77]),
        _ => None,
    }
}

/// The driver; see the module. Registers in its errors have the bank in their high byte.
#[derive(Debug)]
pub struct Ov2640<I, D, R, P> {
    link: Link<I, D, R, P>,
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Ov2640<I, D, R, P> {
    /// A sensor on `i2c`, which runs at 400 kHz or less.
    pub fn new(i2c: I, delay: D, pins: Pins<R, P>) -> Self {
        let addressing = Addressing::Banked {
            select: BANK_SELECT,
        };
        Self {
            link: Link::new(i2c, delay, pins, ADDRESS, addressing),
        }
    }

    fn write_window(&mut self, window: Window, out: FrameSize) -> Result<(), CameraError> {
        let bit = |value: u16, from: u32, to: u32| ((value >> from & 1) << to) as u8;
        let high = |value: u16, to: u32| ((value >> 8 & 7) << to) as u8;
        let (width, height) = (window.width / 4, window.height / 4);
        let (out_width, out_height) = (out.width / 4, out.height / 4);
        let exponent = window.exponent;
        let link = &mut self.link;
        link.write(CTRLI, 0x80 | exponent << 3 | exponent)?;
        link.write(HSIZE, width as u8)?;
        link.write(VSIZE, height as u8)?;
        link.write(XOFFL, window.left as u8)?;
        link.write(YOFFL, window.top as u8)?;
        let sizes = bit(height, 8, 7) | bit(width, 8, 3);
        link.write(VHYX, sizes | high(window.top, 4) | high(window.left, 0))?;
        link.write(TEST, bit(width, 9, 7))?;
        link.write(ZMOW, out_width as u8)?;
        link.write(ZMOH, out_height as u8)?;
        link.write(ZMHH, bit(out_height, 8, 2) | high(out_width, 0))?;
        link.write(R_DVP_SP, 1 << exponent)
    }

    fn exposure(&mut self, exposure: Exposure) -> Result<(), CameraError> {
        match exposure {
            Exposure::Auto => self.link.update(COM8, COM8_AEC, COM8_AEC),
            Exposure::Lines(lines) => {
                let lines = within(Setting::ExposureLines, lines, 1, FRAME_LINES)?;
                self.link.update(COM8, COM8_AEC, 0)?;
                self.link.update(REG45, 0x3f, (lines >> 10) as u8)?;
                self.link.write(AEC, (lines >> 2) as u8)?;
                self.link.update(REG04, 0x03, lines as u8)
            }
        }
    }

    fn gain(&mut self, gain: Gain) -> Result<(), CameraError> {
        match gain {
            Gain::Auto { ceiling } => {
                let exponent = ceiling_exponent(ceiling, 2, 128)?;
                self.link.write(COM9, (exponent - 1) << 5 | COM9_RESERVED)?;
                self.link.update(COM8, COM8_AGC, COM8_AGC)
            }
            Gain::Sixteenths(sixteenths) => {
                let gain = omnivision_gain(sixteenths)?;
                self.link.update(COM8, COM8_AGC, 0)?;
                self.link.update(REG45, 0xc0, 0)?;
                self.link.write(GAIN, gain)
            }
        }
    }

    fn white_balance(&mut self, balance: WhiteBalance) -> Result<(), CameraError> {
        match balance {
            WhiteBalance::Auto => {
                self.link.update(AWB_MODE, AWB_MANUAL, 0)?;
                self.link.update(CTRL1, CTRL1_AWB, CTRL1_AWB)
            }
            WhiteBalance::Manual { red, green, blue } => {
                self.link.update(AWB_MODE, AWB_MANUAL, AWB_MANUAL)?;
                self.link.write(RED, red)?;
                self.link.write(GREEN, green)?;
                self.link.write(BLUE, blue)
            }
        }
    }
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Sensor for Ov2640<I, D, R, P> {
    fn start(&mut self) -> Result<(), CameraError> {
        self.link.power_up(POWER_UP)?;
        self.link.check_chip([PID, VER], CHIP_ID, CHIP_ID_MASK)?;
        self.link.soft_reset(COM7, COM7_RESET, SOFT_RESET_MS)?;
        self.link.write_all(VENDOR_SENSOR)?;
        self.link.write_all(SENSOR)?;
        self.link.write_all(SENSOR_SVGA)?;
        self.link.write_all(VENDOR_SVGA)?;
        self.link.write_all(VENDOR_DSP)?;
        self.link.write_all(DSP)
    }

    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        let window = window(configuration.size);
        let refused = refuse(configuration, window.is_some());
        let (Some(window), Some([image_mode, d7, e1])) = (window, mode(configuration.format))
        else {
            return Err(refused);
        };
        self.link.write(R_BYPASS, BYPASS)?;
        self.link.write(RESET, RESET_PORT | RESET_JPEG)?;
        self.write_window(window, configuration.size)?;
        self.link.write(IMAGE_MODE, image_mode)?;
        self.link.write(0xd7, d7)?;
        self.link.write(0xe1, e1)?;
        self.link.write(QS, JPEG_QUANTISATION)?;
        self.link.write(RESET, 0)?;
        self.link.write(R_BYPASS, 0)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        let when = |on: bool, bits: u8| if on { bits } else { 0 };
        match control {
            Control::Exposure(exposure) => self.exposure(exposure),
            Control::Gain(gain) => self.gain(gain),
            Control::WhiteBalance(balance) => self.white_balance(balance),
            Control::Mirror(on) => self
                .link
                .update(REG04, REG04_MIRROR, when(on, REG04_MIRROR)),
            Control::Flip(on) => self.link.update(REG04, REG04_FLIP, when(on, REG04_FLIP)),
            Control::TestPattern(on) => self.link.update(COM7, COM7_BARS, when(on, COM7_BARS)),
            Control::ClockDivider(divider) => {
                let divider = within(Setting::ClockDivider, divider.into(), 1, 64)?;
                self.link.write(CLKRC, divider as u8 - 1)
            }
        }
    }
}
