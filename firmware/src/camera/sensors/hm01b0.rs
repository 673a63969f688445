//! Himax HM01B0, 324×324 grey, low power, and its registers.
//!
//! Source: numbers, names and values as OpenMV's driver has them (`drivers/sensors/hm01b0.c`, `hm01b0_regs.h`). Himax gives its
//! data sheet on request; it was not at hand, so that no revision is named. I2C address 0x24, 16-bit registers.

use super::refuse;
use crate::camera::capture::Sensor;
use crate::camera::control::{ceiling_exponent, within};
use crate::camera::link::{Addressing, Link, PowerUp, Write, set};
use crate::camera::{
    CameraError, Configuration, Control, Exposure, FrameFormat, FrameSize, Gain, Pins, Setting,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;

const ADDRESS: u8 = 0x24;
const CHIP_ID: u16 = 0x01b0;

const MODEL_ID_H: u16 = 0x0000;
const MODEL_ID_L: u16 = 0x0001;
/// 0 standby, 1 streaming.
const MODE_SELECT: u16 = 0x0100;
/// Bit 0: mirror; bit 1: flip.
const IMAGE_ORIENTATION: u16 = 0x0101;
const SW_RESET: u16 = 0x0103;
/// What was written before takes effect together, with the next frame.
const GROUP_HOLD: u16 = 0x0104;
/// Exposure in lines, two bytes.
const INTEGRATION_H: u16 = 0x0202;
/// Bits 6 to 4: exponent of the gain.
const ANALOG_GAIN: u16 = 0x0205;
/// Gain of the digital part, two bytes: 0x0100 is 1.
const DIGITAL_GAIN_H: u16 = 0x020e;
/// Lines of a frame with the blanking, two bytes.
const FRAME_LENGTH_H: u16 = 0x0340;
/// Clocks of a line with the blanking, two bytes.
const LINE_LENGTH_H: u16 = 0x0342;
/// 1 reads every column, 3 every second pair.
const READOUT_X: u16 = 0x0383;
const READOUT_Y: u16 = 0x0387;
/// Bits 1 and 0: join columns, join rows.
const BINNING_MODE: u16 = 0x0390;
/// Bit 0: on; bit 4 chooses the picture, 0 colour bars.
const TEST_PATTERN: u16 = 0x0601;
/// Black level: on, with a filter over frames.
const BLC_CONFIG: u16 = 0x1000;
const BLC_TARGET: u16 = 0x1003;
const BLI_ENABLE: u16 = 0x1006;
const BLC2_TARGET: u16 = 0x1007;
/// Defective pixels: 1 corrects them as grey ones.
const DPC_CONTROL: u16 = 0x1008;
/// Bit 0: statistics of the automatic exposure.
const STATISTIC_CONTROL: u16 = 0x2000;
const AE_CONTROL: u16 = 0x2100;
const AE_TARGET_MEAN: u16 = 0x2101;
const AE_MIN_MEAN: u16 = 0x2102;
const CONVERGE_IN: u16 = 0x2103;
const CONVERGE_OUT: u16 = 0x2104;
/// Longest automatic exposure in lines, two bytes.
const MAX_INTEGRATION_H: u16 = 0x2105;
const MAX_AGAIN_FULL: u16 = 0x2108;
const MAX_AGAIN_BINNED: u16 = 0x2109;
const MAX_DGAIN: u16 = 0x210b;
const DAMPING: u16 = 0x210d;
const MD_CONTROL: u16 = 0x2150;
/// Reads 244 of the 324 lines.
const QVGA_WINDOW: u16 = 0x3010;
/// 0x70: 8 bits a sample.
const SIX_BIT_MODE: u16 = 0x3011;
/// 0x02: 8 data lines.
const BIT_CONTROL: u16 = 0x3059;
/// Bits 1, 0: the clock is divided by 8, 4, 2, 1.
const CLOCK_DIVIDER: u16 = 0x3060;
/// 0: clock from the pin and not from the oscillator inside.
const OSCILLATOR: u16 = 0x3067;
/// Bit 0: data changes with the falling edge.
const PCLK_POLARITY: u16 = 0x3068;

const POWER_UP: PowerUp = PowerUp {
    reset_ms: 1,
    settle_ms: 5,
};
const SOFT_RESET_MS: u32 = 10;
const LINE_LENGTH: u16 = 0x0178;
/// What the automatic and the manual exposure leave of a frame.
const EXPOSURE_MARGIN: u16 = 2;
const CLOCK_BASE: u8 = 0x08;

const BASE: &[Write] = &[
    set(BLC_CONFIG, 0x43),
    set(BLC_TARGET, 0x08),
    set(BLI_ENABLE, 0x01),
    set(BLC2_TARGET, 0x08),
    set(DPC_CONTROL, 0x01),
    set(STATISTIC_CONTROL, 0x07),
    set(AE_TARGET_MEAN, 0x64),
    set(AE_MIN_MEAN, 0x0a),
    set(CONVERGE_IN, 0x03),
    set(CONVERGE_OUT, 0x05),
    set(MAX_AGAIN_FULL, 0x03),
    set(MAX_AGAIN_BINNED, 0x03),
    set(MAX_DGAIN, 0xc0),
    set(DAMPING, 0x20),
    set(ANALOG_GAIN, 0x00),
    set(DIGITAL_GAIN_H, 0x01),
    set(DIGITAL_GAIN_H + 1, 0x00),
    set(MD_CONTROL, 0x00),
    set(SIX_BIT_MODE, 0x70),
    set(BIT_CONTROL, 0x02),
    set(OSCILLATOR, 0x00),
    set(CLOCK_DIVIDER, CLOCK_BASE | 0x02),
    set(PCLK_POLARITY, 0x20),
    set(AE_CONTROL, 0x01),
];

/// Of the analogue part, without a public meaning. Values of Himax's reference setting, as in OpenMV.
const VENDOR: &[Write] = &[
    set(0x3044, 0x0a),
    set(0x3045, 0x00),
    set(0x3047, 0x0a),
    set(0x3050, 0xc0),
    set(0x3051, 0x42),
    set(0x3052, 0x50),
    set(0x3053, 0x00),
    set(0x3054, 0x03),
    set(0x3055, 0xf7),
    set(0x3056, 0xf8),
    set(0x3057, 0x29),
    set(0x3058, 0x1f),
    set(0x3064, 0x00),
    set(0x3065, 0x04),
];

/// Lines of a frame with blanking, READOUT_X and READOUT_Y, BINNING_MODE.
const MODES: [(FrameSize, u16, u8, u8); 2] = [
    (FrameSize::QVGA, 0x0104, 0x01, 0x00),
    (FrameSize::QQVGA, 0x0084, 0x03, 0x03),
];

/// The driver; see the module. The sensor gives 324×244 or 162×122 samples: the port takes those of the configured size.
#[derive(Debug)]
pub struct Hm01b0<I, D, R, P> {
    link: Link<I, D, R, P>,
    frame_lines: u16,
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Hm01b0<I, D, R, P> {
    /// A sensor on `i2c`, which runs at 400 kHz or less.
    pub fn new(i2c: I, delay: D, pins: Pins<R, P>) -> Self {
        Self {
            link: Link::new(i2c, delay, pins, ADDRESS, Addressing::Long),
            frame_lines: MODES[0].1,
        }
    }

    fn exposure(&mut self, exposure: Exposure) -> Result<(), CameraError> {
        match exposure {
            Exposure::Auto => self.link.write(AE_CONTROL, 0x01),
            Exposure::Lines(lines) => {
                let max = self.frame_lines - EXPOSURE_MARGIN;
                let lines = within(Setting::ExposureLines, lines, 2, max)?;
                self.link.write(AE_CONTROL, 0x00)?;
                self.link.write_u16(INTEGRATION_H, lines)?;
                self.link.write(GROUP_HOLD, 0x01)
            }
        }
    }

    /// Exposure and gain are automatic together: a gain set by hand ends both.
    fn gain(&mut self, gain: Gain) -> Result<(), CameraError> {
        match gain {
            Gain::Auto { ceiling } => {
                let exponent = ceiling_exponent(ceiling, 1, 16)?;
                self.link.write(MAX_AGAIN_FULL, exponent)?;
                self.link.write(MAX_AGAIN_BINNED, exponent)?;
                self.link.write(AE_CONTROL, 0x01)
            }
            Gain::Sixteenths(sixteenths) => {
                let gain = within(Setting::Gain, sixteenths, 16, 8 * 16)?;
                // The analogue part doubles, the digital part does the rest, from 1 to below 2.
                let exponent = (gain / 16).ilog2() as u16;
                let rest = (gain * 16) >> exponent;
                self.link.write(AE_CONTROL, 0x00)?;
                self.link.write(ANALOG_GAIN, (exponent << 4) as u8)?;
                self.link.write_u16(DIGITAL_GAIN_H, rest)?;
                self.link.write(GROUP_HOLD, 0x01)
            }
        }
    }
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Sensor for Hm01b0<I, D, R, P> {
    fn start(&mut self) -> Result<(), CameraError> {
        self.link.power_up(POWER_UP)?;
        self.link
            .check_chip([MODEL_ID_H, MODEL_ID_L], CHIP_ID, 0xffff)?;
        self.link.soft_reset(SW_RESET, 0x01, SOFT_RESET_MS)?;
        self.link.write_all(VENDOR)?;
        self.link.write_all(BASE)
    }

    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        let mode = MODES.iter().find(|mode| mode.0 == configuration.size);
        let refused = refuse(configuration, mode.is_some());
        let (Some(&(_, lines, readout, binning)), FrameFormat::GREY8) =
            (mode, configuration.format)
        else {
            return Err(refused);
        };
        self.frame_lines = lines;
        let link = &mut self.link;
        link.write(MODE_SELECT, 0x00)?;
        link.write(READOUT_X, readout)?;
        link.write(READOUT_Y, readout)?;
        link.write(BINNING_MODE, binning)?;
        link.write(QVGA_WINDOW, 0x01)?;
        link.write_u16(MAX_INTEGRATION_H, lines - EXPOSURE_MARGIN)?;
        link.write_u16(FRAME_LENGTH_H, lines)?;
        link.write_u16(LINE_LENGTH_H, LINE_LENGTH)?;
        link.write(GROUP_HOLD, 0x01)?;
        link.write(MODE_SELECT, 0x01)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        match control {
            Control::Exposure(exposure) => self.exposure(exposure),
            Control::Gain(gain) => self.gain(gain),
            Control::Mirror(on) => {
                self.link.update(IMAGE_ORIENTATION, 0x01, on.into())?;
                self.link.write(GROUP_HOLD, 0x01)
            }
            Control::Flip(on) => {
                self.link
                    .update(IMAGE_ORIENTATION, 0x02, u8::from(on) << 1)?;
                self.link.write(GROUP_HOLD, 0x01)
            }
            Control::TestPattern(on) => self.link.write(TEST_PATTERN, on.into()),
            Control::ClockDivider(divider) => {
                let setting = Setting::ClockDivider;
                let found = within(setting, divider.into(), 1, 8)?;
                if !found.is_power_of_two() {
                    return Err(CameraError::OutOfRange {
                        setting,
                        found,
                        min: 1,
                        max: 8,
                    });
                }
                let bits = 3 - found.trailing_zeros() as u8;
                self.link.write(CLOCK_DIVIDER, CLOCK_BASE | bits)
            }
            Control::WhiteBalance(_) => Err(CameraError::ControlNotSupported {
                setting: control.setting(),
            }),
        }
    }
}
