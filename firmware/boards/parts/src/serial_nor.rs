//! Serial NOR flash behind a controller that also maps it into memory: the instructions of JESD216, one lane for those that
//! change it.
//!
//! While a sector is erased or a page programmed, the flash cannot be read in place: the driver ends the mapping before, and
//! makes it again after, also after a fault.

#[cfg(test)]
mod tests;

use core::fmt;
use core::fmt::Debug;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use pinhole_firmware::storage::MappedFlash;

/// The smallest stretch that is erased.
pub const SECTOR_BYTES: usize = 4096;
/// What one instruction programs at most; it does not leave a multiple of that many bytes.
pub const PAGE_BYTES: usize = 256;

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ_ID: u8 = 0x9f;
const RESET_ENABLE: u8 = 0x66;
const RESET: u8 = 0x99;
const READ_STATUS_2: u8 = 0x35;
const WRITE_STATUS_2: u8 = 0x31;
const STATUS_2_QUAD: u8 = 1 << 1;
const STATUS_BUSY: u8 = 1 << 0;
const STATUS_WRITE_ENABLED: u8 = 1 << 1;

/// Looks at the status before a flash counts as dead. A look takes 16 clocks at least, so that at 100 MHz it is 16 s, where
/// data sheets give half a second for a sector at most.
const LOOKS: u32 = 100_000_000;

/// A controller: what the driver asks of it.
pub trait Controller {
    /// Sends an instruction alone.
    fn command(&mut self, instruction: u8);

    /// Sends an instruction and reads what the flash answers.
    fn read_register(&mut self, instruction: u8, bytes: &mut [u8]);

    /// Sends an instruction and what a register is to hold.
    fn write_register(&mut self, instruction: u8, bytes: &[u8]);

    /// Sends an instruction with an address, and `bytes` where there are any.
    fn command_at(&mut self, instruction: u8, address: u32, bytes: &[u8]);

    /// Begins to show the flash in memory; nothing that was there before may be remembered.
    fn map(&mut self);

    /// Ends what [`Controller::map`] began.
    fn unmap(&mut self);

    /// The flash in memory, which `map` has begun to show.
    fn mapped(&self) -> &[u8];

    /// The flash is busy: tells the watchdog.
    fn busy(&mut self) {}
}

/// A flash as its data sheet describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Manufacturer, type and capacity, as instruction 0x9f tells them; nothing where it is not known.
    pub id: [Option<u8>; 3],
    /// Erases a sector of 4,096 bytes.
    pub sector_erase: u8,
    /// Programs a page.
    pub page_program: u8,
    /// Whether a bit of its second status register lets it read over four lanes.
    pub has_quad_bit: bool,
}

impl Chip {
    /// Winbond W25Q64JV, 8 MB, addresses of 24 bits (data sheet, tables 8.1.1 and 8.1.2).
    pub const W25Q64: Self = Self {
        id: [Some(0xef), Some(0x40), Some(0x17)],
        sector_erase: 0x20,
        page_program: 0x02,
        has_quad_bit: true,
    };
    /// Macronix MX25UM51245G, 64 MB, addresses of 32 bits over one lane, as it starts. Public drivers do not agree on its type.
    pub const MX25UM51245G: Self = Self {
        id: [Some(0xc2), None, Some(0x3a)],
        sector_erase: 0x21,
        page_program: 0x12,
        has_quad_bit: false,
    };

    fn is(&self, found: [u8; 3]) -> bool {
        let mut pairs = self.id.iter().zip(found);
        pairs.all(|(known, found)| known.is_none_or(|known| known == found))
    }
}

/// Why a flash did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another chip answers, or none: lines that nobody drives read 0 or 0xff.
    WrongChip {
        /// What the driver is for.
        expected: [Option<u8>; 3],
        /// What answered.
        found: [u8; 3],
    },
    /// The flash refuses to be changed: its pins or its status protect it.
    Protected,
    /// It did not become ready.
    Busy,
    /// The range is not one of this flash, or not of whole units.
    Range(NorFlashErrorKind),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongChip { expected, found } => {
                f.write_str("flash")?;
                for byte in found {
                    write!(f, " {byte:02x}")?;
                }
                f.write_str(" answers, expected")?;
                for byte in expected {
                    match byte {
                        Some(byte) => write!(f, " {byte:02x}")?,
                        None => f.write_str(" ..")?,
                    }
                }
                f.write_str("; check the wiring, or name the chip that is fitted")
            }
            Self::Protected => f.write_str("the flash does not take changes; check its WP pin"),
            Self::Busy => f.write_str("the flash does not become ready"),
            Self::Range(kind) => write!(f, "range of the flash: {kind:?}"),
        }
    }
}

