//! Registers of a sensor over I2C, and the pins that power it.
//!
//! SCCB is OmniVision's "Serial Camera Control Bus Functional Specification" 2.2: a read is a write of the register number, a
//! stop, and a read. A repeated start in place of the stop is not in that document, and OV2640 and OV7670 may not answer it.

use super::CameraError;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_hal::i2c::{Error, ErrorKind, I2c};

/// One write of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) register: u16,
    pub(super) value: u8,
}

/// An entry of a table.
pub(super) const fn set(register: u16, value: u8) -> Write {
    Write { register, value }
}

/// How registers are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressing {
    /// 8 bits.
    Short,
    /// 8 bits in banks: the high byte of a register number goes to this register first, when it changes.
    Banked {
        /// Register that selects the bank.
        select: u8,
    },
    /// 16 bits, high byte first.
    Long,
}

/// The pins that a board may have wired. Where one is tied to a level, give [`NoPin`].
#[derive(Clone, Copy, Debug)]
pub struct Pins<R, P> {
    /// Reset, active low (RESETB; XSHUTDOWN of HM01B0).
    pub reset: R,
    /// Power down, active high (PWDN).
    pub power_down: P,
}

impl Pins<NoPin, NoPin> {
    /// Neither pin is wired to the board.
    pub const NONE: Self = Self {
        reset: NoPin,
        power_down: NoPin,
    };
}

/// A pin that is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPin;

impl ErrorType for NoPin {
    type Error = core::convert::Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A sensor's bus, pins and delays.
#[derive(Debug)]
pub(super) struct Link<I, D, R, P> {
    i2c: I,
    pub(super) delay: D,
    pins: Pins<R, P>,
    address: u8,
    addressing: Addressing,
    bank: Option<u8>,
}

/// How long the pins are held, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PowerUp {
    /// Reset held low.
    pub(super) reset_ms: u32,
    /// From the end of reset to the first transfer.
    pub(super) settle_ms: u32,
}

impl<I: I2c, D: DelayNs, R: OutputPin, P: OutputPin> Link<I, D, R, P> {
    pub(super) fn new(
        i2c: I,
        delay: D,
        pins: Pins<R, P>,
        address: u8,
        addressing: Addressing,
    ) -> Self {
        Self {
            i2c,
            delay,
            pins,
            address,
            addressing,
            bank: None,
        }
    }

    /// Ends power down, pulses reset, waits.
    pub(super) fn power_up(&mut self, times: PowerUp) -> Result<(), CameraError> {
        self.bank = None;
        self.pins
            .power_down
            .set_low()
            .map_err(|_| CameraError::Pin)?;
        self.pins.reset.set_low().map_err(|_| CameraError::Pin)?;
        self.delay.delay_ms(times.reset_ms);
        self.pins.reset.set_high().map_err(|_| CameraError::Pin)?;
        self.delay.delay_ms(times.settle_ms);
        Ok(())
    }

    /// Writes `value`, which resets the chip, and waits; the bank is unknown afterwards.
    pub(super) fn soft_reset(
        &mut self,
        register: u16,
        value: u8,
        wait_ms: u32,
    ) -> Result<(), CameraError> {
        self.write(register, value)?;
        self.bank = None;
        self.delay.delay_ms(wait_ms);
        Ok(())
    }

    pub(super) fn write(&mut self, register: u16, value: u8) -> Result<(), CameraError> {
        self.select_bank(register)?;
        let [high, low] = register.to_be_bytes();
        let sent = match self.addressing {
            Addressing::Long => self.i2c.write(self.address, &[high, low, value]),
            Addressing::Short | Addressing::Banked { .. } => {
                self.i2c.write(self.address, &[low, value])
            }
        };
        sent.map_err(|fault| self.fault(register, &fault))
    }

    pub(super) fn write_all(&mut self, table: &[Write]) -> Result<(), CameraError> {
        table
            .iter()
            .try_for_each(|write| self.write(write.register, write.value))
    }

    /// Writes 16 bits, high byte first, to a register and the next one.
    pub(super) fn write_u16(&mut self, register: u16, value: u16) -> Result<(), CameraError> {
        let [high, low] = value.to_be_bytes();
        self.write(register, high)?;
        self.write(register.wrapping_add(1), low)
    }

    pub(super) fn read(&mut self, register: u16) -> Result<u8, CameraError> {
        self.select_bank(register)?;
        let [high, low] = register.to_be_bytes();
        let mut value = [0];
        let read = match self.addressing {
            Addressing::Long => self.i2c.write_read(self.address, &[high, low], &mut value),
            // Two transfers, so that a stop is between them.
            Addressing::Short | Addressing::Banked { .. } => self
                .i2c
                .write(self.address, &[low])
                .and_then(|()| self.i2c.read(self.address, &mut value)),
        };
        read.map_err(|fault| self.fault(register, &fault))?;
        Ok(value[0])
    }

    /// Replaces the bits of `mask`.
    pub(super) fn update(&mut self, register: u16, mask: u8, bits: u8) -> Result<(), CameraError> {
        let value = self.read(register)?;
        self.write(register, value & !mask | bits & mask)
    }

    /// Reads the identity from two registers and compares the bits of `mask`.
    pub(super) fn check_chip(
        &mut self,
        registers: [u16; 2],
        expected: u16,
        mask: u16,
    ) -> Result<(), CameraError> {
        let found = u16::from_be_bytes([self.read(registers[0])?, self.read(registers[1])?]);
        if found & mask != expected & mask {
            return Err(CameraError::WrongChip {
                address: self.address,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn select_bank(&mut self, register: u16) -> Result<(), CameraError> {
        let [bank, _] = register.to_be_bytes();
        if let Addressing::Banked { select } = self.addressing
            && self.bank != Some(bank)
        {
            self.bank = None;
            let sent = self.i2c.write(self.address, &[select, bank]);
            sent.map_err(|fault| self.fault(register, &fault))?;
            self.bank = Some(bank);
        }
        Ok(())
    }

    fn fault(&self, register: u16, fault: &I::Error) -> CameraError {
        let address = self.address;
        match fault.kind() {
            ErrorKind::NoAcknowledge(source) => CameraError::NoAcknowledge {
                address,
                register,
                source,
            },
            kind => CameraError::Bus {
                address,
                register,
                kind,
            },
        }
    }
}
