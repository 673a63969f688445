//! OmniVision OV7670, VGA, and its registers.
//!
//! Registers: OV7670/OV7171 CMOS VGA CameraChip, Preliminary Datasheet, version 1.4, table 5 "Device Control Register List". Compared
//! with the drivers of Linux (`drivers/media/i2c/ov7670.c`), OpenMV and esp32-camera, but for what `docs/cameras.md` lists; from them also come the
//! windows, the colour matrices and the values of [`VENDOR`]. SCCB address 0x21.

use super::refuse;
use crate::camera::capture::Sensor;
use crate::camera::control::{ceiling_exponent, omnivision_gain, within};
use crate::camera::link::{Addressing, Link, PowerUp, Write, set};
use crate::camera::{
    CameraError, Configuration, Control, Exposure, FrameFormat, FrameSize, Gain, Pins, Setting,
    WhiteBalance,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;
use pinhole_runtime::preprocess::{BayerPattern, PixelFormat};

const ADDRESS: u8 = 0x21;
/// Product and version number in PID and VER.
const CHIP_ID: u16 = 0x7673;

const GAIN: u16 = 0x00;
const BLUE: u16 = 0x01;
const RED: u16 = 0x02;
/// Bits 7, 6: gain bits 9, 8; bits 3, 2 and 1, 0: low bits of VSTOP and VSTART.
const VREF: u16 = 0x03;
/// Bits 1, 0: low bits of the exposure.
const COM1: u16 = 0x04;
/// Bits 5 to 0: exposure bits 15 to 10.
const AECHH: u16 = 0x07;
const PID: u16 = 0x0a;
const VER: u16 = 0x0b;
/// Bit 2: scaling and cropping (DCW).
const COM3: u16 = 0x0c;
/// Bits 5, 4: window of the automatic exposure; has to match COM17.
const COM4: u16 = 0x0d;
/// Exposure bits 9 to 2.
const AECH: u16 = 0x10;
/// Bits 5 to 0: divider of the internal clock, less one.
const CLKRC: u16 = 0x11;
/// Bit 7: reset; bits 2 and 0: output format.
const COM7: u16 = 0x12;
const COM8: u16 = 0x13;
/// Bits 6 to 4: gain ceiling, 2 to the power of n + 1.
const COM9: u16 = 0x14;
/// Bit 5: no pixel clock in the blanking.
const COM10: u16 = 0x15;
const HSTART: u16 = 0x17;
const HSTOP: u16 = 0x18;
const VSTART: u16 = 0x19;
const VSTOP: u16 = 0x1a;
/// Bit 5: mirror; bit 4: flip.
const MVFP: u16 = 0x1e;
/// Low bits of HSTART and HSTOP, offset of the edge in bits 7, 6.
const HREF: u16 = 0x32;
/// Bit 3: blue difference before luminance.
const TSLB: u16 = 0x3a;
/// Bit 4: detect 50 or 60 Hz light; bit 1: exposure may be shorter than a step of it.
const COM11: u16 = 0x3b;
/// Bit 7: gamma; bit 6: saturation adjusts itself.
const COM13: u16 = 0x3d;
/// Bit 4: divide the pixel clock by 2 to the power of bits 2 to 0; bit 3: scale by hand.
const COM14: u16 = 0x3e;
/// Bits 7, 6: range of the output; bits 5, 4: kind of RGB.
const COM15: u16 = 0x40;
/// Bit 3: apply the gains of the white balance.
const COM16: u16 = 0x41;
/// First of the six coefficients of the colour matrix.
const MTX1: u16 = 0x4f;
/// Their signs.
const MTXS: u16 = 0x58;
/// Gain of green.
const GGAIN: u16 = 0x6a;
/// Bits 7, 6: clock multiplier 1, 4, 6, 8.
const DBLV: u16 = 0x6b;
/// Bit 7: bit 0 of the number of the test pattern; bits 6 to 0: horizontal scale.
const SCALING_XSC: u16 = 0x70;
/// Bit 7: bit 1 of the number of the test pattern; bits 6 to 0: vertical scale.
const SCALING_YSC: u16 = 0x71;
/// Bits 5, 4 and 1, 0: rows and columns are sampled down by 2 to the power of these.
const SCALING_DCWCTR: u16 = 0x72;
/// Bits 2 to 0: divider of the clock of the scaler, a power of two.
const SCALING_PCLK_DIV: u16 = 0x73;
const SCALING_PCLK_DELAY: u16 = 0xa2;

const COM7_RESET: u8 = 0x80;
const COM7_YUV: u8 = 0x00;
const COM7_RGB: u8 = 0x04;
const COM7_BAYER: u8 = 0x01;
const COM8_FAST_UNLIMITED: u8 = 0xc0;
const COM8_BANDING: u8 = 0x20;
const COM8_AGC: u8 = 0x04;
const COM8_AWB: u8 = 0x02;
const COM8_AEC: u8 = 0x01;
/// Full range, 0 to 255.
const COM15_FULL: u8 = 0xc0;
const COM15_RGB565: u8 = 0x10;
const MVFP_MIRROR: u8 = 0x20;
const MVFP_FLIP: u8 = 0x10;
const EIGHT_BARS: u8 = 0x80;
/// Low bits that the reset leaves in COM9.
const COM9_RESERVED: u8 = 0x0a;

/// Datasheet, "Electrical characteristics": 1 ms after reset; the rest is margin.
const POWER_UP: PowerUp = PowerUp {
    reset_ms: 5,
    settle_ms: 10,
};
/// Between a reset by register and the next transfer.
const SOFT_RESET_MS: u32 = 5;

/// What holds for every format and size.
const BASE: &[Write] = &[
    set(TSLB, 0x04),
    // With COM4 and COM17 at their window of a half; bit 6 is reserved and set.
    set(COM4, 0x40),
    set(COM10, 0x20),
    set(COM11, 0x12),
    // Multiplier 4 on a divider of 2: 30 frames/s of a clock of 12 MHz.
    set(DBLV, 0x4a),
    set(CLKRC, 0x01),
    set(COM16, 0x08),
    set(BLUE, 0x40),
    set(RED, 0x60),
    set(GGAIN, 0x40),
    set(COM9, 0x20 | COM9_RESERVED),
];

/// Reserved in the datasheet; without them colours are wrong. Values of OmniVision, as in Linux and OpenMV: 0xb0 (colour), 0x43 to
/// 0x48, 0x59 to 0x5e, 0x6c to 0x6f (white balance).
const VENDOR: &[Write] = &[
    set(0xb0, 0x84),
    set(0x43, 0x0a),
    set(0x44, 0xf0),
    set(0x45, 0x34),
    set(0x46, 0x58),
    set(0x47, 0x28),
    set(0x48, 0x3a),
    set(0x59, 0x88),
    set(0x5a, 0x88),
    set(0x5b, 0x44),
    set(0x5c, 0x67),
    set(0x5d, 0x49),
    set(0x5e, 0x0e),
    set(0x6c, 0x0a),
    set(0x6d, 0x55),
    set(0x6e, 0x11),
    set(0x6f, 0x9e),
];

/// COM7, COM15, TSLB, COM13 and the colour matrix of a format.
struct Mode {
    com7: u8,
    com15: u8,
    tslb: u8,
    com13: u8,
    matrix: [u8; 6],
}

const MATRIX_YUV: [u8; 6] = [0x80, 0x80, 0x00, 0x22, 0x5e, 0x80];
const MATRIX_RGB: [u8; 6] = [0xb3, 0xb3, 0x00, 0x3d, 0xa7, 0xe4];
/// Of both matrices, and contrast centred by itself.
const MATRIX_SIGNS: u8 = 0x9e;

fn mode(configuration: Configuration) -> Option<Mode> {
    let yuv = Mode {
        com7: COM7_YUV,
        com15: COM15_FULL,
        tslb: 0x04,
        com13: 0xc0,
        matrix: MATRIX_YUV,
    };
    Some(match configuration.format {
        FrameFormat::Pixels(PixelFormat::Yuyv) => yuv,
        FrameFormat::Pixels(PixelFormat::Uyvy) => Mode { tslb: 0x0c, ..yuv },
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => Mode {
            com7: COM7_RGB,
            com15: COM15_FULL | COM15_RGB565,
            matrix: MATRIX_RGB,
            ..yuv
        },
        // The mosaic is that of the array, which the scaler would mix.
        FrameFormat::Bayer(BayerPattern::Bggr) if configuration.size == FrameSize::VGA => Mode {
            com7: COM7_BAYER,
            com13: 0x08,
            ..yuv
        },
        _ => return None,
    })
}

/// The window in the array, and how it is scaled.
struct Window {
    /// Left edge; the right one is 640 further, modulo the line of 784.
    left: u16,
    com3: u8,
    com14: u8,
    down: u8,
    divider: u8,
}

const LINE: u16 = 784;
const TOP: u16 = 10;
const BOTTOM: u16 = 490;
const HREF_EDGE: u8 = 0x80;

fn window(size: FrameSize) -> Option<Window> {
    let scaled = |left, exponent: u8| Window {
        left,
        com3: 0x04,
        com14: 0x18 | exponent,
        down: exponent << 4 | exponent,
        divider: 0xf0 | exponent,
    };
    match size {
        FrameSize::VGA => Some(Window {
            left: 158,
            com3: 0x00,
            com14: 0x00,
            down: 0x11,
            divider: 0xf0,
        }),
        FrameSize::QVGA => Some(scaled(168, 1)),
        FrameSize::QQVGA => Some(scaled(180, 2)),
        _ => None,
    }
}

/// The driver; see the module.
#[derive(Debug)]
pub struct Ov7670<I, D, R, P> {
    link: Link<I, D, R, P>,
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Ov7670<I, D, R, P> {
    /// A sensor on `i2c`, which runs at 400 kHz or less.
    pub fn new(i2c: I, delay: D, pins: Pins<R, P>) -> Self {
        Self {
            link: Link::new(i2c, delay, pins, ADDRESS, Addressing::Short),
        }
    }

    fn write_window(&mut self, window: &Window) -> Result<(), CameraError> {
        let right = (window.left + 640) % LINE;
        let low = |edge: u16, bits: u16| (edge & ((1 << bits) - 1)) as u8;
        let link = &mut self.link;
        link.write(COM3, window.com3)?;
        link.write(COM14, window.com14)?;
        link.write(SCALING_XSC, 0x3a)?;
        link.write(SCALING_YSC, 0x35)?;
        link.write(SCALING_DCWCTR, window.down)?;
        link.write(SCALING_PCLK_DIV, window.divider)?;
        link.write(SCALING_PCLK_DELAY, 0x02)?;
        link.write(HSTART, (window.left >> 3) as u8)?;
        link.write(HSTOP, (right >> 3) as u8)?;
        let edges = low(right, 3) << 3 | low(window.left, 3);
        link.write(HREF, HREF_EDGE | edges)?;
        link.write(VSTART, (TOP >> 2) as u8)?;
        link.write(VSTOP, (BOTTOM >> 2) as u8)?;
        link.write(VREF, low(BOTTOM, 2) << 2 | low(TOP, 2))
    }

    fn exposure(&mut self, exposure: Exposure) -> Result<(), CameraError> {
        match exposure {
            Exposure::Auto => self.link.update(COM8, COM8_AEC, COM8_AEC),
            Exposure::Lines(lines) => {
                let lines = within(Setting::ExposureLines, lines, 1, 510)?;
                self.link.update(COM8, COM8_AEC, 0)?;
                self.link.update(AECHH, 0x3f, (lines >> 10) as u8)?;
                self.link.write(AECH, (lines >> 2) as u8)?;
                self.link.update(COM1, 0x03, lines as u8)
            }
        }
    }

    fn gain(&mut self, gain: Gain) -> Result<(), CameraError> {
        match gain {
            Gain::Auto { ceiling } => {
                let exponent = ceiling_exponent(ceiling, 2, 128)?;
                self.link.write(COM9, (exponent - 1) << 4 | COM9_RESERVED)?;
                self.link.update(COM8, COM8_AGC, COM8_AGC)
            }
            Gain::Sixteenths(sixteenths) => {
                let gain = omnivision_gain(sixteenths)?;
                self.link.update(COM8, COM8_AGC, 0)?;
                self.link.update(VREF, 0xc0, 0)?;
                self.link.write(GAIN, gain)
            }
        }
    }

    fn white_balance(&mut self, balance: WhiteBalance) -> Result<(), CameraError> {
        match balance {
            WhiteBalance::Auto => self.link.update(COM8, COM8_AWB, COM8_AWB),
            WhiteBalance::Manual { red, green, blue } => {
                self.link.update(COM8, COM8_AWB, 0)?;
                self.link.write(RED, red)?;
                self.link.write(GGAIN, green)?;
                self.link.write(BLUE, blue)
            }
        }
    }
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Sensor for Ov7670<I, D, R, P> {
    fn start(&mut self) -> Result<(), CameraError> {
        self.link.power_up(POWER_UP)?;
        self.link.check_chip([PID, VER], CHIP_ID, 0xffff)?;
        self.link.soft_reset(COM7, COM7_RESET, SOFT_RESET_MS)?;
        self.link.write_all(BASE)?;
        self.link.write_all(VENDOR)?;
        let automatic = COM8_AGC | COM8_AWB | COM8_AEC;
        self.link
            .write(COM8, COM8_FAST_UNLIMITED | COM8_BANDING | automatic)
    }

    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        let window = window(configuration.size);
        let refused = refuse(configuration, window.is_some());
        let (Some(window), Some(mode)) = (window, mode(configuration)) else {
            return Err(refused);
        };
        self.link.write(COM7, mode.com7)?;
        self.link.write(COM15, mode.com15)?;
        self.link.write(TSLB, mode.tslb)?;
        self.link.write(COM13, mode.com13)?;
        for (register, coefficient) in (MTX1..).zip(mode.matrix) {
            self.link.write(register, coefficient)?;
        }
        self.link.write(MTXS, MATRIX_SIGNS)?;
        self.write_window(&window)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        let when = |on: bool, bits: u8| if on { bits } else { 0 };
        match control {
            Control::Exposure(exposure) => self.exposure(exposure),
            Control::Gain(gain) => self.gain(gain),
            Control::WhiteBalance(balance) => self.white_balance(balance),
            Control::Mirror(on) => self.link.update(MVFP, MVFP_MIRROR, when(on, MVFP_MIRROR)),
            Control::Flip(on) => self.link.update(MVFP, MVFP_FLIP, when(on, MVFP_FLIP)),
            Control::TestPattern(on) => {
                self.link.update(SCALING_XSC, EIGHT_BARS, 0)?;
                self.link
                    .update(SCALING_YSC, EIGHT_BARS, when(on, EIGHT_BARS))
            }
            Control::ClockDivider(divider) => {
                let divider = within(Setting::ClockDivider, divider.into(), 1, 64)?;
                self.link.write(CLKRC, divider as u8 - 1)
            }
        }
    }
}