impl core::error::Error for Fault {}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for Fault {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Range(kind)
    }
}

/// A flash whose units of `WRITE_BYTES` are programmed once between two erases.
#[derive(Debug)]
pub struct SerialNor<C, const WRITE_BYTES: usize> {
    controller: C,
    chip: Chip,
}

impl<C: Controller, const WRITE_BYTES: usize> SerialNor<C, WRITE_BYTES> {
    /// Resets the flash, proves which one it is, lets it read over four lanes where it has to be let, and maps it.
    ///
    /// # Errors
    /// [`Fault::Busy`], [`Fault::WrongChip`], [`Fault::Protected`].
    pub fn open(mut controller: C, chip: Chip) -> Result<Self, Fault> {
        // A reset of the program alone finds the flash mapped, or at work.
        controller.unmap();
        wait(&mut controller)?;
        controller.command(RESET_ENABLE);
        controller.command(RESET);
        wait(&mut controller)?;
        let mut found = [0; 3];
        controller.read_register(READ_ID, &mut found);
        if !chip.is(found) {
            return Err(Fault::WrongChip {
                expected: chip.id,
                found,
            });
        }
        if chip.has_quad_bit {
            enable_quad(&mut controller)?;
        }
        controller.map();
        Ok(Self { controller, chip })
    }

    /// One instruction that changes the flash, from the mapping's end to its new begin.
    fn change(&mut self, instruction: u8, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.controller.unmap();
        let changed = enable(&mut self.controller).and_then(|()| {
            self.controller.command_at(instruction, address, bytes);
            wait(&mut self.controller)
        });
        self.controller.map();
        changed
    }
}

fn status<C: Controller>(controller: &mut C) -> u8 {
    let mut status = [0];
    controller.read_register(READ_STATUS, &mut status);
    status[0]
}

fn wait<C: Controller>(controller: &mut C) -> Result<(), Fault> {
    for _ in 0..LOOKS {
        if status(controller) & STATUS_BUSY == 0 {
            return Ok(());
        }
        controller.busy();
    }
    Err(Fault::Busy)
}

/// Proves that the flash takes the next change.
fn enable<C: Controller>(controller: &mut C) -> Result<(), Fault> {
    controller.command(WRITE_ENABLE);
    match status(controller) & STATUS_WRITE_ENABLED {
        0 => Err(Fault::Protected),
        _ => Ok(()),
    }
}

/// Sets the bit that makes data lines of two pins, which some chips are delivered without. It outlives the power, so that it is
/// written once in the life of a chip.
fn enable_quad<C: Controller>(controller: &mut C) -> Result<(), Fault> {
    let mut found = [0];
    controller.read_register(READ_STATUS_2, &mut found);
    let [before] = found;
    if before & STATUS_2_QUAD != 0 {
        return Ok(());
    }
    enable(controller)?;
    controller.write_register(WRITE_STATUS_2, &[before | STATUS_2_QUAD]);
    wait(controller)?;
    controller.read_register(READ_STATUS_2, &mut found);
    match found[0] & STATUS_2_QUAD {
        0 => Err(Fault::Protected),
        _ => Ok(()),
    }
}

impl<C: Controller, const WRITE_BYTES: usize> ErrorType for SerialNor<C, WRITE_BYTES> {
    type Error = Fault;
}

impl<C: Controller, const WRITE_BYTES: usize> ReadNorFlash for SerialNor<C, WRITE_BYTES> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        check_read(self, offset, bytes.len())?;
        let cells = self.mapped().get(offset as usize..).unwrap_or_default();
        for (byte, cell) in bytes.iter_mut().zip(cells) {
            *byte = *cell;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.mapped().len()
    }
}

impl<C: Controller, const WRITE_BYTES: usize> NorFlash for SerialNor<C, WRITE_BYTES> {
    const WRITE_SIZE: usize = WRITE_BYTES;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        check_erase(self, from, to)?;
        for address in (from..to).step_by(SECTOR_BYTES) {
            self.change(self.chip.sector_erase, address, &[])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        check_write(self, offset, bytes.len())?;
        let (mut address, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            // An instruction that runs over the end of a page goes on at the start of that page.
            let room = PAGE_BYTES - address as usize % PAGE_BYTES;
            let (part, behind) = rest.split_at(rest.len().min(room));
            self.change(self.chip.page_program, address, part)?;
            address += part.len() as u32;
            rest = behind;
        }
        Ok(())
    }
}

impl<C: Controller, const WRITE_BYTES: usize> MappedFlash for SerialNor<C, WRITE_BYTES> {
    fn mapped(&self) -> &[u8] {
        self.controller.mapped()
    }
}
