//! The registers of OV2640 that are set once, and those of its SVGA mode. The high byte of a number is the bank: 0 DSP, 1 sensor.
//!
//! OmniVision gives values for many registers that its data sheet calls reserved, and the picture is unusable without them. They
//! are in the tables named `VENDOR_…`, with the values that Linux (`drivers/media/i2c/ov2640.c`), OpenMV and esp32-camera share.

use crate::camera::link::{Write, set};

/// Gain of the automatic control or by hand.
pub(super) const GAIN: u16 = 0x100;
/// Low bits of VSTART and VSTOP.
pub(super) const COM1: u16 = 0x103;
/// Bit 7: mirror; bit 6: flip; bit 4: first row of the array, which a flip moves; bit 3: HREF; bits 1, 0: exposure.
pub(super) const REG04: u16 = 0x104;
/// Bits 1, 0: drive of the pins.
const COM2: u16 = 0x109;
pub(super) const PID: u16 = 0x10a;
pub(super) const VER: u16 = 0x10b;
/// Bit 1: find the frequency of the light.
const COM3: u16 = 0x10c;
/// Exposure bits 9 to 2.
pub(super) const AEC: u16 = 0x110;
/// Bits 5 to 0: divider of the clock, less one.
pub(super) const CLKRC: u16 = 0x111;
/// Bit 7: reset; bits 6 to 4: resolution of the array; bit 1: colour bars.
pub(super) const COM7: u16 = 0x112;
/// Bit 5: banding filter; bit 2: automatic gain; bit 0: automatic exposure.
pub(super) const COM8: u16 = 0x113;
/// Bits 7 to 5: gain ceiling, 2 to the power of n + 1.
pub(super) const COM9: u16 = 0x114;
const HSTART: u16 = 0x117;
const HSTOP: u16 = 0x118;
const VSTART: u16 = 0x119;
const VSTOP: u16 = 0x11a;
/// Upper and lower end of the brightness that the automatic exposure leaves alone.
const AEW: u16 = 0x124;
const AEB: u16 = 0x125;
/// Beyond this it changes in large steps.
const VV: u16 = 0x126;
/// Low bits of HSTART and HSTOP.
const REG32: u16 = 0x132;
/// Bits 5 to 0: exposure bits 15 to 10; bits 7, 6: gain bits 9, 8.
pub(super) const REG45: u16 = 0x145;
/// Lines of a step of 50 Hz and of 60 Hz light.
const BD50: u16 = 0x14f;
const BD60: u16 = 0x150;
/// Thresholds of the histogram.
const HISTO_LOW: u16 = 0x161;
const HISTO_HIGH: u16 = 0x162;

/// Bit 0: pass the array's output by the DSP.
pub(super) const R_BYPASS: u16 = 0x05;
/// Quantisation of JPEG.
pub(super) const QS: u16 = 0x44;
/// Bit 7: low-pass before division; bits 5 to 3 and 2 to 0: divide rows and columns by 2 to the power of these.
pub(super) const CTRLI: u16 = 0x50;
/// Window that is divided, width and height over 4.
pub(super) const HSIZE: u16 = 0x51;
pub(super) const VSIZE: u16 = 0x52;
/// Its offset.
pub(super) const XOFFL: u16 = 0x53;
pub(super) const YOFFL: u16 = 0x54;
/// Upper bits of the four.
pub(super) const VHYX: u16 = 0x55;
pub(super) const TEST: u16 = 0x57;
/// Width and height that leave, over 4.
pub(super) const ZMOW: u16 = 0x5a;
pub(super) const ZMOH: u16 = 0x5b;
/// Upper bits of the two.
pub(super) const ZMHH: u16 = 0x5c;
/// Bit 5: division; bits 4, 3, 2, 0: effects, adjustment and mean of the colours, matrix.
const CTRL2: u16 = 0x86;
/// Bits 7, 6: correct black and white pixels.
const CTRL3: u16 = 0x87;
/// Low bits of HSIZE8 and VSIZE8.
const SIZEL: u16 = 0x8c;
/// Size of the array's picture, over 8.
const HSIZE8: u16 = 0xc0;
const VSIZE8: u16 = 0xc1;
/// Bit 3: automatic white balance; the other bits: sharpness, gamma, lens, gains.
pub(super) const CTRL1: u16 = 0xc3;
/// Reserved; bit 6 takes the gains of [`RED`], [`GREEN`] and [`BLUE`] (comments in Linux, esp32-camera).
pub(super) const AWB_MODE: u16 = 0xc7;
pub(super) const RED: u16 = 0xcc;
pub(super) const GREEN: u16 = 0xcd;
pub(super) const BLUE: u16 = 0xce;
/// Divider of the pixel clock.
pub(super) const R_DVP_SP: u16 = 0xd3;
/// Bit 6: luminance alone; bit 4: JPEG; bits 3, 2: RGB565 or YUV; bit 1: HREF of JPEG; bit 0: low byte first.
pub(super) const IMAGE_MODE: u16 = 0xda;
/// Resets of parts of the DSP: bit 4 JPEG, bit 2 the port.
pub(super) const RESET: u16 = 0xe0;
/// Bits 7, 6: hold the microcontroller, start it from its ROM.
const MC_BIST: u16 = 0xf9;

/// Of the array, for every mode.
pub(super) const SENSOR: &[Write] = &[
    set(COM2, 0x02),
    set(CLKRC, 0x00),
    set(REG04, 0x28),
    set(COM3, 0x3a),
    // Banding filter, automatic gain and exposure.
    set(COM8, 0xe5),
    // Gains of up to 8.
    set(COM9, 0x48),
    set(AEW, 0x40),
    set(AEB, 0x38),
    set(VV, 0x82),
    set(HISTO_LOW, 0x70),
    set(HISTO_HIGH, 0x80),
];

