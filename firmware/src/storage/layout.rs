//! Which parts of the flash are whose.

use core::fmt;
use core::ops::Range;

use super::Kind;
use super::flash::{MappedFlash, PAGE_BYTES};
use super::journal::RECORD_BYTES;

/// Where models start in memory, as their format wants it.
const MODEL_ALIGNMENT: usize = pinhole_runtime::model::format::ALIGN_BYTES;

/// The partitions, in bytes from the start of the flash. Each starts and ends at an erase sector, but for `factory_bank`,
/// which is only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Journal of the state: two erase sectors or more.
    pub state: Range<u32>,
    /// Slots A and B of the model, each with room for a trailer.
    pub models: [Range<u32>; 2],
    /// Slots A and B of the class bank.
    pub banks: [Range<u32>; 2],
    /// A bank that came with the firmware, to fall back to.
    pub factory_bank: Option<Range<u32>>,
}

/// Why a layout does not suit a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutFault {
    /// The flash is written or erased in sizes that the storage does not work with.
    Sizes {
        /// Bytes of the smallest write.
        write: usize,
        /// Bytes of an erase sector.
        erase: usize,
    },
    /// A partition is empty, ends before it starts, or leaves the flash.
    Bounds {
        /// The partition.
        name: &'static str,
        /// Its start.
        start: u32,
        /// Its end.
        end: u32,
        /// Bytes of the flash that can be read in place.
        capacity: usize,
    },
    /// A partition does not start and end at an erase sector.
    Alignment {
        /// The partition.
        name: &'static str,
        /// Bytes of an erase sector.
        erase: usize,
    },
    /// Two partitions have bytes in common.
    Overlap {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The journal has fewer than two erase sectors.
    StateTooSmall {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A model would not start at a 16-byte boundary in memory.
    ModelAddress {
        /// The address of a slot.
        address: usize,
    },
}

impl fmt::Display for LayoutFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sizes { write, erase } => write!(
                f,
                "flash with writes of {write} and sectors of {erase} bytes, expected writes that divide {PAGE_BYTES} and sectors that are a multiple of it"
            ),
            Self::Bounds {
                name,
                start,
                end,
                capacity,
            } => write!(
                f,
                "partition {name} is {start:#x}..{end:#x}, the flash has {capacity:#x} bytes"
            ),
            Self::Alignment { name, erase } => write!(
                f,
                "partition {name} does not start and end at a multiple of {erase:#x}"
            ),
            Self::Overlap { first, second } => {
                write!(f, "partitions {first} and {second} overlap")
            }
            Self::StateTooSmall { needed, found } => write!(
                f,
                "partition state has {found} bytes, expected two erase sectors, {needed}"
            ),
            Self::ModelAddress { address } => write!(
                f,
                "a model would start at address {address:#x}, expected a multiple of {MODEL_ALIGNMENT}"
            ),
        }
    }
}

impl core::error::Error for LayoutFault {}

impl Layout {
    /// Where slot A (0) or B (1) of a kind lies.
    pub(super) fn slot(&self, kind: Kind, slot: u8) -> Range<u32> {
        let slots = match kind {
            Kind::Model => &self.models,
            Kind::Bank => &self.banks,
        };
        slots[usize::from(slot & 1)].clone()
    }

    /// All partitions by name, and whether they are written.
    fn parts(&self) -> impl Iterator<Item = (&'static str, &Range<u32>, bool)> + Clone {
        let [model_a, model_b] = &self.models;
        let [bank_a, bank_b] = &self.banks;
        let written = [
            ("state", &self.state),
            ("model A", model_a),
            ("model B", model_b),
            ("bank A", bank_a),
            ("bank B", bank_b),
        ];
        let factory = self.factory_bank.iter();
        let written = written.into_iter().map(|(name, range)| (name, range, true));
        written.chain(factory.map(|range| ("factory bank", range, false)))
    }

    /// Checks the partitions against sizes and capacity of a flash, and against each other.
    ///
    /// # Errors
    /// The first fault.
    pub fn check<F: MappedFlash>(&self, flash: &F) -> Result<(), LayoutFault> {
        let (write, erase) = (F::WRITE_SIZE, F::ERASE_SIZE);
        if write == 0
            || erase == 0
            || !PAGE_BYTES.is_multiple_of(write)
            || !erase.is_multiple_of(PAGE_BYTES)
        {
            return Err(LayoutFault::Sizes { write, erase });
        }
        let mapped = flash.mapped();
        let capacity = mapped.len().min(flash.capacity());
        for (name, range, is_written) in self.parts() {
            let (start, end) = (range.start, range.end);
            if start >= end || end as usize > capacity {
                return Err(LayoutFault::Bounds {
                    name,
                    start,
                    end,
                    capacity,
                });
            }
            let aligned = |at: u32| (at as usize).is_multiple_of(erase);
            if is_written && !(aligned(start) && aligned(end)) {
                return Err(LayoutFault::Alignment { name, erase });
            }
        }
        self.check_apart()?;
        let (needed, found) = (2 * erase, self.state.len());
        if found < needed || erase < RECORD_BYTES {
            return Err(LayoutFault::StateTooSmall { needed, found });
        }
        for slot in &self.models {
            let address = mapped.as_ptr().addr() + slot.start as usize;
            if !address.is_multiple_of(MODEL_ALIGNMENT) {
                return Err(LayoutFault::ModelAddress { address });
            }
        }
        Ok(())
    }

    fn check_apart(&self) -> Result<(), LayoutFault> {
        for (index, (first, one, _)) in self.parts().enumerate() {
            for (second, other, _) in self.parts().skip(index + 1) {
                if one.start < other.end && other.start < one.end {
                    return Err(LayoutFault::Overlap { first, second });
                }
            }
        }
        Ok(())
    }
}

const _: () = assert!(RECORD_BYTES.is_multiple_of(32) && PAGE_BYTES >= RECORD_BYTES);
