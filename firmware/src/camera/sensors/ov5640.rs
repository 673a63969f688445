//! OmniVision OV5640, 5 megapixels with a scaler, over its parallel port.
//!
//! Registers: OV5640 Product Specification, 26 May 2011 (version 2.03), register tables of section 7; compared with the
//! drivers of Linux (`drivers/media/i2c/ov5640.c`) and esp32-camera, but for what `docs/cameras.md` lists. I2C address 0x3c, 16-bit registers.
//!
//! The array is read with pairs of columns and rows joined (1,312×976), then scaled. Clocks are for 24 MHz at the pin.

use super::refuse;
use crate::camera::capture::Sensor;
use crate::camera::control::{ceiling_exponent, within};
use crate::camera::link::{Addressing, Link, PowerUp, Write, set};
use crate::camera::{
    CameraError, Configuration, Control, Exposure, FrameFormat, FrameSize, Gain, Pins, Setting,
    WhiteBalance,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;
use pinhole_runtime::preprocess::PixelFormat;

const ADDRESS: u8 = 0x3c;
const CHIP_ID: u16 = 0x5640;

const SYSTEM_RESET_0: u16 = 0x3000;
const SYSTEM_RESET_2: u16 = 0x3002;
const CLOCK_ENABLE_0: u16 = 0x3004;
const CLOCK_ENABLE_2: u16 = 0x3006;
/// Bit 7: reset; bit 6: power down.
const SYSTEM_CONTROL: u16 = 0x3008;
const CHIP_ID_H: u16 = 0x300a;
const CHIP_ID_L: u16 = 0x300b;
/// Bit 3 on: MIPI off, the parallel port drives the pins.
const SYSTEM_CONTROL_1: u16 = 0x302e;
/// Directions of VSYNC, HREF, PCLK and the data pins: all out.
const PAD_ENABLE_1: u16 = 0x3017;
const PAD_ENABLE_2: u16 = 0x3018;
/// Low nibble: 0xa 10 bits.
const PLL_0: u16 = 0x3034;
/// High nibble: divider of the system clock.
const PLL_1: u16 = 0x3035;
const PLL_MULTIPLIER: u16 = 0x3036;
/// Low nibble: divider before the PLL; bit 4: halve behind it.
const PLL_3: u16 = 0x3037;
/// Bit 1: clock from the PLL.
const CLOCK_SOURCE: u16 = 0x3103;
const ROOT_DIVIDER: u16 = 0x3108;
/// Gains of the white balance, two bytes each: 0x0400 is 1.
const AWB_RED: u16 = 0x3400;
const AWB_GREEN: u16 = 0x3402;
const AWB_BLUE: u16 = 0x3404;
/// Bit 0: gains by hand.
const AWB_MANUAL: u16 = 0x3406;
/// Exposure in sixteenths of a line, 20 bits.
const EXPOSURE: u16 = 0x3500;
/// Bit 1: gain by hand; bit 0: exposure by hand.
const AEC_MANUAL: u16 = 0x3503;
/// Gain in sixteenths, two bytes.
const REAL_GAIN: u16 = 0x350a;
/// First column and row, last column and row: two bytes each.
const ARRAY_START: u16 = 0x3800;
const ARRAY_END: u16 = 0x3804;
/// Output size, total size, offset before scaling: two bytes each for columns and rows.
const OUTPUT_SIZE: u16 = 0x3808;
const TOTAL_SIZE: u16 = 0x380c;
const OFFSET: u16 = 0x3810;
/// 0x31: read two, skip two.
const X_INCREMENT: u16 = 0x3814;
const Y_INCREMENT: u16 = 0x3815;
/// Bits 2, 1: flip.
const TIMING_20: u16 = 0x3820;
/// Bits 2, 1: mirror; bit 0: join columns.
const TIMING_21: u16 = 0x3821;
/// Divider of the pixel clock when bit 1 of VFIFO_CONTROL is on.
const PCLK_DIVIDER: u16 = 0x3824;
const VFIFO_CONTROL: u16 = 0x460c;
/// Target of the automatic exposure: ends of the range that it enters and leaves, limits of large steps.
const AE_ENTER_HIGH: u16 = 0x3a0f;
const AE_ENTER_LOW: u16 = 0x3a10;
const AE_FAST_HIGH: u16 = 0x3a11;
const AE_LEAVE_HIGH: u16 = 0x3a1b;
const AE_LEAVE_LOW: u16 = 0x3a1e;
const AE_FAST_LOW: u16 = 0x3a1f;
/// Longest exposure for 60 Hz and 50 Hz light, two bytes each.
const MAX_EXPOSURE_60: u16 = 0x3a02;
const MAX_EXPOSURE_50: u16 = 0x3a14;
/// Lines of a step of 50 Hz and 60 Hz light, two bytes each, and their largest numbers.
const STEP_50: u16 = 0x3a08;
const STEP_60: u16 = 0x3a0a;
const MAX_STEPS_60: u16 = 0x3a0d;
const MAX_STEPS_50: u16 = 0x3a0e;
/// Gain ceiling in sixteenths, two bytes.
const GAIN_CEILING: u16 = 0x3a18;
/// Black level: first line, lines.
const BLC_START: u16 = 0x4001;
const BLC_LINES: u16 = 0x4004;
/// High nibble: kind of format; low nibble: order.
const FORMAT_CONTROL: u16 = 0x4300;
/// 0 YUV422, 1 RGB.
const FORMAT_MUX: u16 = 0x501f;
/// Bits 7, 5, 2, 1, 0: lens, gamma, black and white pixels, colour interpolation.
const ISP_CONTROL_0: u16 = 0x5000;
/// Bits 7, 5, 1, 0: effects, scaler, colour matrix, white balance.
const ISP_CONTROL_1: u16 = 0x5001;
/// Bit 7: colour bars.
const TEST_PATTERN: u16 = 0x503d;

const RESET: u8 = 0x82;
const POWER_DOWN: u8 = 0x42;
const POWER_ON: u8 = 0x02;
const GAIN_BY_HAND: u8 = 0x02;
const EXPOSURE_BY_HAND: u8 = 0x01;
const ORIENTATION: u8 = 0x06;
const BARS: u8 = 0x80;

/// Product specification, power up sequence: 20 ms from reset to the first transfer.
const POWER_UP: PowerUp = PowerUp {
    reset_ms: 5,
    settle_ms: 20,
};
const SOFT_RESET_MS: u32 = 10;

/// 24 MHz / 3 × 70 / 2 = 280 MHz, over the divider of PLL_1 and 2.5 of the 10 bits: 28 MHz and 15 frames/s with a divider of 4.
const CLOCKS: &[Write] = &[
    set(CLOCK_SOURCE, 0x03),
    set(PLL_0, 0x1a),
    set(PLL_1, 0x41),
    set(PLL_MULTIPLIER, 0x46),
    set(PLL_3, 0x13),
    set(ROOT_DIVIDER, 0x01),
    set(PCLK_DIVIDER, 0x02),
    set(VFIFO_CONTROL, 0x22),
    // JPEG stays in reset, the rest runs.
    set(SYSTEM_RESET_0, 0x00),
    set(SYSTEM_RESET_2, 0x1c),
    set(CLOCK_ENABLE_0, 0xff),
    set(CLOCK_ENABLE_2, 0xc3),
];

const BASE: &[Write] = &[
    set(SYSTEM_CONTROL_1, 0x08),
    set(PAD_ENABLE_1, 0xff),
    set(PAD_ENABLE_2, 0xff),
    set(X_INCREMENT, 0x31),
    set(Y_INCREMENT, 0x31),
    set(TIMING_20, 0x41),
    set(TIMING_21, 0x01),
    set(MAX_EXPOSURE_60, 0x03),
    set(MAX_EXPOSURE_60 + 1, 0xd8),
    set(MAX_EXPOSURE_50, 0x03),
    set(MAX_EXPOSURE_50 + 1, 0xd8),
    set(STEP_50, 0x01),
    set(STEP_50 + 1, 0x27),
    set(STEP_60, 0x00),
    set(STEP_60 + 1, 0xf6),
    set(MAX_STEPS_60, 0x04),
    set(MAX_STEPS_50, 0x03),
    set(AE_ENTER_HIGH, 0x30),
    set(AE_ENTER_LOW, 0x28),
    set(AE_LEAVE_HIGH, 0x30),
    set(AE_LEAVE_LOW, 0x26),
    set(AE_FAST_HIGH, 0x60),
    set(AE_FAST_LOW, 0x14),
    set(GAIN_CEILING, 0x00),
    set(GAIN_CEILING + 1, 0xf8),
    set(BLC_START, 0x02),
    set(BLC_LINES, 0x02),
    set(ISP_CONTROL_0, 0xa7),
    set(ISP_CONTROL_1, 0xa3),
];

/// Of the analogue part and the readout of joined pixels, reserved in the specification. Values of OmniVision, as in Linux.
const VENDOR: &[Write] = &[
    set(0x3630, 0x36),
    set(0x3631, 0x0e),
    set(0x3632, 0xe2),
    set(0x3633, 0x12),
    set(0x3621, 0xe0),
    set(0x3704, 0xa0),
    set(0x3703, 0x5a),
    set(0x3715, 0x78),
    set(0x3717, 0x01),
    set(0x370b, 0x60),
    set(0x3705, 0x1a),
    set(0x3905, 0x02),
    set(0x3906, 0x10),
    set(0x3901, 0x0a),
    set(0x3731, 0x12),
    set(0x3600, 0x08),
    set(0x3601, 0x33),
    set(0x302d, 0x60),
    set(0x3620, 0x52),
    set(0x371b, 0x20),
    set(0x3a13, 0x43),
    set(0x3635, 0x13),
    set(0x3636, 0x03),
    set(0x3634, 0x40),
    set(0x3622, 0x01),
    set(0x3618, 0x00),
    set(0x3612, 0x29),
    set(0x3708, 0x64),
    set(0x3709, 0x52),
    set(0x370c, 0x03),
];

/// Columns and rows of the array, `(first, last)` each.
struct Window {
    columns: (u16, u16),
    rows: (u16, u16),
}

const TOTAL_COLUMNS: u16 = 1896;
const TOTAL_LINES: u16 = 984;
/// Columns and rows that the interpolation takes before the output begins.
const MARGIN: (u16, u16) = (16, 6);

fn window(size: FrameSize) -> Option<Window> {
    let rows = (4, 1947);
    match size {
        FrameSize::VGA | FrameSize::QVGA | FrameSize::QQVGA => Some(Window {
            columns: (0, 2623),
            rows,
        }),
        // A square of the middle.
        FrameSize { width, height }
            if width == height && [96, 128, 160, 192, 224].contains(&width) =>
        {
            Some(Window {
                columns: (320, 2287),
                rows,
            })
        }
        _ => None,
    }
}

/// FORMAT_CONTROL and FORMAT_MUX.
fn mode(format: FrameFormat) -> Option<(u8, u8)> {
    match format {
        FrameFormat::Pixels(PixelFormat::Yuyv) => Some((0x30, 0)),
        FrameFormat::Pixels(PixelFormat::Uyvy) => Some((0x32, 0)),
        FrameFormat::Pixels(PixelFormat::Grey8) => Some((0x10, 0)),
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => Some((0x61, 1)),
        FrameFormat::Pixels(PixelFormat::Rgb565) => Some((0x6f, 1)),
        _ => None,
    }
}

/// The driver; see the module.
#[derive(Debug)]
pub struct Ov5640<I, D, R, P> {
    link: Link<I, D, R, P>,
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Ov5640<I, D, R, P> {
    /// A sensor on `i2c`, which runs at 400 kHz or less.
    pub fn new(i2c: I, delay: D, pins: Pins<R, P>) -> Self {
        Self {
            link: Link::new(i2c, delay, pins, ADDRESS, Addressing::Long),
        }
    }

    fn exposure(&mut self, exposure: Exposure) -> Result<(), CameraError> {
        match exposure {
            Exposure::Auto => self.link.update(AEC_MANUAL, EXPOSURE_BY_HAND, 0),
            Exposure::Lines(lines) => {
                let lines = within(Setting::ExposureLines, lines, 1, TOTAL_LINES - 4)?;
                self.link
                    .update(AEC_MANUAL, EXPOSURE_BY_HAND, EXPOSURE_BY_HAND)?;
                self.link.write(EXPOSURE, (lines >> 12) as u8)?;
                self.link.write_u16(EXPOSURE + 1, lines << 4)
            }
        }
    }

    fn gain(&mut self, gain: Gain) -> Result<(), CameraError> {
        match gain {
            Gain::Auto { ceiling } => {
                let exponent = ceiling_exponent(ceiling, 2, 32)?;
                self.link.write_u16(GAIN_CEILING, 16 << exponent)?;
                self.link.update(AEC_MANUAL, GAIN_BY_HAND, 0)
            }
            Gain::Sixteenths(sixteenths) => {
                let gain = within(Setting::Gain, sixteenths, 16, 1023)?;
                self.link.update(AEC_MANUAL, GAIN_BY_HAND, GAIN_BY_HAND)?;
                self.link.write_u16(REAL_GAIN, gain)
            }
        }
    }

    fn white_balance(&mut self, balance: WhiteBalance) -> Result<(), CameraError> {
        match balance {
            WhiteBalance::Auto => self.link.write(AWB_MANUAL, 0),
            WhiteBalance::Manual { red, green, blue } => {
                self.link.write(AWB_MANUAL, 1)?;
                // From sixty-fourths to the 1,024ths of the registers.
                self.link.write_u16(AWB_RED, u16::from(red) * 16)?;
                self.link.write_u16(AWB_GREEN, u16::from(green) * 16)?;
                self.link.write_u16(AWB_BLUE, u16::from(blue) * 16)
            }
        }
    }
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Sensor for Ov5640<I, D, R, P> {
    fn start(&mut self) -> Result<(), CameraError> {
        self.link.power_up(POWER_UP)?;
        self.link
            .check_chip([CHIP_ID_H, CHIP_ID_L], CHIP_ID, 0xffff)?;
        self.link.soft_reset(SYSTEM_CONTROL, RESET, SOFT_RESET_MS)?;
        self.link.write(SYSTEM_CONTROL, POWER_DOWN)?;
        self.link.write_all(VENDOR)?;
        self.link.write_all(CLOCKS)?;
        self.link.write_all(BASE)
    }

    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        let window = window(configuration.size);
        let refused = refuse(configuration, window.is_some());
        let (Some(window), Some((control, mux))) = (window, mode(configuration.format)) else {
            return Err(refused);
        };
        let link = &mut self.link;
        link.write(SYSTEM_CONTROL, POWER_DOWN)?;
        link.write_u16(ARRAY_START, window.columns.0)?;
        link.write_u16(ARRAY_START + 2, window.rows.0)?;
        link.write_u16(ARRAY_END, window.columns.1)?;
        link.write_u16(ARRAY_END + 2, window.rows.1)?;
        link.write_u16(OUTPUT_SIZE, configuration.size.width)?;
        link.write_u16(OUTPUT_SIZE + 2, configuration.size.height)?;
        link.write_u16(TOTAL_SIZE, TOTAL_COLUMNS)?;
        link.write_u16(TOTAL_SIZE + 2, TOTAL_LINES)?;
        link.write_u16(OFFSET, MARGIN.0)?;
        link.write_u16(OFFSET + 2, MARGIN.1)?;
        link.write(FORMAT_CONTROL, control)?;
        link.write(FORMAT_MUX, mux)?;
        link.write(SYSTEM_CONTROL, POWER_ON)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        let when = |on: bool, bits: u8| if on { bits } else { 0 };
        match control {
            Control::Exposure(exposure) => self.exposure(exposure),
            Control::Gain(gain) => self.gain(gain),
            Control::WhiteBalance(balance) => self.white_balance(balance),
            Control::Mirror(on) => self
                .link
                .update(TIMING_21, ORIENTATION, when(on, ORIENTATION)),
            Control::Flip(on) => self
                .link
                .update(TIMING_20, ORIENTATION, when(on, ORIENTATION)),
            Control::TestPattern(on) => self.link.write(TEST_PATTERN, when(on, BARS)),
            Control::ClockDivider(divider) => {
                let divider = within(Setting::ClockDivider, divider.into(), 2, 15)?;
                self.link.write(PLL_1, (divider as u8) << 4 | 0x01)
            }
        }
    }
}
