//! NOR flash in memory that loses its power: after any number of bytes written, and in the middle of an erase.
//!
//! Bits go from 1 to 0 by writes and back by erases. Programming what is not blank stops the test, in every write size:
//! flash with error correction would refuse it. What a cut leaves of a write unit, or of a sector that is being erased, is
//! a random mixture.

use crate::common::{Aligned, Random};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use pinhole_firmware::storage::MappedFlash;
use std::cell::Cell;
use std::rc::Rc;

/// Steps in which the power may be cut during one erase.
const ERASE_STEPS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// A chip that writes `WRITE` and erases `ERASE` bytes at once.
pub(crate) struct Chip<const WRITE: usize, const ERASE: usize> {
    pub(crate) bytes: Aligned,
    pub(crate) power: Rc<Power>,
    /// Of each sector.
    pub(crate) erases: Vec<u32>,
    /// Sectors that keep nothing any more: writes there leave a bit set.
    pub(crate) worn: Vec<bool>,
    /// Sectors whose erase fails.
    pub(crate) stuck: Vec<bool>,
    random: Random,
}

/// Bytes and steps until the power is cut, and so far.
#[derive(Debug)]
pub(crate) struct Power {
    left: Cell<usize>,
    spent: Cell<usize>,
    off: Cell<bool>,
}

impl Power {
    fn new(left: usize) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(left),
            spent: Cell::new(0),
            off: Cell::new(false),
        })
    }

    pub(crate) fn cut_after(&self, steps: usize) {
        self.left.set(steps);
    }

    pub(crate) fn spent(&self) -> usize {
        self.spent.get()
    }

    pub(crate) fn is_off(&self) -> bool {
        self.off.get()
    }

    fn spend(&self) -> bool {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                self.spent.set(self.spent.get() + 1);
            }
            None => self.off.set(true),
        }
        !self.off.get()
    }
}

impl<const WRITE: usize, const ERASE: usize> Clone for Chip<WRITE, ERASE> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            power: Power::new(self.power.left.get()),
            erases: self.erases.clone(),
            worn: self.worn.clone(),
            stuck: self.stuck.clone(),
            random: Random(self.random.0),
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> Chip<WRITE, ERASE> {
    pub(crate) fn new(sectors: usize, seed: u64) -> Self {
        let mut bytes = Aligned::zeroed(sectors * ERASE);
        bytes.fill(0xff);
        Self {
            bytes,
            power: Power::new(usize::MAX),
            erases: vec![0; sectors],
            worn: vec![false; sectors],
            stuck: vec![false; sectors],
            random: Random(seed),
        }
    }

    /// Power for so many bytes and steps, with another mixture for each seed.
    pub(crate) fn cut_after(mut self, steps: usize, seed: u64) -> Self {
        self.power = Power::new(steps);
        self.random = Random(seed);
        self
    }

    /// The power comes back.
    pub(crate) fn restart(self) -> Self {
        self.cut_after(usize::MAX, 0)
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Chip<WRITE, ERASE> {
    type Error = Failed;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Chip<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Chip<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(ERASE) && to.is_multiple_of(ERASE) && to <= self.bytes.len());
        if self.power.is_off() {
            return Err(Failed);
        }
        for sector in from / ERASE..to / ERASE {
            for _ in 0..ERASE_STEPS {
                if !self.power.spend() {
                    // Some bits are back, and some bytes whole.
                    let kind = self.random.below(3);
                    for at in sector * ERASE..(sector + 1) * ERASE {
                        self.bytes[at] |= match (kind, self.random.below(4)) {
                            (0, _) => self.random.next() as u8,
                            (1, 0) => 0,
                            (1, _) => 0xff,
                            (_, 0) => 0xff,
                            _ => 0,
                        };
                    }
                    return Err(Failed);
                }
            }
            self.erases[sector] += 1;
            if self.stuck[sector] {
                return Err(Failed);
            }
            self.bytes[sector * ERASE..][..ERASE].fill(0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        let offset = offset as usize;
        assert!(offset.is_multiple_of(WRITE) && bytes.len().is_multiple_of(WRITE));
        assert!(offset + bytes.len() <= self.bytes.len());
        if self.power.is_off() {
            return Err(Failed);
        }
        let place = &self.bytes[offset..][..bytes.len()];
        assert!(place.iter().all(|byte| *byte == 0xff), "programmed twice");
        for (index, byte) in bytes.iter().enumerate() {
            let at = offset + index;
            if !self.power.spend() {
                let unit_end = (at + 1).next_multiple_of(WRITE);
                for at in at..unit_end {
                    let mixed = match self.random.below(3) {
                        0 => 0xff,
                        1 => bytes[at - offset],
                        _ => bytes[at - offset] | self.random.next() as u8,
                    };
                    self.bytes[at] &= mixed;
                }
                return Err(Failed);
            }
            let kept = u8::from(self.worn[at / ERASE]);
            self.bytes[at] &= byte | kept;
        }
        Ok(())
    }
}

impl<const WRITE: usize, const ERASE: usize> MappedFlash for Chip<WRITE, ERASE> {
    fn mapped(&self) -> &[u8] {
        &self.bytes
    }
}