pub(super) const VENDOR_SENSOR: &[Write] = &[
    set(0x12c, 0x0c),
    set(0x133, 0x78),
    set(0x13a, 0x33),
    set(0x13b, 0xfb),
    set(0x13c, 0x32),
    set(0x13e, 0x00),
    set(0x143, 0x11),
    set(0x116, 0x10),
    set(0x14a, 0x81),
    set(0x121, 0x99),
    set(0x15c, 0x00),
    set(0x163, 0x00),
    set(0x17c, 0x05),
    set(0x120, 0x80),
    set(0x128, 0x30),
    set(0x16c, 0x00),
    set(0x16e, 0x00),
    set(0x170, 0x02),
    set(0x171, 0x94),
    set(0x173, 0xc1),
];

/// The array in its mode of 800×600, half of its resolution.
pub(super) const SENSOR_SVGA: &[Write] = &[
    set(COM7, 0x40),
    set(COM1, 0x0a),
    set(REG32, 0x09),
    set(HSTART, 0x11),
    set(HSTOP, 0x43),
    set(VSTART, 0x00),
    set(VSTOP, 0x4b),
    set(BD50, 0xca),
    set(BD60, 0xa8),
];

pub(super) const VENDOR_SVGA: &[Write] = &[
    set(0x106, 0x88),
    set(0x107, 0xc0),
    set(0x10d, 0x87),
    set(0x10e, 0x41),
    set(0x122, 0x1a),
    set(0x123, 0x00),
    set(0x134, 0xc0),
    set(0x135, 0xda),
    set(0x137, 0xc3),
    set(0x139, 0x92),
    set(0x13d, 0x38),
    set(0x142, 0x03),
    set(0x14c, 0x00),
    set(0x15a, 0x23),
    set(0x16d, 0x00),
];

/// Of the DSP, for every format.
pub(super) const DSP: &[Write] = &[
    set(MC_BIST, 0xc0),
    set(RESET, 0x14),
    set(CTRL3, 0xd0),
    set(CTRL1, 0xfd),
    set(HSIZE8, 0x64),
    set(VSIZE8, 0x4b),
    set(SIZEL, 0x00),
    set(CTRL2, 0x3d),
];

/// Gamma at 0x90 and 0x91, effects at 0x7c and 0x7d, sharpness at 0x92 and 0x93, lens at 0x96 and 0x97, white balance from 0xb0 to
/// 0xc9. A register that appears again takes its values one after the other.
pub(super) const VENDOR_DSP: &[Write] = &[
    set(0x2c, 0xff),
    set(0x2e, 0xdf),
    set(0xe5, 0x7f),
    set(0x41, 0x24),
    set(0x76, 0xff),
    set(0x33, 0xa0),
    set(0x42, 0x20),
    set(0x43, 0x18),
    set(0x4c, 0x00),
    set(0x88, 0x3f),
    set(0xd9, 0x10),
    set(0xc8, 0x08),
    set(0xc9, 0x80),
    set(0x7c, 0x00),
    set(0x7d, 0x00),
    set(0x7c, 0x03),
    set(0x7d, 0x48),
    set(0x7d, 0x48),
    set(0x7c, 0x08),
    set(0x7d, 0x20),
    set(0x7d, 0x10),
    set(0x7d, 0x0e),
    set(0x90, 0x00),
    set(0x91, 0x0e),
    set(0x91, 0x1a),
    set(0x91, 0x31),
    set(0x91, 0x5a),
    set(0x91, 0x69),
    set(0x91, 0x75),
    set(0x91, 0x7e),
    set(0x91, 0x88),
    set(0x91, 0x8f),
    set(0x91, 0x96),
    set(0x91, 0xa3),
    set(0x91, 0xaf),
    set(0x91, 0xc4),
    set(0x91, 0xd7),
    set(0x91, 0xe8),
    set(0x91, 0x20),
    set(0x92, 0x00),
    set(0x93, 0x06),
    set(0x93, 0xe3),
    set(0x93, 0x05),
    set(0x93, 0x05),
    set(0x93, 0x00),
    set(0x93, 0x04),
    set(0x96, 0x00),
    set(0x97, 0x08),
    set(0x97, 0x19),
    set(0x97, 0x02),
    set(0x97, 0x0c),
    set(0x97, 0x24),
    set(0x97, 0x30),
    set(0x97, 0x28),
    set(0x97, 0x26),
    set(0x97, 0x02),
    set(0x97, 0x98),
    set(0x97, 0x80),
    set(0x97, 0x00),
    set(0x97, 0x00),
    set(0xa4, 0x00),
    set(0xa8, 0x00),
    set(0xc5, 0x11),
    set(0xc6, 0x51),
    set(0xbf, 0x80),
    set(0xc7, 0x10),
    set(0xb6, 0x66),
    set(0xb8, 0xa5),
    set(0xb7, 0x64),
    set(0xb9, 0x7c),
    set(0xb3, 0xaf),
    set(0xb4, 0x97),
    set(0xb5, 0xff),
    set(0xb0, 0xc5),
    set(0xb1, 0x94),
    set(0xb2, 0x0f),
    set(0xc4, 0x5c),
    set(0x7f, 0x00),
    set(0xe5, 0x1f),
    set(0xdd, 0x7f),
];
